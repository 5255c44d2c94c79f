"""Ends: of the gateway, of sessions, and of sessions that never began."""

import asyncio
import json

import pytest
from deepgram_sagemaker.errors import (
    AuthenticationError,
    ModelError,
    RetriesExhaustedError,
    SessionLostError,
    StreamResetError,
    ThrottledError,
    ValidationError,
)
from deepgram_sagemaker.gateway import Gateway, answers
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import Answer, Fault, OnMessage, Reset
from deepgram_sagemaker.local.watermark import Watermark
from engines import engine_threads
from gateway.clients import CLOSE_STREAM, Raw, connect, converse, gateway_to, hear, numbers_in
from sessions import counted_chunk, is_refused, until


async def test_draining_waits_for_live_streams():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        asking = await Raw.open(gateway, "/readyz", headers=["X: y"])
        assert (await asking.head())[0] == 200
        await asking.reader.readexactly(len("ready\n"))
        live = asyncio.create_task(converse(gateway, 100, pace=0.01))
        await until(lambda: gateway.counts["bytes_in"])
        draining = asyncio.create_task(gateway.drain(30))
        port = gateway.address[1]
        await until(lambda: is_refused(port))
        await asking.write("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asking.head())[0] == 503
        await asking.leave()
        assert numbers_in(await live) == list(range(100))
        assert await draining == 0


async def test_draining_ends_at_its_deadline():
    served = []
    async with (
        LocalEndpoint() as endpoint,
        gateway_to(endpoint, on_request=served.append) as gateway,
    ):
        async with connect(gateway) as socket:
            await socket.send(counted_chunk(0))
            assert await gateway.drain(0.2) == 1
            await hear(socket)
            assert socket.close_code == 1001
        assert (served[0].by, served[0].close_code) == ("gateway", 1001)
        await until(lambda: endpoint.stats.live_streams == 0)


async def test_a_gateway_that_stops_leaves_nothing_behind():
    served = []
    async with LocalEndpoint() as endpoint:
        async with gateway_to(endpoint, on_request=served.append) as gateway:
            sockets = [await connect(gateway) for _ in range(5)]
            idle = Raw(*await asyncio.open_connection(*gateway.address))
            for socket in sockets:
                await socket.send(counted_chunk(0))
            port = gateway.address[1]
        assert len(served) == 5
        assert is_refused(port)
        for socket in sockets:
            await hear(socket)
            assert socket.close_code == 1006
        await idle.leave()
        await until(lambda: endpoint.stats.live_streams == 0)
    await until(lambda: engine_threads() == 0)


async def test_a_page_that_takes_long_does_not_keep_it_from_stopping():
    async def slow(_):
        await asyncio.sleep(60)

    async with LocalEndpoint() as endpoint:
        async with gateway_to(endpoint, pages={"/slow": slow}) as gateway:
            raw = await Raw.open(gateway, "/slow")
            await until(lambda: gateway.counts["connections"] == 1)
            await asyncio.sleep(0.1)
        assert await raw.reader.read() == b""
        await raw.leave()


async def test_a_gateway_may_be_entered_without_a_client_ever_coming():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        assert gateway.url == f"ws://127.0.0.1:{gateway.address[1]}"
        with pytest.raises(RuntimeError, match="async with"):
            _ = Gateway(config=endpoint.config()).address


async def test_what_a_client_sends_while_its_session_opens_is_kept():
    faults = [Fault(Answer(503), legs=(1, 3))]
    async with (
        LocalEndpoint(faults=faults) as endpoint,
        gateway_to(endpoint, open_wait=0.05) as gateway,
    ):
        assert numbers_in(await converse(gateway, 30)) == list(range(30))
        assert gateway.stats.attempts == 4


async def test_a_session_that_cannot_be_opened_later_is_closed_with_1011():
    faults = [Fault(Answer(503), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        config = endpoint.config(max_retries=2, initial_backoff=0.3, max_backoff=0.3)
        async with (
            Gateway(config=config, port=0, open_wait=0.01) as gateway,
            connect(gateway) as socket,
        ):
            await hear(socket)
            assert socket.close_code == 1011
            assert "cannot go on" in socket.close_reason


@pytest.mark.parametrize(
    ("code", "said", "closed"),
    [
        ("1008", "DATA-0000: no audio", 1008),
        ("1011", "DATA-0000: no audio", 1008),
        ("1011", "internal", 1011),
        ("4001", "odd", 4001),
    ],
)
async def test_the_models_close_reaches_the_client(code, said, closed):
    async def refuse(stream):
        async for _ in stream:
            await stream.fail(code, said)

    async with (
        LocalEndpoint(model=refuse) as endpoint,
        gateway_to(endpoint) as gateway,
        connect(gateway) as socket,
    ):
        await socket.send(counted_chunk(0))
        await hear(socket)
        assert (socket.close_code, socket.close_reason) == (closed, said)


async def test_silence_ends_as_deepgram_ends_it():
    model = Watermark(silence_timeout=0.3)
    async with (
        LocalEndpoint(model=model) as endpoint,
        gateway_to(endpoint) as gateway,
        connect(gateway) as socket,
    ):
        messages = await hear(socket)
        assert socket.close_code == 1011
        assert "NET-0001" in socket.close_reason
    assert messages == [] or "NET-0001" in messages[-1]


async def test_audio_after_the_end_is_not_taken():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        async with connect(gateway) as socket:
            await socket.send(counted_chunk(0))
            await socket.send(CLOSE_STREAM)
            await socket.send(counted_chunk(1))
            messages = await hear(socket)
            assert socket.close_code == 1000
        assert numbers_in(messages) == [0]


async def test_a_session_that_is_lost_says_so():
    # With nothing kept, audio without a clock cannot be sent again.
    faults = [Fault(Reset(), OnMessage("Finalize"))]
    async with LocalEndpoint(faults=faults) as endpoint:
        config = endpoint.config(max_replay_buffer_bytes=0)
        async with (
            Gateway(config=config, port=0) as gateway,
            connect(gateway, "/v1/listen?model=nova-3") as socket,
        ):
            await socket.send(b"OggS" + bytes(100_000))
            await socket.send(json.dumps({"type": "Finalize"}))
            await hear(socket)
            assert socket.close_code == 1011


def _exhausted(cause):
    error = RetriesExhaustedError("gave up", elapsed=1.0)
    error.__cause__ = cause
    return error


def _lost(cause):
    error = SessionLostError("lost")
    error.__cause__ = cause
    return error


SECRET = "arn:aws:iam::123456789012:role/secret"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValidationError("query parameter 'x'"), 400),
        (ValidationError(SECRET, status=400), 400),
        (ModelError(SECRET, model_message="no such model"), 400),
        (_exhausted(ModelError(SECRET)), 400),
        (ThrottledError(SECRET), 429),
        (_exhausted(ThrottledError(SECRET)), 429),
        (AuthenticationError(SECRET, status=403), 503),
        (_exhausted(StreamResetError(SECRET)), 503),
    ],
)
def test_refusals_do_not_name_the_service(error, status):
    refusal = answers.refusal(error)
    assert refusal.status == status
    assert SECRET not in refusal.message


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (None, (1000, "")),
        (ModelError(SECRET, model_code="DATA-0000", model_message="bad"), (1008, "DATA-0000: bad")),
        (ModelError(SECRET, model_code="1008", model_message="bad"), (1008, "bad")),
        (
            ModelError(SECRET, model_code="NET-0001", model_message="NET-0001 x"),
            (1011, "NET-0001 x"),
        ),
        (_exhausted(ModelError(SECRET, model_code="4001")), (4001, "4001")),
        (ModelError(SECRET), (1011, "The model has ended the conversation.")),
        (
            _lost(StreamResetError(SECRET, reason="reset")),
            (1011, "The conversation cannot go on (reset)."),
        ),
    ],
)
def test_close_codes_are_deepgrams(error, ending):
    assert answers.ending(error) == ending
