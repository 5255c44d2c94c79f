"""Turns made of counted chunks: the watermark for `v2/listen`.

A turn's words are the numbers of the chunks heard in it. The audio itself says where turns end:
behind each chunk whose number, plus one, is a multiple of `turn`. So the turns of a conversation
are the same over any number of streams, and a chunk that is lost, heard twice or in two turns shows
at once. A chunk belongs to the turn in which it ends.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from .controls import Refused, SchemaError, refusals, to_json
from .flux import SILENCE_LIMIT, FluxTeller, Thresholds, ThresholdsError
from .marks import MarkReader
from .query import last
from .wav import AudioError, read_wav_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .controls import Message
    from .flux.messages import Event, Trigger
    from .query import Query
    from .stream import ModelStream

__all__ = ["PATH", "ChunkClock", "ChunkTurns", "WatermarkFlux"]

PATH: Final = "v2/listen"
_WIDTHS: Final = {"linear16": 2, "linear32": 4, "mulaw": 1, "alaw": 1}
_RATES: Final = {"linear16": 16_000, "linear32": 16_000, "mulaw": 8_000, "alaw": 8_000}
# PCM, floating point, A-law and mu-law.
_WAV_TAGS: Final = frozenset({1, 3, 6, 7})
_UPDATE_US: Final = 240_000
_OPEN, _EAGER, _OVER = 0.1, 0.6, 0.95


@dataclass(frozen=True, kw_only=True)
class WatermarkFlux:
    """A model that counts chunks in turns; give it to `LocalEndpoint` as `model`.

    Attributes:
        turn: chunks a turn.
        late_chunks: further chunks that a turn's end waits for.
        eager_at: chunks of a turn before an EagerEndOfTurn, which the next chunk takes back, if the
            query sets `eager_eot_threshold`; 0: only the one at the turn's end.
        eager_share: the share of these that is sent, drawn for every turn of every stream. Below 1
            a replay may pass one without it.
        seed: the seed of these draws; None: no two runs are the same.
        word_times: whether words have times, which not every model gives them.
        strict: whether the client may send nothing but CloseStream, as with Flux containers on
            SageMaker: any other message is answered with an Error and ends the stream.
        closing_time: seconds between CloseStream and its answer.
        silence_timeout: seconds without any message until the stream fails with NET-0001; None:
            never.
    """

    turn: int = 50
    late_chunks: int = 0
    eager_at: int = 0
    eager_share: float = 1.0
    seed: int | None = None
    word_times: bool = True
    strict: bool = False
    closing_time: float = 0.02
    silence_timeout: float | None = SILENCE_LIMIT
    paths: ClassVar[tuple[str, ...]] = (PATH,)
    _draws: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare what all streams share."""
        # The dataclass is frozen.
        object.__setattr__(self, "_draws", random.Random(self.seed))  # noqa: S311 - tests' dice

    async def __call__(self, stream: ModelStream) -> None:
        """Serve one stream."""
        async with refusals(stream):
            await self._serve(stream)

    async def _serve(self, stream: ModelStream) -> None:
        if stream.path != PATH:
            raise Refused("1008", f"this model serves {PATH}, not {stream.path or 'no path'}")
        try:
            thresholds = Thresholds.parse(stream.query)
            clock = ChunkClock.of(stream.query)
        except ThresholdsError as error:
            raise Refused("1008", f"Bad request: {error}") from error
        teller = FluxTeller(
            str(uuid.uuid4()), thresholds, word_times=self.word_times, strict=self.strict
        )
        draws = random.Random(self._draws.random())  # noqa: S311 - likewise
        counter = ChunkTurns(self, teller, clock, draws)
        await stream.send(to_json(teller.connected()))
        messages = aiter(stream)
        while not counter.closing:
            try:
                async with asyncio.timeout(self.silence_timeout):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError:
                reason = "NET-0001: no audio was received within the timeout window"
                raise Refused("1011", reason, teller.error("NET-0001", reason)) from None
            for answer in counter.take(message):
                await stream.send(to_json(answer))
        if await _goes_on(messages, self.closing_time):
            for answer in counter.close():
                await stream.send(to_json(answer))


async def _goes_on(messages: AsyncIterator[str | bytes], seconds: float) -> bool:
    """Return whether the client's input is still open after a number of seconds."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                await anext(messages)
    except StopAsyncIteration:
        return False
    except TimeoutError:
        return True


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One chunk; times in microseconds since the stream's first sample."""

    written: str
    start_us: int
    end_us: int
    confidence: float


class ChunkTurns:
    """One stream's turns: chunks in, messages out.

    Args:
        settings: the model's settings.
        teller: makes the messages.
        clock: the clock of the audio.
        draws: decides which eager ends are sent.
    """

    def __init__(
        self, settings: WatermarkFlux, teller: FluxTeller, clock: ChunkClock, draws: random.Random
    ) -> None:
        self._settings = settings
        self._teller = teller
        self._clock = clock
        self._draws = draws
        self._reader = MarkReader()
        # Chunks heard and not sent yet: a turn's end waits for the chunks behind it.
        self._waiting: deque[_Chunk] = deque()
        self._words: list[_Chunk] = []
        self._is_eager = False
        self._told_us = 0
        self.closing = False

    def take(self, message: str | bytes) -> Iterator[Message]:
        """Take one message of the client.

        Raises:
            Refused: Flux does not know it.
        """
        if isinstance(message, bytes):
            yield from self.audio(message)
            return
        try:
            body = self._teller.read(message)
            match body["type"]:
                case "Configure":
                    yield self._teller.configure(body)
                case "ForceEndTurn":
                    yield from self.force_end()
                case "CloseStream":
                    self.closing = True
        except SchemaError as error:
            parting = self._teller.error("UNPARSABLE_CLIENT_MESSAGE", str(error))
            raise Refused("1008", f"DATA-0000: {error}", parting) from error

    def force_end(self) -> Iterator[Message]:
        """End the open turn, if there is one."""
        yield from self._count(late=0)
        if self._words:
            yield self._tell("EndOfTurn", self._clock.now_us, _OVER, "manual")

    def close(self) -> Iterator[Message]:
        """Return the last Update, up to the end of the audio; no further turn ends."""
        self._words += self._waiting
        yield self._tell("Update", self._clock.now_us, _OPEN)

    def audio(self, data: bytes) -> Iterator[Message]:
        """Take audio."""
        for mark in self._reader.read(self._clock.hear(data)):
            start, end = self._clock.at(mark.start), self._clock.at(mark.end)
            self._waiting.append(_Chunk(str(mark.number), start, end, 1.0))
        yield from self._count(late=self._settings.late_chunks)
        if not self._waiting and self._clock.now_us - self._told_us >= _UPDATE_US:
            yield self._tell("Update", self._clock.now_us, _OPEN if self._words else 0.0)

    def _count(self, late: int) -> Iterator[Message]:
        while self._waiting:
            word = self._waiting[0]
            is_last = (int(word.written) + 1) % self._settings.turn == 0
            if is_last and len(self._waiting) <= late:
                return
            self._waiting.popleft()
            self._words.append(word)
            yield from self._say(word.end_us)
            if is_last:
                if self._teller.thresholds.eager_eot_threshold is not None:
                    yield self._tell("EagerEndOfTurn", word.end_us, _EAGER)
                yield self._tell("EndOfTurn", word.end_us, _OVER, "model")

    def _say(self, end_us: int) -> Iterator[Message]:
        """Return the messages that one more word of the turn causes."""
        if len(self._words) == 1:
            yield self._tell("StartOfTurn", end_us, _OPEN)
        elif self._is_eager:
            yield self._tell("TurnResumed", end_us, _OPEN)
        elif len(self._words) == self._settings.eager_at and self._draws_an_eager_end():
            yield self._tell("EagerEndOfTurn", end_us, _EAGER)
        elif end_us - self._told_us >= _UPDATE_US:
            yield self._tell("Update", end_us, _OPEN)

    def _draws_an_eager_end(self) -> bool:
        wanted = self._teller.thresholds.eager_eot_threshold is not None
        return wanted and self._draws.random() < self._settings.eager_share

    def _tell(
        self, event: Event, end_us: int, confidence: float, trigger: Trigger | None = None
    ) -> Message:
        message = self._teller.turn(event, end_us, self._words, confidence, trigger)
        self._told_us = end_us
        self._is_eager = event == "EagerEndOfTurn"
        if event == "EndOfTurn":
            self._words.clear()
        return message


@dataclass(frozen=True, slots=True)
class _Format:
    """A format whose clock is known: frames a second, interleaved channels, bytes a sample."""

    rate: int
    channels: int
    width: int


# The nominal clock of what is neither raw audio nor WAV: 32000 bytes a second.
_OTHER: Final = _Format(32_000, 1, 1)


class ChunkClock:
    """The clock of a stream's audio; it separates the first channel's bytes.

    Args:
        audio: the format of raw audio; None: a WAV header may be in front. Other audio has a
            nominal clock.
    """

    def __init__(self, audio: _Format | None) -> None:
        self._format = audio
        self._rest = b""
        self._frames = 0

    @classmethod
    def of(cls, query: Query) -> ChunkClock:
        """Make the clock that a query declares.

        Raises:
            Refused: a number in the query is malformed.
        """
        encoding = last(query, "encoding")
        if encoding is None:
            return cls(None)
        if encoding not in _WIDTHS:
            return cls(_OTHER)
        numbers = []
        for name, default in (("sample_rate", _RATES[encoding]), ("channels", 1)):
            value = last(query, name)
            value = str(default) if value is None else value
            if not (value.isascii() and value.isdigit() and int(value)):
                raise Refused("1008", f"Bad request: {name}={value}: must be a number above 0")
            numbers.append(int(value))
        rate, channels = numbers
        return cls(_Format(rate, channels, _WIDTHS[encoding]))

    @property
    def now_us(self) -> int:
        """The audio heard, in microseconds of whole frames."""
        return self._micros(self._frames)

    def at(self, offset: int) -> int:
        """Return the time of a byte of the first channel, in microseconds, to the nearest."""
        return self._micros(offset // self._known.width)

    def hear(self, data: bytes) -> bytes:
        """Take audio; return the first channel's bytes of its whole frames."""
        data = self._rest + data
        if self._format is None:
            header = _wav_format(data)
            if header is None:
                self._rest = data
                return b""
            self._format, size = header
            data = data[size:]
        channels, width = self._format.channels, self._format.width
        size = channels * width
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        self._frames += whole // size
        if channels == 1:
            return data[:whole]
        first = bytearray(whole // channels)
        for byte in range(width):
            first[byte::width] = data[byte:whole:size]
        return bytes(first)

    @property
    def _known(self) -> _Format:
        return self._format or _OTHER

    def _micros(self, frames: int) -> int:
        rate = self._known.rate
        return (frames * 2_000_000 + rate) // (2 * rate)


def _wav_format(data: bytes) -> tuple[_Format, int] | None:
    """Return the format and the size of the header; None: the header has not ended."""
    try:
        header = read_wav_header(data)
    except AudioError:
        return _OTHER, 0
    if header is None:
        return None
    if header.tag not in _WAV_TAGS or not (header.rate and header.channels and header.bits):
        return _OTHER, 0
    return _Format(header.rate, header.channels, -(-header.bits // 8)), header.size
