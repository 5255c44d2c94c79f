"""Decoding, encoding and resampling of streamed audio: bytes in pieces of any size, float samples.

Samples are `float32` from -1 to 1, shaped `(frames, channels)`; one frame is one sample of every
channel.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AudioDecoder",
    "AudioError",
    "AudioFormat",
    "Encoding",
    "RawDecoder",
    "Resampler",
    "Samples",
    "WavDecoder",
    "encode",
]

type Samples = NDArray[np.float32]


class AudioError(ValueError):
    """The bytes are not audio, or not of a supported kind."""


class Encoding(Enum):
    """The encoding of one sample. The values are Deepgram's names where it has one."""

    LINEAR8 = "linear8"  # unsigned, only found in WAV files
    LINEAR16 = "linear16"
    LINEAR24 = "linear24"  # only found in WAV files
    LINEAR32_INTEGER = "linear32-integer"  # only found in WAV files
    LINEAR32 = "linear32"  # floating point, as Deepgram uses the name
    LINEAR64 = "linear64"  # only found in WAV files
    MULAW = "mulaw"
    ALAW = "alaw"

    @property
    def width(self) -> int:
        """Bytes a sample."""
        return _WIDTHS[self]


_WIDTHS: Final = {
    Encoding.LINEAR8: 1,
    Encoding.LINEAR16: 2,
    Encoding.LINEAR24: 3,
    Encoding.LINEAR32_INTEGER: 4,
    Encoding.LINEAR32: 4,
    Encoding.LINEAR64: 8,
    Encoding.MULAW: 1,
    Encoding.ALAW: 1,
}


def _mulaw_table() -> Samples:
    """Compute the values of G.711 mu-law: sign, 3 bits of exponent, 4 of mantissa."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 0x07, code & 0x0F
    # 33 is the bias that makes every segment start with an implied one; 4 scales 14 bits to 16.
    magnitude = (((mantissa.astype(np.int32) << 1) + 33) << exponent) - 33
    return (np.where(code & 0x80, -magnitude, magnitude) * 4 / 32768).astype(np.float32)


def _alaw_table() -> Samples:
    """Compute the values of G.711 A-law; even bits are inverted on the wire."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = ((code >> 4) & 0x07).astype(np.int32), (code & 0x0F).astype(np.int32)
    # The lowest segment has no implied one, and the next one shares its step.
    linear = (mantissa << 1) + 1
    magnitude = np.where(exponent == 0, linear, (linear + 32) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) * 8 / 32768).astype(np.float32)


_MULAW: Final = _mulaw_table()
_ALAW: Final = _alaw_table()


def _to_float(data: bytes, encoding: Encoding) -> Samples:
    match encoding:
        case Encoding.LINEAR16:
            return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)
        case Encoding.LINEAR32:
            return _finite(np.frombuffer(data, "<f4"))
        case Encoding.MULAW:
            return _MULAW[np.frombuffer(data, np.uint8)]
        case Encoding.ALAW:
            return _ALAW[np.frombuffer(data, np.uint8)]
        case Encoding.LINEAR8:
            return np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - 1
        case Encoding.LINEAR24:
            # In the top three bytes of 32 bits, a sample has its sign in the right place.
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return (wide.view("<i4").ravel() / (1 << 31)).astype(np.float32)
        case Encoding.LINEAR32_INTEGER:
            return (np.frombuffer(data, "<i4") / (1 << 31)).astype(np.float32)
        case Encoding.LINEAR64:
            return _finite(np.frombuffer(data, "<f8"))


def _finite(samples: NDArray[np.floating]) -> Samples:
    """Clip samples to -1 to 1, and turn what is no number into silence."""
    tame: Samples = np.nan_to_num(samples, nan=0.0).clip(-1.0, 1.0).astype(np.float32)
    return tame


def encode(samples: Samples, encoding: Encoding) -> bytes:
    """Encode samples in one of the encodings that need no container.

    Args:
        samples: of one channel, shaped `(frames,)`; samples beyond -1 to 1 are clipped.
        encoding: `LINEAR16`, `LINEAR32`, `MULAW` or `ALAW`.

    Raises:
        ValueError: another encoding.
    """
    match encoding:
        case Encoding.LINEAR16:
            return (samples * 32768).round().clip(-32768, 32767).astype("<i2").tobytes()
        case Encoding.LINEAR32:
            return _finite(samples).astype("<f4").tobytes()
        case Encoding.MULAW:
            return _nearest(samples, _MULAW)
        case Encoding.ALAW:
            return _nearest(samples, _ALAW)
        case _:
            raise ValueError(f"{encoding.value} is only found in WAV files")


def _nearest(samples: Samples, table: Samples) -> bytes:
    """Return the code of the nearest value for each sample."""
    order = table.argsort(kind="stable")
    values = table[order]
    middles = (values[1:] + values[:-1]) / 2
    return bytes(order[middles.searchsorted(samples)].astype(np.uint8))


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """The format of raw audio.

    Attributes:
        encoding: the encoding of one sample.
        sample_rate: frames a second.
        channels: samples a frame, interleaved.
    """

    encoding: Encoding
    sample_rate: int
    channels: int

    @property
    def frame_size(self) -> int:
        """Bytes a frame."""
        return self.encoding.width * self.channels


class AudioDecoder(Protocol):
    """Bytes in, frames out."""

    @property
    def format(self) -> AudioFormat | None:
        """The format, or None while a container's header has not been read yet."""

    def decode(self, data: bytes) -> Samples:
        """Decode whole frames; an incomplete one is kept for the next call.

        Raises:
            AudioError: the bytes are not audio, or not of a supported kind.
        """


class RawDecoder:
    """Headerless audio of a known format."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format: AudioFormat = audio_format
        self._rest = b""

    def decode(self, data: bytes) -> Samples:
        """Decode whole frames; an incomplete one is kept for the next call."""
        data = self._rest + data if self._rest else data
        whole = len(data) - len(data) % self.format.frame_size
        self._rest = data[whole:]
        return _to_float(data[:whole], self.format.encoding).reshape(-1, self.format.channels)


_RIFF_HEADER: Final = struct.Struct("<4sI4s")
_CHUNK_HEADER: Final = struct.Struct("<4sI")
_FMT: Final = struct.Struct("<HHIIHH")
# Sizes that a writer leaves when it cannot know them: in a pipe, or while it records.
_UNKNOWN_SIZES: Final = frozenset({0, 0xFFFFFFFF})
_EXTENSIBLE: Final = 0xFFFE
# The place of the actual tag in an extensible format.
_SUBFORMAT: Final = slice(24, 26)
_WAV_ENCODINGS: Final = {
    (1, 8): Encoding.LINEAR8,
    (1, 16): Encoding.LINEAR16,
    (1, 24): Encoding.LINEAR24,
    (1, 32): Encoding.LINEAR32_INTEGER,
    (3, 32): Encoding.LINEAR32,
    (3, 64): Encoding.LINEAR64,
    (6, 8): Encoding.ALAW,
    (7, 8): Encoding.MULAW,
}
# Longer than any chunk that is found in front of the audio in practice.
_MAX_HEADER_CHUNK: Final = 1 << 20


class _WavState(Enum):
    RIFF = auto()
    CHUNK = auto()
    SKIP = auto()
    FMT = auto()
    DATA = auto()
    DONE = auto()


class WavDecoder:
    """A WAV file, in pieces of any size.

    The audio ends with its `data` chunk. A `data` chunk of unknown size (0 or 0xFFFFFFFF) goes on
    to the end of the stream.
    """

    def __init__(self) -> None:
        self._state = _WavState.RIFF
        self._header = bytearray()
        self._remaining = 0
        self._data_size_known = False
        self._raw: RawDecoder | None = None

    @property
    def format(self) -> AudioFormat | None:
        """The format, once the header has been read."""
        return self._raw.format if self._raw else None

    @property
    def ended(self) -> bool:
        """Whether the `data` chunk is complete: nothing more will be decoded."""
        return self._state is _WavState.DONE

    def decode(self, data: bytes) -> Samples:
        """Decode whole frames; empty, shaped `(0, 1)`, while the header is incomplete."""
        rest = data
        while self._state is not _WavState.DATA:
            taken = self._read_header(rest)
            if taken is None:
                return np.empty((0, self._raw.format.channels if self._raw else 1), np.float32)
            rest = rest[taken:]
        assert self._raw is not None  # noqa: S101 - DATA is only reached through a `fmt ` chunk
        if self._data_size_known:
            rest = rest[: self._remaining]
            self._remaining -= len(rest)
            if self._remaining == 0:
                self._state = _WavState.DONE
        return self._raw.decode(rest)

    def _read_header(self, data: bytes) -> int | None:
        """Take one step; return the bytes it used, or None if it needs more or is done."""
        match self._state:
            case _WavState.RIFF:
                return self._collect(data, _RIFF_HEADER.size, self._on_riff)
            case _WavState.CHUNK:
                return self._collect(data, _CHUNK_HEADER.size, self._on_chunk)
            case _WavState.FMT:
                return self._collect(data, self._remaining, self._on_fmt)
            case _WavState.SKIP:
                taken = min(len(data), self._remaining)
                self._remaining -= taken
                if self._remaining:
                    return None
                self._state = _WavState.CHUNK
                return taken
            case _WavState.DATA | _WavState.DONE:
                return None

    def _collect(self, data: bytes, size: int, complete: _Step) -> int | None:
        taken = min(len(data), size - len(self._header))
        self._header += data[:taken]
        if len(self._header) < size:
            self._refuse_early()
            return None
        header, self._header = bytes(self._header), bytearray()
        complete(header)
        return taken

    def _refuse_early(self) -> None:
        """Refuse bytes that cannot become a RIFF header, before all twelve have come."""
        if self._state is _WavState.RIFF and not b"RIFF".startswith(bytes(self._header[:4])):
            raise AudioError("this is not a WAV file: it does not start with RIFF")

    def _on_riff(self, header: bytes) -> None:
        riff, _, wave = _RIFF_HEADER.unpack(header)
        if (riff, wave) != (b"RIFF", b"WAVE"):
            raise AudioError("this is not a WAV file: it does not start with RIFF … WAVE")
        self._state = _WavState.CHUNK

    def _on_chunk(self, header: bytes) -> None:
        name, size = _CHUNK_HEADER.unpack(header)
        if name == b"data":
            if self._raw is None:
                raise AudioError("this WAV file has its data before its format")
            self._data_size_known = size not in _UNKNOWN_SIZES
            self._remaining = size
            self._state = _WavState.DATA
            return
        if size > _MAX_HEADER_CHUNK:
            raise AudioError(f"this WAV file has a {name!r} chunk of {size} bytes before its audio")
        # Chunks are padded to an even length.
        self._remaining = size + size % 2
        if name == b"fmt ":
            if size < _FMT.size:
                raise AudioError(f"this WAV file has a format chunk of {size} bytes, too short")
            self._state = _WavState.FMT
        else:
            self._state = _WavState.SKIP if self._remaining else _WavState.CHUNK

    def _on_fmt(self, chunk: bytes) -> None:
        tag, channels, rate, _, _, bits = _FMT.unpack_from(chunk)
        if tag == _EXTENSIBLE and len(chunk) >= _SUBFORMAT.stop:
            tag = int.from_bytes(chunk[_SUBFORMAT], "little")
        encoding = _WAV_ENCODINGS.get((tag, bits))
        if encoding is None:
            raise AudioError(f"WAV format {tag} with {bits} bits is not one that is decoded here")
        if not channels or not rate:
            raise AudioError(f"this WAV file claims {channels} channels at {rate} Hz")
        self._raw = RawDecoder(AudioFormat(encoding, rate, channels))
        self._state = _WavState.CHUNK


class _Step(Protocol):
    def __call__(self, header: bytes, /) -> None: ...


class Resampler:
    """Changes the sample rate of one channel, chunk by chunk, without seams.

    A windowed-sinc filter, evaluated only where an output sample lies. Input sample n is at time
    n / `source`, output sample k at k / `target`. `flush` returns the last few.
    """

    # Zero crossings of the sinc on each side: enough for speech, 0.5 ms of delay at 16 kHz.
    _CROSSINGS: Final = 8

    def __init__(self, source: int, target: int) -> None:
        divisor = math.gcd(source, target)
        # Output k lies at input position k * step / phases.
        self._phases = target // divisor
        self._step = source // divisor
        # For a lower rate the band is narrower, and the filter wider by the same factor.
        cutoff = min(1.0, target / source)
        self._reach = math.ceil(self._CROSSINGS / cutoff)
        self._kernels = self._design(cutoff)
        self._buffer = np.zeros(self._reach - 1, np.float32)
        # The input index of the buffer's first sample, and the index of the next output.
        self._origin = -(self._reach - 1)
        self._next = 0

    def _design(self, cutoff: float) -> Samples:
        """Compute `2 * reach` weights for each fraction of a sample that an output can lie on."""
        taps = np.arange(-self._reach + 1, self._reach + 1)
        phase = np.arange(self._phases)[:, None] / self._phases
        distance = taps - phase
        window = 0.5 * (1 + np.cos(np.pi * np.clip(distance / self._reach, -1, 1)))
        kernels = np.sinc(distance * cutoff) * window
        # Each row sums to one: a constant signal stays the same.
        return (kernels / kernels.sum(axis=1, keepdims=True)).astype(np.float32)

    def push(self, samples: Samples) -> Samples:
        """Take input samples; return the output samples that they complete."""
        if self._phases == self._step:
            return samples
        self._buffer = np.concatenate((self._buffer, samples))
        end = self._origin + len(self._buffer)
        # Output k needs input up to floor(k * step / phases) + reach.
        last_base = end - 1 - self._reach
        stop = max(self._next, (last_base + 1) * self._phases // self._step + 1)
        while stop > self._next and (stop - 1) * self._step // self._phases > last_base:
            stop -= 1
        outputs = np.arange(self._next, stop, dtype=np.int64)
        if not len(outputs):
            return np.empty(0, np.float32)
        base, phase = np.divmod(outputs * self._step, self._phases)
        first = base - self._reach + 1 - self._origin
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, 2 * self._reach)
        result: Samples = np.einsum("ij,ij->i", windows[first], self._kernels[phase])
        self._next = stop
        keep = stop * self._step // self._phases - self._reach + 1 - self._origin
        keep = min(keep, len(self._buffer))
        self._buffer = self._buffer[keep:].copy()
        self._origin += keep
        return result

    def flush(self) -> Samples:
        """End the input; return the samples that waited for more."""
        if self._phases == self._step:
            return np.empty(0, np.float32)
        end = self._origin + len(self._buffer)
        total = -(-end * self._phases // self._step)
        tail = self.push(np.zeros(2 * self._reach + self._step, np.float32))
        return tail[: max(0, total - (self._next - len(tail)))]
