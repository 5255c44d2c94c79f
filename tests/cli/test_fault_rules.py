"""Faults as people type them, and the errors of mistyped ones."""

import dataclasses
import re

import pytest
from deepgram_sagemaker.cli.fault_rules import FaultRuleError, actions, parse_fault, triggers
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterAudio,
    AfterNewChunks,
    Answer,
    AtOpen,
    ConnectionAction,
    Drop,
    EndEarly,
    Fault,
    GoAway,
    Malformed,
    ModelStreamError,
    NeverTls,
    OnConnect,
    OnMessage,
    OnNextOpen,
    Reset,
    Split,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("reset after-audio=3.2", Fault(Reset(), AfterAudio(3.2))),
        ("reset code=7 after-audio=3", Fault(Reset(7), AfterAudio(3.0))),
        (
            "answer status=429 error_type=ThrottlingException legs=1-2",
            Fault(Answer(429, "ThrottlingException"), legs=(1, 2)),
        ),
        (
            "answer status=503 message='come back later' legs=3-",
            Fault(Answer(503, message="come back later"), legs=(3, None)),
        ),
        ("drop after-new-chunks=50 times=always", Fault(Drop(), AfterNewChunks(50), times=None)),
        ("END-EARLY on-message=CloseStream", Fault(EndEarly(), OnMessage("CloseStream"))),
        ("go_away covers=false on-next-open", Fault(GoAway(covers=False), OnNextOpen())),
        (
            "model-stream-error code=1008 after-audio=1 times=3 scope=conversation path=v1/listen",
            Fault(
                ModelStreamError("1008"),
                AfterAudio(1.0),
                times=3,
                scope="conversation",
                path="v1/listen",
            ),
        ),
        ("never-tls legs=1", Fault(NeverTls(), legs=(1, 1))),
    ],
)
def test_a_rule_says_what_when_and_how_often(text, expected):
    assert parse_fault(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "write ACTION NAME=VALUE"),
        ("reset 'after-audio=3", "write ACTION NAME=VALUE"),
        ("explode", "'explode' is no action: one of answer, delay-answer, drop"),
        ("reset loudly=1", "'loudly' means nothing to 'reset': one of after-audio, after-bytes"),
        ("reset after-audio", "'after-audio' needs a value: after-audio=VALUE"),
        ("reset on-next-open=1", "'on-next-open' takes no value"),
        ("reset after-audio=soon", "after-audio=soon: must be a number"),
        ("reset code=7.5", "code=7.5: must be a whole number"),
        ("go-away covers=maybe after-audio=1", "covers=maybe: must be true or false"),
        ("reset after-audio=1 legs=a", "legs=a: must be a number, or a range"),
        ("reset after-audio=1 times=often", "times=often: must be a number, or always"),
        ("reset after-audio=1 scope=world", "scope=world: must be endpoint or conversation"),
        ("answer after-audio=1", "is no fault: .*status"),
        ("answer status=500 after-audio=1", "is no fault: .*AtOpen"),
        ("never-tls after-audio=1", "is no fault"),
        ("reset after-audio=1 legs=3-2", "is no fault: legs=3-2: must be a number, or a range"),
        ("split times=always", "'split' needs size=VALUE, a whole number of bytes from 1 to"),
        ("answer", "'answer' needs status=VALUE, an HTTP status from 200 to 599"),
        ("answer status=9999", "status=9999: must be an HTTP status from 200 to 599"),
        ("answer status", "'status' needs a value: status=VALUE, an HTTP status"),
        ("answer status=500 error-type='a\nb'", "must be a name in ASCII, or nothing"),
        ("reset after-audio=-1", "after-audio=-1: must be a number of seconds from 0 to 86400"),
        ("reset after-audio=nan", "after-audio=nan: must be a number of seconds"),
        ("reset after-audio=1e3", "after-audio=1e3: must be a number of seconds"),
        ("reset after-bytes=1_0", "after-bytes=1_0: must be a whole number"),
        ("reset code=-1", "code=-1: must be a whole number from 0 to 4294967295"),
        ("reset after-new-chunks=0", "after-new-chunks=0: must be a whole number from 1 on"),
        ("malformed", "'malformed' needs how=VALUE, one of garbage, mixed-types"),
        ("malformed how=badly", "how=badly: must be one of garbage, mixed-types"),
        ("reset on-message=", "on-message=: must be a name in ASCII"),
        ("reset on-message", "'on-message' needs a value: on-message=VALUE, a name in ASCII"),
        ("in-band-exception", "'in-band-exception' needs name=VALUE, a name in ASCII"),
        ("reset legs=0", "legs=0: must be a number, or a range"),
        ("reset legs=-2", "legs=-2: must be a number, or a range"),
        ("reset legs=1-2-3", "legs=1-2-3: must be a number, or a range"),
        ("reset legs", "'legs' needs a value: legs=VALUE, a number, or a range"),
        ("reset times=0", "times=0: must be a number, or always, and 1 is the least"),
        (f"reset times={2**63}", "times=9223372036854775808: must be a number, or always"),
        ("reset path=/v1/listen", "path=/v1/listen: must be an invocation path such as v1/listen"),
        ("reset path=", "path=: must be an invocation path"),
        ("reset code=1 code=2", "'code' is given twice"),
        ("reset after-audio=1 after_audio=2", "'after_audio' is given twice"),
        ("reset times=1 times=2", "'times' is given twice"),
        ("reset =1", "'' means nothing to 'reset'"),
        ("reset after-audio=1 after-bytes=2", "'after-bytes' is a second trigger, beside 'after-"),
        ("reset on-connect", "'reset' strikes streams, and 'on-connect' is about connections"),
        ("never-tls at-open", "'never-tls' strikes connections, and 'at-open' is about streams"),
        ("never-tls times=2", "'never-tls' strikes connections, and 'times' is about streams"),
        ("delay-answer seconds=1 on-next-open", "'delay-answer' strikes when a stream opens"),
    ],
)
def test_a_mistyped_rule_is_told_what_would_be_right(text, reason):
    with pytest.raises(FaultRuleError, match=reason):
        parse_fault(text)


# A wrong value for each kind of field; no field takes one of these of another kind by chance.
WRONG = {
    "int": ["", "x", "-1", "1.5", "1e3", "\u0661", str(2**64), "nan", "true"],
    "float": ["", "x", "-0.1", "inf", "-inf", "nan", "1e3", "1_0", "86401", "true", "\u0661"],
    "bool": ["", "x", "1", "0", "yes", "truee"],
    "_How": ["", "x", "1", "wrong crc"],
}
NEEDS = (
    {"split": ["size=5"], "answer": ["status=429"], "malformed": ["how=garbage"]}
    | {
        "in-band-exception": ["name=A"],
    }
    | {late: ["seconds=1"] for late in ("late", "outage", "delay-answer", "slow-tls")}
)


def written(name):
    return name.replace("_", "-")


def mistakes():
    """Every field of every action and trigger with every wrong value, and without one."""
    for name, part in actions().items():
        kind = written(name)
        needed = NEEDS.get(kind, [])
        yield f"{kind} nonsense=1", "nonsense"
        yield " ".join([kind, *needed, "times=1", "times=1"]), "times"
        for field in dataclasses.fields(part):
            others = [word for word in needed if not word.startswith(f"{field.name}=")]
            if field.default is dataclasses.MISSING:
                yield " ".join([kind, *others]), f"{field.name}=VALUE"
            for word in (written(field.name), *wrong_values(field)):
                yield " ".join([kind, *others, word]), word
    for name, part in triggers().items():
        kind = "never-tls" if name == "on_connect" else "end-early"
        fields = dataclasses.fields(part)
        for field in fields:
            for word in (written(name), *wrong_values(field, name)):
                yield f"{kind} {word}", word
        if not fields:
            yield f"{kind} {written(name)}=1", written(name)
    for wrong in ("legs", "legs=", "legs=x", "legs=0", "legs=2-1", "legs=1.5", f"legs={2**64}"):
        yield f"reset {wrong}", wrong
    for wrong in ("times", "times=", "times=x", "times=0", "times=-1", f"times={2**64}"):
        yield f"reset {wrong}", wrong
    for wrong in ("scope", "scope=", "scope=x", "path", "path=", "path=/x", "path=a//b"):
        yield f"reset {wrong}", wrong


def wrong_values(field, name=None):
    return [f"{written(name or field.name)}={value!s}" for value in WRONG.get(field.type, [])]


# What a constructor, or the server's reader of settings, would say.
FOREIGN = re.compile(r"__|argument|positional|unexpected|literal|invalid|Ellipsis|\(\)|object|None")


def test_no_mistake_is_answered_with_a_complaint_of_python_s():
    for text, named in mistakes():
        quoted = text.replace("=wrong crc", "='wrong crc'")
        with pytest.raises(FaultRuleError) as raised:
            parse_fault(quoted)
        told = str(raised.value)
        assert named.partition("=")[0] in told
        assert not FOREIGN.search(told), told


def typed_well():
    """Every action with every trigger that goes with it."""
    for name, part in actions().items():
        kind = written(name)
        needed = NEEDS.get(kind, [])
        yield " ".join([kind, *needed, "legs=1-2"])
        for trigger_name, trigger in triggers().items():
            (field,) = dataclasses.fields(trigger) or (None,)
            value = "" if field is None else "=A" if field.type == "str" else "=3"
            word = written(trigger_name) + value
            on_connection = issubclass(part, ConnectionAction)
            if on_connection != (trigger is OnConnect):
                continue
            if kind in ("answer", "never-answer", "delay-answer") and trigger is not AtOpen:
                continue
            yield " ".join([kind, *needed, word])


def test_what_goes_together_is_taken_by_the_endpoint():
    with LocalEndpoint(faults=[parse_fault(text) for text in typed_well()]) as endpoint:
        assert endpoint.stats.faults == 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda: Split("always"), r"Split\(size='always'\): size must be a whole number of bytes"),
        (lambda: Split(0), "size must be a whole number of bytes from 1"),
        (lambda: AfterAudio(float("nan")), "seconds must be a number of seconds"),
        (lambda: AfterAudio(True), "seconds must be a number of seconds"),
        (lambda: Answer(9999), "status must be an HTTP status"),
        (lambda: Malformed("badly"), "how must be one of"),
        (lambda: OnMessage(""), "name must be a name"),
        (lambda: Drop(rst="yes"), "rst must be true or false"),
        (lambda: Fault("reset"), "action is one of"),
        (lambda: Fault(Reset(), "after-audio"), "when is one of"),
        (lambda: Fault(Reset(), legs="1-2"), "legs are some of"),
        (lambda: Fault(Reset(), legs=(2, 1)), "legs are some of"),
        (lambda: Fault(Reset(), legs=range(3, 1)), "legs are some of"),
        (lambda: Fault(Reset(), times="always"), "times is at least 1"),
        (lambda: Fault(Reset(), times=1.5), "times is at least 1"),
        (lambda: Fault(Reset(), scope="world"), "scope is 'endpoint' or 'conversation'"),
        (lambda: Fault(Reset(), path="/v1/listen"), "path is an invocation path"),
    ],
)
def test_the_parts_check_themselves(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        wrong()


def test_every_action_and_trigger_of_the_endpoint_can_be_typed():
    import deepgram_sagemaker.local.faults as faults

    declared = {getattr(faults, name) for name in faults.__all__}
    typed = {*actions().values(), *triggers().values()}
    assert typed == {
        part
        for part in declared
        if isinstance(part, type)
        and issubclass(part, faults.Action | faults.ConnectionAction | faults.Trigger)
        and part not in {faults.Action, faults.ConnectionAction, faults.Trigger}
    }
