"""What happens in the sessions of a factory, as typed events.

`SageMakerTransportFactory(..., on_event=...)` calls a function with each event. Log lines, traces
and metrics are made of the same events and of `stats`. No event contains audio, text of a
conversation, a query's values or keys.

```python
from deepgram_sagemaker import SageMakerTransportFactory, events

def on_event(event: events.Event) -> None:
    match event:
        case events.Gap(seconds=seconds):
            page(f"session {event.session} lost {seconds:.3f} s of audio")
        case events.SessionEnded(totals=totals):
            bill(event.session, totals.seconds_sent)

factory = SageMakerTransportFactory("my-endpoint", on_event=on_event)
```

Imports `stats` alone. Tests: `tests/test_events.py`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypedDict, get_args

from .stats import Stats  # noqa: TC001 - for `typing.get_type_hints`

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Backlog",
    "BaseEvent",
    "ClaimTooLong",
    "CloseTimedOut",
    "CredentialsRefreshed",
    "EndpointAvoided",
    "EndpointChanged",
    "EndpointReturned",
    "ErrorOutlived",
    "Event",
    "FirstResult",
    "FunctionCalledAgain",
    "Gap",
    "LegEnded",
    "LegOpenFailed",
    "LegOpened",
    "LegOpening",
    "MessageLeftOut",
    "NotResumable",
    "Resumed",
    "RolledOver",
    "SessionBegan",
    "SessionEnded",
    "SpeechJoined",
    "Stalled",
    "UnknownEventSkipped",
]

# All lines about sessions have one logger, whichever module writes them.
_logger = logging.getLogger("deepgram_sagemaker.transport")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseEvent:
    """What every event says.

    Attributes:
        name: The event's name in logs and traces, such as `leg_ended`. The class has it.
        session: The session's id, 16 hexadecimal digits; `SageMakerTransport.session_id`.
        path: The invocation's path, such as `v1/listen`.
        endpoint_name: The SageMaker endpoint.
        region: Its AWS region; `auto` until the first connection has found it.
        time: When it happened, in seconds since 1970, by the wall clock.
        monotonic: The same by `time.monotonic`. An event that waited because the event loop was
            blocked still has the time at which it happened.
        level: How serious it is, as a level of `logging`: DEBUG is part of every session's life,
            INFO an event without loss, WARNING says that audio or messages were lost or could be,
            or that an endpoint fails.
    """

    name: ClassVar[str]

    session: str
    path: str
    endpoint_name: str
    region: str
    time: float
    monotonic: float
    level: int = logging.DEBUG

    def __init_subclass__(cls) -> None:
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBegan(BaseEvent):
    """A session has begun: with the first `open`, `send` or `recv`.

    It is reported within that call, so the context variables of the request are there. Later
    events are reported in an empty context.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class LegOpening(BaseEvent):
    """A stream is being requested. One `LegOpened` or `LegOpenFailed` follows.

    Attributes:
        attempt: The request's number in the session, from 1.
        standby: Whether it is to take over from a leg that works and grows old.
        renews_keys: Whether fresh credentials are looked up first, because the keys ran out.
        failures: Failures in a row without progress; 0: this is no retry.
    """

    attempt: int
    standby: bool
    renews_keys: bool
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LegOpened(BaseEvent):
    """The service has accepted a stream. One `LegEnded` follows.

    Attributes:
        attempt: The request's number in the session.
        leg: The leg's number in the session, from 0.
        standby: Whether it was requested as a standby.
        seconds: From `LegOpening` to the answer: credentials, waiting for `max_concurrency`,
            connecting and the request.
        request_id: The service's id of the request, to quote to AWS support.
    """

    attempt: int
    leg: int
    standby: bool
    seconds: float
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegOpenFailed(BaseEvent):
    """A stream could not be opened.

    Attributes:
        attempt: The request's number in the session.
        standby: Whether it was requested as a standby.
        seconds: From `LegOpening` to the failure.
        reason: `error.reason`, such as `throttled`; `closed`: the session ended meanwhile, which is
            no failure.
        error: The class of the error, such as `ThrottledError`; None with `closed`.
        status: The HTTP status; None: there was no answer.
        code: The service's name for the error.
        request_id: The service's id of the request, to quote to AWS support.
    """

    attempt: int
    standby: bool
    seconds: float
    reason: str
    error: str | None = None
    status: int | None = None
    code: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegEnded(BaseEvent):
    """A stream has ended. Every leg that was opened reports this once.

    Attributes:
        leg: The leg's number in the session.
        role: What it was: `current` spoke for the session, `standby` waited to take over,
            `retiring` had been replaced.
        kind: How it ended: `reset`, `dropped`, … as `Stats.resets` counts; `finished`: by the
            service, in order, with nothing missing; `closed`: from this side.
        reason: Why, if that is a failure, as `error.reason` has it; None otherwise.
        said: How it ended, in words; the service's own are quoted without secrets.
        failures: Failures in a row without progress, if another leg follows; 0: only the keys ran
            out.
        resumes: Whether the session goes on over another leg because of it. These are the ends that
            `Stats.resets` counts.
        seconds: How long it was open.
        seconds_unacknowledged: Audio to send again over the next leg, if there is one.
        request_id: The service's id of the leg's request.
    """

    leg: int
    role: Literal["current", "standby", "retiring"]
    kind: str
    reason: str | None
    said: str
    failures: int
    resumes: bool
    seconds: float
    seconds_unacknowledged: float
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(BaseEvent):
    """The session goes on over a new leg: after a reset, a rollover or a pause.

    Attributes:
        leg: The new leg.
        seconds_replayed: Audio that was sent before and is sent again over this leg; 0 also where
            the audio's rate is unknown. If the leg ends early, part of it.
        bytes_replayed: The same in bytes.
        is_first: Whether the session goes on over another leg for the first time.
    """

    leg: int
    seconds_replayed: float
    bytes_replayed: int
    is_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledOver(BaseEvent):
    """A leg has taken over from one that had grown old.

    Attributes:
        leg: The new leg.
    """

    leg: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(BaseEvent):
    """Audio is lost: it had to be sent again and was no longer kept (`max_replay_buffer_bytes`).

    Attributes:
        start_seconds: Where it starts on the session's clock.
        seconds: How long it is.
        size: The same in bytes.
    """

    start_seconds: float
    seconds: float
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog(BaseEvent):
    """One side has to wait for the other. Reported again only after the backlog has halved.

    Attributes:
        kind: `unread`: the application does not read its messages, so the service has to wait;
            `unsent`: `send` waits, because the input is ahead of the service.
        size: Bytes that wait.
    """

    kind: Literal["unread", "unsent"]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled(BaseEvent):
    """The service owed an answer and was silent for `stall_timeout`. The leg's end follows.

    Attributes:
        leg: The leg.
        seconds: Since its last message, or since it opened.
    """

    leg: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstResult(BaseEvent):
    """The first result has arrived.

    Attributes:
        seconds: Since the first audio or text was sent.
    """

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsRefreshed(BaseEvent):
    """Legs are signed with other keys from now on. Reported by the session that saw them first.

    Attributes:
        forced: Whether they were looked up because the service had refused the old ones.
        seconds: How long the session waited for them.
    """

    forced: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointChanged(BaseEvent):
    """The session goes on at another of its endpoints.

    Attributes:
        leg: The leg that was opened there.
        before: The endpoint of the leg before, by its name in `Stats.legs_at`.
        after: The new one, likewise.
        falls_over: Whether an endpoint had failed just before; otherwise the session returns to one
            that it prefers, or avoids one that other sessions have found failing.
    """

    leg: int
    before: str
    after: str
    falls_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointAvoided(BaseEvent):
    """An endpoint has failed, and all sessions of the factory avoid it for a while.

    Reported by the session that found out.

    Attributes:
        seconds: For how long. Then one session tries it.
        reason: Why, as `error.reason` has it.
    """

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointReturned(BaseEvent):
    """An endpoint that was avoided has opened a stream. Sessions return to it little by little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechJoined(BaseEvent):
    """A new leg synthesised other speech than the one before. The two were joined.

    Attributes:
        at_seconds: Where in the turn.
        moved_seconds: How much earlier that was in the new synthesis.
    """

    at_seconds: float
    moved_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotResumable(BaseEvent):
    """Audio of unknown rate has outgrown the journal. The next reset is an error.

    Attributes:
        limit: `max_replay_buffer_bytes`.
    """

    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOutlived(BaseEvent):
    """The service sent an `Error` message and the leg went on. The message is delivered.

    Attributes:
        leg: The leg. Each reports this once.
    """

    leg: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLeftOut(BaseEvent):
    """The service does not take a message of the application. It is not sent again.

    Attributes:
        leg: The last leg that was sent it.
        message_type: Its type, such as `Configure`; None if the product has no such type.
    """

    leg: int
    message_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCalledAgain(BaseEvent):
    """The service asked for a function call that it had asked for over an earlier leg.

    Attributes:
        leg: The leg.
    """

    leg: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTooLong(BaseEvent):
    """The service reports on audio that was never sent. What it says beyond is cut.

    Attributes:
        claimed_seconds: Where the reported audio ends.
        sent_seconds: How much was sent.
    """

    claimed_seconds: float
    sent_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseTimedOut(BaseEvent):
    """The application closed, and the service did not end the stream within `close_timeout`.

    Attributes:
        seconds_unacknowledged: Audio without a final result.
    """

    seconds_unacknowledged: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEventSkipped(BaseEvent):
    """An event of a type that this version does not know was skipped.

    Attributes:
        event_type: The type.
    """

    event_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(BaseEvent):
    """A session has ended; it is the session's last event.

    Attributes:
        outcome: `finished`: in order; `failed`: `send` and `recv` raise why; `cut`: `close` was
            cancelled, or the transport was never closed.
        error: The class of the error, such as `RetriesExhaustedError`; None unless it failed.
        reason: `error.reason`, such as `throttled`; None unless it failed.
        seconds: How long it lasted.
        totals: Its figures.
    """

    outcome: Literal["finished", "failed", "cut"]
    error: str | None
    reason: str | None
    seconds: float
    totals: Stats


Event = (
    SessionBegan
    | LegOpening
    | LegOpened
    | LegOpenFailed
    | LegEnded
    | Resumed
    | RolledOver
    | Gap
    | Backlog
    | Stalled
    | FirstResult
    | CredentialsRefreshed
    | EndpointChanged
    | EndpointAvoided
    | EndpointReturned
    | SpeechJoined
    | NotResumable
    | ErrorOutlived
    | MessageLeftOut
    | FunctionCalledAgain
    | ClaimTooLong
    | CloseTimedOut
    | UnknownEventSkipped
    | SessionEnded
)
"""Every event. Later releases may add some: a `match` needs a case for the rest."""

CLASSES: Final[dict[str, Callable[..., Event]]] = {each.__name__: each for each in get_args(Event)}
"""The class of each event by its name, for those that the native side reports."""


class Common(TypedDict):
    """The fields of `BaseEvent` that an event is made with."""

    session: str
    path: str
    endpoint_name: str
    region: str
    time: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A time by both clocks, in seconds."""

    wall: float
    monotonic: float

    @classmethod
    def now(cls) -> Self:
        """Return this moment."""
        return cls(time.time(), time.monotonic())

    def before(self, seconds: float) -> Self:
        """Return the moment that was `seconds` earlier."""
        return type(self)(self.wall - seconds, self.monotonic - seconds)


class Channel:
    """Passes the events of a factory's sessions on: to the log, to telemetry, to the application.

    Args:
        log: Called at once, also from a finaliser, as `logging` allows.
        on_event: The application's function. Called on the session's event loop.
    """

    def __init__(
        self,
        log: Callable[[Event], None],
        on_event: Callable[[Event], object] | None = None,
    ) -> None:
        self._log = log
        self._telemetry: Callable[[Event], None] | None = None
        self._on_event = on_event
        self._late: SimpleQueue[Event] = SimpleQueue()
        self._late_lock = threading.Lock()

    def add(self, telemetry: Callable[[Event], None]) -> None:
        """Pass later events to telemetry, too.

        Args:
            telemetry: Never called from a finaliser: what it calls may hold locks of its own, and
                a finaliser may run in the middle of that, on the same thread.
        """
        self._telemetry = telemetry

    def tell(self, event: Event, loop: asyncio.AbstractEventLoop) -> None:
        """Pass an event of a session on `loop` on, from any thread; raise nothing."""
        on_loop = _is_on(loop)
        self._pass(self._log, event)
        if self._telemetry is not None:
            if on_loop:
                self._pass(self._telemetry, event)
            else:
                self._pass_later(event)
        if self._on_event is None:
            return
        if on_loop:
            self._call(event)
            return
        try:
            # A loop that does not run now may run again.
            loop.call_soon_threadsafe(self._call, event)
        except RuntimeError:
            _logger.warning(
                "%s: on_event was not called with %s of session %s: its event loop is closed",
                event.path,
                event.name,
                event.session,
            )

    def _pass(self, consumer: Callable[[Event], None], event: Event) -> None:
        try:
            consumer(event)
        except Exception:
            # Telemetry must not cost a session.
            _logger.exception("an event could not be reported: %s", event.name)

    def _pass_later(self, event: Event) -> None:
        """Pass an event to telemetry in a thread of its own, after those before it."""
        self._late.put(event)
        # At the end of the process no thread can be started: the log has the event.
        with suppress(RuntimeError):
            threading.Thread(
                target=self._pass_late, name="deepgram-sagemaker-telemetry", daemon=True
            ).start()

    def _pass_late(self) -> None:
        # One thread at a time, so that the order stays.
        with self._late_lock:
            while self._telemetry is not None and not self._late.empty():
                self._pass(self._telemetry, self._late.get())

    def _call(self, event: Event) -> None:
        assert self._on_event is not None  # noqa: S101 - the caller has looked
        try:
            outcome = self._on_event(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        # Also what is no `Exception`: a plain call cannot be cancelled, so a CancelledError is the
        # function's own, and so is the outcome of a test that fails in it.
        except BaseException:
            _logger.exception("on_event raised an error, with %s", event.name)
            return
        if inspect.iscoroutine(outcome):
            outcome.close()
            _logger.error("on_event returned a coroutine, which is not awaited: give a function")


def checked(on_event: object) -> Callable[[Event], object] | None:
    """Return the application's function.

    Raises:
        TypeError: It cannot be called, or has to be awaited.
    """
    if on_event is None:
        return None
    if not callable(on_event):
        raise TypeError(f"on_event= takes a function, not {type(on_event).__name__}")
    if inspect.iscoroutinefunction(on_event):
        raise TypeError("on_event= takes a plain function: it is called, and not awaited")
    return on_event


def _is_on(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether this code runs on the loop."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def fields_of(event: Event) -> dict[str, Any]:
    """Return an event's own fields: without those that every event has."""
    common = {each.name for each in fields(BaseEvent)}
    return {
        each.name: getattr(event, each.name) for each in fields(event) if each.name not in common
    }
