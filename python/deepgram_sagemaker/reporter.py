"""Makes events of what happens in one session, and tells them in the order of their times.

The native session has seen most of it, and keeps it until it is asked. The driver says what it does
itself: opening legs, looking up keys, avoiding endpoints.

Imports `config`, `events`, `stats` and `_native`. Tests: `tests/test_events.py`,
`tests/test_reporter.py` and `tests/e2e/test_fallover.py`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from . import events
from ._native import quote
from .events import Moment

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

    from ._native import Session
    from .config import SageMakerConfig
    from .errors import SageMakerError
    from .events import Common, Event
    from .stats import Stats

__all__ = ["Reporter"]

_REQUEST_ID: Final = ("x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id")
"""The headers that may have the service's id of a request."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the driver has said, until it is an event."""

    make: Callable[[Common], Event | None]
    endpoint: int | None
    moment: Moment | None


class Shared(Protocol):
    """What a session shares with others, as far as events are about it."""

    @property
    def events(self) -> events.Channel:
        """Where the events go."""

    @property
    def configs(self) -> Sequence[SageMakerConfig]:
        """The settings of each endpoint."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each endpoint."""


class Reporter:
    """Tells what happens in one session. Any thread may call it, a finaliser too.

    What is said while an event is being told waits for its turn: `on_event` may drop the last
    reference to a transport, whose end is then said in the middle of other events.

    Args:
        shared: What the session shares with others.
        session: The native session.
        loop: The event loop on which the session's events are told.
        session_id: The session's id.
        path: Its path.

    Attributes:
        at: The endpoint of the leg that speaks for the session, or spoke for it last; None: it has
            had none.
    """

    def __init__(
        self,
        shared: Shared,
        session: Session,
        loop: asyncio.AbstractEventLoop,
        session_id: str,
        path: str,
    ) -> None:
        self._shared = shared
        self._session = session
        self._loop = loop
        self._id = session_id
        self._path = path
        self._began = Moment.now()
        self.at: int | None = None
        # Of each leg: its endpoint, and whether another one had failed just before.
        self._leg_at: dict[int, tuple[int, bool]] = {}
        self._request_ids: dict[int, str] = {}
        self._attempts = 0
        # The opening that has no outcome yet.
        self._asked: events.LegOpening | None = None
        # Popped by the one that reports the end: a finaliser may run in another thread.
        self._end_to_tell = [True]
        # What is still to be made an event of, the events that are made, and who tells them.
        self._said: deque[_Said] = deque()
        self._made: deque[Event] = deque()
        self._turn = threading.Lock()

    # What the driver says.

    def began(self) -> None:
        """Report that the session has begun."""
        self._say(lambda common: events.SessionBegan(**common))

    def opening(self, endpoint: int, *, standby: bool, renews_keys: bool, failures: int) -> None:
        """Report that a leg is requested at an endpoint."""
        self._attempts += 1
        attempt = self._attempts

        def make(common: Common) -> Event:
            self._asked = events.LegOpening(
                **common,
                attempt=attempt,
                standby=standby,
                renews_keys=renews_keys,
                failures=failures,
            )
            return self._asked

        self._say(make, endpoint)

    def opened(
        self,
        endpoint: int,
        leg: int,
        *,
        moment: Moment,
        seconds: float,
        headers: dict[str, str],
        falls_over: bool,
    ) -> None:
        """Report that the requested leg is open.

        Args:
            endpoint: Where.
            leg: Its number.
            moment: Before it was given to the session: what happens over it is later.
            seconds: How long it took.
            headers: The answer's headers.
            falls_over: Whether another endpoint had failed just before.
        """
        request_id = next((quote(headers[each]) for each in _REQUEST_ID if each in headers), None)
        if request_id is not None:
            self._request_ids[leg] = request_id
        self._leg_at[leg] = endpoint, falls_over
        if self.at is None:
            self.at = endpoint

        def make(common: Common) -> Event:
            asked, self._asked = self._asked, None
            return events.LegOpened(
                **common,
                attempt=self._attempts if asked is None else asked.attempt,
                leg=leg,
                standby=asked is not None and asked.standby,
                seconds=seconds,
                request_id=request_id,
            )

        self._say(make, endpoint, moment)

    def open_failed(
        self, endpoint: int, error: SageMakerError | None = None, reason: str = "closed"
    ) -> None:
        """Report that there is no leg; without an error the session has ended meanwhile."""

        def make(common: Common) -> Event | None:
            asked, self._asked = self._asked, None
            if asked is None:
                return None
            return events.LegOpenFailed(
                **common,
                attempt=asked.attempt,
                standby=asked.standby,
                seconds=common["monotonic"] - asked.monotonic,
                reason=reason,
                error=None if error is None else type(error).__name__,
                status=None if error is None else error.status,
                code=None if error is None else error.code,
                request_id=None if error is None else error.request_id,
            )

        self._say(make, endpoint)

    def keys_changed(self, endpoint: int, *, forced: bool, seconds: float) -> None:
        """Report that legs are signed with other keys from now on."""
        self._say(
            lambda common: events.CredentialsRefreshed(**common, forced=forced, seconds=seconds),
            endpoint,
        )

    def endpoint_avoided(self, endpoint: int, seconds: float, reason: str) -> None:
        """Report that all sessions avoid an endpoint for a while."""
        self._say(
            lambda common: events.EndpointAvoided(
                **common, seconds=seconds, reason=reason, level=logging.WARNING
            ),
            endpoint,
        )

    def endpoint_returned(self, endpoint: int) -> None:
        """Report that an endpoint that was avoided works again."""
        self._say(
            lambda common: events.EndpointReturned(**common, level=logging.INFO),
            endpoint,
        )

    def ended(
        self,
        endpoint: int,
        error: SageMakerError | None,
        reason: str | None,
        *,
        is_cut: bool,
        totals: Callable[[], Stats],
    ) -> None:
        """Report the end of the session, once.

        Args:
            endpoint: Where a leg was being opened, if one was.
            error: Why it failed; None: it did not.
            reason: The error's reason.
            is_cut: Whether it was not closed in order.
            totals: Returns its figures.
        """
        try:
            self._end_to_tell.pop()
        except IndexError:
            return
        self.open_failed(endpoint)
        self._say(
            lambda common: events.SessionEnded(
                **common,
                outcome="cut" if is_cut else "finished" if error is None else "failed",
                error=None if error is None else type(error).__name__,
                reason=reason,
                seconds=common["monotonic"] - self._began.monotonic,
                totals=replace(totals(), journal_bytes=0),
            )
        )

    def report(self) -> None:
        """Report what the native side has seen."""
        self._say(lambda _: None)

    # One way for all of it.

    def _say(
        self,
        make: Callable[[Common], Event | None],
        endpoint: int | None = None,
        moment: Moment | None = None,
    ) -> None:
        """Tell what the native side has seen before, and then what the driver says.

        Args:
            make: Makes the event of the fields that all events have; None: there is none.
            endpoint: Where it happens; None: where the session is.
            moment: When it happened; None: now.
        """
        self._said.append(_Said(make, endpoint, moment))
        while self._said or self._made:
            # Never waited for: a finaliser may run in the middle of this, on the same thread. Who
            # has the turn looks again once it is over.
            if not self._turn.acquire(blocking=False):
                return
            try:
                while self._said or self._made:
                    if self._made:
                        self._shared.events.tell(self._made.popleft(), self._loop)
                    else:
                        self._made.extend(self._in_order(self._said.popleft()))
            finally:
                self._turn.release()

    def _in_order(self, said: _Said) -> Iterator[Event]:
        """Return events in the order of their times, up to what the driver has said."""
        # What a pump has skipped comes after the rest, however long ago it was.
        seen = deque(sorted(self._session.take_notices(), key=lambda notice: -notice[2]))
        now = Moment.now()
        moment = now if said.moment is None else said.moment
        while seen and now.monotonic - seen[0][2] <= moment.monotonic:
            yield from self._seen(now, *seen.popleft())
        event = said.make(self._common(said.endpoint, moment))
        if event is not None:
            yield event
        while seen:
            yield from self._seen(now, *seen.popleft())

    def _seen(
        self, now: Moment, name: str, fields: dict[str, object], age: float
    ) -> Iterator[Event]:
        """Return the event of what the native side saw `age` seconds ago, and what it means."""
        leg = fields.get("leg")
        known = self._leg_at.get(leg) if isinstance(leg, int) else None
        endpoint, falls_over = (self.at, False) if known is None else known
        common = self._common(endpoint, now.before(age))
        event = events.CLASSES[name](**common, **fields)
        if isinstance(event, events.LegEnded):
            self._leg_at.pop(event.leg, None)
            event = replace(event, request_id=self._request_ids.pop(event.leg, None))
        yield event
        if isinstance(event, events.Resumed):
            before, self.at = self.at, endpoint
            if before is not None and endpoint is not None and before != endpoint:
                names = self._shared.names
                yield events.EndpointChanged(
                    **common,
                    leg=event.leg,
                    before=names[before],
                    after=names[endpoint],
                    falls_over=falls_over,
                    level=logging.INFO,
                )

    def _common(self, endpoint: int | None, moment: Moment) -> Common:
        """Return what every event says."""
        config = self._shared.configs[(self.at or 0) if endpoint is None else endpoint]
        return {
            "session": self._id,
            "path": self._path,
            "endpoint_name": config.endpoint_name,
            "region": config.region,
            "time": moment.wall,
            "monotonic": moment.monotonic,
        }
