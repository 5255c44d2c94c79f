"""When the service fails one session after another, nothing new begins for a while.

A circuit breaker, without a clock. After `THRESHOLD` failures of the service in a row, over all
workers, it opens: for a pause no session begins, then one does and shows whether the service is
back. If that one fails too, the next pause is longer. One that succeeds, or that has not failed for
`SETTLED` seconds, closes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AWAY", "SETTLED", "THRESHOLD", "Breaker"]

THRESHOLD: Final = 5
"""Failures in a row after which nothing new begins."""

AWAY: Final = 600.0
"""Seconds for which the service may stay away before the batch ends."""

SETTLED: Final = 120.0
"""Seconds without a failure after which a session counts as a success: it may take hours."""

_SHORTEST: Final = 2.0
_LONGEST: Final = 30.0


@dataclass(slots=True)
class Breaker:
    """Counts what the service does, and decides how many sessions may begin.

    Attributes:
        draw: Returns a random number from 0 to 1.
        away: Seconds for which the service may stay away.
    """

    draw: Callable[[], float]
    away: float = AWAY
    _failures: int = 0
    _since: float = 0.0
    _pauses: int = 0
    _until: float = 0.0
    # When the session began that shows whether the service is back; None: there is none.
    _trial: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether sessions are held back."""
        return self._failures >= THRESHOLD

    def most(self, wanted: int, now: float) -> int:
        """Return how many of `wanted` sessions may begin."""
        if self._trial is not None and now - self._trial >= SETTLED:
            self.succeeded()
        if not self.is_open:
            return wanted
        return 0 if now < self._until or self._trial is not None else min(wanted, 1)

    def began(self, now: float) -> None:
        """Note that a session begins."""
        if self.is_open:
            self._trial = now

    def succeeded(self) -> None:
        """Note that a session has succeeded."""
        self._failures = self._pauses = 0
        self._trial = None

    def undecided(self) -> None:
        """Note that a session has ended for a reason of its own."""
        self._trial = None

    def failed(self, now: float) -> bool:
        """Note that a session has failed through the service; return whether that is for good."""
        if not self._failures:
            self._since = now
        self._failures += 1
        if not self.is_open:
            return False
        # Of the sessions that were under way, most fail within the first pause.
        if now >= self._until:
            longest = min(_LONGEST, _SHORTEST * 2.0**self._pauses)
            self._until = now + longest * self.draw()
            self._pauses += 1
            self._trial = None
        return now - self._since > self.away
