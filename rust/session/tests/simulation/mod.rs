//! A whole session on a simulated clock: an application, a driver, pumps, and legs that fail.

pub mod nova;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_leg::reason::Reason;
use dgsm_session::{
    LegId, Level, Notice, Outcome, SendStep, Session, Settings, Stats, Step, Target,
};
use nova::{Habits, Leg, OGG_MAGIC, UTTERANCE_END_MS, Wrapping};
use serde_json::Value;

/// The clock's grain.
const STEP: Duration = Duration::from_millis(5);
/// Steps after which a session counts as hanging.
const PATIENCE: u32 = 60_000;

/// How a leg is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Reset,
    Dropped,
    GoAway,
    EarlyEnd,
    /// With a Metadata of its own, as a model that believes it is done.
    EarlyEndAnswered,
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
    /// Words never heard before by any leg, since the fault before.
    pub after_words: u64,
    /// Before the model says anything to what it just heard, or after.
    pub before_results: bool,
    /// How often opening the next leg fails.
    pub open_failures: u32,
}

/// How a leg fails after CloseStream, and when: it has said so many messages by then.
#[derive(Clone, Copy, Debug)]
pub struct CloseFault {
    pub said: usize,
    pub kind: CloseKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseKind {
    Reset,
    /// In order, as far as HTTP/2 can tell.
    EarlyEnd,
    /// In order, as far as the container says.
    Normal,
}

impl CloseKind {
    pub fn end(self) -> LegEnd {
        match self {
            Self::Reset => LegEnd::Reset { code: Some(2) },
            Self::EarlyEnd => LegEnd::Clean,
            Self::Normal => LegEnd::Closed {
                code: "1000".into(),
                text: String::new(),
            },
        }
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub habits: Habits,
    pub words: u64,
    /// Blocks behind the last whole word.
    pub rest: u64,
    /// Bytes a chunk, over and over.
    pub chunks: Vec<usize>,
    /// At the audio's own pace, or as fast as it goes.
    pub live: bool,
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

/// What came of it.
#[derive(Debug)]
pub struct Run {
    pub messages: Vec<Value>,
    pub notices: Vec<Notice>,
    pub stats: Stats,
}

struct Line {
    id: LegId,
    server: Leg,
    /// Messages on their way: the step at which they arrive.
    arriving: VecDeque<(u64, String)>,
    muted: bool,
    /// Set when the stream is over once everything arrived.
    ending: Option<LegEnd>,
    gone: bool,
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

    /// The whole audio, header included.
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
            // Of half a word: the header was written first.
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

    /// What the application sends, and when at its own pace: chunks, Finalize in its place,
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

struct World<'a> {
    plan: &'a Plan,
    session: Session,
    now: Duration,
    step: u64,
    script: VecDeque<(Duration, Frame)>,
    finished: bool,
    lines: Vec<Line>,
    /// Steps until the leg that is being opened is up, and whether it fails instead.
    opening: Option<u32>,
    open_failures: u32,
    faults: VecDeque<Fault>,
    close_faults: VecDeque<CloseFault>,
    finals: usize,
    /// Blocks that any leg has heard, and at the fault before.
    frontier: u64,
    fault_frontier: u64,
    texts: Vec<String>,
    notices: Vec<Notice>,
}

/// Plays a plan to its end.
pub fn play(plan: &Plan) -> Run {
    let query = plan.query();
    let target = Target {
        path: "v1/listen",
        query: &query,
    };
    let mut world = World {
        plan,
        session: Session::new(plan.settings.clone(), &target, plan.seed),
        now: Duration::ZERO,
        step: 0,
        script: plan.script().into(),
        finished: false,
        lines: Vec::new(),
        opening: None,
        open_failures: 0,
        faults: plan.faults.iter().cloned().collect(),
        close_faults: plan.close_faults.iter().copied().collect(),
        finals: 0,
        frontier: 0,
        fault_frontier: 0,
        texts: Vec::new(),
        notices: Vec::new(),
    };
    for _ in 0..PATIENCE {
        if world.advance() {
            return world.result();
        }
    }
    panic!("the session hangs: {:#?}", world.session);
}

impl World<'_> {
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
            assert!(
                self.session.deadline().is_none_or(|at| at > self.now),
                "a deadline that ticking does not meet keeps whoever waits for it busy"
            );
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
    }

    /// Reads what came of a leg's message. The first leg's messages come as they are.
    fn read(&mut self, id: LegId, said: &str) {
        let mut read = 0;
        while let Some(message) = self.session.pop() {
            let message = message.as_str().expect("Nova sends text").to_owned();
            if id.number() == 0 && !said.contains("\"lie\"") {
                assert_eq!(message, said);
            }
            self.texts.push(message);
            read += 1;
        }
        if id.number() == 0 && said.contains("Results") && self.session.stats().legs == 1 {
            assert_eq!(read, 1, "the only leg speaks for the session: {said}");
        }
    }

    fn driver(&mut self) {
        match self.opening {
            Some(0) => {
                self.opening = None;
                if self.open_failures > 0 {
                    self.open_failures -= 1;
                    self.session.open_failed(self.now, Reason::Connect);
                } else {
                    let id = self.session.leg_opened(self.now);
                    self.lines.push(Line {
                        id,
                        server: Leg::new(&self.plan.habits, id.number()),
                        arriving: VecDeque::new(),
                        muted: false,
                        ending: None,
                        gone: false,
                    });
                }
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
        let arrives = self.step + self.plan.delay;
        loop {
            let line = &mut self.lines[index];
            if line.ending.is_some() {
                break;
            }
            match self.session.poll_send(self.now, line.id) {
                SendStep::Frame(frame) => {
                    let before = line.server.frontier();
                    let replies = line.server.take(&frame);
                    let mut replies = if line.muted { Vec::new() } else { replies };
                    for reply in &mut replies {
                        if reply.contains("\"is_final\":true") {
                            if self.plan.lies.contains(&self.finals) {
                                *reply = lie(reply);
                            }
                            self.finals += 1;
                        }
                    }
                    self.frontier = self.frontier.max(line.server.frontier().max(before));
                    self.answer(index, replies, arrives);
                }
                SendStep::Wait { until } => {
                    assert!(until.is_none_or(|at| at > self.now), "waiting for the past");
                    break;
                }
                SendStep::End => panic!("the input ends only after the service's side"),
                SendStep::Stop => {
                    line.gone = true;
                    return;
                }
            }
        }
        self.deliver(index);
    }

    /// Sends what the server says, or the fault that comes instead of it.
    fn answer(&mut self, index: usize, replies: Vec<String>, arrives: u64) {
        let since = (self.frontier - self.fault_frontier) / self.plan.habits.word;
        let line = &mut self.lines[index];
        if line.server.closed {
            let mut said = replies;
            let fault = self
                .close_faults
                .front()
                .is_some_and(|fault| fault.said < said.len());
            if fault && !line.muted {
                let fault = self.close_faults.pop_front().unwrap();
                said.truncate(fault.said);
                line.ending = Some(fault.kind.end());
            } else if !line.muted {
                line.ending = Some(LegEnd::Clean);
            }
            self.lines[index].send(said, arrives);
            return;
        }
        // Once the session has sent everything it is about to close: faults come before that.
        let fault = self
            .faults
            .front()
            .is_some_and(|fault| fault.after_words <= since);
        if !fault || line.muted {
            line.send(replies, arrives);
            return;
        }
        let fault = self.faults.pop_front().unwrap();
        self.fault_frontier = self.frontier;
        self.open_failures = fault.open_failures;
        if !fault.before_results || fault.kind == FaultKind::Draining {
            line.send(replies, arrives);
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
            FaultKind::EarlyEndAnswered => {
                let metadata = r#"{"type":"Metadata","duration":1.0}"#.to_owned();
                line.send(vec![metadata], arrives);
                line.ending = Some(LegEnd::Clean);
            }
            FaultKind::ModelError => {
                line.send(
                    vec![r#"{"type":"Error","description":"no"}"#.into()],
                    arrives,
                );
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

    fn deliver(&mut self, index: usize) {
        loop {
            let line = &mut self.lines[index];
            match line.arriving.front() {
                Some((arrives, _)) if *arrives <= self.step => {
                    let (_, text) = line.arriving.pop_front().unwrap();
                    let id = line.id;
                    self.session
                        .receive(self.now, id, Frame::from(text.clone()));
                    self.read(id, &text);
                }
                Some(_) => return,
                None => break,
            }
        }
        let line = &mut self.lines[index];
        if let Some(end) = line.ending.take() {
            // One that the session has left is stopped, however it ends.
            let ends = end == LegEnd::Clean && self.session.wants_leg(self.now, line.id);
            self.session.leg_ended(self.now, line.id, end);
            let step = self.session.poll_send(self.now, line.id);
            assert_eq!(step, if ends { SendStep::End } else { SendStep::Stop });
            line.gone = true;
        }
    }

    fn result(mut self) -> Run {
        while let Some(message) = self.session.pop() {
            self.texts
                .push(message.as_str().expect("Nova sends text").to_owned());
        }
        assert_eq!(self.session.outcome(), Outcome::Clean);
        for line in &self.lines {
            assert_eq!(self.session.poll_send(self.now, line.id), SendStep::Stop);
        }
        let messages = self
            .texts
            .iter()
            .map(|text| serde_json::from_str(text).expect("a message is JSON"))
            .collect();
        Run {
            messages,
            notices: self.notices,
            stats: self.session.stats(),
        }
    }
}

/// The same final, about a minute that nobody has sent.
fn lie(text: &str) -> String {
    let mut message: Value = serde_json::from_str(text).expect("a message is JSON");
    let duration = message["duration"].as_f64().unwrap();
    message["duration"] = (duration + 60.0).into();
    message["lie"] = true.into();
    message.to_string()
}

impl Line {
    fn send(&mut self, messages: Vec<String>, arrives: u64) {
        self.arriving
            .extend(messages.into_iter().map(|text| (arrives, text)));
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

    /// One conversation: every word in exactly one final, in order; finals that tile the audio; one
    /// Metadata, of all the audio. Except for what was reported as lost, exactly.
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
        // Everything finalised is an answer, too, when the leg fails before its Metadata.
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

    /// What has to be true whatever the service claims: every word once and in order, nothing of
    /// what was never sent, and one complaint.
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
        // Gaps that touch are one jump; after the last final there is nothing to jump to.
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
            // A channel that was ahead of the others has said what a gap then took from them.
            if habits.channels == 1 {
                assert!(!(there && missing(number)), "word {number} is no loss");
            }
        }
    }

    /// Every run of words starts once and ends once, in its place.
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
            // Which run a place belongs to: its own, or the one before a pause.
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
        // The audio may end so soon after its last word that one leg hears the end of it and another does not.
        let closed = paused(habits.word);
        if finals.len() > closed.len() && finals.last() == all.last() {
            finals.pop();
        }
        assert_eq!(finals, closed, "each run has one speech_final");
        let over = paused(habits.utterance_end());
        assert_eq!(ended, over, "each run has one UtteranceEnd");
    }
}
