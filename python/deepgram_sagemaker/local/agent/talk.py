"""One `v1/agent/converse` conversation, without I/O: the user's turns in, a plan out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.controls import Refused, SchemaError, read_control
from deepgram_sagemaker.local.speak.plan import Plan, Say, Tell

from .settings import AgentSettings, SettingsError, Utterance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deepgram_sagemaker.local.controls import Message

__all__ = ["Reply", "Talk", "echo"]

type Reply = Callable[[Sequence[Utterance]], str]
"""What the agent says, given all that was said, the user's words last."""

_UPDATES: Final = {
    "UpdateListen": "ListenUpdated",
    "UpdatePrompt": "PromptUpdated",
    "UpdateSpeak": "SpeakUpdated",
    "UpdateThink": "ThinkUpdated",
    "UpdateThink_Live": "ThinkLiveUpdated",
}
_CONTROLS: Final = frozenset(
    {
        "Settings",
        "KeepAlive",
        "InjectUserMessage",
        "InjectAgentMessage",
        "FunctionCallResponse",
        "ForceEndTurn",
        *_UPDATES,
    }
)


def echo(history: Sequence[Utterance]) -> str:
    """Repeat what the user said."""
    return f"You said: {history[-1].content}"


class Talk:
    """Answers the user and the application.

    When the user starts to speak, the agent falls silent: the rest of its text is dropped.

    Args:
        reply: makes the agent's answer to the user.
        request_id: the stream's id.
    """

    def __init__(self, reply: Reply, request_id: str) -> None:
        self.plan: Final = Plan()
        self.settings: AgentSettings | None = None
        self._reply = reply
        self._history: list[Utterance] = []
        self._user_is_speaking = False
        # Utterances of the agent that have not ended.
        self._waiting = 0
        self._tell({"type": "Welcome", "request_id": request_id})

    def require_settings(self) -> None:
        """Refuse audio that comes before `Settings`.

        Raises:
            Refused: there are no settings yet.
        """
        if self.settings is None:
            raise _refused("BINARY_MESSAGE_BEFORE_SETTINGS", "Settings must come before audio")

    def receive(self, text: str, now: float) -> str:
        """Take a text message; return its type.

        Args:
            text: the message.
            now: the time, in seconds on any clock.

        Raises:
            Refused: the message ends the stream.
        """
        try:
            body = read_control(text, _CONTROLS)
        except SchemaError as error:
            raise _refused("UNPARSABLE_CLIENT_MESSAGE", str(error)) from error
        kind: str = body["type"]
        if self.settings is None and kind != "Settings":
            raise _refused("NON_SETTINGS_MESSAGE_BEFORE_SETTINGS", "Settings must come first")
        if kind in _UPDATES:
            self._tell({"type": _UPDATES[kind]})
            return kind
        match kind:
            case "Settings":
                self._apply(body, now)
            case "InjectUserMessage":
                self._answer(_text(body, "content"), now)
            case "InjectAgentMessage":
                self._inject(_text(body, "message"), body.get("behavior"), now)
            case "ForceEndTurn" if self.settings and not self.settings.listens_with_flux:
                self._tell(
                    {
                        "type": "Warning",
                        "description": "ForceEndTurn needs a listen provider of version v2",
                        "code": "FORCE_END_TURN_UNSUPPORTED",
                    }
                )
        return kind

    def hear(self, info: Message, now: float) -> None:
        """Take a `TurnInfo` about the user's audio."""
        match info.get("event"):
            case "StartOfTurn":
                self._user_is_speaking = True
                self._silence()
                self._tell({"type": "UserStartedSpeaking"})
            case "EndOfTurn":
                self._user_is_speaking = False
                if info["transcript"]:
                    self._answer(info["transcript"], now)

    def _apply(self, body: Message, now: float) -> None:
        if self.settings is not None:
            raise _refused("SETTINGS_ALREADY_APPLIED", "Settings were applied before")
        try:
            self.settings = AgentSettings.parse(body)
        except SettingsError as error:
            raise _refused("INVALID_SETTINGS", str(error)) from error
        self._history += self.settings.history
        self._tell({"type": "SettingsApplied"})
        if self.settings.greeting is not None:
            self._utter(self.settings.greeting, now)

    def _answer(self, said: str, now: float) -> None:
        self._history.append(Utterance("user", said))
        self._tell({"type": "ConversationText", "role": "user", "content": said})
        self._utter(self._reply(self._history), now)

    def _inject(self, message: str, behavior: object, now: float) -> None:
        match behavior:
            case None | "default":
                if self._user_is_speaking or self._waiting:
                    self._tell({"type": "InjectionRefused", "message": "a turn is in progress"})
                    return
            case "interrupt":
                self._silence()
            case "queue":
                pass
            case _:
                raise _refused(
                    "UNPARSABLE_CLIENT_MESSAGE", f"behavior {behavior!r} is none that is known"
                )
        self._utter(message, now)

    def _utter(self, text: str, asked: float) -> None:
        """Say something, and send its text."""
        self._waiting += 1
        thought = partial(self._begin, Utterance("assistant", text))
        done = Tell(self._end)
        self.plan.add(Tell(thought), Say(text, asked=asked, announce=_started_speaking), done)

    def _begin(self, utterance: Utterance) -> Message:
        # An utterance that was dropped before it began was never said.
        self._history.append(utterance)
        return {
            "type": "ConversationText",
            "role": utterance.role,
            "content": utterance.content,
        }

    def _end(self) -> Message:
        self._waiting -= 1
        return {"type": "AgentAudioDone"}

    def _silence(self) -> None:
        self.plan.cancel()
        self._waiting = 0

    def _tell(self, message: Message) -> None:
        self.plan.add(Tell(lambda: message, survives=True))


def _started_speaking(waited: float, synthesis: float) -> Message:
    return {
        "type": "AgentStartedSpeaking",
        "total_latency": round(waited, 3),
        "tts_latency": round(synthesis, 3),
        "ttt_latency": round(waited - synthesis, 3),
    }


def _text(body: Message, name: str) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not text.strip():
        raise _refused("UNPARSABLE_CLIENT_MESSAGE", f"{body['type']} has no {name}")
    return text


def _refused(code: str, description: str) -> Refused:
    parting = {"type": "Error", "description": description, "code": code}
    return Refused("1008", f"{code}: {description}", parting)
