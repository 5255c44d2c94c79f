"""What keeps one session in legs, and what the sessions of a factory share.

The native session decides (`rust/session`), the engine's thread carries the payloads (`rust/net`),
and the driver opens legs and waits.

Imports `aws`, `credentials` and `_native`; never `transport`. Tests: `tests/test_transport.py`,
`tests/test_opening.py` and `tests/test_fairness.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import os
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ._native import Interest, SendResult, Session, Step
from .aws import failures
from .aws.client import LegClient, Progress
from .credentials import CredentialSource
from .errors import (
    AuthenticationError,
    SageMakerError,
    SessionClosedError,
)
from .notices import line
from .stats import Stats, add_up
from .wakeups import Hub

if TYPE_CHECKING:
    from ._native import Leg
    from .config import SageMakerConfig
    from .invocation import Invocation

__all__ = ["Driver", "Services"]

# One name for all that a session has to say, whichever module says it.
_logger = logging.getLogger("deepgram_sagemaker.transport")

# What is waited for besides what the native session tells of.
_OPENED: Final = 8
_REQUESTED: Final = 16

_HEAD_START: Final = 0.5
"""Seconds, at most, that the first messages wait until the engine has the first leg's request: from
then on an application that blocks its loop does not hold up the opening."""

_LONG: Final = 0.005
"""Seconds after which a sender that has not let the loop go round does so."""

_TURNS: Final = 5
"""Iterations of the loop in which all that has come can take its course: an answer becomes a leg, a
message wakes its reader."""

_READ_ON: Final = 0.001
"""Seconds after which a reader that always finds a message lets others run."""


class Services:
    """What all sessions of one factory share."""

    def __init__(self, config: SageMakerConfig) -> None:
        self.config = config
        self.client = LegClient(config)
        self.credentials = CredentialSource(config)
        self._live: dict[Driver, None] = {}
        self._past = Stats()

    @property
    def stats(self) -> Stats:
        """The sum over all sessions, those that have ended included."""
        return add_up([self._past, *(driver.stats for driver in self._live)])

    def begun(self, driver: Driver) -> None:
        """Counts a session in."""
        self._live[driver] = None

    def ended(self, driver: Driver) -> None:
        """Keeps a session's figures, and not the session."""
        if driver in self._live:
            del self._live[driver]
            # What an ended session keeps is nobody's any more.
            figures = dataclasses.replace(driver.stats, journal_bytes=0)
            self._past = add_up([self._past, figures])


class Driver:
    """Keeps one native session in legs.

    It does not know its transport: one that is forgotten can be collected while this still runs.
    """

    def __init__(self, services: Services, invocation: Invocation) -> None:
        self._services = services
        self._invocation = invocation
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
        )
        # Lists, because there is one waiter each, or none.
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
        self._progress: Progress | None = None
        self._has_opened = False
        # Of the sender: until when the first message waits, and in which turn the last was sent.
        self._head_start: float | None = time.monotonic() + _HEAD_START
        self._sent_in = -1
        # Of the reader: whether it found a message at once, and until when it may go on so.
        self.has_found = False
        self.read_until = 0.0
        self._open_error: SageMakerError | None = None
        self._error: SageMakerError | None = None
        self._turn = asyncio.Lock()
        self.senders = 0
        self.is_over = False
        self.is_cut = False
        # In an empty context: it outlives the request that began it.
        self._task = self._loop.create_task(
            self._drive(), name=f"deepgram {invocation.path}", context=contextvars.Context()
        )
        services.begun(self)

    @property
    def stats(self) -> Stats:
        """The session's figures."""
        return Stats(sessions=1, **self.session.stats())

    # The application's side.

    def must_send_in_turn(self) -> bool:
        """Whether a message may not go at once: others wait, or the loop has to go round."""
        if self.senders or self._head_start is not None:
            return True
        turn = self.hub.turn
        if self._sent_in == turn:
            return self._has_kept_the_loop()
        self._sent_in = turn
        return False

    def _has_kept_the_loop(self) -> bool:
        """Whether its sender has not let the loop go round for long."""
        return self._sent_in == self.hub.turn and time.monotonic() - self.hub.busy_since >= _LONG

    async def send_in_turn(self, data: str | bytes | bytearray | memoryview) -> None:
        """Sends once there is room and nobody waits who came first.

        Raises why, if there never will be room.
        """
        self.senders += 1
        try:
            async with self._turn:
                # Before it is taken: whoever is cancelled here has sent nothing.
                is_first = self._head_start is not None
                if self._head_start is not None:
                    await self._requested(self._head_start)
                elif self._has_kept_the_loop():
                    for _ in range(_TURNS):
                        await asyncio.sleep(0)
                self._sent_in = self.hub.turn
                while (outcome := self.session.send(data)) == SendResult.FULL:
                    await self._change(Interest.WRITABLE)
        finally:
            self.senders -= 1
        if outcome == SendResult.FAILED:
            if is_first:
                # Where it had not waited it would have been taken, and lost: the next call says so.
                return
            # A moment ago, perhaps: the driver is about to say why.
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
        """Waits until the first leg has been asked for, or has failed, or it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic()):
                while self._head_start is not None:
                    await self._change(_REQUESTED)
        self._head_start = None

    def _has_requested(self) -> None:
        self._head_start = None
        self._wake(_REQUESTED)

    async def opened(self) -> None:
        """Returns once the session has had a leg; raises why there is none, or none any more."""
        while not (self._has_opened or self.is_over):
            await self._change(_OPENED)
        if self.is_over:
            self._raise_error()
            raise SessionClosedError("the session has ended: it cannot be opened any more")

    async def let_others_run(self) -> None:
        """Lets the loop go round once."""
        await asyncio.sleep(0)
        self.read_until = time.monotonic() + _READ_ON

    async def receive_when_possible(self) -> str | bytes | None:
        """The next message; None, or an error, once there will be no more."""
        while True:
            # Looked at first: what arrives before the end is given before the end.
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
        """Ends the session in order, as far as the service lets it."""
        self.session.finish()
        self._wake(Interest.DRIVER)
        try:
            # Several callers may wait for the same end, and it is not theirs to cancel.
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            self.session.abort()
            self._task.cancel()
            # It only has its own cancelling left to see, a turn or two of the loop.
            await asyncio.wait([self._task])
            raise

    def abandon(self) -> None:
        """Ends it now, from any thread: the legs are reset, the task is cancelled.

        The loop may never go round again. What the engine does for a leg on its way ends all the
        same.
        """
        self.session.abort()
        if self._progress is not None:
            self._progress.let_go()
        self._services.ended(self)
        try:
            self._loop.call_soon_threadsafe(self._task.cancel)
        except RuntimeError:
            # The loop is closed: what waits on it is ended here.
            for task in (self._opening, self._task):
                waiting = None if task is None else task.get_coro()
                if waiting is not None:
                    waiting.close()

    def _raise_error(self) -> None:
        """Raises why the session failed, if it did; the same each time."""
        if self._error is not None:
            # What is raised again and again would otherwise grow by each time's frames.
            raise self._error.with_traceback(None)

    async def _change(self, interest: int) -> None:
        """Waits until it may be worth looking again."""
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
            except Exception as error:  # noqa: BLE001 - the application must not wait for ever
                self._error = SageMakerError(f"the session failed: {error!r}")
                self._error.__cause__ = error
            await self._stop_opening()
        except asyncio.CancelledError:
            self._cut()
            await self._stop_opening()
            raise
        except GeneratorExit:
            # The loop is gone. Nothing can be waited for.
            self._cut()
            raise
        finally:
            self.is_over = True
            if self._is_ours:
                self._log()
                self.hub.unregister(self._token)
                self._services.ended(self)
                self._has_requested()
                self._wake(Interest.READABLE | Interest.WRITABLE | _OPENED)

    @property
    def _is_ours(self) -> bool:
        """Whether this is the process that began it.

        A forked child has a copy of everything but the engine's thread, which may have held the
        native session's lock just then: nobody would ever release it.
        """
        return self.process == os.getpid()

    def _cut(self) -> None:
        """Nobody drives the session any more: its legs must not go on without."""
        self.is_cut = True
        if self._is_ours:
            self.session.abort()

    async def _stop_opening(self) -> None:
        """Cancels the leg on its way, if there is one, and sees it end."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled():
                # Looked at, so that asyncio does not complain that nobody did.
                opening.exception()

    async def _run(self) -> None:
        while True:
            step = self.session.step()
            self._log()
            match step:
                case Step.Open(standby=standby, renew=renew):
                    self._opening = self._loop.create_task(
                        self._opened(standby=standby, renew=renew)
                    )
                    self._opening.add_done_callback(lambda _: self._wake(Interest.DRIVER))
                case Step.Wait(seconds=seconds):
                    if self._opening is not None and self._opening.done():
                        self._settle(self._opening)
                        self._opening = None
                    else:
                        await self._changed_within(seconds)
                case Step.Finished():
                    return
                case Step.Failed(failure=failure):
                    raise failures.explain_session(
                        failure, self._open_error, self._services.config, self._invocation.query
                    )

    async def _changed_within(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change(Interest.DRIVER)

    async def _opened(self, *, standby: bool, renew: bool) -> Leg:
        self._progress = Progress(self._has_requested)
        identity = await self._services.credentials.identity(refresh=renew)
        try:
            return await self._services.client.open(
                self._invocation, identity, standby=standby, progress=self._progress
            )
        except AuthenticationError as error:
            if renew or not error.expired:
                raise
        # Keys may be refreshed by somebody else before they run out here: once more, with new.
        identity = await self._services.credentials.identity(refresh=True)
        return await self._services.client.open(
            self._invocation, identity, standby=standby, progress=self._progress
        )

    def _settle(self, opening: asyncio.Task[Leg]) -> None:
        """Tells the session what became of the leg it wanted."""
        self._has_requested()
        self._progress = None
        try:
            self.session.attach(opening.result())
            self._has_opened = True
            self._wake(_OPENED)
        except SageMakerError as error:
            self._open_error = error
            self.session.open_failed(failures.reason_of(error))

    def _log(self) -> None:
        for level, notice in self.session.take_notices():
            _logger.log(level, "%s: %s", self._invocation.path, line(notice))
