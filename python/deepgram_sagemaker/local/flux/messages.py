"""The messages of `v2/listen`, with the service's numbering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from deepgram_sagemaker.local.controls import SchemaError, read_control

from .thresholds import ThresholdsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepgram_sagemaker.local.controls import Message

    from .thresholds import Thresholds

__all__ = ["Event", "FluxTeller", "SpokenWord", "Trigger"]

type Event = Literal["StartOfTurn", "Update", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]
type Trigger = Literal["model", "manual", "timeout"]

_CONTROLS: Final = frozenset({"CloseStream", "Configure", "ForceEndTurn"})
_STRICT_CONTROLS: Final = frozenset({"CloseStream"})


class SpokenWord(Protocol):
    """One word of a turn; times in microseconds since the stream's first sample."""

    @property
    def written(self) -> str:
        """The word with capitals and punctuation."""

    @property
    def start_us(self) -> int:
        """The time of its start."""

    @property
    def end_us(self) -> int:
        """The time of its end."""

    @property
    def confidence(self) -> float:
        """From 0 to 1."""


class FluxTeller:
    """Makes a stream's messages: it keeps their numbers, the turn's number and the thresholds.

    Every message that it makes must be sent, in order.

    Args:
        request_id: the stream's id.
        thresholds: those of the query.
        word_times: whether words have times, which not every model gives them.
        strict: whether the client may send nothing but `CloseStream`.
    """

    def __init__(
        self,
        request_id: str,
        thresholds: Thresholds,
        *,
        word_times: bool = True,
        strict: bool = False,
    ) -> None:
        self.thresholds = thresholds
        self._controls = _STRICT_CONTROLS if strict else _CONTROLS
        self._request_id = request_id
        self._word_times = word_times
        self._sequence = 0
        self._turn = 0
        # The start of the open turn: the end of the one before.
        self._turn_start_us = 0
        self._keyterms: list[str] = []

    @property
    def turn_start_us(self) -> int:
        """The start of the open turn."""
        return self._turn_start_us

    def connected(self) -> Message:
        """Make the first message."""
        return self._numbered({"type": "Connected"})

    def turn(
        self,
        event: Event,
        end_us: int,
        words: Sequence[SpokenWord],
        confidence: float,
        trigger: Trigger | None = None,
    ) -> Message:
        """Make a `TurnInfo`; after an `EndOfTurn` the next turn begins.

        Args:
            event: the event.
            end_us: the end of the audio heard, in microseconds.
            words: all words of the turn.
            confidence: the confidence that the turn has ended, from 0 to 1.
            trigger: the cause of the turn's end.
        """
        message = self._numbered(
            {
                "type": "TurnInfo",
                "event": event,
                "turn_index": self._turn,
                "audio_window_start": self._turn_start_us / 1_000_000,
                "audio_window_end": end_us / 1_000_000,
                "transcript": " ".join(word.written for word in words),
                "words": [self._word(word) for word in words],
                "end_of_turn_confidence": round(confidence, 4),
            }
        )
        if event == "EndOfTurn":
            message["trigger"] = trigger
            self._turn += 1
            self._turn_start_us = end_us
        return message

    def read(self, text: str) -> Message:
        """Read a text message of the client.

        Raises:
            SchemaError: Flux does not know it; this includes `KeepAlive`.
        """
        return read_control(text, self._controls)

    def configure(self, body: Message) -> Message:
        """Take a `Configure`; return the answer.

        Raises:
            SchemaError: its fields are not of the documented types.
        """
        given, keyterms = body.get("thresholds"), body.get("keyterms")
        if not isinstance(given, dict | None):
            raise SchemaError("Could not deserialize last text message: thresholds is no object")
        if keyterms is not None and not (
            isinstance(keyterms, list) and all(isinstance(term, str) for term in keyterms)
        ):
            raise SchemaError("Could not deserialize last text message: keyterms must be strings")
        try:
            self.thresholds = self.thresholds.changed(given or {})
        except ThresholdsError as error:
            return self._numbered(
                {
                    "type": "ConfigureFailure",
                    "code": "INVALID_THRESHOLDS",
                    "description": str(error),
                }
            )
        if keyterms is not None:
            self._keyterms = keyterms
        return self._numbered(
            {
                "type": "ConfigureSuccess",
                "thresholds": self.thresholds.plain(),
                "keyterms": list(self._keyterms),
            }
        )

    def error(self, code: str, description: str) -> Message:
        """Make the message that precedes the end of a refused stream."""
        message = self._numbered({"type": "Error", "code": code, "description": description})
        # The only message without a number.
        del message["request_id"]
        return message

    def _numbered(self, message: Message) -> Message:
        numbers: dict[str, Any] = {
            "request_id": self._request_id,
            "sequence_id": self._sequence,
        }
        self._sequence += 1
        return {"type": message.pop("type")} | numbers | message

    def _word(self, word: SpokenWord) -> Message:
        message: Message = {"word": word.written, "confidence": word.confidence}
        if self._word_times:
            message["start"] = word.start_us / 1_000_000
            message["end"] = word.end_us / 1_000_000
        return message
