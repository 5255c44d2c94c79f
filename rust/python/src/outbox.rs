//! The sends of one event loop, told to the engine together.
//!
//! To tell the engine costs a system call and, while it sleeps, a change of threads. So the first
//! send calls the engine, and what is sent until it comes costs nothing. A session that is alone is
//! told at once. Several, or one where the last time there were several, wait until the loop
//! flushes, having done what else was ready: they are written together. An iteration of the loop may
//! be long, and an application may even stand in it: after [`PATIENCE`] the engine takes over by
//! itself.
//!
//! ```text
//!           note                look: several, and the loop has not flushed
//!   None ──────────▶ Called ──────────────────────────────────────────────▶ Waiting
//!    ▲                 │ look: one, or flushed                                 │
//!    └─────────────────┴───────────────────────────────────────────────────────┘
//!                                                     look: flushed, or patience is over
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use dgsm_net::engine::Engine;
use dgsm_net::session::SharedSession;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// So many sends are told at once: the engine works alongside a loop that sends without pause.
const BATCH: usize = 32;
/// A send waits so long for others.
const PATIENCE: Duration = Duration::from_millis(1);

/// What has been sent on one event loop, and not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// The loop has flushed while the engine waited for it.
    flushed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sessions: Vec<Arc<SharedSession>>,
    sends: usize,
    /// When the first of them was noted.
    since: Option<Instant>,
    /// The loop has flushed since.
    is_flushed: bool,
    /// The loop is going to flush.
    is_flush_due: bool,
    /// Sessions noted since the last flush.
    noted: usize,
    /// There were several before the last flush.
    are_several: bool,
    watch: Watched,
    engine: Weak<Engine>,
}

/// Whether the engine is going to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watched {
    #[default]
    None,
    /// It has been called, and looks as soon as it can.
    Called,
    /// It has looked, and looks again after a flush, or when its patience is over.
    Waiting,
}

impl Outbox {
    /// Where the sessions' legs are pumped.
    pub(crate) fn set_engine(&self, engine: &Arc<Engine>) {
        self.lock().engine = Arc::downgrade(engine);
    }

    /// Notes that a session has something to send. True: the caller has the loop call `flush`.
    pub(crate) fn note(self: &Arc<Self>, session: &Arc<SharedSession>) -> bool {
        let mut state = self.lock();
        let again = state
            .sessions
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, session));
        if !again {
            state.sessions.push(Arc::clone(session));
            state.noted += 1;
        }
        state.sends += 1;
        state.since.get_or_insert_with(Instant::now);
        let is_news = !std::mem::replace(&mut state.is_flush_due, true);
        if state.sends == BATCH {
            state.tell();
        } else if state.watch == Watched::None
            && let Some(engine) = state.engine.upgrade()
        {
            state.watch = Watched::Called;
            // An engine that is ending drops what it is given at once, and that takes the lock.
            drop(state);
            engine.handle().spawn(Watch::over(self).keep());
        }
        is_news
    }

    /// The loop has done what was ready: everything noted is told.
    pub(crate) fn flush(&self) {
        let mut state = self.lock();
        state.is_flush_due = false;
        state.are_several = std::mem::take(&mut state.noted) > 1;
        state.is_flushed = !state.sessions.is_empty();
        match state.watch {
            Watched::None => state.tell(),
            Watched::Called => {}
            Watched::Waiting => {
                drop(state);
                self.flushed.notify_one();
            }
        }
    }

    /// What the engine does now.
    fn look(&self) -> Look {
        let mut state = self.lock();
        if let Some(until) = state.held_until() {
            state.watch = Watched::Waiting;
            Look::Wait(until)
        } else {
            state.watch = Watched::None;
            Look::Tell(state.take())
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Until when what was noted waits for more; `None`: no longer.
    fn held_until(&self) -> Option<Instant> {
        let until = self.since? + PATIENCE;
        let is_held = self.are_several || self.sessions.len() > 1;
        let waits = is_held && !self.is_flushed && Instant::now() < until;
        waits.then_some(until)
    }

    fn take(&mut self) -> Vec<Arc<SharedSession>> {
        self.sends = 0;
        self.since = None;
        self.is_flushed = false;
        std::mem::take(&mut self.sessions)
    }

    fn tell(&mut self) {
        let sessions = self.take();
        match self.engine.upgrade() {
            // From the engine's own thread a bell costs no system call.
            Some(engine) if sessions.len() > 1 => {
                engine.handle().spawn(async move { ring(&sessions) });
            }
            _ => ring(&sessions),
        }
    }
}

fn ring(sessions: &[Arc<SharedSession>]) {
    for session in sessions {
        session.ring();
    }
}

enum Look {
    Tell(Vec<Arc<SharedSession>>),
    Wait(Instant),
}

/// The engine's look at what was noted. When it ends, in whatever way, all of it is told.
struct Watch {
    outbox: Arc<Outbox>,
    is_over: bool,
}

impl Watch {
    fn over(outbox: &Arc<Outbox>) -> Self {
        Self {
            outbox: Arc::clone(outbox),
            is_over: false,
        }
    }

    async fn keep(mut self) {
        loop {
            match self.outbox.look() {
                Look::Tell(sessions) => {
                    self.is_over = true;
                    return ring(&sessions);
                }
                Look::Wait(until) => {
                    // Flushed or not: it looks.
                    let _ = timeout_at(until, self.outbox.flushed.notified()).await;
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_over {
            let mut state = self.outbox.lock();
            state.watch = Watched::None;
            let sessions = state.take();
            drop(state);
            ring(&sessions);
        }
    }
}
