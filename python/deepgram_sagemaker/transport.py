"""One session: what the application holds, and what keeps it going.

`SageMakerTransport` is the SDK's `AsyncTransport`. Behind it a `_Driver` opens legs for as long
as the native session wants them: the session decides (`rust/session`), the engine's thread carries
the payloads (`rust/net`), and Python opens legs and waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import json
import logging
import os
import random
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from ._native import DRIVER, ENDED, FAILED, FULL, HELD, READABLE, WRITABLE, Session, Step
from .aws import failures
from .aws.client import LegClient, Progress
from .config import SageMakerConfig
from .credentials import CredentialSource
from .errors import (
    AuthenticationError,
    RetriesExhaustedError,
    SageMakerError,
    SessionClosedError,
    SessionLostError,
)

# Earlier releases had it in this module, and `SageMakerConfig` too.
from .factory import SageMakerTransportFactory
from .invocation import Invocation
from .stats import Stats, add_up
from .wakeups import Hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ._native import Leg, SessionFailure

__all__ = ["SageMakerConfig", "SageMakerTransport", "SageMakerTransportFactory", "Services"]

logger = logging.getLogger(__name__)

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
        self._live: dict[_Driver, None] = {}
        self._past = Stats()

    @property
    def stats(self) -> Stats:
        """The sum over all sessions, those that have ended included."""
        return add_up([self._past, *(driver.stats for driver in self._live)])

    def begun(self, driver: _Driver) -> None:
        """Count a session in."""
        self._live[driver] = None

    def ended(self, driver: _Driver) -> None:
        """Keep a session's figures, but not the session."""
        if driver in self._live:
            del self._live[driver]
            # What an ended session keeps is nobody's any more.
            figures = dataclasses.replace(driver.stats, journal_bytes=0)
            self._past = add_up([self._past, figures])


class SageMakerTransport:
    """One conversation with a model on SageMaker: the Deepgram SDK's `AsyncTransport`.

    Nothing connects before the first `send` or `recv`. Messages go out in the order of `send`,
    and come in whole.

    Args:
        config: The endpoint, and how hard to try.
        invocation_path: What to invoke, without a leading slash: `v1/listen`.
        query_string: The query, in the form that the service allows or one that can be brought
            into it.
    """

    def __init__(self, config: SageMakerConfig, invocation_path: str, query_string: str) -> None:
        self._begin(Services(config), Invocation(invocation_path, query_string))

    @classmethod
    def of(cls, services: Services, invocation: Invocation) -> Self:
        """Return a transport that shares the services of its factory."""
        transport = cls.__new__(cls)
        transport._begin(services, invocation)  # noqa: SLF001 - the other constructor
        return transport

    def _begin(self, services: Services, invocation: Invocation) -> None:
        self._services = services
        self._invocation = invocation
        self._driver: _Driver | None = None
        self._closed = False

    @property
    def endpoint_name(self) -> str:
        """The SageMaker endpoint."""
        return self._services.config.endpoint_name

    @property
    def region(self) -> str:
        """The endpoint's AWS region."""
        return self._services.config.region

    @property
    def invocation_path(self) -> str:
        """What is invoked, without a leading slash."""
        return self._invocation.path

    @property
    def query_string(self) -> str:
        """The query, as the service gets it."""
        return self._invocation.query

    @property
    def stats(self) -> Stats:
        """A snapshot of the session's figures; cheap."""
        return Stats() if self._driver is None else self._driver.stats

    async def open(self) -> None:
        """Connect now; raise an error if that is impossible.

        It need not be called: the first message connects too. It is for those who must know before
        they send. Returns once the session has had a stream, and at once from then on. Transient
        failures are tried again as ever. Cancelling it stops the waiting, and nothing else: the
        session goes on, until it is closed.

        Raises:
            SageMakerError: The session has failed; every later call raises the same.
            SessionClosedError: The transport was closed, or the session has ended.
        """
        if self._closed:
            raise SessionClosedError("the transport is closed: it cannot be opened any more")
        await (self._driver or self._start()).opened()

    async def send(self, data: str | bytes | bytearray | memoryview | dict[str, Any]) -> None:
        """Send one message; wait only while there is no room for it.

        The first message waits, for half a second at most, until the first stream has been asked
        for. A sender that goes on for milliseconds without letting the event loop run lets it run
        here.

        Args:
            data: Text, audio, or a dict that becomes JSON text. Audio without a byte is nothing,
                and is not sent.

        Raises:
            SageMakerError: The session has failed; every later call raises the same.
            SessionClosedError: The transport was closed, or the service has ended the session.
            TypeError: `data` is something else.
        """
        if self._closed:
            raise SessionClosedError("the transport is closed: nothing can be sent any more")
        driver = self._driver or self._start()
        if isinstance(data, dict):
            data = json.dumps(data)
        outcome = FULL if driver.must_send_in_turn() else driver.session.send(data)
        if outcome == HELD:
            driver.hub.flush_soon()
        elif outcome:
            await driver.send_in_turn(data)

    async def recv(self) -> str | bytes | None:
        """Return the next message, once there is one.

        Returns:
            Text as `str`, audio as `bytes`; None at the end of the session.

        Raises:
            SageMakerError: The session has failed. Messages that came before are given first.
        """
        if self._closed:
            return None
        driver = self._driver or self._start()
        if driver.has_found and time.monotonic() >= driver.read_until:
            # Before a message is taken: whoever is cancelled here has not lost one.
            await driver.let_others_run()
            return await self.recv()
        message = driver.session.receive()
        if message is None:
            return await driver.receive_when_possible()
        driver.has_found = True
        return message

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Every message up to the end of the session; raises as `recv` does."""
        while (message := await self.recv()) is not None:
            yield message

    async def close(self) -> None:
        """End the session within `close_timeout`; earlier input is sent first.

        Calling it again is allowed, and waits for the first call's end.
        """
        self._closed = True
        if self._driver is not None:
            await self._driver.close()

    def _start(self) -> _Driver:
        self._driver = _Driver(self._services, self._invocation)
        return self._driver

    def __reduce__(self) -> NoReturn:
        message = "a transport is one conversation, and cannot be copied or pickled"
        raise TypeError(message)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.endpoint_name} ({self.region}) {self.invocation_path}>"
        )

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        # A forked child has its parent's transports, and they are not its own to end.
        if driver is None or self._closed or driver.process != os.getpid():
            return
        if driver.is_cut or not driver.is_over:
            # First: where warnings are errors the next line is the last one.
            driver.abandon()
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)


class _Driver:
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
            interest: [] for interest in (READABLE, WRITABLE, DRIVER, _OPENED, _REQUESTED)
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
        """Return whether a message must wait: others wait, or the loop has to run first."""
        if self.senders or self._head_start is not None:
            return True
        turn = self.hub.turn
        if self._sent_in == turn:
            return self._has_kept_the_loop()
        self._sent_in = turn
        return False

    def _has_kept_the_loop(self) -> bool:
        """Return whether the sender has kept the loop from running for long."""
        return self._sent_in == self.hub.turn and time.monotonic() - self.hub.busy_since >= _LONG

    async def send_in_turn(self, data: str | bytes | bytearray | memoryview) -> None:
        """Send once there is room and no earlier sender waits.

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
                while (outcome := self.session.send(data)) == FULL:
                    await self._change(WRITABLE)
        finally:
            self.senders -= 1
        if outcome == FAILED:
            if is_first:
                # Where it had not waited it would have been taken, and lost: the next call says so.
                return
            # A moment ago, perhaps: the driver is about to say why.
            await asyncio.wait({self._task})
        if outcome in (ENDED, FAILED):
            self._raise_error()
            raise SessionClosedError(
                "the session's input has ended: nothing can be sent after the closing "
                "message, or after the service has ended the session"
            )
        if outcome == HELD:
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
            # Looked at first: what arrives before the end is given before the end.
            over = self.is_over
            message = self.session.receive()
            if message is not None:
                return message
            self.has_found = False
            if over:
                self._raise_error()
                return None
            await self._change(READABLE)
            self.read_until = time.monotonic() + _READ_ON

    async def close(self) -> None:
        """End the session in order, as far as the service allows."""
        self.session.finish()
        self._wake(DRIVER)
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
        """End it now, from any thread: the legs are reset, the task is cancelled.

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
        """Raise why the session failed, if it did; the same error each time."""
        if self._error is not None:
            # What is raised again and again would otherwise grow by each time's frames.
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
                self._wake(READABLE | WRITABLE | _OPENED)

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
        """Cancel the leg that is being opened, if any, and wait for its end."""
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
                    self._opening.add_done_callback(lambda _: self._wake(DRIVER))
                case Step.Wait(seconds=seconds):
                    if self._opening is not None and self._opening.done():
                        self._settle(self._opening)
                        self._opening = None
                    else:
                        await self._changed_within(seconds)
                case Step.Finished():
                    return
                case Step.Failed(failure=failure):
                    raise self._explained(failure)

    async def _changed_within(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change(DRIVER)

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
        """Tell the session the outcome of the leg that it wanted."""
        self._has_requested()
        self._progress = None
        try:
            self.session.attach(opening.result())
            self._has_opened = True
            self._wake(_OPENED)
        except SageMakerError as error:
            self._open_error = error
            self.session.open_failed(failures.reason_of(error))

    def _explained(self, failure: SessionFailure) -> SageMakerError:
        """Return the error for the application: the last one, given what was tried."""
        error = self._open_error if failure.kind is None else self._leg_error(failure)
        assert error is not None  # noqa: S101 - a session fails over an open only after one
        # A stream that ends for good after progress is the first attempt since.
        error.attempts = max(1, failure.attempts)
        if not error.retryable or failure.attempts <= 1:
            return error
        exhausted = RetriesExhaustedError(
            f"gave up after {failure.attempts} attempts in {failure.elapsed:.1f} s, with "
            f"{_audio(failure)} not acknowledged: {error.message}",
            elapsed=failure.elapsed,
            seconds_unacknowledged=failure.unacknowledged_seconds,
            status=error.status,
            code=error.code,
            request_id=error.request_id,
            reason=error.reason,
            attempts=failure.attempts,
        )
        exhausted.__cause__ = error
        return exhausted

    def _leg_error(self, failure: SessionFailure) -> SageMakerError:
        config = self._services.config
        error = failures.classify(
            failures.Failure(
                kind=failure.kind or "closed",
                detail=failure.detail,
                code=failure.code,
                message=failure.message,
                h2_code=failure.h2_code,
                silent=failure.silent,
                closing=failure.closing,
            ),
            endpoint_name=config.endpoint_name,
            region=config.region,
            query=self._invocation.query,
        )
        if failure.resumable:
            return error
        missing = f": {_audio(failure)} were not acknowledged" if _is_missing(failure) else ""
        lost = SessionLostError(
            f"{error.message} This session cannot go on over another stream{missing}",
            seconds_unacknowledged=failure.unacknowledged_seconds,
            code=error.code,
            reason=error.reason,
        )
        lost.__cause__ = error
        return lost

    def _log(self) -> None:
        for level, line in self.session.take_notices():
            logger.log(level, "%s: %s", self._invocation.path, line)


def _is_missing(failure: SessionFailure) -> bool:
    return failure.unacknowledged_bytes > 0 or failure.unacknowledged_seconds > 0


def _audio(failure: SessionFailure) -> str:
    """Describe how much the service has not acknowledged."""
    seconds, size = failure.unacknowledged_seconds, failure.unacknowledged_bytes
    return f"{seconds:.3f} s of audio ({size} bytes)"
