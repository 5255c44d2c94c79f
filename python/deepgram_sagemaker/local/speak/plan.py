"""What is still to be said and sent on one stream, in order."""

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
        size: bytes of its audio, once it is made.
        sent: bytes of its audio that have been sent.
        cancelled: whether the rest is not to be sent.
        asked: when it was asked for, on the event loop's clock.
        announce: makes a message to send in front of its audio, from the seconds since it was
            asked for and the seconds that the voice took.
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
    """A message, made when its turn comes, because it may depend on what precedes it.

    Attributes:
        make: makes the message.
        survives: whether it is sent even if what precedes it is cancelled.
    """

    make: Callable[[], Message]
    survives: bool = False


@dataclass(eq=False, slots=True)
class End:
    """The stream ends."""


type Step = Say | Tell | End


class Plan:
    """Steps, in order."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque()
        self._current: Step | None = None

    def __bool__(self) -> bool:
        """Return whether there is something to do."""
        return bool(self._steps)

    @property
    def ends(self) -> bool:
        """Whether it has its end: nothing can be added."""
        return bool(self._steps) and isinstance(self._steps[-1], End)

    def add(self, *steps: Step) -> None:
        """Add steps at the end."""
        self._steps.extend(steps)

    def next(self) -> Step:
        """Begin the next step; the one before has ended."""
        self._current = self._steps.popleft()
        return self._current

    def cancel(self) -> None:
        """Drop the text that is not spoken, and the messages about it."""
        for step in (self._current, *self._steps):
            if isinstance(step, Say):
                step.cancelled = True
        self._steps = deque(
            step
            for step in self._steps
            if isinstance(step, End) or (isinstance(step, Tell) and step.survives)
        )
