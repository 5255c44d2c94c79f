"""The rules that Python writes: the valid ones, and that the server knows all of them."""

import dataclasses
import json
import re
from typing import get_args

import pytest
from deepgram_sagemaker._native import LocalServer
from deepgram_sagemaker.cli import fault_rules
from deepgram_sagemaker.local import Fault, LocalEndpoint, faults
from deepgram_sagemaker.local.faults import (
    AfterAudio,
    AfterMessages,
    Answer,
    AtOpen,
    DelayAnswer,
    InternalStreamFailure,
    NeverAnswer,
    NeverTls,
    OnConnect,
    Outage,
    Reset,
    SlowTls,
    actions,
    fault,
)
from deepgram_sagemaker.wakeups import Hub

# Arguments for the fields that have no default.
ARGUMENTS = {
    "seconds": 1.0,
    "count": 3,
    "name": "CloseStream",
    "size": 100,
    "how": "garbage",
    "status": 503,
}


def every(base):
    """One instance of every public subclass."""
    kinds = [getattr(faults, name) for name in faults.__all__]
    for kind in kinds:
        if issubclass(kind, base) and kind is not base:
            required = [
                field.name
                for field in dataclasses.fields(kind)
                if field.default is dataclasses.MISSING
            ]
            yield kind(**{name: ARGUMENTS[name] for name in required})


def rules():
    for action in every(faults.Action):
        yield Fault(action)
    for action in every(faults.ConnectionAction):
        yield Fault(action, legs=(100, None))
    for trigger in every(faults.Trigger):
        if not isinstance(trigger, OnConnect):
            yield Fault(Reset(), when=trigger, legs=(100, None))
    for how in ("truncated", "oversized", "wrong_crc", "unknown_event", "not_utf8", "mixed_types"):
        yield Fault(faults.Malformed(how), when=AfterMessages(1))


async def test_the_server_knows_every_rule():
    written = list(rules())
    assert len(written) > 25
    async with LocalEndpoint(faults=written) as endpoint:
        assert endpoint.stats.opens == 0


def names_of_the_server(where, rule):
    """The names that the server would have taken in the place of one that is `?`."""
    settings = LocalEndpoint()._settings | {where: [rule]}
    said = ""
    try:
        LocalServer(json.dumps(settings), Hub.running().waker, 0).stop()
    except ValueError as error:
        said = str(error)
    # Where a name has no fields, the server looks at none.
    wrong, *known = re.findall(r"`([^`]*)`", said) or ["?"]
    assert wrong == "?", said
    return set(known)


RULE, CONNECTION_RULE = Fault(Reset()).plain(), Fault(NeverTls()).plain()

PLACES = [
    pytest.param(faults.Action, "faults", RULE, "action", id="actions"),
    pytest.param(faults.Trigger, "faults", RULE, "when", id="triggers"),
    pytest.param(
        faults.ConnectionAction, "connection_faults", CONNECTION_RULE, "action", id="connections"
    ),
]


@pytest.mark.parametrize(("base", "where", "rule", "place"), PLACES)
async def test_server_and_python_have_the_same_words(base, where, rule, place):
    # Which list a rule goes to says that it is for connections: the server has no such trigger.
    parts = [part.plain() for part in every(base) if not isinstance(part, OnConnect)]
    kinds = names_of_the_server(where, rule | {place: {"kind": "?"}})
    assert {part["kind"] for part in parts} == kinds
    for part in parts:
        fields = names_of_the_server(where, rule | {place: part | {"?": 0}})
        assert part.keys() - {"kind"} == fields, part["kind"]


async def test_server_and_python_have_the_same_rules():
    assert names_of_the_server("faults", RULE | {"?": 0}) == RULE.keys()
    connection_fields = names_of_the_server("connection_faults", CONNECTION_RULE | {"?": 0})
    assert connection_fields == CONNECTION_RULE.keys()
    scopes = set(get_args(fault.Scope.__value__))
    assert names_of_the_server("faults", RULE | {"scope": "?"}) == scopes
    malformed = RULE | {"action": {"kind": "malform", "how": "?"}}
    assert names_of_the_server("faults", malformed) == set(get_args(actions.How.__value__))
    # What people type, beside actions and triggers, which are looked up in the module.
    assert fault_rules._RULE.keys() == RULE.keys() - {"action", "when"}
    assert {fault_rules._scope(scope) for scope in scopes} == scopes
    assert {field.name for field in dataclasses.fields(Fault)} == RULE.keys()


def test_a_rule_is_plain_data():
    fault = Fault(Reset(7), when=AfterAudio(3.2), legs=2, times=None, scope="conversation")
    assert fault.plain() == {
        "action": {"kind": "reset", "code": 7},
        "when": {"kind": "audio", "seconds": 3.2},
        "legs": (2, 2, 1),
        "times": None,
        "scope": "conversation",
        "path": None,
    }
    slow = Fault(SlowTls(2.0), legs=(301, 350))
    assert slow.plain() == {
        "action": {"kind": "slow_tls", "seconds": 2.0},
        "connections": (301, 350, 1),
    }
    assert Fault(Reset(), legs=range(2, 9, 2)).plain()["legs"] == (2, 8, 2)
    assert Fault(Reset(), legs=(3, None)).plain()["legs"] == (3, None, 1)
    assert InternalStreamFailure("sorry").plain() == {
        "kind": "exception",
        "name": "InternalStreamFailure",
        "message": "sorry",
    }


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [({}, 1), ({"legs": (1, 3)}, None), ({"legs": (1, 3), "times": 2}, 2), ({"times": None}, None)],
)
def test_a_rule_strikes_once_or_on_each_leg_that_it_names(arguments, limit):
    assert Fault(Reset(), **arguments).plain()["times"] == limit


def test_when_defaults_to_where_the_action_belongs():
    assert Fault(Outage(1.0)).plain()["when"] == AtOpen().plain()
    assert Fault(NeverTls()).is_on_connection


@pytest.mark.parametrize(
    "arguments",
    [
        {"action": NeverTls(), "when": AtOpen()},
        {"action": Reset(), "when": OnConnect()},
        {"action": Answer(503), "when": AfterAudio(1.0)},
        {"action": NeverAnswer(), "when": AfterMessages(1)},
        {"action": DelayAnswer(1.0), "when": AfterMessages(1)},
        {"action": Reset(), "legs": 0},
        {"action": Reset(), "legs": (3, 2)},
        {"action": Reset(), "legs": range(5, 5)},
        {"action": Reset(), "legs": range(5, 2, -1)},
        {"action": Reset(), "times": 0},
    ],
)
def test_rules_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match=r"happen|legs|times"):
        Fault(**arguments)
