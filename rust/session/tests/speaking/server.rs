//! The service's side of `v1/speak` and `v2/speak`. Words become audio that can be counted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use dgsm_leg::frame::Frame;
use serde_json::{Value, json};

use crate::simulator::{Act, Service};

/// The sound of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// At 8 kHz, 16 bits: every sample of a word is the word's number, in every synthesis. 10, 20
    /// or 30 ms a word.
    Numbered,
    /// At 16 kHz, 16 bits: a tone a word and a pause after it, of other lengths in every synthesis.
    Tones,
    /// The same in µ-law, at 8 kHz.
    Mulaw,
    /// Like `Numbered`, as bytes of a codec that cannot be decoded.
    Opaque,
}

impl Voice {
    pub fn rate(self) -> usize {
        match self {
            Self::Numbered | Self::Mulaw | Self::Opaque => 8_000,
            Self::Tones => 16_000,
        }
    }

    pub fn width(self) -> usize {
        match self {
            Self::Numbered | Self::Tones | Self::Opaque => 2,
            Self::Mulaw => 1,
        }
    }

    pub fn millis(self, bytes: usize) -> usize {
        bytes * 1000 / (self.rate() * self.width())
    }
}

/// Returns the length of a word of the numbered voice, in milliseconds.
pub fn millis_of(word: usize) -> usize {
    10 * (1 + word % 3)
}

/// Returns the tone of a word, in hertz. Neighbours differ by a fifth.
pub fn hertz_of(word: usize) -> f64 {
    [180.0, 270.0, 400.0, 600.0, 900.0, 1350.0][word * 5 % 6]
}

/// How one service differs from another.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a test")]
pub struct Model {
    pub voice: Voice,
    /// Bytes a message. A message may end within a sample.
    pub chunk: usize,
    /// The service says what it can before the Flush.
    pub eager: bool,
    /// v1: Flushed and Cleared are numbered apart. v2: Flushed comes as soon as the Flush has
    /// arrived.
    pub variant: bool,
    /// v2: there is no Flushed.
    pub mute: bool,
    /// v1: the audio starts with a WAV header, once a leg.
    pub header: bool,
}

/// The synthesis. Unless the voice is numbered, its sound depends on everything before.
#[derive(Clone, Debug)]
pub struct Synthesis {
    voice: Voice,
    state: u64,
}

impl Synthesis {
    pub fn new(voice: Voice, seed: u64) -> Self {
        Self {
            voice,
            state: seed | 1,
        }
    }

    /// Returns a number in `0.0..1.0`.
    fn random(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn word(&mut self, word: usize) -> Vec<u8> {
        match self.voice {
            Voice::Numbered | Voice::Opaque => {
                let number = u16::try_from(word).unwrap().to_le_bytes();
                number.repeat(8 * millis_of(word))
            }
            Voice::Tones | Voice::Mulaw => self.tone(word),
        }
    }

    fn tone(&mut self, word: usize) -> Vec<u8> {
        let rate = self.voice.rate() as f64;
        // 15 % longer or shorter, 10 % louder or softer than on average.
        let millis = 160.0 + 40.0 * (word % 4) as f64;
        let length = (rate * millis / 1000.0 * (0.85 + 0.3 * self.random())) as usize;
        let pause = (rate * 0.060 * (0.85 + 0.3 * self.random())) as usize;
        let size = 8_000.0 * (0.9 + 0.2 * self.random());
        let start = self.random();
        let fade = rate * 0.008;
        let mut bytes = Vec::new();
        for at in 0..length + pause {
            let edge = at.min(length.saturating_sub(at)) as f64 / fade;
            let phase = start + at as f64 / rate * hertz_of(word);
            let value = (phase * std::f64::consts::TAU).sin() * size * edge.clamp(0.0, 1.0);
            match self.voice {
                Voice::Mulaw => bytes.push(mulaw(value)),
                Voice::Numbered | Voice::Tones | Voice::Opaque => {
                    bytes.extend((value as i16).to_le_bytes());
                }
            }
        }
        bytes
    }
}

/// Returns the nearest µ-law code, found by trying all.
fn mulaw(value: f64) -> u8 {
    (0..=255_u8)
        .min_by_key(|code| (f64::from(linear(*code)) - value).abs() as i64)
        .unwrap_or(0xFF)
}

pub fn linear(code: u8) -> i32 {
    let code = !code;
    let size = ((i32::from(code & 15) * 8 + 132) << ((code >> 4) & 7)) - 132;
    if code & 0x80 == 0 { size } else { -size }
}

/// A turn.
#[derive(Debug, Default)]
struct Turn {
    name: String,
    words: Vec<usize>,
    text: usize,
    said: usize,
    started: bool,
    flush: bool,
    flushed: bool,
    /// Where it starts on the leg's clock, in bytes.
    start: usize,
}

/// What goes out, in order. Sound that has not gone out may be taken back.
#[derive(Debug)]
enum Out {
    Sound(Vec<u8>),
    Said(Value),
}

/// One leg at the server. All legs share a synthesis.
#[derive(Debug)]
pub struct Voices {
    version: u8,
    model: Model,
    leg: u64,
    synthesis: Rc<RefCell<Synthesis>>,
    turns: VecDeque<Turn>,
    out: VecDeque<Out>,
    answers: [u64; 2],
    names: u64,
    /// Audio that went out, in bytes. An Interrupt sets it back to what was played.
    clock: usize,
    counts: usize,
    last_interrupt: usize,
    header_due: bool,
    closing: bool,
    closed: bool,
    spoken: usize,
}

impl Voices {
    pub fn new(version: u8, model: Model, leg: u64, synthesis: Rc<RefCell<Synthesis>>) -> Self {
        let hello = match version {
            1 => json!({"type": "Metadata", "request_id": format!("r{leg}"), "model_name": "m"}),
            _ => json!({"type": "Connected", "request_id": format!("r{leg}"), "model_name": "m"}),
        };
        Self {
            version,
            model,
            leg,
            turns: VecDeque::new(),
            out: [Out::Said(hello)].into(),
            answers: [0; 2],
            names: 0,
            clock: 0,
            counts: 0,
            last_interrupt: 0,
            header_due: model.header,
            closing: false,
            closed: false,
            synthesis,
            spoken: 0,
        }
    }

    pub fn spoken(&self) -> usize {
        self.spoken
    }

    fn said(&mut self, value: Value) {
        self.out.push_back(Out::Said(value));
    }

    fn answer(&mut self, which: usize, kind: &str) {
        let number = if self.model.variant {
            self.answers[which]
        } else {
            self.answers[0] + self.answers[1]
        };
        self.answers[which] += 1;
        self.said(json!({"type": kind, "sequence_id": number}));
    }

    fn hear(&mut self, frame: &Frame) {
        if self.closing {
            return;
        }
        let value: Value = serde_json::from_slice(frame.bytes()).unwrap();
        match value["type"].as_str().unwrap() {
            "Speak" => {
                if self.turns.back().is_none_or(|turn| turn.flush) {
                    self.turns.push_back(Turn::default());
                }
                let text = value["text"].as_str().unwrap();
                let turn = self.turns.back_mut().unwrap();
                turn.text += text.len();
                turn.words.extend(
                    text.split_whitespace()
                        .map(|word| word.parse::<usize>().unwrap()),
                );
            }
            "Flush" => match self.turns.back_mut().filter(|turn| !turn.flush) {
                Some(turn) => turn.flush = true,
                None if self.version == 1 => self.answer(0, "Flushed"),
                None => self.warn("NO_ACTIVE_SPEECH"),
            },
            "Clear" => {
                self.turns.clear();
                self.out.retain(|out| !matches!(out, Out::Sound(_)));
                self.answer(1, "Cleared");
            }
            "Interrupt" => self.interrupt(&value),
            "Configure" => {
                let reply = if value["speed"].as_f64() == Some(9.0) {
                    json!({"type": "ConfigureFailure", "code": "SPEED_OUT_OF_RANGE"})
                } else {
                    json!({"type": "ConfigureSuccess", "applied": {"speed": value["speed"]}})
                };
                self.said(reply);
            }
            "Close" => {
                self.closing = true;
                if let Some(turn) = self.turns.back_mut().filter(|turn| !turn.flush) {
                    turn.flush = true;
                    // There was no Flush, so nothing is Flushed.
                    turn.flushed = true;
                }
            }
            other => panic!("{other}"),
        }
        self.work();
    }

    fn warn(&mut self, code: &str) {
        self.said(json!({"type": "Warning", "code": code, "description": code}));
    }

    fn interrupt(&mut self, value: &Value) {
        // Sound that has not gone out was not said.
        let offset = value["playback_offset"]["value"]
            .as_u64()
            .map(|offset| offset as usize);
        let unsaid = self.unsaid();
        let active = self.turns.front().is_some_and(|turn| turn.started);
        if !active {
            return self.warn("NO_ACTIVE_SPEECH");
        }
        if self.clock == unsaid {
            return self.warn("NO_AUDIO_GENERATED");
        }
        if offset.is_some_and(|offset| offset < self.last_interrupt) {
            return self.warn("INVALID_INTERRUPT_OFFSET");
        }
        let Some(turn) = self.turns.pop_front() else {
            return;
        };
        self.out.retain(|out| !matches!(out, Out::Sound(_)));
        self.clock -= unsaid;
        let played = offset.unwrap_or_else(|| self.model.voice.millis(self.clock));
        let within = played.saturating_sub(self.model.voice.millis(turn.start));
        let mut end = 0;
        let heard = turn.words.iter().take_while(|word| {
            end += millis_of(**word);
            end <= within
        });
        let heard: Vec<String> = heard.map(usize::to_string).collect();
        self.clock = played * self.model.voice.rate() * self.model.voice.width() / 1000;
        self.last_interrupt = played;
        self.counts += turn.text;
        let mut message = json!({
            "type": "SpeechInterrupted",
            "audio_played_ms": played,
            "metadata": {
                "speech_id": turn.name,
                "audio_duration_ms": within,
                "input_character_count": turn.text,
                "billable_character_count": turn.text,
            },
        });
        if offset.is_some() {
            message["text_spoken"] = heard.join(" ").into();
        }
        self.said(message);
    }

    fn unsaid(&self) -> usize {
        let bytes = self.out.iter().map(|out| match out {
            Out::Sound(bytes) => bytes.len(),
            Out::Said(_) => 0,
        });
        bytes.sum()
    }

    /// Says everything that can be said.
    fn work(&mut self) {
        while let Some(mut turn) = self.turns.pop_front() {
            if !turn.started && (turn.flush || self.model.eager || self.version == 2) {
                turn.started = true;
                turn.start = self.clock;
                if self.version == 2 {
                    turn.name = format!("dg_sp_{}_{}", self.leg, self.names);
                    self.names += 1;
                    self.said(json!({"type": "SpeechStarted", "speech_id": turn.name}));
                }
            }
            if turn.flush && !turn.flushed && self.version == 2 && self.model.variant {
                turn.flushed = true;
                if !self.model.mute {
                    self.said(json!({"type": "Flushed", "speech_id": turn.name}));
                }
            }
            let ready = match (turn.flush, self.model.eager) {
                (true, _) => turn.words.len(),
                (false, true) => turn.words.len().saturating_sub(1),
                (false, false) => 0,
            };
            while turn.said < ready {
                let sound = self.synthesis.borrow_mut().word(turn.words[turn.said]);
                turn.said += 1;
                self.spoken += 1;
                self.clock += sound.len();
                self.sound(sound);
            }
            if !turn.flush {
                self.turns.push_front(turn);
                break;
            }
            // The turn is active, and can be interrupted, until its last sound is out.
            if self.version == 2 && self.unsaid() > 0 && !self.closing {
                self.turns.push_front(turn);
                break;
            }
            self.end(&turn);
        }
        if self.closing && self.turns.is_empty() && !self.closed {
            self.closed = true;
            if self.version == 2 {
                let total = self.model.voice.millis(self.clock);
                self.said(json!({
                    "type": "SessionMetadata",
                    "total_audio_duration_ms": total,
                    "total_input_character_count": self.counts,
                    "total_billable_character_count": self.counts,
                }));
            }
        }
    }

    fn sound(&mut self, sound: Vec<u8>) {
        let header = std::mem::take(&mut self.header_due)
            .then(wav_header)
            .unwrap_or_default();
        let sound = [header, sound].concat();
        for chunk in sound.chunks(self.model.chunk) {
            self.out.push_back(Out::Sound(chunk.to_vec()));
        }
    }

    fn end(&mut self, turn: &Turn) {
        if self.version == 1 {
            if !turn.flushed {
                self.answer(0, "Flushed");
            }
            return;
        }
        let lasts = self.model.voice.millis(self.clock) - self.model.voice.millis(turn.start);
        self.counts += turn.text;
        self.said(json!({
            "type": "SpeechMetadata",
            "speech_id": turn.name,
            "audio_duration_ms": lasts,
            "input_character_count": turn.text,
            "billable_character_count": turn.text,
        }));
        if !turn.flushed && !self.model.mute {
            self.said(json!({"type": "Flushed", "speech_id": turn.name}));
        }
    }
}

impl Service for Voices {
    fn take(&mut self, frame: &Frame) -> Vec<Frame> {
        self.hear(frame);
        Vec::new()
    }

    fn act(&mut self) -> Act {
        let Some(out) = self.out.pop_front() else {
            return if self.closed { Act::End } else { Act::Wait };
        };
        if self.version == 2 && !self.closed && self.unsaid() == 0 {
            // This was the last sound of a turn, so the next can begin.
            self.work();
        }
        Act::Say(match out {
            Out::Sound(bytes) => Frame::Binary(bytes.into()),
            Out::Said(value) => Frame::from(value.to_string()),
        })
    }
}

fn wav_header() -> Vec<u8> {
    let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend([1, 0, 1, 0]);
    bytes.extend(8000_u32.to_le_bytes());
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data\xff\xff\xff\xff");
    bytes
}
