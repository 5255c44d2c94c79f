"""One `v1/speak` conversation, without I/O: text messages in, a plan of the answers out."""

from __future__ import annotations

import uuid
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.controls import Refused, SchemaError, read_control

from .plan import End, Plan, Say, Tell
from .voice import TextBuffer

if TYPE_CHECKING:
    from deepgram_sagemaker.local.controls import Message

    from .request import SpeakRequest
    from .voice import Voice

__all__ = ["AuraSpeaker"]

_CONTROLS: Final = frozenset({"Speak", "Flush", "Clear", "Close"})
_MODEL_UUID: Final = "b1a7c0de-4f2e-5a9b-8c31-6d6f6f6e7368"
_LONGEST_TEXT: Final = 2_000
_FLUSH_WINDOW: Final = 60.0


class AuraSpeaker:
    """Answers the client's messages in their order.

    Text is spoken as soon as a stretch of it is complete; `Flush` makes the rest complete. A
    `Clear` drops text, audio that has not been sent, and the answers to every `Flush` before it; a
    `Close` speaks what is left.

    Args:
        request: the stream's settings.
        voice: the voice, which defines the stretches of text that it takes.
        flushes: the most `Flush` answered in a minute; others get a `Warning`.
        counted_together: whether `Flushed` and `Cleared` share one count, from 0; otherwise each
            has its own.
    """

    def __init__(
        self,
        request: SpeakRequest,
        voice: Voice,
        *,
        flushes: int = 20,
        counted_together: bool = False,
    ) -> None:
        self.plan: Final = Plan()
        self._buffer = TextBuffer(voice.boundary)
        self._speed = request.speed
        self._allowed = flushes
        self._flushes: deque[float] = deque()
        self._counted_together = counted_together
        self._counts = {"Flushed": 0, "Cleared": 0}
        metadata: Message = {
            "type": "Metadata",
            "request_id": str(uuid.uuid4()),
            "model_name": request.model,
            "model_version": "local",
            "model_uuid": _MODEL_UUID,
        }
        self.plan.add(Tell(lambda: metadata, survives=True))

    def receive(self, text: str, now: float) -> None:
        """Take a text message.

        Args:
            text: the message.
            now: the time, in seconds on any clock.

        Raises:
            Refused: the message ends the stream.
        """
        try:
            body = read_control(text, _CONTROLS)
        except SchemaError as error:
            parting = {
                "type": "Error",
                "variant": "SchemaError",
                "description": str(error),
                "message": text,
            }
            raise Refused("1008", f"DATA-0000: {error}", parting) from error
        match body["type"]:
            case "Speak":
                self._speak(body.get("text"))
            case "Flush":
                self._flush(now)
            case "Clear":
                self._buffer.flush()
                self.plan.cancel()
                self.plan.add(Tell(partial(self._count, "Cleared"), survives=True))
            case "Close":
                self._say(self._buffer.flush())
                self.plan.add(End())

    def _speak(self, text: object) -> None:
        if not isinstance(text, str):
            raise Refused("1008", "DATA-0000: Speak has no text")
        if len(text) > _LONGEST_TEXT:
            # Refused as a whole: half a text is worse than none.
            self._warn(
                "INPUT_TEXT_TOO_LONG",
                f"a text has at most {_LONGEST_TEXT} characters, this one has {len(text)}",
            )
            return
        for stretch in self._buffer.push(text):
            self._say(stretch)

    def _flush(self, now: float) -> None:
        while self._flushes and self._flushes[0] <= now - _FLUSH_WINDOW:
            self._flushes.popleft()
        if len(self._flushes) >= self._allowed:
            self._warn(
                "EXCESSIVE_FLUSH",
                f"at most {self._allowed} Flush messages are processed in 60 seconds",
            )
            return
        self._flushes.append(now)
        self._say(self._buffer.flush())
        self.plan.add(Tell(partial(self._count, "Flushed")))

    def _say(self, text: str) -> None:
        if text.strip():
            self.plan.add(Say(text, self._speed))

    def _warn(self, code: str, description: str) -> None:
        warning: Message = {"type": "Warning", "description": description, "code": code}
        self.plan.add(Tell(lambda: warning, survives=True))

    def _count(self, kind: str) -> Message:
        # Numbered when it is sent: a cancelled one leaves no gap.
        counts = self._counts
        number = sum(counts.values()) if self._counted_together else counts[kind]
        counts[kind] += 1
        return {"type": kind, "sequence_id": number}
