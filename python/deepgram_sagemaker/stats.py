"""Counts of what sessions have done so far. Any thread may read them.

Imports nothing of ours. Tests: `tests/test_stats.py`.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Ledger", "Shares", "Stats", "add_up", "add_up_shares", "freed", "freed_shares"]


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


@dataclass(frozen=True, slots=True)
class Shares:
    """The figures of one session, or the sum over several of one config, by endpoint.

    Attributes:
        each: The share of each endpoint, in order of preference; empty: of no session. They add up
            to the session's `Stats`, but for `legs_at`, `time_to_first_result` and `last_error`.
        at: The endpoint where the session is; without a meaning for several.
    """

    each: tuple[Stats, ...] = ()
    at: int = 0


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


def add_up_shares(shares: Iterable[Shares]) -> Shares:
    """Return the sum over several sessions of one config."""
    every = [one.each for one in shares if one.each]
    return Shares(tuple(add_up(each) for each in zip(*every, strict=True)))


def freed(stats: Stats) -> Stats:
    """Return the figures that a session leaves behind: its journal is freed."""
    return dataclasses.replace(stats, journal_bytes=0)


def freed_shares(shares: Shares) -> Shares:
    """Return the same by endpoint."""
    return Shares(tuple(freed(each) for each in shares.each))


class Ledger[F]:
    """The figures of many sessions: of those that go on, and the sum of those that have ended.

    Every method may be called from any thread, and `ended` also from a finaliser. Reading takes no
    lock. A sum never misses a session and never counts one twice, so counters do not go back. A
    forked child starts from nothing: its parent's sessions are not its own.

    Args:
        add_up: Returns the sum over several sessions.
        freed: Returns what is left of a session's figures once it has ended.
    """

    def __init__(self, add_up: Callable[[Iterable[F]], F], freed: Callable[[F], F]) -> None:
        self._add_up = add_up
        self._freed = freed
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._ending: deque[str] = deque()
        # Replaced as a whole, never changed: every reader has a consistent view.
        self._parts: tuple[F, dict[str, Callable[[], F]]] = (self._add_up([]), {})

    def begun(self, session: str, read: Callable[[], F]) -> None:
        """Count a session in.

        Args:
            session: Its id.
            read: Returns its figures, from any thread.
        """
        if self._process != os.getpid():
            self._reset()
        with self._lock:
            past, live = self._parts
            self._parts = (past, live | {session: read})
        self._settle()

    def ended(self, session: str) -> None:
        """Keep a session's figures, but not the session; once it has ended, do nothing."""
        if self._process == os.getpid():
            self._ending.append(session)
            self._settle()

    def _settle(self) -> None:
        """Move the sessions that have ended into the sum."""
        while self._ending:
            # A finaliser may run in the middle of this on the same thread, so the lock is never
            # waited for. Its holder looks again once it has released it.
            if not self._lock.acquire(blocking=False):
                return
            try:
                while self._ending:
                    session = self._ending.popleft()
                    past, live = self._parts
                    read = live.get(session)
                    if read is not None:
                        left = {each: live[each] for each in live if each != session}
                        self._parts = (self._add_up([past, self._freed(read())]), left)
            finally:
                self._lock.release()

    def read(self) -> tuple[F, list[F]]:
        """Return the sum over the sessions that have ended, and the figures of each other one."""
        if self._process != os.getpid():
            return self._add_up([]), []
        past, live = self._parts
        return past, [read() for read in live.values()]

    def total(self) -> F:
        """Return the sum over all sessions."""
        past, live = self.read()
        return self._add_up([past, *live])
