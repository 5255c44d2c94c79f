"""The rules that Python writes: which make sense, and that the server knows every one of them."""

import dataclasses

import pytest
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
)

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
