"""When a fault strikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .values import COUNT, NAME, SECONDS, STEP, STEP_SECONDS, Plain, ruled


class Trigger(Plain):
    """When a fault strikes: at most once a leg, except `AfterNewChunks` and `AfterNewAudio`."""


@dataclass(frozen=True)
class AtOpen(Trigger):
    """When the request has been checked, before it is answered."""

    kind: ClassVar[str] = "opening"


@dataclass(frozen=True)
class AfterAudio(Trigger):
    """After `seconds` of audio on this leg."""

    seconds: float = ruled(SECONDS)
    kind: ClassVar[str] = "audio"


@dataclass(frozen=True)
class AfterBytes(Trigger):
    """After `count` bytes received, counted in messages."""

    count: int = ruled(COUNT)
    kind: ClassVar[str] = "bytes"


@dataclass(frozen=True)
class AfterMessages(Trigger):
    """After `count` messages received.

    If the fault ends the stream, the model does not see the last one.
    """

    count: int = ruled(COUNT)
    kind: ClassVar[str] = "messages"


@dataclass(frozen=True)
class AfterReplies(Trigger):
    """After `count` messages sent."""

    count: int = ruled(COUNT)
    kind: ClassVar[str] = "replies"


@dataclass(frozen=True)
class OnMessage(Trigger):
    """When a text message of the type `name` arrives.

    If the fault ends the stream, the model does not see the message.
    """

    name: str = ruled(NAME)
    kind: ClassVar[str] = "control"


@dataclass(frozen=True)
class AfterTime(Trigger):
    """`seconds` after the answer, on the wall clock."""

    seconds: float = ruled(SECONDS)
    kind: ClassVar[str] = "elapsed"


@dataclass(frozen=True)
class AfterChunks(Trigger):
    """After `count` watermarked chunks on this leg."""

    count: int = ruled(COUNT)
    kind: ClassVar[str] = "chunks"


@dataclass(frozen=True)
class AfterNewChunks(Trigger):
    """Each time that the conversation has heard `count` further watermarked chunks.

    A conversation is all legs with the same path and query. A chunk that several legs hear counts
    once.
    """

    count: int = ruled(STEP)
    kind: ClassVar[str] = "new_chunks"


@dataclass(frozen=True)
class AfterNewAudio(Trigger):
    """Each time that the conversation has heard `seconds` of further audio.

    Audio that several legs hear counts once: a leg's first kilobyte is looked up in what was heard
    before. It is not found if a replay has silenced its finalised channels: count chunks there.
    """

    seconds: float = ruled(STEP_SECONDS)
    kind: ClassVar[str] = "new_audio"


@dataclass(frozen=True)
class OnNextOpen(Trigger):
    """When the conversation's next leg opens while this one works, as in a rollover."""

    kind: ClassVar[str] = "next_open"


@dataclass(frozen=True)
class OnConnect(Trigger):
    """When a connection is accepted: the trigger of the actions on connections.

    `Fault.legs` then counts connections.
    """

    kind: ClassVar[str] = "connect"
