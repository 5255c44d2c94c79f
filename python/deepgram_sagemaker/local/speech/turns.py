"""Finds where one channel's turns begin and end: samples in, events out.

Times are whole microseconds since the stream's first sample. Events happen on steps of 80 ms of the
audio's own clock, so they do not depend on how the audio was cut into messages.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import numpy as np

from .activity import SAMPLE_RATE
from .segments import Piece, Segmenter
from .words import place_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepgram_sagemaker.local.audio import Samples
    from deepgram_sagemaker.local.controls import Message
    from deepgram_sagemaker.local.flux import FluxTeller
    from deepgram_sagemaker.local.flux.messages import Event, Trigger

    from .recogniser import Recognise
    from .words import Word

__all__ = ["TurnDetector", "confidence_after"]

_STEP: Final = SAMPLE_RATE * 80 // 1_000
# After this silence the turn has ended with probability one half.
_EVEN_ODDS_US: Final = 350_000


def confidence_after(silence_us: int) -> float:
    """Return the confidence that a turn has ended after silence: 0.5 after 350 ms, never 1."""
    return silence_us / (silence_us + _EVEN_ODDS_US)


class _State(Enum):
    WAITING = auto()  # nothing was said in this turn
    SPEAKING = auto()
    AWAITING_END = auto()  # an EagerEndOfTurn was sent, and nothing was said since


class TurnDetector:
    """Finds turns in 16 kHz mono samples, and makes their messages.

    The words of an Update are recognised again when there is enough new speech, and only at the end
    of the samples received: a client that sends faster than real time gets fewer Updates. The start
    and end of a turn never depend on that.

    Args:
        teller: makes the messages.
        recognise: the recogniser.
    """

    _UPDATE_US: Final = 240_000
    _FRESH_US: Final = 480_000
    # Sound that was never understood is dropped after this silence.
    _NOISE_US: Final = 1_000_000

    def __init__(self, teller: FluxTeller, recognise: Recognise) -> None:
        self._teller = teller
        self._recognise = recognise
        self._segmenter = Segmenter()
        self._unheard: Samples = np.empty(0, np.float32)
        self._state = _State.WAITING
        # The words in the turn's complete pieces, and in all of it as last recognised.
        self._complete: list[Word] = []
        self._words: list[Word] = []
        # The end of the voice that these words cover.
        self._known_us = 0
        self._told_us = 0

    def push(self, samples: Samples) -> Iterator[Message]:
        """Take samples; yield the messages that follow from them."""
        audio = np.concatenate((self._unheard, samples))
        whole = len(audio) - len(audio) % _STEP
        self._unheard = audio[whole:]
        for start in range(0, whole, _STEP):
            self._hear(audio[start : start + _STEP])
            behind_us = (whole - start - _STEP) * 1_000_000 // SAMPLE_RATE
            yield from self._step(is_live=behind_us < self._UPDATE_US)

    def force_end(self) -> Iterator[Message]:
        """End the open turn, if there is one, as `ForceEndTurn` asks."""
        if self._state is not _State.WAITING:
            yield self._end("manual")

    def close(self, end_us: int) -> Iterator[Message]:
        """Yield the last Update, up to the end of the audio received.

        Args:
            end_us: the end of that audio.
        """
        self._hear(self._unheard)
        self._words = self._all_words()
        yield self._tell("Update", max(end_us, self._teller.turn_start_us))

    def _hear(self, samples: Samples) -> None:
        for event in self._segmenter.push(samples):
            if isinstance(event, Piece) and event.speech is not None:
                self._complete += place_words(self._recognise(event.speech), event)

    @property
    def _now_us(self) -> int:
        return self._segmenter.heard_us

    @property
    def _silence_us(self) -> int:
        return self._now_us - self._segmenter.voice_until_us

    def _step(self, *, is_live: bool) -> Iterator[Message]:
        is_due = self._now_us - self._told_us >= self._UPDATE_US
        match self._state:
            case _State.WAITING:
                if is_due:
                    yield self._wait()
            case _State.SPEAKING:
                if (message := self._pause()) is not None:
                    yield message
                elif is_due:
                    self._refresh(is_live=is_live)
                    yield self._tell("Update")
            case _State.AWAITING_END:
                if self._segmenter.voice_until_us > self._known_us:
                    self._state = _State.SPEAKING
                    yield self._tell("TurnResumed")
                elif (trigger := self._over()) is not None:
                    yield self._end(trigger)
                elif is_due:
                    yield self._tell("Update")

    def _wait(self) -> Message:
        if self._has_speech():
            self._words = self._all_words()
            if self._words:
                self._state = _State.SPEAKING
                return self._tell("StartOfTurn")
            if self._silence_us >= self._NOISE_US:
                self._segmenter.finish(self._now_us)
                self._complete.clear()
        return self._tell("Update")

    def _pause(self) -> Message | None:
        """Yield the messages that a silence after speech causes."""
        if (trigger := self._over()) is not None:
            return self._end(trigger)
        eager = self._teller.thresholds.eager_eot_threshold
        if eager is None or confidence_after(self._silence_us) < eager:
            return None
        self._words = self._all_words()
        if not self._words:
            return None
        self._state = _State.AWAITING_END
        return self._tell("EagerEndOfTurn")

    def _over(self) -> Trigger | None:
        thresholds = self._teller.thresholds
        if confidence_after(self._silence_us) >= thresholds.eot_threshold:
            return "model"
        if self._silence_us >= thresholds.eot_timeout_ms * 1_000:
            return "timeout"
        return None

    def _end(self, trigger: Trigger) -> Message:
        if self._state is not _State.AWAITING_END:
            # An EndOfTurn has the words of the EagerEndOfTurn before it.
            self._words = self._all_words()
        message = self._tell("EndOfTurn", trigger=trigger)
        self._segmenter.finish(self._now_us)
        self._complete.clear()
        self._words = []
        self._state = _State.WAITING
        return message

    def _has_speech(self) -> bool:
        return bool(self._complete) or self._segmenter.has_speech

    def _refresh(self, *, is_live: bool) -> None:
        said_us = self._segmenter.voice_until_us - self._known_us
        if is_live and said_us >= self._FRESH_US:
            self._words = self._all_words()

    def _all_words(self) -> list[Word]:
        """Return all words of the turn so far."""
        self._known_us = self._segmenter.voice_until_us
        piece = self._segmenter.look()
        if piece.speech is None:
            return list(self._complete)
        return [*self._complete, *place_words(self._recognise(piece.speech), piece)]

    def _tell(
        self, event: Event, end_us: int | None = None, *, trigger: Trigger | None = None
    ) -> Message:
        end_us = self._now_us if end_us is None else end_us
        self._told_us = end_us
        confidence = 0.0
        if self._state is not _State.WAITING:
            confidence = confidence_after(self._silence_us)
        return self._teller.turn(event, end_us, self._words, confidence, trigger)
