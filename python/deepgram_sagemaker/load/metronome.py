"""One clock for all live streams of a process. A timer for each of them would cost more.

A period of 20 ms has twenty places, a millisecond apart, and each stream sends at one of them.
asyncio wakes at most once a millisecond, so more places would share wake-ups. Imports nothing of
ours.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Metronome"]

_PLACES: Final = 20


class Metronome:
    """Calls its members once a period.

    Args:
        period: Seconds.
        late: Called with how late the clock struck, in seconds, whenever it struck.
    """

    def __init__(self, period: float, late: Callable[[float], None]) -> None:
        self._apart = period / _PLACES
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        # The members of each place, in the order in which they joined, with their first strike.
        self._places: list[dict[Callable[[float], None], int]] = [{} for _ in range(_PLACES)]
        # How many times the clock has struck, places without members included.
        self._struck = 0

    def join(self, tick: Callable[[float], None]) -> float:
        """Call `tick` with the time once a period, from now on.

        Returns:
            When its first period begins, by the loop's clock: a period before the first call.
        """
        least = min(range(_PLACES), key=lambda place: len(self._places[place]))
        now = self._loop.time()
        upcoming = int((now - self._start) / self._apart) + 1
        upcoming += (least - upcoming) % _PLACES
        # The clock may be behind, and what it has not struck yet is too early.
        self._places[least][tick] = upcoming + _PLACES
        return self._start + upcoming * self._apart

    def leave(self, tick: Callable[[float], None]) -> None:
        """Call it no more."""
        for members in self._places:
            members.pop(tick, None)

    async def run(self) -> None:
        """Keep time until it is cancelled."""
        while True:
            due = int((self._loop.time() - self._start) / self._apart)
            # After a pause of the loop each place is called once: its members catch up.
            for strike in range(max(self._struck + 1, due - _PLACES + 1), due + 1):
                self._strike(strike)
            self._struck = due
            # Places without members need no waking; a whole period without any is slept through.
            ahead = next(
                (n for n in range(1, _PLACES) if self._places[(due + n) % _PLACES]), _PLACES
            )
            wait = self._start + (due + ahead) * self._apart - self._loop.time()
            await asyncio.sleep(max(0.0, wait))

    def _strike(self, strike: int) -> None:
        members = self._places[strike % _PLACES]
        if not members:
            return
        now = self._loop.time()
        self._late(now - (self._start + strike * self._apart))
        for tick, first in list(members.items()):
            if strike >= first:
                tick(now)
