"""The way to a session's first stream: `open()`, look-ups that hang, applications that give up."""

import asyncio
import gc
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from deepgram_sagemaker import SageMakerConfig, SageMakerTransport, SageMakerTransportFactory
from deepgram_sagemaker.driver import Driver
from deepgram_sagemaker.errors import (
    AuthenticationError,
    ConnectError,
    CredentialsTimeoutError,
    NoCredentialsError,
    RetriesExhaustedError,
    SageMakerError,
    SessionClosedError,
    ThrottledError,
)
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterReplies,
    Answer,
    DelayAnswer,
    NeverAnswer,
    NeverTls,
    Reset,
)
from deepgram_sagemaker.local.watermark import chunk
from sessions import CHUNK, LISTEN_URL, engine_threads, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def transport_to(endpoint, **fields):
    return SageMakerTransportFactory(config=endpoint.config(**fields))(LISTEN_URL, {})


# Opening it by name.


async def test_open_connects_and_says_nothing():
    async with LocalEndpoint() as endpoint:
        transport = transport_to(endpoint)
        assert await transport.open() is None
        (leg,) = endpoint.legs
        assert (leg.status, leg.messages_in) == (200, 0)
        # Any number of times, one after another and at once.
        await asyncio.gather(*(transport.open() for _ in range(20)))
        await transport.send(chunk(0, CHUNK))
        await transport.open()
        await transport.send({"type": "CloseStream"})
        assert "Results" in await transport.recv()
        assert endpoint.stats.opens == 1
        await transport.close()


async def test_open_after_a_message_waits_for_the_same_stream():
    async with LocalEndpoint(faults=[Fault(DelayAnswer(0.3))]) as endpoint:
        transport = transport_to(endpoint)
        receiving = asyncio.create_task(transport.recv())
        await transport.send(chunk(0, CHUNK))
        assert transport.stats.legs == 0
        await asyncio.gather(*(transport.open() for _ in range(5)))
        assert transport.stats.legs == 1
        await transport.send({"type": "CloseStream"})
        assert "Results" in await receiving
        await transport.close()


async def test_open_raises_at_once_what_would_be_the_same_again():
    faults = [Fault(Answer(403, "AccessDeniedException"), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = transport_to(endpoint)
        for _ in range(2):
            with pytest.raises(AuthenticationError, match="InvokeEndpointWithBidirectionalStream"):
                await transport.open()
        with pytest.raises(AuthenticationError):
            await transport.send(chunk(0, CHUNK))
        assert endpoint.stats.opens == 1
        await transport.close()


async def test_open_without_credentials_says_so():
    transport = SageMakerTransport(SageMakerConfig("ep"), "v1/listen", "model=nova-3")
    with pytest.raises(NoCredentialsError, match="aws sso login"):
        await transport.open()
    await transport.close()


async def test_open_tries_again_what_may_pass():
    async with LocalEndpoint(
        faults=[Fault(Answer(429, "ThrottlingException"), times=2)]
    ) as endpoint:
        transport = transport_to(endpoint, initial_backoff=0.01, max_backoff=0.02)
        await transport.open()
        assert (endpoint.stats.opens, endpoint.stats.accepted) == (3, 1)
        await transport.close()


async def test_open_gives_up_as_a_message_would():
    faults = [Fault(Answer(429, "ThrottlingException"), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = transport_to(endpoint, max_retries=2, initial_backoff=0.01, max_backoff=0.02)
        raised = await asyncio.gather(*(transport.open() for _ in range(3)), return_exceptions=True)
        assert {type(each) for each in raised} == {RetriesExhaustedError}
        assert type(raised[0].__cause__) is ThrottledError
        assert endpoint.stats.opens == 3
        await transport.close()


async def test_open_does_not_wait_where_it_has_been_open():
    """It returns between two streams as well: the session could connect."""
    faults = [
        Fault(Reset(), when=AfterReplies(1)),
        Fault(NeverAnswer(), legs=(2, None), times=None),
    ]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = transport_to(endpoint, close_timeout=0.1)
        await transport.open()
        for number in range(20):
            await transport.send(chunk(number, CHUNK))
        await until(lambda: endpoint.stats.opens == 2)
        async with asyncio.timeout(0.5):
            await transport.open()
        await transport.close()


async def test_open_after_close_says_so():
    async with LocalEndpoint() as endpoint:
        for opened in (False, True):
            transport = transport_to(endpoint)
            if opened:
                await transport.open()
            await transport.close()
            with pytest.raises(SessionClosedError, match="closed"):
                await transport.open()


async def test_open_after_the_services_end_says_so():
    async with LocalEndpoint() as endpoint:
        transport = transport_to(endpoint)
        await transport.send({"type": "CloseStream"})
        while await transport.recv() is not None:
            pass
        with pytest.raises(SessionClosedError, match="ended"):
            await transport.open()
        await transport.close()


async def test_close_ends_an_open_that_waits():
    async with LocalEndpoint(faults=[Fault(NeverAnswer(), times=None)]) as endpoint:
        transport = transport_to(endpoint, close_timeout=0.2)
        opening = asyncio.create_task(transport.open())
        await until(lambda: endpoint.stats.opens == 1)
        async with asyncio.timeout(2):
            await transport.close()
            with pytest.raises(SessionClosedError):
                await opening
        await until(lambda: endpoint.stats.live_connections == 0)


async def test_a_cancelled_open_leaves_the_session_as_it_is():
    async with LocalEndpoint(faults=[Fault(DelayAnswer(0.2))]) as endpoint:
        transport = transport_to(endpoint)
        for _ in range(3):
            opening = asyncio.create_task(transport.open())
            await asyncio.sleep(0.01)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        await transport.send(chunk(0, CHUNK))
        await transport.open()
        await transport.send({"type": "CloseStream"})
        assert "Results" in await transport.recv()
        assert endpoint.stats.opens == 1
        await transport.close()


async def test_an_unreachable_endpoint_is_told_by_open(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    config = SageMakerConfig("ep", endpoint_uri="https://127.0.0.1:1", proxy="", max_retries=0)
    transport = SageMakerTransport(config, "v1/listen", "model=nova-3")
    with pytest.raises(ConnectError):
        await transport.open()
    await transport.close()


# Credentials that hang.


class Hanging:
    """A session for credentials that answers on request."""

    def __init__(self, endpoint):
        self.gate = threading.Event()
        self.asked = 0
        self._keys = endpoint.boto3_session().get_credentials()

    def get_credentials(self):
        self.asked += 1
        assert self.gate.wait(30)
        return self._keys


@pytest.fixture
async def hanging(monkeypatch):
    monkeypatch.setattr("deepgram_sagemaker.credentials._LEAST_PATIENCE", 0.0)
    async with LocalEndpoint() as endpoint:
        session = Hanging(endpoint)
        yield endpoint, session
        session.gate.set()


async def test_a_look_up_that_hangs_is_an_error_within_its_deadlines(hanging, caplog):
    endpoint, keys = hanging
    transport = transport_to(
        endpoint, boto3_session=keys, connection_timeout=0.2, max_retries=2, max_backoff=0.1
    )
    began = time.monotonic()
    await transport.send(chunk(0, CHUNK))
    with pytest.raises(RetriesExhaustedError, match="looking up AWS credentials") as caught:
        await transport.recv()
    assert type(caught.value.__cause__) is CredentialsTimeoutError
    assert caught.value.attempts == 3
    assert 0.6 <= time.monotonic() - began < 5
    assert keys.asked == 1
    assert "looking up AWS credentials takes more than 0.1 s" in caplog.text
    await transport.close()


async def test_a_look_up_that_comes_late_is_used_by_the_next_attempt(hanging):
    endpoint, keys = hanging
    transport = transport_to(
        endpoint, boto3_session=keys, connection_timeout=0.2, max_retries=20, max_backoff=0.1
    )
    opening = asyncio.create_task(transport.open())
    await asyncio.sleep(0.5)
    assert not opening.done()
    keys.gate.set()
    async with asyncio.timeout(5):
        await opening
    assert keys.asked == 1
    await transport.close()


@pytest.mark.parametrize("how", ["close", "cancel", "cancel close", "cancel the first message"])
async def test_what_hangs_holds_up_neither_close_nor_cancellation(hanging, how):
    endpoint, keys = hanging
    transport = transport_to(endpoint, boto3_session=keys, close_timeout=0.2)
    acting = asyncio.create_task(
        transport.send(chunk(0, CHUNK)) if "message" in how else transport.recv()
    )
    await asyncio.sleep(0.1)
    async with asyncio.timeout(1):
        if how.startswith("cancel") and how != "cancel close":
            acting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await acting
        closing = asyncio.create_task(transport.close())
        if how == "cancel close":
            await asyncio.sleep(0)
            closing.cancel()
        await asyncio.wait([closing])
        await asyncio.gather(acting, return_exceptions=True)
    assert endpoint.stats.opens == 0
    assert {task for task in asyncio.all_tasks() if "deepgram" in task.get_name()} == set()


# Applications that give up while a stream opens.


def beginning(endpoint, factory, condition):
    """A loop that has begun a session, and is not run again by itself."""

    async def begin():
        transport = factory(LISTEN_URL, {})
        waiting = asyncio.create_task(transport.recv())
        await until(condition)
        waiting.cancel()
        await asyncio.wait([waiting])
        return transport

    loop = asyncio.new_event_loop()
    return loop, loop.run_until_complete(begin())


def gone(endpoint):
    """No connection and no thread of the engine is left, although no loop runs."""
    deadline = time.monotonic() + 3
    while endpoint.stats.live_connections or engine_threads():
        assert time.monotonic() < deadline, (endpoint.stats.live_connections, engine_threads())
        time.sleep(0.005)


@linux
@pytest.mark.parametrize(
    "fault", [Fault(DelayAnswer(30)), Fault(NeverAnswer()), Fault(NeverTls())], ids=repr
)
def test_a_transport_dropped_while_its_stream_opens_lets_go_at_once(fault):
    with LocalEndpoint(faults=[fault]) as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())

        def under_way():
            stats = endpoint.stats
            return stats.connections if fault.action == NeverTls() else stats.opens

        loop, transport = beginning(endpoint, factory, under_way)
        assert engine_threads() == 1
        with pytest.warns(ResourceWarning, match="never closed"):
            del transport
        gone(endpoint)
        # If the loop runs again nothing is left on it, and nothing is logged.
        caught = []
        loop.set_exception_handler(lambda _, context: caught.append(context))
        loop.run_until_complete(asyncio.sleep(0.05))
        assert asyncio.all_tasks(loop) == set()
        loop.close()
        gc.collect()
        assert caught == []


@linux
def test_one_dropped_while_it_waits_for_its_turn_lets_go_at_once():
    with LocalEndpoint(faults=[Fault(NeverAnswer(), times=None)]) as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config(max_concurrency=1))

        async def begin():
            transports = [factory(LISTEN_URL, {}) for _ in range(2)]
            waiting = [asyncio.create_task(each.recv()) for each in transports]
            await until(lambda: endpoint.stats.opens == 1)
            await asyncio.sleep(0.05)
            for each in waiting:
                each.cancel()
            await asyncio.wait(waiting)
            return transports

        loop = asyncio.new_event_loop()
        transports = loop.run_until_complete(begin())
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            transports.pop()
            transports.pop()
        assert [each.category for each in seen] == [ResourceWarning] * 2
        gone(endpoint)
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()


@linux
def test_one_dropped_with_a_stream_that_nobody_has_taken_over_lets_go_at_once():
    """The stream has opened, and the loop has not run since."""
    with LocalEndpoint(faults=[Fault(DelayAnswer(0.2))]) as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        loop, transport = beginning(endpoint, factory, lambda: endpoint.stats.opens)
        deadline = time.monotonic() + 3
        while not endpoint.stats.accepted:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(0.1)
        with pytest.warns(ResourceWarning, match="never closed"):
            del transport
        gone(endpoint)
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()


@linux
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_one_collected_in_another_thread_while_it_opens_leaves_nothing():
    async with LocalEndpoint(faults=[Fault(NeverAnswer(), times=None)]) as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        for pause in (0.0, 0.002, 0.01, 0.05):
            transports = [factory(LISTEN_URL, {})]
            waiting = asyncio.create_task(transports[0].recv())
            await asyncio.sleep(pause)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            del waiting

            await asyncio.to_thread(transports.clear)
            await until(lambda: endpoint.stats.live_connections == 0)
            await until(lambda: engine_threads() == 0)
            await until(
                lambda: not [task for task in asyncio.all_tasks() if "deepgram" in task.get_name()]
            )


async def test_a_first_message_tells_of_a_failure_no_sooner_than_later_ones():
    """It is taken as if it had not waited; `recv` and the next message have the error."""
    transport = SageMakerTransport(SageMakerConfig("ep"), "v1/listen", "model=nova-3")
    await transport.send(b"audio")
    with pytest.raises(SageMakerError):
        await transport.send(b"audio")
    with pytest.raises(SageMakerError):
        await transport.recv()
    await transport.close()


async def test_a_full_executor_does_not_hold_up_an_opening():
    """The application's own jobs may fill the loop's executor for as long as they like."""
    async with LocalEndpoint() as endpoint:
        gate = threading.Event()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        job = loop.run_in_executor(None, gate.wait, 20)
        try:
            transport = transport_to(endpoint)
            async with asyncio.timeout(10):
                await transport.open()
            await transport.close()
        finally:
            gate.set()
            await job


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_a_leg_that_opens_as_its_session_ends_is_reset(monkeypatch, how):
    """The opening is over, so it cannot be cancelled, and the session does not take the leg."""
    tried = Driver._tried

    def ends(driver, choice):
        if how == "closed":
            driver.session.finish()
        else:
            driver._task.cancel()
        tried(driver, choice)

    monkeypatch.setattr(Driver, "_tried", ends)
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config(max_concurrency=1))
        transport = factory(LISTEN_URL)
        with pytest.raises(SessionClosedError):
            await transport.open()
        assert endpoint.stats.accepted == 1
        # The transport is still referred to. The service would end the stream after 10 s.
        await until(lambda: endpoint.stats.live_streams == 0, within=5.0)
        monkeypatch.undo()
        # It has given its permit back.
        other = factory(LISTEN_URL)
        await other.open()
        await other.close()
        await transport.close()
