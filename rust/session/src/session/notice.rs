//! What happened in a session, apart from its messages.

use super::step::LegId;
use dgsm_leg::end::LegEnd;

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What happened, and nothing is lost.
    Info,
    /// Audio or messages were lost, or could be.
    Warning,
}

/// What happened, for whoever makes log lines, traces or metrics of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A leg ended and another follows.
    Reset {
        /// The leg that ended.
        leg: LegId,
        /// How.
        end: LegEnd,
        /// Failures in a row without progress; 0: only the keys ran out.
        attempts: u32,
        /// Audio that has to be sent again, in seconds.
        unacked_seconds: f64,
    },
    /// A session goes on over a new leg: what starts again there.
    Resumed {
        /// The new leg.
        leg: LegId,
    },
    /// A leg took over from one that had grown old.
    RolledOver {
        /// The new leg.
        leg: LegId,
    },
    /// Audio that a reset needed was no longer kept.
    Gap {
        /// Where it starts on the session's clock, in seconds.
        start_seconds: f64,
        /// How much is missing, in seconds.
        seconds: f64,
        /// The same in bytes.
        bytes: u64,
    },
    /// The speech of a new leg is not what the one before said: they were joined.
    Joined {
        /// Where in the turn, in seconds.
        at_seconds: f64,
        /// How much earlier that was in the new synthesis, in seconds.
        moved_seconds: f64,
    },
    /// Audio of unknown rate outgrew the journal: a reset will be an error from now on.
    NotResumable {
        /// What the journal may hold.
        limit: usize,
    },
    /// The service called something an error, and the leg lived on: the application has what it
    /// said.
    Complaint {
        /// The leg; each says so once.
        leg: LegId,
    },
    /// The service did not take a message, which is not sent again.
    LeftOut {
        /// The leg that was sent it last.
        leg: LegId,
        /// The message's type, where the product knows it.
        kind: Option<&'static str>,
    },
    /// The agent had the service call a function that it had called before, over another leg.
    CalledAgain {
        /// The leg.
        leg: LegId,
    },
    /// The application does not read: the service has to wait.
    Unread {
        /// What the messages take that wait for the application.
        bytes: usize,
    },
    /// The service reports on audio that nobody has sent.
    Beyond {
        /// Up to where, in seconds.
        claimed_seconds: f64,
        /// How much it was sent, in seconds.
        sent_seconds: f64,
    },
    /// The service did not end its side in time after the application closed.
    CloseTimedOut {
        /// Audio without a final result, in seconds.
        unacked_seconds: f64,
    },
}

impl Notice {
    /// How loud it is.
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
