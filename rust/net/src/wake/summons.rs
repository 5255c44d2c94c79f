//! What was posted to a loop, and how the loop is to learn of it.
//!
//! Waking a loop costs more than most of what it is woken for. A loop that sends all the time, as
//! with many live streams, flushes every few milliseconds and takes the tokens then. It is woken
//! only if it stays away.
//!
//! ```text
//!           post: a flush is expected
//!   None ──────────────────────────────▶ Watched
//!    ▲ │                                  │   │ the watch ends:
//!    │ │ post: no flush is expected       │   │ tokens are left
//!    │ └─────────────▶ Raised ◀───────────│───┘
//!    │ drain             │                │
//!    └───────────────────┴────────────────┘ the watch ends: no token is left
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// A loop that has flushed twice within this time is expected to flush again within it.
pub(super) const SOON: Duration = Duration::from_millis(5);

/// The tokens that no loop has taken yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Posted {
    tokens: Vec<u64>,
    summons: Summons,
    /// When the loop flushed last.
    flushed_at: Option<Instant>,
    /// That flush came within [`SOON`] of the one before.
    flushes_often: bool,
}

/// How the loop is to learn of the tokens. While there are tokens it is not `None`, except between
/// a drain's clearing and its taking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Summons {
    #[default]
    None,
    /// The signal has been raised, and no drain has finished since.
    Raised,
    /// A watch waits for the loop to flush, and raises the signal if it does not.
    Watched,
}

/// What has to be done after a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterPost {
    /// Nothing: the loop learns of it already.
    Nothing,
    /// Raise the signal, under the lock.
    Raise,
    /// Begin a watch that looks at this time.
    Watch {
        /// When to look.
        until: Instant,
    },
}

impl Posted {
    /// Adds a token. Returns what follows. The clock is read only where it matters.
    pub(super) fn post(&mut self, token: u64, clock: impl FnOnce() -> Instant) -> AfterPost {
        self.tokens.push(token);
        match self.summons {
            Summons::Raised | Summons::Watched => AfterPost::Nothing,
            Summons::None => {
                if let Some(until) = self.expected_by(clock) {
                    self.summons = Summons::Watched;
                    AfterPost::Watch { until }
                } else {
                    self.summons = Summons::Raised;
                    AfterPost::Raise
                }
            }
        }
    }

    /// Takes every token, for a loop that was woken and has cleared the signal.
    pub(super) fn drain(&mut self) -> Vec<u64> {
        if self.summons == Summons::Raised {
            self.summons = Summons::None;
        }
        std::mem::take(&mut self.tokens)
    }

    /// Takes every token, for a loop that flushes.
    pub(super) fn flush(&mut self, now: Instant) -> Vec<u64> {
        let last = self.flushed_at.replace(now);
        self.flushes_often = last.is_some_and(|last| now - last <= SOON);
        std::mem::take(&mut self.tokens)
    }

    /// Returns when the watch, which was due, looks again; `None`: it ends.
    pub(super) fn watch_again(&self, now: Instant) -> Option<Instant> {
        if self.tokens.is_empty() {
            return None;
        }
        self.expected_by(|| now)
    }

    /// Ends the watch. Returns whether the signal has to be raised, under the lock.
    pub(super) fn end_watch(&mut self) -> bool {
        let is_left = !self.tokens.is_empty();
        self.summons = if is_left {
            Summons::Raised
        } else {
            Summons::None
        };
        is_left
    }

    /// Returns the time by which the loop is expected to flush; `None`: no flush is expected.
    fn expected_by(&self, clock: impl FnOnce() -> Instant) -> Option<Instant> {
        if !self.flushes_often {
            return None;
        }
        let until = self.flushed_at? + SOON;
        (clock() < until).then_some(until)
    }

    #[cfg(test)]
    pub(super) fn summons(&self) -> Summons {
        self.summons
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A loop that has flushed twice within a millisecond, the second time now.
    fn busy(now: Instant) -> Posted {
        let mut posted = Posted::default();
        posted.flush(now.checked_sub(MS).unwrap());
        posted.flush(now);
        posted
    }

    fn unread() -> Instant {
        panic!("the clock was read")
    }

    #[test]
    fn the_first_post_to_an_idle_loop_raises_and_the_next_do_not() {
        let mut posted = Posted::default();
        assert_eq!(posted.post(1, unread), AfterPost::Raise);
        assert_eq!(posted.summons(), Summons::Raised);
        assert_eq!(posted.post(2, unread), AfterPost::Nothing);
        assert_eq!(posted.drain(), [1, 2]);
        assert_eq!(posted.summons(), Summons::None);
        assert_eq!(posted.post(3, unread), AfterPost::Raise);
    }

    #[test]
    fn a_post_to_a_busy_loop_begins_one_watch() {
        let now = Instant::now();
        let mut posted = busy(now);
        let until = now + SOON;
        assert_eq!(posted.post(1, || now), AfterPost::Watch { until });
        assert_eq!(posted.summons(), Summons::Watched);
        assert_eq!(posted.post(2, unread), AfterPost::Nothing);
        assert_eq!(posted.flush(now + MS), [1, 2]);
        assert_eq!(posted.summons(), Summons::Watched, "the watch still runs");
    }

    #[test]
    fn a_loop_is_busy_only_while_its_last_two_flushes_are_near() {
        let now = Instant::now();
        // Once is not often.
        let mut once = Posted::default();
        once.flush(now);
        assert_eq!(once.post(1, unread), AfterPost::Raise);
        // Far apart.
        let mut seldom = Posted::default();
        seldom.flush(now);
        seldom.flush(now + SOON + MS);
        assert_eq!(seldom.post(1, unread), AfterPost::Raise);
        // Just near enough.
        let mut often = Posted::default();
        often.flush(now);
        often.flush(now + SOON);
        let until = now + 2 * SOON;
        assert_eq!(
            often.clone().post(1, || until - MS),
            AfterPost::Watch { until }
        );
        // Long ago.
        assert_eq!(often.post(1, || until), AfterPost::Raise);
    }

    #[test]
    fn a_watch_goes_on_while_the_loop_flushes_and_tokens_come() {
        let now = Instant::now();
        let mut posted = busy(now);
        posted.post(1, || now);
        assert_eq!(posted.flush(now + 4 * MS), [1]);
        posted.post(2, unread);
        let due = now + SOON;
        assert_eq!(posted.watch_again(due), Some(now + 4 * MS + SOON));
    }

    #[test]
    fn a_watch_ends_in_silence_where_no_token_is_left() {
        let now = Instant::now();
        let mut posted = busy(now);
        posted.post(1, || now);
        posted.flush(now + MS);
        assert_eq!(posted.watch_again(now + SOON), None);
        assert!(!posted.end_watch());
        assert_eq!(posted.summons(), Summons::None);
    }

    #[test]
    fn a_watch_raises_for_a_loop_that_stays_away() {
        let now = Instant::now();
        let mut posted = busy(now);
        posted.post(1, || now);
        assert_eq!(posted.watch_again(now + SOON), None);
        assert!(posted.end_watch());
        assert_eq!(posted.summons(), Summons::Raised);
        assert_eq!(posted.post(2, unread), AfterPost::Nothing);
        assert_eq!(posted.drain(), [1, 2]);
    }

    #[test]
    fn a_token_that_comes_as_the_watch_ends_is_raised_for() {
        let now = Instant::now();
        let mut posted = busy(now);
        posted.post(1, || now);
        posted.flush(now + MS);
        assert_eq!(posted.watch_again(now + SOON), None);
        assert_eq!(posted.post(2, unread), AfterPost::Nothing);
        assert!(posted.end_watch());
    }

    #[test]
    fn a_drain_leaves_the_watch_alone() {
        let now = Instant::now();
        let mut posted = busy(now);
        posted.post(1, || now);
        assert_eq!(posted.drain(), [1]);
        assert_eq!(posted.summons(), Summons::Watched);
        assert!(!posted.end_watch());
    }

    #[test]
    fn a_flush_leaves_a_raised_signal_alone() {
        let now = Instant::now();
        let mut posted = Posted::default();
        posted.post(1, unread);
        assert_eq!(posted.flush(now), [1]);
        // The descriptor is readable still: a drain follows.
        assert_eq!(posted.summons(), Summons::Raised);
        assert_eq!(posted.post(2, unread), AfterPost::Nothing);
        assert_eq!(posted.drain(), [2]);
    }
}
