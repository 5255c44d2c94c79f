"""Each deadline against a peer that stops at exactly that point."""

import asyncio
import contextlib
import logging

# It imports the AWS SDK, which takes half a second and must not be part of the measurement.
import deepgram_sagemaker.transport  # noqa: F401
import pytest
from deepgram_sagemaker import SageMakerTransport
from deepgram_sagemaker.errors import (
    AcquireTimeoutError,
    ConnectTimeoutError,
    ModelError,
    RetriesExhaustedError,
    SageMakerError,
    StalledError,
    SubscriptionTimeoutError,
    ThrottledError,
)
from deepgram_sagemaker.local import Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterMessages,
    AfterReplies,
    Answer,
    EndEarly,
    GoSilent,
    NeverAnswer,
    NeverHttp2,
    NeverTls,
)
from deepgram_sagemaker.local.watermark import chunk
from sessions import CHUNK, LISTEN, Heard, client_of, session, until

SETTINGS = [0.2, 0.7]
"""Seconds that the deadlines are set to."""

TRIES = 5
"""The number of tries, of which the best has to be exact: a busy machine wakes processes late."""


def slack(setting):
    """By how much a deadline may be late."""
    return max(0.1 * setting, 0.05)


async def exactly(setting, measured):
    """Measures until a deadline fires in time. It must never fire early.

    Args:
        setting: What it is set to, in seconds.
        measured: Awaited for each measurement; gives seconds.
    """
    late = []
    for _ in range(TRIES):
        took = await measured()
        # Clocks of two threads are read: a millisecond is not early.
        assert took >= setting - 0.001, f"fired after {took:.4f} s, set to {setting} s"
        late.append(took - setting)
        if late[-1] <= slack(setting):
            return
    pytest.fail(f"set to {setting} s, late by {min(late):.3f} s at best")


async def told(client):
    """Returns the seconds until the application has its error, and the error."""
    heard = Heard()
    loop = asyncio.get_running_loop()
    async with client.listen.v1.connect(**LISTEN) as connection:
        heard.attach(connection)
        began = loop.time()
        with contextlib.suppress(SageMakerError):
            await connection.send_media(chunk(0, CHUNK))
        await connection.start_listening()
        took = loop.time() - began
    (error,) = heard.errors
    return took, error


@pytest.mark.patience(120)
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("action", [NeverTls(), NeverHttp2()], ids=repr)
async def test_connection_timeout(action, setting):
    """From the first packet to HTTP/2's settings, wherever in between the peer stops."""
    async with LocalEndpoint(faults=[Fault(action, legs=(1, None))]) as endpoint:
        client = client_of(endpoint.config(connection_timeout=setting, max_retries=0))

        async def measured():
            took, error = await told(client)
            assert type(error) is ConnectTimeoutError
            assert isinstance(error, TimeoutError)
            assert error.attempts == 1
            return took

        await exactly(setting, measured)
        # The stream that timed out is gone.
        await until(lambda: endpoint.stats.live_connections == 0)
        assert endpoint.stats.opens == 0


@pytest.mark.patience(120)
@pytest.mark.parametrize("setting", SETTINGS)
async def test_connection_acquire_timeout(setting):
    """For one of `max_concurrency`: another session has it."""
    async with LocalEndpoint() as endpoint:
        client = client_of(
            endpoint.config(max_concurrency=1, connection_acquire_timeout=setting, max_retries=0)
        )
        async with client.listen.v1.connect(**LISTEN) as other:
            await other.send_media(chunk(0, CHUNK))
            await until(lambda: endpoint.stats.live_streams == 1)

            async def measured():
                took, error = await told(client)
                assert type(error) is AcquireTimeoutError
                assert error.attempts == 1
                return took

            await exactly(setting, measured)
            assert endpoint.stats.opens == 1
        # The permit is free again, and no waiter blocks it.
        assert (await session(client, 10)).numbers == list(range(10))


@pytest.mark.patience(120)
@pytest.mark.parametrize("setting", SETTINGS)
async def test_subscription_timeout(setting):
    """From the request, not from the beginning of the connection."""
    async with LocalEndpoint(faults=[Fault(NeverAnswer(), times=None)]) as endpoint:
        client = client_of(endpoint.config(subscription_timeout=setting, max_retries=0))
        loop = asyncio.get_running_loop()

        async def measured():
            number = endpoint.stats.opens
            telling = asyncio.create_task(told(client))
            _, error = await telling
            ended = loop.time()
            assert type(error) is SubscriptionTimeoutError
            leg = endpoint.legs[number]
            # The loop's clock is the monotonic one, as the records' is.
            return ended - leg.opened

        # What arrives was sent a little earlier.
        await exactly(setting - 0.02, measured)
        await until(lambda: endpoint.stats.live_streams == 0)


@pytest.mark.patience(120)
@pytest.mark.parametrize("setting", SETTINGS)
async def test_retry_budget(setting):
    """Runs from the first failure, and is not overrun by a last wait."""
    faults = [Fault(Answer(429, "ThrottlingException"), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        client = client_of(
            endpoint.config(
                retry_budget=setting, max_retries=1_000_000, initial_backoff=0.02, max_backoff=0.04
            )
        )
        late = []
        for _ in range(TRIES):
            before = endpoint.stats.opens
            _, error = await told(client)
            assert type(error) is RetriesExhaustedError
            assert type(error.__cause__) is ThrottledError
            assert error.attempts == endpoint.stats.opens - before
            assert error.attempts > 2
            opened = [leg.opened for leg in endpoint.legs[before:]]
            # Nothing is begun after it, and it is used up but for a wait that would not fit.
            assert error.elapsed >= setting - 0.04
            late.append(max(error.elapsed, opened[-1] - opened[0]) - setting)
            if late[-1] <= slack(setting):
                return
        pytest.fail(f"set to {setting} s, late by {min(late):.3f} s at best")


async def deaf(stream):
    """A model that never reads and never ends by itself."""
    await asyncio.Event().wait()


@pytest.mark.patience(120)
@pytest.mark.parametrize("setting", SETTINGS)
async def test_close_timeout(setting, caplog):
    """From the end of the `async with`: the service never ends its side."""
    caplog.set_level(logging.ERROR)
    async with LocalEndpoint(model=deaf) as endpoint:
        client = client_of(endpoint.config(close_timeout=setting))
        loop = asyncio.get_running_loop()

        async def measured():
            before = endpoint.stats.live_streams
            async with client.listen.v1.connect(**LISTEN) as connection:
                await connection.send_media(chunk(0, CHUNK))
                await until(lambda: endpoint.stats.live_streams == before + 1)
                began = loop.time()
            took = loop.time() - began
            await until(lambda: endpoint.stats.live_streams == before)
            return took

        await exactly(setting, measured)


@pytest.mark.patience(120)
@pytest.mark.parametrize("setting", [0.5, 1.0])
async def test_stall_timeout(setting):
    """From the last message that came, with audio waiting for its results."""
    faults = [Fault(GoSilent(), when=AfterMessages(1), times=None)]
    async with LocalEndpoint(model=Watermark(), faults=faults) as endpoint:
        client = client_of(endpoint.config(stall_timeout=setting, max_retries=0))
        loop = asyncio.get_running_loop()

        async def measured():
            number = endpoint.stats.opens
            heard = Heard()
            async with client.listen.v1.connect(**LISTEN) as connection:
                heard.attach(connection)
                listening = asyncio.create_task(connection.start_listening())
                sent = 0
                with contextlib.suppress(SageMakerError):
                    while not listening.done():
                        await connection.send_media(chunk(sent, CHUNK))
                        sent += 1
                        await asyncio.sleep(0.02)
                await listening
                ended = loop.time()
            (error,) = heard.errors
            assert type(error) is StalledError
            # The answer's headers are the last that came.
            return ended - endpoint.legs[number].opened

        await exactly(setting, measured)


async def test_a_file_that_waits_for_room_keeps_its_leg():
    """The service must not take the wait for the application's silence."""
    # Results come after the last chunk: a sender waits until the wall clock has caught up.
    chunks = 700
    model = Watermark(window=10, late_chunks=chunks - 20, silence_timeout=6)
    settings = {"max_replay_buffer_bytes": 100 * CHUNK, "stall_timeout": None}
    async with LocalEndpoint(model=model) as endpoint:
        query = "model=nova-3&encoding=linear16&sample_rate=16000"
        transport = SageMakerTransport(endpoint.config(**settings), "v1/listen", query)
        for number in range(chunks):
            await transport.send(chunk(number, CHUNK))
        await transport.send('{"type":"CloseStream"}')
        async for _ in transport:
            pass
        await transport.close()
        (leg,) = endpoint.legs
        assert "KeepAlive" in leg.controls


@pytest.mark.full
async def test_silence_ends_a_session_alike_with_a_leg_and_without():
    """Ten seconds without input: the service ends the stream, or would have."""
    loop = asyncio.get_running_loop()

    async def ending(faults):
        async with LocalEndpoint(model=Watermark(window=1), faults=faults) as endpoint:
            query = "model=nova-3&encoding=linear16&sample_rate=16000"
            transport = SageMakerTransport(endpoint.config(), "v1/listen", query)
            await transport.send(chunk(0, CHUNK))
            began = loop.time()
            error = None
            try:
                async for _ in transport:
                    pass
            except ModelError as raised:
                error = raised
            took = loop.time() - began
            await transport.close()
            return error, took, endpoint.stats.opens

    # An early end with everything answered leaves a session without a leg.
    ended = Fault(EndEarly(), when=AfterReplies(1))
    (said, one, _), (made, other, opens) = await asyncio.gather(ending([]), ending([ended]))
    assert opens == 1
    assert (made.code, made.retryable) == (said.code, said.retryable) == ("1011", False)
    assert "keepalive_interval" in str(made)
    assert "keepalive_interval" in str(said)
    assert one == pytest.approx(10, abs=0.5)
    assert other == pytest.approx(10, abs=0.5)
