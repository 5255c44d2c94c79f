//! A core session, shared between the application's thread and the legs that pump it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dgsm_core::session::{LegId, Outcome, Session};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Wake;

/// What the application's side waits for, as bits.
pub mod interest {
    /// A message, or the end of them.
    pub const READABLE: u8 = 1;
    /// Room for another frame.
    pub const WRITABLE: u8 = 2;
    /// A change that the driver has to look at: a leg ended, one is wanted, the session is over.
    pub const DRIVER: u8 = 4;
}

/// How many legs of a session may be up at a time: two, while one takes over from another.
const LEGS: usize = 2;

/// A session with its clock, its pumps' bells and the application's waker.
pub struct SharedSession {
    state: Mutex<Session>,
    began: Instant,
    /// Rung when there may be something to send, one a leg.
    bells: [Notify; LEGS],
    /// Rung when the application has read, for pumps that hold back credit.
    read: Notify,
    /// Events of unknown types, by name: said in the log, and skipped.
    skipped: Mutex<Vec<String>>,
    /// What the application waits for.
    armed: AtomicU8,
    /// What has happened since it looked last.
    happened: AtomicU8,
    waiter: Arc<dyn Wake>,
}

impl std::fmt::Debug for SharedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedSession").finish_non_exhaustive()
    }
}

impl SharedSession {
    /// Shares a session whose clock starts now.
    #[must_use]
    pub fn new(session: Session, waiter: Arc<dyn Wake>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(session),
            began: Instant::now(),
            bells: [Notify::new(), Notify::new()],
            read: Notify::new(),
            skipped: Mutex::default(),
            armed: AtomicU8::new(0),
            happened: AtomicU8::new(0),
            waiter,
        })
    }

    /// The session, for a moment: nobody waits while holding it.
    pub fn lock(&self) -> MutexGuard<'_, Session> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the session began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The moment of a time on the session's clock.
    #[must_use]
    pub fn instant(&self, time: Duration) -> Instant {
        self.began + time
    }

    /// There may be something to send: the pumps look.
    pub fn ring(&self) {
        for bell in &self.bells {
            bell.notify_one();
        }
    }

    /// The bell of a leg.
    #[must_use]
    pub fn bell(&self, leg: LegId) -> &Notify {
        &self.bells[(leg.number() % LEGS as u64) as usize]
    }

    /// The application has read: a pump that holds back credit looks again.
    pub fn has_read(&self) {
        self.read.notify_waiters();
    }

    /// Returns when the session takes messages again.
    pub async fn wants_messages(&self) {
        loop {
            let read = self.read.notified();
            if self.lock().wants_messages() {
                return;
            }
            read.await;
        }
    }

    /// Notes an event that this version does not know.
    pub fn skip(&self, event_type: String) {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        // Each name once: a service that sends many must not fill the log.
        if !skipped.contains(&event_type) {
            skipped.push(event_type);
        }
    }

    /// Takes the names noted by [`SharedSession::skip`].
    pub fn take_skipped(&self) -> Vec<String> {
        std::mem::take(&mut *self.skipped.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The application waits for this, and looks once more after saying so, under the session's
    /// lock: nothing falls in between.
    pub fn arm(&self, interests: u8) {
        self.armed.fetch_or(interests, Ordering::AcqRel);
    }

    /// Tells the application what it waits for and may now have.
    pub fn tell(&self) {
        let news = self.news(&self.lock());
        // The driver always waits; the others say so, each time.
        let wanted = self.armed.fetch_and(!news, Ordering::AcqRel) | interest::DRIVER;
        let news = news & wanted;
        if news != 0 && self.happened.fetch_or(news, Ordering::AcqRel) == 0 {
            self.waiter.wake();
        }
    }

    fn news(&self, session: &Session) -> u8 {
        let now = self.now();
        let over = session.outcome() != Outcome::Open;
        let mut news = 0;
        if over || session.has_message() {
            news |= interest::READABLE;
        }
        if over || session.is_writable(now) {
            news |= interest::WRITABLE;
        }
        if session.driver_wanted(now) {
            news |= interest::DRIVER;
        }
        news
    }

    /// What has happened since the last call.
    pub fn take_happened(&self) -> u8 {
        self.happened.swap(0, Ordering::AcqRel)
    }
}
