"""Counts of durations in buckets that are as fine for milliseconds as for minutes.

Histograms of workers add up without loss: all have the same buckets. Imports nothing of ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Histogram"]

_LEAST: Final = 1e-4
"""Seconds at the upper border of the first bucket."""
_GROWTH: Final = 1.02
"""The ratio of a bucket's borders: a quantile is at most two per cent too high."""
_SCALE: Final = 1 / math.log(_GROWTH)
_LAST: Final = math.ceil(math.log(1e5 / _LEAST) * _SCALE)


class Histogram:
    """Durations in seconds.

    Attributes:
        counts: How many fell into each bucket, by the bucket's number.
        total: How many there are.
        longest: The longest of them.
    """

    __slots__ = ("counts", "longest", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration. A negative one counts as none."""
        bucket = 0
        if seconds > _LEAST:
            bucket = min(_LAST, math.ceil(math.log(seconds / _LEAST) * _SCALE))
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1
        self.longest = max(self.longest, seconds)

    def merge(self, other: Histogram) -> None:
        """Count what another has counted, too."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    def quantile(self, share: float) -> float | None:
        """Return the duration that a share of all does not exceed, in seconds; None: no durations.

        Args:
            share: From 0 to 1: 0.95 for the 95th percentile.
        """
        if not self.total:
            return None
        wanted, seen = max(1, math.ceil(share * self.total)), 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return min(self.longest, _LEAST * _GROWTH**bucket)
        return self.longest

    def plain(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "counts": {str(bucket): count for bucket, count in self.counts.items()},
            "longest": self.longest,
        }

    @classmethod
    def of(cls, plain: Mapping[str, object]) -> Self:
        """Return what `plain` returned."""
        made = cls()
        counts, longest = plain["counts"], plain["longest"]
        assert isinstance(counts, dict)  # noqa: S101 - `plain` wrote it
        assert isinstance(longest, float | int)  # noqa: S101 - likewise
        made.counts = {int(bucket): int(count) for bucket, count in counts.items()}
        made.total = sum(made.counts.values())
        made.longest = float(longest)
        return made
