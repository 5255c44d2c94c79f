"""What a check is, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .case import Case

__all__ = ["Check", "FailedError", "Finding", "SkippedError", "State", "Told"]


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Told:
    """What a check that passed has to say.

    Attributes:
        why: What was found, in one line.
        facts: The same for programs. Contains no keys.
    """

    why: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class FailedError(Exception):
    """A check failed.

    Args:
        why: What was found, in one line.
        advice: What to do about it; None: the check's own advice.
        facts: What was found, for programs.
    """

    def __init__(self, why: str, advice: str | None = None, **facts: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(why)
        self.why = why
        self.advice = advice
        self.facts = facts


class SkippedError(Exception):
    """A check could not be made, which is no failure.

    Args:
        why: The reason, in one line.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    Attributes:
        name: Its name.
        examine: Looks. Raises `FailedError` or `SkippedError` if it does not pass.
        advice: What to do if it fails and nothing better is known.
        needs: The checks that must not have failed.
    """

    name: str
    examine: Callable[[Case], Awaitable[Told]]
    advice: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a check.

    Attributes:
        name: The check's name.
        state: How it ended.
        why: What was found, in one line.
        advice: What to do about it; empty unless it failed.
        seconds: The time that it took.
        facts: What was found, for programs.
    """

    name: str
    state: State
    why: str
    advice: str
    seconds: float
    facts: Mapping[str, Any]
