"""Work that may block, done in a thread of its own and waited for within a deadline.

Files may lie on servers, and keys come from processes and networks: each may hang. The thread is a
daemon, not one of the loop's executor: the application may have filled the executor, and its
threads are waited for when the loop ends.

Imports nothing of ours. Tests: `tests/test_opening.py`, `tests/test_credentials.py` and
`tests/aws/test_preparation.py`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Errand"]

# All lines about sessions have one logger, whichever module writes them.
_logger = logging.getLogger("deepgram_sagemaker.transport")

_SILENCE: Final = 3.0
"""Seconds after which the log says that the work takes long; less where the deadline is near."""

_REPEAT: Final = 10.0
"""Seconds after which the log says so again."""


class Errand[T]:
    """One piece of work that may block. It cannot be interrupted, only abandoned.

    Any number of tasks may wait for it, on any loops; it is one thread, also when they give up.

    Args:
        work: The work, which runs in the thread.
        what: Its description for the log: "looking up AWS credentials".
        thread: The thread's name.
        limit: The setting that limits the waiting, if there is one.
    """

    def __init__(
        self, work: Callable[[], T], *, what: str, thread: str, limit: str | None = None
    ) -> None:
        self._work = work
        self._what = what
        self._limit = "" if limit is None else f" ({limit})"
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._began = time.monotonic()
        self._said = self._began
        self._outcome: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)

    def start(self) -> None:
        """Start the thread; if that fails, the outcome is the failure."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._outcome.set_exception(error)

    @property
    def is_over(self) -> bool:
        """Whether it is over."""
        return self._outcome.done()

    def result(self) -> T:
        """Return the work's result once it is over; raise what the work raised."""
        return self._outcome.result()

    def exception(self) -> BaseException | None:
        """Return what the work raised, once it is over."""
        return self._outcome.exception()

    async def settled(self, within: float) -> bool:
        """Wait until it is over, and log that it takes long.

        Args:
            within: Seconds to wait; may be `inf`.

        Returns:
            Whether it is over. Cancelling stops the waiting at once.
        """
        over = asyncio.Event()
        with self._lock:
            if self.is_over:
                return True
            self._waiting[over] = asyncio.get_running_loop()
        until = time.monotonic() + within
        patience = waited = min(_SILENCE, within / 2)
        try:
            while not over.is_set():
                left = until - time.monotonic()
                if left <= 0:
                    return False
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, patience)):
                        await over.wait()
                        return True
                self._say(waited, within)
                patience = _REPEAT
                waited += patience
        finally:
            with self._lock:
                self._waiting.pop(over, None)
        return True

    def _say(self, waited: float, within: float) -> None:
        """Log once for all waiters how long it takes."""
        now = time.monotonic()
        with self._lock:
            first = self._said == self._began
            if self.is_over or not (first or now - self._said >= _REPEAT):
                return
            self._said = now
        limit = f"{within:g} s at most" if within < math.inf else "without limit"
        _logger.warning(
            "%s takes more than %g s; it is waited for %s%s",
            self._what,
            waited,
            limit,
            self._limit,
        )

    def _run(self) -> None:
        """Do the work, in the thread; it may block."""
        try:
            outcome = self._work()
        except BaseException as error:  # noqa: BLE001 - a task waits for the outcome, whatever it is
            with self._lock:
                self._outcome.set_exception(error)
        else:
            with self._lock:
                self._outcome.set_result(outcome)
        with self._lock:
            waiting = list(self._waiting.items())
        for over, loop in waiting:
            # The waiting task may be gone, and its loop closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(over.set)
