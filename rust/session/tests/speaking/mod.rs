//! A whole speaking session on a simulated clock: an application, a driver, and legs that fail.

pub mod server;

use std::time::Duration;

use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{LegId, Notice, Outcome, SendStep, Session, Settings, Step, Target};
use serde_json::Value;
use server::{Model, Server, Synthesis};

/// The clock's grain.
const STEP: Duration = Duration::from_millis(5);
/// Steps after which a session counts as hanging.
const PATIENCE: u32 = 40_000;

/// What the application does, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Send(Value),
    /// Lets so many steps pass.
    Pause(u32),
    /// Until so many bytes of audio have come since the last answer, or everything is answered.
    Hear(usize),
    /// Interrupts where so many of the bytes that came in this turn have been played.
    Interrupt {
        permille: usize,
    },
    /// Until everything asked for so far was answered.
    Answered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Reset,
    EarlyEnd,
    ModelError,
    GoAway,
    /// The connection will be closed, and the stream still works.
    Draining,
}

/// A leg ends after so many messages.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub after: usize,
    pub kind: FaultKind,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub version: u8,
    pub query: &'static str,
    pub model: Model,
    pub acts: Vec<Act>,
    pub faults: Vec<Fault>,
    /// Messages a step, from the service.
    pub pace: usize,
    /// Steps that opening a leg takes.
    pub opening: u32,
    pub seed: u64,
}

/// A message, as the application got it.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Audio(Vec<u8>),
    Said(Value),
}

/// What came of it.
#[derive(Debug)]
pub struct Run {
    pub heard: Vec<Heard>,
    pub notices: Vec<Notice>,
    pub legs: u64,
    pub clean: bool,
    /// Every synthesis of every word that a leg came to.
    pub spoken: usize,
}

impl Run {
    pub fn audio(&self) -> Vec<u8> {
        let audio = self.heard.iter().filter_map(|heard| match heard {
            Heard::Audio(bytes) => Some(bytes.as_slice()),
            Heard::Said(_) => None,
        });
        audio.collect::<Vec<_>>().concat()
    }

    pub fn said(&self, kind: &str) -> Vec<&Value> {
        let said = self.heard.iter().filter_map(|heard| match heard {
            Heard::Said(value) if value["type"] == kind => Some(value),
            Heard::Said(_) | Heard::Audio(_) => None,
        });
        said.collect()
    }

    pub fn joins(&self) -> usize {
        self.notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Joined { .. }))
            .count()
    }
}

struct Leg {
    id: LegId,
    server: Server,
    fault: Option<Fault>,
    sent: usize,
    over: bool,
    draining: bool,
}

struct World {
    plan: Plan,
    session: Session,
    now: Duration,
    legs: Vec<Leg>,
    opening: Option<u32>,
    faults: std::collections::VecDeque<Fault>,
    synthesis: Synthesis,
    acts: std::collections::VecDeque<Act>,
    pause: u32,
    /// Bytes since the last answer, and the session's clock as an application keeps it.
    turn: usize,
    clock: i64,
    turn_start: i64,
    asked: usize,
    answers: usize,
    heard: Vec<Heard>,
    notices: Vec<Notice>,
    opened: u64,
    spoken: usize,
}

pub fn settings() -> Settings {
    Settings {
        max_retries: 1000,
        retry_budget: Duration::from_secs(100_000),
        initial_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(10),
        ..Settings::default()
    }
}

pub fn run(plan: &Plan) -> Run {
    let path = if plan.version == 1 {
        "v1/speak"
    } else {
        "v2/speak"
    };
    let target = Target {
        path,
        query: plan.query,
    };
    let mut world = World {
        session: Session::new(settings(), &target, plan.seed),
        now: Duration::ZERO,
        legs: Vec::new(),
        opening: None,
        faults: plan.faults.iter().copied().collect(),
        synthesis: Synthesis::new(plan.model.voice, plan.seed),
        acts: plan.acts.iter().cloned().collect(),
        pause: 0,
        turn: 0,
        clock: 0,
        turn_start: 0,
        asked: 0,
        answers: 0,
        heard: Vec::new(),
        notices: Vec::new(),
        opened: 0,
        spoken: 0,
        plan: plan.clone(),
    };
    for _ in 0..PATIENCE {
        world.now += STEP;
        if world.step() {
            let clean = match world.session.outcome() {
                Outcome::Clean => true,
                Outcome::Open | Outcome::Failed(_) => false,
            };
            return Run {
                heard: world.heard,
                notices: world.notices,
                legs: world.opened,
                clean,
                spoken: world.spoken,
            };
        }
    }
    panic!(
        "the session hangs: {:?} after {:?}",
        world.session,
        world.heard.iter().rev().take(5).collect::<Vec<_>>()
    );
}

impl World {
    fn step(&mut self) -> bool {
        self.session.tick(self.now);
        let over = self.drive();
        self.act();
        for index in 0..self.legs.len() {
            self.pump(index);
        }
        self.legs.retain(|leg| !leg.over);
        while let Some(notice) = self.session.pop_notice() {
            self.notices.push(notice);
        }
        while let Some(frame) = self.session.pop() {
            self.hear(&frame);
        }
        over
    }

    fn drive(&mut self) -> bool {
        if let Some(left) = self.opening {
            self.opening = left.checked_sub(1);
            if self.opening.is_none() {
                let id = self.session.leg_opened(self.now);
                let server = Server::new(self.plan.version, self.plan.model, self.opened);
                self.opened += 1;
                let fault = self.faults.pop_front();
                let leg = Leg {
                    id,
                    server,
                    fault,
                    sent: 0,
                    over: false,
                    draining: false,
                };
                self.legs.push(leg);
            }
            return false;
        }
        match self.session.step(self.now) {
            Step::Open { .. } => self.opening = Some(self.plan.opening),
            Step::Wait { .. } => {}
            Step::Finished => return true,
            Step::Failed(failure) => panic!("{failure}"),
        }
        false
    }

    fn act(&mut self) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let open = self.answers < self.asked;
        match self.acts.front().cloned() {
            Some(Act::Pause(steps)) => self.pause = steps,
            Some(Act::Hear(bytes)) if self.turn < bytes && open => return,
            Some(Act::Answered) if open => return,
            None | Some(Act::Hear(_) | Act::Answered) => {}
            Some(Act::Interrupt { permille }) => {
                let played = self.turn * permille / 1000;
                let offset = self.turn_start + self.plan.model.voice.millis(played) as i64;
                let offset = serde_json::json!({"type": "time_ms", "value": offset});
                let value = serde_json::json!({"type": "Interrupt", "playback_offset": offset});
                self.send(&value);
            }
            Some(Act::Send(value)) => self.send(&value),
        }
        self.acts.pop_front();
    }

    fn send(&mut self, value: &Value) {
        if ["Flush", "Clear", "Interrupt"]
            .iter()
            .any(|kind| value["type"] == *kind)
        {
            self.asked += 1;
        }
        self.session
            .push(self.now, Frame::from(value.to_string()))
            .unwrap();
    }

    fn hear(&mut self, frame: &Frame) {
        match frame {
            Frame::Binary(bytes) => {
                self.turn += bytes.len();
                self.clock = self.turn_start + self.plan.model.voice.millis(self.turn) as i64;
                self.heard.push(Heard::Audio(bytes.to_vec()));
            }
            Frame::Text(bytes) => {
                let value: Value = serde_json::from_slice(bytes).unwrap();
                let kind = value["type"].as_str().unwrap().to_owned();
                let answer = match (self.plan.version, kind.as_str()) {
                    (1, "Flushed" | "Cleared") | (2, "SpeechMetadata" | "Warning") => true,
                    (2, "SpeechInterrupted") => {
                        self.clock = value["audio_played_ms"].as_i64().unwrap();
                        // The turn's Flush is answered as well.
                        self.answers += 1;
                        true
                    }
                    _ => false,
                };
                if answer {
                    self.answers += 1;
                    self.turn = 0;
                    self.turn_start = self.clock;
                }
                self.heard.push(Heard::Said(value));
            }
        }
    }

    fn pump(&mut self, index: usize) {
        let leg = &mut self.legs[index];
        loop {
            match self.session.poll_send(self.now, leg.id) {
                SendStep::Frame(frame) => leg.server.hear(&frame, &mut self.synthesis),
                SendStep::Wait { .. } => break,
                SendStep::End | SendStep::Stop => {
                    leg.over = true;
                    return;
                }
            }
        }
        for _ in 0..self.plan.pace {
            let fault = leg.fault.filter(|fault| leg.sent >= fault.after);
            if let Some(fault) = fault {
                let end = match fault.kind {
                    FaultKind::Reset => LegEnd::Reset { code: Some(2) },
                    FaultKind::EarlyEnd => LegEnd::Clean,
                    FaultKind::ModelError => LegEnd::Closed {
                        code: "1011".into(),
                        text: "oops".into(),
                    },
                    FaultKind::GoAway => LegEnd::GoAway { code: Some(0) },
                    FaultKind::Draining => {
                        if !std::mem::replace(&mut leg.draining, true) {
                            self.session.leg_going_away(self.now, leg.id);
                        }
                        leg.fault = None;
                        continue;
                    }
                };
                self.spoken += leg.server.spoken();
                self.session.leg_ended(self.now, leg.id, end);
                leg.fault = None;
                leg.server.die();
                return;
            }
            match leg.server.say(&mut self.synthesis) {
                Some(frame) => {
                    leg.sent += 1;
                    self.session.receive(self.now, leg.id, frame);
                }
                None if leg.server.has_ended() => {
                    self.spoken += leg.server.spoken();
                    self.session.leg_ended(self.now, leg.id, LegEnd::Clean);
                    leg.server.die();
                    return;
                }
                None => return,
            }
        }
    }
}
