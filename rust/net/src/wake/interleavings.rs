//! Every interleaving of posting and sending threads, the loop, the engine's watch and the clock,
//! up to a bound, over the two state machines: each step is what the shells do under one lock.
//!
//! (Not with the `loom` crate: `--cfg loom` changes tokio, too, and leaves it without sockets.)

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::tests::note;
use super::batch::{AfterFlush, AfterNote, Batch, Look, Looked, PATIENCE};
use super::summons::{AfterPost, Posted, SOON, Summons};

/// Visits everything that can follow `first`; returns how many states there are.
fn explore<W: Clone + Eq + Hash>(
    first: W,
    steps: impl Fn(&W) -> Vec<W>,
    check: impl Fn(&W),
) -> usize {
    let mut seen = HashSet::from([first.clone()]);
    let mut open = VecDeque::from([first]);
    while let Some(world) = open.pop_front() {
        check(&world);
        for next in steps(&world) {
            if seen.insert(next.clone()) {
                open.push_back(next);
            }
        }
    }
    seen.len()
}

/// A mailbox with two posting threads.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Mail {
    posted: Posted,
    is_raised: bool,
    raises: usize,
    /// The loop has cleared the signal and not taken the tokens yet.
    is_draining: bool,
    flushes: usize,
    watch: Option<Watching>,
    /// How many tokens each thread has posted.
    posts: [u64; 2],
    taken: Vec<u64>,
    now: Instant,
    ticks: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Watching {
    Sleeping {
        until: Instant,
    },
    /// It has looked, or its runtime has ended: it is about to be dropped.
    Ending,
}

const POSTS: u64 = 2;
const FLUSHES: usize = 3;
const TICK: Duration = Duration::from_millis(2);
const TICKS: u32 = 6;

impl Mail {
    fn new() -> Self {
        Self {
            posted: Posted::default(),
            is_raised: false,
            raises: 0,
            is_draining: false,
            flushes: 0,
            watch: None,
            posts: [0; 2],
            taken: Vec::new(),
            now: Instant::now(),
            ticks: 0,
        }
    }

    fn raise(&mut self) {
        assert!(!self.is_raised, "raised twice for one drain");
        self.is_raised = true;
        self.raises += 1;
    }

    fn post(&mut self, thread: usize) {
        let token = thread as u64 * 10 + self.posts[thread];
        self.posts[thread] += 1;
        let now = self.now;
        match self.posted.post(token, || now) {
            AfterPost::Nothing => {}
            AfterPost::Raise => self.raise(),
            AfterPost::Watch { until } => {
                assert!(self.watch.is_none(), "two watches");
                self.watch = Some(Watching::Sleeping { until });
            }
        }
    }

    /// Returns what any of them may do next, one step each.
    fn steps(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut step = |is_possible: bool, change: &dyn Fn(&mut Self)| {
            if is_possible {
                let mut next = self.clone();
                change(&mut next);
                all.push(next);
            }
        };
        for thread in 0..self.posts.len() {
            step(self.posts[thread] < POSTS, &|next| next.post(thread));
        }
        step(self.is_raised && !self.is_draining, &|next| {
            next.is_raised = false;
            next.is_draining = true;
        });
        step(self.is_draining, &|next| {
            next.is_draining = false;
            next.taken.extend(next.posted.drain());
        });
        step(!self.is_draining && self.flushes < FLUSHES, &|next| {
            next.flushes += 1;
            next.taken.extend(next.posted.flush(next.now));
        });
        match self.watch {
            Some(Watching::Sleeping { until }) => {
                step(self.now >= until, &|next| {
                    next.watch = Some(match next.posted.watch_again(next.now) {
                        Some(until) => Watching::Sleeping { until },
                        None => Watching::Ending,
                    });
                });
                step(true, &|next| next.watch = Some(Watching::Ending));
            }
            Some(Watching::Ending) => step(true, &|next| {
                next.watch = None;
                if next.posted.end_watch() {
                    next.raise();
                }
            }),
            None => {}
        }
        step(self.ticks < TICKS, &|next| {
            next.ticks += 1;
            next.now += TICK;
        });
        all
    }

    fn check(&self) {
        let is_heard = self.is_raised || self.is_draining || self.watch.is_some();
        assert!(
            self.posted.is_empty() || is_heard,
            "a token without a summons"
        );
        let is_watched = self.posted.summons() == Summons::Watched;
        assert_eq!(is_watched, self.watch.is_some());
        let is_raised = self.posted.summons() == Summons::Raised;
        assert_eq!(is_raised, self.is_raised || self.is_draining);
        if let Some(Watching::Sleeping { until }) = self.watch {
            assert!(until <= self.now + SOON, "a watch that looks too late");
        }
        let posted: u64 = self.posts.iter().sum();
        assert!(self.raises as u64 <= posted, "more wake-ups than tokens");
        for thread in 0..self.posts.len() as u64 {
            let own: Vec<_> = self
                .taken
                .iter()
                .filter(|token| *token / 10 == thread)
                .collect();
            assert!(own.is_sorted_by(|a, b| a < b), "twice, or out of order");
        }
        // Where nothing can happen any more, everything has arrived.
        if self.steps().is_empty() {
            assert_eq!(self.taken.len() as u64, POSTS * 2);
        }
    }
}

#[test]
fn no_token_is_lost_in_a_mailbox() {
    let states = explore(Mail::new(), Mail::steps, Mail::check);
    assert!(
        states > 10_000,
        "only {states} states: the model has come apart"
    );
}

/// An outbox with two sessions on one loop.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sends {
    batch: Batch<u8>,
    watch: Option<Until>,
    /// The loop's note that it has flushed, for a watch that waits or is about to.
    is_hurried: bool,
    is_flush_due: bool,
    sent: [u8; 2],
    /// Whether each session has sends that its pumps have not been notified of.
    waiting: [bool; 2],
    now: Instant,
    ticks: u32,
}

/// When the watch looks. `None`: as soon as it can.
type Until = Option<Instant>;

const SENDS: u8 = 3;
const STEP: Duration = Duration::from_micros(400);
const STEPS: u32 = 6;

impl Sends {
    fn new() -> Self {
        Self {
            batch: Batch::default(),
            watch: None,
            is_hurried: false,
            is_flush_due: false,
            sent: [0; 2],
            waiting: [false; 2],
            now: Instant::now(),
            ticks: 0,
        }
    }

    fn notify(&mut self, sessions: Vec<u8>) {
        for session in sessions {
            self.waiting[usize::from(session)] = false;
        }
    }

    fn send(&mut self, session: u8) {
        let place = usize::from(session);
        self.sent[place] += 1;
        self.waiting[place] = true;
        let noted = note(&mut self.batch, session, self.now);
        if noted.asks_for_flush {
            assert!(!self.is_flush_due, "asked twice");
            self.is_flush_due = true;
        }
        match noted.next {
            AfterNote::Nothing => {}
            AfterNote::Notify(sessions) => self.notify(sessions),
            AfterNote::Call => {
                assert!(self.watch.is_none(), "two watches");
                self.watch = Some(None);
            }
        }
    }

    fn flush(&mut self) {
        self.is_flush_due = false;
        match self.batch.flush() {
            AfterFlush::Notify(sessions) => self.notify(sessions),
            AfterFlush::Nothing => {}
            AfterFlush::Hurry => self.is_hurried = true,
        }
    }

    fn look(&mut self) {
        let now = self.now;
        match self.batch.look(|| now) {
            Looked::Notify(sessions) => {
                self.watch = None;
                self.notify(sessions);
            }
            Looked::Wait(until) => self.watch = Some(Some(until)),
        }
    }

    fn steps(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut step = |is_possible: bool, change: &dyn Fn(&mut Self)| {
            if is_possible {
                let mut next = self.clone();
                change(&mut next);
                all.push(next);
            }
        };
        for session in 0..2 {
            let is_left = self.sent[usize::from(session)] < SENDS;
            step(is_left, &|next| next.send(session));
        }
        step(self.is_flush_due, &Self::flush);
        if let Some(until) = self.watch {
            let is_due = until.is_none_or(|until| self.now >= until);
            step(is_due, &Self::look);
            step(until.is_some() && self.is_hurried, &|next| {
                next.is_hurried = false;
                next.look();
            });
            // The engine ends.
            step(true, &|next| {
                next.watch = None;
                let sessions = next.batch.end_look();
                next.notify(sessions);
            });
        }
        step(self.ticks < STEPS, &|next| {
            next.ticks += 1;
            next.now += STEP;
        });
        all
    }

    fn check(&self) {
        let (look, is_flush_due, since) = self.batch.state();
        assert_eq!(is_flush_due, self.is_flush_due);
        let expected = match self.watch {
            None => Look::None,
            Some(None) => Look::Called,
            Some(Some(_)) => Look::Waiting,
        };
        assert_eq!(look, expected);
        assert_eq!(self.batch.is_empty(), self.waiting == [false; 2]);
        let is_heard = self.is_flush_due || self.watch.is_some();
        assert!(
            self.batch.is_empty() || is_heard,
            "a send without a look or a flush"
        );
        if let (Some(Some(until)), Some(since)) = (self.watch, since) {
            assert!(until <= since + PATIENCE, "a send that waits too long");
        }
        if self.steps().is_empty() {
            assert!(self.batch.is_empty());
        }
    }
}

#[test]
fn no_send_is_lost_in_an_outbox() {
    let states = explore(Sends::new(), Sends::steps, Sends::check);
    assert!(
        states > 1_000,
        "only {states} states: the model has come apart"
    );
}
