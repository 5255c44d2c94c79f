"""Faults as they are typed, and what a mistyped one is told."""

import pytest
from deepgram_sagemaker.cli.fault_rules import FaultRuleError, actions, parse_fault, triggers
from deepgram_sagemaker.local.faults import (
    AfterAudio,
    AfterNewChunks,
    Answer,
    Drop,
    EndEarly,
    Fault,
    GoAway,
    ModelStreamError,
    NeverTls,
    OnMessage,
    OnNextOpen,
    Reset,
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
        ("reset after-audio=1 legs=3-2", "is no fault: legs"),
    ],
)
def test_a_mistyped_rule_is_told_what_would_be_right(text, reason):
    with pytest.raises(FaultRuleError, match=reason):
        parse_fault(text)


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
