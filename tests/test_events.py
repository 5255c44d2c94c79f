"""The events of a session: which, in which order, where they are delivered, and what is in them."""

import asyncio
import contextvars
import dataclasses
import gc
import itertools
import logging
import pickle
import threading
import time
import typing
import warnings
import weakref

import pytest
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory, events
from deepgram_sagemaker._native import notices
from deepgram_sagemaker.errors import RetriesExhaustedError, SageMakerError
from deepgram_sagemaker.local import Credentials, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterChunks,
    AfterNewChunks,
    Answer,
    Fault,
    GoSilent,
    InBandException,
    Malformed,
    NeverAnswer,
    Reset,
)
from deepgram_sagemaker.local.watermark import chunk
from sessions import CHUNK, LISTEN_URL, client_of_factory, session, until

KINDS = typing.get_args(events.Event)


def kinds(seen, *of):
    """The names of the events, or of those of some classes, in their order."""
    return [each.name for each in seen if not of or isinstance(each, of)]


def of(seen, kind):
    return [each for each in seen if isinstance(each, kind)]


def factory_of(endpoint, seen, **settings):
    on_event = seen if callable(seen) else seen.append
    return SageMakerTransportFactory(config=endpoint.config(**settings), on_event=on_event)


def keys_of(access_key_id, secret):
    return Credentials(access_key_id=access_key_id, secret_access_key=secret)


def assert_consistent(seen):
    """What holds of the events of one session, whatever happened in it."""
    first, *_, last = seen
    assert isinstance(first, events.SessionBegan)
    assert isinstance(last, events.SessionEnded)
    assert len({each.session for each in seen}) == 1
    assert len(of(seen, events.SessionBegan)) == len(of(seen, events.SessionEnded)) == 1
    outcomes = (events.LegOpened, events.LegOpenFailed)
    requests = [each.attempt for each in of(seen, events.LegOpening)]
    assert requests == [each.attempt for each in seen if isinstance(each, outcomes)]
    assert requests == list(range(1, len(requests) + 1))
    opened = [each.leg for each in of(seen, events.LegOpened)]
    assert sorted(each.leg for each in of(seen, events.LegEnded)) == opened
    times = [each.monotonic for each in seen]
    # The age of what the native side reports is measured by another clock.
    assert all(after - before > -0.01 for before, after in itertools.pairwise(times))
    for each in seen:
        assert abs((each.time - time.time()) - (each.monotonic - time.monotonic())) < 1.0
    totals = last.totals
    assert totals.legs == len(opened)
    assert totals.attempts == len(requests)
    assert sum(totals.resets.values()) == sum(e.resumes for e in of(seen, events.LegEnded))
    assert totals.rollovers == len(of(seen, events.RolledOver))
    assert totals.bytes_lost == sum(each.size for each in of(seen, events.Gap))
    return last


async def test_a_session_with_resets_and_a_rollover(caplog):
    caplog.set_level(logging.DEBUG, "deepgram_sagemaker")
    seen = []
    faults = [Fault(Reset(), when=AfterNewChunks(60), times=2)]
    async with LocalEndpoint(model=Watermark(late_chunks=5), faults=faults) as endpoint:
        factory = factory_of(endpoint, seen, max_leg_age=0.4, initial_backoff=0.02)

        async def is_open():
            # Otherwise everything may have been sent before, and a session that closes does not
            # roll over.
            await until(lambda: factory.stats.legs)

        heard = await session(client_of_factory(factory), 300, pace=0.012, gate=is_open)
        # The leg that was replaced may still be on its way out.
        await until(lambda: isinstance(seen[-1], events.SessionEnded))
    assert heard.numbers == list(range(300))
    totals = assert_consistent(seen).totals
    assert totals == factory.stats
    assert (totals.resets, totals.bytes_lost) == ({"reset": 2}, 0)
    assert totals.rollovers >= 1
    resumed = of(seen, events.Resumed)
    assert [each.is_first for each in resumed] == [True] + [False] * (len(resumed) - 1)
    # A leg that is replaced before it has caught up has replayed part of what it would have.
    announced = sum(each.bytes_replayed for each in resumed)
    assert announced >= totals.bytes_replayed > 0
    seconds = sum(each.seconds_replayed for each in resumed)
    assert seconds == pytest.approx(announced / 32_000)
    (first,) = of(seen, events.FirstResult)
    assert first.seconds == totals.time_to_first_result
    resets = [each for each in of(seen, events.LegEnded) if each.resumes]
    for each in resets:
        assert (each.role, each.kind, each.reason) == ("current", "reset", "reset")
        assert each.level == logging.INFO
        assert each.seconds_unacknowledged > 0
    opened = {each.leg: each for each in of(seen, events.LegOpened)}
    assert all(each.request_id and each.seconds > 0 for each in opened.values())
    for each in of(seen, events.LegEnded):
        assert each.request_id == opened[each.leg].request_id
        lasted = each.monotonic - opened[each.leg].monotonic
        assert each.seconds == pytest.approx(lasted, abs=0.5)
    # The log is made of the same events, and of nothing else.
    records = [each for each in caplog.records if hasattr(each, "deepgram_event")]
    assert [each.deepgram_event for each in records] == kinds(seen)
    assert {each.deepgram_session for each in records} == {seen[0].session}
    lines = [each.message for each in caplog.records if each.levelno >= logging.INFO]
    assert sum("ended: the stream was reset" in line for line in lines) == 2
    assert sum("took over from an old one" in line for line in lines) == totals.rollovers


async def test_one_that_cannot_connect():
    seen = []
    fault = Fault(Answer(429, "ThrottlingException"), times=None)
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = factory_of(endpoint, seen, max_retries=2, initial_backoff=0.01)
        transport = factory(LISTEN_URL)
        with pytest.raises(RetriesExhaustedError):
            await transport.open()
        assert transport.session_id == seen[0].session
        await transport.close()
    last = assert_consistent(seen)
    assert [each.failures for each in of(seen, events.LegOpening)] == [0, 1, 2]
    for each in of(seen, events.LegOpenFailed):
        assert (each.error, each.reason, each.status) == ("ThrottledError", "throttled", 429)
        assert each.request_id is not None
    assert (last.outcome, last.error, last.reason) == (
        "failed",
        "RetriesExhaustedError",
        "throttled",
    )


async def test_one_that_ends_while_its_leg_opens():
    seen = []
    async with LocalEndpoint(faults=[Fault(NeverAnswer())]) as endpoint:
        transport = factory_of(endpoint, seen)(LISTEN_URL)
        waiting = asyncio.create_task(transport.recv())
        await until(lambda: endpoint.stats.opens == 1)
        await transport.close()
        await waiting
    assert_consistent(seen)
    assert kinds(seen) == ["session_began", "leg_opening", "leg_open_failed", "session_ended"]
    assert (seen[2].reason, seen[2].error) == ("closed", None)


async def test_one_whose_close_is_cancelled():
    seen = []
    async with LocalEndpoint(faults=[Fault(GoSilent(), when=AfterChunks(1))]) as endpoint:
        transport = factory_of(endpoint, seen)(LISTEN_URL)
        await transport.send(chunk(0, CHUNK))
        await transport.open()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await transport.close()
    assert assert_consistent(seen).outcome == "cut"
    (ended,) = of(seen, events.LegEnded)
    assert (ended.kind, ended.reason, ended.resumes) == ("closed", None, False)


async def test_stalls_and_backlogs():
    seen = []

    async def chatty(stream):
        async for message in stream:
            if message == '{"type": "CloseStream"}':
                return
            for _ in range(40):
                await stream.send("x" * (1 << 20))

    fault = Fault(GoSilent(), when=AfterChunks(3))
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = factory_of(endpoint, seen, stall_timeout=0.3, initial_backoff=0.01)
        await session(client_of_factory(factory), 60, pace=0.02)
    assert_consistent(seen)
    (stalled,) = of(seen, events.Stalled)
    assert 0.3 <= stalled.seconds < 5
    after = seen[seen.index(stalled) + 1]
    assert isinstance(after, events.LegEnded)
    assert (after.kind, after.leg) == ("stalled", stalled.leg)

    seen.clear()
    async with LocalEndpoint(model=chatty) as endpoint:
        transport = factory_of(endpoint, seen)("wss://h/v1/other")
        await transport.send("go")
        await until(lambda: of(seen, events.Backlog))
        await transport.close()
    (backlog,) = of(seen, events.Backlog)
    assert (backlog.kind, backlog.level) == ("unread", logging.WARNING)
    assert backlog.size >= 16 << 20


async def test_what_the_pump_skips_is_told_in_its_turn():
    seen = []
    faults = [
        Fault(Malformed("unknown_event"), when=AfterChunks(20)),
        Fault(Reset(), when=AfterChunks(60)),
    ]
    async with LocalEndpoint(model=Watermark(window=10), faults=faults) as endpoint:
        factory = factory_of(endpoint, seen, initial_backoff=0.01)
        heard = await session(client_of_factory(factory), 100, pace=0.005)
    assert heard.numbers == list(range(100))
    assert_consistent(seen)
    names = kinds(seen, events.UnknownEventSkipped, events.LegEnded)
    assert names[:2] == ["unknown_event_skipped", "leg_ended"]


async def test_a_sender_that_has_to_wait():
    seen = []
    fault = Fault(NeverAnswer())
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = factory_of(endpoint, seen, max_replay_buffer_bytes=0)
        transport = factory(LISTEN_URL)

        async def flood():
            while True:
                await transport.send(bytes(64 << 10))

        flooding = asyncio.create_task(flood())
        await until(lambda: of(seen, events.Backlog))
        flooding.cancel()
        await asyncio.wait([flooding])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await transport.close()
    (backlog,) = of(seen, events.Backlog)
    assert (backlog.kind, backlog.level, backlog.size) == ("unsent", logging.DEBUG, 256 << 10)


async def test_other_keys_are_reported_once():
    seen = []
    mine, other = keys_of("AKIDMINE", "s1"), keys_of("AKIDOTHER", "s2")
    fault = Fault(InBandException("ExpiredTokenException", "old"), when=AfterChunks(10))
    async with LocalEndpoint(credentials=[mine, other], faults=[fault]) as endpoint:
        keys = [mine, other]

        class Turning:
            """A session whose keys are others at the second look-up."""

            def get_credentials(self):
                from botocore.credentials import Credentials as Keys

                now = keys.pop(0) if len(keys) > 1 else keys[0]
                return Keys(now.access_key_id, now.secret_access_key)

        factory = factory_of(endpoint, seen, boto3_session=Turning())
        heard = await session(client_of_factory(factory), 50)
        assert heard.numbers == list(range(50))
        await session(client_of_factory(factory), 10)
    (refreshed,) = of(seen, events.CredentialsRefreshed)
    assert refreshed.forced
    renewing = [each for each in of(seen, events.LegOpening) if each.renews_keys]
    assert len(renewing) == 1
    ended = next(each for each in of(seen, events.LegEnded) if each.resumes)
    assert (ended.reason, ended.failures) == ("keys_expired", 0)


async def test_nothing_of_the_conversation_and_no_key_is_in_an_event(caplog):
    caplog.set_level(logging.DEBUG)
    seen = []
    secrets = ("KEYTERMWORD", "TRANSCRIPTWORD", "AKIDSECRETID", "SECRETACCESSKEY", "SENTWORD")

    async def model(stream):
        async for message in stream:
            await stream.send('{"type":"Results","transcript":"TRANSCRIPTWORD"}')
            if message == '{"type": "CloseStream"}':
                return

    credentials = keys_of("AKIDSECRETID", "SECRETACCESSKEY")
    async with LocalEndpoint(model=model, credentials=credentials) as endpoint:
        transport = factory_of(endpoint, seen)(f"{LISTEN_URL}&keyterm=KEYTERMWORD")
        await transport.send('{"type":"Future","text":"SENTWORD"}')
        assert "TRANSCRIPTWORD" in await transport.recv()
        await transport.close()
    assert_consistent(seen)
    everything = repr(seen) + "".join(
        repr(vars(each)) for each in caplog.records if each.name.startswith("deepgram_sagemaker")
    )
    assert [secret for secret in secrets if secret in everything] == []


# Delivery ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("mine"),
        asyncio.CancelledError("mine"),
        GeneratorExit("mine"),
        pytest.fail.Exception("mine"),
    ],
    ids=repr,
)
async def test_a_function_that_raises_harms_nothing(error, caplog):
    seen = []

    def on_event(event):
        seen.append(event)
        raise error

    fault = Fault(Reset(), when=AfterNewChunks(20))
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = factory_of(endpoint, on_event)
        heard = await session(client_of_factory(factory), 50)
    assert heard.numbers == list(range(50))
    assert heard.errors == []
    assert_consistent(seen)
    said = [each for each in caplog.records if "on_event raised an error" in each.message]
    assert len(said) == len(seen)
    assert all(each.exc_info[1] is error for each in said)


async def test_a_function_that_blocks_delays_events_and_loses_no_audio():
    """Each event takes longer than many chunks. The legs go on meanwhile."""
    seen = []

    def on_event(event):
        seen.append(event)
        time.sleep(0.1)

    fault = Fault(Reset(), when=AfterNewChunks(20), times=2)
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = factory_of(endpoint, on_event, initial_backoff=0.01)
        heard = await session(client_of_factory(factory), 60, pace=0.005)
    assert heard.numbers == list(range(60))
    assert heard.errors == []
    assert assert_consistent(seen).totals.resets == {"reset": 2}


async def test_a_function_may_use_the_factory_and_its_transports():
    """It reads figures, opens a session and closes another in the middle of an event."""
    seen, others, tasks = [], [], []

    async def other():
        transport = factory(LISTEN_URL)
        others.append(transport.session_id)
        await transport.send(chunk(0, CHUNK))
        await transport.send({"type": "CloseStream"})
        async for _ in transport:
            pass
        await transport.close()

    def on_event(event):
        seen.append(event)
        assert factory.stats.sessions >= 1
        assert transport.stats.legs <= factory.stats.legs
        if event.session != transport.session_id:
            return
        if isinstance(event, events.LegEnded) and event.resumes:
            tasks.append(asyncio.create_task(other()))
        if isinstance(event, events.LegOpened) and event.leg == 0:
            tasks.append(asyncio.create_task(transport.send({"type": "KeepAlive"})))
        if isinstance(event, events.Resumed):
            tasks.append(asyncio.create_task(transport.close()))

    fault = Fault(Reset(), when=AfterNewChunks(20))
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = factory_of(endpoint, on_event, initial_backoff=0.01)
        transport = factory(LISTEN_URL)
        for number in range(20):
            await transport.send(chunk(number, CHUNK))
        async for _ in transport:
            pass
        await until(lambda: len(tasks) == 3)
        await asyncio.gather(*tasks)
    for name in (transport.session_id, *others):
        assert_consistent([event for event in seen if event.session == name])
    assert len(of(seen, events.SessionEnded)) == 2


@pytest.mark.parametrize("kind", [events.LegEnded, events.LegOpening, events.LegOpened])
async def test_a_function_that_drops_the_transport_hears_of_its_end_last(kind):
    """Its finaliser runs in the middle of the event, and what was seen before is still to come."""
    seen, kept, is_sent = [], [], False

    def on_event(event):
        seen.append(event)
        if isinstance(event, kind) and is_sent and kept:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                kept.clear()
                gc.collect()

    fault = Fault(Reset(), when=AfterNewChunks(20))
    async with LocalEndpoint(faults=[fault]) as endpoint:
        kept.append(factory_of(endpoint, on_event, initial_backoff=0.01)(LISTEN_URL))
        await kept[0].open()
        for number in range(19):
            await kept[0].send(chunk(number, CHUNK))
        is_sent = True
        await kept[0].send(chunk(19, CHUNK))
        await until(lambda: of(seen, events.SessionEnded))
    assert kept == []
    assert assert_consistent(seen).outcome == "cut"


async def test_a_function_that_would_have_to_be_awaited_is_refused(caplog):
    async def on_event(event):
        raise AssertionError(event)

    config = SageMakerConfig("ep")
    with pytest.raises(TypeError, match="a plain function"):
        SageMakerTransportFactory(config=config, on_event=on_event)
    with pytest.raises(TypeError, match="takes a function, not str"):
        SageMakerTransportFactory(config=config, on_event="print")
    # One that looks like a plain function.
    async with LocalEndpoint() as endpoint:
        factory = factory_of(endpoint, lambda event: on_event(event))
        heard = await session(client_of_factory(factory), 10)
    assert heard.numbers == list(range(10))
    assert "on_event returned a coroutine" in caplog.text
    gc.collect()


request = contextvars.ContextVar("request", default=None)


async def test_events_come_on_the_loop_and_the_first_in_the_request_s_context():
    seen = []

    def on_event(event):
        here = (threading.get_ident(), asyncio.get_running_loop(), request.get())
        seen.append((event.name, here))

    fault = Fault(Reset(), when=AfterNewChunks(20))
    async with LocalEndpoint(faults=[fault]) as endpoint:
        request.set("mine")
        await session(client_of_factory(factory_of(endpoint, on_event)), 50)
    here = (threading.get_ident(), asyncio.get_running_loop())
    (first, where), *rest = seen
    assert (first, where) == ("session_began", (*here, "mine"))
    assert {each for _, each in rest} == {(*here, None)}


async def test_what_happens_while_the_loop_is_blocked_has_its_own_time():
    seen = []
    fault = Fault(Reset(), when=AfterChunks(20))
    async with LocalEndpoint(faults=[fault]) as endpoint:
        transport = factory_of(endpoint, seen)(LISTEN_URL)
        await transport.open()
        # Before the last chunk leaves: the reset may come before this thread goes on.
        began = time.monotonic()
        for number in range(20):
            await transport.send(chunk(number, CHUNK))
        await asyncio.sleep(0)
        time.sleep(1.0)  # noqa: ASYNC251 - what is tested
        ended = time.monotonic()
        await until(lambda: of(seen, events.LegEnded))
        (lost,) = of(seen, events.LegEnded)
        assert began < lost.monotonic < ended - 0.3
        await transport.send({"type": "CloseStream"})
        await transport.close()
    assert_consistent(seen)


def began_on(loop, factory, endpoint):
    """A transport that is live on a loop that does not run."""
    kept = []

    async def begin():
        transport = factory(LISTEN_URL)
        await transport.open()
        await transport.send(chunk(0, CHUNK))
        kept.append(transport)
        # What has happened by now is reported by now.
        await until(lambda: sum(leg.chunks for leg in endpoint.legs) == 1)
        await asyncio.sleep(0.05)

    loop.run_until_complete(begin())
    return kept


def test_what_happens_to_a_session_whose_loop_is_closed_is_logged(caplog):
    caplog.set_level(logging.DEBUG, "deepgram_sagemaker")
    seen = []
    with LocalEndpoint() as endpoint:
        factory = factory_of(endpoint, seen)
        loop = asyncio.new_event_loop()
        # asyncio reports every task that was destroyed, and this test destroys one.
        loop.set_exception_handler(lambda *_: None)
        kept = began_on(loop, factory, endpoint)
        before = len(seen)
        loop.close()
        caplog.clear()
        with pytest.warns(ResourceWarning, match="never closed"):
            kept.clear()
        gc.collect()
        logged = [each for each in caplog.records if hasattr(each, "deepgram_event")]
        assert [each.deepgram_event for each in logged] == ["leg_ended", "session_ended"]
        assert logged[-1].deepgram_outcome == "cut"
        assert logged[-1].deepgram_totals["bytes_sent"] == CHUNK
        assert len(seen) == before
        told = [each.message for each in caplog.records if each.levelno == logging.WARNING]
        assert len(told) == 2
        assert "on_event was not called with session_ended" in told[1]
        assert logged[-1].deepgram_session in told[1]
    assert factory.stats.sessions == 1


def test_a_transport_can_be_closed_once_its_loop_is(caplog):
    seen = []
    with LocalEndpoint() as endpoint:
        factory = factory_of(endpoint, seen)
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        (transport,) = began_on(loop, factory, endpoint)
        loop.close()
        hub = weakref.ref(transport._driver.hub)
        for _ in range(2):
            asyncio.run(transport.close())
        asyncio.run(until(lambda: endpoint.stats.live_streams == 0))
        assert (factory.stats.sessions, factory.stats.journal_bytes) == (1, 0)
        assert "on_event was not called with session_ended" in caplog.text
        del transport, loop
        gc.collect()
        assert hub() is None


async def test_a_session_that_is_interrupted_has_not_ended_in_order():
    """The loop stops, and whoever runs it again must not take the session for complete."""

    def on_event(event):
        if isinstance(event, events.LegOpened):
            raise SystemExit(3)

    async with LocalEndpoint() as endpoint:
        factory = factory_of(endpoint, on_event)

        def run():
            loop = asyncio.new_event_loop()
            try:

                async def begin():
                    transport = factory(LISTEN_URL)
                    kept.append(transport)
                    await transport.send(chunk(0, CHUNK))
                    await asyncio.sleep(10)

                kept = []
                with pytest.raises(SystemExit):
                    loop.run_until_complete(begin())
                with pytest.raises(SageMakerError, match=r"interrupted: SystemExit\(3\)"):
                    loop.run_until_complete(kept[0].recv())
                loop.run_until_complete(kept[0].close())
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0))
            finally:
                loop.close()

        await asyncio.to_thread(run)


def test_what_happens_to_a_session_whose_loop_pauses_is_logged_and_told_later(caplog):
    caplog.set_level(logging.DEBUG, "deepgram_sagemaker")
    seen = []
    with LocalEndpoint() as endpoint:
        loop = asyncio.new_event_loop()
        kept = began_on(loop, factory_of(endpoint, seen), endpoint)
        before = len(seen)
        with pytest.warns(ResourceWarning, match="never closed"):
            kept.clear()
        logged = [each for each in caplog.records if hasattr(each, "deepgram_event")]
        assert logged[-1].deepgram_event == "session_ended"
        assert len(seen) == before
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
    assert_consistent(seen)


async def test_a_transport_collected_in_another_thread_is_reported_on_the_loop():
    seen = []

    def on_event(event):
        seen.append((event, threading.get_ident()))

    async with LocalEndpoint() as endpoint:
        transports = [factory_of(endpoint, on_event)(LISTEN_URL)]
        await transports[0].open()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            await asyncio.to_thread(transports.clear)
        await until(lambda: isinstance(seen[-1][0], events.SessionEnded))
    assert {thread for _, thread in seen} == {threading.get_ident()}
    assert assert_consistent([event for event, _ in seen]).outcome == "cut"


async def test_several_sessions_do_not_mix():
    seen = []
    fault = Fault(Reset(), when=AfterNewChunks(10), scope="conversation")
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = factory_of(endpoint, seen)
        client = client_of_factory(factory)
        await asyncio.gather(*(session(client, 30, tag=str(number)) for number in range(5)))
    by_session = {}
    for event in seen:
        by_session.setdefault(event.session, []).append(event)
    assert len(by_session) == 5
    for each in by_session.values():
        assert_consistent(each)
    assert sum(each[-1].totals.legs for each in by_session.values()) == factory.stats.legs


# The classes ------------------------------------------------------------------------------------


def own_fields(kind):
    return {each.name for each in dataclasses.fields(kind)} - {
        each.name for each in dataclasses.fields(events.BaseEvent)
    }


def test_what_the_native_side_reports_has_its_class():
    for name, fields in notices().items():
        kind = events.CLASSES[name]
        # The driver adds it.
        assert own_fields(kind) - {"request_id"} == set(fields), name


def test_every_class_is_public_frozen_and_named():
    assert {kind.__name__ for kind in KINDS} | {"BaseEvent", "Event"} == set(events.__all__)
    for kind in KINDS:
        assert kind.__dataclass_params__.frozen
        assert kind.__name__.lower() == kind.name.replace("_", "")
        assert typing.get_type_hints(kind)["session"] is str
    assert events.LegOpenFailed.name == "leg_open_failed"


def test_an_event_can_be_pickled_and_not_be_changed():
    event = events.RolledOver(
        session="0", path="p", endpoint_name="e", region="r", time=1.0, monotonic=2.0, leg=3
    )
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.leg = 4


def test_a_factory_with_a_function_is_pickled_with_it():
    factory = SageMakerTransportFactory("ep", on_event=print)
    assert pickle.loads(pickle.dumps(factory))._on_event is print
