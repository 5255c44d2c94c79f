//! Conversations with Nova: what the application sends, and checks of what it reads.

pub mod server;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use dgsm_session::{Level, Notice, Settings, Stats};
use serde_json::Value;
use server::{Habits, Lies, Nova, OGG_MAGIC, UTTERANCE_END_MS, Wrapping, is_lie};

use crate::simulator::{self, CloseFault, Fault, FaultKind};

#[derive(Clone, Debug)]
pub struct Plan {
    pub habits: Habits,
    pub words: u64,
    /// Blocks behind the last whole word.
    pub rest: u64,
    /// Bytes a chunk, in a cycle.
    pub chunks: Vec<usize>,
    /// At the audio's own pace, or as fast as it goes.
    pub live: bool,
    /// They count in words.
    pub faults: Vec<Fault>,
    pub close_faults: Vec<CloseFault>,
    /// Finals, counted over all legs, that claim to have heard a minute more.
    pub lies: Vec<usize>,
    /// Words after which the application asks to finalize.
    pub finalizes: Vec<u64>,
    /// Steps that a message takes to the application's side.
    pub delay: u64,
    /// Steps that opening a leg takes.
    pub opening: u32,
    pub settings: Settings,
    /// `finish` instead of CloseStream.
    pub finish: bool,
    pub seed: u64,
}

/// The outcome of a plan.
#[derive(Debug)]
pub struct Run {
    pub messages: Vec<Value>,
    pub notices: Vec<Notice>,
    pub stats: Stats,
}

impl Plan {
    pub fn query(&self) -> String {
        let habits = &self.habits;
        match habits.wrapping {
            Wrapping::Raw => format!(
                "model=sim&encoding=linear32&sample_rate={}&channels={}&multichannel=true&vad_events=true&utterance_end_ms={UTTERANCE_END_MS}",
                habits.rate, habits.channels
            ),
            Wrapping::Wav { .. } | Wrapping::EarlyWav | Wrapping::Ogg => {
                format!("model=sim&multichannel=true&utterance_end_ms={UTTERANCE_END_MS}")
            }
        }
    }

    pub fn blocks(&self) -> u64 {
        self.words * self.habits.word + self.rest
    }

    /// Returns the whole audio, header included.
    fn audio(&self) -> Vec<u8> {
        let habits = &self.habits;
        let mut bytes = Vec::new();
        let data = (self.blocks() * habits.block_bytes()) as u32;
        match habits.wrapping {
            Wrapping::Raw => {}
            Wrapping::Ogg => bytes.extend(OGG_MAGIC),
            Wrapping::Wav { sized } => {
                let known = |size: u32| if sized { size } else { u32::MAX };
                self.wav_header(&mut bytes, known(36 + data), known(data));
            }
            // It declares half a word, because the header was written first.
            Wrapping::EarlyWav => {
                let data = (habits.word / 2 * habits.block_bytes()) as u32;
                self.wav_header(&mut bytes, 36 + data, data);
            }
        }
        for block in 0..self.blocks() {
            for _ in 0..habits.channels {
                bytes.extend((block as u32 + 1).to_le_bytes());
            }
        }
        bytes
    }

    fn wav_header(&self, bytes: &mut Vec<u8>, whole: u32, data: u32) {
        let habits = &self.habits;
        bytes.extend(b"RIFF");
        bytes.extend(whole.to_le_bytes());
        bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0");
        bytes.extend((habits.channels as u16).to_le_bytes());
        bytes.extend(habits.rate.to_le_bytes());
        bytes.extend((habits.rate * habits.block_bytes() as u32).to_le_bytes());
        bytes.extend((habits.block_bytes() as u16).to_le_bytes());
        bytes.extend(32_u16.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend(data.to_le_bytes());
    }

    /// Returns what the application sends, and when at its own pace: chunks, Finalize in its place,
    /// CloseStream last.
    fn script(&self) -> Vec<(Duration, Frame)> {
        let audio = Bytes::from(self.audio());
        let block_bytes = self.habits.block_bytes() as usize;
        let header = audio.len() - self.blocks() as usize * block_bytes;
        let place = |words: u64| header + (words * self.habits.word) as usize * block_bytes;
        let rate = f64::from(self.habits.rate) * block_bytes as f64;
        let mut finalizes: Vec<u64> = self
            .finalizes
            .iter()
            .copied()
            .filter(|word| *word <= self.words)
            .collect();
        finalizes.sort_unstable();
        finalizes.dedup();
        let mut finalizes = finalizes.into_iter().peekable();
        let (mut script, mut at) = (Vec::new(), 0);
        let mut sizes = self.chunks.iter().cycle();
        while at < audio.len() {
            let mut end = (at + sizes.next().unwrap()).min(audio.len());
            if let Some(words) = finalizes.peek() {
                end = end.min(place(*words).max(at));
            }
            let due = Duration::from_secs_f64(end as f64 / rate);
            if end > at {
                script.push((due, Frame::Binary(audio.slice(at..end))));
            }
            at = end;
            if finalizes.peek().is_some_and(|words| place(*words) == at) {
                finalizes.next();
                script.push((due, Frame::from(r#"{"type":"Finalize"}"#)));
            }
        }
        let due = script.last().map_or(Duration::ZERO, |(due, _)| *due);
        if !self.finish {
            script.push((due, Frame::from(r#"{"type":"CloseStream"}"#)));
        }
        script
    }
}

/// Plays a plan to its end.
pub fn play(plan: &Plan) -> Run {
    let lies = Rc::new(Lies::new(&plan.lies));
    let simulated = simulator::Plan {
        query: plan.query(),
        script: plan.script(),
        live: plan.live,
        finish: plan.finish,
        faults: plan.faults.clone(),
        unit: plan.habits.word,
        close_faults: plan.close_faults.clone(),
        delay: plan.delay,
        opening: plan.opening,
        seed: plan.seed,
        ..simulator::Plan::quiet("v1/listen", plan.settings.clone())
    };
    let open = |number| Nova::new(&plan.habits, number, Rc::clone(&lies));
    let run = simulator::play(&simulated, &open);
    check_first_leg(&run);
    let parse = |frame: &Frame| serde_json::from_slice(frame.bytes()).expect("a message is JSON");
    Run {
        messages: run.frames.iter().map(parse).collect(),
        notices: run.notices,
        stats: run.stats,
    }
}

/// Checks that the first leg's messages pass unchanged, one for one while there is no other leg.
fn check_first_leg(run: &simulator::Run<Nova>) {
    for delivery in run.deliveries.iter().filter(|delivery| delivery.leg == 0) {
        let said = delivery.said.as_str().expect("Nova sends text");
        let read = &run.frames[delivery.read.clone()];
        if !is_lie(said) {
            for frame in read {
                assert_eq!(frame.as_str(), Some(said));
            }
        }
        if said.contains("Results") && delivery.legs == 1 {
            assert_eq!(read.len(), 1, "the only leg speaks for the session: {said}");
        }
    }
}

/// A gap that was reported, in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub from: u64,
    pub to: u64,
}

impl Run {
    pub fn gaps(&self, rate: u32) -> Vec<Lost> {
        let block = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
        self.notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::Gap {
                    start_seconds,
                    seconds,
                    ..
                } => Some(Lost {
                    from: block(*start_seconds),
                    to: block(*start_seconds + *seconds),
                }),
                _ => None,
            })
            .collect()
    }

    /// Checks for one conversation: every word in exactly one final and in order, finals without a
    /// gap, and one Metadata of all the audio; except for exactly what was reported as lost.
    pub fn check(&self, plan: &Plan) {
        let habits = &plan.habits;
        let gaps = self.gaps(habits.rate);
        for channel in 0..habits.channels {
            self.check_channel(plan, channel, &gaps);
            if gaps.is_empty() {
                self.check_utterances(plan, channel);
            }
        }
        let metadata: Vec<&Value> = self
            .messages
            .iter()
            .filter(|message| message["type"] == "Metadata")
            .collect();
        let total = plan.blocks() as f64 / f64::from(habits.rate);
        // If the leg fails before its Metadata, everything finalised is an answer too.
        assert!(metadata.len() <= 1, "{metadata:?}");
        let mute = plan
            .faults
            .iter()
            .any(|fault| fault.kind == FaultKind::Mute);
        if plan.close_faults.is_empty() && !mute {
            assert_eq!(metadata.len(), 1);
        }
        for message in metadata {
            let duration = message["duration"].as_f64().unwrap();
            assert!((duration - total).abs() < 1.5e-6, "{duration} of {total}");
            assert_eq!(self.messages.last().unwrap()["type"], "Metadata");
        }
        assert!(
            self.messages
                .iter()
                .all(|message| message["type"] != "Error")
        );
        let lost: u64 = gaps.iter().map(|gap| gap.to - gap.from).sum();
        let bytes = lost * habits.block_bytes();
        assert_eq!(self.stats.bytes_lost, bytes);
        assert!((self.stats.seconds_lost - lost as f64 / f64::from(habits.rate)).abs() < 1e-5);
        let warned = self
            .notices
            .iter()
            .any(|notice| notice.level() == Level::Warning);
        assert_eq!(warned, lost > 0, "{:?}", self.notices);
    }

    /// Checks what holds whatever the service claims: every word once and in order, nothing of
    /// audio that was never sent, and one complaint.
    pub fn check_words(&self, plan: &Plan) {
        let habits = &plan.habits;
        let total = plan.blocks() as f64 / f64::from(habits.rate);
        for channel in 0..habits.channels {
            let (mut words, mut reached) = (Vec::new(), 0.0_f64);
            for message in &self.messages {
                if message["type"] != "Results"
                    || message["channel_index"][0] != channel
                    || message["is_final"] != true
                {
                    continue;
                }
                let start = message["start"].as_f64().unwrap();
                let end = start + message["duration"].as_f64().unwrap();
                assert!(start > reached - 1.5e-6, "{start} comes before {reached}");
                assert!(end < total + 1.5e-6, "{end} of {total}");
                reached = end;
                for word in message["channel"]["alternatives"][0]["words"]
                    .as_array()
                    .unwrap()
                {
                    words.push(word["word"].as_str().unwrap()[1..].parse::<u64>().unwrap());
                }
            }
            let all: Vec<u64> = (0..plan.words)
                .filter(|word| habits.is_speech(*word))
                .collect();
            assert_eq!(words, all);
        }
        assert_eq!(self.stats.bytes_lost, 0);
        let warnings = self.notices.iter();
        let warnings = warnings.filter(|notice| notice.level() == Level::Warning);
        assert!(warnings.count() <= 1, "{:?}", self.notices);
    }

    fn check_channel(&self, plan: &Plan, channel: usize, gaps: &[Lost]) {
        let habits = &plan.habits;
        let rate = f64::from(habits.rate);
        let mut end = 0.0_f64;
        let mut words = Vec::new();
        let mut jumps = Vec::new();
        for message in &self.messages {
            if message["type"] != "Results" || message["channel_index"][0] != channel {
                continue;
            }
            let start = message["start"].as_f64().unwrap();
            let duration = message["duration"].as_f64().unwrap();
            if message["is_final"] != true {
                assert!(
                    start > end - 1.5e-6,
                    "an interim of what is final: {message}"
                );
                continue;
            }
            if (start - end).abs() > 1.1e-6 {
                let from = (end * rate).round() as u64;
                let to = (start * rate).round() as u64;
                jumps.push(Lost { from, to });
            }
            end = start + duration;
            let alternative = &message["channel"]["alternatives"][0];
            let mut transcript = Vec::new();
            for word in alternative["words"].as_array().unwrap() {
                let number: u64 = word["word"].as_str().unwrap()[1..].parse().unwrap();
                let at = (number * habits.word) as f64 / rate;
                let there = word["start"].as_f64().unwrap();
                assert!(
                    (there - at).abs() < 1.5e-6,
                    "word {number} at {there}, not {at}"
                );
                transcript.push(format!("W{number}"));
                words.push(number);
            }
            assert_eq!(alternative["transcript"], transcript.join(" "));
        }
        let total = plan.blocks() as f64 / rate;
        let last = gaps.iter().any(|gap| gap.to == plan.blocks());
        assert!(
            last || (end - total).abs() < 1.5e-6,
            "finals end at {end} of {total}"
        );
        // Adjacent gaps are one jump. After the last final there is no jump.
        let heard = (end * rate).round() as u64;
        let join = |lost: &[Lost]| {
            let mut joined: Vec<Lost> = Vec::new();
            for gap in lost {
                let gap = Lost {
                    from: gap.from,
                    to: gap.to.min(heard),
                };
                match joined.last_mut() {
                    Some(last) if last.to == gap.from => last.to = gap.to,
                    _ if gap.from < gap.to => joined.push(gap),
                    _ => {}
                }
            }
            joined
        };
        if habits.channels == 1 {
            assert_eq!(join(&jumps), join(gaps), "a gap is reported exactly");
        } else {
            // A channel that was ahead of the others jumps from where it was.
            for jump in jumps {
                let mut chain: Vec<&Lost> = gaps.iter().filter(|gap| gap.to <= jump.to).collect();
                let mut from = jump.to;
                while let Some(gap) = chain.pop().filter(|gap| gap.to == from) {
                    from = gap.from;
                }
                assert!(from <= jump.from, "{jump:?} is not among {gaps:?}");
            }
        }
        let missing = |number: u64| {
            let (from, to) = (number * habits.word, (number + 1) * habits.word);
            gaps.iter().any(|gap| gap.from < to && from < gap.to)
        };
        assert!(
            words.windows(2).all(|pair| pair[0] < pair[1]),
            "in order, once: {words:?}"
        );
        for number in 0..plan.words {
            let there = words.binary_search(&number).is_ok();
            if !habits.is_speech(number) {
                assert!(!there, "word {number} is a pause");
                continue;
            }
            assert!(there || missing(number), "word {number} is lost");
            // A channel that was ahead of the others may have said what a gap took from them.
            if habits.channels == 1 {
                assert!(!(there && missing(number)), "word {number} is no loss");
            }
        }
    }

    /// Checks that every run of words starts once and ends once, in its place.
    fn check_utterances(&self, plan: &Plan, channel: usize) {
        let habits = &plan.habits;
        let (spoken, of) = habits.speech;
        let seconds = |words: u64| (words * habits.word) as f64 / f64::from(habits.rate);
        let (mut started, mut finals, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        let mut last_word = None;
        for message in &self.messages {
            let of_results = &message["channel_index"][0];
            if message["channel"][0] != channel && of_results != channel {
                continue;
            }
            // The run of a place: its own, or the one before a pause.
            let run = |seconds: f64| {
                let word = seconds * f64::from(habits.rate) / habits.word as f64;
                (word + 0.001) as u64 / of
            };
            match message["type"].as_str().unwrap() {
                "SpeechStarted" => started.push(run(message["timestamp"].as_f64().unwrap())),
                "UtteranceEnd" => {
                    let at = message["last_word_end"].as_f64().unwrap();
                    let run = run(at - 1e-3);
                    let end = seconds(run * of + spoken);
                    assert!(
                        (at - end).abs() < 1.5e-6,
                        "run {run} ends at {end}, not {at}"
                    );
                    ended.push(run);
                }
                "Results" if message["is_final"] == true => {
                    let words = message["channel"]["alternatives"][0]["words"]
                        .as_array()
                        .unwrap();
                    if let Some(word) = words.last() {
                        last_word = Some(run(word["start"].as_f64().unwrap()));
                    }
                    if message["speech_final"] == true {
                        finals.push(last_word.expect("words come before their end"));
                    }
                }
                _ => {}
            }
        }
        let runs = plan.words.div_ceil(of);
        let all: Vec<u64> = (0..runs).collect();
        assert_eq!(started, all, "each run starts once");
        let paused = |blocks: u64| -> Vec<u64> {
            all.iter()
                .copied()
                .filter(|run| {
                    let (pause, next) = ((run * of + spoken) * habits.word, (run + 1) * of);
                    let until = (next * habits.word).min(plan.blocks());
                    until >= pause + blocks && of > spoken
                })
                .collect()
        };
        // If the audio ends soon after its last word, one leg may hear the end of the word and
        // another not.
        let closed = paused(habits.word);
        if finals.len() > closed.len() && finals.last() == all.last() {
            finals.pop();
        }
        assert_eq!(finals, closed, "each run has one speech_final");
        let over = paused(habits.utterance_end());
        assert_eq!(ended, over, "each run has one UtteranceEnd");
    }
}
