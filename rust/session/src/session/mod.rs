//! One conversation, over any number of legs: sans I/O, without a clock or randomness of its own.
//!
//! Four parties hold a session, under one lock:
//!
//! - the *application* pushes frames, pops messages, and finishes;
//! - the *driver* asks for the next [`Step`] and opens legs for it;
//! - each *leg's pump* sends what [`Session::poll_send`] returns and reports what arrives;
//! - the *clock*: any of them calls [`Session::tick`] at [`Session::deadline`].
//!
//! Every call takes `now`, the time since the session began; times never go back.
//!
//! ```text
//! mod      the state, and the application's side     ending   what follows a leg's end
//! legs     opening, ends, rollover                   leg      one leg's state
//! sending  what goes out, its pace, the limits       step     types of the driver's side
//! clock    what is due without an event              state    where the session stands
//! settings, stats, notice   plain data                      shares   figures by endpoint
//! complaints   the service's Error messages           suspicion   what legs may have failed over
//! round    which endpoint is tried next
//! ```

mod clock;
mod complaints;
mod ending;
mod leg;
mod legs;
mod notice;
mod round;
mod sending;
mod settings;
mod shares;
mod state;
mod stats;
mod step;
mod suspicion;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

pub use ending::diagnose;
pub use notice::{Again, Level, Notice, Part};
pub use round::Mark;
pub use settings::{MIN_UNSENT_BYTES, Settings};
pub use stats::Stats;
pub use step::{
    AfterOpenFailure, EndContext, FailureCause, IllegalMove, LegId, Outcome, PushError, SendStep,
    SessionFailure, Step,
};

use crate::backoff::Attempts;
use crate::journal::{Control, Journal};
use crate::resume::audio::Audio;
use crate::resume::inbox::Inbox;
use crate::resume::query::Target;
use crate::resume::recognise::recognised;
use crate::resume::{Input, Product, as_seconds, product_at};
use dgsm_leg::frame::Frame;
use leg::{Leg, Once};
use notice::Notices;
use round::Round;
use shares::Shares;
use state::{Event, LastStep, Phase, Role, RoleEvent, State};
use suspicion::Suspicion;

/// How the application has been sending.
#[derive(Debug, Default)]
struct Sender {
    /// Its latest message, or when a KeepAlive spoke for it.
    latest: Duration,
    /// Its latest message was `KeepAlive`.
    keeps_alive: bool,
    /// It has a message for which there was no room.
    waits_for_room: bool,
}

/// What was reported, or has to be. A backlog is reported again only after it has shrunk to half.
#[derive(Debug, Default)]
struct Reports {
    /// There is a backlog of messages that the application does not read.
    unread: bool,
    /// There is a backlog of input that is not sent, or not finalised.
    unsent: bool,
    /// An old leg was left before another one was up, which is to be reported as a rollover.
    left_old: bool,
}

/// What is logged once a session.
#[derive(Debug, Default)]
struct Said {
    /// The application does not read.
    unread: Once,
    /// The session goes on over another leg.
    resumed: Once,
    /// The service reports on audio that was never sent.
    beyond: Once,
}

/// One conversation, over any number of legs.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    product: Box<dyn Product>,
    random: SplitMix,
    state: State,
    journal: Journal,
    /// At most one of them is current, and at most one is the standby.
    legs: Vec<Leg>,
    opened: u64,
    /// When the driver asks again by itself.
    driver_due: Option<Duration>,
    attempts: Attempts,
    round: Round,
    /// Where the driver opens the leg that it was asked for.
    opening_at: usize,
    /// The endpoint that failed last; before that, the latest leg's.
    failed_at: usize,
    suspicion: Suspicion,
    /// Errors of the leg that failed last, until another one is up.
    last_words: VecDeque<Frame>,
    inbox: Inbox,
    /// The application's inbox is full, and the service has to wait.
    blocked: bool,
    reports: Reports,
    said: Said,
    /// Audio without a clock was dropped, so no other leg can go on.
    outgrown: bool,
    /// How much audio there was when a leg stalled although the application was silent.
    idle_stall: Option<u64>,
    /// Legs in a row whose connection was going away as soon as they were up.
    hasty: u32,
    sender: Sender,
    first_audio: Option<Duration>,
    last_audio: Duration,
    /// Where the last frame of audio starts.
    latest_frame: u64,
    /// The size of the largest frame of audio.
    largest_frame: usize,
    /// Since when audio has flowed without a longer pause.
    flowing_since: Duration,
    /// The time of the latest `tick`. What was due by then is done.
    ticked: Duration,
    notices: Notices,
    /// The audio that was lost last, in bytes. The next final passes it.
    gap: Range<u64>,
    stats: Stats,
    shares: Shares,
}

impl Session {
    /// Creates a session to a target. `seed` is its only source of randomness: give each session
    /// its own.
    #[must_use]
    pub fn new(settings: Settings, target: &Target<'_>, seed: u64) -> Self {
        Self {
            round: Round::new(&settings.endpoints),
            shares: Shares::new(settings.endpoints.len()),
            opening_at: 0,
            failed_at: 0,
            settings,
            product: product_at(target),
            random: SplitMix(seed),
            state: State::new(),
            journal: Journal::new(),
            legs: Vec::new(),
            opened: 0,
            driver_due: None,
            attempts: Attempts::default(),
            suspicion: Suspicion::default(),
            last_words: VecDeque::new(),
            inbox: Inbox::default(),
            blocked: false,
            reports: Reports::default(),
            said: Said::default(),
            outgrown: false,
            idle_stall: None,
            hasty: 0,
            sender: Sender::default(),
            first_audio: None,
            last_audio: Duration::ZERO,
            latest_frame: 0,
            largest_frame: 0,
            flowing_since: Duration::ZERO,
            ticked: Duration::ZERO,
            notices: Notices::default(),
            gap: 0..0,
            stats: Stats::default(),
        }
    }

    /// Takes a frame to send. After the closing message only frames that change nothing are taken.
    ///
    /// # Errors
    /// [`PushError::Full`] when there is no room now; [`PushError::Closed`] after the end of the
    /// input; [`PushError::Failed`] after a failure.
    pub fn push(&mut self, now: Duration, frame: Frame) -> Result<(), PushError> {
        self.notices.at(now);
        match self.state.phase() {
            Phase::Failed(_) => return Err(PushError::Failed),
            Phase::Finished => return Err(PushError::Closed),
            Phase::Idle
            | Phase::Opening
            | Phase::Live(_)
            | Phase::Waiting { .. }
            | Phase::Dormant { .. } => {}
        }
        let frame = recognised(frame, self.product.vocabulary());
        let input = self.product.classify(&frame);
        if input == Input::Nothing {
            // It is not sent, so it needs no room.
            return Ok(());
        }
        if self.state.is_closing() {
            return match input {
                Input::Nothing
                | Input::Control(Control::KeepAlive | Control::Close | Control::Finalize) => Ok(()),
                Input::Audio | Input::Control(Control::Configure | Control::Other) => {
                    Err(PushError::Closed)
                }
            };
        }
        // The closing message needs no room: an application that wants to stop does not wait.
        if input != Input::Control(Control::Close) && !self.is_writable(now) {
            self.note_unsent();
            self.sender.waits_for_room = true;
            return Err(PushError::Full);
        }
        self.sender.waits_for_room = false;
        self.stats.messages_in += 1;
        self.sender.keeps_alive = input == Input::Control(Control::KeepAlive);
        match input {
            Input::Nothing => return Ok(()),
            Input::Audio => self.push_audio(now, frame),
            Input::Control(Control::KeepAlive) if self.current().is_none() => {}
            Input::Control(Control::KeepAlive)
                if self.journal.last_control() == Some(Control::KeepAlive) => {}
            Input::Control(kind) => {
                if kind == Control::Close {
                    self.state.close_input();
                    self.flowing_since = now;
                    self.ask_for_the_rest();
                }
                if self.product.ask(kind, &self.journal, &frame) {
                    self.journal.push_control(kind, frame);
                }
            }
        }
        self.sender.latest = now;
        if matches!(self.state.phase(), Phase::Dormant { .. }) {
            self.moves(now, &Event::Woken { at: now });
        }
        Ok(())
    }

    fn push_audio(&mut self, now: Duration, frame: Frame) {
        self.first_audio.get_or_insert(now);
        let pause = now.saturating_sub(self.last_audio);
        if self
            .settings
            .stall_timeout
            .is_some_and(|timeout| pause > timeout / 2)
        {
            self.flowing_since = now;
        }
        self.last_audio = now;
        let (Frame::Binary(payload) | Frame::Text(payload)) = frame;
        self.product.feed(&payload);
        self.latest_frame = self.journal.end();
        self.largest_frame = self.largest_frame.max(payload.len());
        self.journal.push_audio(payload);
    }

    /// Returns the next message for the application.
    pub fn pop(&mut self) -> Option<Frame> {
        self.inbox.pop()
    }

    /// Returns whether a message waits.
    #[must_use]
    pub fn has_message(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Returns whether the service may send more. It gets flow-control credit only then.
    #[must_use]
    pub fn wants_messages(&self) -> bool {
        self.inbox.bytes() < self.settings.max_unread_bytes
    }

    /// Returns how the session stands once every message is read.
    #[must_use]
    pub fn outcome(&self) -> Outcome<'_> {
        match self.state.phase() {
            Phase::Finished => Outcome::Clean,
            Phase::Failed(failure) => Outcome::Failed(failure),
            Phase::Idle
            | Phase::Opening
            | Phase::Live(_)
            | Phase::Waiting { .. }
            | Phase::Dormant { .. } => Outcome::Open,
        }
    }

    /// Closes the session for the application. No more input is taken; what was sent is answered
    /// within `close_timeout`.
    pub fn finish(&mut self, now: Duration) {
        self.notices.at(now);
        if self.state.is_over() || self.state.finish_by().is_some() {
            return;
        }
        let closing = self.state.is_closing();
        self.state.finish_input(now + self.settings.close_timeout);
        let untouched = self.opened == 0 && self.journal.end() == 0 && self.journal.unsent() == 0;
        match self.state.phase() {
            // Nothing was ever sent, or everything was answered.
            Phase::Idle | Phase::Opening | Phase::Waiting { .. } if untouched => self.conclude(),
            Phase::Dormant { .. } => self.conclude(),
            // Legs were up, and nothing was ever asked of them.
            Phase::Waiting { .. } if self.journal.unsent() == 0 && self.asks_nothing() => {
                self.conclude();
            }
            _ if closing => {}
            _ => {
                self.flowing_since = now;
                self.ask_for_the_rest();
                if let Some(frame) = self.product.closing() {
                    self.journal.push_control(Control::Close, frame);
                }
            }
        }
    }

    /// Asks, before the closing message, for what would otherwise have no answer.
    fn ask_for_the_rest(&mut self) {
        if let Some(frame) = self.product.before_close(&self.journal)
            && self.product.ask(Control::Other, &self.journal, &frame)
        {
            self.journal.push_control(Control::Other, frame);
        }
    }

    /// Ends the session at once in any state. Every leg is stopped, and nothing more is delivered.
    pub fn abort(&mut self, now: Duration) {
        self.notices.at(now);
        // A session that is over stays as it ended.
        let _ = self.state.apply(&Event::Finished);
        for leg in &mut self.legs {
            let was = leg.role();
            let _ = leg.apply(RoleEvent::Stopped);
            self.notices.closed(leg, was);
        }
        self.inbox.clear();
    }

    /// Returns the next notice, with the time at which it happened.
    pub fn pop_notice(&mut self) -> Option<(Duration, Notice)> {
        self.notices.pop()
    }

    /// Returns whether a notice waits.
    #[must_use]
    pub fn has_notice(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Returns the number of failures in a row without progress.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.attempts.failures()
    }

    /// Returns the session's figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let sent = self
            .product
            .audio()
            .map_or(0, |audio| audio.micros_before(self.journal.sent()));
        // Lost audio counts as lost at once, and as finalised never.
        let acked = self.journal.acked();
        let not_passed = self.gap.end.saturating_sub(self.gap.start.max(acked));
        let passed = self.stats.bytes_lost.saturating_sub(not_passed);
        Stats {
            bytes_sent: self.journal.sent(),
            seconds_sent: as_seconds(sent),
            bytes_acknowledged: acked.saturating_sub(passed),
            seconds_acknowledged: (self.product.acked_seconds() - self.stats.seconds_lost).max(0.0),
            seconds_replayed: self.seconds_of(self.stats.bytes_replayed),
            seconds_evicted: self.seconds_of(self.stats.bytes_evicted),
            journal_bytes: self.journal.held(),
            messages_out: self.inbox.pushed(),
            fallovers: self.shares.fallovers(),
            ..self.stats.clone()
        }
    }

    /// Returns the figures of each endpoint, which add up to the session's, and where the session
    /// is: at the endpoint of the leg that speaks for it, or spoke for it last; before that, at the
    /// first. `time_to_first_result` and `last_error` are the session's alone.
    #[must_use]
    pub fn shares(&self) -> (usize, Vec<Stats>) {
        let mut each = self.shares.all(&self.stats());
        for share in &mut each {
            share.seconds_replayed = self.seconds_of(share.bytes_replayed);
        }
        (self.shares.at(), each)
    }

    /// Returns the number of legs that were opened at each endpoint.
    #[must_use]
    pub fn legs_at(&self) -> Vec<u64> {
        self.shares.legs()
    }

    /// Returns how long this amount of audio lasts, in seconds; 0 where its rate is unknown.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn seconds_of(&self, bytes: u64) -> f64 {
        let layout = self.product.audio().and_then(Audio::layout);
        layout.map_or(0.0, |layout| bytes as f64 / layout.byte_rate() as f64)
    }

    /// Moves the session, and returns whether the move was legal. An illegal one is a fault of the
    /// session's own, and fails it.
    fn moves(&mut self, now: Duration, event: &Event) -> bool {
        let moved = self.state.apply(event).map(|_| ());
        self.is_legal(now, moved)
    }

    /// Changes a leg's role in the same way.
    fn leg_moves(&mut self, now: Duration, index: usize, event: RoleEvent) -> bool {
        let moved = self.legs[index].apply(event);
        self.is_legal(now, moved)
    }

    fn is_legal(&mut self, now: Duration, moved: Result<(), IllegalMove>) -> bool {
        if let Err(illegal) = moved {
            self.fail(now, FailureCause::Internal(illegal));
        }
        moved.is_ok()
    }

    fn find(&self, id: LegId) -> Option<usize> {
        self.legs.iter().position(|leg| leg.id == id)
    }

    /// Returns the index of the current leg.
    fn current(&self) -> Option<usize> {
        self.legs
            .iter()
            .position(|leg| matches!(leg.role(), Role::Current))
    }

    /// Returns the index of the standby.
    fn standby(&self) -> Option<usize> {
        self.legs
            .iter()
            .position(|leg| matches!(leg.role(), Role::Standby { .. }))
    }

    /// Returns whether everything that was sent is finalised.
    fn nothing_unacked(&self) -> bool {
        self.product.all_acked(self.journal.sent())
    }

    /// Returns whether nothing was sent that the service could answer.
    fn asks_nothing(&self) -> bool {
        self.product.asks_nothing(&self.journal)
    }

    /// Returns whether everything that was sent is answered.
    fn misses_nothing(&self) -> bool {
        self.product.misses_nothing(&self.journal)
    }

    /// Ends the session in order. Legs that still work are stopped; legs that ended end their
    /// input.
    fn conclude(&mut self) {
        if self.state.apply(&Event::Finished).is_err() {
            return;
        }
        if let Some(index) = self.current() {
            self.deliver_held(index);
        }
        self.product.conclude(&mut self.inbox);
        self.stop_legs();
    }

    fn stop_legs(&mut self) {
        for leg in &mut self.legs {
            let was = leg.role();
            // One that has ended already keeps its last step.
            let _ = leg.apply(RoleEvent::Ended(LastStep::Stop));
            self.notices.closed(leg, was);
        }
    }

    fn fail(&mut self, now: Duration, cause: FailureCause) {
        let failure = SessionFailure {
            cause,
            silent: self.is_silent(now),
            closing: self.state.is_closing(),
            attempts: self.attempts.failures(),
            elapsed: self.attempts.elapsed(now),
            unacked_bytes: self.journal.end() - self.journal.acked(),
            unacked_seconds: self.product.unacked_seconds(&self.journal),
            endpoint: self.failed_at,
            endpoints: self.round.reasons().collect(),
        };
        let failed = Event::Failed(Box::new(failure));
        if self.state.apply(&failed).is_err() {
            return;
        }
        for frame in std::mem::take(&mut self.last_words) {
            self.inbox.push(frame);
        }
        if let Some(index) = self.current() {
            self.deliver_held(index);
        }
        self.stop_legs();
    }
}

/// Steele, Lea and Flood's `SplitMix64`. It only spreads retries.
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    /// Returns a number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // An f64 holds 53 bits exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'static> = Target {
        path: "v1/listen",
        query: "",
    };

    #[test]
    fn an_illegal_move_fails_the_session_in_order() {
        let mut session = Session::new(Settings::default(), &TARGET, 7);
        let now = Duration::ZERO;
        assert!(matches!(session.step(now), Step::Open { .. }));
        let leg = session.leg_opened(now);
        assert!(!session.moves(now, &Event::TookOver));
        let Step::Failed(failure) = session.step(now) else {
            panic!("{:?}", session.outcome())
        };
        assert!(matches!(failure.cause, FailureCause::Internal(_)));
        assert_eq!(
            failure.to_string(),
            "internal error: TookOver does not follow Live"
        );
        assert_eq!(session.poll_send(now, leg), SendStep::Stop);
        assert_eq!(session.deadline(), None);
        let failed = Err(PushError::Failed);
        assert_eq!(session.push(now, Frame::from("{}")), failed);
    }

    #[test]
    fn a_leg_that_was_not_asked_for_is_stopped() {
        let mut session = Session::new(Settings::default(), &TARGET, 7);
        let now = Duration::ZERO;
        let stray = session.leg_opened(now);
        assert_eq!(session.poll_send(now, stray), SendStep::Stop);
        session.step(now);
        let leg = session.leg_opened(now);
        let stray = session.leg_opened(now);
        assert_eq!(session.poll_send(now, stray), SendStep::Stop);
        assert!(session.wants_leg(now, leg));
        assert_eq!(session.outcome(), Outcome::Open);
    }
}
