"""Whether a step held, and how many streams the endpoint holds: the knee.

Pure: judges figures that may be made up. Imports `histogram`, `step` and `tally`.

A step holds if every stream of it opened at the first request, no session failed, no audio was
lost, and results came in time. A step without results does not hold. A stream that breaks and is
followed by another is no failure: the session's results show what it cost. What this machine was
too slow for says nothing about the endpoint, and is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from .tally import Tally, add_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .histogram import Histogram
    from .step import Step

__all__ = [
    "Conclusion",
    "Judged",
    "Limits",
    "Outcome",
    "baseline",
    "conclude",
    "hard_limit",
    "highest_held",
    "judge",
    "lowest_failed",
]


class Outcome(StrEnum):
    """What came of a step: it held, or the first of the reasons why it did not."""

    HELD = "held"
    REFUSED = "refused"
    """The endpoint had no room for a stream, or wanted fewer requests."""
    UNREACHABLE = "unreachable"
    """A request for a stream got no answer, or one that says nothing about room."""
    FAILED = "failed"
    """A session failed."""
    LOST = "lost"
    """Audio was lost, or told twice."""
    SILENT = "silent"
    """A stream heard nothing for too long."""
    SLOW = "slow"
    """Not every stream was open in time."""
    LAG = "lag"
    """Results came late, or are late already and have not come."""
    SHORT = "short"
    """No result came, and the step was too short to say that they are late."""
    GENERATOR = "generator"
    """Results came late, and so did the audio: this machine was too slow."""
    WORKER = "worker"
    """A worker died."""
    STOPPED = "stopped"
    """The test was stopped in the middle of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a step may not exceed.

    Attributes:
        lag: Seconds of the 95th percentile of the results' lag; the 99th may be twice that. None:
            `lag_growth` above the first step's, and at most `lag_most`.
        lag_growth: Seconds.
        lag_most: Seconds.
        silence: Seconds for which a stream may hear nothing.
        late: The share of chunks that may leave late before this machine counts as too slow.
        busy: The share of one processor that a worker's thread may use before it does.
    """

    lag: float | None = None
    lag_growth: float = 1.0
    lag_most: float = 5.0
    silence: float = 10.0
    late: float = 0.05
    busy: float = 0.9

    def lag_limit(self, first: float | None) -> float:
        """Return the limit in seconds, given the first step's 95th percentile; None: it has none.

        The first step itself is judged by `lag_most`.
        """
        if self.lag is not None:
            return self.lag
        return self.lag_most if first is None else min(self.lag_most, first + self.lag_growth)


@dataclass(frozen=True, slots=True)
class Judged:
    """A step and what came of it.

    Attributes:
        step: The step.
        begins: The second in which it began.
        outcome: Whether it held, or why not.
        reason: The same in words.
        live: Streams that were open at its end.
        most: The most streams that were open at the end of a second of it: since its first refusal
            if there was one.
        total: The sum of its seconds.
        settled: The sum of those after its opening, which delays are taken from.
        is_limited_by_us: Whether this machine was too slow during it.
        is_growing: Whether streams were still being let in at its end.
        is_permanent: Whether every later stream would fail, however few there are.
    """

    step: Step
    begins: int
    outcome: Outcome
    reason: str
    live: int
    most: int
    total: Tally = field(repr=False)
    settled: Tally = field(repr=False)
    is_limited_by_us: bool = False
    is_growing: bool = False
    is_permanent: bool = False


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the test found.

    Attributes:
        asked: Streams that were asked for.
        knee: The most streams that the endpoint is known to hold.
        is_exact: Whether one more is known to be refused.
        outcome: Why it holds no more; `held`: it holds all that were asked for.
        sentence: The same in a sentence, without the endpoint's name.
    """

    asked: int
    knee: int
    is_exact: bool
    outcome: Outcome
    sentence: str

    @property
    def holds(self) -> bool:
        """Whether the endpoint holds all streams that were asked for."""
        return self.outcome is Outcome.HELD


_ROUNDING: Final = 1e-6
_OURS: Final = {Outcome.LAG, Outcome.SHORT, Outcome.SILENT, Outcome.SLOW}
"""What comes of a machine that is too slow, too."""
_GROWING: Final = 0.02
"""The share of a step's streams that is let in within a second where there is no limit."""


def judge(
    step: Step,
    begins: int,
    seconds: Sequence[Tally],
    limits: Limits,
    first: float | None,
    *,
    dead: Sequence[str] = (),
    stopped: bool = False,
) -> Judged:
    """Return what came of a step.

    Args:
        step: The step.
        begins: The second in which it began.
        seconds: Its seconds, in order.
        limits: What it may not exceed.
        first: The first step's 95th percentile of the lag, in seconds; None: this is the first, or
            the first has none.
        dead: Workers that have died until its end.
        stopped: Whether it was stopped before its end.
    """
    opening = min(round(step.opening), max(0, len(seconds) - 1))
    total, settled = add_up(seconds), add_up(seconds[opening:])
    live = seconds[-1].live if seconds else 0
    since = next((at for at, each in enumerate(seconds) if each.refused), 0)
    most = max((each.live for each in seconds[since:]), default=0)
    late = total.late / total.chunks if total.chunks else 0.0
    slow_here = late > limits.late or max((s.thread for s in seconds), default=0.0) > limits.busy
    # A stream that ended in order is replaced; its place may be between two streams just now.
    between = sum(each.finished for each in seconds[-2:])
    outcome, reason = _outcome(step, total, settled, live + between, limits)
    if outcome is Outcome.HELD:
        limit = limits.lag_limit(first)
        outcome, reason = _timely(settled, seconds, limit, len(seconds) - opening)
    if stopped and outcome in (Outcome.HELD, Outcome.SLOW, Outcome.SHORT):
        outcome, reason = Outcome.STOPPED, "stopped"
    elif dead:
        outcome, reason = Outcome.WORKER, f"a worker died: {', '.join(dead)}"
    elif slow_here and outcome in _OURS:
        outcome = Outcome.GENERATOR
        reason = f"{reason}, and {late:.1%} of the audio left this machine late"
    grown = seconds[-1].opened - seconds[-1].finished if seconds else 0
    return Judged(
        step,
        begins,
        outcome,
        reason,
        live,
        most,
        total,
        settled,
        is_limited_by_us=slow_here,
        is_growing=grown > max(1, step.streams * _GROWING),
        is_permanent=bool(total.permanent),
    )


def _outcome(
    step: Step, total: Tally, settled: Tally, live: int, limits: Limits
) -> tuple[Outcome, str]:
    """Return whether all streams were there, and lost nothing; or the first reason why not."""
    if total.permanent:
        return Outcome.FAILED, f"failed for good: {_counted(total.permanent)}"
    for outcome, kinds in (
        (Outcome.REFUSED, total.refused),
        (Outcome.UNREACHABLE, total.unreachable),
        (Outcome.FAILED, total.failed),
    ):
        if outcome is Outcome.REFUSED and live >= step.streams and _is_pace(total):
            return outcome, f"throttled while opening: {_counted(kinds)}"
        if kinds:
            return outcome, f"{outcome.value}: {_counted(kinds)}"
    gone = _losses(total)
    if gone:
        return Outcome.LOST, gone
    if settled.silent:
        return Outcome.SILENT, f"streams heard nothing for {limits.silence:g} s"
    if live < step.streams:
        return Outcome.SLOW, f"{step.streams - live} of {step.streams} were not open in time"
    return Outcome.HELD, "held"


def _timely(
    settled: Tally, seconds: Sequence[Tally], limit: float, length: int
) -> tuple[Outcome, str]:
    """Return whether results came in time, and that in words.

    Args:
        settled: The figures after the opening.
        seconds: The whole step's.
        limit: Seconds of the 95th percentile of the lag.
        length: Seconds after the opening.
    """
    late = _late(settled.lag, limit)
    if late:
        return Outcome.LAG, f"lag {late}"
    # What has not come by the step's end is in no lag.
    late = _late(seconds[-1].overdue, limit) if seconds else ""
    if late:
        return Outcome.LAG, f"results that have not come are late: {late}"
    if not settled.lag.total:
        return Outcome.SHORT, f"no result came within {length} s: the step is too short"
    return Outcome.HELD, "held"


def _late(delays: Histogram, limit: float) -> str:
    """Return in words by what delays exceed a limit of their 95th percentile; empty: they do not.

    Their 99th may be twice that.
    """
    for share, most in ((0.95, limit), (0.99, 2 * limit)):
        delay = delays.quantile(share)
        if delay is not None and delay > most:
            return f"p{share * 100:.0f} {delay:.2f} s, above {most:.2f} s"
    return ""


def _is_pace(total: Tally) -> bool:
    """Return whether requests were refused only because they were too many at a time."""
    return 0 < sum(total.refused.values()) <= total.throttles


def _counted(kinds: Mapping[str, int]) -> str:
    """Return counts in words, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} \N{MULTIPLICATION SIGN} {name}" for name, count in ordered)


def _losses(total: Tally) -> str:
    """Return in words what audio was lost or told twice; empty: none."""
    found = []
    if total.lost > _ROUNDING:
        found.append(f"{total.lost:.2f} s of audio lost")
    if total.missing:
        found.append(f"{total.missing} chunks without a result")
    if total.repeated:
        found.append(f"{total.repeated} chunks told twice")
    return ", ".join(found)


def _held(judged: Iterable[Judged]) -> list[int]:
    return [each.step.streams for each in judged if each.outcome is Outcome.HELD]


def _bad(judged: Iterable[Judged]) -> list[Judged]:
    return [each for each in judged if each.outcome not in (Outcome.HELD, Outcome.STOPPED)]


def highest_held(judged: Sequence[Judged]) -> int:
    """Return the most streams of a step that held, below the fewest that did not; 0: none did.

    A number that held for a while and failed later has failed.
    """
    failed = lowest_failed(judged)
    return max((n for n in _held(judged) if failed is None or n < failed), default=0)


def lowest_failed(judged: Iterable[Judged]) -> int | None:
    """Return the fewest streams of a step that did not hold; None: all held, or were stopped."""
    return min((each.step.streams for each in _bad(judged)), default=None)


def hard_limit(judged: Sequence[Judged]) -> int | None:
    """Return how many streams were live while the next was refused; None: there is no such limit.

    It counts only if it lies between the steps that held and the one that was refused, and if no
    more streams were let in at that step's end. Otherwise it is the pace of opening that is
    limited, and not the number of streams.
    """
    refused = [each for each in judged if each.outcome is Outcome.REFUSED]
    if not refused:
        return None
    lowest = min(refused, key=lambda each: each.step.streams)
    if lowest.is_growing or not lowest.most:
        return None
    if not max(_held(judged), default=0) <= lowest.most < lowest.step.streams:
        return None
    return lowest.most


def conclude(
    judged: Sequence[Judged],
    asked: int,
    ending: Tally,
    *,
    limits: Limits | None = None,
    stopped: bool = False,
) -> Conclusion:
    """Return what a test found.

    Args:
        judged: Its steps, in order.
        asked: Streams that were asked for.
        ending: The figures of the time in which its streams were closed.
        limits: What a step might not exceed; None: the usual.
        stopped: Whether it was stopped before its end.
    """
    bad = _bad(judged)
    held = highest_held(judged)
    if not bad:
        outcome, gone = _end(ending, limits or Limits(), stopped=stopped)
        if outcome is not Outcome.HELD:
            sentence = f"holds {_streams(held)}, but not to their end: {gone}"
            return Conclusion(asked, held, False, outcome, sentence)
        if stopped:
            sentence = f"held {_streams(held)} until the test was stopped"
            return Conclusion(asked, held, False, Outcome.STOPPED, sentence)
        return Conclusion(asked, held, False, Outcome.HELD, f"holds {_streams(held)}")
    # Not the first in time: a search goes down, too.
    worst = min(bad, key=lambda each: each.step.streams)
    knee = max((n for n in _held(judged) if n < worst.step.streams), default=0)
    exact = hard_limit(judged)
    if exact and worst.outcome is Outcome.REFUSED:
        told, _ = worst.total.refused.most_common(1)[0]
        words = next((f": {each}" for each in _said(judged, ending, [told])), "")
        sentence = f"holds {_streams(exact)}: the {_ordinal(exact + 1)} was refused ({told}{words})"
        return Conclusion(asked, exact, True, Outcome.REFUSED, sentence)
    if worst.is_permanent:
        words = next((f" ({each})" for each in _said(judged, ending, worst.total.permanent)), "")
        at_least = f"holds at least {_streams(knee)}" if knee else "is not tested yet"
        sentence = (
            f"{at_least}: with {worst.step.streams}, {worst.reason}{words}, which does not depend "
            "on their number"
        )
    elif worst.outcome in (Outcome.GENERATOR, Outcome.WORKER):
        sentence = (
            f"holds at least {_streams(knee)}: with {worst.step.streams} this side was the limit "
            f"({worst.reason})"
        )
    elif worst.outcome is Outcome.SHORT:
        at_least = f"holds at least {_streams(knee)}" if knee else "is not tested yet"
        sentence = f"{at_least}: with {worst.step.streams}, {worst.reason}"
    elif knee:
        sentence = f"holds {_streams(knee)}: with {worst.step.streams}, {worst.reason}"
    elif worst.outcome is Outcome.REFUSED and worst.live >= worst.step.streams:
        # All opened in the end.
        sentence = f"is not known to hold {_streams(worst.step.streams)}: {worst.reason}"
    else:
        sentence = f"does not hold {_streams(worst.step.streams)}: {worst.reason}"
    return Conclusion(asked, knee, False, worst.outcome, sentence)


def _said(judged: Iterable[Judged], ending: Tally, kinds: Iterable[str]) -> Iterator[str]:
    """Yield the words of errors of these kinds."""
    every = [*(each.total for each in judged), ending]
    for kind in kinds:
        yield from (each.examples[kind] for each in every if kind in each.examples)


def _end(ending: Tally, limits: Limits, *, stopped: bool) -> tuple[Outcome, str]:
    """Return what came of the streams of the last step while they were closed, and why."""
    gone = _losses(ending)
    if gone:
        return Outcome.LOST, gone
    if ending.failed:
        return Outcome.FAILED, f"failed: {_counted(ending.failed)}"
    if ending.cut and not stopped:
        return Outcome.FAILED, f"{_streams(ending.cut)} did not end in time"
    # All end at once, which callers do not: the least limit is none here.
    late = _late(ending.lag, max(limits.lag or 0.0, limits.lag_most))
    if late and not stopped:
        return Outcome.LAG, f"lag {late}"
    return Outcome.HELD, "held"


def baseline(judged: Sequence[Judged]) -> float | None:
    """Return what later steps' lag is compared with: the first's 95th percentile, in seconds.

    None: there is no step yet, or the first had no result. No other step stands in for it.
    """
    return judged[0].settled.lag.quantile(0.95) if judged else None


def _streams(count: int) -> str:
    return f"{count} stream{'' if count == 1 else 's'}"


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else suffix}"
