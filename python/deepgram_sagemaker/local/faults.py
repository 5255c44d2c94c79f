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
import math
import re
from collections.abc import Callable  # noqa: TC003 - a dataclass's field
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, ClassVar, Final, Literal, get_args

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


@dataclass(frozen=True)
class Rule:
    """What a value has to be.

    Attributes:
        fits: whether a value is that.
        words: what it has to be, in words that go after "must be".
    """

    fits: Callable[[Any], bool]
    words: str


def rule_of(part: type[Any], field: str) -> Rule:
    """Return the rule of a field of an action or a trigger."""
    rule: Rule = part.__dataclass_fields__[field].metadata["rule"]
    return rule


# The server counts in so many bits, and HTTP/2 writes error codes in so many.
MOST: Final = 2**63 - 1
_MOST_CODE: Final = 2**32 - 1
_DAY: Final = 86_400
# What one event carries at most.
_MOST_PART: Final = 16 * 1024 * 1024 - 1024
_MOST_HEADER: Final = 1024

type _How = Literal[
    "truncated", "oversized", "wrong_crc", "unknown_event", "not_utf8", "garbage", "mixed_types"
]


def is_whole(value: object, least: int, most: int) -> bool:
    """Return whether a value is a whole number from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _whole(least: int, most: int, what: str = "") -> Rule:
    upto = "on" if most == MOST else f"to {most}"
    return Rule(
        lambda value: is_whole(value, least, most), f"a whole number{what} from {least} {upto}"
    )


def _is_seconds(value: object, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and least <= value <= _DAY


def _is_word(value: object) -> bool:
    """Return whether it can be a header's value: printable, and one line."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


_SECONDS: Final = Rule(lambda value: _is_seconds(value, 0), f"a number of seconds from 0 to {_DAY}")
_STEP_SECONDS: Final = Rule(
    lambda value: _is_seconds(value, 0.001), f"a number of seconds from 0.001 to {_DAY}"
)
_COUNT: Final = _whole(0, MOST)
_STEP: Final = _whole(1, MOST)
_CODE: Final = _whole(0, _MOST_CODE)
_STATUS: Final = Rule(lambda value: is_whole(value, 200, 599), "an HTTP status from 200 to 599")
_SIZE: Final = _whole(1, _MOST_PART, " of bytes")
_FLAG: Final = Rule(lambda value: isinstance(value, bool), "true or false")
_TEXT: Final = Rule(lambda value: isinstance(value, str), "text")
_BODY: Final = Rule(lambda value: value is None or isinstance(value, str), "text")
_NAME: Final = Rule(
    lambda value: _is_word(value) and 0 < len(value) <= _MOST_HEADER, "a name in ASCII"
)
_ERROR_TYPE: Final = Rule(
    lambda value: _is_word(value) and len(value) <= _MOST_HEADER, "a name in ASCII, or nothing"
)
_HOW: Final = Rule(
    lambda value: value in get_args(_How.__value__),
    "one of " + ", ".join(sorted(how.replace("_", "-") for how in get_args(_How.__value__))),
)


def _ruled(rule: Rule, **field: Any) -> Any:  # noqa: ANN401 - a field, whatever its type
    return dataclasses.field(metadata={"rule": rule}, **field)


class _Plain:
    """Something the native server takes as plain data."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        """Check every field by its rule.

        Raises:
            ValueError: a value breaks it; the message names both.
        """
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is one
            rule: Rule = field.metadata["rule"]
            value = getattr(self, field.name)
            if not rule.fits(value):
                name = f"{type(self).__name__}({field.name}={value!r})"
                raise ValueError(f"{name}: {field.name} must be {rule.words}")

    def plain(self) -> dict[str, Any]:
        """Return its kind and fields, as the server reads them."""
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

    seconds: float = _ruled(_SECONDS)
    kind: ClassVar[str] = "audio"


@dataclass(frozen=True)
class AfterBytes(Trigger):
    """After so many bytes of messages received."""

    count: int = _ruled(_COUNT)
    kind: ClassVar[str] = "bytes"


@dataclass(frozen=True)
class AfterMessages(Trigger):
    """After so many messages received.

    If the fault ends the stream, the model does not see the last one.
    """

    count: int = _ruled(_COUNT)
    kind: ClassVar[str] = "messages"


@dataclass(frozen=True)
class AfterReplies(Trigger):
    """After so many messages sent."""

    count: int = _ruled(_COUNT)
    kind: ClassVar[str] = "replies"


@dataclass(frozen=True)
class OnMessage(Trigger):
    """When a text message of this `type` arrives.

    If the fault ends the stream, the model does not see the message.
    """

    name: str = _ruled(_NAME)
    kind: ClassVar[str] = "control"


@dataclass(frozen=True)
class AfterTime(Trigger):
    """So many seconds after the answer, on the wall clock."""

    seconds: float = _ruled(_SECONDS)
    kind: ClassVar[str] = "elapsed"


@dataclass(frozen=True)
class AfterChunks(Trigger):
    """After so many watermarked chunks on this leg."""

    count: int = _ruled(_COUNT)
    kind: ClassVar[str] = "chunks"


@dataclass(frozen=True)
class AfterNewChunks(Trigger):
    """After each so many watermarked chunks that no leg of the conversation had heard before.

    A conversation is all legs with the same path and query.
    """

    count: int = _ruled(_STEP)
    kind: ClassVar[str] = "new_chunks"


@dataclass(frozen=True)
class AfterNewAudio(Trigger):
    """After each so many seconds of audio that no leg of the conversation had heard before.

    Where a leg begins is found by looking up its first kilobyte in what was heard before. Audio
    whose finalised channels are silenced in a replay is not found: count chunks there.
    """

    seconds: float = _ruled(_STEP_SECONDS)
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

    code: int = _ruled(_CODE, default=2)
    kind: ClassVar[str] = "reset"


@dataclass(frozen=True)
class Drop(Action):
    """The whole connection goes away: with a TCP RST, or else a bare FIN."""

    rst: bool = _ruled(_FLAG, default=True)
    kind: ClassVar[str] = "drop"


@dataclass(frozen=True)
class GoAway(Action):
    """`GOAWAY` on the connection.

    When it covers the stream, that goes on and the connection closes after its last stream;
    otherwise the stream falls silent and the connection closes a tenth of a second later.
    """

    code: int = _ruled(_CODE, default=0)
    covers: bool = _ruled(_FLAG, default=True)
    kind: ClassVar[str] = "go_away"


@dataclass(frozen=True)
class EndEarly(Action):
    """The response ends cleanly, whatever is outstanding."""

    kind: ClassVar[str] = "end_early"


@dataclass(frozen=True)
class ModelStreamError(Action):
    """In-band `ModelStreamError`: the container closed the WebSocket with a code."""

    code: str = _ruled(_TEXT, default="1011")
    message: str = _ruled(_TEXT, default="the container closed the connection")
    kind: ClassVar[str] = "model_stream_error"


@dataclass(frozen=True)
class InBandException(Action):
    """Any other in-band exception, by its name."""

    name: str = _ruled(_NAME)
    message: str = _ruled(_TEXT, default="")
    kind: ClassVar[str] = "exception"


@dataclass(frozen=True)
class InternalStreamFailure(Action):
    """In-band `InternalStreamFailure`."""

    message: str = _ruled(_TEXT, default="internal failure")
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

    status: int = _ruled(_STATUS)
    error_type: str = _ruled(_ERROR_TYPE, default="")
    message: str = _ruled(_TEXT, default="the local endpoint was told to answer so")
    body: str | None = _ruled(_BODY, default=None)
    kind: ClassVar[str] = "answer"


@dataclass(frozen=True)
class NeverAnswer(Action):
    """The request is taken and never answered."""

    kind: ClassVar[str] = "never_answer"


@dataclass(frozen=True)
class DelayAnswer(Action):
    """The answer's headers come so many seconds late."""

    seconds: float = _ruled(_SECONDS)
    kind: ClassVar[str] = "delay_answer"


@dataclass(frozen=True)
class GoSilent(Action):
    """Nothing is sent from now on, not even an end; input is still read."""

    kind: ClassVar[str] = "go_silent"


@dataclass(frozen=True)
class Split(Action):
    """Messages travel in PARTIAL … COMPLETE parts of so many bytes from now on."""

    size: int = _ruled(_SIZE)
    kind: ClassVar[str] = "split"


@dataclass(frozen=True)
class Late(Action):
    """Everything is sent so many seconds later from now on."""

    seconds: float = _ruled(_SECONDS)
    kind: ClassVar[str] = "late"


@dataclass(frozen=True)
class Malformed(Action):
    """Bytes on the stream that are not what they should be.

    `truncated` ends the response within an event; after `unknown_event`, an intact event of an
    unknown type, the stream goes on; after the others a client can only give up.
    """

    how: _How = _ruled(_HOW)
    kind: ClassVar[str] = "malform"


@dataclass(frozen=True)
class Outage(Action):
    """Every connection is reset, and new ones are refused for so many seconds."""

    seconds: float = _ruled(_SECONDS)
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

    seconds: float = _ruled(_SECONDS)
    kind: ClassVar[str] = "slow_tls"


@dataclass(frozen=True)
class ResetTcp(ConnectionAction):
    """Accepted, and reset at once."""

    kind: ClassVar[str] = "reset_tcp"


ANSWERS: Final = (Answer, NeverAnswer, DelayAnswer)
"""What happens in place of the answer, or to it: when a stream opens."""

type _Scope = Literal["endpoint", "conversation"]


def is_path(value: object) -> bool:
    """Return whether it can be an invocation path: names with single slashes between them."""
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)*", value, re.ASCII))


def _are_ordinals(legs: object) -> bool:
    match legs:
        case None:
            return True
        case range(start=first, stop=stop, step=step):
            return is_whole(first, 1, MOST) and step >= 1 and first < stop <= MOST
        case (first, None):
            return is_whole(first, 1, MOST)
        case (int(first), int(last)):
            return is_whole(first, 1, MOST) and is_whole(last, first, MOST)
        case only:
            return is_whole(only, 1, MOST)


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
        ValueError: action and trigger do not go together, `legs` is empty, or another field is not
            what it has to be.
    """

    action: Action | ConnectionAction
    when: Trigger | None = None
    _: dataclasses.KW_ONLY
    legs: int | range | tuple[int, int | None] | None = None
    times: int | EllipsisType | None = ...
    scope: _Scope = "endpoint"
    path: str | None = None

    def __post_init__(self) -> None:
        """Check the fields and their combination."""
        if not isinstance(self.action, Action | ConnectionAction):
            raise ValueError(  # noqa: TRY004 - one class of error for all of them
                f"action is one of this module's, not {self.action!r}"
            )
        if not isinstance(self.when, Trigger | None):
            raise ValueError(  # noqa: TRY004 - one class of error for all of them
                f"when is one of this module's triggers, not {self.when!r}"
            )
        if self.is_on_connection != isinstance(self._trigger, OnConnect):
            raise ValueError(f"{self.action!r} can't happen at {self._trigger!r}")
        is_answer = isinstance(self.action, ANSWERS)
        if is_answer and not isinstance(self._trigger, AtOpen):
            raise ValueError(f"{self.action!r} happens at AtOpen(), not at {self.when!r}")
        if not _are_ordinals(self.legs):
            raise ValueError(f"legs are some of 1, 2, 3 …, not {self.legs!r}")
        if not (self._limit is None or is_whole(self._limit, 1, MOST)):
            raise ValueError(f"times is at least 1, or None for no limit, not {self.times!r}")
        if self.scope not in get_args(_Scope.__value__):
            raise ValueError(f"scope is 'endpoint' or 'conversation', not {self.scope!r}")
        if not (self.path is None or is_path(self.path)):
            raise ValueError(f"path is an invocation path such as 'v1/listen', not {self.path!r}")

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
