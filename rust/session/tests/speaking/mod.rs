//! Conversations with Aura and Flux: an application that writes, listens and interrupts.

pub mod server;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use dgsm_leg::frame::Frame;
use dgsm_session::{Notice, Session, Settings};
use serde_json::{Value, json};
use server::{Model, Synthesis, Voices};

use crate::simulator::{self, Application, LegFault, play_with};

/// The application's acts, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Send(Value),
    /// Lets this many steps pass.
    Pause(u32),
    /// Waits until this many bytes of audio have come since the last answer, or everything is
    /// answered.
    Hear(usize),
    /// Interrupts at this part of the audio that came in the turn.
    Interrupt {
        permille: usize,
    },
    /// Waits until everything asked for so far is answered.
    Answered,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub version: u8,
    pub query: &'static str,
    pub model: Model,
    pub acts: Vec<Act>,
    pub faults: Vec<LegFault>,
    /// Messages a step from the service.
    pub pace: usize,
    /// Steps that opening a leg takes.
    pub opening: u32,
    pub seed: u64,
}

/// A message that the application read.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Audio(Vec<u8>),
    Said(Value),
}

/// The outcome of a plan.
#[derive(Debug)]
pub struct Run {
    pub heard: Vec<Heard>,
    pub notices: Vec<Notice>,
    pub legs: usize,
    /// Words that were synthesised on all legs.
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

/// The application.
struct Speaker<'a> {
    plan: &'a Plan,
    acts: VecDeque<Act>,
    pause: u32,
    /// Bytes of audio since the last answer.
    turn: usize,
    /// The session's clock as an application keeps it, in milliseconds, and its time at the last
    /// answer.
    clock: i64,
    turn_start: i64,
    asked: usize,
    answers: usize,
    heard: Vec<Heard>,
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
    let simulated = simulator::Plan {
        query: plan.query.to_owned(),
        leg_faults: plan.faults.clone(),
        delay: 0,
        pace: plan.pace,
        opening: plan.opening,
        seed: plan.seed,
        ..simulator::Plan::quiet(path, settings())
    };
    let mut speaker = Speaker {
        plan,
        acts: plan.acts.iter().cloned().collect(),
        pause: 0,
        turn: 0,
        clock: 0,
        turn_start: 0,
        asked: 0,
        answers: 0,
        heard: Vec::new(),
    };
    let synthesis = Rc::new(RefCell::new(Synthesis::new(plan.model.voice, plan.seed)));
    let open = |leg| Voices::new(plan.version, plan.model, leg, Rc::clone(&synthesis));
    let run = play_with(&simulated, &mut speaker, &open);
    Run {
        heard: speaker.heard,
        notices: run.notices,
        legs: run.services.len(),
        spoken: run.services.iter().map(Voices::spoken).sum(),
    }
}

impl Application for Speaker<'_> {
    fn act(&mut self, now: Duration, session: &mut Session) {
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
                let offset = json!({"type": "time_ms", "value": offset});
                let value = json!({"type": "Interrupt", "playback_offset": offset});
                self.send(now, session, &value);
            }
            Some(Act::Send(value)) => self.send(now, session, &value),
        }
        self.acts.pop_front();
    }

    fn read(&mut self, frame: &Frame) {
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
}

impl Speaker<'_> {
    fn send(&mut self, now: Duration, session: &mut Session, value: &Value) {
        if ["Flush", "Clear", "Interrupt"]
            .iter()
            .any(|kind| value["type"] == *kind)
        {
            self.asked += 1;
        }
        session.push(now, Frame::from(value.to_string())).unwrap();
    }
}
