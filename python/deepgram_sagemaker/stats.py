"""What sessions have done so far, in numbers."""

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
    """A snapshot of one session, or of all sessions of a factory. Nothing in it is content.

    Seconds of audio are 0 where the audio's rate is not known (containers, packet codecs).

    Attributes:
        sessions: Sessions begun: 1, or a factory's.
        legs: Streams opened.
        resets: Streams that ended and were followed by another, by the kind of end: `reset`,
            `dropped`, `early_end`, `exception` and so on. `error.reason` is finer.
        rollovers: Streams replaced because of their age.
        attempts: Streams asked for, opened or not.
        bytes_sent: Audio sent, each byte counted once.
        seconds_sent: The same in seconds.
        bytes_acknowledged: Audio that the service has finalised.
        seconds_acknowledged: The same in seconds.
        bytes_replayed: Audio sent again.
        seconds_replayed: The same in seconds.
        bytes_evicted: Audio no longer kept, though not finalised.
        seconds_evicted: The same in seconds.
        bytes_lost: Evicted audio that a reset needed.
        seconds_lost: The same in seconds.
        journal_bytes: Audio kept now.
        messages_in: Messages taken from the application.
        messages_out: Messages for the application.
        time_to_first_result: Seconds from the first message sent to the first that came back;
            None: none has come. For a factory, the longest.
        last_error: What the last stream that did not end in order said; None: all did.
    """

    sessions: int = 0
    legs: int = 0
    resets: Mapping[str, int] = field(default_factory=dict)
    rollovers: int = 0
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


_NOT_SUMS: Final = {"resets", "time_to_first_result", "last_error"}


def add_up(stats: Iterable[Stats]) -> Stats:
    """The sum of several sessions, oldest first."""
    every = list(stats)
    sums: dict[str, Any] = {
        each.name: sum(getattr(one, each.name) for one in every)
        for each in dataclasses.fields(Stats)
        if each.name not in _NOT_SUMS
    }
    resets: Counter[str] = Counter()
    for one in every:
        resets.update(one.resets)
    times = [one.time_to_first_result for one in every if one.time_to_first_result is not None]
    errors = [one.last_error for one in every if one.last_error is not None]
    return Stats(
        **sums,
        resets=dict(resets),
        time_to_first_result=max(times, default=None),
        last_error=errors[-1] if errors else None,
    )
