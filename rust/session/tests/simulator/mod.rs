//! A whole session on a simulated clock: an application, a driver, pumps, and legs that fail. The
//! service at the other end of each leg is the test's own.
//!
//! In each step of the clock the application acts, then the driver, then each leg's pump, then
//! whatever is due.

#![allow(dead_code, reason = "every test file uses its part")]

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_leg::reason::Reason;
use dgsm_session::{
    LegId, Mark, Notice, Outcome, SendStep, Session, Settings, Stats, Step, Target,
};

/// The clock's grain.
const STEP: Duration = Duration::from_millis(5);
/// Steps after which a session counts as hanging.
const PATIENCE: u32 = 60_000;

/// The figures that only grow, and that every endpoint has a share of.
const COUNTS: [Figure<u64>; 11] = [
    ("legs", |stats| stats.legs),
    ("rollovers", |stats| stats.rollovers),
    ("fallovers", |stats| stats.fallovers),
    ("attempts", |stats| stats.attempts),
    ("bytes_sent", |stats| stats.bytes_sent),
    ("bytes_acknowledged", |stats| stats.bytes_acknowledged),
    ("bytes_replayed", |stats| stats.bytes_replayed),
    ("bytes_evicted", |stats| stats.bytes_evicted),
    ("bytes_lost", |stats| stats.bytes_lost),
    ("messages_in", |stats| stats.messages_in),
    ("messages_out", |stats| stats.messages_out),
];
const SECONDS: [Figure<f64>; 5] = [
    ("seconds_sent", |stats| stats.seconds_sent),
    ("seconds_acknowledged", |stats| stats.seconds_acknowledged),
    ("seconds_replayed", |stats| stats.seconds_replayed),
    ("seconds_evicted", |stats| stats.seconds_evicted),
    ("seconds_lost", |stats| stats.seconds_lost),
];
type Figure<T> = (&'static str, fn(&Stats) -> T);

/// What a gap that begins in the middle of a sample may be longer, in seconds.
const A_SAMPLE: f64 = 1.0 / 8000.0;

/// HTTP/2 codes of a reset.
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// The service's side of one leg.
pub trait Service {
    /// Takes a frame, and returns what it answers at once.
    fn take(&mut self, frame: &Frame) -> Vec<Frame>;

    /// Takes the end of the input, and returns what it answers.
    fn input_ended(&mut self) -> Vec<Frame> {
        panic!("the input ends only after the service's side")
    }

    /// What it does next in its own time.
    fn act(&mut self) -> Act {
        Act::Wait
    }

    /// How far it has heard, on the audio's own clock.
    fn frontier(&self) -> u64 {
        0
    }

    /// Returns whether it has answered everything with its last answer, and ends.
    fn is_done(&self) -> bool {
        false
    }

    /// Its `Error` message, where it sends one before it fails.
    fn error(&mut self) -> Option<Frame> {
        None
    }

    /// Its last message, if it believes that it is done.
    fn farewell(&mut self) -> Option<Frame> {
        None
    }

    /// Falsifies what it is about to say.
    fn falsify(&mut self, _said: &mut [Frame]) {}
}

/// What a service does in its own time.
#[derive(Debug)]
pub enum Act {
    Say(Frame),
    Wait,
    End,
}

/// How a leg is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Reset,
    Dropped,
    GoAway,
    /// In order, as far as HTTP/2 can tell.
    EarlyEnd,
    /// The same with a farewell, as a model that believes it is done.
    EarlyEndAnswered,
    /// In order, as far as the container says.
    Normal,
    ModelError,
    ServiceFailure,
    /// The leg stays and is silent.
    Mute,
    /// The connection is going to be closed, and the stream still works.
    Draining,
}

impl FaultKind {
    /// How the leg ends; a reset has this code. `None`: the leg goes on.
    fn end(self, code: u32) -> Option<LegEnd> {
        let closed = |code: &str, text: &str| LegEnd::Closed {
            code: code.into(),
            text: text.into(),
        };
        match self {
            Self::Reset => Some(LegEnd::Reset { code: Some(code) }),
            Self::Dropped => Some(LegEnd::Dropped {
                detail: "cut".into(),
            }),
            Self::GoAway => Some(LegEnd::GoAway { code: Some(0) }),
            Self::EarlyEnd | Self::EarlyEndAnswered => Some(LegEnd::Clean),
            Self::Normal => Some(closed("1000", "")),
            Self::ModelError => Some(closed("1011", "internal")),
            Self::ServiceFailure => Some(LegEnd::Failed { text: "no".into() }),
            Self::Mute | Self::Draining => None,
        }
    }
}

/// A fault of the leg that hears the audio at that point.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    /// How much was heard that no leg had heard before, since the fault before; in the plan's unit.
    pub after: u64,
    /// How many of the messages that are due are still said.
    pub said: usize,
    /// How often opening the next leg fails.
    pub open_failures: u32,
}

/// A fault of one leg.
#[derive(Clone, Copy, Debug)]
pub struct LegFault {
    pub kind: FaultKind,
    /// How many messages the leg says in its own time before.
    pub after: usize,
}

/// A fault of a leg that was asked to close.
#[derive(Clone, Copy, Debug)]
pub struct CloseFault {
    pub kind: FaultKind,
    /// How many of its last messages are still said.
    pub said: usize,
}

/// The application's acts, and the faults.
#[derive(Clone, Debug)]
pub struct Plan {
    pub path: &'static str,
    pub query: String,
    /// The frames of an application that follows a script, and when each is due at its own pace.
    pub script: Vec<(Duration, Frame)>,
    /// At that pace, or as fast as it goes.
    pub live: bool,
    /// `finish` after the last frame.
    pub finish: bool,
    pub faults: Vec<Fault>,
    /// What `Fault::after` counts in, on the audio's own clock.
    pub unit: u64,
    /// One a leg, in the order in which legs open.
    pub leg_faults: Vec<LegFault>,
    pub close_faults: Vec<CloseFault>,
    /// Steps that a message takes to the application's side.
    pub delay: u64,
    /// Messages that a service says in its own time, a step.
    pub pace: usize,
    /// Steps that opening a leg takes.
    pub opening: u32,
    pub settings: Settings,
    pub seed: u64,
}

impl Plan {
    /// A plan in which nothing happens.
    pub fn quiet(path: &'static str, settings: Settings) -> Self {
        Self {
            path,
            query: String::new(),
            script: Vec::new(),
            live: false,
            finish: false,
            faults: Vec::new(),
            unit: 1,
            leg_faults: Vec::new(),
            close_faults: Vec::new(),
            delay: 1,
            pace: 1,
            opening: 2,
            settings,
            seed: 7,
        }
    }
}

/// The application's side.
pub trait Application {
    /// Does what is due in this step.
    fn act(&mut self, now: Duration, session: &mut Session);

    /// Reads a message.
    fn read(&mut self, frame: &Frame);
}

/// An application that sends frames in order, whatever it reads.
struct Script {
    frames: VecDeque<(Duration, Frame)>,
    live: bool,
    finish: bool,
    finished: bool,
}

impl Application for Script {
    fn act(&mut self, now: Duration, session: &mut Session) {
        while let Some((due, frame)) = self.frames.front() {
            if (self.live && *due > now) || !session.is_writable(now) {
                break;
            }
            session.push(now, frame.clone()).expect("it was writable");
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.finish && !self.finished {
            self.finished = true;
            session.finish(now);
        }
    }

    fn read(&mut self, _frame: &Frame) {}
}

/// A message of a leg that reached the session.
#[derive(Debug)]
pub struct Delivery {
    /// The leg's number.
    pub leg: u64,
    pub said: Frame,
    /// What the application read since the delivery before: a range of [`Run::frames`].
    pub read: Range<usize>,
    /// Legs opened so far.
    pub legs: usize,
}

/// The outcome of a plan. The session has ended in order.
#[derive(Debug)]
pub struct Run<S> {
    /// What the application read.
    pub frames: Vec<Frame>,
    pub deliveries: Vec<Delivery>,
    /// What the first leg said, as far as it reached the session.
    pub first_leg: Vec<Frame>,
    pub notices: Vec<Notice>,
    pub stats: Stats,
    /// The service's side of every leg.
    pub services: Vec<S>,
}

/// A leg between a service and the session.
struct Line {
    id: LegId,
    /// The index of its service.
    service: usize,
    /// Messages on their way: the step at which they arrive.
    arriving: VecDeque<(u64, Frame)>,
    /// Messages that the service said in its own time.
    said: usize,
    fault: Option<LegFault>,
    muted: bool,
    /// How the stream ends once everything has arrived.
    ending: Option<LegEnd>,
    /// The input ended before the service's side.
    input_ended: bool,
    gone: bool,
}

struct World<'a, S> {
    plan: &'a Plan,
    application: &'a mut dyn Application,
    open: &'a dyn Fn(u64) -> S,
    session: Session,
    now: Duration,
    step: u64,
    services: Vec<S>,
    lines: Vec<Line>,
    /// Steps until the leg that is being opened is up.
    opening: Option<u32>,
    open_failures: u32,
    faults: VecDeque<Fault>,
    leg_faults: VecDeque<LegFault>,
    close_faults: VecDeque<CloseFault>,
    /// What any leg has heard, now and at the fault before.
    frontier: u64,
    fault_frontier: u64,
    frames: Vec<Frame>,
    deliveries: Vec<Delivery>,
    notices: Vec<Notice>,
    shares: Vec<Stats>,
}

/// Plays a plan with its script to its end. `open` makes the service's side of a leg, by the leg's
/// number.
pub fn play<S: Service>(plan: &Plan, open: &dyn Fn(u64) -> S) -> Run<S> {
    let mut script = Script {
        frames: plan.script.iter().cloned().collect(),
        live: plan.live,
        finish: plan.finish,
        finished: false,
    };
    play_with(plan, &mut script, open)
}

/// Plays a plan to its end with an application of the test's own.
pub fn play_with<S: Service>(
    plan: &Plan,
    application: &mut dyn Application,
    open: &dyn Fn(u64) -> S,
) -> Run<S> {
    let target = Target {
        path: plan.path,
        query: &plan.query,
    };
    let mut world = World {
        plan,
        application,
        open,
        session: Session::new(plan.settings.clone(), &target, plan.seed),
        now: Duration::ZERO,
        step: 0,
        services: Vec::new(),
        lines: Vec::new(),
        opening: None,
        open_failures: 0,
        faults: plan.faults.iter().cloned().collect(),
        leg_faults: plan.leg_faults.iter().copied().collect(),
        close_faults: plan.close_faults.iter().copied().collect(),
        frontier: 0,
        fault_frontier: 0,
        frames: Vec::new(),
        deliveries: Vec::new(),
        notices: Vec::new(),
        shares: Vec::new(),
    };
    for _ in 0..PATIENCE {
        if world.advance() {
            return world.result();
        }
    }
    panic!(
        "the session hangs: {:#?} after {:?}",
        world.session,
        world.frames.iter().rev().take(5).collect::<Vec<_>>()
    );
}

impl<S: Service> World<'_, S> {
    /// Advances the clock by one step. Returns whether the session is over.
    fn advance(&mut self) -> bool {
        self.step += 1;
        self.now += STEP;
        self.application.act(self.now, &mut self.session);
        self.driver();
        for index in 0..self.lines.len() {
            self.pump(index);
        }
        self.lines.retain(|line| !line.gone);
        if self.session.deadline().is_some_and(|at| at <= self.now) {
            self.session.tick(self.now);
            assert!(
                self.session.deadline().is_none_or(|at| at > self.now),
                "ticking meets every deadline, or its caller is kept busy"
            );
        }
        while let Some((_, notice)) = self.session.pop_notice() {
            self.notices.push(notice);
        }
        self.read();
        self.check_shares();
        self.session.outcome() != Outcome::Open
    }

    /// The endpoints' figures add up to the session's, and none goes back.
    fn check_shares(&mut self) {
        let (stats, (at, shares)) = (self.session.stats(), self.session.shares());
        for (name, figure) in COUNTS {
            let sum: u64 = shares.iter().map(figure).sum();
            assert_eq!(sum, figure(&stats), "{name}: {shares:?}");
        }
        for (name, figure) in SECONDS {
            let sum: f64 = shares.iter().map(figure).sum();
            assert!((sum - figure(&stats)).abs() < 1e-6, "{name}: {shares:?}");
        }
        let kinds = shares.iter().flat_map(|share| &share.resets);
        let resets: u64 = kinds.map(|(_, count)| count).sum();
        assert_eq!(resets, stats.resets.values().sum::<u64>());
        assert_eq!(shares[at].journal_bytes, stats.journal_bytes);
        for (before, now) in self.shares.iter().zip(&shares) {
            for (name, figure) in COUNTS {
                assert!(figure(now) >= figure(before), "{name}: {before:?} {now:?}");
            }
            for (name, figure) in SECONDS {
                let grew = figure(now) - figure(before);
                assert!(grew > -A_SAMPLE, "{name}: {before:?} {now:?}");
            }
        }
        self.shares = shares;
    }

    fn read(&mut self) {
        while let Some(frame) = self.session.pop() {
            self.application.read(&frame);
            self.frames.push(frame);
        }
    }

    fn driver(&mut self) {
        match self.opening {
            Some(0) => {
                self.opening = None;
                if self.open_failures > 0 {
                    self.open_failures -= 1;
                    self.session.open_failed(self.now, Reason::Connect);
                    return;
                }
                let id = self.session.leg_opened(self.now);
                self.services.push((self.open)(id.number()));
                self.lines.push(Line {
                    id,
                    service: self.services.len() - 1,
                    arriving: VecDeque::new(),
                    said: 0,
                    fault: self.leg_faults.pop_front(),
                    muted: false,
                    ending: None,
                    input_ended: false,
                    gone: false,
                });
            }
            Some(steps) => self.opening = Some(steps - 1),
            None => match self.session.step(self.now) {
                Step::Open { .. } => self.choose(),
                Step::Wait { .. } | Step::Finished => {}
                Step::Failed(failure) => panic!("the session failed: {failure}"),
            },
        }
    }

    /// Opens the leg at the first endpoint that has not failed in this round. Now and then the
    /// driver finds that none is good enough just now.
    fn choose(&mut self) {
        let marks: Vec<Mark> = self.session.endpoints().collect();
        if marks.len() > 1
            && self.step.is_multiple_of(3)
            && (self.session.postpone(self.now, STEP * 2) || self.session.end_round(self.now))
        {
            return;
        }
        let untried = marks.iter().position(|mark| *mark == Mark::Untried);
        self.session
            .opening_at(untried.expect("there is one to try"));
        self.opening = Some(self.plan.opening);
    }

    fn pump(&mut self, index: usize) {
        loop {
            let line = &mut self.lines[index];
            if line.ending.is_some() {
                break;
            }
            let service = &mut self.services[line.service];
            match self.session.poll_send(self.now, line.id) {
                SendStep::Frame(frame) => {
                    let said = service.take(&frame);
                    self.frontier = self.frontier.max(service.frontier());
                    self.answer(index, said);
                }
                SendStep::Wait { until } => {
                    assert!(until.is_none_or(|at| at > self.now), "waiting for the past");
                    break;
                }
                SendStep::End => {
                    line.input_ended = true;
                    let said = service.input_ended();
                    self.answer(index, said);
                }
                SendStep::Stop => {
                    line.gone = true;
                    return;
                }
            }
        }
        self.speak(index);
        self.deliver(index);
        self.end(index);
    }

    /// Sends what the service answers, or the fault that comes instead of it.
    fn answer(&mut self, index: usize, mut said: Vec<Frame>) {
        let line = &mut self.lines[index];
        if line.muted {
            return;
        }
        let service = &mut self.services[line.service];
        service.falsify(&mut said);
        let heard = (self.frontier - self.fault_frontier) / self.plan.unit;
        if service.is_done() {
            match self.close_faults.front() {
                Some(fault) if fault.said < said.len() => {
                    said.truncate(fault.said);
                    line.ending = fault.kind.end(INTERNAL_ERROR);
                    self.close_faults.pop_front();
                }
                _ => line.ending = Some(LegEnd::Clean),
            }
        } else if self
            .faults
            .front()
            .is_some_and(|fault| fault.after <= heard)
            && let Some(fault) = self.faults.pop_front()
        {
            self.fault_frontier = self.frontier;
            self.open_failures = fault.open_failures;
            if fault.kind != FaultKind::Draining {
                said.truncate(fault.said);
            }
            self.strike(index, fault.kind, CANCEL, &mut said);
        }
        self.send(index, said);
    }

    /// Sends what the service says in its own time.
    fn speak(&mut self, index: usize) {
        for _ in 0..self.plan.pace {
            let line = &mut self.lines[index];
            if line.ending.is_some() || line.muted {
                return;
            }
            let said = line.said;
            if let Some(fault) = line.fault.take_if(|fault| fault.after <= said) {
                self.strike(index, fault.kind, INTERNAL_ERROR, &mut Vec::new());
                continue;
            }
            match self.services[line.service].act() {
                Act::Say(frame) => {
                    line.said += 1;
                    self.send(index, vec![frame]);
                    self.deliver(index);
                }
                Act::Wait => return,
                Act::End => line.ending = Some(LegEnd::Clean),
            }
        }
    }

    /// Makes a leg fail, with what the service still says to that.
    fn strike(&mut self, index: usize, kind: FaultKind, code: u32, said: &mut Vec<Frame>) {
        let line = &mut self.lines[index];
        let service = &mut self.services[line.service];
        match kind {
            FaultKind::EarlyEndAnswered => said.extend(service.farewell()),
            FaultKind::ModelError => said.extend(service.error()),
            FaultKind::Mute => line.muted = true,
            FaultKind::Draining => self.session.leg_going_away(self.now, line.id),
            FaultKind::Reset
            | FaultKind::Dropped
            | FaultKind::GoAway
            | FaultKind::EarlyEnd
            | FaultKind::Normal
            | FaultKind::ServiceFailure => {}
        }
        line.ending = kind.end(code);
    }

    fn send(&mut self, index: usize, said: Vec<Frame>) {
        let arrives = self.step + self.plan.delay;
        let frames = said.into_iter().map(|frame| (arrives, frame));
        self.lines[index].arriving.extend(frames);
    }

    /// Hands over what has arrived.
    fn deliver(&mut self, index: usize) {
        loop {
            let line = &mut self.lines[index];
            let next = line.arriving.front();
            if next.is_none_or(|(arrives, _)| *arrives > self.step) {
                return;
            }
            let Some((_, said)) = line.arriving.pop_front() else {
                return;
            };
            let id = line.id;
            self.session.receive(self.now, id, said.clone());
            self.read();
            let from = self.deliveries.last().map_or(0, |last| last.read.end);
            self.deliveries.push(Delivery {
                leg: id.number(),
                said,
                read: from..self.frames.len(),
                legs: self.services.len(),
            });
        }
    }

    /// Ends a leg that is over, once everything has arrived.
    fn end(&mut self, index: usize) {
        let line = &mut self.lines[index];
        if !line.arriving.is_empty() {
            return;
        }
        if let Some(end) = line.ending.take() {
            // One that the session has left is stopped, however it ends.
            let wanted = self.session.wants_leg(self.now, line.id);
            let expected = if end == LegEnd::Clean && !line.input_ended && wanted {
                SendStep::End
            } else {
                SendStep::Stop
            };
            self.session.leg_ended(self.now, line.id, end);
            assert_eq!(self.session.poll_send(self.now, line.id), expected);
            line.gone = true;
        }
    }

    fn result(mut self) -> Run<S> {
        self.read();
        assert_eq!(self.session.outcome(), Outcome::Clean);
        for line in &self.lines {
            assert_eq!(self.session.poll_send(self.now, line.id), SendStep::Stop);
        }
        while let Some((_, notice)) = self.session.pop_notice() {
            self.notices.push(notice);
        }
        self.check_notices();
        let first_leg = self.deliveries.iter().filter(|delivery| delivery.leg == 0);
        Run {
            first_leg: first_leg.map(|delivery| delivery.said.clone()).collect(),
            frames: self.frames,
            deliveries: self.deliveries,
            notices: self.notices,
            stats: self.session.stats(),
            services: self.services,
        }
    }

    /// Checks that what was reported and what was counted is the same.
    fn check_notices(&self) {
        let stats = self.session.stats();
        let mut ended = Vec::new();
        let (mut resets, mut rollovers, mut replayed) = (0, 0, 0);
        let (mut lost, mut first_results) = (0, Vec::new());
        for notice in &self.notices {
            match notice {
                Notice::LegEnded { leg, again, .. } => {
                    ended.push(leg.number());
                    resets += u64::from(again.is_some());
                }
                Notice::RolledOver { .. } => rollovers += 1,
                Notice::Resumed { bytes, .. } => replayed += bytes,
                Notice::Gap { bytes, .. } => lost += bytes,
                Notice::FirstResult { seconds } => first_results.push(*seconds),
                _ => {}
            }
        }
        ended.sort_unstable();
        assert!(
            ended.iter().copied().eq(0..stats.legs),
            "each leg ends once: {ended:?} of {}",
            stats.legs
        );
        assert_eq!(resets, stats.resets.values().sum::<u64>());
        assert_eq!(rollovers, stats.rollovers);
        assert_eq!(lost, stats.bytes_lost);
        let first = stats.time_to_first_result.map(|time| time.as_secs_f64());
        assert_eq!(first_results, first.into_iter().collect::<Vec<_>>());
        // A leg that ends early has replayed part of it. Audio of unknown rate is also replayed to
        // standbys that never take over.
        assert!(
            replayed >= stats.bytes_replayed || stats.seconds_replayed <= 0.0,
            "{replayed} were announced, and {} replayed",
            stats.bytes_replayed
        );
    }
}

/// Settings under which every plan can be played to its end. Faults without end are another test's.
pub fn patient() -> Settings {
    Settings {
        max_leg_age: None,
        stall_timeout: Some(Duration::from_millis(1500)),
        initial_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(200),
        max_retries: 100,
        retry_budget: Duration::from_secs(600),
        close_timeout: Duration::from_secs(120),
        ..Settings::default()
    }
}

/// A model's own errors are retried three times at most without progress: the others are resets.
pub fn few_model_errors(mut faults: Vec<Fault>) -> Vec<Fault> {
    let mut left = 3;
    for fault in &mut faults {
        if fault.kind == FaultKind::ModelError {
            if left == 0 {
                fault.kind = FaultKind::Reset;
            } else {
                left -= 1;
            }
        }
    }
    faults
}
