//! A Flux model server, one leg at a time, without sockets or a clock.
//!
//! Every sample of the audio is its own number, so the server knows who speaks when, and checks
//! that a leg is contiguous. A word fills a window and is the window's number. It belongs to the
//! leg that hears its middle.

use std::ops::Range;

use dgsm_leg::frame::Frame;
use serde_json::{Value, json};

use crate::simulator::Service;

pub const MAGIC: &[u8; 8] = b"OggS\0sim";

/// How the audio is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    Raw,
    Wav,
    /// An unknown container, which is sent again from its start.
    Ogg,
}

/// What is said, and how the model hears it.
#[derive(Clone, Debug)]
pub struct Scene {
    pub rate: u32,
    pub wrapping: Wrapping,
    /// Stretches of windows with a word in each.
    pub speech: Vec<Range<u64>>,
    /// Windows of silence after which a turn may have ended, by leg, in a cycle. `None`: the leg is
    /// not eager.
    pub eager: Vec<Option<u64>>,
    /// Windows of silence after which a turn has ended.
    pub end: u64,
    /// Windows by which messages come late.
    pub lateness: u64,
    /// Words have times.
    pub timed: bool,
    /// Times are printed with all the digits of a double.
    pub full_precision: bool,
}

impl Scene {
    /// Returns the samples a window.
    pub fn window(&self) -> u64 {
        u64::from(self.rate) * 80 / 1000
    }

    /// Returns the words whose middle lies in these samples.
    pub fn words(&self, samples: Range<u64>) -> Vec<u64> {
        let window = self.window();
        let middle = |word: u64| word * window + window / 2;
        let first = samples.start / window;
        (first..=samples.end / window)
            .filter(|word| samples.contains(&middle(*word)))
            .filter(|word| self.speech.iter().any(|stretch| stretch.contains(word)))
            .collect()
    }

    fn seconds(&self, samples: u64) -> Value {
        let seconds = samples as f64 / f64::from(self.rate);
        if self.full_precision {
            return json!(seconds);
        }
        json!((seconds * 1e6).round() / 1e6)
    }

    /// Returns the audio of this many samples, header included.
    pub fn audio(&self, samples: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.wrapping {
            Wrapping::Raw => {}
            Wrapping::Ogg => bytes.extend(MAGIC),
            Wrapping::Wav => {
                bytes.extend(b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0");
                bytes.extend(self.rate.to_le_bytes());
                bytes.extend((self.rate * 4).to_le_bytes());
                bytes.extend(b"\x04\0\x20\0data\xff\xff\xff\xff");
            }
        }
        for sample in 0..samples as u32 {
            bytes.extend((sample + 1).to_le_bytes());
        }
        bytes
    }

    pub fn header(&self) -> usize {
        match self.wrapping {
            Wrapping::Raw => 0,
            Wrapping::Wav => 44,
            Wrapping::Ogg => MAGIC.len(),
        }
    }

    pub fn query(&self) -> String {
        match self.wrapping {
            Wrapping::Raw => format!(
                "model=flux-general-en&encoding=linear32&sample_rate={}",
                self.rate
            ),
            Wrapping::Wav | Wrapping::Ogg => "model=flux-general-en".into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    Ongoing,
    Awaiting,
}

/// One leg at the server.
#[derive(Debug)]
pub struct Flux {
    scene: Scene,
    eager: Option<u64>,
    number: u64,
    /// Bytes that are not yet a whole sample, or a whole header.
    rest: Vec<u8>,
    headed: bool,
    /// The first sample that it heard, and the one after the last that it heard.
    start: Option<u64>,
    heard: u64,
    /// The end of the last window, on the audio's own clock.
    at: u64,
    state: State,
    turn: u64,
    turn_start: u64,
    /// The end of the last message's window.
    reported: u64,
    sequence: u64,
    waiting: Vec<Value>,
    closed: bool,
    pub configured: u64,
    /// The messages that it got.
    pub controls: Vec<Value>,
}

impl Flux {
    pub fn new(scene: &Scene, number: u64) -> Self {
        let eager = scene.eager[number as usize % scene.eager.len()];
        Self {
            scene: scene.clone(),
            eager,
            number,
            rest: Vec::new(),
            headed: scene.wrapping == Wrapping::Raw,
            start: None,
            heard: 0,
            at: 0,
            state: State::Between,
            turn: 0,
            turn_start: 0,
            reported: 0,
            sequence: 0,
            waiting: Vec::new(),
            closed: false,
            configured: 0,
            controls: Vec::new(),
        }
    }

    /// Returns the first sample that it heard.
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    fn numbered(&mut self, mut message: Value) -> Frame {
        message["sequence_id"] = self.sequence.into();
        if message["type"] != "Error" {
            message["request_id"] = format!("leg-{}", self.number).into();
        }
        self.sequence += 1;
        Frame::from(message.to_string())
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        if !self.headed {
            let header = self.scene.header();
            if self.rest.len() < header {
                return;
            }
            let magic: &[u8] = match self.scene.wrapping {
                Wrapping::Ogg => MAGIC,
                Wrapping::Raw | Wrapping::Wav => b"RIFF",
            };
            assert!(
                self.rest.starts_with(magic),
                "leg {} without header",
                self.number
            );
            self.rest.drain(..header);
            self.headed = true;
        }
        let whole = self.rest.len() / 4 * 4;
        for sample in self.rest.drain(..whole).collect::<Vec<u8>>().chunks(4) {
            let sample = u64::from(u32::from_le_bytes(sample.try_into().unwrap())) - 1;
            if self.start.is_none() {
                self.start = Some(sample);
                (self.heard, self.at) = (sample, sample);
                (self.turn_start, self.reported) = (sample, sample);
            }
            assert_eq!(sample, self.heard, "leg {} is not contiguous", self.number);
            self.heard += 1;
        }
    }

    /// Transcribes what it has heard, window by window, as far as it can.
    fn transcribe(&mut self) {
        let window = self.scene.window();
        let late = if self.closed {
            0
        } else {
            self.scene.lateness * window
        };
        while self.at + window + late <= self.heard {
            self.at += window;
            self.window();
        }
    }

    fn window(&mut self) {
        let window = self.scene.window();
        let words = self.scene.words(self.turn_start..self.at);
        let news = self
            .scene
            .words(self.at - window..self.at)
            .iter()
            .any(|word| words.contains(word));
        let silence = words.last().map_or(0, |word| {
            self.at.saturating_sub((word + 1) * window) / window
        });
        let event = match self.state {
            State::Between if news => Some("StartOfTurn"),
            State::Ongoing | State::Awaiting if !news && silence >= self.scene.end => {
                Some("EndOfTurn")
            }
            State::Ongoing if !news && self.eager.is_some_and(|eager| silence >= eager) => {
                Some("EagerEndOfTurn")
            }
            State::Awaiting if news => Some("TurnResumed"),
            State::Between | State::Ongoing | State::Awaiting => None,
        };
        match event {
            Some(event) => self.report(event, (event == "EndOfTurn").then_some("model")),
            None if self.at - self.reported >= 3 * window => self.report("Update", None),
            None => {}
        }
    }

    fn report(&mut self, event: &str, trigger: Option<&str>) {
        let start = self.start.unwrap_or(0);
        let words = self.scene.words(self.turn_start..self.at);
        let window = self.scene.window();
        let text: Vec<String> = words.iter().map(u64::to_string).collect();
        let words: Vec<Value> = words
            .iter()
            .map(|word| {
                let mut entry = json!({"word": word.to_string(), "confidence": 0.75});
                if self.scene.timed {
                    // The leg may have missed the beginning of its first word.
                    let begin = (word * window).max(start);
                    entry["start"] = self.scene.seconds(begin - start);
                    entry["end"] = self.scene.seconds((word + 1) * window - start);
                }
                entry
            })
            .collect();
        let mut message = json!({
            "type": "TurnInfo",
            "event": event,
            "turn_index": self.turn,
            "audio_window_start": self.scene.seconds(self.turn_start - start),
            "audio_window_end": self.scene.seconds(self.at - start),
            "transcript": text.join(" "),
            "words": words,
            "end_of_turn_confidence": 0.5,
            "configured": self.configured,
        });
        if let Some(trigger) = trigger {
            message["trigger"] = trigger.into();
        }
        self.waiting.push(message);
        self.reported = self.at;
        self.state = match event {
            "StartOfTurn" | "TurnResumed" => State::Ongoing,
            "EagerEndOfTurn" => State::Awaiting,
            "EndOfTurn" => {
                self.turn += 1;
                self.turn_start = self.at;
                State::Between
            }
            _ => self.state,
        };
    }

    fn control(&mut self, message: Value) {
        match message["type"].as_str().unwrap() {
            "CloseStream" => {
                self.closed = true;
                self.transcribe();
                if self.reported < self.at {
                    self.report("Update", None);
                }
            }
            "ForceEndTurn" => {
                if self.state != State::Between {
                    self.report("EndOfTurn", Some("manual"));
                }
            }
            "Configure" if message["refuse"] == true => {
                self.waiting
                    .push(json!({"type": "ConfigureFailure", "code": "NO"}));
            }
            "Configure" => {
                self.configured = message["mark"].as_u64().unwrap();
                let reply = json!({"type": "ConfigureSuccess", "mark": self.configured});
                self.waiting.push(reply);
            }
            other => panic!("unexpected message {other}"),
        }
        self.controls.push(message);
    }
}

impl Service for Flux {
    fn take(&mut self, frame: &Frame) -> Vec<Frame> {
        assert!(!self.closed, "after CloseStream comes {frame:?}");
        if self.sequence == 0 {
            self.waiting.push(json!({"type": "Connected"}));
        }
        match frame {
            Frame::Binary(bytes) => {
                self.hear(bytes);
                self.transcribe();
            }
            Frame::Text(text) => self.control(serde_json::from_slice(text).unwrap()),
        }
        let said = std::mem::take(&mut self.waiting);
        said.into_iter()
            .map(|message| self.numbered(message))
            .collect()
    }

    fn frontier(&self) -> u64 {
        self.heard
    }

    fn is_done(&self) -> bool {
        self.closed
    }

    fn error(&mut self) -> Option<Frame> {
        let message = json!({"type": "Error", "code": "INTERNAL", "description": "no"});
        Some(self.numbered(message))
    }
}
