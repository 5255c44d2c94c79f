"""A WAV file on its way to being streamed."""

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
        data: the bytes.
        end: where the audio ends that has been sent with it, in seconds.
    """

    data: bytes
    end: float


@dataclass(frozen=True, slots=True)
class Recording:
    """A WAV file, sent as it is, header included.

    Attributes:
        path: the file.
        format: what its header says.
        seconds: how long its audio is.
    """

    path: Path
    format: AudioFormat
    seconds: float

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Look at a file.

        Raises:
            AudioError: it is not a WAV file that can be streamed, or has no audio.
            OSError: it cannot be read.
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
        """The file's bytes, `seconds` of audio at a time."""
        byte_rate = self.format.sample_rate * self.format.frame_size
        size = max(1, round(seconds * self.format.sample_rate)) * self.format.frame_size
        sent = 0
        with self.path.open("rb") as file:
            while data := file.read(size):
                sent += len(data)
                # The header makes this a few milliseconds late, and what follows the audio is none.
                yield Chunk(data, min(sent / byte_rate, self.seconds))
