"""One `v2/speak` conversation, without I/O: text messages in, a plan of the answers out."""

from __future__ import annotations

import re
import secrets
import unicodedata
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from deepgram_sagemaker.local.controls import Refused, SchemaError, read_control

from .plan import End, Plan, Say, Tell
from .request import check_speed
from .voice import TextBuffer

if TYPE_CHECKING:
    from deepgram_sagemaker.local.controls import Message

    from .request import SpeakRequest
    from .voice import Voice

__all__ = ["Flushed", "FluxSpeaker"]

type Flushed = Literal["early", "late", "never"]

_CONTROLS: Final = frozenset({"Speak", "Flush", "Interrupt", "Configure", "Close"})
_MODEL_UUID: Final = "2f6b1c9e-8a4d-5b7e-9c02-6d6f6f6e7368"
_LONGEST_TEXT: Final = 2_000
# A word with the space behind it: joined, they are the text again.
_WORD: Final = re.compile(r"\s*\S+\s*")


@dataclass(eq=False, slots=True)
class _Turn:
    """The text between one `Flush` or `Interrupt` and the next."""

    speech_id: str
    text: str = ""
    said: list[Say] = field(default_factory=list)
    # Where in the session's audio it starts, once it has started.
    start_ms: int | None = None

    @property
    def size(self) -> int:
        """Bytes of its audio that have been sent."""
        return sum(say.sent for say in self.said)


class FluxSpeaker:
    """Answers the client's messages; turns queue behind each other.

    `Interrupt` ends the turn that is playing and drops those that wait. It says to the word which
    part of the text was heard, in proportion to the audio of the stretch.

    Args:
        request: the stream's settings.
        voice: the voice, which defines the stretches of text that it takes.
        flushed: when `Flushed` is sent: `early`, as an answer to `Flush`, before the rest of the
            turn's audio; `late`, behind `SpeechMetadata`; or `never`.
    """

    def __init__(self, request: SpeakRequest, voice: Voice, *, flushed: Flushed = "early") -> None:
        self.plan: Final = Plan()
        self._output = request.output
        self._buffer = TextBuffer(voice.boundary)
        self._speed: float = request.speed
        self._flushed = flushed
        self._open: _Turn | None = None
        # Turns whose audio the client may still be playing, oldest first.
        self._turns: list[_Turn] = []
        # The session's audio before the first of these, as the last Interrupt left it.
        self._base_ms = 0
        self._interrupted_ms: int | None = None
        self._characters = 0
        self._billable = 0
        connected: Message = {
            "type": "Connected",
            "request_id": str(uuid.uuid4()),
            "model_name": request.model,
            "model_version": "local",
            "model_uuids": [_MODEL_UUID],
        }
        self.plan.add(Tell(lambda: connected, survives=True))

    @property
    def _produced_ms(self) -> int:
        """The session's audio so far."""
        return self._base_ms + self._output.milliseconds(sum(turn.size for turn in self._turns))

    def receive(self, text: str, _now: float) -> None:
        """Take a text message.

        Raises:
            Refused: the message ends the stream.
        """
        try:
            body = read_control(text, _CONTROLS)
        except SchemaError as error:
            raise _refused("1008", "DATA-0000", str(error)) from error
        match body["type"]:
            case "Speak":
                self._speak(body.get("text"))
            case "Flush":
                self._flush()
            case "Interrupt":
                self._interrupt(body.get("playback_offset"))
            case "Configure":
                self._configure(body.get("speed"))
            case "Close":
                if self._open is not None:
                    self._finish(self._open)
                self.plan.add(Tell(self._session_metadata), End())

    def _speak(self, text: object) -> None:
        if not isinstance(text, str):
            raise _refused("1008", "DATA-0000", "Speak has no text")
        if len(text) > _LONGEST_TEXT:
            raise _refused(
                "1009",
                "BIG-0000",
                f"a text has at most {_LONGEST_TEXT} characters, this one has {len(text)}",
            )
        if self._open is None:
            self._open = turn = _Turn(f"dg_sp_{secrets.token_hex(6)}")
            self.plan.add(Tell(partial(self._begin, turn)))
        self._open.text += text
        self._characters += len(text)
        self._billable += _billable(text)
        for stretch in self._buffer.push(text):
            self._say(self._open, stretch)

    def _flush(self) -> None:
        if self._open is None:
            self._warn("NO_ACTIVE_SPEECH", "there is no turn to flush")
        else:
            self._finish(self._open, flushed=True)

    def _finish(self, turn: _Turn, *, flushed: bool = False) -> None:
        self._open = None
        acknowledge = Tell(lambda: {"type": "Flushed", "speech_id": turn.speech_id})
        if flushed and self._flushed == "early":
            self.plan.add(acknowledge)
        self._say(turn, self._buffer.flush())
        if not any(character.isalnum() for character in turn.text):
            self._warn("NO_SYNTHESIZABLE_TEXT", "the turn has nothing that can be spoken")
        self.plan.add(Tell(partial(self._end, turn)))
        if flushed and self._flushed == "late":
            self.plan.add(acknowledge)

    def _say(self, turn: _Turn, text: str) -> None:
        if any(character.isalnum() for character in text):
            say = Say(text, self._speed)
            turn.said.append(say)
            self.plan.add(say)

    def _begin(self, turn: _Turn) -> Message:
        turn.start_ms = self._produced_ms
        self._turns.append(turn)
        return {"type": "SpeechStarted", "speech_id": turn.speech_id}

    def _end(self, turn: _Turn) -> Message:
        return {"type": "SpeechMetadata"} | self._metadata(turn)

    def _metadata(self, turn: _Turn) -> Message:
        return {
            "speech_id": turn.speech_id,
            "audio_duration_ms": self._output.milliseconds(turn.size),
            "input_character_count": len(turn.text),
            "billable_character_count": _billable(turn.text),
            "controls_applied": {
                "pronunciations_applied": 0,
                "breaks_applied": 0,
                "pronunciation_warnings": 0,
            },
        }

    def _session_metadata(self) -> Message:
        return {
            "type": "SessionMetadata",
            "total_audio_duration_ms": self._produced_ms,
            "total_input_character_count": self._characters,
            "total_billable_character_count": self._billable,
        }

    def _interrupt(self, offset: object) -> None:
        if offset is None:
            position = None
        else:
            position = offset.get("value") if isinstance(offset, dict) else None
            if not isinstance(position, int) or offset.get("type", "time_ms") != "time_ms":  # type: ignore[attr-defined]  # an object, if it has a position
                raise _refused("1008", "DATA-0000", "playback_offset is no number of time_ms")
        if self._produced_ms == 0:
            self._warn("NO_AUDIO_GENERATED", "the session has no audio yet")
        elif position is not None and position <= (self._interrupted_ms or 0):
            self._warn(
                "INVALID_INTERRUPT_OFFSET",
                f"playback_offset {position} does not pass {self._interrupted_ms or 0}",
            )
        elif not self._turns:
            self._warn("NO_ACTIVE_SPEECH", "nothing was said since the last interrupt")
        else:
            self._cut(position)

    def _cut(self, position: int | None) -> None:
        """End the playing turn at a position in the session's audio; None: at its end."""
        played = self._produced_ms if position is None else position
        # The playing turn is the last that had started by then.
        heard = self._turns[0]
        for turn in self._turns:
            if turn.start_ms is not None and turn.start_ms < played:
                heard = turn
        message: Message = {"type": "SpeechInterrupted", "audio_played_ms": played}
        if position is not None:
            spoken, remaining = self._split(heard, position)
            message |= {"text_spoken": spoken, "text_remaining": remaining}
        message["metadata"] = self._metadata(heard)
        self._base_ms = min(played, self._produced_ms)
        self._interrupted_ms = played
        self._turns.clear()
        self._open = None
        self._buffer.flush()
        self.plan.cancel()
        self.plan.add(Tell(lambda: message, survives=True))

    def _split(self, turn: _Turn, position: int) -> tuple[str, str]:
        """Split a turn's text at a position in the session's audio."""
        left = (position - (turn.start_ms or 0)) * self._output.bytes_per_second // 1_000
        done = 0
        for say in turn.said:
            if left <= 0 or not say.size:
                break
            done = turn.text.index(say.text, done)
            if left < say.size:
                words = _WORD.findall(say.text)
                heard = len(words) * left // say.size
                done += sum(len(word) for word in words[:heard])
                break
            left -= say.size
            done += len(say.text)
        return turn.text[:done].rstrip(), turn.text[done:].lstrip()

    def _configure(self, speed: object) -> None:
        if not isinstance(speed, int | float) or isinstance(speed, bool):
            raise _refused("1008", "DATA-0000", "Configure has no speed")
        wrong = check_speed(speed)
        answer: Message
        if wrong is None:
            self._speed = float(speed)
            answer = {"type": "ConfigureSuccess", "applied": {"speed": self._speed}}
        else:
            answer = {
                "type": "ConfigureFailure",
                "code": wrong,
                "field": "speed",
                "value": speed,
                "description": "speed is from 0.7 to 1.5, in steps of 0.05",
            }
        self.plan.add(Tell(lambda: answer, survives=True))

    def _warn(self, code: str, description: str) -> None:
        warning: Message = {"type": "Warning", "code": code, "description": description}
        self.plan.add(Tell(lambda: warning, survives=True))


def _refused(close_code: str, code: str, description: str) -> Refused:
    parting = {"type": "Error", "code": code, "description": description}
    return Refused(close_code, f"{code}: {description}", parting)


def _billable(text: str) -> int:
    return sum(unicodedata.category(character) != "Cc" for character in text)
