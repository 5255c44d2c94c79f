//! A session with an application, a driver and pumps on a simulated clock, over legs that fail. The
//! server at the other end is the test's own.

#![allow(dead_code, reason = "every test uses its part")]

use std::collections::VecDeque;
use std::time::Duration;

use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_leg::reason::Reason;
use dgsm_session::{LegId, Notice, Outcome, SendStep, Session, Settings, Stats, Step, Target};

/// The clock's grain.
const STEP: Duration = Duration::from_millis(5);
/// Steps after which a session counts as hanging.
const PATIENCE: u32 = 60_000;

/// One leg at the server.
pub trait Server {
    /// Takes a frame, and says what there is to say.
    fn take(&mut self, frame: &Frame) -> Vec<Frame>;
    /// The input has ended: likewise.
    fn input_ended(&mut self) -> Vec<Frame>;
    /// How far it has heard, on the audio's own clock.
    fn frontier(&self) -> u64;
    /// It has answered what was left, and ends.
    fn is_done(&self) -> bool;
    /// An `Error` message.
    fn error(&mut self) -> Frame;
}

/// How a leg is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Reset,
    Dropped,
    GoAway,
    EarlyEnd,
    ModelError,
    ServiceFailure,
    /// Says nothing any more.
    Mute,
    /// The connection will be closed, and the stream still works.
    Draining,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: FaultKind,
    /// What no leg had heard before, since the fault before.
    pub after: u64,
    /// How many of the messages that are due still come.
    pub said: usize,
    /// How often opening the next leg fails.
    pub open_failures: u32,
}

/// What the application does, and what happens to it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub path: &'static str,
    pub query: String,
    /// Frames, and when they are due at the application's own pace.
    pub script: Vec<(Duration, Frame)>,
    /// At that pace, or as fast as it goes.
    pub live: bool,
    /// `finish` after the last frame.
    pub finish: bool,
    pub faults: Vec<Fault>,
    /// Once closed, a leg fails when it has said so many messages.
    pub close_faults: Vec<usize>,
    /// Steps that a message takes to the application's side.
    pub delay: u64,
    /// Steps that opening a leg takes.
    pub opening: u32,
    pub settings: Settings,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Run<S> {
    /// What the application got.
    pub frames: Vec<Frame>,
    /// What the first leg said, as far as it came through.
    pub first_leg: Vec<Frame>,
    pub notices: Vec<Notice>,
    pub stats: Stats,
    /// The server's side of every leg.
    pub servers: Vec<S>,
}

struct Line {
    id: LegId,
    server: usize,
    /// Messages on their way: the step at which they arrive.
    arriving: VecDeque<(u64, Frame)>,
    muted: bool,
    /// Set when the stream is over once everything arrived.
    ending: Option<LegEnd>,
    /// The input was ended first.
    input_ended: bool,
    gone: bool,
}

struct World<'a, S> {
    plan: &'a Plan,
    open: &'a dyn Fn(u64) -> S,
    session: Session,
    now: Duration,
    step: u64,
    script: VecDeque<(Duration, Frame)>,
    finished: bool,
    servers: Vec<S>,
    lines: Vec<Line>,
    /// Steps until the leg that is being opened is up.
    opening: Option<u32>,
    open_failures: u32,
    faults: VecDeque<Fault>,
    close_faults: VecDeque<usize>,
    /// What any leg has heard, now and at the fault before.
    frontier: u64,
    fault_frontier: u64,
    first_leg: Vec<Frame>,
    frames: Vec<Frame>,
    notices: Vec<Notice>,
}

/// Plays a plan to its end. `open` makes the server's side of a leg, by its number.
pub fn play<S: Server>(plan: &Plan, open: &dyn Fn(u64) -> S) -> Run<S> {
    let target = Target {
        path: plan.path,
        query: &plan.query,
    };
    let mut world = World {
        plan,
        open,
        session: Session::new(plan.settings.clone(), &target, plan.seed),
        now: Duration::ZERO,
        step: 0,
        script: plan.script.iter().cloned().collect(),
        finished: false,
        servers: Vec::new(),
        lines: Vec::new(),
        opening: None,
        open_failures: 0,
        faults: plan.faults.iter().cloned().collect(),
        close_faults: plan.close_faults.iter().copied().collect(),
        frontier: 0,
        fault_frontier: 0,
        first_leg: Vec::new(),
        frames: Vec::new(),
        notices: Vec::new(),
    };
    for _ in 0..PATIENCE {
        if world.advance() {
            return world.result();
        }
    }
    panic!("the session hangs: {:#?}", world.session);
}

impl<S: Server> World<'_, S> {
    /// One step of the clock; whether the session is over.
    fn advance(&mut self) -> bool {
        self.step += 1;
        self.now += STEP;
        self.application();
        self.driver();
        for index in 0..self.lines.len() {
            self.pump(index);
        }
        self.lines.retain(|line| !line.gone);
        if self.session.deadline().is_some_and(|at| at <= self.now) {
            self.session.tick(self.now);
        }
        while let Some(notice) = self.session.pop_notice() {
            self.notices.push(notice);
        }
        self.session.outcome() != Outcome::Open
    }

    fn application(&mut self) {
        while let Some((due, frame)) = self.script.front() {
            if (self.plan.live && *due > self.now) || !self.session.is_writable(self.now) {
                break;
            }
            self.session
                .push(self.now, frame.clone())
                .expect("it was writable");
            self.script.pop_front();
        }
        if self.script.is_empty() && self.plan.finish && !self.finished {
            self.finished = true;
            self.session.finish(self.now);
        }
        while let Some(frame) = self.session.pop() {
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
                self.servers.push((self.open)(id.number()));
                self.lines.push(Line {
                    id,
                    server: self.servers.len() - 1,
                    arriving: VecDeque::new(),
                    muted: false,
                    ending: None,
                    input_ended: false,
                    gone: false,
                });
            }
            Some(steps) => self.opening = Some(steps - 1),
            None => match self.session.step(self.now) {
                Step::Open { .. } => self.opening = Some(self.plan.opening),
                Step::Wait { .. } | Step::Finished => {}
                Step::Failed(failure) => panic!("the session failed: {failure}"),
            },
        }
    }

    fn pump(&mut self, index: usize) {
        loop {
            let line = &self.lines[index];
            if line.ending.is_some() {
                break;
            }
            let server = &mut self.servers[line.server];
            match self.session.poll_send(self.now, line.id) {
                SendStep::Frame(frame) => {
                    let said = server.take(&frame);
                    self.frontier = self.frontier.max(server.frontier());
                    self.answer(index, said);
                }
                SendStep::Wait { until } => {
                    assert!(until.is_none_or(|at| at > self.now), "waiting for the past");
                    break;
                }
                SendStep::End => {
                    let said = server.input_ended();
                    self.lines[index].input_ended = true;
                    self.answer(index, said);
                }
                SendStep::Stop => {
                    self.lines[index].gone = true;
                    return;
                }
            }
        }
        self.deliver(index);
    }

    /// Sends what the server says, or the fault that comes instead of it.
    fn answer(&mut self, index: usize, mut said: Vec<Frame>) {
        let arrives = self.step + self.plan.delay;
        let line = &mut self.lines[index];
        if line.muted {
            return;
        }
        let server = &mut self.servers[line.server];
        let done = server.is_done();
        if done {
            match self.close_faults.front() {
                Some(count) if *count < said.len() => {
                    said.truncate(*count);
                    self.close_faults.pop_front();
                    line.ending = Some(LegEnd::Reset { code: Some(2) });
                }
                _ => line.ending = Some(LegEnd::Clean),
            }
        } else if self
            .faults
            .front()
            .is_some_and(|fault| fault.after <= self.frontier - self.fault_frontier)
            && let Some(fault) = self.faults.pop_front()
        {
            self.fault_frontier = self.frontier;
            self.open_failures = fault.open_failures;
            if fault.kind != FaultKind::Draining {
                said.truncate(fault.said);
            }
            match fault.kind {
                FaultKind::Reset => line.ending = Some(LegEnd::Reset { code: Some(8) }),
                FaultKind::Dropped => {
                    line.ending = Some(LegEnd::Dropped {
                        detail: "cut".into(),
                    });
                }
                FaultKind::GoAway => line.ending = Some(LegEnd::GoAway { code: Some(0) }),
                FaultKind::EarlyEnd => line.ending = Some(LegEnd::Clean),
                FaultKind::ModelError => {
                    said.push(server.error());
                    line.ending = Some(LegEnd::Closed {
                        code: "1011".into(),
                        text: "internal".into(),
                    });
                }
                FaultKind::ServiceFailure => {
                    line.ending = Some(LegEnd::Failed { text: "no".into() });
                }
                FaultKind::Mute => line.muted = true,
                FaultKind::Draining => self.session.leg_going_away(self.now, line.id),
            }
        }
        let line = &mut self.lines[index];
        line.arriving
            .extend(said.into_iter().map(|frame| (arrives, frame)));
    }

    fn deliver(&mut self, index: usize) {
        let line = &mut self.lines[index];
        while line
            .arriving
            .front()
            .is_some_and(|(at, _)| *at <= self.step)
            && let Some((_, frame)) = line.arriving.pop_front()
        {
            if line.id.number() == 0 {
                self.first_leg.push(frame.clone());
            }
            self.session.receive(self.now, line.id, frame);
        }
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
        while let Some(frame) = self.session.pop() {
            self.frames.push(frame);
        }
        assert_eq!(self.session.outcome(), Outcome::Clean);
        Run {
            frames: self.frames,
            first_leg: self.first_leg,
            notices: self.notices,
            stats: self.session.stats(),
            servers: self.servers,
        }
    }
}

/// Settings under which every plan can be played to its end: faults without end are another test's.
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

/// A model's own errors are retried three times at most without progress.
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
