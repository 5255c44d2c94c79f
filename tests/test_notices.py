"""The log's lines: one for each kind of event, with the event's fields as attributes."""

import logging
from typing import get_args

import pytest
from deepgram_sagemaker import events
from deepgram_sagemaker.notices import LINES, line, log
from deepgram_sagemaker.stats import Stats

KINDS = set(get_args(events.Event))

COMMON = {
    "session": "0123456789abcdef",
    "path": "v1/listen",
    "endpoint_name": "ep",
    "region": "us-west-2",
    "time": 1_700_000_000.25,
    "monotonic": 12.5,
}


def an(of, /, **fields):
    return of(**COMMON, **fields)


def ended(leg, kind, said, failures, seconds_unacknowledged):
    return an(
        events.LegEnded,
        leg=leg,
        role="current",
        kind=kind,
        reason="reset",
        said=said,
        failures=failures,
        resumes=True,
        seconds=2.0,
        seconds_unacknowledged=seconds_unacknowledged,
    )


SAID = [
    (
        ended(0, "reset", "the stream was reset (HTTP/2 error 2)", 1, 1.7),
        (
            "leg 0 ended: the stream was reset (HTTP/2 error 2); opening another (failure 1 in a "
            "row, 1.700 s of audio to send again)"
        ),
    ),
    (
        ended(
            3,
            "exception",
            "ExpiredTokenException: The security token included in the request is expired",
            0,
            0.5,
        ),
        (
            "leg 3 ended: ExpiredTokenException: The security token included in the request is "
            "expired; opening another with fresh keys (0.500 s of audio to send again)"
        ),
    ),
    (
        an(events.Resumed, leg=1, seconds_replayed=0.5, bytes_replayed=9, is_first=True),
        (
            "the session goes on over leg 1: times continue; request ids and speakers' numbers "
            "start again"
        ),
    ),
    (an(events.RolledOver, leg=2), "leg 2 took over from an old one"),
    (
        an(events.Gap, start_seconds=3.0, seconds=0.98, size=31360),
        (
            "0.980000 s of audio from 3.000000 s (31360 bytes) had to be sent again and were no "
            "longer kept (max_replay_buffer_bytes): they are lost"
        ),
    ),
    (
        an(events.Gap, start_seconds=1.5, seconds=3.5, size=3500),
        (
            "3.500000 s of audio from 1.500000 s (3500 bytes) had to be sent again and were no "
            "longer kept (max_replay_buffer_bytes): they are lost"
        ),
    ),
    (
        an(events.SpeechJoined, at_seconds=0.42, moved_seconds=0.013),
        (
            "the speech was synthesised again and is not the same: joined 0.420 s into the turn, "
            "which the new one says 0.013 s earlier"
        ),
    ),
    (
        an(events.NotResumable, limit=8388608),
        (
            "the audio's rate is unknown and the audio has outgrown 8388608 bytes "
            "(max_replay_buffer_bytes): this session cannot be resumed any more"
        ),
    ),
    (
        an(events.ErrorOutlived, leg=0),
        "leg 0: the service sent an Error message and went on; it is delivered",
    ),
    (
        an(events.MessageLeftOut, leg=0, message_type="Configure"),
        "leg 0: the service does not take a Configure message: the session goes on without it",
    ),
    (
        an(events.MessageLeftOut, leg=0, message_type=None),
        (
            "leg 0: the service does not take a message of unknown type: the session goes on "
            "without it"
        ),
    ),
    (
        an(events.FunctionCalledAgain, leg=1),
        (
            "leg 1: the service called a function again that was called over an earlier leg and "
            "had not been answered there"
        ),
    ),
    (
        an(events.Backlog, kind="unread", size=16777216),
        "16777216 bytes of messages wait to be read: the service has to wait",
    ),
    (
        an(events.ClaimTooLong, claimed_seconds=61.0, sent_seconds=3.0),
        (
            "the service reports on audio up to 61.000 s and was sent 3.000 s: what it says "
            "beyond that is cut"
        ),
    ),
    (
        an(events.CloseTimedOut, seconds_unacknowledged=0.25),
        "the service did not end the stream in time: 0.250 s of audio have no final result",
    ),
    (
        an(events.UnknownEventSkipped, event_type="New"),
        'skipped an event of the unknown type "New"',
    ),
    (an(events.SessionBegan), "the session began"),
    (
        an(events.LegOpening, attempt=1, standby=False, renews_keys=False, failures=0),
        "opening a leg (request 1)",
    ),
    (
        an(events.LegOpening, attempt=4, standby=True, renews_keys=False, failures=2),
        "opening a standby (request 4, after failure 2 in a row)",
    ),
    (
        an(events.LegOpened, attempt=1, leg=0, standby=False, seconds=0.25, request_id="c0ffee"),
        "leg 0 opened in 0.250 s (request id c0ffee)",
    ),
    (
        an(
            events.LegOpenFailed,
            attempt=2,
            standby=False,
            seconds=1.0,
            reason="throttled",
            error="ThrottledError",
            status=429,
        ),
        "request 2 for a leg failed: ThrottledError (throttled)",
    ),
    (
        an(events.LegOpenFailed, attempt=2, standby=False, seconds=1.0, reason="closed"),
        "request 2 for a leg was dropped: the session ended",
    ),
    (
        an(
            events.LegEnded,
            leg=5,
            role="retiring",
            kind="finished",
            reason=None,
            said="the service ended the stream",
            failures=0,
            resumes=False,
            seconds=61.5,
            seconds_unacknowledged=0.0,
        ),
        "leg 5 ended: the service ended the stream (after 61.500 s)",
    ),
    (
        an(events.Resumed, leg=3, seconds_replayed=1.25, bytes_replayed=40000, is_first=False),
        "the session goes on over leg 3: 1.250 s of audio are sent again",
    ),
    (
        an(events.Backlog, kind="unsent", size=262144),
        "262144 bytes of input are not final: the next message has to wait",
    ),
    (an(events.Stalled, leg=1, seconds=30.0), "leg 1: the service has said nothing for 30.000 s"),
    (an(events.FirstResult, seconds=0.5), "the first result came after 0.500 s"),
    (
        an(events.CredentialsRefreshed, forced=True, seconds=0.1),
        "legs are signed with other keys from now on: the service had refused the old ones",
    ),
    (
        an(
            events.EndpointChanged,
            leg=2,
            before="a (us-east-1)",
            after="b (us-west-2)",
            falls_over=True,
        ),
        "the session goes on at endpoint b (us-west-2): leg 2",
    ),
    (
        an(
            events.EndpointChanged,
            leg=3,
            before="b (us-west-2)",
            after="a (us-east-1)",
            falls_over=False,
        ),
        "the session goes on, as planned, at endpoint a (us-east-1): leg 3",
    ),
    (
        an(events.EndpointAvoided, seconds=5.25, reason="dns"),
        "endpoint ep (us-west-2) failed (dns): other endpoints are used for the next 5.2 s",
    ),
    (an(events.EndpointReturned), "endpoint ep (us-west-2) works again"),
    (
        an(
            events.SessionEnded,
            outcome="failed",
            error="RetriesExhaustedError",
            reason="dns",
            seconds=12.5,
            totals=Stats(sessions=1, legs=2, seconds_sent=10.0, seconds_acknowledged=9.0),
        ),
        (
            "the session failed with RetriesExhaustedError (dns) after 12.500 s: 2 legs, "
            "10.000 s of audio sent, 9.000 s final, 0.000 s lost"
        ),
    ),
]


@pytest.mark.parametrize(("event", "said"), SAID, ids=lambda value: type(value).__name__)
def test_each_event_has_its_line(event, said):
    assert line(event) == said


def test_every_kind_has_its_line_and_every_line_a_kind():
    assert events.Gap in KINDS
    assert set(LINES) == KINDS


def test_there_is_a_case_for_every_kind():
    assert {type(event) for event, _ in SAID} == KINDS


def test_a_record_has_the_fields_of_its_event(caplog):
    caplog.set_level(logging.DEBUG, "deepgram_sagemaker")
    log(an(events.Gap, level=logging.WARNING, start_seconds=3.0, seconds=0.5, size=16000))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "deepgram_sagemaker.transport"
    assert record.message.startswith("v1/listen: 0.500000 s of audio from 3.000000 s")
    own = {"start_seconds": 3.0, "seconds": 0.5, "size": 16000, "level": logging.WARNING}
    said = {name: value for name, value in vars(record).items() if name.startswith("deepgram_")}
    assert said == {f"deepgram_{name}": value for name, value in (COMMON | own).items()} | {
        "deepgram_event": "gap"
    }


def test_totals_are_plain_data_in_a_record(caplog):
    caplog.set_level(logging.DEBUG, "deepgram_sagemaker")
    totals = Stats(sessions=1, legs=3, resets={"reset": 2})
    log(
        an(
            events.SessionEnded,
            outcome="finished",
            error=None,
            reason=None,
            seconds=1.0,
            totals=totals,
        )
    )
    (record,) = caplog.records
    assert record.deepgram_totals["resets"] == {"reset": 2}
    assert record.deepgram_totals["legs"] == 3


def test_a_line_that_nobody_wants_is_not_made(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "deepgram_sagemaker")
    monkeypatch.setitem(LINES, events.SessionBegan, None)
    log(an(events.SessionBegan))
    assert caplog.records == []


def test_an_application_s_own_attributes_do_not_collide(caplog):
    """A record factory that sets attributes makes `extra` of the same name an error."""
    before = logging.getLogRecordFactory()

    def own(*arguments, **options):
        record = before(*arguments, **options)
        record.session = record.path = record.event = record.reason = record.leg = "mine"
        return record

    caplog.set_level(logging.DEBUG, "deepgram_sagemaker")
    logging.setLogRecordFactory(own)
    try:
        log(an(events.RolledOver, leg=2))
    finally:
        logging.setLogRecordFactory(before)
    (record,) = caplog.records
    assert (record.leg, record.deepgram_leg) == ("mine", 2)
