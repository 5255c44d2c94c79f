"""Cuts one channel's audio into pieces, from which results are made.

Times are whole microseconds since the stream's first sample. Pieces tile the audio, silence
included: each starts where the one before it ended, the first at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import numpy as np

from .activity import (
    FRAME,
    FRAME_US,
    SAMPLE_RATE,
    Activity,
    levels,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepgram_sagemaker.local.audio import Samples

__all__ = ["Cut", "Piece", "Segmenter", "SpeechBegan", "UtteranceOver"]


class Cut(Enum):
    """Why a piece ends."""

    PAUSE = auto()  # speech has ended: the piece's result is `speech_final`
    LENGTH = auto()  # long enough for a result, though speech goes on
    ASKED = auto()  # Finalize, or the end of the stream
    OPEN = auto()  # not at all: the piece so far


@dataclass(frozen=True, slots=True)
class Voiced:
    """One voiced frame."""

    at_us: int
    clarity: float
    """The share of the frame's energy that is not background, 0…1."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one channel.

    Attributes:
        start_us: its start.
        end_us: its end.
        cut: why it ends there.
        speech: the samples to recognise; None: there is no speech in it.
        voiced: the voiced frames.
    """

    start_us: int
    end_us: int
    cut: Cut
    speech: Samples | None
    voiced: tuple[Voiced, ...]


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """Speech has started, for the first time since the last pause."""

    at_us: int


@dataclass(frozen=True, slots=True)
class UtteranceOver:
    """The gap of `utterance_end_ms` has passed without a voice."""


type Event = Piece | SpeechBegan | UtteranceOver


def _frames(milliseconds: int) -> int:
    return milliseconds * 1_000 // FRAME_US


class Segmenter:
    """Cuts one channel into pieces as its samples arrive.

    Args:
        endpointing_us: silence that ends speech, at least the release time, because the stop in
            "stop it" is no pause. None: no end of speech is reported.
        utterance_end_us: silence that ends an utterance; None: no end is reported.
    """

    # Fewer voiced frames, in a row or nearly so, are a click.
    _ONSET: Final = _frames(100)
    _ONSET_WITHIN: Final = _frames(160)
    # No word is shorter; from less audio the model invents words.
    _WORD: Final = _frames(180)
    _RELEASE_US: Final = 300_000
    # Audio around the voice that is recognised too: consonants are quieter than vowels.
    _MARGIN_US: Final = 300_000
    _LONG_US: Final = 5_000_000
    _TOO_LONG_US: Final = 8_000_000
    _BREATH: Final = _frames(160)
    _SILENCE_US: Final = 5_000_000

    def __init__(
        self, *, endpointing_us: int | None = None, utterance_end_us: int | None = None
    ) -> None:
        self._endpoint_us = (
            None if endpointing_us is None else max(endpointing_us, self._RELEASE_US)
        )
        self._utterance_end_us = utterance_end_us
        self._activity = Activity()
        self._start_us = 0
        # The samples from `_start_us` on; those not analysed yet stay on the grid of frames.
        self._audio: list[Samples] = []
        self._unanalysed: Samples = np.empty(0, np.float32)
        self._now_us = 0
        # (time, level) of each frame of the piece, voiced ones apart.
        self._levels: list[tuple[int, float]] = []
        self._voiced: list[Voiced] = []
        self._run: list[Voiced | None] = []
        self._last_voice_us: int | None = None
        self._speaking = False
        self._speech_open = False
        self._utterance_open = False

    @property
    def start_us(self) -> int:
        """The start of the current piece: the end of the last one."""
        return self._start_us

    @property
    def heard_us(self) -> int:
        """The end of the audio analysed, in whole frames."""
        return self._now_us

    @property
    def has_speech(self) -> bool:
        """Whether there is speech in the current piece."""
        return bool(self._voiced)

    @property
    def voice_until_us(self) -> int:
        """The end of the last voice, in this piece or an earlier one; 0: there was none."""
        return self._last_voice_us or 0

    def push(self, samples: Samples) -> Iterator[Event]:
        """Take samples; yield the events in them, in the order of the audio."""
        audio = np.concatenate((self._unanalysed, samples))
        whole = len(audio) - len(audio) % FRAME
        self._unanalysed = audio[whole:]
        if not whole:
            self._audio.append(samples)
            return
        # The piece's audio runs as far as the frames analysed so far; samples are added to it
        # frame by frame, so that a cut never meets audio of its future.
        frames = audio[:whole].reshape(-1, FRAME)
        behind = len(audio) - len(samples)
        for index, (frame, level) in enumerate(zip(frames, levels(frames), strict=True)):
            self._audio.append(frame[behind:] if index == 0 else frame)
            yield from self._hear(level)
        self._audio.append(self._unanalysed)

    def look(self) -> Piece:
        """Return the current piece as if it were cut here; nothing changes."""
        return self._piece(max(self._now_us, self._start_us), Cut.OPEN)

    def finish(self, end_us: int) -> Piece:
        """Cut at the end of everything received.

        Args:
            end_us: the end of the audio received, a little behind the audio analysed.
        """
        return self._cut(end_us, Cut.ASKED)

    def _hear(self, level: float) -> Iterator[Event]:
        began = self._follow(level)
        if began is not None:
            yield began
        silence_us = self._now_us - self._last_voice_us if self._last_voice_us is not None else 0
        if self._endpoint_us is not None and self._speech_open and silence_us >= self._endpoint_us:
            self._speech_open = False
            yield self._cut(self._now_us, Cut.PAUSE)
        elif (at := self._too_long(silence_us)) is not None:
            yield self._cut(at, Cut.LENGTH)
        if (
            self._utterance_end_us is not None
            and self._utterance_open
            and silence_us >= self._utterance_end_us
        ):
            self._utterance_open = False
            if self.has_speech:
                yield self._cut(self._now_us, Cut.LENGTH)
            yield UtteranceOver()

    def _follow(self, level: float) -> SpeechBegan | None:
        """Take one more frame: whether it is voiced, and whether speech begins with it."""
        # A frame that a Finalize cut in two belongs to the later piece.
        at = max(self._now_us, self._start_us)
        self._now_us += FRAME_US
        self._levels.append((at, level))
        voiced = None
        if self._activity.hear(level):
            clarity = 1 - 10 ** ((self._activity.background - level) / 10)
            voiced = Voiced(at, min(max(clarity, 0.0), 1.0))
        if self._speaking:
            if voiced is not None:
                self._voiced.append(voiced)
                self._last_voice_us = self._now_us
            elif self._now_us - (self._last_voice_us or 0) >= self._RELEASE_US:
                self._speaking = False
                self._run.clear()
                # Without endpointing this is the only end of speech.
                self._speech_open = self._endpoint_us is not None
            return None
        self._run = [*self._run[-self._ONSET_WITHIN + 1 :], voiced]
        first = [frame for frame in self._run if frame is not None]
        if len(first) < self._ONSET:
            return None
        resumed = self._speech_open
        self._speaking = self._speech_open = self._utterance_open = True
        # Frames of the run that an earlier piece covers stay with that piece.
        self._voiced += [frame for frame in first if frame.at_us >= self._start_us]
        self._last_voice_us = self._now_us
        return None if resumed else SpeechBegan(first[0].at_us)

    def _too_long(self, silence_us: int) -> int | None:
        """Return where to cut a piece that has grown too long; None: it has not."""
        if not self.has_speech:
            # Keep a margin, in case speech is just beginning.
            at = self._now_us - self._MARGIN_US
            return at if at - self._start_us >= self._SILENCE_US else None
        spoken_us = self._now_us - self._voiced[0].at_us
        if spoken_us >= self._LONG_US:
            if silence_us >= self._RELEASE_US:
                return self._now_us
            breath = self._levels[-self._BREATH :]
            if silence_us >= self._BREATH * FRAME_US:
                return breath[len(breath) // 2][0]
        if spoken_us >= self._TOO_LONG_US:
            # Without a pause: the quietest moment of the second half, averaged over three frames.
            half = self._levels[len(self._levels) // 2 :]
            smooth = np.convolve([level for _, level in half], np.ones(3), "valid")
            return half[int(np.argmin(smooth)) + 1][0]
        return None

    def _cut(self, end_us: int, cut: Cut) -> Piece:
        end_us = max(end_us, self._start_us)
        piece = self._piece(end_us, cut)
        audio = self._joined()
        self._audio = [audio[self._index(end_us) :]]
        self._start_us = end_us
        self._levels = [entry for entry in self._levels if entry[0] >= end_us]
        self._voiced = [frame for frame in self._voiced if frame.at_us >= end_us]
        return piece

    def _piece(self, end_us: int, cut: Cut) -> Piece:
        voiced = tuple(frame for frame in self._voiced if frame.at_us < end_us)
        speech = None
        if len(voiced) >= self._WORD:
            begin = self._index(voiced[0].at_us - self._MARGIN_US)
            end = self._index(min(end_us, voiced[-1].at_us + FRAME_US + self._MARGIN_US))
            speech = self._joined()[begin:end]
        return Piece(self._start_us, end_us, cut, speech, voiced)

    def _joined(self) -> Samples:
        """Join the piece's audio to one array, and keep it so."""
        if len(self._audio) != 1:
            self._audio = [np.concatenate(self._audio) if self._audio else self._unanalysed[:0]]
        return self._audio[0]

    def _index(self, at_us: int) -> int:
        """Return the index of a time in the piece's audio, which may lie outside it."""
        return max(0, (at_us - self._start_us) * SAMPLE_RATE // 1_000_000)
