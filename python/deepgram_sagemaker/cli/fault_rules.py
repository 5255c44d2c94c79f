"""Faults as they are written on a command line.

    ACTION [NAME=VALUE ...]

The action is one of `deepgram_sagemaker.local.faults`, written `end-early` for `EndEarly`. A name
is one of the action's own fields, a trigger with its value, or `legs`, `times`, `scope` or `path`
of the rule:

    reset after-audio=3.2
    answer status=429 error-type=ThrottlingException legs=1-2
    drop after-new-chunks=50 times=always
    end-early on-message=CloseStream
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.local.faults import Action, ConnectionAction, Fault, Trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["FaultRuleError", "actions", "parse_fault", "triggers"]


class FaultRuleError(ValueError):
    """The text is no fault rule; the message says what would be."""


def _concrete(base: type[Any]) -> Iterator[type[Any]]:
    for cls in base.__subclasses__():
        if dataclasses.is_dataclass(cls):
            yield cls
        yield from _concrete(cls)


def _by_name(*bases: type[Any]) -> dict[str, type[Any]]:
    return {_typed(cls.__name__): cls for base in bases for cls in _concrete(base)}


def _typed(class_name: str) -> str:
    """`EndEarly` as it is looked up: `end_early`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()


def actions() -> Mapping[str, type[Action | ConnectionAction]]:
    """Every action by the name that a rule starts with."""
    return _by_name(Action, ConnectionAction)


def triggers() -> Mapping[str, type[Trigger]]:
    """Every trigger by its name in a rule."""
    return _by_name(Trigger)


def parse_fault(text: str) -> Fault:
    """Read one rule.

    Raises:
        FaultRuleError: it is malformed, or its parts do not go together.
    """
    try:
        kind, *rest = shlex.split(text)
    except ValueError:
        raise FaultRuleError(
            f"{text!r} is no fault: write ACTION NAME=VALUE ..., such as 'reset after-audio=3.2'"
        ) from None
    action_type = actions().get(_name(kind))
    if action_type is None:
        raise FaultRuleError(f"{kind!r} is no action: {_listed(actions())}")
    own = {field.name: str(field.type) for field in _fields(action_type)}
    given: dict[str, Any] = {}
    rule: dict[str, Any] = {}
    for part in rest:
        written, equals, value = part.partition("=")
        name = _name(written)
        if name in own:
            given[name] = _value(own[name], written, value)
        elif name in _RULE:
            rule[name] = _checked(_RULE[name], written, value)
        elif name in triggers() and "when" not in rule:
            rule["when"] = _trigger(triggers()[name], written, value if equals else None)
        else:
            names = [*own, *triggers(), *_RULE]
            raise FaultRuleError(f"{written!r} means nothing to {kind!r}: {_listed(names)}")
    try:
        return Fault(action_type(**given), **rule)
    except (TypeError, ValueError) as error:
        # A TypeError is a field of the action that was not given.
        raise FaultRuleError(f"{text!r} is no fault: {error}") from None


def _name(written: str) -> str:
    return written.replace("-", "_").lower()


def _listed(names: Mapping[str, Any] | list[str]) -> str:
    return "one of " + ", ".join(sorted(name.replace("_", "-") for name in names))


def _fields(part: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(part)


def _trigger(trigger_type: type[Trigger], written: str, value: str | None) -> Trigger:
    fields = _fields(trigger_type)
    if (value is not None) != bool(fields):
        wanted = f"needs a value: {written}=VALUE" if fields else "takes no value"
        raise FaultRuleError(f"{written!r} {wanted}")
    if value is None:
        return trigger_type()
    field = fields[0]
    return trigger_type(**{field.name: _value(str(field.type), written, value)})


def _legs(value: str) -> tuple[int, int | None]:
    first, dash, last = value.partition("-")
    if not dash:
        return int(first), int(first)
    return int(first), int(last) if last else None


def _times(value: str) -> int | None:
    return None if value == "always" else int(value)


def _scope(value: str) -> str:
    if value not in {"endpoint", "conversation"}:
        raise ValueError(value)
    return value


def _bool(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()]


_RULE: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "legs": (_legs, "a number, or a range such as 1-2 or 3-"),
    "times": (_times, "a number, or always"),
    "scope": (_scope, "endpoint or conversation"),
    "path": (str, "an invocation path"),
}

_TYPES: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (_bool, "true or false"),
}


def _value(type_name: str, written: str, value: str) -> Any:  # noqa: ANN401 - of that type
    return _checked(_TYPES.get(type_name, (str, "text")), written, value)


def _checked(reader: tuple[Callable[[str], Any], str], written: str, value: str) -> Any:  # noqa: ANN401 - of the reader's type
    read, rule = reader
    try:
        return read(value)
    except (ValueError, KeyError):
        raise FaultRuleError(f"{written}={value}: must be {rule}") from None
