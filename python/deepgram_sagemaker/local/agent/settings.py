"""The `Settings` message of an agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.local.speak import AudioOutput

if TYPE_CHECKING:
    from deepgram_sagemaker.local.controls import Message

__all__ = ["AgentSettings", "SettingsError", "Utterance"]

_SAMPLE_RATE: Final = 24_000
_OUTPUTS: Final = ("linear16", "mulaw", "alaw")
_ROLES: Final = ("user", "assistant")


class SettingsError(ValueError):
    """A `Settings` message cannot be applied."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance of the conversation.

    Attributes:
        role: `user` or `assistant`.
        content: the text.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One conversation's settings; every other setting is accepted and ignored.

    Attributes:
        encoding: the encoding of the user's audio.
        sample_rate: the rate of the user's audio.
        output: the format of the agent's audio.
        wav: whether the agent's audio begins with a WAV header.
        greeting: what the agent says first, or None.
        history: what was said before this stream.
        listens_with_flux: whether the listen provider's version is `v2`.
    """

    encoding: str
    sample_rate: int
    output: AudioOutput
    wav: bool
    greeting: str | None
    history: tuple[Utterance, ...]
    listens_with_flux: bool

    @classmethod
    def parse(cls, body: Message) -> AgentSettings:
        """Read a `Settings` message.

        Raises:
            SettingsError: a field is not of the documented type, or not supported here.
        """
        audio = _object(body, "audio")
        sound, spoken = _object(audio, "input"), _object(audio, "output")
        encoding = spoken.get("encoding") or "linear16"
        if encoding not in _OUTPUTS:
            raise SettingsError(f"audio.output.encoding={encoding}: must be one of {_OUTPUTS}")
        container = spoken.get("container") or "none"
        if container not in ("none", "wav"):
            raise SettingsError(f"audio.output.container={container}: must be none or wav")
        # A string names an agent that is stored at the service; it has no context here.
        agent = {} if isinstance(body.get("agent"), str) else _object(body, "agent")
        greeting = agent.get("greeting")
        if not isinstance(greeting, str | None):
            raise SettingsError("agent.greeting: must be a string")
        provider = _object(_object(agent, "listen"), "provider")
        return cls(
            encoding=str(sound.get("encoding") or "linear16"),
            sample_rate=_rate(sound, "audio.input"),
            output=AudioOutput(encoding, _rate(spoken, "audio.output")),
            wav=container == "wav",
            greeting=greeting or None,
            history=_history(_object(agent, "context").get("messages")),
            listens_with_flux=provider.get("version") == "v2",
        )


def _object(body: Message, name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{name}: must be an object")
    return value


def _rate(audio: Message, name: str) -> int:
    rate = audio.get("sample_rate") or _SAMPLE_RATE
    if not isinstance(rate, int) or isinstance(rate, bool) or rate <= 0:
        raise SettingsError(f"{name}.sample_rate={rate}: must be a whole number above 0")
    return rate


def _history(messages: object) -> tuple[Utterance, ...]:
    if messages is None:
        return ()
    if not isinstance(messages, list):
        raise SettingsError("agent.context.messages: must be an array")
    history: list[Utterance] = []
    for message in messages:
        role, content = (
            (message.get("role"), message.get("content"))
            if isinstance(message, dict)
            else (None, None)
        )
        if isinstance(message, dict) and "function_calls" in message:
            # Part of the conversation, but not an utterance.
            continue
        if role not in _ROLES or not isinstance(content, str):
            raise SettingsError("agent.context.messages: each has a role and content")
        history.append(Utterance(role, content))
    return tuple(history)
