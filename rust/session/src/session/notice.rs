//! What happened in a session, apart from its messages.

use super::step::LegId;
use dgsm_leg::end::LegEnd;

/// How serious a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An event without loss.
    Info,
    /// Audio or messages were lost, or could be.
    Warning,
}

/// What happened, as the source of log lines, traces and metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A leg ended and another follows.
    Reset {
        /// The leg that ended.
        leg: LegId,
        /// How it ended.
        end: LegEnd,
        /// Failures in a row without progress; 0: the keys ran out, which is no failure.
        attempts: u32,
        /// Audio that is sent again, in seconds.
        unacked_seconds: f64,
    },
    /// The session goes on over a new leg.
    Resumed {
        /// The new leg.
        leg: LegId,
    },
    /// A leg took over from an old one.
    RolledOver {
        /// The new leg.
        leg: LegId,
    },
    /// Audio that a reset needed was no longer kept.
    Gap {
        /// Where the gap starts on the session's clock, in seconds.
        start_seconds: f64,
        /// How long it is, in seconds.
        seconds: f64,
        /// The same in bytes.
        bytes: u64,
    },
    /// A new leg synthesised other speech than the one before. The two were joined.
    Joined {
        /// Where in the turn they were joined, in seconds.
        at_seconds: f64,
        /// How much earlier that was in the new synthesis, in seconds.
        moved_seconds: f64,
    },
    /// Audio of unknown rate outgrew the journal. The next reset is an error.
    NotResumable {
        /// The journal's limit, in bytes.
        limit: usize,
    },
    /// The service sent an `Error` message, and the leg went on. The message is delivered.
    Complaint {
        /// The leg. Each reports this once.
        leg: LegId,
    },
    /// The service did not take a message. It is not sent again.
    LeftOut {
        /// The last leg that was sent it.
        leg: LegId,
        /// The message's type, if the product knows it.
        kind: Option<&'static str>,
    },
    /// The service asked for a function call that it had asked for over an earlier leg.
    CalledAgain {
        /// The leg.
        leg: LegId,
    },
    /// The application does not read, and the service has to wait.
    Unread {
        /// The size of the messages that wait for the application, in bytes.
        bytes: usize,
    },
    /// The service reports on audio that was never sent.
    Beyond {
        /// Where the reported audio ends, in seconds.
        claimed_seconds: f64,
        /// How much was sent, in seconds.
        sent_seconds: f64,
    },
    /// The application closed, and the service did not end its side in time.
    CloseTimedOut {
        /// Audio without a final result, in seconds.
        unacked_seconds: f64,
    },
}

impl Notice {
    /// Returns how serious it is.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::Reset { .. } | Self::Resumed { .. } | Self::RolledOver { .. } => Level::Info,
            Self::Gap { .. }
            | Self::Joined { .. }
            | Self::NotResumable { .. }
            | Self::Complaint { .. }
            | Self::LeftOut { .. }
            | Self::CalledAgain { .. }
            | Self::Unread { .. }
            | Self::Beyond { .. }
            | Self::CloseTimedOut { .. } => Level::Warning,
        }
    }
}
