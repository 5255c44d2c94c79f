"""How native objects wake an asyncio event loop: one watched descriptor or socket a loop.

A native object posts a number to its loop's mailbox. The loop drains the mailbox at most once an
iteration, and calls the handler registered for each number. The engine's threads never take the
GIL and never touch asyncio. Without a registered handler nothing is left on the loop.

A loop with `add_reader` watches a descriptor. A loop without, such as Windows' Proactor loop, reads
from a socket with its own `sock_recv`.

Imports `_native` alone; the mechanism is `rust/net/src/wake`. Tests: `tests/test_wakeups.py`,
`tests/test_other_loops.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import logging
import os
import socket
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

from ._native import Waker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Hub"]

_logger = logging.getLogger(__name__)

_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = weakref.WeakKeyDictionary()

_AT_ONCE: Final = 4096
"""Bytes to receive at once. Each is a wake-up, and there is seldom more than one."""

_PAUSE: Final = 0.05
"""Seconds until a socket that broke is replaced."""


class Hub:
    """The wake-ups of one event loop, shared by all sessions on it.

    Its callbacks run in an empty context: they outlive the request that happens to be the first,
    and must not keep that request's context alive.

    Attributes:
        waker: The native half.
        iteration: A number that changes once the loop has gone round after a send.
        busy_since: When the first send of the iteration was noted, by the monotonic clock.

    A token is used once on a loop, so a late wake-up for something that is gone finds no handler
    and is dropped.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._process = os.getpid()
        self._tokens = itertools.count(1)
        self._handlers: dict[int, Callable[[], None]] = {}
        self._bell = _bell(loop)
        self.waker = self._bell.waker
        self.iteration = 0
        self.busy_since = 0.0

    @classmethod
    def running(cls) -> Hub:
        """Return the running event loop's hub."""
        loop = asyncio.get_running_loop()
        hub = _hubs.get(loop)
        if hub is None:
            hub = _hubs[loop] = cls(loop)
        return hub

    def register(self, handler: Callable[[], None]) -> int:
        """Call `handler` on the loop whenever the returned token is posted."""
        token = next(self._tokens)
        if not self._handlers:
            loop = self._loop()
            if loop is not None:
                # `add_reader` and `sock_recv` have no argument for the context.
                contextvars.Context().run(self._bell.listen, loop, self._drain)
        self._handlers[token] = handler
        return token

    def unregister(self, token: int) -> None:
        """Forget a token; without tokens the loop neither watches nor reads anything."""
        self._handlers.pop(token, None)
        if not self._handlers:
            loop = self._loop()
            # A closed loop has no readers any more. A loop that a forked child has inherited shares
            # its parent's selector, where the reader must stay.
            if loop is not None and not loop.is_closed() and self._process == os.getpid():
                self._bell.hang_up(loop)

    def flush_soon(self) -> None:
        """Have the loop pass its sends to the engine, after its other ready callbacks.

        With many sessions that is one system call for all of them.
        """
        self.busy_since = time.monotonic()
        asyncio.get_running_loop().call_soon(self.flush, context=contextvars.Context())

    def flush(self) -> None:
        """Pass the sends to the engine, and hand out the posted tokens without a wake-up."""
        self.iteration += 1
        self._hand_out(self.waker.flush())

    def _drain(self) -> None:
        self._hand_out(self.waker.drain())

    def _hand_out(self, tokens: list[int]) -> None:
        for token in tokens:
            handler = self._handlers.get(token)
            if handler is None:
                continue
            try:
                handler()
            except Exception:
                # A handler that fails must not cost the others their wake-up.
                _logger.exception("a wake-up handler failed")


class _Bell(Protocol):
    """How a loop learns that its mailbox has something."""

    waker: Waker

    def listen(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        """Call `rung` on the loop for everything posted from now on."""

    def hang_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave nothing on the loop, which is not closed."""


def _bell(loop: asyncio.AbstractEventLoop) -> _Bell:
    """Return what suits the loop. Whether it has `add_reader` shows only when that is called."""
    watched = _Watched()
    try:
        watched.listen(loop, _nothing)
        watched.hang_up(loop)
    except NotImplementedError:
        return _Received()
    return watched


def _nothing() -> None:
    """Do nothing."""


class _Watched:
    """A descriptor that the loop watches for reading."""

    def __init__(self) -> None:
        self.waker = Waker()

    def listen(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        loop.add_reader(self.waker.fileno(), rung)

    def hang_up(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self.waker.fileno())


class _Received:
    """A socket from which the loop receives, with its own `sock_recv`.

    No task runs that coroutine. The end of `asyncio.run` cancels every task, and sessions that
    close then still have to be woken. Nor would a task that a loop leaves behind be quiet.

    The loop owns what is pending, and this object has only a weak reference to it. So a loop that
    is no longer used is collected, and this with it.
    """

    def __init__(self) -> None:
        self.waker = Waker("far")
        self._socket: socket.socket | None = None
        self._close: Callable[[], object] = _nothing
        # The future that the loop sets when something was received; None: nothing listens.
        self._pending: weakref.ref[Any] | None = None

    def listen(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        if self._socket is None:
            self._connect()
        # When receiving was cancelled, what had just been received is lost. Nothing listened, so
        # this takes only what was posted for handlers that are gone.
        rung()
        self._receive(loop, rung)

    def hang_up(self, loop: asyncio.AbstractEventLoop) -> None:
        pending, self._pending = self._pending, None
        waiting = None if pending is None else pending()
        if waiting is not None:
            waiting.cancel()

    def _connect(self) -> None:
        """Make the socket, in place of one that broke."""
        self._close()
        received = socket.socket(fileno=self.waker.connect())
        received.setblocking(False)
        self._socket = received
        self._close = weakref.finalize(self, _closed, self.waker, received, os.getpid())

    def _receive(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        assert self._socket is not None  # noqa: S101 - `listen` has made it
        self._go_on(loop, rung, loop.sock_recv(self._socket, _AT_ONCE), None)

    def _go_on(
        self,
        loop: asyncio.AbstractEventLoop,
        rung: Callable[[], None],
        receiving: Coroutine[Any, Any, bytes],
        waited: asyncio.Future[Any] | None,
    ) -> None:
        """Run a `sock_recv` up to the next future that it waits for, as a task would.

        Args:
            loop: Its loop.
            rung: What to call when it has received something.
            receiving: The coroutine.
            waited: What it has waited for; None: it is new.
        """
        if waited is not None and (waited.cancelled() or not self._waits_for(waited)):
            receiving.close()
            return
        try:
            waits_for = receiving.send(None)
        except StopIteration as end:
            if waited is None:
                # It did not wait. The loop runs in between, however much is posted.
                self._later(loop.call_soon, self._received, loop, rung, end.value)
            else:
                self._received(loop, rung, end.value)
        except OSError as error:
            self._broken(loop, rung, error)
        else:
            if waits_for is None:
                self._later(loop.call_soon, self._go_on, loop, rung, receiving, None)
                return
            # What a task does, so that the future knows that it is waited for.
            waits_for._asyncio_future_blocking = False  # noqa: SLF001
            self._pending = weakref.ref(waits_for)
            waits_for.add_done_callback(
                functools.partial(self._go_on, loop, rung, receiving),
                context=contextvars.Context(),
            )

    def _received(
        self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None], data: bytes
    ) -> None:
        if data:
            self._ring(loop, rung)
        else:
            self._broken(loop, rung, None)

    def _ring(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        """Call `rung`, and receive again unless a handler has hung up meanwhile."""
        pending = self._pending
        try:
            rung()
        finally:
            if self._pending is pending:
                self._receive(loop, rung)

    def _broken(
        self,
        loop: asyncio.AbstractEventLoop,
        rung: Callable[[], None],
        error: OSError | None,
    ) -> None:
        """Go on with another socket; nothing that waits to be woken may wait for ever."""
        _logger.warning(
            "the socket that wakes the event loop broke (%s): another one takes its place",
            "it was closed" if error is None else error,
        )
        self._later(functools.partial(loop.call_later, _PAUSE), self._replace, loop, rung)

    def _replace(self, loop: asyncio.AbstractEventLoop, rung: Callable[[], None]) -> None:
        try:
            self._connect()
        except OSError as error:
            self._broken(loop, rung, error)
        else:
            self._ring(loop, rung)

    def _later(self, schedule: Callable[..., asyncio.Handle], *call: Any) -> None:  # noqa: ANN401
        """Have the loop call something, unless it is hung up before."""
        self._pending = weakref.ref(schedule(*call, context=contextvars.Context()))

    def _waits_for(self, future: asyncio.Future[Any]) -> bool:
        return self._pending is not None and self._pending() is future


def _closed(waker: Waker, received: socket.socket, process: int) -> None:
    # In this order: nothing is written to a socket without a reader. In a forked child a lock of
    # the native half may be held for ever.
    if process == os.getpid():
        waker.disconnect()
    received.close()
