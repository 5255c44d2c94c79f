"""What happens to a stream or a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, get_args

from .values import (
    BODY,
    CODE,
    ERROR_TYPE,
    FLAG,
    NAME,
    SECONDS,
    SIZE,
    STATUS,
    TEXT,
    Plain,
    Rule,
    ruled,
)

type How = Literal[
    "truncated", "oversized", "wrong_crc", "unknown_event", "not_utf8", "garbage", "mixed_types"
]

_HOW: Final = Rule(
    lambda value: value in get_args(How.__value__),
    "one of " + ", ".join(sorted(how.replace("_", "-") for how in get_args(How.__value__))),
)


class Action(Plain):
    """What happens to a stream."""


@dataclass(frozen=True)
class Reset(Action):
    """`RST_STREAM` with an HTTP/2 error code; 2 is `INTERNAL_ERROR`, 7 `REFUSED_STREAM`."""

    code: int = ruled(CODE, default=2)
    kind: ClassVar[str] = "reset"


@dataclass(frozen=True)
class Drop(Action):
    """The whole connection closes: with a TCP RST, or else with a bare FIN."""

    rst: bool = ruled(FLAG, default=True)
    kind: ClassVar[str] = "drop"


@dataclass(frozen=True)
class GoAway(Action):
    """`GOAWAY` on the connection.

    If it covers the stream, the stream goes on and the connection closes after its last stream;
    otherwise the stream falls silent and the connection closes 0.1 s later.
    """

    code: int = ruled(CODE, default=0)
    covers: bool = ruled(FLAG, default=True)
    kind: ClassVar[str] = "go_away"


@dataclass(frozen=True)
class EndEarly(Action):
    """The response ends cleanly, with messages unsent."""

    kind: ClassVar[str] = "end_early"


@dataclass(frozen=True)
class ModelStreamError(Action):
    """In-band `ModelStreamError`: the container closed the WebSocket with a code."""

    code: str = ruled(TEXT, default="1011")
    message: str = ruled(TEXT, default="the container closed the connection")
    kind: ClassVar[str] = "model_stream_error"


@dataclass(frozen=True)
class InBandException(Action):
    """Any other in-band exception, by its name."""

    name: str = ruled(NAME)
    message: str = ruled(TEXT, default="")
    kind: ClassVar[str] = "exception"


@dataclass(frozen=True)
class InternalStreamFailure(Action):
    """In-band `InternalStreamFailure`."""

    message: str = ruled(TEXT, default="internal failure")
    kind: ClassVar[str] = "exception"

    def plain(self) -> dict[str, Any]:
        """Return the in-band exception that it stands for."""
        return InBandException("InternalStreamFailure", self.message).plain()


@dataclass(frozen=True)
class Answer(Action):
    """An HTTP answer instead of a stream.

    Attributes:
        status: the HTTP status.
        error_type: the header `x-amzn-errortype`; empty: no such header.
        message: the `message` of the JSON body.
        body: the whole body, instead of one made from the message.
    """

    status: int = ruled(STATUS)
    error_type: str = ruled(ERROR_TYPE, default="")
    message: str = ruled(TEXT, default="the local endpoint was told to answer so")
    body: str | None = ruled(BODY, default=None)
    kind: ClassVar[str] = "answer"


@dataclass(frozen=True)
class NeverAnswer(Action):
    """The request is never answered."""

    kind: ClassVar[str] = "never_answer"


@dataclass(frozen=True)
class DelayAnswer(Action):
    """The answer comes `seconds` late."""

    seconds: float = ruled(SECONDS)
    kind: ClassVar[str] = "delay_answer"


@dataclass(frozen=True)
class GoSilent(Action):
    """Nothing is sent from now on, not even an end; input is still read."""

    kind: ClassVar[str] = "go_silent"


@dataclass(frozen=True)
class Split(Action):
    """Messages travel in PARTIAL … COMPLETE parts of `size` bytes from now on."""

    size: int = ruled(SIZE)
    kind: ClassVar[str] = "split"


@dataclass(frozen=True)
class Late(Action):
    """Everything is sent `seconds` late from now on."""

    seconds: float = ruled(SECONDS)
    kind: ClassVar[str] = "late"


@dataclass(frozen=True)
class Malformed(Action):
    """The stream carries malformed bytes.

    `truncated` ends the response within an event. After `unknown_event`, an intact event of an
    unknown type, the stream goes on. After the others a client can only give up.
    """

    how: How = ruled(_HOW)
    kind: ClassVar[str] = "malform"


@dataclass(frozen=True)
class Outage(Action):
    """Every connection is reset, and new ones are refused for `seconds`."""

    seconds: float = ruled(SECONDS)
    kind: ClassVar[str] = "outage"


class ConnectionAction(Plain):
    """What happens to a connection before HTTP/2 speaks; goes with `OnConnect`."""


@dataclass(frozen=True)
class NeverTls(ConnectionAction):
    """The connection is accepted, then silent."""

    kind: ClassVar[str] = "never_tls"


@dataclass(frozen=True)
class NeverHttp2(ConnectionAction):
    """TLS is negotiated, then the connection is silent."""

    kind: ClassVar[str] = "never_http2"


@dataclass(frozen=True)
class SlowTls(ConnectionAction):
    """The TLS handshake starts `seconds` late."""

    seconds: float = ruled(SECONDS)
    kind: ClassVar[str] = "slow_tls"


@dataclass(frozen=True)
class ResetTcp(ConnectionAction):
    """The connection is accepted and reset at once."""

    kind: ClassVar[str] = "reset_tcp"


ANSWERS: Final = (Answer, NeverAnswer, DelayAnswer)
"""Actions on the answer itself; they go with `AtOpen` alone."""
