"""A WAV file to stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepgram_sagemaker.local.audio import AudioError, AudioFormat, WavDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Chunk", "Recording"]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of audio.

    Attributes:
        data: The bytes.
        end: Seconds of audio sent when this chunk has been sent.
    """

    data: bytes
    end: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A WAV file, streamed unchanged, header included.

    Attributes:
        path: The file.
        format: The format that its header declares.
        seconds: Length of its audio.
    """

    path: Path
    format: AudioFormat
    seconds: float

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Read a file's format and length.

        Raises:
            AudioError: It is not a WAV file that can be streamed, or has no audio.
            OSError: It cannot be read.
        """
        decoder = WavDecoder()
        frames = 0
        with path.open("rb") as file:
            while not decoder.ended and (block := file.read(_BLOCK)):
                frames += len(decoder.decode(block))
        if decoder.format is None or not frames:
            raise AudioError("this WAV file has no audio")
        return cls(path, decoder.format, frames / decoder.format.sample_rate)

    @property
    def description(self) -> str:
        """The recording in a few words."""
        sound = {1: "mono", 2: "stereo"}.get(
            self.format.channels, f"{self.format.channels} channels"
        )
        rate = self.format.sample_rate / 1_000
        return (
            f"{self.path.name}, {self.seconds:.1f} s, {self.format.encoding.value}, {rate:g} kHz, "
            f"{sound}"
        )

    def chunks(self, seconds: float) -> Iterator[Chunk]:
        """Yield the file's bytes in chunks of `seconds` of audio."""
        byte_rate = self.format.sample_rate * self.format.frame_size
        size = max(1, round(seconds * self.format.sample_rate)) * self.format.frame_size
        sent = 0
        with self.path.open("rb") as file:
            while data := file.read(size):
                sent += len(data)
                # The header adds a few milliseconds; bytes after the audio add nothing.
                yield Chunk(data, min(sent / byte_rate, self.seconds))
