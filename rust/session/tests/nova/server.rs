//! A Nova model server, one leg at a time, without sockets or a clock.
//!
//! Every block of the audio is its own number, so the server checks that a leg is contiguous, and
//! its words are the numbers of the blocks that it heard.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use dgsm_leg::frame::Frame;
use serde_json::Value;

use crate::simulator::Service;

/// How the audio is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrapping {
    Raw,
    /// A WAV header, with its size or without.
    Wav {
        sized: bool,
    },
    /// A WAV header that declares less audio than follows.
    EarlyWav,
    /// An unknown container, which is sent again from its start.
    Ogg,
}

/// How the model works, the same on each leg.
#[derive(Clone, Debug)]
pub struct Habits {
    pub rate: u32,
    pub channels: usize,
    pub wrapping: Wrapping,
    /// Blocks a word.
    pub word: u64,
    /// Words a final, in a cycle for each channel.
    pub windows: Vec<u64>,
    /// How many words late a final comes, for each channel.
    pub lateness: [u64; 2],
    pub interims: bool,
    /// How many words are spoken, and of how many. The others are pauses; if all are spoken, there
    /// are none.
    pub speech: (u64, u64),
    /// Times are printed with all the digits of a double, as by some servers.
    pub full_precision: bool,
}

pub const OGG_MAGIC: &[u8; 8] = b"OggS\0sim";
pub const WAV_HEADER: usize = 44;

impl Habits {
    pub fn block_bytes(&self) -> u64 {
        4 * self.channels as u64
    }

    fn header(&self) -> usize {
        match self.wrapping {
            Wrapping::Raw => 0,
            Wrapping::Wav { .. } | Wrapping::EarlyWav => WAV_HEADER,
            Wrapping::Ogg => OGG_MAGIC.len(),
        }
    }

    fn seconds(&self, blocks: u64) -> String {
        let seconds = blocks as f64 / f64::from(self.rate);
        if self.full_precision {
            format!("{seconds:?}")
        } else {
            let micros = (u128::from(blocks) * 1_000_000 + u128::from(self.rate / 2))
                / u128::from(self.rate);
            format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
        }
    }

    /// Returns a duration whose sum with the start is the next start, in the digits printed.
    fn duration(&self, start: u64, end: u64) -> String {
        if self.full_precision {
            return self.seconds(end - start);
        }
        let micros = |blocks: u64| {
            (u128::from(blocks) * 1_000_000 + u128::from(self.rate / 2)) / u128::from(self.rate)
        };
        let micros = micros(end) - micros(start);
        format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

/// The pause that ends an utterance, in milliseconds.
pub const UTTERANCE_END_MS: u64 = 25;

impl Habits {
    pub fn is_speech(&self, word: u64) -> bool {
        word % self.speech.1 < self.speech.0
    }

    pub fn utterance_end(&self) -> u64 {
        (UTTERANCE_END_MS * u64::from(self.rate)).div_ceil(1000)
    }
}

/// What a leg knows of one channel's speech. Places are in blocks of the leg.
#[derive(Clone, Debug, Default)]
struct Speech {
    /// There were final words since the last `speech_final`.
    open: bool,
    /// The end of the last final word since the last `UtteranceEnd`.
    last_word: Option<u64>,
    /// The word after the last one whose start was announced.
    announced: u64,
}

/// The finals, counted over all legs, that claim a minute of audio that was never sent.
#[derive(Debug)]
pub struct Lies {
    places: Vec<usize>,
    finals: Cell<usize>,
}

impl Lies {
    pub fn new(places: &[usize]) -> Self {
        Self {
            places: places.to_vec(),
            finals: Cell::new(0),
        }
    }
}

/// Returns the same final with a minute more.
fn lie(text: &str) -> String {
    let mut message: Value = serde_json::from_str(text).expect("a message is JSON");
    let duration = message["duration"].as_f64().unwrap();
    message["duration"] = (duration + 60.0).into();
    message["lie"] = true.into();
    message.to_string()
}

pub fn is_lie(text: &str) -> bool {
    text.contains("\"lie\"")
}

/// One leg at the server.
#[derive(Debug)]
pub struct Nova {
    habits: Habits,
    lies: Rc<Lies>,
    head: Vec<u8>,
    head_done: bool,
    partial: Vec<u8>,
    /// The number of the leg's first block.
    base: Option<u64>,
    /// Blocks heard, and for each channel the silent ones at the start.
    heard: u64,
    silent: Vec<u64>,
    /// For each channel the blocks that are final, and the number of finals.
    finals: Vec<(u64, usize)>,
    speech: Vec<Speech>,
    /// How much later than other legs this one hears that speech starts.
    jitter: u64,
    closed: bool,
}

impl Nova {
    pub fn new(habits: &Habits, number: u64, lies: Rc<Lies>) -> Self {
        Self {
            head: Vec::new(),
            head_done: habits.header() == 0,
            partial: Vec::new(),
            base: None,
            heard: 0,
            silent: vec![0; habits.channels],
            finals: (0..habits.channels).map(|channel| (0, channel)).collect(),
            speech: vec![Speech::default(); habits.channels],
            jitter: number * 7 % (habits.word / 2),
            closed: false,
            habits: habits.clone(),
            lies,
        }
    }

    /// Returns the model's answer to a frame.
    fn answer(&mut self, frame: &Frame) -> Vec<String> {
        match frame {
            Frame::Binary(bytes) => {
                assert!(!self.closed, "audio after CloseStream");
                self.audio(bytes);
                self.results()
            }
            Frame::Text(text) => {
                let text: Value = serde_json::from_slice(text).expect("a control message is JSON");
                match text["type"].as_str() {
                    Some("KeepAlive") => {}
                    Some("Finalize") => return self.flush(true),
                    Some("CloseStream") => {
                        assert!(!self.closed, "CloseStream once a leg");
                        self.closed = true;
                        let mut messages = self.flush(false);
                        messages.push(self.metadata());
                        return messages;
                    }
                    other => panic!("unexpected message {other:?}"),
                }
                Vec::new()
            }
        }
    }

    fn audio(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if !self.head_done {
            let missing = self.habits.header() - self.head.len();
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            self.head.extend(head);
            bytes = rest;
            if self.head.len() < self.habits.header() {
                return;
            }
            match self.habits.wrapping {
                Wrapping::Raw => {}
                Wrapping::Wav { .. } | Wrapping::EarlyWav => {
                    assert_eq!(&self.head[..4], b"RIFF", "a leg starts with the header");
                    assert_eq!(&self.head[36..40], b"data");
                }
                Wrapping::Ogg => assert_eq!(self.head, OGG_MAGIC, "a leg starts with the start"),
            }
            self.head_done = true;
        }
        self.partial.extend(bytes);
        let block_bytes = self.habits.block_bytes() as usize;
        let whole = self.partial.len() / block_bytes * block_bytes;
        let blocks: Vec<u8> = self.partial.drain(..whole).collect();
        for block in blocks.chunks(block_bytes) {
            let samples: Vec<u64> = block
                .chunks(4)
                .map(|sample| u64::from(u32::from_le_bytes(sample.try_into().unwrap())))
                .collect();
            let number = *samples.iter().max().unwrap();
            assert!(number > 0, "a block that no channel needs was sent again");
            let base = *self.base.get_or_insert(number - 1);
            assert_eq!(number - 1, base + self.heard, "a leg is contiguous");
            for (channel, sample) in samples.iter().enumerate() {
                if *sample == 0 {
                    assert_eq!(self.silent[channel], self.heard, "silence comes first");
                    self.silent[channel] += 1;
                } else {
                    assert_eq!(*sample, number);
                }
            }
            self.heard += 1;
        }
    }

    fn results(&mut self) -> Vec<String> {
        let mut messages = Vec::new();
        for channel in 0..self.habits.channels {
            self.announce(channel, &mut messages);
            loop {
                let (end, speech_final) = self.next_end(channel);
                if self.heard < end + self.habits.lateness[channel] * self.habits.word {
                    break;
                }
                self.finish(channel, end, speech_final, false, &mut messages);
            }
            let (done, _) = self.finals[channel];
            if self.habits.interims && self.heard > done {
                messages.push(self.message(channel, done, self.heard, (false, false, false)));
            }
        }
        messages
    }

    /// Returns whether this leg hears a word on a channel.
    fn hears(&self, channel: usize, word: u64) -> bool {
        let from = self.base.unwrap_or(0) + self.silent[channel];
        self.habits.is_speech(word) && word * self.habits.word >= from
    }

    /// Announces with `SpeechStarted` speech that was not yet announced, before any result of it.
    fn announce(&mut self, channel: usize, messages: &mut Vec<String>) {
        let (word, base) = (self.habits.word, self.base.unwrap_or(0));
        let mut next = self.speech[channel].announced.max(base.div_ceil(word));
        while (next + 1) * word <= base + self.heard {
            let before = next * word > base && self.hears(channel, next.saturating_sub(1));
            if self.hears(channel, next) && !before {
                messages.push(format!(
                    r#"{{"type":"SpeechStarted","channel":[{channel},{}],"timestamp":{}}}"#,
                    self.habits.channels,
                    self.habits.seconds(next * word - base + self.jitter),
                ));
            }
            next += 1;
        }
        self.speech[channel].announced = next;
    }

    /// Returns where the next final ends, and whether an utterance ends there. Finals end between
    /// words, and one word into a pause.
    fn next_end(&self, channel: usize) -> (u64, bool) {
        let (word, base) = (self.habits.word, self.base.unwrap_or(0));
        let (done, count) = self.finals[channel];
        let first = (base + done) / word;
        let last = first + self.habits.windows[count % self.habits.windows.len()];
        let mut open = self.speech[channel].open;
        for at in first..last {
            if self.hears(channel, at) {
                // If a leg first hears a pause and then speech, it sends two finals. The session
                // closes an open utterance on the empty one.
                if !open && at > first {
                    return (at * word - base, false);
                }
                open = true;
            } else if open && !self.habits.is_speech(at) {
                return ((at + 1) * word - base, true);
            }
        }
        (last * word - base, false)
    }

    /// Sends one final, and the utterance's end if that is due.
    fn finish(
        &mut self,
        channel: usize,
        end: u64,
        speech_final: bool,
        from_finalize: bool,
        messages: &mut Vec<String>,
    ) {
        let (word, base) = (self.habits.word, self.base.unwrap_or(0));
        let (done, count) = self.finals[channel];
        let mut heard = ((base + done).div_ceil(word)..(base + end) / word)
            .filter(|at| self.hears(channel, *at))
            .peekable();
        let first = heard.peek().map_or(end, |at| at * word - base);
        let last = heard.last().map(|at| (at + 1) * word - base);
        // In the same final, a pause may end with the next words.
        self.end_utterance(channel, first, messages);
        messages.push(self.message(channel, done, end, (true, speech_final, from_finalize)));
        self.finals[channel] = (end, count + 1);
        let speech = &mut self.speech[channel];
        speech.open = !speech_final && (speech.open || last.is_some());
        speech.last_word = last.or(speech.last_word);
        self.end_utterance(channel, end, messages);
    }

    /// Sends `UtteranceEnd` if there was no word up to here for long enough.
    fn end_utterance(&mut self, channel: usize, until: u64, messages: &mut Vec<String>) {
        let utterance_end = self.habits.utterance_end();
        let speech = &mut self.speech[channel];
        if let Some(last) = speech
            .last_word
            .filter(|last| until >= last + utterance_end)
        {
            speech.last_word = None;
            messages.push(format!(
                r#"{{"type":"UtteranceEnd","channel":[{channel},{}],"last_word_end":{}}}"#,
                self.habits.channels,
                self.habits.seconds(last),
            ));
        }
    }

    fn flush(&mut self, from_finalize: bool) -> Vec<String> {
        let mut messages = Vec::new();
        for channel in 0..self.habits.channels {
            loop {
                let (end, speech_final) = self.next_end(channel);
                if end > self.heard {
                    break;
                }
                self.finish(channel, end, speech_final, false, &mut messages);
            }
            let (done, _) = self.finals[channel];
            if self.heard > done || from_finalize {
                self.finish(channel, self.heard, false, from_finalize, &mut messages);
            }
        }
        messages
    }

    fn message(
        &self,
        channel: usize,
        start: u64,
        end: u64,
        (is_final, speech_final, from_finalize): (bool, bool, bool),
    ) -> String {
        let habits = &self.habits;
        let base = self.base.unwrap_or(0);
        let from = start.max(self.silent[channel]) + base;
        let (mut transcript, mut words) = (String::new(), String::new());
        let mut number = from.div_ceil(habits.word);
        while (number + 1) * habits.word <= end + base {
            if habits.is_speech(number) {
                let at = number * habits.word - base;
                let _ = write!(
                    words,
                    r#"{}{{"word":"w{number}","start":{},"end":{},"confidence":0.9,"punctuated_word":"W{number}"}}"#,
                    if words.is_empty() { "" } else { "," },
                    habits.seconds(at),
                    habits.seconds(at + habits.word),
                );
                let _ = write!(
                    transcript,
                    "{}W{number}",
                    if transcript.is_empty() { "" } else { " " }
                );
            }
            number += 1;
        }
        format!(
            r#"{{"type":"Results","channel_index":[{channel},{}],"duration":{},"start":{},"is_final":{is_final},"speech_final":{speech_final},"channel":{{"alternatives":[{{"transcript":"{transcript}","confidence":0.9,"words":[{words}]}}]}},"from_finalize":{from_finalize}}}"#,
            habits.channels,
            habits.duration(start, end),
            habits.seconds(start),
        )
    }

    fn metadata(&self) -> String {
        format!(
            r#"{{"type":"Metadata","request_id":"r","duration":{},"channels":{}}}"#,
            self.habits.seconds(self.heard),
            self.habits.channels
        )
    }
}

impl Service for Nova {
    fn take(&mut self, frame: &Frame) -> Vec<Frame> {
        self.answer(frame).into_iter().map(Frame::from).collect()
    }

    /// Returns the number of the block after the last one heard.
    fn frontier(&self) -> u64 {
        self.base.unwrap_or(0) + self.heard
    }

    fn is_done(&self) -> bool {
        self.closed
    }

    fn error(&mut self) -> Option<Frame> {
        Some(Frame::from(r#"{"type":"Error","description":"no"}"#))
    }

    fn farewell(&mut self) -> Option<Frame> {
        Some(Frame::from(r#"{"type":"Metadata","duration":1.0}"#))
    }

    fn falsify(&mut self, said: &mut [Frame]) {
        for frame in said {
            let text = frame.as_str().expect("Nova sends text");
            if text.contains("\"is_final\":true") {
                let number = self.lies.finals.get();
                self.lies.finals.set(number + 1);
                if self.lies.places.contains(&number) {
                    *frame = Frame::from(lie(text));
                }
            }
        }
    }
}
