"""What may block and is wanted once: made in a thread of its own, waited for with a deadline.

The thread is a daemon, not one of the loop's executor: an executor's threads are waited for when
the loop ends, and the application's own jobs may hold all of them up.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.discretion import without_frames
from deepgram_sagemaker.errors import ConnectTimeoutError, SageMakerError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Preparation"]

# One name for all that a session has to say, whichever module says it.
_logger = logging.getLogger("deepgram_sagemaker.transport")

_SAY_AFTER: Final = 5.0
"""Seconds after which a preparation that takes its time is worth a line in the log."""


class Preparation[T]:
    """A value that all sessions of a factory share, made when it is first asked for.

    It may be asked for on several event loops and threads. A failure is not kept: who asks later
    has it tried again. However long it takes there is one thread, and a forked child begins anew.

    Args:
        make: Makes it. Runs in a thread, and may block.
        what: What it does, for messages: `reading …`.
        within: Seconds that one who asks waits.
    """

    def __init__(self, make: Callable[[], T], *, what: str, within: float) -> None:
        self._make = make
        self._what = what
        self._within = within
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._job: Future[T] | None = None

    async def value(self) -> T:
        """The value, once there is one. Cancelling stops the waiting and nothing else.

        Raises:
            ConnectTimeoutError: It took too long; it goes on, for whoever asks next.
            SageMakerError: Why it cannot be made.
        """
        if self._process != os.getpid():
            # The thread that was at work is the parent's, and what it made has its connections.
            self._reset()
        with self._lock:
            job = self._job
            if job is None or (job.done() and job.exception() is not None):
                job = self._job = self._begun()
        if not job.done():
            await self._over(job)
        error = job.exception()
        if error is None:
            return job.result()
        # A copy to each who asks, with neither frames nor context: those may hold what is secret.
        raise _told(error, self._what)

    def _begun(self) -> Future[T]:
        job: Future[T] = Future()
        thread = threading.Thread(
            target=_run, args=(self._make, job), name="deepgram-sagemaker-setup", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            job.set_exception(SageMakerError(f"{self._what}: {error}", retryable=True))
        return job

    async def _over(self, job: Future[T]) -> None:
        """Waits until a job is over, however it went."""
        loop = asyncio.get_running_loop()
        over = asyncio.Event()

        def wake(_: Future[T]) -> None:
            # Whoever waited may be gone, and its loop closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(over.set)

        job.add_done_callback(wake)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(_SAY_AFTER, self._within)):
                await over.wait()
                return
        if self._within > _SAY_AFTER:
            _logger.warning("%s takes long; waiting for up to %g s", self._what, self._within)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._within - _SAY_AFTER):
                    await over.wait()
                    return
        if not job.done():
            raise ConnectTimeoutError(
                f"{self._what} took longer than {self._within:g} s: does a file system not "
                "answer, or is the machine overloaded?"
            )


def _run[T](make: Callable[[], T], job: Future[T]) -> None:
    try:
        value = make()
    except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for it
        job.set_exception(error)
    else:
        job.set_result(value)


def _told(error: BaseException, what: str) -> SageMakerError:
    if isinstance(error, SageMakerError):
        told = copy.copy(error)
        if error.__cause__ is not None:
            told.__cause__ = without_frames(error.__cause__)
        return told
    return SageMakerError(f"{what} failed ({type(error).__name__}: {error})")
