"""At which of its endpoints a factory's next leg is opened.

The sessions of a factory share what they find out. Without I/O: clock and randomness are passed in.

State of each endpoint:

    from        event                                                to
    WORKING     an opening fails, and that counts against it         RESTING
    RESTING     the rest is over, and a leg is wanted                ON_TRIAL
    RESTING     a leg opens before the rest is over                  RETURNING
    ON_TRIAL    a leg opens                                          RETURNING
    ON_TRIAL    the trial's leg fails, and that counts against it    RESTING, for longer
    ON_TRIAL    the trial has no outcome                             RESTING, until now
    RETURNING   an opening fails, and that counts against it         RESTING, for longer
    RETURNING   time has passed                                      WORKING

Everything else leaves the state as it is.

A session prefers the endpoints in their order. One that rests, or is on trial, is tried when all
others have failed. One that returns takes few legs at first: hundreds of sessions may have waited
for it.

What counts against an endpoint is in the table of reasons (`rust/leg/src/reason.rs`): `endpoint`
and `load`. A leg that breaks moves its own session only: one stream breaks now and then, and if the
endpoint has failed, the next opening there shows it.

Imports `_native` alone. Tests: `tests/test_fallbacks.py`.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from enum import Enum
from random import random
from typing import TYPE_CHECKING, Final

from ._native import whose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    type Mark = Literal["untried", "failed", "barred"]

__all__ = ["Choice", "EndRound", "Endpoints", "Later", "Opening", "State"]

_WHOSE: Final = whose()


@dataclass(frozen=True, slots=True)
class _Rest:
    """How long an endpoint is left alone: `first` seconds, twice that after each failed trial."""

    first: float
    most: float


_RESTS: Final = {
    "endpoint": _Rest(first=5.0, most=60.0),
    # It works, so it is asked again soon.
    "load": _Rest(first=1.0, most=15.0),
}
"""The rest for each kind of failure that counts against an endpoint."""

_MOST_DOUBLINGS: Final = 16
"""More would make no rest longer, and overflow one day."""

_SPREAD: Final = 0.25
"""Share of a rest by which it is longer or shorter, so that processes do not try together."""

TRIAL_PATIENCE: Final = 5.0
"""Seconds that a session without a leg waits for the endpoint that is on trial. An endpoint whose
packets are dropped would hold it for all of `connection_timeout`."""

_TRIAL_LAPSES: Final = 180.0
"""Seconds after which a trial without an outcome counts as given up: its event loop may be gone.
More than a leg takes to open by default."""

_RAMP: Final = 30.0
"""Seconds for which an endpoint that has returned takes a limited number of legs a second."""

_FIRST_RATE: Final = 2.0
"""Legs a second that it takes at first."""

_DOUBLES_AFTER: Final = 5.0
"""Seconds after which that rate has doubled, again and again."""

_ASK_AGAIN: Final = 0.5
"""Seconds after which a standby asks again, on average, while an endpoint takes no more legs."""


class State(Enum):
    """How an endpoint stands with all sessions of a factory."""

    WORKING = "working"
    RESTING = "resting"
    ON_TRIAL = "on trial"
    RETURNING = "returning"


class _Admission(Enum):
    """Whether an endpoint takes a leg."""

    YES = "yes"
    AS_TRIAL = "it is the trial"
    SOON = "not this one, but another in a moment"
    NO = "it is left alone"


@dataclass(frozen=True, slots=True)
class Opening:
    """Open the leg at this endpoint, then report `opened`, `failed` or `given_up`.

    Attributes:
        endpoint: The endpoint's index, in order of preference.
        began: When.
        trial: The number of the endpoint's trial that this is; 0: none.
    """

    endpoint: int
    began: float
    trial: int = 0

    @property
    def is_trial(self) -> bool:
        """Whether this leg shows if the endpoint works again."""
        return self.trial > 0


@dataclass(frozen=True, slots=True)
class Later:
    """Ask again after `seconds`: the preferred endpoint will take the standby soon."""

    seconds: float


@dataclass(frozen=True, slots=True)
class EndRound:
    """Wait before the next attempt: an endpoint that has failed is better than what is left."""


type Choice = Opening | Later | EndRound


@dataclass(slots=True)
class _Standing:
    """How one endpoint stands.

    Attributes:
        state: The state.
        since: Since when.
        until: RESTING: when it is tried again.
        rests: Rests in a row without a return.
        trials: The number of its latest trial.
        allowance: RETURNING: legs that it takes at once.
        counted: RETURNING: up to when the allowance has grown.
    """

    state: State = State.WORKING
    since: float = 0.0
    until: float = 0.0
    rests: int = 0
    trials: int = 0
    allowance: float = 0.0
    counted: float = 0.0

    def enter(self, state: State, now: float) -> None:
        self.state = state
        self.since = now


class Endpoints:
    """The endpoints of one config, as all of its sessions find them. May be used from any thread.

    Args:
        count: How many there are, in order of preference.
        clock: A monotonic clock, in seconds.
        draw: Returns a random number from 0 to below 1.
    """

    def __init__(
        self,
        count: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random,
    ) -> None:
        self._count = count
        self._clock = clock
        self._draw = draw
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._standings = [_Standing() for _ in range(self._count)]

    def state(self, endpoint: int) -> State:
        """Return how an endpoint stands."""
        return self._standings[endpoint].state

    def choose(self, marks: Sequence[Mark], *, standby: bool = False) -> Choice:
        """Return where to open a leg.

        Args:
            marks: How each endpoint stands in the session's round; one at least is untried.
            standby: Whether the session's current leg works, so that the new one can wait.
        """
        if self._process != os.getpid():
            # In a forked child the lock's state is undefined.
            self._reset()
        now = self._clock()
        if self._count == 1:
            return Opening(0, now)
        with self._lock:
            untried = [index for index, mark in enumerate(marks) if mark == "untried"]
            for index in untried:
                match self._admits(self._standings[index], now):
                    case _Admission.YES:
                        return Opening(index, now)
                    case _Admission.AS_TRIAL:
                        return Opening(index, now, self._standings[index].trials)
                    case _Admission.SOON if standby:
                        return Later(_ASK_AGAIN * (0.5 + self._draw()))
                    case _Admission.SOON | _Admission.NO:
                        pass
            works = (State.WORKING, State.RETURNING)
            if any(
                mark == "failed" and self._standings[index].state in works
                for index, mark in enumerate(marks)
            ):
                return EndRound()
            return Opening(min(untried, key=self._badness), now)

    def best(self, marks: Sequence[Mark]) -> Opening:
        """Return the best of the untried endpoints, even if it takes no legs now.

        For a session that cannot wait: it would fail otherwise.
        """
        untried = [index for index, mark in enumerate(marks) if mark == "untried"]
        with self._lock:
            return Opening(min(untried, key=self._badness), self._clock())

    def _admits(self, standing: _Standing, now: float) -> _Admission:
        match standing.state:
            case State.WORKING:
                return _Admission.YES
            case State.RESTING if now < standing.until:
                return _Admission.NO
            case State.ON_TRIAL if now - standing.since < _TRIAL_LAPSES:
                return _Admission.SOON
            case State.RESTING | State.ON_TRIAL:
                standing.enter(State.ON_TRIAL, now)
                standing.trials += 1
                return _Admission.AS_TRIAL
            case State.RETURNING:
                return _Admission.YES if self._takes(standing, now) else _Admission.SOON

    def _takes(self, standing: _Standing, now: float) -> bool:
        """Count a leg at an endpoint that returns, if it takes one more now."""
        age = now - standing.since
        if age >= _RAMP:
            standing.rests = 0
            # `since` stays: what began while it returned still counts.
            standing.state = State.WORKING
            return True
        rate = _FIRST_RATE * 2.0 ** (age / _DOUBLES_AFTER)
        # What was not used within a second is lost: it would make a burst.
        grown = standing.allowance + rate * (now - standing.counted)
        standing.allowance, standing.counted = min(grown, rate), now
        if standing.allowance < 1.0:
            return False
        standing.allowance -= 1.0
        return True

    def _badness(self, index: int) -> tuple[bool, float, int]:
        """Return a key: the least of it is the best of the endpoints that take no leg now."""
        standing = self._standings[index]
        return standing.state is State.RESTING, standing.until, index

    def opened(self, opening: Opening) -> bool:
        """Report that a leg was opened. Return whether the endpoint returns with it."""
        standing = self._standings[opening.endpoint]
        with self._lock:
            # A leg that was requested before the endpoint failed says nothing about it now.
            if standing.state not in (State.RESTING, State.ON_TRIAL) or (
                opening.began < standing.since
            ):
                return False
            now = self._clock()
            standing.enter(State.RETURNING, now)
            standing.allowance, standing.counted = 0.0, now
            return True

    def failed(self, opening: Opening, reason: str) -> float | None:
        """Report that a leg could not be opened.

        Args:
            opening: The choice that was tried.
            reason: The reason's name.

        Returns:
            For how many seconds the endpoint is left alone from now on; None: as before.
        """
        rest = _RESTS.get(_WHOSE[reason])
        if rest is None:
            # It says nothing about the endpoint.
            self.given_up(opening)
            return None
        standing = self._standings[opening.endpoint]
        with self._lock:
            match standing.state:
                case State.WORKING | State.RETURNING:
                    # Hundreds of legs may fail at once. They are one failure.
                    counts = opening.began >= standing.since
                case State.ON_TRIAL:
                    counts = opening.trial == standing.trials
                case State.RESTING:
                    counts = False
            if not counts or self._count == 1:
                return None
            seconds = min(rest.first * 2.0 ** min(standing.rests, _MOST_DOUBLINGS), rest.most)
            seconds *= 1.0 + _SPREAD * (2.0 * self._draw() - 1.0)
            now = self._clock()
            standing.enter(State.RESTING, now)
            standing.until = now + seconds
            standing.rests += 1
            return seconds

    def given_up(self, opening: Opening) -> None:
        """Report that it was not found out whether a leg can be opened."""
        standing = self._standings[opening.endpoint]
        with self._lock:
            if standing.state is State.ON_TRIAL and opening.trial == standing.trials:
                now = self._clock()
                standing.enter(State.RESTING, now)
                standing.until = now
