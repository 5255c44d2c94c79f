"""A voice whose every word can be counted: the watermark for `v1/speak` and `v2/speak`.

Each word becomes one block of audio that carries a number, in the layout of `watermark`: a word
that is a number has itself, any other word a hash of its letters (`number_of`). `read_marks` finds
the blocks in the audio that an application gets, so a block that is lost, repeated, torn or out of
order shows at once.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from .marks import read_marks
from .speak import PATHS, SpeakService
from .watermark import chunk

if TYPE_CHECKING:
    from .speak import AudioOutput
    from .speak.flux import Flushed
    from .stream import ModelStream

__all__ = ["CountingVoice", "WatermarkAura", "number_of", "numbers_in"]

_NUMBERS: Final = 1 << 28
_CELL: Final = 8
# Silence in each encoding.
_SILENCE: Final = {"linear16": 0x00, "mulaw": 0xFF, "alaw": 0xD5}


def number_of(word: str) -> int:
    """Return the number that a word's block carries."""
    if word.isascii() and word.isdigit() and int(word) < _NUMBERS:
        return int(word)
    return zlib.crc32(word.encode()) % _NUMBERS


def numbers_in(audio: bytes) -> list[int]:
    """Return the numbers of the blocks in audio, in order; torn blocks included."""
    return [mark.number for mark in read_marks(audio)]


@dataclass(frozen=True, kw_only=True)
class WatermarkAura:
    """A model that speaks in numbered blocks; give it to `LocalEndpoint` as `model`.

    Attributes:
        block: seconds of a word's block.
        pause: seconds of silence behind a block.
        piece: the most seconds of audio in one message.
        pace: the fastest that audio is sent, in times its playing speed; None: as fast as possible.
        varies: whether every stream has another voice: each block and pause is then up to a
            quarter shorter or longer, at random.
        seed: the seed of these lengths; None: no two runs are the same.
        flushes: `Flush` messages that `v1/speak` answers in a minute.
        flushed: when `v2/speak` sends `Flushed`: `early`, as an answer to `Flush`, before the
            rest of the turn's audio; `late`, behind `SpeechMetadata`; or `never`.
        counted_together: whether `Flushed` and `Cleared` of `v1/speak` share one count; otherwise
            each has its own.
    """

    block: float = 0.1
    pause: float = 0.0
    piece: float = 0.04
    pace: float | None = None
    varies: bool = False
    seed: int | None = None
    flushes: int = 20
    flushed: Flushed = "early"
    counted_together: bool = False
    paths: ClassVar[tuple[str, ...]] = PATHS
    _service: SpeakService = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare what all streams share."""
        draws = random.Random(self.seed)  # noqa: S311 - lengths of sounds

        def voice(output: AudioOutput) -> CountingVoice:
            lengths = random.Random(draws.random()) if self.varies else None  # noqa: S311 - likewise
            return CountingVoice(output, self.block, self.pause, lengths)

        service = SpeakService(
            voice,
            piece=self.piece,
            pace=self.pace,
            flushes=self.flushes,
            flushed=self.flushed,
            counted_together=self.counted_together,
        )
        # The dataclass is frozen.
        object.__setattr__(self, "_service", service)

    async def __call__(self, stream: ModelStream) -> None:
        """Serve one stream."""
        await self._service(stream)


class CountingVoice:
    """Says a block for each word.

    Args:
        output: the format of the audio.
        block: seconds of a block.
        pause: seconds of silence behind it.
        lengths: makes both up to a quarter shorter or longer; None: they do not vary.
    """

    boundary: Final = re.compile(r"\s+")

    def __init__(
        self, output: AudioOutput, block: float, pause: float, lengths: random.Random | None = None
    ) -> None:
        self._output = output
        self._block = block
        self._pause = pause
        self._lengths = lengths

    def __call__(self, text: str, speed: float, /) -> bytes:
        """Say the words of a text."""
        return b"".join(self._say(word, speed) for word in text.split())

    def _say(self, word: str, speed: float) -> bytes:
        block = max(_CELL, self._size(self._block / speed))
        silence = bytes([_SILENCE[self._output.encoding]]) * self._size(self._pause / speed)
        return chunk(number_of(word), block, width=self._output.width) + silence

    def _size(self, seconds: float) -> int:
        """Return the bytes of whole samples in a number of seconds."""
        if self._lengths is not None:
            seconds *= self._lengths.uniform(0.75, 1.25)
        return round(seconds * self._output.sample_rate) * self._output.width
