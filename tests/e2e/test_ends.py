"""How sessions end, and how they do not: over sockets, with the transport that the SDK is given."""

import asyncio
import json
import logging

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import RetriesExhaustedError, SageMakerError, SessionLostError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterMessages,
    AfterNewChunks,
    AfterReplies,
    AfterTime,
    EndEarly,
    Fault,
    GoSilent,
    ModelStreamError,
    OnMessage,
    Reset,
)
from deepgram_sagemaker.local.watermark import chunk
from e2e.survival import OGG, WAV, assert_complete, converse
from sessions import CHUNK, LISTEN_URL, until

QUICK = {"initial_backoff": 0.01, "max_backoff": 0.02}
CLOSE = '{"type": "CloseStream"}'
KEEPALIVE = '{"type": "KeepAlive"}'


def speak_url(path):
    """Asks for a model that the path serves; others are refused at the opening."""
    voice = "flux-haley-en" if path == "v2/speak" else "aura-2-thalia-en"
    return f"wss://api.deepgram.com/{path}?model={voice}&encoding=linear16&sample_rate=16000"


def transport_to(endpoint, url=LISTEN_URL, **settings):
    return SageMakerTransportFactory(config=endpoint.config(**QUICK | settings))(url, {})


async def outcome_of(transport):
    """The words that came, and the error, if any."""
    words = []
    try:
        async for message in transport:
            message = json.loads(message)
            if message["type"] == "Results" and message["is_final"]:
                words += message["channel"]["alternatives"][0]["transcript"].split()
    except SageMakerError as error:
        return words, error
    return words, None


async def keep_alive(transport):
    while True:
        await transport.send(KEEPALIVE)
        await asyncio.sleep(0.02)


async def send_audio(transport):
    for number in range(10**6):
        await transport.send(chunk(number, CHUNK))
        await asyncio.sleep(0.005)


async def send_once(transport):
    await transport.send(chunk(0, CHUNK))


async def wait(_transport):
    pass


@pytest.mark.patience(60)
@pytest.mark.parametrize("end", [EndEarly(), ModelStreamError("1000"), Reset()], ids=repr)
@pytest.mark.parametrize(
    "habit", [wait, send_once, send_audio, keep_alive], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("place", [AfterTime(0), AfterMessages(1)], ids=["at once", "a message on"])
async def test_a_stream_that_brings_nothing_is_opened_so_often_and_no_more(end, habit, place):
    """A wrong `endpoint_uri`, a proxy that drains: in order or not, no stream makes progress."""
    if habit is wait and place != AfterTime(0):
        pytest.skip("nothing is sent")
    async with LocalEndpoint(faults=[Fault(end, when=place, times=None)]) as endpoint:
        transport = transport_to(endpoint, max_retries=5)
        using = asyncio.create_task(habit(transport))
        try:
            async with asyncio.timeout(20):
                words, error = await outcome_of(transport)
        finally:
            using.cancel()
            await asyncio.gather(using, return_exceptions=True)
        assert words == []
        assert isinstance(error, RetriesExhaustedError)
        assert error.attempts == 6
        assert endpoint.stats.opens == 6
        await transport.close()


@pytest.mark.parametrize("end", [EndEarly(), ModelStreamError("1000")], ids=repr)
@pytest.mark.parametrize("times", [2, 8, None])
async def test_an_early_end_after_the_close_is_a_failure_like_any_other(end, times):
    fault = Fault(end, when=OnMessage("CloseStream"), times=times)
    # There is no final before the end.
    async with LocalEndpoint(model=Watermark(window=1000), faults=[fault]) as endpoint:
        transport = transport_to(endpoint, max_retries=9)
        for number in range(139):
            await transport.send(chunk(number, CHUNK))
        await transport.send(CLOSE)
        words, error = await outcome_of(transport)
        if times is None:
            assert words == []
            assert isinstance(error, RetriesExhaustedError)
            assert abs(error.seconds_unacknowledged - 2.78) < 1e-6
            assert endpoint.stats.opens == 10
        else:
            assert error is None
            assert words == [str(number) for number in range(139)]
            assert endpoint.stats.opens == times + 1
        await transport.close()


@pytest.mark.parametrize("path", ["v1/speak", "v2/speak"])
async def test_speech_that_never_comes_is_an_error(path):
    faults = [Fault(EndEarly(), when=OnMessage("Flush"), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = transport_to(endpoint, speak_url(path), max_retries=2)
        for message in ({"type": "Speak", "text": "one"}, {"type": "Flush"}, {"type": "Close"}):
            await transport.send(message)
        with pytest.raises(RetriesExhaustedError):
            async for _ in transport:
                pass
        assert endpoint.stats.opens == 3
        await transport.close()


@pytest.mark.parametrize("nothing", [b"", bytearray(), memoryview(b"")], ids=["b", "ba", "mv"])
async def test_a_frame_of_no_bytes_is_nothing(nothing):
    async with LocalEndpoint() as endpoint:
        transport = transport_to(endpoint)
        await transport.send(nothing)
        for number in range(30):
            await transport.send(chunk(number, CHUNK))
            await transport.send(nothing)
        await transport.send(CLOSE)
        await transport.send(nothing)
        words, error = await outcome_of(transport)
        assert (words, error) == ([str(number) for number in range(30)], None)
        assert [leg.messages_in for leg in endpoint.legs] == [31]
        await transport.close()


@pytest.mark.patience(60)
@pytest.mark.parametrize("pieces", [(500,), (450, 1, 1, 48), (200, 200, 100), (1, 499)], ids=repr)
async def test_a_file_is_kept_whatever_the_size_of_its_pieces(pieces):
    """500 chunks, five times the limit for live audio, and a stream that breaks on the way."""
    faults = [Fault(Reset(), when=AfterNewChunks(120), times=None)]
    async with LocalEndpoint(model=Watermark(window=10), faults=faults) as endpoint:
        transport = transport_to(endpoint, max_replay_buffer_bytes=64_000, max_retries=20)

        async def send():
            number = 0
            for piece in pieces:
                chunks = [chunk(number + n, CHUNK) for n in range(piece)]
                await transport.send(b"".join(chunks))
                number += piece
            await transport.send(CLOSE)

        sending = asyncio.create_task(send())
        words, error = await outcome_of(transport)
        await sending
        assert error is None
        assert words == [str(number) for number in range(500)]
        assert transport.stats.bytes_lost == 0
        assert endpoint.stats.faults >= 1
        await transport.close()


class ReadsOn:
    """Nova, as far as it matters here: a word a chunk, five to a final.

    It reads on behind the end that a WAV header declares, and it may claim a minute more than it
    has heard, once.

    Args:
        lie: in which final, counted over all streams; None: it does not.
    """

    WINDOW = 5

    def __init__(self, lie=None):
        self.lie = lie
        self.finals = 0
        self.sizes = []

    async def __call__(self, stream):
        heard, done, headed = bytearray(), 0, "encoding" in stream.query
        async for message in stream:
            if isinstance(message, bytes):
                heard += message
            if not headed and len(heard) >= 44:
                self.sizes.append(int.from_bytes(heard[40:44], "little"))
                del heard[:44]
                headed = True
            closing = isinstance(message, str) and "CloseStream" in message
            while len(heard) >= self.WINDOW * CHUNK or (closing and heard):
                words = [
                    int.from_bytes(heard[at : at + 2], "little")
                    for at in range(0, min(len(heard), self.WINDOW * CHUNK), CHUNK)
                ]
                del heard[: self.WINDOW * CHUNK]
                await stream.send(self._final(done, words))
                done += len(words)
            if closing:
                await stream.send(json.dumps({"type": "Metadata", "duration": done * 0.02}))
                return

    def _final(self, done, words):
        late = 60.0 if self.finals == self.lie else 0.0
        self.finals += 1
        times = [((done + n) * 0.02, (done + n + 1) * 0.02) for n in range(len(words))]
        listed = [
            {"word": str(word), "start": round(start, 6), "end": round(end, 6), "confidence": 1.0}
            for word, (start, end) in zip(words, times, strict=True)
        ]
        heard = {"transcript": " ".join(map(str, words)), "confidence": 1.0, "words": listed}
        message = {
            "type": "Results",
            "channel_index": [0, 1],
            "start": round(done * 0.02, 6),
            "duration": round(len(words) * 0.02 + late, 6),
            "is_final": True,
            "channel": {"alternatives": [heard]},
        }
        return json.dumps(message)


def plain(number):
    """A chunk that is its number, again and again."""
    return number.to_bytes(2, "little") * (CHUNK // 2)


def early_header():
    """As a recorder writes it when it has the first chunk."""
    header = bytearray(WAV.header)
    header[4:8], header[40:44] = (36 + CHUNK).to_bytes(4, "little"), CHUNK.to_bytes(4, "little")
    return bytes(header)


@pytest.mark.parametrize("action", [Reset(), EndEarly()], ids=repr)
@pytest.mark.parametrize("place", [AfterMessages(31), OnMessage("CloseStream")], ids=repr)
async def test_a_header_that_was_written_after_the_first_chunk_loses_nothing(action, place):
    model = ReadsOn()
    faults = [Fault(action, when=place, times=3)]
    async with LocalEndpoint(model=model, faults=faults) as endpoint:
        transport = transport_to(endpoint, "wss://api.deepgram.com/v1/listen?model=nova-3")
        receiving = asyncio.create_task(outcome_of(transport))
        await transport.send(early_header() + plain(0))
        for number in range(1, 145):
            await transport.send(plain(number))
            await asyncio.sleep(0.002)
        await transport.send(CLOSE)
        assert await receiving == ([str(number) for number in range(145)], None)
        assert model.sizes[0] == CHUNK
        assert set(model.sizes[1:]) <= {0xFFFFFFFF}, "what follows is not known"
        assert transport.stats.bytes_lost == 0
        assert abs(transport.stats.seconds_acknowledged - 2.9) < 1e-6
        await transport.close()


@pytest.mark.parametrize("lie", [0, 3, 12])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_claim_beyond_the_audio_takes_nothing_from_the_rest(caplog, lie, at_once):
    faults = [Fault(Reset(), when=AfterMessages(n), legs=leg) for leg, n in [(1, 60), (2, 40)]]
    async with LocalEndpoint(model=ReadsOn(lie), faults=faults) as endpoint:
        transport = transport_to(endpoint)
        receiving = asyncio.create_task(outcome_of(transport))
        with caplog.at_level(logging.WARNING, "deepgram_sagemaker"):
            for number in range(145):
                await transport.send(plain(number))
                await asyncio.sleep(0 if at_once else 0.002)
            await transport.send(CLOSE)
            words, error = await receiving
        assert (words, error) == ([str(number) for number in range(145)], None)
        assert endpoint.stats.faults == 2
        said = caplog.text.count("what it says beyond that is cut")
        # A reset may overtake messages that were sent before it.
        assert said == 1 or (at_once and said == 0)
        await transport.close()


@pytest.mark.parametrize("chunks", [145, 15])
async def test_silence_counts_when_the_application_has_stopped(chunks):
    """92,800 bytes without a result, and no further input."""
    faults = [Fault(GoSilent(), when=AfterMessages(1), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = transport_to(endpoint, stall_timeout=0.3, max_retries=2)
        for number in range(chunks):
            await transport.send(chunk(number, CHUNK))
        if chunks == 15:
            await transport.send(b"\0" * 32_000)
        async with asyncio.timeout(10):
            words, error = await outcome_of(transport)
        assert words == []
        assert isinstance(error, RetriesExhaustedError)
        assert endpoint.stats.opens == 3
        await transport.close()


@pytest.mark.patience(60)
@pytest.mark.parametrize("kind", ["linear16", "ogg"])
async def test_a_session_that_is_kept_alive_does_not_stall(kind):
    """Its last words wait for more audio, and the model says nothing of them by itself."""
    url = LISTEN_URL if kind == "linear16" else "wss://api.deepgram.com/v1/listen?model=nova-3"
    async with LocalEndpoint(model=Watermark(late_chunks=30)) as endpoint:
        transport = transport_to(endpoint, url, stall_timeout=0.2, max_retries=2)
        first = OGG.header if kind == "ogg" else b""
        await transport.send(first + b"".join(chunk(number, CHUNK) for number in range(80)))
        using = asyncio.create_task(keep_alive(transport))
        receiving = asyncio.create_task(outcome_of(transport))
        await asyncio.sleep(4)
        assert not receiving.done(), await receiving
        assert endpoint.stats.opens == 1
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)
        await transport.send(CLOSE)
        words, error = await receiving
        assert (words, error) == ([str(number) for number in range(80)], None)
        await transport.close()


async def test_who_still_reads_is_told_that_close_came_too_soon(caplog):
    faults = [Fault(GoSilent(), when=AfterMessages(1), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = transport_to(endpoint, close_timeout=0.3)
        for number in range(50):
            await transport.send(chunk(number, CHUNK))
        await transport.send(CLOSE)
        receiving = asyncio.create_task(transport.recv())
        await asyncio.sleep(0)  # now it waits
        await until(lambda: endpoint.stats.live_streams == 1)
        with caplog.at_level(logging.WARNING, "deepgram_sagemaker"):
            await transport.close()
        assert "did not end the stream in time: 1.000 s" in caplog.text
        with pytest.raises(SessionLostError, match="close_timeout") as lost:
            await receiving
        assert lost.value.seconds_unacknowledged == pytest.approx(1.0)


async def test_results_of_a_whole_conversation_outlive_the_last_word():
    """Everything is final when the last stream ends: Metadata alone may be missing."""
    faults = [Fault(EndEarly(), when=OnMessage("CloseStream"))]
    async with LocalEndpoint(model=Watermark(window=1), faults=faults) as endpoint:
        heard = await converse(endpoint.config(**QUICK), WAV, 40, pace=0.005, interim=False)
    assert_complete(heard, WAV, 40)
    assert len(heard.metadata) <= 1


@pytest.mark.parametrize("chunks", [20, 139])
async def test_a_container_that_flux_says_nothing_of_is_an_error(chunks):
    """Each stream ends in order on CloseStream, without any result."""

    async def mute(stream):
        async for message in stream:
            if isinstance(message, str):
                return

    async with LocalEndpoint(model=mute) as endpoint:
        url = "wss://api.deepgram.com/v2/listen?model=flux-general-en"
        transport = transport_to(endpoint, url, max_retries=2, stall_timeout=0.3)
        for number in range(chunks):
            header = OGG.header if number == 0 else b""
            await transport.send(header + chunk(number, CHUNK))
        await transport.send(CLOSE)
        words, error = await outcome_of(transport)
        assert words == []
        assert isinstance(error, RetriesExhaustedError)
        assert endpoint.stats.opens == 3
        await transport.close()


@pytest.mark.parametrize("path", ["v1/speak", "v2/speak"])
@pytest.mark.parametrize("place", [OnMessage("Close"), AfterReplies(2), AfterReplies(4)], ids=repr)
async def test_text_without_a_flush_is_said_to_its_end(path, place):
    said = {}
    for times in (0, 3):
        faults = [Fault(EndEarly(), when=place, times=times)] if times else []
        async with LocalEndpoint(faults=faults) as endpoint:
            transport = transport_to(endpoint, speak_url(path))
            await transport.send({"type": "Speak", "text": "one two three four five six"})
            await transport.send({"type": "Close"})
            messages = [message async for message in transport]
            said[times] = b"".join(part for part in messages if isinstance(part, bytes))
            kinds = [json.loads(text)["type"] for text in messages if isinstance(text, str)]
            assert "Flushed" not in kinds, "it was not asked for"
            await transport.close()
    assert said[3] == said[0]
    assert said[0]
