"""The log's lines: one for each kind of notice that the native side has."""

import pytest
from deepgram_sagemaker._native import Notice
from deepgram_sagemaker.notices import LINES, line

KINDS = {kind for kind in vars(Notice).values() if isinstance(kind, type)}

SAID = [
    (
        Notice.LegEnded(0, "reset", "the stream was reset (HTTP/2 error 2)", 1, 1.7),
        (
            "leg 0 ended: the stream was reset (HTTP/2 error 2); opening another (failure 1 in a "
            "row, 1.700 s of audio to send again)"
        ),
    ),
    (
        Notice.LegEnded(
            leg=3,
            end="exception",
            said="ExpiredTokenException: The security token included in the request is expired",
            attempts=0,
            unacknowledged_seconds=0.5,
        ),
        (
            "leg 3 ended: ExpiredTokenException: The security token included in the request is "
            "expired; opening another with fresh keys (0.500 s of audio to send again)"
        ),
    ),
    (
        Notice.Resumed(1),
        (
            "the session goes on over leg 1: times continue; request ids and speakers' numbers "
            "start again"
        ),
    ),
    (Notice.RolledOver(2), "leg 2 took over from an old one"),
    (
        Notice.Gap(start_seconds=3.0, seconds=0.98, size=31360),
        (
            "0.980000 s of audio from 3.000000 s (31360 bytes) had to be sent again and were no "
            "longer kept (max_replay_buffer_bytes): they are lost"
        ),
    ),
    (
        Notice.Gap(start_seconds=1.5, seconds=3.5, size=3500),
        (
            "3.500000 s of audio from 1.500000 s (3500 bytes) had to be sent again and were no "
            "longer kept (max_replay_buffer_bytes): they are lost"
        ),
    ),
    (
        Notice.Joined(at_seconds=0.42, moved_seconds=0.013),
        (
            "the speech was synthesised again and is not the same: joined 0.420 s into the turn, "
            "which the new one says 0.013 s earlier"
        ),
    ),
    (
        Notice.NotResumable(8388608),
        (
            "the audio's rate is unknown and the audio has outgrown 8388608 bytes "
            "(max_replay_buffer_bytes): this session cannot be resumed any more"
        ),
    ),
    (
        Notice.Complaint(0),
        "leg 0: the service sent an Error message and went on; it is delivered",
    ),
    (
        Notice.LeftOut(0, "Configure"),
        "leg 0: the service does not take a Configure message: the session goes on without it",
    ),
    (
        Notice.LeftOut(0, None),
        (
            "leg 0: the service does not take a message of unknown type: the session goes on "
            "without it"
        ),
    ),
    (
        Notice.CalledAgain(1),
        (
            "leg 1: the service called a function again that was called over an earlier leg and "
            "had not been answered there"
        ),
    ),
    (
        Notice.Unread(16777216),
        "16777216 bytes of messages wait to be read: the service has to wait",
    ),
    (
        Notice.Beyond(claimed_seconds=61.0, sent_seconds=3.0),
        (
            "the service reports on audio up to 61.000 s and was sent 3.000 s: what it says "
            "beyond that is cut"
        ),
    ),
    (
        Notice.CloseTimedOut(0.25),
        "the service did not end the stream in time: 0.250 s of audio have no final result",
    ),
    (Notice.UnknownEvent("New"), 'skipped an event of the unknown type "New"'),
]


@pytest.mark.parametrize(("notice", "said"), SAID, ids=lambda value: type(value).__name__)
def test_each_notice_has_its_line(notice, said):
    assert line(notice) == said


def test_every_native_kind_has_its_line_and_every_line_a_kind():
    assert Notice.Gap in KINDS
    assert set(LINES) == KINDS


def test_there_is_a_case_for_every_kind():
    assert {type(notice) for notice, _ in SAID} == KINDS
