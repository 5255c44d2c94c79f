"""Decoding, encoding and resampling of streamed audio: bytes in pieces of any size, float samples.

Samples are `float32` from -1 to 1, shaped `(frames, channels)`; one frame is one sample of every
channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from .wav import AudioError, WavHeader, read_wav_header

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


class WavDecoder:
    """A WAV file, in pieces of any size.

    The audio ends with its `data` chunk. A `data` chunk of unknown size (0 or 0xFFFFFFFF) goes on
    to the end of the stream.
    """

    def __init__(self) -> None:
        self._head = b""
        self._raw: RawDecoder | None = None
        # Bytes of audio to come; None: unknown.
        self._remaining: int | None = None

    @property
    def format(self) -> AudioFormat | None:
        """The format, once the header has been read."""
        return self._raw.format if self._raw else None

    @property
    def ended(self) -> bool:
        """Whether the `data` chunk is complete: nothing more will be decoded."""
        return self._remaining == 0

    def decode(self, data: bytes) -> Samples:
        """Decode whole frames; empty, shaped `(0, 1)`, while the header is incomplete."""
        raw = self._raw
        if raw is None:
            self._head += data
            header = read_wav_header(self._head)
            if header is None:
                return np.empty((0, 1), np.float32)
            raw = self._raw = RawDecoder(_format(header))
            self._remaining = header.data
            data, self._head = self._head[header.size :], b""
        if self._remaining is not None:
            data = data[: self._remaining]
            self._remaining -= len(data)
        return raw.decode(data)


def _format(header: WavHeader) -> AudioFormat:
    encoding = _WAV_ENCODINGS.get((header.tag, header.bits))
    if encoding is None:
        raise AudioError(
            f"WAV format {header.tag} with {header.bits} bits is not one that is decoded here"
        )
    if not header.channels or not header.rate:
        raise AudioError(f"this WAV file claims {header.channels} channels at {header.rate} Hz")
    return AudioFormat(encoding, header.rate, header.channels)


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
