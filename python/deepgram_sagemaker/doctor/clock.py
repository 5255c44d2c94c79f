"""This machine's clock against AWS's."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from .control_plane import MOST_SKEW, RefusedError, answer_of, refuse_elsewhere
from .findings import FailedError, SkippedError, Told

if TYPE_CHECKING:
    from .case import Case

__all__ = ["clock"]

_MINUTE: Final = 60


async def clock(case: Case) -> Told:
    """Compare the Date of AWS's answers with this machine's clock."""
    if not case.ages:
        await refuse_elsewhere(case, "AWS_ENDPOINT_URL_STS", "STS, whose answers have a Date,")
        # Without a signature it is refused, and the refusal has a Date.
        with suppress(RefusedError):
            await answer_of(case, "sts", "get_caller_identity", signed=False)
        if not case.ages:
            raise SkippedError("the answer has no Date")
    # Answers that took long look ahead by less than they are: the nearest is the best.
    ahead = min(case.ages, key=abs)
    facts = {"server_ahead_seconds": round(ahead, 1)}
    if abs(ahead) > MOST_SKEW:
        direction = "behind" if ahead > 0 else "ahead of"
        raise FailedError(
            f"this machine's clock is {abs(ahead) / _MINUTE:.0f} minutes {direction} AWS's; "
            f"signatures are accepted up to {MOST_SKEW / _MINUTE:.0f} minutes",
            server_ahead_seconds=facts["server_ahead_seconds"],
        )
    return Told(f"within {max(1, round(abs(ahead)))} s of AWS's", facts)
