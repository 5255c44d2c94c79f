"""Counts of what sessions have done so far."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Stats", "add_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A snapshot of one session, or the sum over a factory's sessions. It contains no content.

    Seconds of audio are 0 if the audio's rate is unknown (containers, packet codecs).

    Attributes:
        sessions: Sessions begun: 1, or all of the factory's.
        legs: Streams opened.
        resets: Streams that ended and were followed by another, by the kind of end: `reset`,
            `dropped`, `early_end`, `exception` and so on. `error.reason` is finer.
        rollovers: Streams replaced because of their age.
        fallovers: Streams opened at another endpoint because one had failed just before.
        legs_at: Streams opened, by endpoint: `name (region)`, or
            `name/variant (region)`.
        attempts: Streams requested, whether they opened or not.
        bytes_sent: Bytes of audio sent, each counted once.
        seconds_sent: The same in seconds.
        bytes_acknowledged: Bytes of audio that the service has finalised.
        seconds_acknowledged: The same in seconds.
        bytes_replayed: Bytes of audio sent again.
        seconds_replayed: The same in seconds.
        bytes_evicted: Bytes of audio dropped over the limit before they were final.
        seconds_evicted: The same in seconds.
        bytes_lost: Bytes of evicted audio that a reset needed.
        seconds_lost: The same in seconds.
        journal_bytes: Bytes that the journal holds now.
        messages_in: Messages accepted from the application.
        messages_out: Messages for the application.
        time_to_first_result: Seconds from the first message sent to the first message received;
            None: none was received. For a factory, the longest.
        last_error: The error of the last stream that did not end in order; None: there was none.
    """

    sessions: int = 0
    legs: int = 0
    resets: Mapping[str, int] = field(default_factory=dict)
    rollovers: int = 0
    fallovers: int = 0
    legs_at: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    bytes_sent: int = 0
    seconds_sent: float = 0.0
    bytes_acknowledged: int = 0
    seconds_acknowledged: float = 0.0
    bytes_replayed: int = 0
    seconds_replayed: float = 0.0
    bytes_evicted: int = 0
    seconds_evicted: float = 0.0
    bytes_lost: int = 0
    seconds_lost: float = 0.0
    journal_bytes: int = 0
    messages_in: int = 0
    messages_out: int = 0
    time_to_first_result: float | None = None
    last_error: str | None = None


_COUNTS: Final = ("resets", "legs_at")
_NOT_SUMS: Final = {*_COUNTS, "time_to_first_result", "last_error"}


def add_up(stats: Iterable[Stats]) -> Stats:
    """Return the sum over several sessions, given oldest first."""
    every = list(stats)
    sums: dict[str, Any] = {
        each.name: sum(getattr(one, each.name) for one in every)
        for each in dataclasses.fields(Stats)
        if each.name not in _NOT_SUMS
    }
    for name in _COUNTS:
        counts: Counter[str] = Counter()
        for one in every:
            counts.update(getattr(one, name))
        sums[name] = dict(counts)
    times = [one.time_to_first_result for one in every if one.time_to_first_result is not None]
    errors = [one.last_error for one in every if one.last_error is not None]
    return Stats(
        **sums,
        time_to_first_result=max(times, default=None),
        last_error=errors[-1] if errors else None,
    )
