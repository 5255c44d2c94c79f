"""The recordings that pages name: the first seconds of the bundled speech in other forms."""

from __future__ import annotations

import shutil
import subprocess
import wave
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 2.0
"""How long they are. Pages send them at the pace of speech."""


def _speech() -> np.ndarray:
    """16 kHz samples of "It was the best of times"."""
    from deepgram_sagemaker.local.speech.sample import two_cities

    with wave.open(str(two_cities())) as source:
        assert (source.getframerate(), source.getnchannels()) == (48_000, 1)
        # The recording begins with a second of silence.
        source.setpos(48_000)
        samples = np.frombuffer(source.readframes(int(SECONDS * 48_000)), "<i2")
    return samples.reshape(-1, 3).mean(axis=1).astype("<i2")


def mulaw(samples: np.ndarray) -> bytes:
    """The samples in G.711's mu-law."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32_635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    return (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8).tobytes()


def _wav(path: Path, samples: np.ndarray, rate: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def write(directory: Path) -> None:
    """Write the files into a directory.

    `interview.wav`, `talk.wav`, `speech.wav`: 16 kHz, linear16, one channel. `stereo.wav`: the same
    in two channels, the second half a second later. `call.ulaw`, `call.mulaw`, `call.raw`: 8 kHz
    mu-law without a header. `call.wav`: 8 kHz, linear16. `talk.mp3`, `film.mkv`: made by ffmpeg, if
    it is installed. `news.txt`: a sentence.
    """
    directory.mkdir()
    speech = _speech()
    for name in ("interview.wav", "talk.wav", "speech.wav"):
        _wav(directory / name, speech, 16_000)
    later = np.concatenate([np.zeros(8_000, "<i2"), speech[:-8_000]])
    _wav(directory / "stereo.wav", np.stack([speech, later], axis=1), 16_000, channels=2)
    slow = speech.reshape(-1, 2).mean(axis=1).astype("<i2")
    _wav(directory / "call.wav", slow, 8_000)
    for name in ("call.ulaw", "call.mulaw", "call.raw"):
        (directory / name).write_bytes(mulaw(slow))
    (directory / "news.txt").write_text("Your table is ready.\n")
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is not None:
        for name in ("talk.mp3", "film.mkv"):
            command = [ffmpeg, "-v", "error", "-i", "talk.wav", name]
            subprocess.run(command, cwd=directory, check=True, stdin=subprocess.DEVNULL)
