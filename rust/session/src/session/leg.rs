//! One leg, as the session sees it.

use std::collections::VecDeque;
use std::time::Duration;

use super::state::{Role, RoleEvent};
use super::step::{IllegalMove, LegId};
use crate::journal::Cursor;
use crate::resume::LegView;
use dgsm_leg::frame::Frame;

/// A flag for what happens once.
#[derive(Debug, Default)]
pub(super) struct Once(bool);

impl Once {
    /// Returns whether this is the first call.
    pub(super) const fn first(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }
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
pub(super) struct Leg {
    pub(super) id: LegId,
    /// The endpoint that it was opened at.
    pub(super) endpoint: usize,
    role: Role,
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
    /// Something was finalised over it.
    pub(super) progressed: bool,
    /// The service has sent a message.
    pub(super) has_answered: bool,
    /// The service was asked to finalise the audio before this position.
    pub(super) asked_at: Option<u64>,
    /// The log says once that it went on after an `Error` message.
    pub(super) complained: Once,
}

impl Leg {
    pub(super) fn new(
        id: LegId,
        endpoint: usize,
        now: Duration,
        role: Role,
        cursor: Cursor,
    ) -> Self {
        Self {
            id,
            endpoint,
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
            progressed: false,
            has_answered: false,
            asked_at: None,
            complained: Once::default(),
        }
    }

    /// Returns what the leg is to the session.
    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// Changes what the leg is to the session.
    ///
    /// # Errors
    /// [`IllegalMove`] where the table has no such move. The role stays.
    pub(super) fn apply(&mut self, event: RoleEvent) -> Result<(), IllegalMove> {
        self.role = self.role.after(event)?;
        Ok(())
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
