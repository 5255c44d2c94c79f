"""The application and its loop: how each delays the other, and by how much at most."""

import asyncio
import contextlib
import contextvars
import gc
import time
import weakref

import pytest
from deepgram_sagemaker import SageMakerTransport, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.local import Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterReplies, Reset
from deepgram_sagemaker.local.watermark import chunk
from e2e.processes import endpoint_elsewhere
from sessions import CHUNK, LISTEN, LISTEN_URL, Heard, client_of, until

MANY = 3000
"""Messages that wait to be read."""

HANDLING = 0.0003
"""Seconds that the application takes for each, without awaiting anything."""


async def talkative(stream):
    """A model that answers the first message with very many."""
    async for _ in stream:
        for number in range(MANY):
            await stream.send(f"message {number}")
        await stream.send("last")


def handled():
    until = time.thread_time() + HANDLING
    while time.thread_time() < until:
        pass


async def by_recv(transport):
    while await transport.recv() != "last":
        handled()


async def by_iterating(transport):
    async for message in transport:
        if message == "last":
            return
        handled()


def busy(seconds):
    """Blocks the loop, as a microphone's read does."""
    time.sleep(seconds)


@contextlib.asynccontextmanager
async def standstills():
    """How long the loop was blocked each time, in seconds of its thread's CPU.

    Another process may take the processor from it for any time.
    """
    gaps = []

    async def tick():
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            gaps.append(now - last)
            last = now

    ticking = asyncio.create_task(tick())
    yield gaps
    ticking.cancel()
    await asyncio.wait([ticking])


@pytest.mark.parametrize("read", [by_recv, by_iterating])
async def test_a_reader_with_a_backlog_lets_others_run(read):
    async with LocalEndpoint(model=talkative) as endpoint:
        transport = SageMakerTransport(endpoint.config(), "v1/test", "")
        await transport.send("begin")
        await until(lambda: transport.stats.messages_out > MANY, within=20)
        async with standstills() as gaps:
            began = time.thread_time()
            await read(transport)
            took = time.thread_time() - began
        await transport.close()
    assert took >= MANY * HANDLING
    # The collector runs now and then: not each of the hundreds of iterations is short.
    assert len(gaps) >= MANY * HANDLING / 0.01
    assert sorted(gaps)[-3] < took / 5


async def test_a_reader_that_is_cancelled_while_others_run_has_lost_nothing():
    async with LocalEndpoint(model=talkative) as endpoint:
        transport = SageMakerTransport(endpoint.config(), "v1/test", "")
        await transport.send("begin")
        await until(lambda: transport.stats.messages_out > MANY, within=20)
        read = []

        async def reading():
            while True:
                read.append(await transport.recv())
                busy(0.002)

        while len(read) < 100:
            task = asyncio.create_task(reading())
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert read == [f"message {number}" for number in range(len(read))]
        await transport.close()


async def test_a_reader_that_waits_for_each_message_takes_no_turn_more():
    """One message at a time is the usual case, and has no extra cost."""

    async def echo(stream):
        async for message in stream:
            await stream.send(message)

    async with LocalEndpoint(model=echo) as endpoint:
        transport = SageMakerTransport(endpoint.config(), "v1/test", "")
        yielded = []
        driver = transport._start()
        kept, driver.let_others_run = driver.let_others_run, lambda: yielded.append(1) or kept()
        for number in range(50):
            await transport.send(f"{number}")
            assert await transport.recv() == f"{number}"
            busy(0.002)
        assert yielded == []
        await transport.close()


def waited_for(condition, *, within):
    """Block the loop until a condition holds; return how long that took."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < within, "it waits for the loop"
        time.sleep(0.002)
    return time.perf_counter() - began


@pytest.mark.parametrize("sends", [1, 2, 5, 40])
@pytest.mark.parametrize("sessions", [1, 3])
async def test_what_was_sent_leaves_although_the_loop_is_blocked(sends, sessions):
    """At once, from a loop that was idle and does not run afterwards."""
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        transports = [factory(LISTEN_URL, {}) for _ in range(sessions)]
        for transport in transports:
            await transport.send(chunk(0, CHUNK))

        def arrived():
            return sum(leg.messages_in for leg in endpoint.legs)

        await until(lambda: arrived() == sessions)
        late = []
        for turn in range(1, 6):
            await asyncio.sleep(0.05)
            for number in range(sends):
                for transport in transports:
                    await transport.send(chunk(number, CHUNK))
            wanted = sessions * (1 + turn * sends)
            late.append(waited_for(lambda wanted=wanted: arrived() >= wanted, within=2.0))
        assert min(late) < 0.05
        await asyncio.gather(*(transport.close() for transport in transports))


@pytest.mark.parametrize("blocking", [0.02, 0.1])
async def test_an_application_that_blocks_its_loop_opens_its_stream_and_hears(blocking):
    """As with a microphone that is read without a thread: no await of the sender ever waits."""
    with endpoint_elsewhere(model=Watermark(window=5)) as endpoint:
        client = client_of(endpoint.config())
        heard = Heard()
        async with client.listen.v1.connect(**LISTEN) as connection:
            heard.attach(connection)
            listening = asyncio.create_task(connection.start_listening())
            behind = []
            for number in range(40):
                busy(blocking)
                await connection.send_media(chunk(number, CHUNK))
                behind.append(number + 1 - len(heard.numbers))
            await connection.send_close_stream()
            await listening
        assert heard.numbers == list(range(40))
        assert heard.errors == []
        # Five chunks make a result, and its way here and back takes two more.
        assert min(behind[-10:]) <= 5 + 3
        assert max(behind[-10:]) <= 5 + 3 + 5


async def test_such_an_application_is_told_of_a_reset_and_goes_on():
    faults = [Fault(Reset(), when=AfterReplies(2))]
    with endpoint_elsewhere(model=Watermark(window=5), faults=faults) as endpoint:
        client = client_of(endpoint.config())
        heard = Heard()
        async with client.listen.v1.connect(**LISTEN) as connection:
            heard.attach(connection)
            listening = asyncio.create_task(connection.start_listening())
            for number in range(60):
                busy(0.02)
                await connection.send_media(chunk(number, CHUNK))
            # Not only at the end: while it goes on blocking.
            assert len(heard.numbers) > 20
            await connection.send_close_stream()
            await listening
        assert heard.numbers == list(range(60))
        assert heard.errors == []


async def test_a_sender_that_never_waits_lets_others_run():
    """A file that is read and sent without a pause."""
    async with LocalEndpoint() as endpoint:
        transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL, {})
        await transport.send(chunk(0, CHUNK))
        await until(lambda: endpoint.stats.live_streams == 1)
        async with standstills() as gaps:
            for number in range(300):
                handled()
                handled()
                await transport.send(chunk(number, CHUNK))
        await transport.close()
    assert len(gaps) >= 10
    assert sorted(gaps)[-3] < 300 * HANDLING


async def test_messages_keep_their_order_where_the_sender_waits_for_the_loop():
    async def echo(stream):
        async for message in stream:
            await stream.send(message)

    async with LocalEndpoint(model=echo) as endpoint:
        transport = SageMakerTransport(endpoint.config(), "v1/test", "")
        expected = []

        async def send(name):
            for number in range(40):
                message = f"{name} {number}"
                expected.append(message)
                await transport.send(message)
                if number % 7 == 0:
                    busy(0.006)

        # From the first message on, whose sender waits for the opening.
        await asyncio.gather(*(send(name) for name in "abc"))
        assert [await transport.recv() for _ in expected] == expected
        await transport.close()


async def test_the_first_message_waits_for_the_opening_and_no_longer():
    """It is at most half a second, and less if the request is sent sooner."""
    async with LocalEndpoint() as endpoint:
        transports = [
            SageMakerTransportFactory(config=endpoint.config(max_concurrency=1))(LISTEN_URL, {})
            for _ in range(2)
        ]
        began = time.perf_counter()
        await transports[0].send(chunk(0, CHUNK))
        assert time.perf_counter() - began < 0.5
        sharing = SageMakerTransport.of(transports[0]._services, transports[0]._invocation)
        # No permit is left: its request is not sent before the other session ends.
        began = time.perf_counter()
        await sharing.send(chunk(0, CHUNK))
        assert 0.4 < time.perf_counter() - began < 1.5
        began = time.perf_counter()
        await sharing.send(chunk(1, CHUNK))
        assert time.perf_counter() - began < 0.3
        await asyncio.gather(*(each.close() for each in [*transports, sharing]))


class Kept:
    """What a request keeps in its context."""


variable = contextvars.ContextVar("variable")


async def test_a_session_keeps_nothing_of_another_requests_context():
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        other = []

        async def request():
            kept = Kept()
            variable.set(kept)
            transport = factory(LISTEN_URL, {})
            for number in range(20):
                await transport.send(chunk(number, CHUNK))
            assert "Results" in await transport.recv()
            other.append(factory(LISTEN_URL, {}))
            with contextlib.suppress(SageMakerError):
                await other[-1].send(chunk(0, CHUNK))
            await transport.close()
            return weakref.ref(kept)

        # The first request on a loop begins its watch; each begins a session that outlives it.
        gone = [await asyncio.create_task(request()) for _ in range(3)]
        await asyncio.sleep(0.05)
        gc.collect()
        assert [each() for each in gone] == [None] * 3
        assert endpoint.stats.live_streams >= 1
        await asyncio.gather(*(transport.close() for transport in other))
