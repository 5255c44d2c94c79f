//! A session played by hand. The test is the application, the driver, the service and the clock.

use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{LegId, Notice, PushError, SendStep, Session, Settings, Step, Target};
use serde_json::Value;

/// 1000 bytes a second: positions are milliseconds.
pub const QUERY: &str = "encoding=mulaw&sample_rate=1000";
pub const CLOSE: &str = r#"{"type":"CloseStream"}"#;
pub const KEEPALIVE: &str = r#"{"type":"KeepAlive"}"#;
pub const FINALIZE: &str = r#"{"type":"Finalize"}"#;
pub const RESET: LegEnd = LegEnd::Reset { code: Some(8) };

pub struct Stage {
    pub session: Session,
    pub now: Duration,
}

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Settings without delays before retries and without pacing.
pub fn settings() -> Settings {
    Settings {
        initial_backoff: Duration::ZERO,
        replay_speed: None,
        ..Settings::default()
    }
}

impl Stage {
    pub fn new() -> Self {
        Self::with(settings(), QUERY)
    }

    pub fn with(settings: Settings, query: &str) -> Self {
        Self::at("v1/listen", settings, query)
    }

    pub fn at(path: &str, settings: Settings, query: &str) -> Self {
        let session = Session::new(settings, &Target { path, query }, 7);
        Self {
            session,
            now: Duration::ZERO,
        }
    }

    /// Lets time pass, and ticks at every deadline.
    pub fn pass(&mut self, time: f64) {
        let until = self.now + seconds(time);
        while let Some(at) = self.session.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.session.tick(self.now);
        }
        self.now = until;
        self.session.tick(self.now);
    }

    pub fn audio(&mut self, bytes: usize) {
        self.try_audio(bytes).expect("there is room");
    }

    pub fn try_audio(&mut self, bytes: usize) -> Result<(), PushError> {
        self.session
            .push(self.now, Frame::Binary(Bytes::from(vec![b'a'; bytes])))
    }

    pub fn text(&mut self, text: &'static str) {
        self.session
            .push(self.now, Frame::from(text))
            .expect("a control message is taken");
    }

    pub fn step(&mut self) -> Step {
        self.session.step(self.now)
    }

    /// Opens the leg that the session asks for.
    pub fn open(&mut self) -> LegId {
        assert!(self.session.driver_wanted(self.now));
        assert!(matches!(self.step(), Step::Open { .. }), "a leg is wanted");
        self.session.leg_opened(self.now)
    }

    /// Lets a minute pass in steps of 50 ms. In each the test does its part; then a standby that
    /// the session asks for is opened and passed to the test.
    pub fn minute_with_standbys(
        &mut self,
        mut step: impl FnMut(&mut Self),
        mut opened: impl FnMut(&mut Self, LegId),
    ) {
        for _ in 0..1200 {
            step(self);
            if self.session.driver_wanted(self.now)
                && matches!(self.step(), Step::Open { standby: true, .. })
            {
                let standby = self.session.leg_opened(self.now);
                opened(self, standby);
            }
            self.pass(0.05);
        }
    }

    /// Returns what a leg is sent now: audio by its length, text as it is.
    pub fn sent(&mut self, leg: LegId) -> Vec<String> {
        let mut sent = Vec::new();
        loop {
            sent.push(match self.session.poll_send(self.now, leg) {
                SendStep::Frame(Frame::Binary(bytes)) => bytes.len().to_string(),
                SendStep::Frame(Frame::Text(text)) => String::from_utf8(text.to_vec()).unwrap(),
                SendStep::End => "end".into(),
                SendStep::Stop => "stop".into(),
                SendStep::Wait { .. } => return sent,
            });
            if sent
                .last()
                .is_some_and(|sent| sent == "stop" || sent == "end")
            {
                return sent;
            }
        }
    }

    pub fn say(&mut self, leg: LegId, text: &str) {
        self.session
            .receive(self.now, leg, Frame::from(text.to_owned()));
    }

    /// Sends a final of the only channel, on the leg's clock.
    pub fn results(&mut self, leg: LegId, start: f64, duration: f64, words: &[(&str, f64, f64)]) {
        self.say(leg, &results(start, duration, words, true, ""));
    }

    pub fn end(&mut self, leg: LegId, end: LegEnd) {
        self.session.leg_ended(self.now, leg, end);
    }

    pub fn read_texts(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.pop())
            .map(|frame| frame.as_str().unwrap().to_owned())
            .collect()
    }

    pub fn read(&mut self) -> Vec<Value> {
        self.read_texts()
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    /// Reads the results: start, end and transcript.
    pub fn read_results(&mut self) -> Vec<(f64, f64, String)> {
        let results = self
            .read()
            .into_iter()
            .filter(|message| message["type"] == "Results");
        results
            .map(|message| {
                let start = message["start"].as_f64().unwrap();
                let transcript = &message["channel"]["alternatives"][0]["transcript"];
                let end = start + message["duration"].as_f64().unwrap();
                // A sum of decimals is rounded to the digits printed.
                let end = (end * 1e6).round() / 1e6;
                (start, end, transcript.as_str().unwrap().to_owned())
            })
            .collect()
    }

    pub fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.session.pop_notice())
            .map(|(_, notice)| notice)
            .collect()
    }
}

/// Returns a `Results` message on the leg's clock. `extra` is appended, such as
/// `,"from_finalize":true`.
pub fn results(
    start: f64,
    duration: f64,
    words: &[(&str, f64, f64)],
    is_final: bool,
    extra: &str,
) -> String {
    let transcript: Vec<&str> = words.iter().map(|(word, ..)| *word).collect();
    let words: Vec<String> = words
        .iter()
        .map(|(word, start, end)| format!(r#"{{"word":"{word}","start":{start},"end":{end}}}"#))
        .collect();
    format!(
        r#"{{"type":"Results","channel_index":[0,1],"duration":{duration},"start":{start},"is_final":{is_final},"speech_final":false,"channel":{{"alternatives":[{{"transcript":"{}","words":[{}]}}]}}{extra}}}"#,
        transcript.join(" "),
        words.join(","),
    )
}
