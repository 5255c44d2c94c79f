"""Watermarked sessions through the real SDK, and the checks of them."""

import asyncio
import struct
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from deepgram import AsyncDeepgramClient, DeepgramClientEnvironment
from deepgram.core.events import EventType
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.gateway import Gateway
from deepgram_sagemaker.local.watermark import chunk
from websockets import ConnectionClosed

MICROSECOND = 1.000001e-6
"""How far two times that are the same may be apart, printed with six decimals."""


@dataclass(frozen=True)
class Audio:
    """A kind of audio: its query, and how a chunk of 20 ms looks."""

    name: str
    query: dict[str, str]
    size: int
    width: int
    channels: int = 1
    rate: int = 16000
    header: bytes = b""
    seconds_a_chunk: float = 0.02

    def chunk(self, number: int) -> bytes:
        marked = chunk(number, self.size, channels=self.channels, width=self.width)
        return self.header + marked if number == 0 else marked


def wav_header(rate: int, channels: int) -> bytes:
    """A WAV header as a recorder writes it that does not know the length yet."""
    width = 2
    data = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels * width, channels * width, 16
    )
    return b"RIFF\xff\xff\xff\xffWAVE" + data + b"data\xff\xff\xff\xff"


LINEAR16 = Audio("linear16", {"encoding": "linear16", "sample_rate": "16000"}, 640, 2)
MULAW = Audio("mulaw", {"encoding": "mulaw", "sample_rate": "8000"}, 160, 1, rate=8000)
STEREO = Audio(
    "linear16-stereo",
    {"encoding": "linear16", "sample_rate": "16000", "channels": "2", "multichannel": "true"},
    1280,
    2,
    channels=2,
)
WAV = Audio("wav", {}, 640, 2, header=wav_header(16000, 1))
# An Ogg page's first bytes, and any bytes after them: only a decoder knows its clock. The local
# endpoint takes 32,000 bytes as one second.
OGG = Audio("ogg", {}, 640, 1, header=b"OggS\0\2", seconds_a_chunk=0.02)

AUDIO = [LINEAR16, MULAW, STEREO, WAV, OGG]


@dataclass
class Heard:
    """The results, for each channel."""

    words: dict[int, list[int]] = field(default_factory=dict)
    finals: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    metadata: list[object] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    results: list[object] = field(default_factory=list)
    sent: list[tuple[float, float]] = field(default_factory=list)
    """When each chunk was given to `send`, and when that returned, on `time.monotonic`."""
    told: list[tuple[float, float]] = field(default_factory=list)
    """When each final came, on `time.monotonic`, and where it ends."""
    stats: object = None

    def take(self, message):
        match message.type:
            case "Results" if message.is_final:
                self.results.append(message)
                channel = int(message.channel_index[0])
                words = message.channel.alternatives[0].words
                self.words.setdefault(channel, []).extend(map(_spoken, words))
                self.finals.setdefault(channel, []).append((message.start, message.duration))
                self.told.append((time.monotonic(), message.start + message.duration))
            case "Metadata":
                self.metadata.append(message)
            case "SpeechStarted":
                self.started.append(message.timestamp)
            case "UtteranceEnd":
                self.ended.append(message.last_word_end)


def _spoken(word):
    """A watermarked word is the number of its chunk."""
    return int(word.word) if word.word.isdecimal() else word.word


_factory: ContextVar[SageMakerTransportFactory] = ContextVar("factory")


def _each_its_own(url, headers):
    """The SDK takes one factory for the whole process; here each task has its own."""
    return _factory.get()(url, headers)


def client_of(config):
    """This task's SDK client, and the factory behind it: one of its own for a config.

    For a gateway it is a client without a factory, as an application anywhere has it, and the
    gateway.
    """
    if isinstance(config, Gateway):
        return client_through(config), config
    shared = isinstance(config, SageMakerTransportFactory)
    factory = config if shared else SageMakerTransportFactory(config=config)
    _factory.set(factory)
    return AsyncDeepgramClient(api_key="unused", transport_factory=_each_its_own), factory


def client_through(gateway, kind=AsyncDeepgramClient, api_key="unused"):
    """An SDK client that takes a gateway for Deepgram, after `restore_transport`."""
    plain = gateway.url.replace("ws", "http", 1)
    everywhere = DeepgramClientEnvironment(
        base=plain, production=gateway.url, agent=gateway.url, agent_rest=plain
    )
    return kind(api_key=api_key, environment=everywhere)


async def converse(
    config,
    audio,
    chunks,
    *,
    pace=None,
    wait=None,
    middle=None,
    interim=True,
    heard=None,
    **query,
):
    """Streams a session to its end.

    `config` may be a factory, for sessions that share one. `pace` is seconds between chunks; None:
    as fast as `send` takes them. `wait` is awaited instead, after each chunk, with the factory and
    the chunks sent so far. `middle` is awaited with the connection before the chunk half-way.
    `heard` collects the results, for a caller that reads them even if `send` raises. Any number of
    these may run at once.
    """
    heard = Heard() if heard is None else heard
    client, factory = client_of(config)
    parameters = {"model": "nova-3", "interim_results": str(interim).lower()}
    parameters |= audio.query | query
    async with client.listen.v1.connect(**parameters) as connection:
        connection.on(EventType.MESSAGE, heard.take)
        connection.on(EventType.ERROR, heard.errors.append)
        listening = asyncio.create_task(connection.start_listening())
        try:
            for number in range(chunks):
                if middle is not None and number == chunks // 2:
                    await middle(connection)
                before = time.monotonic()
                await connection.send_media(audio.chunk(number))
                heard.sent.append((before, time.monotonic()))
                if wait is None:
                    await asyncio.sleep(0 if pace is None else pace)
                else:
                    await wait(factory, number + 1)
            await connection.send_close_stream()
        except (SageMakerError, ConnectionClosed):
            # An error of `send` counts as well.
            await listening
            raise
        finally:
            heard.stats = factory.stats
        await listening
    heard.stats = factory.stats
    return heard


def assert_complete(heard, audio, chunks):
    """Checks that every chunk came once and in order and finals tile; returns the last end."""
    assert heard.errors == []
    assert sorted(heard.words) == list(range(audio.channels))
    for channel in range(audio.channels):
        assert heard.words[channel] == list(range(chunks))
        reached = 0.0
        for start, duration in heard.finals[channel]:
            assert abs(start - reached) <= MICROSECOND, (start, reached)
            reached = start + duration
    seconds = chunks * audio.seconds_a_chunk
    # Where the clock is the container's own, its header is bytes like any other.
    header = len(audio.header) / 32000 if audio is OGG else 0.0
    assert abs(reached - seconds - header) <= MICROSECOND
    return reached


def assert_whole(heard, audio, chunks):
    """Checks as `assert_complete`, and that one Metadata has all the audio."""
    reached = assert_complete(heard, audio, chunks)
    (metadata,) = heard.metadata
    assert abs(metadata.duration - reached) <= MICROSECOND
