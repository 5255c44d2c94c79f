//! A voice agent's server, one leg at a time, without sockets or a clock.
//!
//! Every sample of the microphone's audio is its own number, so the server knows who speaks when. A
//! stretch of speech is a turn of the user. After a silence the agent answers: first in words, then
//! in sound, with a block of audio for each block of the microphone's.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use serde_json::{Value, json};

use crate::simulator::Service;

/// Samples a window.
pub const WINDOW: u64 = 80;
pub const RATE: u32 = 1000;
/// Windows of silence after which a turn has ended.
pub const END: u64 = 4;
/// Windows for which the agent thinks.
const THINKING: u64 = 2;
/// Windows for which its answer lasts.
const SPEAKING: u64 = 3;

/// What the agent is about to do.
#[derive(Debug)]
enum Due {
    Say(Value),
    Sound(Bytes),
}

/// One leg at the server.
#[derive(Debug)]
pub struct Agent {
    /// Windows in which the user speaks.
    speech: Vec<Range<u64>>,
    start: Option<u64>,
    heard: u64,
    /// The end of the last window.
    at: u64,
    /// The words of the user's turn so far.
    turn: Vec<u64>,
    silence: u64,
    /// What the agent does next, and after which window.
    due: VecDeque<(u64, Due)>,
    said: Vec<Frame>,
    done: bool,
    welcomed: bool,
    pub settings: Option<Value>,
    pub prompt: u64,
    /// The messages that it got.
    pub controls: Vec<Value>,
    /// The user's texts that it has heard.
    pub texts: Vec<String>,
}

impl Agent {
    pub fn new(speech: &[Range<u64>]) -> Self {
        Self {
            speech: speech.to_vec(),
            start: None,
            heard: 0,
            at: 0,
            turn: Vec::new(),
            silence: 0,
            due: VecDeque::new(),
            said: Vec::new(),
            done: false,
            welcomed: false,
            settings: None,
            prompt: 0,
            controls: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Returns the first sample that it heard.
    pub fn start(&self) -> Option<u64> {
        self.start
    }

    fn say(&mut self, message: &Value) {
        self.said.push(Frame::from(message.to_string()));
    }

    fn hear(&mut self, bytes: &[u8]) {
        for sample in bytes.chunks(4) {
            let sample = u64::from(u32::from_le_bytes(sample.try_into().unwrap()));
            if self.start.is_none() {
                self.start = Some(sample);
                (self.heard, self.at) = (sample, sample);
            }
            assert_eq!(sample, self.heard, "not contiguous");
            self.heard += 1;
            if self.heard == self.at + WINDOW {
                self.at = self.heard;
                self.window();
            }
        }
    }

    fn window(&mut self) {
        let middle = self.at - WINDOW / 2;
        let word = middle / WINDOW;
        if self.speech.iter().any(|stretch| stretch.contains(&word)) {
            if self.turn.is_empty() {
                self.say(&json!({"type": "UserStartedSpeaking"}));
            }
            self.turn.push(word);
            self.silence = 0;
        } else if !self.turn.is_empty() {
            self.silence += 1;
            if self.silence == END {
                let words: Vec<String> = self.turn.drain(..).map(|word| word.to_string()).collect();
                self.user(&words.join(" "));
            }
        }
        while self.due.front().is_some_and(|(at, _)| *at <= self.at) {
            self.do_next();
        }
    }

    fn user(&mut self, content: &str) {
        self.texts.push(content.to_owned());
        self.say(&json!({"type": "ConversationText", "role": "user", "content": content}));
        self.answer(content);
    }

    /// Answers, after everything that is already due.
    fn answer(&mut self, to: &str) {
        let busy = self.due.back().map_or(self.at, |(at, _)| *at);
        let mut at = busy + THINKING * WINDOW;
        let content = format!("re: {to}");
        for message in [
            json!({"type": "AgentStartedSpeaking"}),
            json!({"type": "ConversationText", "role": "assistant", "content": content,
                   "prompt": self.prompt}),
        ] {
            self.due.push_back((at, Due::Say(message)));
        }
        for _ in 0..SPEAKING {
            at += WINDOW;
            self.due
                .push_back((at, Due::Sound(Bytes::from(content.clone()))));
        }
        self.due
            .push_back((at, Due::Say(json!({"type": "AgentAudioDone"}))));
    }

    fn do_next(&mut self) {
        match self.due.pop_front() {
            Some((_, Due::Say(message))) => self.say(&message),
            Some((_, Due::Sound(sound))) => self.said.push(Frame::Binary(sound)),
            None => {}
        }
    }

    fn control(&mut self, message: Value) {
        let kind = message["type"].as_str().unwrap().to_owned();
        assert!(
            kind == "Settings" || self.settings.is_some(),
            "{kind} before the settings"
        );
        match kind.as_str() {
            "Settings" => {
                assert!(self.settings.is_none(), "settings come once");
                self.settings = Some(message.clone());
                self.say(&json!({"type": "SettingsApplied"}));
                if let Some(greeting) = message["agent"].get("greeting") {
                    self.due.push_back((
                        0,
                        Due::Say(json!({"type": "ConversationText", "role": "assistant",
                                        "content": greeting})),
                    ));
                    self.due
                        .push_back((0, Due::Say(json!({"type": "AgentAudioDone"}))));
                    self.do_next();
                    self.do_next();
                }
            }
            "UpdatePrompt" => {
                self.prompt = message["prompt"].as_u64().unwrap();
                self.say(&json!({"type": "PromptUpdated"}));
            }
            "InjectUserMessage" => self.user(message["content"].as_str().unwrap()),
            "KeepAlive" => {}
            other => panic!("unexpected message {other}"),
        }
        self.controls.push(message);
    }
}

impl Service for Agent {
    fn take(&mut self, frame: &Frame) -> Vec<Frame> {
        if !std::mem::replace(&mut self.welcomed, true) {
            self.say(&json!({"type": "Welcome", "request_id": "r"}));
        }
        match frame {
            Frame::Binary(bytes) => self.hear(bytes),
            Frame::Text(text) => self.control(serde_json::from_slice(text).unwrap()),
        }
        std::mem::take(&mut self.said)
    }

    fn input_ended(&mut self) -> Vec<Frame> {
        while !self.due.is_empty() {
            self.do_next();
        }
        self.done = true;
        std::mem::take(&mut self.said)
    }

    fn frontier(&self) -> u64 {
        self.heard
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn error(&mut self) -> Option<Frame> {
        let message = r#"{"type":"Error","code":"INTERNAL","description":"no"}"#;
        Some(Frame::from(message))
    }
}
