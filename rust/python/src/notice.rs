//! `Notice`: what happened in a session, as Python makes log lines of it.

use dgsm_session::{Level, Notice as CoreNotice};
use pyo3::prelude::*;

/// Levels of Python's `logging`.
const INFO: u8 = 20;
const WARNING: u8 = 30;

/// What happened in a session. Times and amounts of audio are seconds on the session's clock.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) enum Notice {
    /// A leg ended and another follows.
    LegEnded {
        leg: u64,
        /// How it ended, by the name that the statistics count.
        end: String,
        /// How it ended, as text.
        said: String,
        /// Failures in a row without progress; 0: only the keys ran out.
        attempts: u32,
        /// Audio that has to be sent again.
        unacknowledged_seconds: f64,
    },
    /// The session goes on over a new leg for the first time. Request ids start again.
    Resumed { leg: u64 },
    /// A leg took over from one that had grown old.
    RolledOver { leg: u64 },
    /// Audio that a reset needed was no longer kept.
    Gap {
        start_seconds: f64,
        seconds: f64,
        /// In bytes.
        size: u64,
    },
    /// A new leg synthesised other speech than the one before. The two were joined.
    Joined { at_seconds: f64, moved_seconds: f64 },
    /// Audio of unknown rate outgrew the journal. The next reset is an error.
    NotResumable { limit: usize },
    /// The service sent an `Error` message and the leg went on. The message is delivered.
    Complaint { leg: u64 },
    /// The service did not take a message. It is not sent again.
    LeftOut { leg: u64, kind: Option<String> },
    /// The service asked for a function call that it had asked for over an earlier leg.
    CalledAgain { leg: u64 },
    /// The application does not read, and the service has to wait. `size`: the unread bytes.
    Unread { size: usize },
    /// The service reports on audio that was never sent.
    Beyond {
        claimed_seconds: f64,
        sent_seconds: f64,
    },
    /// The service did not end its side in time after the application closed.
    CloseTimedOut { unacknowledged_seconds: f64 },
    /// An event of an unknown type came, and was skipped.
    UnknownEvent { event_type: String },
}

impl Notice {
    /// Returns the notice of a skipped event, with its level.
    pub(crate) fn unknown_event(event_type: String) -> (u8, Self) {
        (WARNING, Self::UnknownEvent { event_type })
    }

    /// Returns a session's notice, with its level.
    pub(crate) fn of(notice: CoreNotice) -> (u8, Self) {
        let level = match notice.level() {
            Level::Info => INFO,
            Level::Warning => WARNING,
        };
        (level, notice.into())
    }
}

impl From<CoreNotice> for Notice {
    fn from(notice: CoreNotice) -> Self {
        match notice {
            CoreNotice::Reset {
                leg,
                end,
                attempts,
                unacked_seconds,
            } => Self::LegEnded {
                leg: leg.number(),
                end: end.kind().to_owned(),
                said: end.to_string(),
                attempts,
                unacknowledged_seconds: unacked_seconds,
            },
            CoreNotice::Resumed { leg } => Self::Resumed { leg: leg.number() },
            CoreNotice::RolledOver { leg } => Self::RolledOver { leg: leg.number() },
            CoreNotice::Gap {
                start_seconds,
                seconds,
                bytes,
            } => Self::Gap {
                start_seconds,
                seconds,
                size: bytes,
            },
            CoreNotice::Joined {
                at_seconds,
                moved_seconds,
            } => Self::Joined {
                at_seconds,
                moved_seconds,
            },
            CoreNotice::NotResumable { limit } => Self::NotResumable { limit },
            CoreNotice::Complaint { leg } => Self::Complaint { leg: leg.number() },
            CoreNotice::LeftOut { leg, kind } => Self::LeftOut {
                leg: leg.number(),
                kind: kind.map(str::to_owned),
            },
            CoreNotice::CalledAgain { leg } => Self::CalledAgain { leg: leg.number() },
            CoreNotice::Unread { bytes } => Self::Unread { size: bytes },
            CoreNotice::Beyond {
                claimed_seconds,
                sent_seconds,
            } => Self::Beyond {
                claimed_seconds,
                sent_seconds,
            },
            CoreNotice::CloseTimedOut { unacked_seconds } => Self::CloseTimedOut {
                unacknowledged_seconds: unacked_seconds,
            },
        }
    }
}
