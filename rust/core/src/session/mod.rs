//! One conversation, over any number of legs: sans I/O, without a clock or randomness of its own.
//!
//! Four parties hold a session, under one lock:
//!
//! - the *application* pushes frames, pops messages, and finishes;
//! - the *driver* asks for the next [`Step`] and opens legs when told to;
//! - each *leg's pump* sends what [`Session::poll_send`] hands out and reports what comes;
//! - the *clock*: whoever is at hand calls [`Session::tick`] at [`Session::deadline`].
//!
//! Every call takes `now`, the time since the session began; times never go back.

mod leg;
mod notice;
mod settings;
mod stats;
mod step;

use std::collections::VecDeque;
use std::time::Duration;

pub use notice::{Level, Notice};
pub use settings::{MIN_UNSENT_BYTES, Settings, Target};
pub use stats::Stats;
pub use step::{
    AfterOpenFailure, FailureCause, LegEnd, LegId, OpenFailure, Outcome, PushError, SendStep,
    SessionFailure, Step,
};

use crate::backoff::{Attempts, Patience, Schedule, Verdict};
use crate::frame::Frame;
use crate::journal::{Control, Item, Journal};
use crate::resume::{Input, Product};
use leg::{Leg, Sending};

/// Where a session stands.
///
/// ```text
///             step: Open            leg_opened
///   Idle ───────────────▶ Opening ─────────────▶ Live
///                         ▲    │ open_failed      │
///           step: Open    │    ▼                  │ the leg ends
///                         Waiting                 │
///                              │                  ▼
///                              └─────────▶ Finished or Failed
/// ```
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// The driver has not asked yet.
    Idle,
    /// The driver opens a leg.
    Opening,
    /// A leg is up.
    Live,
    /// The next try is due at this time.
    Waiting {
        until: Duration,
    },
    Finished,
    Failed(Box<SessionFailure>),
}

/// A session. See the [module](self).
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    product: Product,
    random: SplitMix,
    phase: Phase,
    journal: Journal,
    leg: Option<Leg>,
    /// Legs whose pump has not seen their end yet.
    ended: Vec<Leg>,
    legs: u64,
    attempts: Attempts,
    inbox: VecDeque<Frame>,
    inbox_bytes: usize,
    unread_said: bool,
    /// No more input: `CloseStream` was pushed, or `finish` was called.
    closing: bool,
    /// When `finish` gives up waiting.
    finish_by: Option<Duration>,
    first_push: Option<Duration>,
    notices: VecDeque<Notice>,
    stats: Stats,
}

impl Session {
    /// A session to a target. `seed` is all the randomness it has: give each its own.
    #[must_use]
    pub fn new(settings: Settings, target: &Target<'_>, seed: u64) -> Self {
        Self {
            settings,
            product: Product::at(target),
            random: SplitMix(seed),
            phase: Phase::Idle,
            journal: Journal::new(),
            leg: None,
            ended: Vec::new(),
            legs: 0,
            attempts: Attempts::default(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            unread_said: false,
            closing: false,
            finish_by: None,
            first_push: None,
            notices: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    // The application's side.

    /// Takes a frame to send. After `CloseStream` only what changes nothing is taken.
    ///
    /// # Errors
    /// [`PushError::Full`] when there is no room now; [`PushError::Closed`] after the input's end;
    /// [`PushError::Failed`] after a failure.
    pub fn push(&mut self, now: Duration, frame: Frame) -> Result<(), PushError> {
        match self.phase {
            Phase::Failed(_) => return Err(PushError::Failed),
            Phase::Finished => return Err(PushError::Closed),
            Phase::Idle | Phase::Opening | Phase::Live | Phase::Waiting { .. } => {}
        }
        let input = self.product.classify(&frame);
        if self.closing {
            return match input {
                Input::Control(Control::KeepAlive | Control::Close | Control::Finalize) => Ok(()),
                Input::Media | Input::Control(Control::Configure | Control::Other) => {
                    Err(PushError::Closed)
                }
            };
        }
        // Closing needs no room: an application that wants to stop is not made to wait.
        if input != Input::Control(Control::Close) && !self.is_writable(now) {
            return Err(PushError::Full);
        }
        self.stats.messages_in += 1;
        match input {
            Input::Media => {
                self.first_push.get_or_insert(now);
                self.journal.push_audio(frame.bytes().clone());
            }
            Input::Control(Control::KeepAlive) if self.leg.is_none() => {}
            Input::Control(kind) => {
                self.closing = kind == Control::Close;
                self.journal.push_control(kind, frame);
            }
        }
        Ok(())
    }

    /// Whether a frame would be taken now, or refused for another reason than room.
    #[must_use]
    pub fn is_writable(&self, _now: Duration) -> bool {
        let limit = self.settings.max_replay_buffer_bytes.max(MIN_UNSENT_BYTES);
        self.journal.unsent() < limit as u64
    }

    /// The next message for the application.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.inbox.pop_front()?;
        self.inbox_bytes -= frame.len();
        Some(frame)
    }

    /// Whether a message waits.
    #[must_use]
    pub fn has_message(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Where the session stands once every message is read.
    #[must_use]
    pub fn outcome(&self) -> Outcome<'_> {
        match &self.phase {
            Phase::Finished => Outcome::Clean,
            Phase::Failed(failure) => Outcome::Failed(failure),
            Phase::Idle | Phase::Opening | Phase::Live | Phase::Waiting { .. } => Outcome::Open,
        }
    }

    /// The application closes: no more input; what was sent is answered, within `close_timeout`.
    pub fn finish(&mut self, now: Duration) {
        if self.is_over() || self.finish_by.is_some() {
            return;
        }
        self.finish_by = Some(now + self.settings.close_timeout);
        if self.legs == 0 && self.journal.end() == 0 && self.phase == Phase::Idle {
            self.phase = Phase::Finished;
            return;
        }
        if !self.closing {
            self.closing = true;
            if let Some(frame) = self.product.closing() {
                self.journal.push_control(Control::Close, frame);
            }
        }
    }

    /// Ends the session now, whatever its state: every leg is stopped.
    pub fn abort(&mut self) {
        if let Some(leg) = &mut self.leg {
            leg.sending = Sending::Over;
        }
        if !self.is_over() {
            self.phase = Phase::Finished;
        }
        self.inbox.clear();
        self.inbox_bytes = 0;
    }

    // The driver's side.

    /// What the driver does next.
    pub fn step(&mut self, now: Duration) -> Step {
        self.tick(now);
        match &self.phase {
            Phase::Waiting { until } if now < *until => Step::Wait {
                until: Some(*until),
            },
            Phase::Idle | Phase::Waiting { .. } => {
                self.phase = Phase::Opening;
                self.stats.attempts += 1;
                Step::Open { standby: false }
            }
            Phase::Opening | Phase::Live => Step::Wait { until: None },
            Phase::Finished => Step::Finished,
            Phase::Failed(failure) => Step::Failed(failure.as_ref().clone()),
        }
    }

    /// Whether [`Session::step`] would say something else than to wait: the driver is to ask.
    #[must_use]
    pub fn driver_wanted(&self, now: Duration) -> bool {
        match &self.phase {
            Phase::Waiting { until } => now >= *until,
            Phase::Opening | Phase::Live => false,
            Phase::Idle | Phase::Finished | Phase::Failed(_) => true,
        }
    }

    /// The leg that [`Step::Open`] asked for is up. A leg that is no longer wanted gets
    /// [`SendStep::Stop`] at once.
    pub fn leg_opened(&mut self, now: Duration) -> LegId {
        let id = LegId(self.legs);
        self.legs += 1;
        self.stats.legs += 1;
        let mut leg = Leg::new(id, now, self.journal.cursor(self.journal.acked()));
        if self.phase == Phase::Opening {
            self.phase = Phase::Live;
            self.leg = Some(leg);
        } else {
            leg.sending = Sending::Over;
            self.ended.push(leg);
        }
        id
    }

    /// The leg that [`Step::Open`] asked for could not be opened.
    pub fn open_failed(&mut self, now: Duration, failure: OpenFailure) -> AfterOpenFailure {
        let limit = match failure {
            OpenFailure::Terminal => Some(0),
            OpenFailure::Transient => None,
            OpenFailure::Limited(limit) => Some(limit),
        };
        if self.phase != Phase::Opening {
            return self.give_up(now, None);
        }
        match self.count_failure(now, limit) {
            Verdict::Retry(after) => {
                self.phase = Phase::Waiting { until: now + after };
                AfterOpenFailure::Retry { after }
            }
            Verdict::GiveUp => self.give_up(now, Some(FailureCause::Open)),
        }
    }

    fn give_up(&mut self, now: Duration, cause: Option<FailureCause>) -> AfterOpenFailure {
        if let Some(cause) = cause {
            self.fail(now, cause);
        }
        AfterOpenFailure::GiveUp {
            attempts: self.attempts.failures(),
            elapsed: self.attempts.elapsed(now),
            unacked_seconds: 0.0,
        }
    }

    // The legs' side.

    /// What the leg's pump sends next.
    pub fn poll_send(&mut self, _now: Duration, leg: LegId) -> SendStep {
        let over = self.is_over();
        let Some(leg) = self.leg.as_mut().filter(|current| current.id == leg) else {
            return self.poll_ended(leg);
        };
        match leg.sending {
            Sending::Over => return SendStep::Stop,
            Sending::EndDue => {
                leg.sending = Sending::Over;
                return SendStep::End;
            }
            Sending::Open if over => return SendStep::Stop,
            Sending::Open => {}
        }
        match self.journal.take(&mut leg.cursor) {
            Some(Item::Audio { payload, again, .. }) => {
                let bytes = payload.len() as u64;
                self.stats.bytes_sent += bytes - again;
                self.stats.bytes_replayed += again;
                self.journal.forget_sent();
                SendStep::Frame(Frame::Binary(payload))
            }
            Some(Item::Control { kind, frame, .. }) => {
                leg.close_sent |= kind == Control::Close;
                self.journal.forget_sent();
                SendStep::Frame(frame)
            }
            // Without a word to close with, the end of the input is the word.
            None if self.closing && self.product.closing().is_none() => {
                leg.sending = Sending::Over;
                SendStep::End
            }
            None => SendStep::Wait { until: None },
        }
    }

    fn poll_ended(&mut self, id: LegId) -> SendStep {
        let Some(index) = self.ended.iter().position(|leg| leg.id == id) else {
            return SendStep::Stop;
        };
        let leg = self.ended.swap_remove(index);
        match leg.sending {
            Sending::EndDue => SendStep::End,
            Sending::Open | Sending::Over => SendStep::Stop,
        }
    }

    /// A message came on a leg.
    pub fn receive(&mut self, now: Duration, leg: LegId, frame: Frame) {
        let Some(leg) = self.leg.as_mut().filter(|current| current.id == leg) else {
            return;
        };
        leg.heard = now;
        if self.stats.time_to_first_result.is_none() {
            self.stats.time_to_first_result =
                self.first_push.map(|first| now.saturating_sub(first));
        }
        self.deliver(frame);
    }

    fn deliver(&mut self, frame: Frame) {
        self.stats.messages_out += 1;
        self.inbox_bytes += frame.len();
        self.inbox.push_back(frame);
        if !self.wants_messages() && !self.unread_said {
            self.unread_said = true;
            self.notices.push_back(Notice::Unread {
                bytes: self.inbox_bytes,
            });
        }
    }

    /// Whether the service may send more: flow-control credit is given only then.
    #[must_use]
    pub fn wants_messages(&self) -> bool {
        self.inbox_bytes < self.settings.max_unread_bytes
    }

    /// A leg ended, as its pump saw it. The pump polls it once more for what to do with its input.
    pub fn leg_ended(&mut self, now: Duration, leg: LegId, end: LegEnd) {
        let Some(mut leg) = self.leg.take_if(|current| current.id == leg) else {
            return;
        };
        let clean = end == LegEnd::Clean;
        leg.sending = match leg.sending {
            Sending::Open if clean => Sending::EndDue,
            Sending::Open | Sending::EndDue | Sending::Over => Sending::Over,
        };
        let answered = clean && (leg.close_sent || leg.sending == Sending::Over);
        self.ended.push(leg);
        if self.is_over() {
            return;
        }
        if !clean {
            self.stats.last_error = Some(end.to_string());
        }
        if answered {
            self.phase = Phase::Finished;
        } else {
            self.fail(now, FailureCause::NotResumable(end));
        }
    }

    /// The connection is to be closed by the service, and the stream on it still works.
    pub fn leg_going_away(&mut self, _now: Duration, _leg: LegId) {}

    // The clock.

    /// Does what is due by itself.
    pub fn tick(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        if self.finish_by.is_some_and(|by| now >= by) {
            self.notices.push_back(Notice::CloseTimedOut {
                unacked_seconds: 0.0,
            });
            self.phase = Phase::Finished;
        }
    }

    /// When something is due by itself.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.is_over() { None } else { self.finish_by }
    }

    // For the log and for people.

    /// The next line for the log.
    pub fn pop_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The session's figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            journal_bytes: self.journal.held(),
            ..self.stats.clone()
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Finished | Phase::Failed(_))
    }

    fn count_failure(&mut self, now: Duration, limit: Option<u32>) -> Verdict {
        let schedule = Schedule {
            initial: self.settings.initial_backoff,
            max: self.settings.max_backoff,
            multiplier: self.settings.backoff_multiplier,
        };
        let patience = Patience {
            max_retries: self.settings.max_retries,
            budget: self.settings.retry_budget,
        };
        self.attempts
            .failure(now, &schedule, &patience, limit, self.random.unit())
    }

    fn fail(&mut self, now: Duration, cause: FailureCause) {
        self.phase = Phase::Failed(Box::new(SessionFailure {
            cause,
            attempts: self.attempts.failures(),
            elapsed: self.attempts.elapsed(now),
            unacked_bytes: self.journal.end() - self.journal.acked(),
            unacked_seconds: 0.0,
        }));
    }
}

/// Steele, Lea and Flood's `SplitMix64`: spreads retries, nothing more.
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    /// A number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // 53 bits are what an f64 holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }
}
