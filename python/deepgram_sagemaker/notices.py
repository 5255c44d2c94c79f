"""The log's line for each event.

`docs/guarantees.md` lists the lines at INFO and above. Each record carries the event's fields as
attributes whose names begin with `deepgram_`. Imports `events` and `stats`.
Tests: `tests/test_notices.py`.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any, Final

from . import events
from .stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import Event

__all__ = ["LINES", "extra", "line", "log"]

# All lines about sessions have one logger, whichever module writes them.
_logger = logging.getLogger("deepgram_sagemaker.transport")

_PREFIX: Final = "deepgram_"
"""Begins the name of each attribute: a record has attributes of its own, and an application may
give it others."""


def _leg_opening(event: events.LegOpening) -> str:
    what = "a standby" if event.standby else "a leg"
    if event.failures == 0:
        return f"opening {what} (request {event.attempt})"
    return f"opening {what} (request {event.attempt}, after failure {event.failures} in a row)"


def _leg_opened(event: events.LegOpened) -> str:
    what = "standby" if event.standby else "leg"
    return f"{what} {event.leg} opened in {event.seconds:.3f} s (request id {event.request_id})"


def _leg_open_failed(event: events.LegOpenFailed) -> str:
    if event.error is None:
        return f"request {event.attempt} for a leg was dropped: the session ended"
    return f"request {event.attempt} for a leg failed: {event.error} ({event.reason})"


def _leg_ended(event: events.LegEnded) -> str:
    ended = f"leg {event.leg} ended: {event.said}"
    if not event.resumes:
        return f"{ended} (after {event.seconds:.3f} s)"
    again = f"{event.seconds_unacknowledged:.3f} s of audio to send again"
    if event.failures == 0:
        return f"{ended}; opening another with fresh keys ({again})"
    return f"{ended}; opening another (failure {event.failures} in a row, {again})"


def _resumed(event: events.Resumed) -> str:
    if event.is_first:
        return (
            f"the session goes on over leg {event.leg}: times continue; request ids and speakers' "
            "numbers start again"
        )
    return (
        f"the session goes on over leg {event.leg}: {event.seconds_replayed:.3f} s of audio are "
        "sent again"
    )


def _backlog(event: events.Backlog) -> str:
    if event.kind == "unread":
        return f"{event.size} bytes of messages wait to be read: the service has to wait"
    return f"{event.size} bytes of input are not final: the next message has to wait"


def _credentials_refreshed(event: events.CredentialsRefreshed) -> str:
    why = "the service had refused the old ones" if event.forced else "they had changed"
    return f"legs are signed with other keys from now on: {why}"


def _endpoint_changed(event: events.EndpointChanged) -> str:
    goes = "goes on" if event.falls_over else "goes on, as planned,"
    return f"the session {goes} at endpoint {event.after}: leg {event.leg}"


def _left_out(event: events.MessageLeftOut) -> str:
    kind = event.message_type
    what = "a message of unknown type" if kind is None else f"a {kind} message"
    return f"leg {event.leg}: the service does not take {what}: the session goes on without it"


def _session_ended(event: events.SessionEnded) -> str:
    ended = {"finished": "ended in order", "failed": "failed", "cut": "was cut"}[event.outcome]
    why = "" if event.error is None else f" with {event.error} ({event.reason})"
    totals = event.totals
    return (
        f"the session {ended}{why} after {event.seconds:.3f} s: {totals.legs} legs, "
        f"{totals.seconds_sent:.3f} s of audio sent, {totals.seconds_acknowledged:.3f} s final, "
        f"{totals.seconds_lost:.3f} s lost"
    )


LINES: Final[dict[type[Event], Callable[[Any], str]]] = {
    events.SessionBegan: "the session began".format,
    events.LegOpening: _leg_opening,
    events.LegOpened: _leg_opened,
    events.LegOpenFailed: _leg_open_failed,
    events.LegEnded: _leg_ended,
    events.Resumed: _resumed,
    events.RolledOver: "leg {0.leg} took over from an old one".format,
    events.Gap: (
        "{0.seconds:.6f} s of audio from {0.start_seconds:.6f} s ({0.size} bytes) had to be sent "
        "again and were no longer kept (max_replay_buffer_bytes): they are lost"
    ).format,
    events.Backlog: _backlog,
    events.Stalled: "leg {0.leg}: the service has said nothing for {0.seconds:.3f} s".format,
    events.FirstResult: "the first result came after {0.seconds:.3f} s".format,
    events.CredentialsRefreshed: _credentials_refreshed,
    events.EndpointChanged: _endpoint_changed,
    events.EndpointAvoided: (
        "endpoint {0.endpoint_name} ({0.region}) failed ({0.reason}): other endpoints are used for "
        "the next {0.seconds:.1f} s"
    ).format,
    events.EndpointReturned: ("endpoint {0.endpoint_name} ({0.region}) works again").format,
    events.SpeechJoined: (
        "the speech was synthesised again and is not the same: joined {0.at_seconds:.3f} s into "
        "the turn, which the new one says {0.moved_seconds:.3f} s earlier"
    ).format,
    events.NotResumable: (
        "the audio's rate is unknown and the audio has outgrown {0.limit} bytes "
        "(max_replay_buffer_bytes): this session cannot be resumed any more"
    ).format,
    events.ErrorOutlived: (
        "leg {0.leg}: the service sent an Error message and went on; it is delivered"
    ).format,
    events.MessageLeftOut: _left_out,
    events.FunctionCalledAgain: (
        "leg {0.leg}: the service called a function again that was called over an earlier leg and "
        "had not been answered there"
    ).format,
    events.ClaimTooLong: (
        "the service reports on audio up to {0.claimed_seconds:.3f} s and was sent "
        "{0.sent_seconds:.3f} s: what it says beyond that is cut"
    ).format,
    events.CloseTimedOut: (
        "the service did not end the stream in time: {0.seconds_unacknowledged:.3f} s of audio "
        "have no final result"
    ).format,
    events.UnknownEventSkipped: 'skipped an event of the unknown type "{0.event_type}"'.format,
    events.SessionEnded: _session_ended,
}
"""The line of each kind of event."""


def line(event: Event) -> str:
    """Return the log's line for an event."""
    return LINES[type(event)](event)


def extra(event: Event) -> dict[str, Any]:
    """Return the attributes of the event's record: its name and all of its fields."""
    attributes: dict[str, Any] = {f"{_PREFIX}event": event.name}
    for field in dataclasses.fields(event):
        value = getattr(event, field.name)
        attributes[_PREFIX + field.name] = (
            dataclasses.asdict(value) if type(value) is Stats else value
        )
    return attributes


def log(event: Event) -> None:
    """Write the event's line to the log, at the event's level."""
    if _logger.isEnabledFor(event.level):
        _logger.log(event.level, "%s: %s", event.path, line(event), extra=extra(event))
