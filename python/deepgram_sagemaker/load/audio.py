"""The audio that streams send: recordings that are repeated, or chunks that can be counted.

It is read once and shared by all streams of a process. Imports `conversations`, and the watermark
and the WAV header of `local`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from deepgram_sagemaker.conversations.recording import AudioError, Recording, Sound
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.wav import read_wav_header

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deepgram_sagemaker.conversations.query import Query

__all__ = ["PERIOD", "AudioError", "Marks", "Piece", "read", "watermarked"]

PERIOD: Final = 0.02
"""Seconds of audio in a chunk."""

_MARKS: Final = 3000
"""Chunks until their numbers begin again: a minute."""
_MARKED_RATE: Final = 16_000
_ENCODINGS: Final = frozenset({"linear16", "linear32", "mulaw", "alaw"})
_MOST: Final = 300.0
"""Seconds of a recording that are used."""


@dataclass(frozen=True)
class Piece:
    """Raw audio that a stream sends over and over.

    Attributes:
        name: What to call it.
        data: The samples.
        encoding: Deepgram's name for the encoding.
        sample_rate: Frames per second.
        channels: Samples per frame, interleaved.
        frame_size: Bytes per frame.
        marks: How many numbered chunks it has; 0: its chunks have no numbers.
    """

    name: str
    data: bytes
    encoding: str
    sample_rate: int
    channels: int
    frame_size: int
    marks: int = 0

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return len(self.data) / self.frame_size / self.sample_rate

    @cached_property
    def chunk_seconds(self) -> float:
        """Seconds of audio in each chunk: 0.02, or as near to it as whole frames are."""
        return round(self.sample_rate * PERIOD) / self.sample_rate

    @cached_property
    def chunks(self) -> list[bytes]:
        """Its whole chunks."""
        size = round(self.sample_rate * PERIOD) * self.frame_size
        return [self.data[at : at + size] for at in range(0, len(self.data) - size + 1, size)]

    @property
    def query(self) -> dict[str, str]:
        """Deepgram's parameters for it."""
        found = {"encoding": self.encoding, "sample_rate": str(self.sample_rate)}
        # `v2/listen` has one channel, and no parameter for it.
        return found if self.channels == 1 else found | {"channels": str(self.channels)}


def watermarked() -> Piece:
    """Return a minute of chunks, each of which carries its number."""
    size = round(_MARKED_RATE * PERIOD) * 2
    data = b"".join(chunk(number, size) for number in range(_MARKS))
    return Piece("marked chunks", data, "linear16", _MARKED_RATE, 1, 2, _MARKS)


async def read(paths: Sequence[Path], query: Query) -> list[Piece]:
    """Read recordings: at most the first five minutes of each.

    Args:
        paths: WAV files, files that ffmpeg reads, or raw audio.
        query: Deepgram's parameters. If they have `encoding`, the files are raw audio.

    Raises:
        AudioError: One cannot be streamed, or has less than one chunk of audio.
        OSError: One cannot be read.
    """
    return [await _read(path, query) for path in paths]


async def _read(path: Path, query: Query) -> Piece:
    try:
        return await _read_recording(path, query)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


async def _read_recording(path: Path, query: Query) -> Piece:
    sound, samples = await _samples(Recording.open(path, query), query)
    if sound.encoding not in _ENCODINGS:
        reason = AudioError(f"{sound.encoding} cannot be streamed as raw audio")
        sound, samples = await _samples(Recording.decoded(path, reason), query)
    piece = Piece(
        path.name, samples, sound.encoding, sound.sample_rate, sound.channels, sound.frame_size
    )
    if piece.seconds < piece.chunk_seconds:
        raise AudioError("it has less than one chunk of audio")
    return piece


async def _samples(recording: Recording, query: Query) -> tuple[Sound, bytes]:
    """Return a recording's format, and its samples without a header."""
    whole = bytearray()
    chunks = recording.chunks(1.0)
    try:
        async for each in chunks:
            whole += each.data
            if each.end >= _MOST:
                break
    finally:
        await chunks.aclose()
    sound = Sound.of_query(query)
    if sound is None:
        header = read_wav_header(bytes(whole))
        if header is None:
            raise AudioError("it has no audio")
        sound = Sound.of_wav(header)
        end = None if header.data is None else header.size + header.data
        whole = whole[header.size : end]
    return sound, bytes(whole)


class Marks:
    """Compares the numbers that results report with those that were sent.

    Args:
        marks: How many numbers there are before they begin again.
    """

    def __init__(self, marks: int) -> None:
        self._marks = marks
        # How many chunks there were until the last that was heard, over all rounds.
        self._heard = 0

    def heard(self, number: int, sent: int) -> tuple[int, int]:
        """Take the next number, and return how many before it are missing, and how many came twice.

        If a chunk with that number has been sent after the last one that was heard, those between
        them are missing. Otherwise it has been heard before.

        Args:
            number: The number.
            sent: How many chunks have been sent.
        """
        missing = (number - self._heard) % self._marks
        if self._heard + missing < sent:
            self._heard += missing + 1
            return missing, 0
        return 0, 1

    def rest(self, sent: int) -> int:
        """Return how many of the chunks sent have not been heard, at the end."""
        return max(0, sent - self._heard)

    @classmethod
    def of(cls, piece: Piece) -> Self | None:
        """Return what counts a piece's chunks; None: they have no numbers."""
        return cls(piece.marks) if piece.marks else None
