//! What happened in a session, apart from its messages.

use std::collections::VecDeque;
use std::time::Duration;

use super::leg::Leg;
use super::state::Role;
use super::step::LegId;
use dgsm_leg::end::LegEnd;
use dgsm_leg::reason::Reason;

/// How serious a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Part of every session's life, or said before.
    Detail,
    /// An event without loss.
    Info,
    /// Audio or messages were lost, or could be.
    Warning,
}

/// What a leg was to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It spoke for the session.
    Current,
    /// It waited to take over from one that grew old.
    Standby,
    /// Another one had taken over.
    Retiring,
}

impl Part {
    /// Returns its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Standby => "standby",
            Self::Retiring => "retiring",
        }
    }
}

/// A session goes on over another leg.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Again {
    /// Failures in a row without progress; 0: the keys ran out, which is no failure.
    pub attempts: u32,
    /// Audio that is sent again, in seconds.
    pub unacked_seconds: f64,
}

/// What happened, as the source of log lines, traces and metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A leg ended. Every leg that was opened reports this once.
    LegEnded {
        /// The leg.
        leg: LegId,
        /// What it was to the session.
        part: Part,
        /// How the service or the connection ended it; `None`: it was ended from this side.
        end: Option<LegEnd>,
        /// Why, if that is a failure.
        reason: Option<Reason>,
        /// How long it was open.
        lasted: Duration,
        /// What follows, if the session goes on over another leg because of it.
        again: Option<Again>,
    },
    /// The session goes on over a new leg.
    Resumed {
        /// The new leg.
        leg: LegId,
        /// Audio that was sent over an earlier leg and is sent over this one too, in seconds.
        seconds: f64,
        /// The same in bytes.
        bytes: u64,
        /// The session went on over another leg before.
        again: bool,
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
    /// The service owed an answer and said nothing for too long. The leg is left.
    Stalled {
        /// The leg.
        leg: LegId,
        /// Since the last message, in seconds.
        silent_seconds: f64,
    },
    /// The first result came.
    FirstResult {
        /// Since the first audio, in seconds.
        seconds: f64,
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
        /// It was so before.
        again: bool,
    },
    /// The application has to wait with its next message.
    Unsent {
        /// The audio that the journal holds, in bytes.
        bytes: u64,
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
            Self::LegEnded { again: None, .. }
            | Self::Resumed { again: true, .. }
            | Self::Unread { again: true, .. }
            | Self::Unsent { .. }
            | Self::Stalled { .. }
            | Self::FirstResult { .. } => Level::Detail,
            Self::LegEnded { again: Some(_), .. }
            | Self::Resumed { again: false, .. }
            | Self::RolledOver { .. } => Level::Info,
            Self::Gap { .. }
            | Self::Joined { .. }
            | Self::NotResumable { .. }
            | Self::Complaint { .. }
            | Self::LeftOut { .. }
            | Self::CalledAgain { .. }
            | Self::Unread { again: false, .. }
            | Self::Beyond { .. }
            | Self::CloseTimedOut { .. } => Level::Warning,
        }
    }
}

/// The notices that were not taken yet, each with its time.
#[derive(Debug, Default)]
pub(super) struct Notices {
    queue: VecDeque<(Duration, Notice)>,
    /// The time of the latest call of the session.
    now: Duration,
}

impl Notices {
    /// Sets the time of what is said from now on. Times never go back.
    pub(super) fn at(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    pub(super) fn say(&mut self, notice: Notice) {
        self.queue.push_back((self.now, notice));
    }

    /// Says that a leg was ended from this side.
    pub(super) fn closed(&mut self, leg: &Leg, was: Role) {
        self.ended(leg, was, None, None, None);
    }

    /// Says that a leg ended. `was` is its role before; one that had ended before says nothing.
    pub(super) fn ended(
        &mut self,
        leg: &Leg,
        was: Role,
        end: Option<&LegEnd>,
        reason: Option<Reason>,
        again: Option<Again>,
    ) {
        let part = match was {
            Role::Current => Part::Current,
            Role::Standby { .. } => Part::Standby,
            Role::Retiring { .. } => Part::Retiring,
            Role::Ended(_) => return,
        };
        self.say(Notice::LegEnded {
            leg: leg.id,
            part,
            end: end.cloned(),
            reason,
            lasted: self.now.saturating_sub(leg.opened),
            again,
        });
    }

    pub(super) fn pop(&mut self) -> Option<(Duration, Notice)> {
        self.queue.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
