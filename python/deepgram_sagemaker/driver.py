"""Opens the legs of one session.

The native session decides (`rust/session`), the engine's thread carries the payloads (`rust/net`),
and the driver opens legs and waits.

Imports `aws`, `credentials` and `_native`; never `transport`. Tests: `tests/test_transport.py`,
`tests/test_opening.py` and `tests/test_fairness.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from . import events
from ._native import Interest, SendResult, Session, Step
from .aws import failures
from .aws.client import Progress
from .errors import (
    AuthenticationError,
    ConnectTimeoutError,
    SageMakerError,
    SessionClosedError,
)
from .fallover import TRIAL_PATIENCE, EndRound, Later, Opening
from .reporter import Reporter
from .stats import Shares, Stats
from .wakeups import Hub

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from ._native import Leg
    from .credentials import Identity
    from .invocation import Invocation
    from .services import Place, Services

__all__ = ["Driver"]

# All lines about sessions have one logger, whichever module writes them.
_logger = logging.getLogger("deepgram_sagemaker.transport")

# What is waited for besides the bits of `Interest`.
_OPENED: Final = 8
_REQUESTED: Final = 16

_HEAD_START: Final = 0.5
"""The most seconds that the first message waits until the engine has the first leg's request. From
then on an application that blocks its loop does not delay the opening."""

_LONG: Final = 0.005
"""Seconds after which a sender that has kept the loop from running lets it run."""

_ITERATIONS: Final = 5
"""Iterations of the loop in which everything that has arrived is handled: an answer becomes a leg,
a message wakes its reader."""

_READ_ON: Final = 0.001
"""Seconds after which a reader that always finds a message lets other tasks run."""


class Driver:
    """Opens legs for one native session for as long as the session wants them.

    It has no reference to its transport, which can be collected while the driver still runs.

    Args:
        services: What it shares with other sessions.
        invocation: What to invoke.
        session_id: The session's id.
        opened_in: The context in which the session was opened, as OpenTelemetry has it.
        carried: Whether the messages go to and from a client of the gateway, and not through here.
    """

    def __init__(
        self,
        services: Services,
        invocation: Invocation,
        session_id: str,
        opened_in: Context | None = None,
        *,
        carried: bool = False,
    ) -> None:
        self._services = services
        self._invocation = invocation
        self.id = session_id
        self.path = invocation.path
        self.process = os.getpid()
        self._loop = asyncio.get_running_loop()
        self.hub = Hub.running()
        self._token = self.hub.register(self._woken)
        self.session = Session(
            invocation.path,
            invocation.query,
            services.config,
            seed=random.getrandbits(64),
            waker=self.hub.waker,
            token=self._token,
            endpoints=[place.keys for place in services.places],
            carried=carried,
        )
        self._reporter = Reporter(services, self.session, self._loop, session_id, invocation.path)
        # Lists: each has one waiter, or none.
        self._waiting: dict[int, list[asyncio.Future[None]]] = {
            interest: []
            for interest in (
                Interest.READABLE,
                Interest.WRITABLE,
                Interest.DRIVER,
                _OPENED,
                _REQUESTED,
            )
        }
        self._opening: asyncio.Task[Leg] | None = None
        # How long it took, once it is over.
        self._took = 0.0
        self._progress: Progress | None = None
        # The limit of the trial that is going on.
        self._limit: asyncio.Timeout | None = None
        # The endpoint of the leg that is being opened, and whether one failed just before; the
        # numbers of keys that ran out.
        self._choice = Opening(0, 0.0)
        self._falls_over = False
        self._stale: set[int] = set()
        self._has_opened = False
        # Of the sender: until when the first message waits; the iteration of the last message.
        self._head_start: float | None = time.monotonic() + _HEAD_START
        self._sent_in = -1
        # Of the reader: whether it found a message at once, and until when it may go on.
        self.has_found = False
        self.read_until = 0.0
        self._open_error: SageMakerError | None = None
        self._error: SageMakerError | None = None
        self._order = asyncio.Lock()
        self.senders = 0
        self.is_over = False
        self.is_cut = False
        # In an empty context: the task outlives the request that began it.
        self._task = self._loop.create_task(
            self._drive(), name=f"deepgram {invocation.path}", context=contextvars.Context()
        )
        services.begun(self.id, self.path, lambda: self.stats, self.shares)
        if services.watch is not None:
            services.watch.opened_in(self.id, opened_in)
        self._reporter.began()

    @property
    def stats(self) -> Stats:
        """The session's figures."""
        figures = self.session.stats()
        legs = zip(self._services.names, figures.pop("legs_at"), strict=True)
        legs_at = {name: count for name, count in legs if count}
        return Stats(sessions=1, legs_at=legs_at, **figures)

    def shares(self) -> Shares:
        """Return the session's figures by endpoint. It counts as a session at the first."""
        at, shares = self.session.shares()
        first, *others = shares
        return Shares(
            (Stats(sessions=1, **first), *(Stats(**share) for share in others)),
            at,
        )

    # The application's side.

    def must_wait(self) -> bool:
        """Return whether a message must wait: others wait, or the loop has to run first."""
        if self.senders or self._head_start is not None:
            return True
        iteration = self.hub.iteration
        if self._sent_in == iteration:
            return self._has_kept_the_loop()
        self._sent_in = iteration
        return False

    def _has_kept_the_loop(self) -> bool:
        """Return whether the sender has kept the loop from running for long."""
        return (
            self._sent_in == self.hub.iteration and time.monotonic() - self.hub.busy_since >= _LONG
        )

    async def send_in_order(self, data: str | bytes | bytearray | memoryview) -> None:
        """Send once there is room and no earlier sender waits.

        Raises:
            SageMakerError: There will never be room.
            SessionClosedError: The session's input has ended.
        """
        self.senders += 1
        try:
            async with self._order:
                # Before the message is taken: a caller that is cancelled here has sent nothing.
                is_first = self._head_start is not None
                if self._head_start is not None:
                    await self._requested(self._head_start)
                elif self._has_kept_the_loop():
                    for _ in range(_ITERATIONS):
                        await asyncio.sleep(0)
                self._sent_in = self.hub.iteration
                while (outcome := self.session.send(data)) == SendResult.FULL:
                    await self._change(Interest.WRITABLE)
        finally:
            self.senders -= 1
        if outcome == SendResult.FAILED:
            if is_first:
                # Without the wait it would have been taken, and lost. The next call raises.
                return
            # The driver may not have finished yet: it says why.
            await asyncio.wait({self._task})
        if outcome in (SendResult.ENDED, SendResult.FAILED):
            self._raise_error()
            raise SessionClosedError(
                "the session's input has ended: nothing can be sent after the closing "
                "message, or after the service has ended the session"
            )
        if outcome == SendResult.HELD:
            self.hub.flush_soon()

    async def _requested(self, until: float) -> None:
        """Wait until the first leg was requested, or failed, or it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                while self._head_start is not None:
                    await self._change(_REQUESTED)
        self._head_start = None

    def _has_requested(self) -> None:
        self._head_start = None
        self._wake(_REQUESTED)

    async def opened(self) -> None:
        """Return once the session has had a leg; raise why it has none."""
        while not (self._has_opened or self.is_over):
            await self._change(_OPENED)
        if self.is_over:
            self._raise_error()
            raise SessionClosedError("the session has ended: it cannot be opened any more")

    async def let_others_run(self) -> None:
        """Let the loop run once."""
        await asyncio.sleep(0)
        self.read_until = time.monotonic() + _READ_ON

    async def receive_when_possible(self) -> str | bytes | None:
        """Return the next message; None or an error: there will be no more."""
        while True:
            # Checked first: what arrives before the end is returned before the end.
            over = self.is_over
            message = self.session.receive()
            if message is not None:
                return message
            self.has_found = False
            if over:
                self._raise_error()
                return None
            await self._change(Interest.READABLE)
            self.read_until = time.monotonic() + _READ_ON

    async def close(self) -> None:
        """End the session in order, as far as the service allows."""
        if self._loop.is_closed():
            # Nothing of the session runs any more.
            if not self.is_over:
                self.abandon()
            return
        self.session.finish()
        self._wake(Interest.DRIVER)
        try:
            # Several callers may wait for the same end: cancelling one must not cancel the task.
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self.session.abort()
            self._task.cancel()
            # The task needs an iteration or two of the loop for its own cancellation.
            await asyncio.wait([self._task])
            raise

    async def ended(self) -> SageMakerError | None:
        """Return once the session is over, and why it failed if it did."""
        await asyncio.wait([self._task])
        return self._error

    def abandon(self) -> None:
        """End it now, from any thread: the legs are reset, the task is cancelled.

        The loop may never run again. The engine's work for a leg on its way ends all the same.
        """
        # First: the task may run to its end before it is cancelled, and must not end in order.
        self.is_cut = True
        self.session.abort()
        if self._progress is not None:
            self._progress.let_go()
        self._services.ended(self.id, self.path)
        try:
            self._loop.call_soon_threadsafe(self._task.cancel)
        except RuntimeError:
            # The loop is closed: its tasks are ended here.
            for task in (self._opening, self._task):
                waiting = None if task is None else task.get_coro()
                if waiting is not None:
                    waiting.close()
        if not self._loop.is_running():
            # The task may never run again, so nothing waits for it.
            self._has_ended()

    def _raise_error(self) -> None:
        """Raise why the session failed, if it did; the same error each time."""
        if self._error is not None:
            # Otherwise the traceback grows each time that the error is raised.
            raise self._error.with_traceback(None)

    async def _change(self, interest: int) -> None:
        """Wait until the state may have changed."""
        changed = self._loop.create_future()
        waiting = self._waiting[interest]
        waiting.append(changed)
        try:
            await changed
        finally:
            waiting.remove(changed)

    def _wake(self, interests: int) -> None:
        for interest, waiting in self._waiting.items():
            if interests & interest:
                for changed in waiting:
                    if not changed.done():
                        changed.set_result(None)

    def _woken(self) -> None:
        self._wake(self.session.take_happened())

    # The legs' side.

    async def _drive(self) -> None:
        try:
            try:
                await self._run()
            except SageMakerError as error:
                self._error = error
            except Exception as error:  # noqa: BLE001 - the application must not wait without end
                self._error = SageMakerError(f"the session failed: {error!r}")
                self._error.__cause__ = error
            await self._stop_opening()
        except asyncio.CancelledError:
            self._cut()
            await self._stop_opening()
            raise
        except GeneratorExit:
            # The loop is gone: nothing can be awaited.
            self._cut()
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            # `on_event` has raised it, and it stops the loop. If that runs again, nobody may take
            # this for the end of an answered session.
            self._error = SageMakerError(f"the session was interrupted: {error!r}")
            self._error.__cause__ = error
            self._cut()
            raise
        finally:
            self.is_over = True
            if self._is_ours:
                self.hub.unregister(self._token)
                self._services.ended(self.id, self.path)
                self._has_requested()
                self._wake(Interest.READABLE | Interest.WRITABLE | _OPENED)
                self._has_ended()

    def _has_ended(self) -> None:
        """Report the end of the session, unless it was reported, from any thread."""
        error = self._error
        self._reporter.ended(
            self._choice.endpoint,
            error,
            None if error is None else failures.reason_of(error),
            is_cut=self.is_cut,
            totals=lambda: self.stats,
        )

    @property
    def _is_ours(self) -> bool:
        """Whether this is the process that began it.

        A forked child has a copy of everything but the engine's thread. The thread may have held
        the native session's lock at the fork, and in the child the lock is never released.
        """
        return self.process == os.getpid()

    def _cut(self) -> None:
        """End the session's legs: the session has no driver any more."""
        self.is_cut = True
        if self._is_ours:
            self.session.abort()

    async def _stop_opening(self) -> None:
        """Cancel the leg that is being opened, if any, and wait for its end."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled():
                # Retrieved: asyncio complains about exceptions that are not.
                opening.exception()
        # An opening that was over already has a leg that nobody takes.
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.let_go()

    async def _run(self) -> None:
        while True:
            step = self.session.step()
            self._reporter.report()
            match step:
                case Step.Open(standby=standby, renew=renew, failures=failures_in_a_row):
                    if renew and self._reporter.at is not None:
                        self._stale.add(self._services.places[self._reporter.at].keys)
                    choice = self._chosen(standby=standby)
                    if choice is not None:
                        self._begin(choice, standby=standby, failures_in_a_row=failures_in_a_row)
                case Step.Wait(seconds=seconds):
                    if self._opening is not None and self._opening.done():
                        self._settle(self._opening)
                        self._opening = None
                    else:
                        # The current leg may have ended while a standby was being opened.
                        self._limit_trial()
                        await self._changed_within(seconds)
                case Step.Finished():
                    return
                case Step.Failed(failure=failure):
                    raise failures.explain_session(
                        failure,
                        self._open_error,
                        self._services.configs,
                        self._invocation.query,
                    )

    async def _changed_within(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change(Interest.DRIVER)

    def _chosen(self, *, standby: bool) -> Opening | None:
        """Return where to open the leg that the session wants; None: it waits, and knows that."""
        endpoints, marks = self._services.endpoints, self.session.endpoints()
        self._falls_over = any(mark != "untried" for mark in marks)
        choice = endpoints.choose(marks, standby=standby)
        match choice:
            case Later(seconds=seconds):
                return None if self.session.postpone(seconds) else endpoints.best(marks)
            case EndRound():
                return None if self.session.end_round() else endpoints.best(marks)
            case Opening():
                return choice

    def _begin(self, choice: Opening, *, standby: bool, failures_in_a_row: int) -> None:
        self._choice = choice
        self.session.opening_at(choice.endpoint)
        renews = self._services.places[choice.endpoint].keys in self._stale
        self._reporter.opening(
            choice.endpoint, standby=standby, renews_keys=renews, failures=failures_in_a_row
        )
        self._opening = self._loop.create_task(self._opened(choice, standby=standby))
        self._opening.add_done_callback(lambda _: self._tried(choice))

    def _tried(self, choice: Opening) -> None:
        # However it ended: a trial must not seem to go on.
        self._services.endpoints.given_up(choice)
        self._wake(Interest.DRIVER)

    async def _opened(self, choice: Opening, *, standby: bool) -> Leg:
        began = time.monotonic()
        try:
            return await self._open(choice, standby=standby)
        finally:
            self._limit = None
            self._took = time.monotonic() - began

    async def _open(self, choice: Opening, *, standby: bool) -> Leg:
        place = self._services.places[choice.endpoint]
        self._progress = Progress(self._has_requested, admitted=self._limit_trial)
        try:
            async with asyncio.timeout(None) as limit:
                if choice.is_trial:
                    self._limit = limit
                leg = await self._opened_at(place, self._progress, standby=standby)
        except SageMakerError as error:
            self._note_failure(choice, error)
            raise
        except TimeoutError:
            # What was begun has been cancelled.
            late = ConnectTimeoutError(
                f"endpoint {self._services.names[choice.endpoint]} has failed before, and opened "
                f"no stream within {TRIAL_PATIENCE} s when it was tried again.",
                reason="connect_timeout",
            )
            self._note_failure(choice, late)
            raise late from None
        if self._services.endpoints.opened(choice):
            self._reporter.endpoint_returned(choice.endpoint)
        return leg

    def _limit_trial(self) -> None:
        """Limit the trial from when it is under way and the session has no other leg.

        To wait for a permit or for keys says nothing about the endpoint.
        """
        limit, progress = self._limit, self._progress
        if limit is None or progress is None or not progress.is_admitted:
            return
        if limit.when() is None and self.session.needs_leg():
            limit.reschedule(self._loop.time() + TRIAL_PATIENCE)

    def _note_failure(self, choice: Opening, error: SageMakerError) -> None:
        """Tell the other sessions that an endpoint has failed."""
        reason = failures.reason_of(error)
        rest = self._services.endpoints.failed(choice, reason)
        if rest is not None:
            self._reporter.endpoint_avoided(choice.endpoint, rest, reason)

    async def _opened_at(self, place: Place, progress: Progress, *, standby: bool) -> Leg:
        renew = place.keys in self._stale
        identity = await self._identity(place, refresh=renew)
        self._stale.discard(place.keys)
        try:
            return await place.client.open(
                self._invocation, identity, standby=standby, progress=progress
            )
        except AuthenticationError as error:
            if renew or not error.expired:
                raise
        # Another process may have refreshed the keys before they expired here: once more, with new.
        identity = await self._identity(place, refresh=True)
        return await place.client.open(
            self._invocation, identity, standby=standby, progress=progress
        )

    async def _identity(self, place: Place, *, refresh: bool) -> Identity:
        """Return the keys, and report other ones than before."""
        began = time.monotonic()
        identity = await place.credentials.identity(refresh=refresh)
        if self._services.is_news(place.keys, identity):
            waited = time.monotonic() - began
            self._reporter.keys_changed(self._choice.endpoint, forced=refresh, seconds=waited)
        return identity

    def _settle(self, opening: asyncio.Task[Leg]) -> None:
        """Tell the session the outcome of the leg that it wanted."""
        self._has_requested()
        self._progress = None
        endpoint = self._choice.endpoint
        try:
            leg = opening.result()
        except SageMakerError as error:
            reason = failures.reason_of(error)
            self._open_error = error
            self._reporter.open_failed(endpoint, error, reason)
            self.session.open_failed(reason)
            return
        moment = events.Moment.now()
        number = self.session.attach(leg)
        self._reporter.opened(
            endpoint,
            number,
            moment=moment,
            seconds=self._took,
            headers=dict(leg.headers),
            falls_over=self._falls_over,
        )
        self._has_opened = True
        self._wake(_OPENED)
