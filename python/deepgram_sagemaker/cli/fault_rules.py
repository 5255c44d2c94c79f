"""Faults as they are written on a command line.

    ACTION [NAME=VALUE ...]

The action is a class of `deepgram_sagemaker.local.faults`, written `end-early` for `EndEarly`. A
name is a field of the action, a trigger with its value, or the rule's `legs`, `times`, `scope` or
`path`:

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

from deepgram_sagemaker.local.faults import (
    Action,
    AtOpen,
    ConnectionAction,
    Fault,
    OnConnect,
    Trigger,
)
from deepgram_sagemaker.local.faults.actions import ANSWERS
from deepgram_sagemaker.local.faults.fault import is_path
from deepgram_sagemaker.local.faults.values import MOST, is_whole, rule_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["FaultRuleError", "actions", "longer_by_one", "parse_fault", "triggers"]


class FaultRuleError(ValueError):
    """The text is no fault rule; the message says what would be right."""


def _concrete(base: type[Any]) -> Iterator[type[Any]]:
    for cls in base.__subclasses__():
        if dataclasses.is_dataclass(cls):
            yield cls
        yield from _concrete(cls)


def _by_name(*bases: type[Any]) -> dict[str, type[Any]]:
    return {_typed(cls.__name__): cls for base in bases for cls in _concrete(base)}


def _typed(class_name: str) -> str:
    """Return the name under which a class is looked up: `end_early` for `EndEarly`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name).lower()


def actions() -> Mapping[str, type[Action | ConnectionAction]]:
    """Return every action by the name that a rule starts with."""
    return _by_name(Action, ConnectionAction)


def triggers() -> Mapping[str, type[Trigger]]:
    """Return every trigger by its name in a rule."""
    return _by_name(Trigger)


def parse_fault(text: str) -> Fault:
    """Read one rule.

    Raises:
        FaultRuleError: it is malformed, or its parts do not go together.
    """
    try:
        written, *parts = shlex.split(text)
    except ValueError:
        raise FaultRuleError(
            f"{text!r} is no fault: write ACTION NAME=VALUE ..., such as 'reset after-audio=3.2'"
        ) from None
    action_type = actions().get(_name(written))
    if action_type is None:
        raise FaultRuleError(f"{written!r} is no action: {_listed(actions())}")
    try:
        return _fault(action_type, parts)
    except _WrongPartError as wrong:
        raise FaultRuleError(f"{text!r} is no fault: {wrong}") from None


def longer_by_one(text: str) -> Iterator[str]:
    """Yield each way in which the beginning of a rule may go on, up to a part's `=`."""
    before, space, _ = text.rpartition(" ")
    if not space:
        yield from (_shown(name) for name in actions())
        return
    action_type = actions().get(_name(before.split()[0]))
    if action_type is None:
        return
    on_connections = issubclass(action_type, ConnectionAction)
    takes_value = dict.fromkeys([*_fields(action_type), *_RULE], True)
    takes_value |= {name: bool(_fields(trigger)) for name, trigger in triggers().items()}
    for name, value in takes_value.items():
        if on_connections and name in _OF_STREAMS:
            continue
        trigger = triggers().get(name)
        if trigger is not None and on_connections != issubclass(trigger, OnConnect):
            continue
        if trigger is not None and issubclass(action_type, ANSWERS) and trigger is not AtOpen:
            continue
        yield f"{before} {_shown(name)}{'=' if value else ''}"


class _WrongPartError(ValueError):
    """A part of a rule breaks its own rule."""


def _fault(action_type: type[Action | ConnectionAction], parts: list[str]) -> Fault:
    kind = _shown(_typed(action_type.__name__))
    own = _fields(action_type)
    given: dict[str, Any] = {}
    rule: dict[str, Any] = {}
    triggered = ""
    for part in parts:
        written, equals, typed = part.partition("=")
        value = typed if equals else None
        name = _name(written)
        if name in given or name in rule or (triggered and name == _name(triggered)):
            raise _WrongPartError(f"{written!r} is given twice")
        if name in own:
            given[name] = _value(action_type, own[name], written, value)
        elif name in _RULE:
            rule[name] = _checked(_RULE[name], written, value)
        elif name in triggers():
            if triggered:
                raise _WrongPartError(f"{written!r} is a second trigger, beside {triggered!r}")
            triggered = written
            rule["when"] = _trigger(triggers()[name], written, value)
        else:
            names = [*own, *triggers(), *_RULE]
            raise _WrongPartError(f"{written!r} means nothing to {kind!r}: {_listed(names)}")
    for name, field in own.items():
        if name not in given and field.default is dataclasses.MISSING:
            words = rule_of(action_type, name).words
            raise _WrongPartError(f"{kind!r} needs {_shown(name)}=VALUE, {words}")
    _check_together(kind, action_type, rule, triggered)
    return Fault(action_type(**given), **rule)


def _check_together(
    kind: str,
    action_type: type[Action | ConnectionAction],
    rule: Mapping[str, Any],
    triggered: str,
) -> None:
    """Refuse a trigger or a field that does not go with the action."""
    on_connections = issubclass(action_type, ConnectionAction)
    if triggered and on_connections != isinstance(rule["when"], OnConnect):
        what = "connections" if on_connections else "streams"
        raise _WrongPartError(
            f"{kind!r} strikes {what}, and {triggered!r} is about "
            f"{'streams' if on_connections else 'connections'}: leave it out"
        )
    if triggered and issubclass(action_type, ANSWERS) and not isinstance(rule["when"], AtOpen):
        raise _WrongPartError(
            f"{kind!r} strikes when a stream opens (AtOpen), and {triggered!r} comes later: leave "
            "it out"
        )
    for name in _OF_STREAMS:
        if on_connections and name in rule:
            raise _WrongPartError(
                f"{kind!r} strikes connections, and {name!r} is about streams: say which "
                "connections by legs=1-2"
            )


def _name(written: str) -> str:
    return written.replace("-", "_").lower()


def _shown(name: str) -> str:
    return name.replace("_", "-")


def _listed(names: Mapping[str, Any] | list[str]) -> str:
    return "one of " + ", ".join(sorted(_shown(name) for name in names))


def _fields(part: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(part)}


def _trigger(trigger_type: type[Trigger], written: str, value: str | None) -> Trigger:
    fields = _fields(trigger_type)
    if not fields:
        if value is not None:
            raise _WrongPartError(f"{written!r} takes no value")
        return trigger_type()
    (field,) = fields.values()
    return trigger_type(**{field.name: _value(trigger_type, field, written, value)})


_WHOLE: Final = re.compile(r"-?[0-9]{1,30}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{0,30})?")


def _int(value: str) -> int:
    if not _WHOLE.fullmatch(value):
        raise ValueError(value)
    return int(value)


def _float(value: str) -> float:
    if not _NUMBER.fullmatch(value):
        raise ValueError(value)
    return float(value)


def _ordinal(value: str) -> int:
    number = _int(value)
    if not is_whole(number, 1, MOST):
        raise ValueError(value)
    return number


def _legs(value: str) -> tuple[int, int | None]:
    written_first, dash, written_last = value.partition("-")
    first = _ordinal(written_first)
    if not dash:
        return first, first
    if not written_last:
        return first, None
    last = _ordinal(written_last)
    if last < first:
        raise ValueError(value)
    return first, last


def _times(value: str) -> int | None:
    return None if value.lower() == "always" else _ordinal(value)


def _scope(value: str) -> str:
    if value not in {"endpoint", "conversation"}:
        raise ValueError(value)
    return value


def _path(value: str) -> str:
    if not is_path(value):
        raise ValueError(value)
    return value


def _bool(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()]


_RULE: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "legs": (_legs, "a number, or a range such as 1-2 or 3-, and 1 is the first"),
    "times": (_times, "a number, or always, and 1 is the least"),
    "scope": (_scope, "endpoint or conversation"),
    "path": (_path, "an invocation path such as v1/listen"),
}

_OF_STREAMS: Final = ("times", "scope", "path")
"""Fields of a rule that a fault of connections does not have."""

# By the fields' types; any other is text.
_TYPES: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "How": _name,
}


def _value(part: type[Any], field: dataclasses.Field[Any], written: str, value: str | None) -> Any:  # noqa: ANN401 - of the field's type
    rule = rule_of(part, field.name)

    def read(value: str) -> Any:  # noqa: ANN401 - likewise
        typed = _TYPES.get(str(field.type), str)(value)
        if not rule.fits(typed):
            raise ValueError(value)
        return typed

    return _checked((read, rule.words), written, value)


def _checked(reader: tuple[Callable[[str], Any], str], written: str, value: str | None) -> Any:  # noqa: ANN401 - of the reader's type
    read, words = reader
    if value is None:
        raise _WrongPartError(f"{written!r} needs a value: {written}=VALUE, {words}")
    try:
        return read(value)
    except (ValueError, KeyError):
        raise _WrongPartError(f"{written}={value}: must be {words}") from None
