"""The rules for the fields of actions and triggers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable  # noqa: TC003 - a dataclass's field
from dataclasses import dataclass
from typing import Any, ClassVar, Final


@dataclass(frozen=True)
class Rule:
    """A rule for the value of a field.

    Attributes:
        fits: whether a value keeps the rule.
        words: the rule, in words that go after "must be".
    """

    fits: Callable[[Any], bool]
    words: str


def rule_of(part: type[Any], field: str) -> Rule:
    """Return the rule for a field of an action or a trigger."""
    rule: Rule = part.__dataclass_fields__[field].metadata["rule"]
    return rule


# Limits of the server's counters and of HTTP/2's error codes.
MOST: Final = 2**63 - 1
_MOST_CODE: Final = 2**32 - 1
_DAY: Final = 86_400
# The most bytes in one event.
_MOST_PART: Final = 16 * 1024 * 1024 - 1024
_MOST_HEADER: Final = 1024


def is_whole(value: object, least: int, most: int) -> bool:
    """Return whether a value is a whole number from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _whole(least: int, most: int, what: str = "") -> Rule:
    upto = "on" if most == MOST else f"to {most}"
    return Rule(
        lambda value: is_whole(value, least, most), f"a whole number{what} from {least} {upto}"
    )


def _is_seconds(value: object, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and least <= value <= _DAY


def _is_word(value: object) -> bool:
    """Return whether a value can be a header's: one printable line of ASCII."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


SECONDS: Final = Rule(lambda value: _is_seconds(value, 0), f"a number of seconds from 0 to {_DAY}")
STEP_SECONDS: Final = Rule(
    lambda value: _is_seconds(value, 0.001), f"a number of seconds from 0.001 to {_DAY}"
)
COUNT: Final = _whole(0, MOST)
STEP: Final = _whole(1, MOST)
CODE: Final = _whole(0, _MOST_CODE)
STATUS: Final = Rule(lambda value: is_whole(value, 200, 599), "an HTTP status from 200 to 599")
SIZE: Final = _whole(1, _MOST_PART, " of bytes")
FLAG: Final = Rule(lambda value: isinstance(value, bool), "true or false")
TEXT: Final = Rule(lambda value: isinstance(value, str), "text")
BODY: Final = Rule(lambda value: value is None or isinstance(value, str), "text")
NAME: Final = Rule(
    lambda value: _is_word(value) and 0 < len(value) <= _MOST_HEADER, "a name in ASCII"
)
ERROR_TYPE: Final = Rule(
    lambda value: _is_word(value) and len(value) <= _MOST_HEADER, "a name in ASCII, or nothing"
)


def ruled(rule: Rule, **field: Any) -> Any:  # noqa: ANN401 - a field, whatever its type
    """Make a dataclass field whose values keep a rule."""
    return dataclasses.field(metadata={"rule": rule}, **field)


class Plain:
    """An action or a trigger, which the native server takes as plain data."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        """Check every field by its rule.

        Raises:
            ValueError: a value breaks it; the message names both.
        """
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass is one
            rule: Rule = field.metadata["rule"]
            value = getattr(self, field.name)
            if not rule.fits(value):
                name = f"{type(self).__name__}({field.name}={value!r})"
                raise ValueError(f"{name}: {field.name} must be {rule.words}")

    def plain(self) -> dict[str, Any]:
        """Return kind and fields, as the server reads them."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is one
        return {"kind": self.kind} | {field.name: getattr(self, field.name) for field in fields}
