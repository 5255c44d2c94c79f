"""The log's line for each thing that happens in a session.

The native side reports what happened and at which level; this module has the texts.
`docs/guarantees.md` lists the lines. Imports `_native` alone. Tests: `tests/test_notices.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ._native import Notice

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LINES", "line"]


def _leg_ended(notice: Notice.LegEnded) -> str:
    again = f"{notice.unacknowledged_seconds:.3f} s of audio to send again"
    ended = f"leg {notice.leg} ended: {notice.said}; opening another"
    if notice.attempts == 0:
        return f"{ended} with fresh keys ({again})"
    return f"{ended} (failure {notice.attempts} in a row, {again})"


def _left_out(notice: Notice.LeftOut) -> str:
    what = "a message of unknown type" if notice.kind is None else f"a {notice.kind} message"
    return f"leg {notice.leg}: the service does not take {what}: the session goes on without it"


LINES: Final[dict[type[Notice], Callable[[Any], str]]] = {
    Notice.LegEnded: _leg_ended,
    Notice.Resumed: (
        "the session goes on over leg {0.leg}: times continue; request ids and speakers' numbers "
        "start again"
    ).format,
    Notice.RolledOver: "leg {0.leg} took over from an old one".format,
    Notice.Gap: (
        "{0.seconds:.6f} s of audio from {0.start_seconds:.6f} s ({0.size} bytes) had to be sent "
        "again and were no longer kept (max_replay_buffer_bytes): they are lost"
    ).format,
    Notice.Joined: (
        "the speech was synthesised again and is not the same: joined {0.at_seconds:.3f} s into "
        "the turn, which the new one says {0.moved_seconds:.3f} s earlier"
    ).format,
    Notice.NotResumable: (
        "the audio's rate is unknown and the audio has outgrown {0.limit} bytes "
        "(max_replay_buffer_bytes): this session cannot be resumed any more"
    ).format,
    Notice.Complaint: (
        "leg {0.leg}: the service sent an Error message and went on; it is delivered"
    ).format,
    Notice.LeftOut: _left_out,
    Notice.CalledAgain: (
        "leg {0.leg}: the service called a function again that was called over an earlier leg and "
        "had not been answered there"
    ).format,
    Notice.Unread: ("{0.size} bytes of messages wait to be read: the service has to wait").format,
    Notice.Beyond: (
        "the service reports on audio up to {0.claimed_seconds:.3f} s and was sent "
        "{0.sent_seconds:.3f} s: what it says beyond that is cut"
    ).format,
    Notice.CloseTimedOut: (
        "the service did not end the stream in time: {0.unacknowledged_seconds:.3f} s of audio "
        "have no final result"
    ).format,
    Notice.UnknownEvent: 'skipped an event of the unknown type "{0.event_type}"'.format,
}
"""The line of each kind of notice."""


def line(notice: Notice) -> str:
    """Return the log's line for a notice."""
    return LINES[type(notice)](notice)
