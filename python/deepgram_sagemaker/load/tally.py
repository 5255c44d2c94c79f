"""What is counted within one second, of one worker's streams or of all workers'.

Imports `histogram` alone.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from .histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Tally", "add_up"]


@dataclass(slots=True)
class Tally:
    """The figures of one second, or the sum over several.

    Attributes:
        wanted: Streams that there were to be at the second's end.
        live: Sessions that had a stream of the service open at its end.
        silent: Streams that at its end had heard nothing for longer than is allowed.
        age: The oldest audio, at its end, on which nothing had been heard; in seconds.
        overdue: How late each stream's next result already was at its end. A result that has not
            come yet is in no other delay.
        opened: Sessions that opened.
        finished: Sessions that ended in order.
        cut: Sessions that were cut off because the test was stopped.
        refused: Requests for a stream that the service refused because it has no room, or wants
            fewer requests; by status and name.
        unreachable: Requests for a stream that got no answer, or one that says nothing about room,
            and were tried again; by error.
        failed: Sessions that failed, by error.
        permanent: Those of them that failed as every later one would: keys that have expired, a
            request that is not allowed or not valid.
        resets: Streams that broke and were followed by another, by the kind of end.
        retries: Requests for a stream after a failure.
        throttles: Requests for a stream that were throttled.
        rollovers: Streams replaced because of their age.
        chunks: Chunks of audio sent.
        late: Chunks that were sent later than is allowed because the clock of a worker struck late:
            this machine was busy.
        waited: Chunks that were sent later than is allowed because the session had no room for
            them: the endpoint did not take what was sent before.
        lost: Seconds of audio that a reset needed and that were no longer kept.
        unanswered: Seconds of audio without a final result when their session failed.
        missing: Marked chunks that no final result reported.
        repeated: Marked chunks that more than one final result reported.
        cpu: Seconds of CPU of the workers' processes.
        thread: The busiest worker's share of one processor, of the thread that drives its streams.
        opening: From wanting a session to having it open.
        first: From the first audio to the first result.
        finals: From when a final result's last audio was due to the result.
        interims: The same for interim results.
        lateness: How late the clock of a worker struck.
        examples: The words of one error of each kind that is counted above.
    """

    wanted: int = 0
    live: int = 0
    silent: int = 0
    age: float = 0.0
    overdue: Histogram = field(default_factory=Histogram)
    opened: int = 0
    finished: int = 0
    cut: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unreachable: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    permanent: Counter[str] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    throttles: int = 0
    rollovers: int = 0
    chunks: int = 0
    late: int = 0
    waited: int = 0
    lost: float = 0.0
    unanswered: float = 0.0
    missing: int = 0
    repeated: int = 0
    cpu: float = 0.0
    thread: float = 0.0
    opening: Histogram = field(default_factory=Histogram)
    first: Histogram = field(default_factory=Histogram)
    finals: Histogram = field(default_factory=Histogram)
    interims: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def lag(self) -> Histogram:
        """From when a result's last audio was due to the result, of interim and final ones."""
        both = Histogram()
        both.merge(self.finals)
        both.merge(self.interims)
        return both

    def merge(self, other: Tally) -> None:
        """Take in the figures of another worker for the same second."""
        for name in _NAMES:
            ours, theirs = getattr(self, name), getattr(other, name)
            if isinstance(ours, Histogram):
                ours.merge(theirs)
            elif isinstance(ours, Counter):
                ours.update(theirs)
            elif isinstance(ours, dict):
                ours.update({each: theirs[each] for each in theirs if each not in ours})
            elif name in _HIGHEST:
                setattr(self, name, max(ours, theirs))
            else:
                setattr(self, name, ours + theirs)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it, without what is nothing."""
        found: dict[str, Any] = {}
        for name in _NAMES:
            value = getattr(self, name)
            if isinstance(value, Histogram):
                if value.total:
                    found[name] = value.plain()
            elif value:
                found[name] = dict(value) if isinstance(value, dict) else value
        return found

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `plain` returned."""
        made = cls()
        for name, value in plain.items():
            ours = getattr(made, name)
            if isinstance(ours, Histogram):
                ours.merge(Histogram.of(value))
            elif isinstance(ours, dict):
                ours.update(value)
            else:
                setattr(made, name, value)
        return made


_NAMES: Final = tuple(each.name for each in dataclasses.fields(Tally))
_HIGHEST: Final = {"age", "thread"}


def add_up(tallies: Iterable[Tally]) -> Tally:
    """Return the sum over seconds. `wanted`, `live`, `silent` and `overdue` mean nothing in it."""
    total = Tally()
    for each in tallies:
        total.merge(each)
    return total
