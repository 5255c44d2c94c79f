"""Voices, which turn text into audio, and the stretches of text that they take."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from re import Pattern

__all__ = ["AudioOutput", "TextBuffer", "Voice", "VoiceFactory", "wav_header"]


@dataclass(frozen=True, slots=True)
class AudioOutput:
    """The format of audio of one channel.

    Attributes:
        encoding: `linear16`, `mulaw` or `alaw`.
        sample_rate: samples a second.
    """

    encoding: str
    sample_rate: int

    @property
    def width(self) -> int:
        """Bytes a sample."""
        return 2 if self.encoding == "linear16" else 1

    @property
    def bytes_per_second(self) -> int:
        """Bytes a second."""
        return self.width * self.sample_rate

    def milliseconds(self, size: int) -> int:
        """Return how many milliseconds a number of bytes lasts, rounded down."""
        return size * 1_000 // self.bytes_per_second


class Voice(Protocol):
    """Speaks for one stream."""

    @property
    def boundary(self) -> Pattern[str]:
        """Matches the end of a stretch that can be spoken, whatever follows it."""

    def __call__(self, text: str, speed: float, /) -> bytes:
        """Speak one stretch of text, in whole samples; empty if there is nothing to say.

        Args:
            text: a stretch that ends at a boundary, or at the end of the text.
            speed: 1.0 is the voice's own.
        """


type VoiceFactory = Callable[[AudioOutput], Voice]
"""Makes a stream's voice."""


class TextBuffer:
    """Turns text in pieces of any size into stretches that can be spoken."""

    def __init__(self, boundary: Pattern[str]) -> None:
        self._boundary = boundary
        self._text = ""

    def push(self, text: str) -> list[str]:
        """Take a piece; return the stretches that it completes."""
        self._text += text
        ready: list[str] = []
        done = 0
        for match in self._boundary.finditer(self._text):
            # The next piece may continue the boundary: its end shows only behind it.
            if match.end() == len(self._text):
                break
            ready.append(self._text[done : match.end()])
            done = match.end()
        self._text = self._text[done:]
        return ready

    def flush(self) -> str:
        """Return the rest, which may be empty."""
        rest, self._text = self._text, ""
        return rest


_UNKNOWN_SIZE: Final = 0xFFFF_FFFF
_FORMAT_TAGS: Final = {"linear16": 1, "alaw": 6, "mulaw": 7}


def wav_header(output: AudioOutput) -> bytes:
    """Make the header of a WAV file of unknown length."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        _UNKNOWN_SIZE,
        b"WAVE",
        b"fmt ",
        16,
        _FORMAT_TAGS[output.encoding],
        1,
        output.sample_rate,
        output.bytes_per_second,
        output.width,
        8 * output.width,
        b"data",
        _UNKNOWN_SIZE,
    )
