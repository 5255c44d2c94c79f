"""One number of streams, for a while. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """A number of streams that there are for a while.

    Attributes:
        streams: How many.
        seconds: How long: whole seconds.
        opening: Seconds of these within which the number is reached. What is judged of delays comes
            after them.
        name: `up`, `hold`, `search` or `confirm`.
    """

    streams: int
    seconds: int
    opening: float
    name: str = "up"
