"""Faults on demand: what goes wrong, and when.

A fault is an action and a trigger; it says on which opens and how often:

```python
Fault(Reset(), when=AfterAudio(3.2))                     # once, after 3.2 s of audio
Fault(Answer(429, "ThrottlingException"), times=2)       # the first two opens
Fault(EndEarly(), when=AfterMessages(3), legs=(2, 4))    # three legs in a row
Fault(Drop(), when=AfterNewChunks(50), times=None)       # after each 50 chunks not heard before
Fault(EndEarly(), when=OnMessage("CloseStream"))         # before the last results
Fault(NeverTls(), when=OnConnect(), legs=1)              # the first connection
```

Several faults may strike one stream, in the order in which they are given.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, ClassVar, Literal

__all__ = [
    "Action",
    "AfterAudio",
    "AfterBytes",
    "AfterChunks",
    "AfterMessages",
    "AfterNewAudio",
    "AfterNewChunks",
    "AfterReplies",
    "AfterTime",
    "Answer",
    "AtOpen",
    "ConnectionAction",
    "DelayAnswer",
    "Drop",
    "EndEarly",
    "Fault",
    "GoAway",
    "GoSilent",
    "InBandException",
    "InternalStreamFailure",
    "Late",
    "Malformed",
    "ModelStreamError",
    "NeverAnswer",
    "NeverHttp2",
    "NeverTls",
    "OnConnect",
    "OnMessage",
    "OnNextOpen",
    "Outage",
    "Reset",
    "ResetTcp",
    "SlowTls",
    "Split",
    "Trigger",
]


class _Plain:
    """Something the native server takes as plain data."""

    kind: ClassVar[str]

    def plain(self) -> dict[str, Any]:
        """Its kind and fields, as the server reads them."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is one
        return {"kind": self.kind} | {field.name: getattr(self, field.name) for field in fields}


class Trigger(_Plain):
    """When a fault strikes. At most once a leg, except the two that count what is new."""


@dataclass(frozen=True)
class AtOpen(Trigger):
    """When the request has been checked, before it is answered."""

    kind: ClassVar[str] = "opening"


@dataclass(frozen=True)
class AfterAudio(Trigger):
    """After so many seconds of audio on this leg."""

    seconds: float
    kind: ClassVar[str] = "audio"


@dataclass(frozen=True)
class AfterBytes(Trigger):
    """After so many bytes of messages received."""

    count: int
    kind: ClassVar[str] = "bytes"


@dataclass(frozen=True)
class AfterMessages(Trigger):
    """After so many messages received.

    If the fault ends the stream, the model does not see the last one.
    """

    count: int
    kind: ClassVar[str] = "messages"


@dataclass(frozen=True)
class AfterReplies(Trigger):
    """After so many messages sent."""

    count: int
    kind: ClassVar[str] = "replies"


@dataclass(frozen=True)
class OnMessage(Trigger):
    """When a text message of this `type` arrives.

    If the fault ends the stream, the model does not see the message.
    """

    name: str
    kind: ClassVar[str] = "control"


@dataclass(frozen=True)
class AfterTime(Trigger):
    """So many seconds after the answer, on the wall clock."""

    seconds: float
    kind: ClassVar[str] = "elapsed"


@dataclass(frozen=True)
class AfterChunks(Trigger):
    """After so many watermarked chunks on this leg."""

    count: int
    kind: ClassVar[str] = "chunks"


@dataclass(frozen=True)
class AfterNewChunks(Trigger):
    """After each so many watermarked chunks that no leg of the conversation had heard before.

    A conversation is all legs with the same path and query.
    """

    count: int
    kind: ClassVar[str] = "new_chunks"


@dataclass(frozen=True)
class AfterNewAudio(Trigger):
    """After each so many seconds of audio that no leg of the conversation had heard before.

    Where a leg begins is found by looking up its first kilobyte in what was heard before. Audio
    whose finalised channels are silenced in a replay is not found: count chunks there.
    """

    seconds: float
    kind: ClassVar[str] = "new_audio"


@dataclass(frozen=True)
class OnNextOpen(Trigger):
    """When the conversation's next leg opens while this one works: during a rollover."""

    kind: ClassVar[str] = "next_open"


@dataclass(frozen=True)
class OnConnect(Trigger):
    """When a connection is accepted: the trigger of the actions on connections.

    `Fault.legs` then counts connections.
    """

    kind: ClassVar[str] = "connect"


class Action(_Plain):
    """What happens to a stream."""


@dataclass(frozen=True)
class Reset(Action):
    """`RST_STREAM` with an HTTP/2 error code; 2 is `INTERNAL_ERROR`, 7 `REFUSED_STREAM`."""

    code: int = 2
    kind: ClassVar[str] = "reset"


@dataclass(frozen=True)
class Drop(Action):
    """The whole connection goes away: with a TCP RST, or else a bare FIN."""

    rst: bool = True
    kind: ClassVar[str] = "drop"


@dataclass(frozen=True)
class GoAway(Action):
    """`GOAWAY` on the connection.

    When it covers the stream, that goes on and the connection closes after its last stream;
    otherwise the stream falls silent and the connection closes a tenth of a second later.
    """

    code: int = 0
    covers: bool = True
    kind: ClassVar[str] = "go_away"


@dataclass(frozen=True)
class EndEarly(Action):
    """The response ends cleanly, whatever is outstanding."""

    kind: ClassVar[str] = "end_early"


@dataclass(frozen=True)
class ModelStreamError(Action):
    """In-band `ModelStreamError`: the container closed the WebSocket with a code."""

    code: str = "1011"
    message: str = "the container closed the connection"
    kind: ClassVar[str] = "model_stream_error"


@dataclass(frozen=True)
class InBandException(Action):
    """Any other in-band exception, by its name."""

    name: str
    message: str = ""
    kind: ClassVar[str] = "exception"


@dataclass(frozen=True)
class InternalStreamFailure(Action):
    """In-band `InternalStreamFailure`."""

    message: str = "internal failure"
    kind: ClassVar[str] = "exception"

    def plain(self) -> dict[str, Any]:
        """As the in-band exception that it is."""
        return InBandException("InternalStreamFailure", self.message).plain()


@dataclass(frozen=True)
class Answer(Action):
    """An HTTP answer instead of a stream.

    Attributes:
        status: the HTTP status.
        error_type: `x-amzn-errortype`; empty: no such header.
        message: the JSON body's `message`.
        body: the whole body instead.
    """

    status: int
    error_type: str = ""
    message: str = "the local endpoint was told to answer so"
    body: str | None = None
    kind: ClassVar[str] = "answer"


@dataclass(frozen=True)
class NeverAnswer(Action):
    """The request is taken and never answered."""

    kind: ClassVar[str] = "never_answer"


@dataclass(frozen=True)
class DelayAnswer(Action):
    """The answer's headers come so many seconds late."""

    seconds: float
    kind: ClassVar[str] = "delay_answer"


@dataclass(frozen=True)
class GoSilent(Action):
    """Nothing is sent from now on, not even an end; input is still read."""

    kind: ClassVar[str] = "go_silent"


@dataclass(frozen=True)
class Split(Action):
    """Messages travel in PARTIAL … COMPLETE parts of so many bytes from now on."""

    size: int
    kind: ClassVar[str] = "split"


@dataclass(frozen=True)
class Late(Action):
    """Everything is sent so many seconds later from now on."""

    seconds: float
    kind: ClassVar[str] = "late"


@dataclass(frozen=True)
class Malformed(Action):
    """Bytes on the stream that are not what they should be.

    `truncated` ends the response within an event; after `unknown_event`, an intact event of an
    unknown type, the stream goes on; after the others a client can only give up.
    """

    how: Literal[
        "truncated",
        "oversized",
        "wrong_crc",
        "unknown_event",
        "not_utf8",
        "garbage",
        "mixed_types",
    ]
    kind: ClassVar[str] = "malform"


@dataclass(frozen=True)
class Outage(Action):
    """Every connection is reset, and new ones are refused for so many seconds."""

    seconds: float
    kind: ClassVar[str] = "outage"


class ConnectionAction(_Plain):
    """What happens to a connection before HTTP/2 speaks; goes with `OnConnect`."""


@dataclass(frozen=True)
class NeverTls(ConnectionAction):
    """Accepted, then silence."""

    kind: ClassVar[str] = "never_tls"


@dataclass(frozen=True)
class NeverHttp2(ConnectionAction):
    """TLS is negotiated, then silence."""

    kind: ClassVar[str] = "never_http2"


@dataclass(frozen=True)
class SlowTls(ConnectionAction):
    """The TLS handshake starts so many seconds late."""

    seconds: float
    kind: ClassVar[str] = "slow_tls"


@dataclass(frozen=True)
class ResetTcp(ConnectionAction):
    """Accepted, and reset at once."""

    kind: ClassVar[str] = "reset_tcp"


@dataclass(frozen=True)
class Fault:
    """One rule.

    Attributes:
        action: what happens.
        when: when; None is `AtOpen` for actions on streams, `OnConnect` for actions on connections.
        legs: on which opens, from 1: one; or first and last, where None as the last means all
            from the first on; or a range, for every second open and the like. None: any.
        times: how often it strikes at most; None: no limit. Left out: once, or, where `legs` says
            on which opens, on each of them. Faults on connections go by `legs` alone.
        scope: where opens and times are counted: over the whole endpoint, or for each
            conversation, that is, over the legs with the same path and query.
        path: only for this invocation path.

    Raises:
        ValueError: action and trigger do not go together, or `legs` is empty.
    """

    action: Action | ConnectionAction
    when: Trigger | None = None
    _: dataclasses.KW_ONLY
    legs: int | range | tuple[int, int | None] | None = None
    times: int | EllipsisType | None = ...
    scope: Literal["endpoint", "conversation"] = "endpoint"
    path: str | None = None

    def __post_init__(self) -> None:
        """Checks that it makes sense."""
        if self.is_on_connection != isinstance(self._trigger, OnConnect):
            raise ValueError(f"{self.action!r} can't happen at {self._trigger!r}")
        is_answer = isinstance(self.action, Answer | NeverAnswer | DelayAnswer)
        if is_answer and not isinstance(self._trigger, AtOpen):
            raise ValueError(f"{self.action!r} happens at AtOpen(), not at {self.when!r}")
        first, last, step = self._ordinals or (1, None, 1)
        if first < 1 or step < 1 or (last is not None and last < first):
            raise ValueError(f"legs are some of 1, 2, 3 …, not {self.legs!r}")
        if self._limit is not None and self._limit < 1:
            raise ValueError(f"times is at least 1, or None for no limit, not {self.times!r}")

    @property
    def _trigger(self) -> Trigger:
        if self.when is not None:
            return self.when
        return OnConnect() if self.is_on_connection else AtOpen()

    @property
    def _limit(self) -> int | None:
        if isinstance(self.times, EllipsisType):
            return 1 if self.legs is None else None
        return self.times

    @property
    def _ordinals(self) -> tuple[int, int | None, int] | None:
        match self.legs:
            case None:
                return None
            case int(only):
                return only, only, 1
            case range(start=first, stop=stop, step=step):
                return first, stop - 1, step
            case first, last:
                return first, last, 1

    @property
    def is_on_connection(self) -> bool:
        """Whether it strikes before HTTP/2 speaks."""
        return isinstance(self.action, ConnectionAction)

    def plain(self) -> dict[str, Any]:
        """As the native server reads it."""
        if self.is_on_connection:
            return {"action": self.action.plain(), "connections": self._ordinals}
        return {
            "action": self.action.plain(),
            "when": self._trigger.plain(),
            "legs": self._ordinals,
            "times": self._limit,
            "scope": self.scope,
            "path": self.path,
        }
