"""Voice activity: whether a frame stands out from the background."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from deepgram_sagemaker.local.audio import Samples

__all__ = ["FRAME", "FRAME_US", "SAMPLE_RATE", "Activity", "levels"]

SAMPLE_RATE: Final = 16_000
"""Samples a second that the recogniser wants, and that everything here is in."""

FRAME: Final = 320
"""Samples a frame."""

FRAME_US: Final = FRAME * 1_000_000 // SAMPLE_RATE
"""A frame's length in microseconds."""

_WINDOW: Final = np.hanning(FRAME).astype(np.float32)
# The band that has the energy of speech; rumble and hiss lie outside.
_FREQUENCIES: Final = np.fft.rfftfreq(FRAME, 1 / SAMPLE_RATE)
_BAND: Final = (_FREQUENCIES >= 100) & (_FREQUENCIES <= 4_000)


def levels(frames: Samples) -> list[float]:
    """Compute the level of each frame in the speech band, in dB below full scale.

    Args:
        frames: shaped `(count, FRAME)`.
    """
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)[:, _BAND]) ** 2
    # A full-scale sine is 0 dB: the spectrum halves its amplitude, and so does the window.
    scaled = power.sum(axis=1) * (8 / FRAME**2)
    return [float(level) for level in 10 * np.log10(scaled + 1e-12)]


class Activity:
    """Tells voiced frames from the rest, by a background that it follows.

    The background is the quietest of the last few seconds, since speech always has gaps. It starts
    at the level of a quiet room, so that a stream may begin in the middle of a word.
    """

    _MEMORY: Final = 4_000_000 // FRAME_US
    _QUIET_ROOM: Final = -62.0
    # Nothing below this level is speech, however quiet the background.
    _AUDIBLE: Final = -56.0
    # The quietest frames lie about this far below the background's average.
    _BIAS: Final = 3.0
    _RISE: Final = 9.0
    _FALL: Final = 6.0

    def __init__(self) -> None:
        # Positions and levels of candidates for the minimum, both rising.
        self._candidates: deque[tuple[int, float]] = deque([(0, self._QUIET_ROOM)])
        self._count = 0
        self._voiced = False

    @property
    def background(self) -> float:
        """The background's level, in dB below full scale."""
        return self._candidates[0][1] + self._BIAS

    def hear(self, level: float) -> bool:
        """Take one frame's level; return whether the frame is voiced."""
        self._count += 1
        while self._candidates and self._candidates[-1][1] >= level:
            self._candidates.pop()
        self._candidates.append((self._count, level))
        while self._candidates[0][0] <= self._count - self._MEMORY:
            self._candidates.popleft()
        threshold = self.background + (self._FALL if self._voiced else self._RISE)
        self._voiced = level > max(threshold, self._AUDIBLE)
        return self._voiced
