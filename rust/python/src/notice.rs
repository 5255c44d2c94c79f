//! `notices`, and what a session reports: the fields of the events in `events.py` that the native
//! side knows.

use std::collections::BTreeMap;
use std::time::Duration;

use dgsm_leg::end::LegEnd;
use dgsm_leg::reason::Reason;
use dgsm_session::{Level, Notice};
use pyo3::prelude::*;
use pyo3::types::PyDict;

// The levels of Python's `logging`.
const DEBUG: u8 = 10;
const INFO: u8 = 20;
const WARNING: u8 = 30;

/// An event's class, its fields, and how many seconds ago it happened.
pub(crate) type Told<'py> = (&'static str, Bound<'py, PyDict>, f64);

/// One table for both: how a notice becomes the fields of an event, and which fields an event has.
macro_rules! events {
    ($($event:literal: $notice:pat => { $($field:literal: $value:expr,)* })*) => {
        /// Sets the fields of the notice's event. Returns the name of its class.
        fn fill(notice: &Notice, fields: &Bound<'_, PyDict>) -> PyResult<&'static str> {
            Ok(match notice {
                $($notice => {
                    $(fields.set_item($field, $value)?;)*
                    $event
                })*
            })
        }

        const EVENTS: &[(&str, &[&str])] = &[$(($event, &[$($field),*])),*];
    };
}

events! {
    "LegEnded": Notice::LegEnded { leg, part, end, reason, lasted, again } => {
        "leg": leg.number(),
        "role": part.as_str(),
        "kind": kind(end.as_ref(), *reason),
        "reason": reason.map(Reason::as_str),
        "said": said(end.as_ref(), *reason),
        "failures": again.map_or(0, |again| again.attempts),
        "resumes": again.is_some(),
        "seconds": lasted.as_secs_f64(),
        "seconds_unacknowledged": again.map_or(0.0, |again| again.unacked_seconds),
    }
    "Resumed": Notice::Resumed { leg, seconds, bytes, again } => {
        "leg": leg.number(),
        "seconds_replayed": seconds,
        "bytes_replayed": bytes,
        "is_first": !again,
    }
    "RolledOver": Notice::RolledOver { leg } => {
        "leg": leg.number(),
    }
    "Gap": Notice::Gap { start_seconds, seconds, bytes } => {
        "start_seconds": start_seconds,
        "seconds": seconds,
        "size": bytes,
    }
    "Stalled": Notice::Stalled { leg, silent_seconds } => {
        "leg": leg.number(),
        "seconds": silent_seconds,
    }
    "FirstResult": Notice::FirstResult { seconds } => {
        "seconds": seconds,
    }
    "SpeechJoined": Notice::Joined { at_seconds, moved_seconds } => {
        "at_seconds": at_seconds,
        "moved_seconds": moved_seconds,
    }
    "NotResumable": Notice::NotResumable { limit } => {
        "limit": limit,
    }
    "ErrorOutlived": Notice::Complaint { leg } => {
        "leg": leg.number(),
    }
    "MessageLeftOut": Notice::LeftOut { leg, kind } => {
        "leg": leg.number(),
        "message_type": kind,
    }
    "FunctionCalledAgain": Notice::CalledAgain { leg } => {
        "leg": leg.number(),
    }
    "Backlog": Notice::Unread { bytes, .. } => {
        "kind": "unread",
        "size": bytes,
    }
    "Backlog": Notice::Unsent { bytes } => {
        "kind": "unsent",
        "size": bytes,
    }
    "ClaimTooLong": Notice::Beyond { claimed_seconds, sent_seconds } => {
        "claimed_seconds": claimed_seconds,
        "sent_seconds": sent_seconds,
    }
    "CloseTimedOut": Notice::CloseTimedOut { unacked_seconds } => {
        "seconds_unacknowledged": unacked_seconds,
    }
}

/// The class and the field of a skipped event, which no session knows of.
const SKIPPED: (&str, &str) = ("UnknownEventSkipped", "event_type");

/// Returns the classes of events that the native side reports, each with the fields it sets.
#[pyfunction]
pub(crate) fn notices() -> BTreeMap<&'static str, Vec<&'static str>> {
    let known = EVENTS
        .iter()
        .map(|(event, fields)| (*event, fields.to_vec()));
    known.chain([(SKIPPED.0, vec![SKIPPED.1])]).collect()
}

/// Returns a session's notice as the fields of its event.
pub(crate) fn tell(py: Python<'_>, age: Duration, notice: Notice) -> PyResult<Told<'_>> {
    let fields = PyDict::new(py);
    let event = fill(&notice, &fields)?;
    let level = match notice.level() {
        Level::Detail => DEBUG,
        Level::Info => INFO,
        Level::Warning => WARNING,
    };
    fields.set_item("level", level)?;
    Ok((event, fields, age.as_secs_f64()))
}

/// Returns the fields of a skipped event.
pub(crate) fn tell_skipped(
    py: Python<'_>,
    age: Duration,
    event_type: String,
) -> PyResult<Told<'_>> {
    let fields = PyDict::new(py);
    fields.set_item(SKIPPED.1, event_type)?;
    fields.set_item("level", WARNING)?;
    Ok((SKIPPED.0, fields, age.as_secs_f64()))
}

/// Names how a leg ended: as the statistics do, or `closed` from this side, or `finished` in order.
fn kind(end: Option<&LegEnd>, reason: Option<Reason>) -> &'static str {
    match (end, reason) {
        (None, _) => "closed",
        (Some(_), None) => "finished",
        (Some(end), Some(_)) => end.kind(),
    }
}

/// Describes how a leg ended.
fn said(end: Option<&LegEnd>, reason: Option<Reason>) -> String {
    match (end, reason) {
        (None, _) => "ended from this side".to_owned(),
        (Some(_), None) => "the service ended the stream".to_owned(),
        (Some(end), Some(_)) => end.to_string(),
    }
}
