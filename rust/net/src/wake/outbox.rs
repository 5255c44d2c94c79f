//! The outbox of one event loop: its sends, passed to the engine together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::batch::{AfterFlush, AfterNote, Batch, Looked};
use crate::engine::Engine;

/// What has legs that pump its messages.
pub trait Pumped: Send + Sync + 'static {
    /// Has the pumps look for something to send.
    fn notify_pumps(&self);
}

/// The sends of one event loop that its sessions' pumps have not been notified of.
#[derive(Debug)]
pub struct Outbox<T> {
    state: Mutex<State<T>>,
    /// The loop has flushed while the engine waited for it.
    flushed: Notify,
}

#[derive(Debug)]
struct State<T> {
    batch: Batch<Arc<T>>,
    engine: Weak<Engine>,
}

impl<T> Default for Outbox<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                batch: Batch::default(),
                engine: Weak::new(),
            }),
            flushed: Notify::new(),
        }
    }
}

impl<T: Pumped> Outbox<T> {
    /// Sets the engine that pumps the sessions' legs.
    pub fn set_engine(&self, engine: &Arc<Engine>) {
        self.lock().engine = Arc::downgrade(engine);
    }

    /// Notes that `session` has something to send. Returns whether the caller has to make the loop
    /// call `flush`.
    pub fn note(self: &Arc<Self>, session: &Arc<T>) -> bool {
        let mut state = self.lock();
        let engine = if state.batch.is_looked_at() {
            None
        } else {
            state.engine.upgrade()
        };
        let noted = state.batch.note(
            |last| Arc::ptr_eq(last, session),
            || Arc::clone(session),
            engine.is_some(),
            Instant::now,
        );
        match noted.next {
            AfterNote::Notify(sessions) => {
                let engine = state.engine.upgrade();
                drop(state);
                notify_from_loop(sessions, engine);
            }
            AfterNote::Call => {
                // An engine that is ending drops what it is given at once, and that takes the lock.
                drop(state);
                if let Some(engine) = engine {
                    engine.handle().spawn(Watch::over(self).keep());
                }
            }
            AfterNote::Nothing => {}
        }
        noted.asks_for_flush
    }

    /// The loop has done what was ready: notifies the pumps of every noted session.
    pub fn flush(&self) {
        let mut state = self.lock();
        match state.batch.flush() {
            AfterFlush::Notify(sessions) => {
                let engine = state.engine.upgrade();
                drop(state);
                notify_from_loop(sessions, engine);
            }
            AfterFlush::Nothing => {}
            AfterFlush::Hurry => {
                drop(state);
                self.flushed.notify_one();
            }
        }
    }
}

impl<T> Outbox<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notifies from the event loop's thread.
fn notify_from_loop<T: Pumped>(sessions: Vec<Arc<T>>, engine: Option<Arc<Engine>>) {
    match engine {
        // On the engine's own thread waking a pump costs no system call.
        Some(engine) if sessions.len() > 1 => {
            engine.handle().spawn(async move { notify(&sessions) });
        }
        _ => notify(&sessions),
    }
}

fn notify<T: Pumped>(sessions: &[Arc<T>]) {
    for session in sessions {
        session.notify_pumps();
    }
}

/// The engine's look at what was noted. However it ends, every noted session's pumps are notified.
struct Watch<T: Pumped> {
    outbox: Arc<Outbox<T>>,
    is_over: bool,
}

impl<T: Pumped> Watch<T> {
    fn over(outbox: &Arc<Outbox<T>>) -> Self {
        Self {
            outbox: Arc::clone(outbox),
            is_over: false,
        }
    }

    async fn keep(mut self) {
        loop {
            let looked = self.outbox.lock().batch.look(Instant::now);
            match looked {
                Looked::Notify(sessions) => {
                    self.is_over = true;
                    return notify(&sessions);
                }
                Looked::Wait(until) => {
                    // Whether it was flushed or is late, it looks.
                    let _ = timeout_at(until, self.outbox.flushed.notified()).await;
                }
            }
        }
    }
}

impl<T: Pumped> Drop for Watch<T> {
    fn drop(&mut self) {
        if !self.is_over {
            let sessions = self.outbox.lock().batch.end_look();
            notify(&sessions);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Counts how often its pumps were notified.
    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Pumped for Counted {
        fn notify_pumps(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Counted {
        fn notified(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn eventually(condition: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if condition() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("it never happened");
    }

    #[test]
    fn without_an_engine_the_flush_notifies() {
        let outbox = Arc::new(Outbox::default());
        let session = Arc::new(Counted::default());
        assert!(outbox.note(&session));
        assert!(!outbox.note(&session));
        assert_eq!(session.notified(), 0);
        outbox.flush();
        assert_eq!(session.notified(), 1);
        assert!(outbox.note(&session));
    }

    #[test]
    fn with_an_engine_no_flush_is_needed() {
        let engine = Engine::shared().unwrap();
        let outbox = Arc::new(Outbox::default());
        outbox.set_engine(&engine);
        let sessions = [(); 3].map(|()| Arc::new(Counted::default()));
        for session in &sessions {
            outbox.note(session);
        }
        eventually(|| sessions.iter().all(|session| session.notified() > 0));
    }

    #[test]
    fn an_engine_that_has_ended_is_not_called() {
        let outbox = Arc::new(Outbox::default());
        outbox.set_engine(&Engine::shared().unwrap());
        let session = Arc::new(Counted::default());
        outbox.note(&session);
        outbox.flush();
        // By the engine's look, by its end, or by the flush.
        eventually(|| session.notified() > 0);
    }
}
