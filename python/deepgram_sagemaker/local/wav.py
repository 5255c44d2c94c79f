"""The header of a WAV file, read from the first bytes of a stream."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["AudioError", "WavHeader", "read_wav_header"]


class AudioError(ValueError):
    """The bytes are not audio, or not of a supported kind."""


@dataclass(frozen=True, slots=True)
class WavHeader:
    """What a header says about the audio behind it.

    Attributes:
        tag: the format's tag: 1 is PCM, 3 floating point, 6 A-law, 7 mu-law.
        bits: bits of one sample.
        rate: frames a second.
        channels: samples a frame, interleaved.
        size: bytes of the header itself.
        data: bytes of audio; None: unknown, as in a stream.
    """

    tag: int
    bits: int
    rate: int
    channels: int
    size: int
    data: int | None


_RIFF_HEADER: Final = struct.Struct("<4sI4s")
_CHUNK_HEADER: Final = struct.Struct("<4sI")
_FMT: Final = struct.Struct("<HHIIHH")
# Sizes that a writer leaves when it cannot know them: in a pipe, or while it records.
_UNKNOWN_SIZES: Final = frozenset({0, 0xFFFFFFFF})
_EXTENSIBLE: Final = 0xFFFE
# The place of the actual tag in an extensible format.
_SUBFORMAT: Final = slice(24, 26)
# Longer than any chunk that is found in front of the audio in practice.
_MAX_HEADER_CHUNK: Final = 1 << 20


def read_wav_header(head: bytes) -> WavHeader | None:
    """Read the header at the front of `head`; None: it has not ended.

    Raises:
        AudioError: this is no WAV file, or a malformed one; the message says why.
    """
    if not b"RIFF".startswith(head[:4]):
        raise AudioError("this is not a WAV file: it does not start with RIFF")
    if len(head) < _RIFF_HEADER.size:
        return None
    if head[8:12] != b"WAVE":
        raise AudioError("this is not a WAV file: it does not start with RIFF … WAVE")
    at, fmt = _RIFF_HEADER.size, b""
    while at + _CHUNK_HEADER.size <= len(head):
        name, size = _CHUNK_HEADER.unpack_from(head, at)
        at += _CHUNK_HEADER.size
        if name == b"data":
            if not fmt:
                raise AudioError("this WAV file has its data before its format")
            return _header(fmt, at, None if size in _UNKNOWN_SIZES else size)
        if size > _MAX_HEADER_CHUNK:
            raise AudioError(f"this WAV file has a {name!r} chunk of {size} bytes before its audio")
        if name == b"fmt ":
            if size < _FMT.size:
                raise AudioError(f"this WAV file has a format chunk of {size} bytes, too short")
            fmt = head[at : at + size]
        # Chunks are padded to an even length.
        at += size + size % 2
    return None


def _header(fmt: bytes, size: int, data: int | None) -> WavHeader:
    tag, channels, rate, _, _, bits = _FMT.unpack_from(fmt)
    if tag == _EXTENSIBLE and len(fmt) >= _SUBFORMAT.stop:
        tag = int.from_bytes(fmt[_SUBFORMAT], "little")
    return WavHeader(tag, bits, rate, channels, size, data)
