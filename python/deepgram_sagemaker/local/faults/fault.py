"""One rule: an action, a trigger, and how often."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Literal, get_args

from .actions import ANSWERS, Action, ConnectionAction
from .triggers import AtOpen, OnConnect, Trigger
from .values import MOST, is_whole

type Scope = Literal["endpoint", "conversation"]


def is_path(value: object) -> bool:
    """Return whether a value can be an invocation path: names with single slashes between."""
    return isinstance(value, str) and bool(re.fullmatch(r"[\w.-]+(/[\w.-]+)*", value, re.ASCII))


def _are_ordinals(legs: object) -> bool:
    match legs:
        case None:
            return True
        case range(start=first, stop=stop, step=step):
            return is_whole(first, 1, MOST) and step >= 1 and first < stop <= MOST
        case (first, None):
            return is_whole(first, 1, MOST)
        case (int(first), int(last)):
            return is_whole(first, 1, MOST) and is_whole(last, first, MOST)
        case only:
            return is_whole(only, 1, MOST)


@dataclass(frozen=True)
class Fault:
    """One rule.

    Attributes:
        action: what happens.
        when: the trigger; None: `AtOpen` for actions on streams, `OnConnect` for actions on
            connections.
        legs: which opens, counted from 1: one number; first and last, where None as the last means
            no end; or a range, for every second open and the like. None: all.
        times: the most strikes; None: no limit. By default one, or one for each of `legs` where
            these are given. Faults on connections go by `legs` alone.
        scope: where opens and strikes are counted: over the whole endpoint, or for each
            conversation, which is all legs with the same path and query.
        path: the only invocation path that it is for; None: all.

    Raises:
        ValueError: action and trigger do not go together, `legs` is empty, or another field breaks
            its rule.
    """

    action: Action | ConnectionAction
    when: Trigger | None = None
    _: dataclasses.KW_ONLY
    legs: int | range | tuple[int, int | None] | None = None
    times: int | EllipsisType | None = ...
    scope: Scope = "endpoint"
    path: str | None = None

    def __post_init__(self) -> None:
        """Check every field, and that action and trigger go together."""
        if not isinstance(self.action, Action | ConnectionAction):
            raise ValueError(  # noqa: TRY004 - one class of error for all of them
                f"action is one of this module's, not {self.action!r}"
            )
        if not isinstance(self.when, Trigger | None):
            raise ValueError(  # noqa: TRY004 - one class of error for all of them
                f"when is one of this module's triggers, not {self.when!r}"
            )
        if self.is_on_connection != isinstance(self._trigger, OnConnect):
            raise ValueError(f"{self.action!r} can't happen at {self._trigger!r}")
        is_answer = isinstance(self.action, ANSWERS)
        if is_answer and not isinstance(self._trigger, AtOpen):
            raise ValueError(f"{self.action!r} happens at AtOpen(), not at {self.when!r}")
        if not _are_ordinals(self.legs):
            raise ValueError(f"legs are some of 1, 2, 3 …, not {self.legs!r}")
        if not (self._limit is None or is_whole(self._limit, 1, MOST)):
            raise ValueError(f"times is at least 1, or None for no limit, not {self.times!r}")
        if self.scope not in get_args(Scope.__value__):
            raise ValueError(f"scope is 'endpoint' or 'conversation', not {self.scope!r}")
        if not (self.path is None or is_path(self.path)):
            raise ValueError(f"path is an invocation path such as 'v1/listen', not {self.path!r}")

    @property
    def _trigger(self) -> Trigger:
        if self.when is not None:
            return self.when
        return OnConnect() if self.is_on_connection else AtOpen()

    @property
    def _limit(self) -> int | None:
        if isinstance(self.times, EllipsisType):
            return 1 if self.legs is None else None
        return self.times

    @property
    def _ordinals(self) -> tuple[int, int | None, int] | None:
        match self.legs:
            case None:
                return None
            case int(only):
                return only, only, 1
            case range(start=first, stop=stop, step=step):
                return first, stop - 1, step
            case first, last:
                return first, last, 1

    @property
    def is_on_connection(self) -> bool:
        """Whether it strikes before HTTP/2 speaks."""
        return isinstance(self.action, ConnectionAction)

    def plain(self) -> dict[str, Any]:
        """Return the rule as the native server reads it."""
        if self.is_on_connection:
            return {"action": self.action.plain(), "connections": self._ordinals}
        return {
            "action": self.action.plain(),
            "when": self._trigger.plain(),
            "legs": self._ordinals,
            "times": self._limit,
            "scope": self.scope,
            "path": self.path,
        }
