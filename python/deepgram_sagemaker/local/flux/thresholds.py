"""The thresholds that decide when a turn ends: from the query, changed by `Configure`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.local.query import last

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deepgram_sagemaker.local.query import Query

__all__ = ["Thresholds", "ThresholdsError"]

_FIELDS: Final = ("eager_eot_threshold", "eot_threshold", "eot_timeout_ms")
# At 1.0 only `ForceEndTurn` and the time-out end a turn.
_RANGES: Final = {
    "eager_eot_threshold": (0.3, 0.9),
    "eot_threshold": (0.5, 1.0),
    "eot_timeout_ms": (500, 60_000),
}


class ThresholdsError(ValueError):
    """A value is not a threshold, or two thresholds do not go together."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How sure the model must be that a turn has ended.

    Attributes:
        eager_eot_threshold: for EagerEndOfTurn; None: it is never sent.
        eot_threshold: for EndOfTurn.
        eot_timeout_ms: milliseconds of silence that end a turn in any case.
    """

    eager_eot_threshold: float | None = None
    eot_threshold: float = 0.7
    eot_timeout_ms: int = 5_000

    @classmethod
    def parse(cls, query: Query) -> Thresholds:
        """Read the thresholds of a query.

        Raises:
            ThresholdsError: a value is malformed or out of range; the message names both.
        """
        given: dict[str, object] = {}
        for name in _FIELDS:
            value = last(query, name)
            if value is not None:
                given[name] = _number(name, value)
        return cls().changed(given)

    def changed(self, given: Mapping[str, Any]) -> Thresholds:
        """Return these thresholds with changes.

        Raises:
            ThresholdsError: a change is unknown, no number, out of range, or above another
                threshold.
        """
        for name, value in given.items():
            if name not in _RANGES:
                raise ThresholdsError(f"{name}: is no threshold")
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ThresholdsError(f"{name}={value}: must be a number")
            lowest, highest = _RANGES[name]
            if not lowest <= value <= highest:
                raise ThresholdsError(f"{name}={value}: must be from {lowest} to {highest}")
        new = replace(self, **dict(given))
        if new.eager_eot_threshold is not None and new.eager_eot_threshold > new.eot_threshold:
            raise ThresholdsError(
                f"eager_eot_threshold={new.eager_eot_threshold}: must not be above "
                f"eot_threshold={new.eot_threshold}"
            )
        return new

    def plain(self) -> dict[str, float]:
        """Return the thresholds as `ConfigureSuccess` has them."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return {name: value for name, value in values.items() if value is not None}


def _number(name: str, value: str) -> float | int:
    try:
        return int(value) if name == "eot_timeout_ms" else float(value)
    except ValueError:
        raise ThresholdsError(f"{name}={value}: must be a number") from None
