//! The sends of one event loop, told to the engine together.
//!
//! To tell the engine costs a system call and, while it sleeps, a change of threads. So a loop tells
//! it once an iteration: a send is noted, and the loop flushes when it has done what else was ready.
//! An iteration may be long, when many results are ready at once: what was noted is told after
//! [`PATIENCE`] at the next occasion.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use dgsm_net::engine::Engine;
use dgsm_net::session::SharedSession;

/// So many sends are told at once: the engine works alongside a loop that sends without pause.
const BATCH: usize = 32;
/// A send waits so long for others, where the loop comes by before it flushes.
const PATIENCE: Duration = Duration::from_millis(1);

/// What has been sent on one event loop, and not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<Arc<SharedSession>>,
    sends: usize,
    /// When the first of them was noted.
    since: Option<Instant>,
    /// The loop is going to flush.
    is_flush_due: bool,
    engine: Weak<Engine>,
}

impl Outbox {
    /// Where the sessions' legs are pumped.
    pub(crate) fn set_engine(&self, engine: &Arc<Engine>) {
        self.lock().engine = Arc::downgrade(engine);
    }

    /// Notes that a session has something to send. True: the caller has the loop call `flush`.
    pub(crate) fn note(&self, session: &Arc<SharedSession>) -> bool {
        let mut state = self.lock();
        let again = state
            .sessions
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, session));
        if !again {
            state.sessions.push(Arc::clone(session));
        }
        state.sends += 1;
        let now = Instant::now();
        let since = *state.since.get_or_insert(now);
        if state.sends == BATCH || now - since >= PATIENCE {
            state.tell();
            return false;
        }
        !std::mem::replace(&mut state.is_flush_due, true)
    }

    /// Tells the engine of what was noted some time ago.
    pub(crate) fn flush_overdue(&self) {
        let mut state = self.lock();
        if state.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            state.tell();
        }
    }

    /// Tells the engine of everything noted.
    pub(crate) fn flush(&self) {
        let mut state = self.lock();
        state.is_flush_due = false;
        state.tell();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self) {
        self.sends = 0;
        self.since = None;
        match (self.engine.upgrade(), self.sessions.len()) {
            (_, 0) => {}
            // From the engine's own thread a bell costs no system call.
            (Some(engine), 2..) => {
                let sessions = std::mem::take(&mut self.sessions);
                engine.handle().spawn(async move {
                    for session in sessions {
                        session.ring();
                    }
                });
            }
            _ => {
                for session in self.sessions.drain(..) {
                    session.ring();
                }
            }
        }
    }
}
