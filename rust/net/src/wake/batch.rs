//! The sends of one event loop that its sessions' pumps have not been notified of.
//!
//! Waking the engine costs a system call and, while it sleeps, a change of threads. So the first
//! send calls the engine, and what is sent until it looks costs nothing. The pumps of a session that
//! is alone are notified at once. Several sessions, or one where there were several before the last
//! flush, wait until the loop flushes after everything that was ready, and are written together. An
//! iteration of the loop may be long, and an application may block it: after [`PATIENCE`] the
//! engine goes on without the flush.
//!
//! ```text
//!           note                look: several, and the loop has not flushed
//!   None ──────────▶ Called ──────────────────────────────────────────────▶ Waiting
//!    ▲                 │ look: one, or flushed                                 │
//!    └─────────────────┴───────────────────────────────────────────────────────┘
//!                                                     look: flushed, or patience is over
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// After this number of sends the pumps are notified at once: the engine works alongside a loop
/// that sends without pause.
pub(super) const BATCH: usize = 32;
/// The longest time that a send waits for others.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);

/// The senders that were noted and whose pumps were not notified, in order, each once in a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Batch<T> {
    senders: Vec<T>,
    sends: usize,
    /// When the first of them was noted.
    since: Option<Instant>,
    /// The loop has flushed since.
    is_flushed: bool,
    /// The loop has been asked to flush.
    is_flush_due: bool,
    /// Senders noted since the last flush.
    noted: usize,
    /// There were several before the last flush.
    are_several: bool,
    look: Look,
}

/// Whether the engine is going to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Look {
    #[default]
    None,
    /// It has been called, and looks as soon as it can.
    Called,
    /// It has looked, and looks again after a flush or when its patience is over.
    Waiting,
}

/// What has to be done after a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted<T> {
    /// The loop has to be asked to flush.
    pub(super) asks_for_flush: bool,
    /// What else.
    pub(super) next: AfterNote<T>,
}

/// What a note leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AfterNote<T> {
    /// Nothing: the engine is going to look, or the flush notifies.
    Nothing,
    /// Notify these now.
    Notify(Vec<T>),
    /// Call the engine.
    Call,
}

/// What has to be done after a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AfterFlush<T> {
    /// Notify these now; there may be none.
    Notify(Vec<T>),
    /// Nothing: the engine looks by itself.
    Nothing,
    /// Have the waiting engine look.
    Hurry,
}

/// What the engine does when it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Looked<T> {
    /// Notify these, and stop looking.
    Notify(Vec<T>),
    /// Look again at this time, or after a flush.
    Wait(Instant),
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self {
            senders: Vec::new(),
            sends: 0,
            since: None,
            is_flushed: false,
            is_flush_due: false,
            noted: 0,
            are_several: false,
            look: Look::None,
        }
    }
}

impl<T> Batch<T> {
    /// Returns whether the engine is going to look.
    pub(super) fn is_looked_at(&self) -> bool {
        self.look != Look::None
    }

    /// Notes a send. `is_same` says whether the last sender is this one; `has_engine`, whether
    /// there is an engine to call.
    pub(super) fn note(
        &mut self,
        is_same: impl FnOnce(&T) -> bool,
        sender: impl FnOnce() -> T,
        has_engine: bool,
        clock: impl FnOnce() -> Instant,
    ) -> Noted<T> {
        if !self.senders.last().is_some_and(is_same) {
            self.senders.push(sender());
            self.noted += 1;
        }
        self.sends += 1;
        self.since.get_or_insert_with(clock);
        let asks_for_flush = !std::mem::replace(&mut self.is_flush_due, true);
        let next = if self.sends == BATCH {
            AfterNote::Notify(self.take())
        } else if self.look == Look::None && has_engine {
            self.look = Look::Called;
            AfterNote::Call
        } else {
            AfterNote::Nothing
        };
        Noted {
            asks_for_flush,
            next,
        }
    }

    /// The loop has done what was ready. Returns what follows.
    pub(super) fn flush(&mut self) -> AfterFlush<T> {
        self.is_flush_due = false;
        self.are_several = std::mem::take(&mut self.noted) > 1;
        self.is_flushed = !self.senders.is_empty();
        match self.look {
            Look::None => AfterFlush::Notify(self.take()),
            Look::Called => AfterFlush::Nothing,
            Look::Waiting => AfterFlush::Hurry,
        }
    }

    /// The engine looks. Returns what follows.
    pub(super) fn look(&mut self, clock: impl FnOnce() -> Instant) -> Looked<T> {
        if let Some(until) = self.held_until(clock) {
            self.look = Look::Waiting;
            Looked::Wait(until)
        } else {
            Looked::Notify(self.end_look())
        }
    }

    /// The engine stops looking. Returns what was noted.
    pub(super) fn end_look(&mut self) -> Vec<T> {
        self.look = Look::None;
        self.take()
    }

    /// Returns the time until which the noted sends wait for more; `None`: they wait no longer.
    fn held_until(&self, clock: impl FnOnce() -> Instant) -> Option<Instant> {
        let until = self.since? + PATIENCE;
        let is_held = self.are_several || self.senders.len() > 1;
        (is_held && !self.is_flushed && clock() < until).then_some(until)
    }

    fn take(&mut self) -> Vec<T> {
        self.sends = 0;
        self.since = None;
        self.is_flushed = false;
        std::mem::take(&mut self.senders)
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> (Look, bool, Option<Instant>) {
        (self.look, self.is_flush_due, self.since)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Notes a send of `sender`, where there is an engine.
    pub(in super::super) fn note(batch: &mut Batch<u8>, sender: u8, now: Instant) -> Noted<u8> {
        batch.note(|last| *last == sender, || sender, true, || now)
    }

    fn called(asks_for_flush: bool) -> Noted<u8> {
        Noted {
            asks_for_flush,
            next: AfterNote::Call,
        }
    }

    fn nothing(asks_for_flush: bool) -> Noted<u8> {
        Noted {
            asks_for_flush,
            next: AfterNote::Nothing,
        }
    }

    fn unread() -> Instant {
        panic!("the clock was read")
    }

    #[test]
    fn the_first_send_calls_the_engine_and_asks_for_a_flush() {
        let now = Instant::now();
        let mut batch = Batch::default();
        assert_eq!(note(&mut batch, 1, now), called(true));
        assert!(batch.is_looked_at());
        assert_eq!(note(&mut batch, 1, now), nothing(false));
        assert_eq!(note(&mut batch, 2, now), nothing(false));
    }

    #[test]
    fn one_that_is_alone_is_notified_as_the_engine_looks() {
        let now = Instant::now();
        let mut batch = Batch::default();
        note(&mut batch, 1, now);
        note(&mut batch, 1, now);
        assert_eq!(batch.look(unread), Looked::Notify(vec![1]));
        assert!(!batch.is_looked_at());
        // The flush is due still, and has nothing to tell.
        assert_eq!(note(&mut batch, 1, now), called(false));
        assert_eq!(batch.look(unread), Looked::Notify(vec![1]));
        assert_eq!(batch.flush(), AfterFlush::Notify(vec![]));
        assert_eq!(note(&mut batch, 1, now), called(true));
    }

    #[test]
    fn several_wait_for_the_flush() {
        let now = Instant::now();
        let mut batch = Batch::default();
        note(&mut batch, 1, now);
        note(&mut batch, 2, now);
        let until = now + PATIENCE;
        assert_eq!(batch.look(|| now), Looked::Wait(until));
        assert_eq!(batch.flush(), AfterFlush::Hurry);
        assert_eq!(batch.look(unread), Looked::Notify(vec![1, 2]));
    }

    #[test]
    fn a_flush_before_the_look_spares_the_wait() {
        let now = Instant::now();
        let mut batch = Batch::default();
        note(&mut batch, 1, now);
        note(&mut batch, 2, now);
        assert_eq!(batch.flush(), AfterFlush::Nothing);
        assert_eq!(batch.look(unread), Looked::Notify(vec![1, 2]));
    }

    #[test]
    fn patience_ends_without_a_flush() {
        let now = Instant::now();
        let mut batch = Batch::default();
        note(&mut batch, 1, now);
        note(&mut batch, 2, now + PATIENCE / 2);
        let until = now + PATIENCE;
        assert_eq!(batch.look(|| now), Looked::Wait(until));
        assert_eq!(batch.look(|| until), Looked::Notify(vec![1, 2]));
    }

    #[test]
    fn one_waits_where_there_were_several_before_the_last_flush() {
        let now = Instant::now();
        let mut batch = Batch::default();
        note(&mut batch, 1, now);
        note(&mut batch, 2, now);
        batch.flush();
        batch.look(unread);
        assert_eq!(note(&mut batch, 1, now), called(true));
        assert_eq!(batch.look(|| now), Looked::Wait(now + PATIENCE));
        batch.flush();
        batch.look(unread);
        note(&mut batch, 1, now);
        assert_eq!(batch.look(unread), Looked::Notify(vec![1]), "alone again");
    }

    #[test]
    fn many_sends_notify_at_once_and_begin_anew() {
        let now = Instant::now();
        let mut batch = Batch::default();
        note(&mut batch, 1, now);
        for _ in 2..BATCH {
            assert_eq!(note(&mut batch, 1, now), nothing(false));
        }
        let full = note(&mut batch, 1, now);
        assert_eq!(full.next, AfterNote::Notify(vec![1]));
        assert_eq!(
            note(&mut batch, 1, now),
            nothing(false),
            "the engine looks still"
        );
        assert_eq!(batch.look(unread), Looked::Notify(vec![1]));
        assert_eq!(batch.look(unread), Looked::Notify(vec![]));
    }

    #[test]
    fn without_an_engine_the_flush_notifies() {
        let now = Instant::now();
        let mut batch = Batch::default();
        let noted = batch.note(|_| false, || 1, false, || now);
        assert_eq!(noted, nothing(true));
        assert_eq!(batch.flush(), AfterFlush::Notify(vec![1]));
    }

    #[test]
    fn an_engine_that_ends_hands_back_what_was_noted() {
        let now = Instant::now();
        let mut batch = Batch::default();
        note(&mut batch, 1, now);
        note(&mut batch, 2, now);
        assert_eq!(batch.look(|| now), Looked::Wait(now + PATIENCE));
        assert_eq!(batch.end_look(), [1, 2]);
        assert!(!batch.is_looked_at());
    }
}
