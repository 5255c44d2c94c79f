"""What is still to be said and told on one stream, in order."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepgram_sagemaker.local.controls import Message

__all__ = [
    "End",
    "Plan",
    "Say",
    "Step",
    "Tell",
]


@dataclass(eq=False, slots=True)
class Say:
    """A stretch of text to speak.

    Attributes:
        text: the stretch.
        speed: 1.0 is the voice's own.
        size: bytes of its audio, once it has been spoken.
        sent: bytes of them that are on their way to the client.
        cancelled: nothing more of it is to be sent.
        asked: when it was asked for, on the event loop's clock.
        announce: makes a message for when its audio is there, in front of it, from the seconds
            since it was asked for and those that the voice took.
    """

    text: str
    speed: float = 1.0
    size: int = 0
    sent: int = 0
    cancelled: bool = False
    asked: float = 0.0
    announce: Callable[[float, float], Message] | None = None


@dataclass(eq=False, slots=True)
class Tell:
    """A message, made when its turn comes: what it says may depend on what was said before it.

    Attributes:
        make: makes it.
        survives: whether it is told even when what precedes it is cancelled.
    """

    make: Callable[[], Message]
    survives: bool = False


@dataclass(eq=False, slots=True)
class End:
    """The stream ends."""


type Step = Say | Tell | End


class Plan:
    """Steps in the order in which they are to be taken."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque()
        self._current: Step | None = None

    def __bool__(self) -> bool:
        """Whether there is something to do."""
        return bool(self._steps)

    @property
    def ends(self) -> bool:
        """Whether the end is in it, so that nothing can be added any more."""
        return bool(self._steps) and isinstance(self._steps[-1], End)

    def add(self, *steps: Step) -> None:
        """Add steps at the end."""
        self._steps.extend(steps)

    def next(self) -> Step:
        """Begin the next step, which ends the one before."""
        self._current = self._steps.popleft()
        return self._current

    def cancel(self) -> None:
        """Drop what was to be said, and what was to be told about that."""
        for step in (self._current, *self._steps):
            if isinstance(step, Say):
                step.cancelled = True
        self._steps = deque(
            step
            for step in self._steps
            if isinstance(step, End) or (isinstance(step, Tell) and step.survives)
        )
