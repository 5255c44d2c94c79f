"""How many streams there are to be, and when: the stairs up, and the search for the limit.

Pure: no clock, no streams. Imports `step` and `verdict`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .step import Step
from .verdict import Outcome, hard_limit, highest_held, lowest_failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .verdict import Judged

__all__ = ["Plan"]

_LEAST_STEP: Final = 2
"""Seconds: one to open streams in, and one to look at them."""
_FINE: Final = 50
"""The search ends when the limit is known to a fiftieth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for.

    Attributes:
        streams: The most streams at once.
        ramp: Seconds in which the number goes up to that, in steps.
        duration: Seconds for which it then stays there.
        step: Streams by which the number goes up at each step.
        steps: Steps in which it goes up evenly instead, one for each stream at most; None: `step`
            says it.
        find: Whether to search for the limit between the last step that held and the first that
            did not.
        keep_going: Whether to go on up after a step that did not hold.
    """

    streams: int
    ramp: float
    duration: float
    step: int
    steps: int | None = None
    find: bool = False
    keep_going: bool = False

    @property
    def levels(self) -> list[int]:
        """The number of streams at each step up."""
        if self.steps is not None:
            count = min(self.steps, self.streams)
            return [round(self.streams * at / count) for at in range(1, count + 1)]
        return [*range(self.step, self.streams, self.step), self.streams]

    @property
    def step_seconds(self) -> int:
        """Seconds of each step but the last: whole ones, and at least two."""
        return max(_LEAST_STEP, round(self.ramp / len(self.levels)))

    @property
    def seconds(self) -> int:
        """Seconds that the steps up and the stay take, if all of them hold."""
        return len(self.levels) * self.step_seconds + math.ceil(self.duration)

    @property
    def stream_seconds(self) -> float:
        """Seconds of audio that are sent in all, if every step holds."""
        up = sum(self.levels) * self.step_seconds
        return float(up + self.streams * math.ceil(self.duration))

    def next(self, judged: Sequence[Judged]) -> Step | None:
        """Return what comes after these steps; None: the test is over.

        Args:
            judged: The steps until now and what came of them, in order.
        """
        if not judged:
            return self._up(0)
        last = judged[-1]
        if last.outcome is Outcome.STOPPED or last.is_permanent:
            return None
        ups = sum(each.step.name == "up" for each in judged)
        failed = any(each.outcome is not Outcome.HELD for each in judged)
        if last.step.name == "up" and (self.keep_going or not failed):
            if ups < len(self.levels):
                return self._up(ups)
            if self.duration > 0 and not failed:
                return Step(self.streams, math.ceil(self.duration), 0.0, "hold")
        confirmed = last.step.name == "confirm" and last.outcome is Outcome.HELD
        if not failed or not self.find or confirmed:
            return None
        return self._search(judged)

    def _up(self, at: int) -> Step:
        return self._step(self.levels[at], "up")

    def _step(self, streams: int, name: str, seconds: int | None = None) -> Step:
        return Step(streams, seconds or self.step_seconds, self.step_seconds / 2, name)

    def _search(self, judged: Sequence[Judged]) -> Step | None:
        exact = hard_limit(judged)
        if exact and all(each.step.name != "confirm" for each in judged):
            return self._step(exact, "confirm")
        low, high = highest_held(judged), lowest_failed(judged)
        if high is None or high - low <= max(1, self.streams // _FINE):
            return None
        # What failed only in the stay is seen only in steps as long as that.
        stays = [e.step.seconds for e in judged if e.step.name == "hold"]
        return self._step((low + high) // 2, "search", max([self.step_seconds, *stays]))
