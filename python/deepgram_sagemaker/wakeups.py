"""How native objects wake an asyncio event loop: one watched descriptor a loop.

A native object posts a number to its loop's mailbox. The loop drains the mailbox at most once an
iteration, and calls the handler registered for each number. The engine's threads never take the
GIL and never touch asyncio. Without a registered handler nothing is left on the loop.

Imports `_native` alone; the mechanism is `rust/net/src/wake`. Tests: `tests/test_wakeups.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING

from ._native import Waker

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hub"]

_logger = logging.getLogger(__name__)

_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = weakref.WeakKeyDictionary()


class Hub:
    """The wake-ups of one event loop, shared by all sessions on it.

    Its callbacks run in an empty context: they outlive the request that happens to be the first,
    and must not keep that request's context alive.

    Attributes:
        waker: The native half.
        iteration: A number that changes once the loop has gone round after a send.
        busy_since: When the first send of the iteration was noted, by the monotonic clock.

    A token is used once in a process, so a late wake-up for something that is gone finds no handler
    and is dropped.
    """

    _tokens = itertools.count(1)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._process = os.getpid()
        self._handlers: dict[int, Callable[[], None]] = {}
        self.waker = Waker()
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
                # `add_reader` has no argument for the context.
                contextvars.Context().run(loop.add_reader, self.waker.fileno(), self._drain)
        self._handlers[token] = handler
        return token

    def unregister(self, token: int) -> None:
        """Forget a token; without tokens the descriptor is not watched."""
        self._handlers.pop(token, None)
        if not self._handlers:
            loop = self._loop()
            # A closed loop has no readers any more. A loop that a forked child has inherited shares
            # its parent's selector, where the reader must stay.
            if loop is not None and not loop.is_closed() and self._process == os.getpid():
                loop.remove_reader(self.waker.fileno())

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
