//! One leg, as the session sees it.

use std::collections::VecDeque;
use std::time::Duration;

use super::step::LegId;
use crate::journal::Cursor;
use crate::resume::LegView;
use dgsm_leg::frame::Frame;

/// What a leg is to the session.
///
/// ```text
///   Standby ──────────▶ Current ──────────▶ Retiring ───▶ Ended
///      │    takes over     │    another one     │           ▲
///      │                   │    took over       │           │
///      └───────────────────┴────────────────────┴───────────┘
///                     it ended, or is not wanted
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Waits to take over from the current leg.
    Standby,
    /// Speaks for the session.
    Current,
    /// Another leg has taken over. It answers what it was sent, its messages are discarded, and it
    /// is stopped at this time.
    Retiring { by: Duration },
    /// Its pump has this left to do.
    Ended(LastStep),
}

/// What the pump of a leg that has ended does last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastStep {
    /// Ends the input with the signed empty event, because the service ended in order.
    End,
    /// Stops.
    Stop,
}

/// An upper limit on how fast a backlog is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    since: Duration,
    bytes_per_second: f64,
    sent: u64,
}

impl Pace {
    pub(super) const fn new(since: Duration, bytes_per_second: f64) -> Self {
        Self {
            since,
            bytes_per_second,
            sent: 0,
        }
    }

    pub(super) const fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// Returns when the next frame may be sent.
    pub(super) fn due(&self) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a pace is no count")]
        let seconds = self.sent as f64 / self.bytes_per_second;
        // The sum stays within the clock's range.
        self.since + Duration::try_from_secs_f64(seconds.min(1e6)).unwrap_or_default()
    }
}

/// A leg that was opened.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) role: Role,
    pub(super) opened: Duration,
    pub(super) view: LegView,
    pub(super) cursor: Cursor,
    /// Sent before anything from the journal.
    pub(super) head: VecDeque<Frame>,
    /// Set while the leg catches up with the journal.
    pub(super) pace: Option<Pace>,
    /// The input has ended. Only for products without a closing message.
    pub(super) input_ended: bool,
    /// When the last message arrived; before that, when the leg opened.
    pub(super) received_at: Duration,
    /// When the last frame was sent; before that, when the leg opened.
    pub(super) sent_at: Duration,
    /// When the last frame was sent that may have an answer.
    pub(super) input_at: Duration,
    /// When the first frame was sent since the last message arrived.
    pub(super) unanswered_since: Option<Duration>,
    /// When another leg is due to take over.
    pub(super) rollover_at: Option<Duration>,
    /// As a standby it is sent everything from the first byte.
    pub(super) replays: bool,
    /// Something was finalised over it.
    pub(super) progressed: bool,
    /// The service has sent a message.
    pub(super) has_answered: bool,
    /// The service was asked to finalise the audio before this position.
    pub(super) asked_at: Option<u64>,
    /// The log says that it went on after an `Error` message.
    pub(super) complained: bool,
}

impl Leg {
    pub(super) fn new(id: LegId, now: Duration, role: Role, cursor: Cursor) -> Self {
        Self {
            id,
            role,
            opened: now,
            view: LegView::default(),
            cursor,
            head: VecDeque::new(),
            pace: None,
            input_ended: false,
            received_at: now,
            sent_at: now,
            input_at: now,
            unanswered_since: None,
            rollover_at: None,
            replays: false,
            progressed: false,
            has_answered: false,
            asked_at: None,
            complained: false,
        }
    }

    pub(super) const fn sends(&mut self, now: Duration) {
        self.sent_at = now;
        if self.unanswered_since.is_none() {
            self.unanswered_since = Some(now);
        }
    }

    pub(super) const fn receives(&mut self, now: Duration) {
        self.received_at = now;
        self.unanswered_since = None;
    }

    /// Returns since when the service owes an answer. A leg that has answered everything and waits
    /// for its pace is not silent.
    pub(super) fn silent_since(&self) -> Duration {
        self.unanswered_since.unwrap_or_else(|| {
            let due = self.pace.map_or(Duration::ZERO, |pace| pace.due());
            self.received_at.max(due)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_spreads_bytes_over_time() {
        let mut pace = Pace::new(Duration::from_secs(10), 1000.0);
        assert_eq!(pace.due(), Duration::from_secs(10));
        pace.sent(500);
        assert_eq!(pace.due(), Duration::from_millis(10_500));
        let mut at_once = Pace::new(Duration::from_secs(10), f64::INFINITY);
        at_once.sent(u64::MAX);
        assert_eq!(at_once.due(), Duration::from_secs(10));
    }
}
