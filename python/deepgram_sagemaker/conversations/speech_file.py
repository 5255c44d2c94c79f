"""Files of spoken audio: WAV files with a header, and raw samples."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .query import Query

__all__ = ["PLAYED", "SpeechFile", "SpeechFileError"]

PLAYED: Final = "linear16"
"""The encoding that a loudspeaker takes."""

_WAV: Final = ".wav"
# The encoding that a suffix stands for.
_SUFFIXES: Final = {
    _WAV: "linear16",
    ".raw": "linear16",
    ".pcm": "linear16",
    ".s16": "linear16",
    ".mulaw": "mulaw",
    ".ulaw": "mulaw",
    ".alaw": "alaw",
}
# Bytes of a sample, its tag in a WAV file, and the sample rate if the parameters give none.
_ENCODINGS: Final = {"linear16": (2, 1, 24_000), "mulaw": (1, 7, 8_000), "alaw": (1, 6, 8_000)}


class SpeechFileError(ValueError):
    """The file's suffix and Deepgram's parameters do not make a file that can be written."""


@dataclass(frozen=True, slots=True)
class SpeechFile:
    """How speech is asked for, and how it is written.

    Attributes:
        encoding: `linear16`, `mulaw` or `alaw`.
        sample_rate: Samples per second.
        has_header: Whether it is a WAV file.
    """

    encoding: str
    sample_rate: int
    has_header: bool

    @classmethod
    def of(cls, name: str, query: Query) -> SpeechFile:
        """Return what a file's suffix and the parameters ask for.

        Args:
            name: The file's name, or `-` for standard output, which is a WAV file.
            query: Deepgram's parameters. `encoding` and `sample_rate` there come first.

        Raises:
            SpeechFileError: They do not make a file that can be written.
        """
        suffix = _WAV if name == "-" else Path(name).suffix.lower()
        implied = _SUFFIXES.get(suffix)
        if implied is None:
            known = ", ".join(_SUFFIXES)
            raise SpeechFileError(f"{name}: the suffix says the form: {known}")
        if "container" in query:
            raise SpeechFileError("container: the file's suffix says whether it has a header")
        encoding = str(query.get("encoding", implied))
        if encoding not in _ENCODINGS or (suffix != _WAV and encoding != implied):
            raise SpeechFileError(f"encoding={encoding} cannot be written to {name}")
        rate = str(query.get("sample_rate", _ENCODINGS[encoding][2]))
        if not (rate.isascii() and rate.isdigit() and int(rate) > 0):
            raise SpeechFileError(f"sample_rate={rate}: must be a positive whole number")
        return cls(encoding, int(rate), suffix == _WAV)

    @property
    def query(self) -> dict[str, str]:
        """The parameters that ask for it."""
        # No container: the header is made here, where the length is known.
        return {"encoding": self.encoding, "sample_rate": str(self.sample_rate)}

    @property
    def description(self) -> str:
        """The form in a few words."""
        return f"{self.encoding}, {self.sample_rate / 1_000:g} kHz"

    def seconds(self, audio: bytes) -> float:
        """Return the length of audio in seconds."""
        return len(audio) / (_ENCODINGS[self.encoding][0] * self.sample_rate)

    def written(self, audio: bytes) -> bytes:
        """Return the file's content."""
        if not self.has_header:
            return audio
        width, tag, _ = _ENCODINGS[self.encoding]
        form = struct.pack(
            "<HHIIHH", tag, 1, self.sample_rate, self.sample_rate * width, width, 8 * width
        )
        padding = b"\0" * (len(audio) % 2)
        chunks = (
            struct.pack("<4sI", b"fmt ", len(form))
            + form
            + struct.pack("<4sI", b"data", len(audio))
            + audio
            + padding
        )
        return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks
