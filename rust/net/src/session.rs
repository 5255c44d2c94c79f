//! A session, shared between the application's thread and the pumps of its legs.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
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
use crate::wake::interest::{self, Waiter};
use crate::wake::outbox::Pumped;

/// The most names of unknown events that are reported: a service must not fill the log.
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
    /// Events of unknown types, which are reported and skipped.
    skipped: Mutex<Skipped>,
    waiter: Waiter,
}

/// What a session has for who reads it.
#[derive(Debug)]
pub enum Next {
    /// A message.
    Message(Frame),
    /// Nothing now. The reader is woken when there is something.
    Nothing,
    /// Nothing, and there will be nothing more.
    Over,
}

/// The types of unknown events, each once, with the time of the first one.
#[derive(Debug, Default)]
struct Skipped {
    names: Vec<(Duration, String)>,
    /// The number of names that were taken.
    taken: usize,
}

/// The number of legs that are up, and the session's permits. A permit passes from one leg to the
/// next, and is given back with the last.
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
    /// Shares a session. Its clock starts now.
    #[must_use]
    pub fn new(session: Session, wake: Arc<dyn Wake>) -> Arc<Self> {
        Self::with(session, Waiter::new(wake))
    }

    /// Shares a session whose application is a task of the engine's: it pushes and reads, and has
    /// itself woken by [`SharedSession::listen`]. `wake` is for the driver alone.
    #[must_use]
    pub fn carried(session: Session, wake: Arc<dyn Wake>) -> Arc<Self> {
        Self::with(session, Waiter::carried(wake))
    }

    fn with(session: Session, waiter: Waiter) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(session),
            began: Instant::now(),
            pumps: Notify::new(),
            read: Notify::new(),
            legs: Mutex::default(),
            skipped: Mutex::default(),
            waiter,
        })
    }

    /// Returns whether a task of the engine's is the application.
    #[must_use]
    pub fn is_carried(&self) -> bool {
        self.waiter.is_carried()
    }

    /// Locks the session. Nothing that waits may be done under the lock.
    pub fn lock(&self) -> MutexGuard<'_, Session> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since the session began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    // The application's side.

    /// Takes a message of the application. The caller notifies the pumps, once for many messages.
    /// The driver is called where it is wanted: a session with nothing unacknowledged has no leg
    /// until there is something to send, and the driver reports what happens.
    ///
    /// # Errors
    /// Why the message was not taken. Where there is no room, the application is woken when there
    /// is.
    pub fn push(&self, frame: Frame) -> Result<(), PushError> {
        let now = self.now();
        let mut session = self.lock();
        let pushed = session.push(now, frame);
        if matches!(pushed, Err(PushError::Full)) {
            self.arm(interest::WRITABLE);
        }
        let wanted = match pushed {
            Ok(()) => session.driver_wanted(now),
            Err(PushError::Full) => session.has_notice(),
            Err(PushError::Closed | PushError::Failed) => false,
        };
        drop(session);
        if matches!(pushed, Err(PushError::Full)) {
            // The leg stays alive while the application waits, and the pump keeps that time.
            self.notify_pumps();
        }
        if wanted {
            self.call_driver();
        }
        pushed
    }

    /// Returns the next message for the application. With none it is woken when there is one.
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

    /// Returns the next message, or whether there will be one.
    pub fn next(&self) -> Next {
        let mut session = self.lock();
        if let Some(frame) = session.pop() {
            drop(session);
            self.has_read();
            return Next::Message(frame);
        }
        if session.outcome() != Outcome::Open {
            return Next::Over;
        }
        self.arm(interest::READABLE);
        Next::Nothing
    }

    /// Has the task that is the application woken for what it finds missing from now on.
    pub fn listen(&self, waker: &Waker) {
        self.waiter.listen(waker);
    }

    /// Wakes the task that is the application.
    pub fn call_carrier(&self) {
        self.waiter.call_carrier();
    }

    /// Ends the application's input.
    pub fn finish(&self) {
        let now = self.now();
        self.lock().finish(now);
        self.notify_pumps();
    }

    /// Ends everything now: legs are reset, nothing more is sent or received.
    pub fn abort(&self) {
        let now = self.now();
        self.lock().abort(now);
        self.notify_pumps();
    }

    /// Returns what the driver does next. A wait ends in time for what the session does by itself:
    /// without a leg only the driver keeps the session's clock.
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

    /// Reports that the leg that the session wanted could not be opened. `step` says what follows.
    pub fn open_failed(&self, reason: Reason) {
        let now = self.now();
        let _ = self.lock().open_failed(now, reason);
    }

    /// Takes what has happened since the last call, each with the time that has passed since.
    pub fn take_notices(&self) -> Vec<(Duration, Notice)> {
        let mut session = self.lock();
        let now = self.now();
        std::iter::from_fn(|| session.pop_notice())
            .map(|(at, notice)| (now.saturating_sub(at), notice))
            .collect()
    }

    /// Has pumps that hold back credit check again: the application has read.
    pub fn has_read(&self) {
        self.read.notify_waiters();
    }

    /// Notes what the application waits for. The caller holds the session's lock and has found
    /// nothing: no change falls in between.
    pub fn arm(&self, interests: u8) {
        self.waiter.arm(interests);
    }

    /// Takes the bits of what has happened since the last call.
    pub fn take_happened(&self) -> u8 {
        self.waiter.take_happened()
    }

    /// Takes the types noted by [`SharedSession::skip`] since the last call, each with the time that
    /// has passed since.
    pub fn take_skipped(&self) -> Vec<(Duration, String)> {
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let all = skipped.names.len();
        let taken = std::mem::replace(&mut skipped.taken, all);
        skipped.names[taken..]
            .iter()
            .map(|(at, name)| (now.saturating_sub(*at), name.clone()))
            .collect()
    }

    // The legs' side.

    /// Changes the session, and wakes the application if what it waits for has happened.
    pub fn update<R>(&self, change: impl FnOnce(&mut Session, Duration) -> R) -> R {
        let now = self.now();
        let mut session = self.lock();
        let result = change(&mut session, now);
        let news = news(&session, now);
        drop(session);
        self.waiter.notify(news);
        result
    }

    /// Has the driver ask the session again, whether or not there is something to do at once.
    pub fn call_driver(&self) {
        self.waiter.notify(interest::DRIVER);
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

    /// Returns the moment of a time on the session's clock.
    #[must_use]
    pub fn instant(&self, time: Duration) -> Instant {
        later(self.began, time)
    }

    /// Returns when the session wants to be ticked, if at all; a break when it is over, or no
    /// longer wants this leg.
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

    /// Does what is due by the clock; it may concern any leg.
    pub fn tick(&self) {
        self.update(Session::tick);
        self.notify_pumps();
    }

    /// Notes an event of a type that this version does not know.
    pub fn skip(&self, event_type: &str) {
        let event_type = quote::name(event_type);
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = skipped.names.iter().any(|(_, name)| *name == event_type);
        if skipped.names.len() < MAX_SKIPPED && !known {
            skipped.names.push((self.now(), event_type));
            drop(skipped);
            self.call_driver();
        }
    }

    /// Counts a leg in, with its permit if it has one.
    pub fn join(&self, permit: Option<Permit>) {
        let mut legs = self.legs.lock().unwrap_or_else(PoisonError::into_inner);
        legs.up += 1;
        legs.permits.extend(permit);
    }

    /// Counts a leg out, and gives back the permits that the remaining legs do not need.
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

/// Returns what the session has for the application, as bits of `interest`.
fn news(session: &Session, now: Duration) -> u8 {
    let over = session.outcome() != Outcome::Open;
    let mut news = 0;
    if over || session.has_message() {
        news |= interest::READABLE;
    }
    if over || session.is_writable(now) {
        news |= interest::WRITABLE;
    }
    if session.driver_wanted(now) || session.has_notice() {
        news |= interest::DRIVER;
    }
    news
}
