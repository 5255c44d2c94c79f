//! A core session, shared between the application's thread and the legs that pump it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dgsm_leg::frame::Frame;
use dgsm_leg::quote;
use dgsm_leg::reason::Reason;
use dgsm_session::{LegId, Notice, Outcome, PushError, Session, Step};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::clock::later;
use crate::pool::Permit;
use crate::wake::Wake;
use crate::wake::outbox::Pumped;

/// What the application's side waits for, as bits.
pub mod interest {
    /// A message, or the end of them.
    pub const READABLE: u8 = 1;
    /// Room for another frame.
    pub const WRITABLE: u8 = 2;
    /// A change that the driver has to look at: a leg ended, one is wanted, the session is over.
    pub const DRIVER: u8 = 4;
}

/// Names of unknown events that are said in the log: a service must not fill it.
const MAX_SKIPPED: usize = 16;

/// A session with its clock, its pumps and the application's waiter.
pub struct SharedSession {
    state: Mutex<Session>,
    began: Instant,
    /// Notified when there may be something to send.
    pumps: Notify,
    /// Notified when the application has read, for pumps that hold back credit.
    read: Notify,
    legs: Mutex<Legs>,
    /// Events of unknown types: said in the log, and skipped.
    skipped: Mutex<Skipped>,
    /// What the application waits for.
    armed: AtomicU8,
    /// What has happened since it looked last.
    happened: AtomicU8,
    waiter: Arc<dyn Wake>,
}

/// Names of unknown events, each once.
#[derive(Debug, Default)]
struct Skipped {
    names: Vec<String>,
    /// So many of them were taken.
    said: usize,
}

/// The legs that are up, and the session's permits. While one leg takes over from another the
/// permit stays; it goes with the last.
#[derive(Debug, Default)]
struct Legs {
    up: usize,
    permits: Vec<Permit>,
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
            pumps: Notify::new(),
            read: Notify::new(),
            legs: Mutex::default(),
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

    // The application's side.

    /// The application sends a message. The pumps are not told: whoever sends many does that once,
    /// with [`Pumped::notify_pumps`]. The driver is, where it is wanted: a session without anything
    /// unacknowledged stays without a leg until there is something to send.
    ///
    /// # Errors
    /// Why it was not taken. Where there is no room, the application is told when there is.
    pub fn push(&self, frame: Frame) -> Result<(), PushError> {
        let now = self.now();
        let mut session = self.lock();
        let pushed = session.push(now, frame);
        if matches!(pushed, Err(PushError::Full)) {
            self.arm(interest::WRITABLE);
        }
        let wanted = pushed.is_ok() && session.driver_wanted(now);
        drop(session);
        if wanted {
            self.call_driver();
        }
        pushed
    }

    /// The next message for the application. With none the application is told when there is one.
    pub fn pop(&self) -> Option<Frame> {
        let mut session = self.lock();
        let frame = session.pop();
        if frame.is_none() {
            self.arm(interest::READABLE);
        }
        drop(session);
        if frame.is_some() {
            self.has_read();
        }
        frame
    }

    /// The application ends its input.
    pub fn finish(&self) {
        let now = self.now();
        self.lock().finish(now);
        self.notify_pumps();
    }

    /// Ends everything now: legs are reset, nothing more is sent or received.
    pub fn abort(&self) {
        self.lock().abort();
        self.notify_pumps();
    }

    /// What the driver does next. A wait ends in time for what the session does by itself: without a
    /// leg only the driver keeps its clock.
    pub fn step(&self) -> Step {
        let step = self.update(|session, now| match session.step(now) {
            Step::Wait { until } => Step::Wait {
                until: [until, session.deadline()].into_iter().flatten().min(),
            },
            step @ (Step::Open { .. } | Step::Finished | Step::Failed(_)) => step,
        });
        // What was due may concern any leg.
        self.notify_pumps();
        step
    }

    /// The leg that the session wanted could not be opened. What follows is asked for with `step`.
    pub fn open_failed(&self, reason: Reason) {
        let now = self.now();
        let _ = self.lock().open_failed(now, reason);
    }

    /// What happened since the last call.
    pub fn take_notices(&self) -> Vec<Notice> {
        let mut session = self.lock();
        std::iter::from_fn(|| session.pop_notice()).collect()
    }

    /// The application has read: a pump that holds back credit looks again.
    pub fn has_read(&self) {
        self.read.notify_waiters();
    }

    /// The application waits for this, and looks once more after saying so, under the session's
    /// lock: nothing falls in between.
    pub fn arm(&self, interests: u8) {
        self.armed.fetch_or(interests, Ordering::AcqRel);
    }

    /// What has happened since the last call.
    pub fn take_happened(&self) -> u8 {
        self.happened.swap(0, Ordering::AcqRel)
    }

    /// Takes the names noted by [`SharedSession::skip`].
    pub fn take_skipped(&self) -> Vec<String> {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let all = skipped.names.len();
        let said = std::mem::replace(&mut skipped.said, all);
        skipped.names[said..].to_vec()
    }

    // The legs' side.

    /// Changes the session, and tells the application what it waits for and may now have.
    pub fn update<R>(&self, change: impl FnOnce(&mut Session, Duration) -> R) -> R {
        let now = self.now();
        let mut session = self.lock();
        let result = change(&mut session, now);
        let news = news(&session, now);
        drop(session);
        self.tell(news);
        result
    }

    /// The driver asks the session again, whether or not there is something to do at once.
    pub fn call_driver(&self) {
        self.tell(interest::DRIVER);
    }

    fn tell(&self, news: u8) {
        // The driver always waits; the others say so, each time.
        let wanted = self.armed.fetch_and(!news, Ordering::AcqRel) | interest::DRIVER;
        let news = news & wanted;
        if news != 0 && self.happened.fetch_or(news, Ordering::AcqRel) == 0 {
            self.waiter.wake();
        }
    }

    /// Returns at the next `notify_pumps`, also at one between this call and its await.
    pub fn notified(&self) -> Notified<'_> {
        self.pumps.notified()
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

    /// The moment of a time on the session's clock.
    #[must_use]
    pub fn instant(&self, time: Duration) -> Instant {
        later(self.began, time)
    }

    /// When the session wants to be ticked, if ever; a break when it is over, or has done with this
    /// leg.
    pub fn due(&self, leg: LegId) -> ControlFlow<(), Option<Instant>> {
        let now = self.now();
        let session = self.lock();
        match session.outcome() {
            Outcome::Open if session.wants_leg(now, leg) => {
                ControlFlow::Continue(session.deadline().map(|due| self.instant(due)))
            }
            Outcome::Open | Outcome::Clean | Outcome::Failed(_) => ControlFlow::Break(()),
        }
    }

    /// Does what is due by itself; it may concern any leg.
    pub fn tick(&self) {
        self.update(Session::tick);
        self.notify_pumps();
    }

    /// Notes an event that this version does not know.
    pub fn skip(&self, event_type: &str) {
        let event_type = quote::name(event_type);
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if skipped.names.len() < MAX_SKIPPED && !skipped.names.contains(&event_type) {
            skipped.names.push(event_type);
        }
    }

    /// A leg comes up, with its permit if it has one.
    pub fn join(&self, permit: Option<Permit>) {
        let mut legs = self.legs.lock().unwrap_or_else(PoisonError::into_inner);
        legs.up += 1;
        legs.permits.extend(permit);
    }

    /// A leg is gone, and with it whatever permits the legs that are left do not need.
    pub fn leave(&self) {
        let mut legs = self.legs.lock().unwrap_or_else(PoisonError::into_inner);
        legs.up -= 1;
        let up = legs.up;
        legs.permits.truncate(up);
    }
}

impl Pumped for SharedSession {
    fn notify_pumps(&self) {
        self.pumps.notify_waiters();
    }
}

/// What the session has for the application.
fn news(session: &Session, now: Duration) -> u8 {
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
