"""What may block and is wanted once: made in a thread of its own, waited for with a deadline."""

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
        self._errand: Errand[T] | None = None

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
        # A copy to each who asks, with neither frames nor context: those may hold what is secret.
        raise _told(error, self._what)


def _told(error: BaseException, what: str) -> SageMakerError:
    if isinstance(error, SageMakerError):
        told = copy.copy(error)
        if error.__cause__ is not None:
            told.__cause__ = without_frames(error.__cause__)
        return told
    return SageMakerError(
        f"{what} failed ({type(error).__name__}: {error})",
        # There was no thread to be had just now.
        retryable=isinstance(error, RuntimeError),
    )
