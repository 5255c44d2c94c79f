"""One transport: sending, receiving, ending; and what remains after an end out of order."""

import array
import asyncio
import gc
import logging
import os
import sys
import threading
import time
import warnings

import pytest
from deepgram import AsyncDeepgramClient
from deepgram.transport import restore_transport
from deepgram_sagemaker import SageMakerConfig, SageMakerTransport, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError, SessionClosedError
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterReplies,
    DelayAnswer,
    ModelStreamError,
    NeverAnswer,
    NeverTls,
)
from deepgram_sagemaker.local.watermark import chunk
from engines import engine_threads
from load import Stopwatch, in_time
from sessions import (
    CHUNK,
    LISTEN_URL,
    client_of,
    descriptors,
    run_script,
    session,
    until,
)

SOON = 8
"""Seconds: more than a busy machine needs, and far less than any of the timeouts."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


async def echo(stream):
    """A model that returns every message as it came, up to CloseStream."""
    async for message in stream:
        await stream.send(message)
        if message == '{"type": "CloseStream"}':
            return


async def deaf(stream):
    """A model that never reads and never ends by itself."""
    await asyncio.Event().wait()


def transport_to(endpoint, path="v1/test", query="", **fields):
    """Not a product that the session knows: messages pass as they are."""
    return SageMakerTransport(endpoint.config(**fields), path, query)


async def drained(transport):
    return [message async for message in transport]


def hold_up(condition, seconds):
    """Keep the loop busy until a condition holds, or for some seconds; return whether it held."""
    deadline = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.001)
    return held


def other_tasks():
    """Tasks besides the running one; those of a Python model are the endpoint's."""
    return {
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and not task.get_name().startswith("model of leg")
    }


async def heard_of(endpoint, leg=1):
    """Waits until the service has received something on that leg; by then the client has the leg.

    A stream that lives need not be the one that is meant: the last one may not have ended yet.
    """
    await until(lambda: len(endpoint.legs) >= leg and endpoint.legs[leg - 1].messages_in > 0)


@pytest.fixture
async def endpoint():
    async with LocalEndpoint() as running:
        yield running


@pytest.fixture
async def echoing():
    async with LocalEndpoint(model=echo) as running:
        yield running


# Sending and receiving.


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("text", "text"),
        ("", ""),
        ("Grüße, 世界 🌍", "Grüße, 世界 🌍"),
        (b"bytes", b"bytes"),
        (bytearray(b"array"), b"array"),
        (memoryview(b"a view")[2:], b"view"),
        (memoryview(b"every other one")[::2], b"eeyohroe"),
        (memoryview(array.array("h", [1, -2, 300])), array.array("h", [1, -2, 300]).tobytes()),
        ({"type": "KeepAlive", "n": 1}, '{"type": "KeepAlive", "n": 1}'),
        ({}, "{}"),
    ],
)
async def test_every_kind_of_message_goes_and_comes_whole(echoing, sent, received):
    transport = transport_to(echoing)
    await transport.send(sent)
    answer = await transport.recv()
    assert answer == received
    assert type(answer) is type(received)
    await transport.close()


async def test_an_empty_chunk_is_nothing(echoing):
    """A container may take an empty message for the end of its audio."""
    transport = transport_to(echoing)
    for nothing in (b"", bytearray(), memoryview(b"")):
        await transport.send(nothing)
    await transport.send(b"something")
    assert await transport.recv() == b"something"
    await transport.close()
    assert echoing.legs[0].messages_in == 1


async def test_a_large_message_is_one_message(echoing):
    transport = transport_to(echoing)
    large = bytes(range(256)) * 4096
    await transport.send(large)
    assert await transport.recv() == large
    text = "é" * 500_000
    await transport.send(text)
    assert await transport.recv() == text
    await transport.close()


async def test_what_is_sent_may_be_changed_afterwards(echoing):
    transport = transport_to(echoing)
    audio = bytearray(b"first")
    await transport.send(audio)
    audio[:] = b"other"
    audio.extend(b" and longer")
    assert await transport.recv() == b"first"
    await transport.close()


@pytest.mark.parametrize("wrong", [None, 1, 1.5, ["text"], object(), array.array("h", [1])])
async def test_other_types_are_refused_and_harm_nothing(echoing, wrong):
    transport = transport_to(echoing)
    with pytest.raises(TypeError, match=r"str, bytes, bytearray, memoryview or dict, not \w+"):
        await transport.send(wrong)
    await transport.send("after")
    assert await transport.recv() == "after"
    await transport.close()


@pytest.mark.parametrize("wrong", [{"key": object()}, {1: {2}}])
async def test_a_dict_that_is_no_json_is_refused_and_harms_nothing(echoing, wrong):
    transport = transport_to(echoing)
    with pytest.raises(TypeError):
        await transport.send(wrong)
    await transport.send("after")
    assert await transport.recv() == "after"
    await transport.close()


async def test_text_that_is_no_unicode_is_refused_and_harms_nothing(echoing):
    transport = transport_to(echoing)
    with pytest.raises(ValueError, match="surrogates"):
        await transport.send("half \ud83d")
    await transport.send("after")
    assert await transport.recv() == "after"
    await transport.close()


async def test_messages_keep_the_order_of_send(echoing):
    transport = transport_to(echoing)
    expected = [f"text {n}" if n % 3 else b"bytes %d" % n for n in range(500)]

    async def send():
        for message in expected:
            await transport.send(message)

    sending = asyncio.create_task(send())
    assert [await transport.recv() for _ in expected] == expected
    await sending
    await transport.close()


class Held:
    """A model that reads nothing until it is released, and then notes how messages begin."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.heard = []

    async def __call__(self, stream):
        await self.gate.wait()
        async for message in stream:
            self.heard.append(message[:9])


@pytest.mark.parametrize("occasion", ["another message is sent", "a message is read"])
async def test_what_was_sent_goes_out_while_the_loop_is_busy(echoing, occasion):
    transport = transport_to(echoing)
    for message in (b"read now", b"read later"):
        await transport.send(message)
    assert await transport.recv() == b"read now"
    await until(lambda: echoing.legs[0].messages_out == 2)
    # The loop stands still from here: nothing awaited may have to wait.
    await transport.send(b"one of many")
    hold_up(lambda: False, seconds=0.01)
    if occasion == "a message is read":
        assert await transport.recv() == b"read later"
    else:
        await transport.send(b"another")
    assert hold_up(lambda: echoing.legs[0].messages_in > 2, seconds=2), "it waits for the loop"
    await transport.close()


async def test_order_holds_across_back_pressure():
    """The first caller of `send` is first, waiting or not."""
    model = Held()
    async with LocalEndpoint(model=model) as endpoint:
        transport = transport_to(endpoint, max_replay_buffer_bytes=0)
        sends = [
            asyncio.create_task(transport.send(b"%03d large" % n + bytes(64 << 10)))
            for n in range(99)
        ]
        await until(lambda: endpoint.stats.live_streams == 1)
        assert not all(send.done() for send in sends)
        model.gate.set()
        # There is room for it long before the large ones, and it is last all the same.
        await asyncio.gather(transport.send(b"099 small"), *sends)
        await transport.close()
        await until(lambda: len(model.heard) == 100)
        assert model.heard == [b"%03d large" % n for n in range(99)] + [b"099 small"]


async def test_send_waits_for_room_and_not_for_ever():
    async with LocalEndpoint(model=deaf) as endpoint:
        transport = transport_to(endpoint, max_replay_buffer_bytes=0)
        sent = 0

        async def send():
            nonlocal sent
            while True:
                await transport.send(bytes(64 << 10))
                sent += 1

        sending = asyncio.create_task(send())
        await until(lambda: endpoint.stats.live_streams == 1)
        # Several times through the loop without another one sent: it waits.
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert 0 < sent * (64 << 10) < 8 << 20
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(SOON):
            closing = asyncio.create_task(transport.close())
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing


# Its end.


async def test_after_the_end_recv_returns_none_again_and_again(endpoint):
    transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
    await transport.send(chunk(0, CHUNK))
    await transport.send({"type": "CloseStream"})
    messages = await drained(transport)
    assert [type(message) for message in messages] == [str, str]
    assert await transport.recv() is None
    assert await transport.recv() is None
    assert await drained(transport) == []
    await transport.close()
    assert await transport.recv() is None


async def test_send_after_the_services_end_says_so(endpoint):
    transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
    await transport.send({"type": "CloseStream"})
    await drained(transport)
    with pytest.raises(SessionClosedError, match=r"has ended"):
        await transport.send(b"late")
    await transport.close()


async def test_send_after_close_says_so(endpoint):
    for begun in (False, True):
        transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
        if begun:
            await transport.send(chunk(0, CHUNK))
        await transport.close()
        for message in (b"late", "late", {"type": "KeepAlive"}, {"type": "CloseStream"}):
            with pytest.raises(SessionClosedError, match=r"closed|has ended"):
                await transport.send(message)
        assert await transport.recv() is None


async def test_an_error_is_raised_after_the_messages_before_it_and_from_then_on():
    faults = [Fault(ModelStreamError("1008", "DATA-0000 no audio"), when=AfterReplies(2))]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
        for number in range(30):
            await transport.send(chunk(number, CHUNK))
        assert "Results" in await transport.recv()
        assert "Results" in await transport.recv()
        for _ in range(3):
            with pytest.raises(SageMakerError, match="no audio"):
                await transport.recv()
        with pytest.raises(SageMakerError, match="no audio"):
            await transport.send(b"more")
        with pytest.raises(SageMakerError, match="no audio"):
            await drained(transport)
        # `close` does not raise it.
        await transport.close()


async def test_an_error_raised_again_and_again_does_not_grow():
    transport = SageMakerTransport(
        SageMakerConfig("ep", endpoint_uri="https://127.0.0.1:1", proxy="", max_retries=0),
        "v1/test",
        "",
    )
    depths = []
    for _ in range(5):
        with pytest.raises(SageMakerError) as caught:
            await transport.recv()
        depth, trace = 0, caught.value.__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        depths.append(depth)
    assert len(set(depths[1:])) == 1
    await transport.close()


async def test_close_is_idempotent_and_concurrent(endpoint):
    transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
    for number in range(10):
        await transport.send(chunk(number, CHUNK))
    await asyncio.gather(*(transport.close() for _ in range(5)))
    await transport.close()
    assert other_tasks() == set()
    (leg,) = endpoint.legs
    # In order: the service got the closing message, and the session waited for its end.
    assert leg.chunks == 10
    await until(lambda: endpoint.stats.live_connections == 0)
    assert (endpoint.legs[0].end, endpoint.legs[0].input_end) == ("model", "signed")


async def test_close_before_anything_connects_nowhere(endpoint):
    transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
    await transport.close()
    await transport.close()
    assert endpoint.stats.connections == 0
    assert endpoint.stats.opens == 0
    assert await transport.recv() is None


async def test_nothing_connects_before_the_first_send_or_recv(endpoint):
    factory = SageMakerTransportFactory(config=endpoint.config())
    transports = [factory(LISTEN_URL, {}) for _ in range(20)]
    await asyncio.sleep(0.05)
    assert endpoint.stats.connections == 0
    receiving = asyncio.create_task(transports[0].recv())
    await until(lambda: endpoint.stats.accepted == 1)
    receiving.cancel()
    await asyncio.gather(*(transport.close() for transport in transports))
    assert endpoint.stats.accepted == 1


async def test_messages_after_close_are_not_delivered(echoing):
    transport = transport_to(echoing)
    await transport.send("unread")
    await until(lambda: transport.stats.messages_out == 1)
    await transport.close()
    assert await transport.recv() is None


@pytest.mark.parametrize(
    "fault", [Fault(DelayAnswer(30)), Fault(NeverAnswer()), Fault(NeverTls())], ids=repr
)
async def test_close_while_opening_ends_in_bounded_time(fault):
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config(close_timeout=0.3))
        transport = factory(LISTEN_URL, {})
        await transport.send(chunk(0, CHUNK))
        await until(lambda: endpoint.stats.connections == 1)
        async with asyncio.timeout(SOON):
            await transport.close()
        assert other_tasks() == set()
        await until(lambda: endpoint.stats.live_connections == 0)


async def test_close_with_a_service_that_never_ends_takes_close_timeout(caplog):
    async with LocalEndpoint(model=deaf) as endpoint:
        transport = transport_to(endpoint, close_timeout=0.3)
        await transport.send("hello")
        await until(lambda: endpoint.stats.live_streams == 1)
        loop, watch = asyncio.get_running_loop(), Stopwatch()
        began = loop.time()
        with caplog.at_level(logging.WARNING, "deepgram_sagemaker"):
            await transport.close()
        assert loop.time() - began >= 0.25
        assert watch.seconds <= 0.8
        assert "did not end the stream in time" in caplog.text
        assert other_tasks() == set()
        await until(lambda: endpoint.stats.live_connections == 0)


async def test_leaving_the_context_with_an_exception_is_bounded():
    async with LocalEndpoint(model=deaf) as endpoint:
        client = client_of(endpoint.config(close_timeout=0.3))

        async def fail():
            async with client.listen.v1.connect(model="nova-3") as connection:
                await connection.send_media(b"audio")
                raise ZeroDivisionError

        async with asyncio.timeout(SOON):
            with pytest.raises(ZeroDivisionError):
                await fail()
        assert other_tasks() == set()
        await until(lambda: endpoint.stats.live_connections == 0)


# Cancellation.


async def test_cancelling_recv_loses_nothing(echoing):
    transport = transport_to(echoing)
    for _ in range(20):
        receiving = asyncio.create_task(transport.recv())
        await asyncio.sleep(0)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
    for n in range(50):
        await transport.send(str(n))
    heard = []
    while len(heard) < 50:
        receiving = asyncio.create_task(transport.recv())
        done, _ = await asyncio.wait({receiving}, timeout=0.0005)
        if not done:
            receiving.cancel()
            try:
                heard.append(await receiving)
            except asyncio.CancelledError:
                continue
        else:
            heard.append(receiving.result())
    assert heard == [str(n) for n in range(50)]
    await transport.close()


async def test_cancelling_a_waiting_send_neither_sends_nor_blocks_the_next():
    model = Held()
    async with LocalEndpoint(model=model) as endpoint:
        transport = transport_to(endpoint, max_replay_buffer_bytes=0)
        big = bytes(256 << 10)
        sent = 0
        while True:
            sending = asyncio.create_task(transport.send(b"message %d" % (sent % 10) + big))
            done, _ = await asyncio.wait({sending}, timeout=0.3)
            if not done:
                break
            sent += 1
        others = [asyncio.create_task(transport.send(b"cancelled" + big)) for _ in range(3)]
        last = asyncio.create_task(transport.send(b"the last."))
        await asyncio.sleep(0)
        for each in (sending, *others):
            each.cancel()
        await asyncio.gather(sending, *others, return_exceptions=True)
        assert all(each.cancelled() for each in (sending, *others))
        model.gate.set()
        async with asyncio.timeout(SOON):
            await last
            await transport.close()
        await until(lambda: len(model.heard) == sent + 1)
        assert model.heard == [b"message %d" % (n % 10) for n in range(sent)] + [b"the last."]


@pytest.mark.parametrize("opened", [False, True])
async def test_cancelling_close_ends_it_at_once(opened):
    fault = [] if opened else [Fault(NeverAnswer())]
    async with LocalEndpoint(model=deaf, faults=fault) as endpoint:
        transport = transport_to(endpoint, close_timeout=30)
        await transport.send("hello")
        stats = endpoint.stats
        await until(lambda: endpoint.stats.live_streams == 1 if opened else endpoint.stats.opens)
        assert stats.connections <= 1
        closing = asyncio.create_task(transport.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        async with asyncio.timeout(SOON):
            with pytest.raises(asyncio.CancelledError):
                await closing
        # Another close has nothing left to wait for.
        async with asyncio.timeout(SOON):
            await transport.close()
        assert other_tasks() == set()
        await until(lambda: endpoint.stats.live_connections == 0)


async def test_cancelling_one_close_does_not_raise_in_another():
    async with LocalEndpoint(model=deaf) as endpoint:
        transport = transport_to(endpoint, close_timeout=30)
        await transport.send("hello")
        first = asyncio.create_task(transport.close())
        second = asyncio.create_task(transport.close())
        await asyncio.sleep(0.05)
        first.cancel()
        async with asyncio.timeout(SOON):
            with pytest.raises(asyncio.CancelledError):
                await first
            await second


async def test_cancelled_while_opening_leaves_nothing(caplog):
    async with LocalEndpoint(faults=[Fault(NeverAnswer(), times=None)]) as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config(close_timeout=0.1))

        async def use():
            transport = factory(LISTEN_URL, {})
            try:
                await transport.recv()
            finally:
                await transport.close()

        for n in range(10):
            using = asyncio.create_task(use())
            await asyncio.sleep(0.003 * n)
            using.cancel()
            async with asyncio.timeout(SOON):
                with pytest.raises(asyncio.CancelledError):
                    await using
            assert other_tasks() == set()
        await until(lambda: endpoint.stats.live_connections == 0)
        gc.collect()
    assert "never retrieved" not in caplog.text


async def test_an_open_that_fails_while_closing_is_observed(caplog):
    """No caller is left for the leg's error, and asyncio must not complain about it."""
    config = SageMakerConfig(
        "ep", endpoint_uri="https://127.0.0.1:1", proxy="", max_retries=100, close_timeout=0.2
    )
    for n in range(30):
        transport = SageMakerTransport(config, "v1/test", "")
        await transport.send("x")
        for _ in range(n):
            await asyncio.sleep(0)
        closing = asyncio.create_task(transport.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await asyncio.sleep(0)
        del transport, closing
    for _ in range(3):
        await asyncio.sleep(0)
    assert other_tasks() == set()
    gc.collect()
    assert "never retrieved" not in caplog.text


# What remains without a close.


@linux
async def test_a_forgotten_transport_warns_and_leaves_nothing(endpoint):
    factory = SageMakerTransportFactory(config=endpoint.config())
    await session(AsyncDeepgramClient(api_key="unused", transport_factory=factory), 10)
    await until(lambda: engine_threads() == 0)
    before = descriptors()
    transports = [factory(LISTEN_URL, {})]
    await transports[0].send(chunk(0, CHUNK))
    await heard_of(endpoint, leg=2)
    assert engine_threads() == 1
    with pytest.warns(ResourceWarning, match=r"SageMakerTransport local.*never closed"):
        transports.clear()
    await until(lambda: other_tasks() == set(), within=1)
    await until(lambda: endpoint.stats.live_connections == 0)
    await until(lambda: engine_threads() == 0)
    gc.collect()
    await until(lambda: descriptors() <= before)


@linux
async def test_a_transport_collected_in_another_thread_leaves_nothing(endpoint):
    factory = SageMakerTransportFactory(config=endpoint.config())
    transports = [factory(LISTEN_URL, {})]
    await transports[0].send(chunk(0, CHUNK))
    await heard_of(endpoint)
    # A loop in debug mode refuses to be touched from elsewhere.
    asyncio.get_running_loop().set_debug(True)
    caught = []

    def collect():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            transports.clear()
        caught.extend(seen)

    thread = threading.Thread(target=collect)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert [warning.category for warning in caught] == [ResourceWarning]
    await until(lambda: other_tasks() == set())
    await until(lambda: endpoint.stats.live_connections == 0)
    await until(lambda: engine_threads() == 0)


@linux
async def test_a_closed_transport_leaves_nothing_and_does_not_warn(endpoint):
    factory = SageMakerTransportFactory(config=endpoint.config())
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    await session(client, 10)
    await until(lambda: engine_threads() == 0)
    before = descriptors()
    await asyncio.gather(*(session(client, 10) for _ in range(10)))
    await until(lambda: endpoint.stats.live_connections == 0)
    await until(lambda: engine_threads() == 0)
    gc.collect()
    assert other_tasks() == set()
    await until(lambda: descriptors() <= before)


@linux
def test_a_loop_that_ends_first_takes_its_sessions_along():
    with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        kept = []

        async def begin():
            transport = factory(LISTEN_URL, {})
            kept.append(transport)
            await transport.send(chunk(0, CHUNK))
            await heard_of(endpoint)

        asyncio.run(begin())

        async def settle():
            await until(lambda: endpoint.stats.live_connections == 0)
            await until(lambda: engine_threads() == 0)

        asyncio.run(settle())
        with pytest.warns(ResourceWarning, match="never closed"):
            kept.clear()


@linux
def test_a_loop_that_is_closed_without_a_word_leaves_nothing():
    with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())

        async def begin():
            transport = factory(LISTEN_URL, {})
            await transport.send(chunk(0, CHUNK))
            await heard_of(endpoint)
            kept.append(transport)

        kept = []
        loop = asyncio.new_event_loop()
        # asyncio reports every task that was destroyed, and this test destroys one.
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(begin())
        loop.close()
        with pytest.warns(ResourceWarning, match="never closed"):
            kept.clear()
        del loop
        gc.collect()

        async def settle():
            await until(lambda: endpoint.stats.live_connections == 0)
            await until(lambda: engine_threads() == 0)

        asyncio.run(settle())


# Loops, factories, processes.


def test_one_factory_on_several_loops_one_after_another():
    with LocalEndpoint() as endpoint:
        client = client_of(endpoint.config())
        for count in (10, 20, 30):
            heard = asyncio.run(session(client, count))
            assert heard.numbers == list(range(count))
        assert endpoint.stats.accepted == 3


def test_one_factory_on_several_loops_at_once():
    with LocalEndpoint() as endpoint:
        client = client_of(endpoint.config())
        results = {}

        def run(count):
            results[count] = asyncio.run(session(client, count)).numbers

        threads = [threading.Thread(target=run, args=(count,)) for count in (10, 20, 30, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert results == {count: list(range(count)) for count in (10, 20, 30, 40)}


async def test_several_factories_with_restore_between():
    async with LocalEndpoint("one") as one, LocalEndpoint("two") as two:
        for endpoint in (one, two, one):
            heard = await session(client_of(endpoint.config()), 10)
            assert heard.numbers == list(range(10))
            restore_transport()
        assert (one.stats.accepted, two.stats.accepted) == (2, 1)


async def test_several_factories_called_directly_at_once():
    async with LocalEndpoint("one") as one, LocalEndpoint("two") as two:

        async def use(endpoint, number):
            transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
            await transport.send(chunk(number, CHUNK))
            await transport.send({"type": "CloseStream"})
            messages = await drained(transport)
            await transport.close()
            return messages[0]

        answers = await asyncio.gather(use(one, 11), use(two, 22), use(one, 33), use(two, 44))
        for answer, number in zip(answers, (11, 22, 33, 44), strict=True):
            assert f'"transcript":"{number}"' in answer.replace(": ", ":")
        assert (one.stats.accepted, two.stats.accepted) == (2, 2)


FORKED = """
import asyncio, os, sys, threading
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.local.watermark import chunk
from deepgram import AsyncDeepgramClient
from sessions import LISTEN_URL, session

uri, ca, when = sys.argv[1:]
config = SageMakerConfig("local", "us-east-1", endpoint_uri=uri, ca_bundle=ca, proxy="")
factory = SageMakerTransportFactory(config=config)
client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)

def child():
    code = 1
    try:
        heard = asyncio.run(session(client, 20))
        code = 0 if heard.numbers == list(range(20)) else 2
    except BaseException as error:
        print("child", repr(error), file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)

def ended(pid):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, code

def forked():
    import warnings
    with warnings.catch_warnings():
        # Of Python's own: credentials are looked up in a thread.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()

async def in_a_live_session():
    transport = factory(LISTEN_URL, {})
    for number in range(10):
        await transport.send(chunk(number, 640))
    assert "Results" in await transport.recv()
    pid = forked()
    if not pid:
        # This thread's loop is the parent's: another thread, another loop.
        thread = threading.Thread(target=child)
        thread.start()
        thread.join()
    await asyncio.to_thread(ended, pid)
    # The parent's session is not affected.
    for number in range(10, 20):
        await transport.send(chunk(number, 640))
    await transport.send({"type": "CloseStream"})
    rest = [message async for message in transport]
    assert len(rest) == 2 and "19" in rest[0], rest
    await transport.close()

if when == "before":
    pid = forked()
    if not pid:
        child()
    ended(pid)
elif when == "after":
    assert asyncio.run(session(client, 10)).numbers == list(range(10))
    pid = forked()
    if not pid:
        child()
    ended(pid)
    assert asyncio.run(session(client, 10)).numbers == list(range(10))
else:
    asyncio.run(in_a_live_session())
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.parametrize("when", ["before", "after", "during"])
def test_a_forked_child_streams_with_the_inherited_factory(monkeypatch, when):
    with LocalEndpoint() as endpoint:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_access_key)
        run = run_script(FORKED, endpoint.uri, endpoint.ca_bundle, when)
        assert run.returncode == 0, run.stderr
        assert run.stdout.strip() == "done"
        assert run.stderr == ""
        assert endpoint.stats.accepted == {"before": 1, "after": 3, "during": 2}[when]


INHERITED = """
import asyncio, gc, os, sys
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.local.watermark import chunk
from sessions import LISTEN_URL

uri, ca = sys.argv[1:]
config = SageMakerConfig("local", "us-east-1", endpoint_uri=uri, ca_bundle=ca, proxy="")
factory = SageMakerTransportFactory(config=config)
used = []

class Locked:
    # The native session with its lock held: a call would never return.
    def __getattr__(self, name):
        used.append(name)
        raise RuntimeError(name)

async def begin():
    transport = factory(LISTEN_URL, {})
    for number in range(10):
        await transport.send(chunk(number, 640))
    assert "Results" in await transport.recv()
    return transport

loop = asyncio.new_event_loop()
transport = loop.run_until_complete(begin())
pid = os.fork()
if not pid:
    driver = transport._driver
    driver.session = Locked()
    # What the garbage collector does at an unknown time.
    driver._task.get_coro().close()
    del transport, factory, loop
    gc.collect()
    print(used, flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loop.run_until_complete(transport.close())
loop.close()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_a_forked_child_lets_go_of_its_parents_sessions_without_a_touch(monkeypatch):
    with LocalEndpoint() as endpoint:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_access_key)
        # asyncio reports a task destroyed while pending, and Python a running thread: neither knows
        # of the fork.
        run = run_script(INHERITED, endpoint.uri, endpoint.ca_bundle, strict=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout.split("\n") == ["[]", "done", ""]


EXIT = """
import asyncio, sys, time
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.local.watermark import chunk
from sessions import LISTEN_URL

uri, ca, how = sys.argv[1:]
config = SageMakerConfig("local", "us-east-1", endpoint_uri=uri, ca_bundle=ca, proxy="")
factory = SageMakerTransportFactory(config=config)
kept = []

async def begin():
    for _ in range(5):
        transport = factory(LISTEN_URL, {})
        kept.append(transport)
        for number in range(10):
            await transport.send(chunk(number, 640))
        assert "Results" in await transport.recv()

if how == "run":
    asyncio.run(begin())
elif how == "unclosed loop":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
elif how == "exit inside":
    async def main():
        await begin()
        print("live", time.time(), flush=True)
        sys.exit(3)
    asyncio.run(main())
elif how == "exception inside":
    async def main():
        await begin()
        print("live", time.time(), flush=True)
        raise ZeroDivisionError
    asyncio.run(main())
print("live", time.time(), flush=True)
"""


@pytest.mark.parametrize(
    ("how", "code"),
    [("run", 0), ("unclosed loop", 0), ("exit inside", 3), ("exception inside", 1)],
)
def test_interpreter_exit_with_live_sessions_is_clean_and_quick(monkeypatch, how, code):
    with LocalEndpoint() as endpoint:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoint.credentials.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoint.credentials.secret_access_key)
        run = run_script(EXIT, endpoint.uri, endpoint.ca_bundle, how, strict=False)
        took = time.time() - float(run.stdout.split()[1])
        assert in_time(took, 2)
        assert run.returncode == code, run.stderr
        if how == "exception inside":
            # The application's own, and nothing after it.
            assert run.stderr.startswith("Traceback")
            assert run.stderr.endswith("\nZeroDivisionError\n")
        elif how == "unclosed loop":
            # asyncio reports any task on a loop that was not run to its end.
            complaint = ("Task was destroyed but it is pending!", "task: <Task pending")
            assert all(line.startswith(complaint) for line in run.stderr.splitlines())
        else:
            assert run.stderr == ""
