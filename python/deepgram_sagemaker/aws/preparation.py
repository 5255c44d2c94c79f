"""A value that is made once, in a thread because that may block, and awaited with a deadline."""

from __future__ import annotations

import copy
import os
import threading
from typing import TYPE_CHECKING

from deepgram_sagemaker.discretion import without_frames
from deepgram_sagemaker.errands import Errand
from deepgram_sagemaker.errors import ConnectTimeoutError, SageMakerError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Preparation"]


class Preparation[T]:
    """A value that all sessions of a factory share, made on first use.

    It may be awaited on several event loops and threads. A failure is not kept: the next caller
    starts a new attempt. There is one thread at a time, however long it takes. A forked child
    starts again.

    Args:
        make: Makes the value. Runs in a thread and may block.
        what: What `make` does, for messages: `reading …`.
        within: Seconds that each caller waits.
    """

    def __init__(self, make: Callable[[], T], *, what: str, within: float) -> None:
        self._make = make
        self._what = what
        self._within = within
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._errand: Errand[T] | None = None

    @property
    def made(self) -> T | None:
        """The value; None: it is not made yet."""
        errand = self._errand
        if errand is None or self._process != os.getpid():
            return None
        return errand.result() if errand.is_over and errand.exception() is None else None

    async def value(self) -> T:
        """Return the value once it is made. Cancelling only stops the waiting.

        Raises:
            ConnectTimeoutError: It took too long. The work continues for later callers.
            SageMakerError: It cannot be made.
        """
        if self._process != os.getpid():
            # The thread was the parent's, and a value made there has the parent's connections.
            self._reset()
        with self._lock:
            errand = self._errand
            if errand is None or (errand.is_over and errand.exception() is not None):
                errand = self._errand = Errand(
                    self._make, what=self._what, thread="deepgram-sagemaker-setup"
                )
                errand.start()
        if not await errand.settled(self._within):
            raise ConnectTimeoutError(
                f"{self._what} took longer than {self._within:g} s: does a file system not "
                "answer, or is the machine overloaded?"
            )
        error = errand.exception()
        if error is None:
            return errand.result()
        # Each caller gets a copy without frames or context, because those may hold secrets.
        raise _told(error, self._what)


def _told(error: BaseException, what: str) -> SageMakerError:
    if isinstance(error, SageMakerError):
        told = copy.copy(error)
        if error.__cause__ is not None:
            told.__cause__ = without_frames(error.__cause__)
        return told
    return SageMakerError(
        f"{what} failed ({type(error).__name__}: {error})",
        # A thread could not be started just now.
        retryable=isinstance(error, RuntimeError),
    )
