//! The model: `v1/listen`, with the numbers of the chunks heard as the transcript.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use dgsm_wire::signing::hex;
use ring::digest::{self, SHA256};
use serde::Deserialize;

use super::layout::Mark;
use super::results::{self, Results, Seconds};
use super::settings::WatermarkSettings;
use crate::audio::Format;
use crate::model::Reply;
use crate::query::Query;

/// The audio of one binary message.
#[derive(Clone, Copy, Debug)]
pub struct Audio<'a> {
    /// The audio's bytes, without header or trailer.
    pub bytes: &'a Bytes,
    /// The format as far as it is known.
    pub format: Format,
    /// Frames of audio heard on this leg so far, this message's included.
    pub frames: u64,
    /// The chunks that ended in this message.
    pub marks: &'a [Mark],
}

/// One conversation with the model. Times are since its beginning.
pub struct WatermarkModel {
    settings: WatermarkSettings,
    request_id: String,
    created: String,
    wants: Wants,
    format: Format,
    frames: u64,
    channels: Vec<Channel>,
    sha256: digest::Context,
    last_message: Duration,
    phase: Phase,
}

/// What the query asks for.
#[derive(Debug)]
struct Wants {
    multichannel: bool,
    interim_results: bool,
    vad_events: bool,
    /// Seconds of silence after which a final has `speech_final`.
    endpointing: Option<f64>,
    /// Seconds of silence after which an utterance ends.
    utterance_end: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Listening,
    /// `CloseStream` has arrived; the answer is due at this time.
    Closing(Duration),
    Ended,
}

#[derive(Debug, Default)]
struct Channel {
    /// Where the last final ended.
    finalised: u64,
    finals: u32,
    /// Chunks heard and not yet in a final.
    pending: VecDeque<Mark>,
    since_interim: u32,
    /// The end of the open utterance's last word.
    open_utterance: Option<u64>,
    /// Whether a final with `speech_final` has covered the words so far.
    speech_closed: bool,
}

/// The fields of a client's text message that the model reads.
#[derive(Deserialize)]
struct Control {
    r#type: String,
    keyterms: Option<Vec<String>>,
}

impl std::fmt::Debug for WatermarkModel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WatermarkModel")
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

impl WatermarkModel {
    /// Creates a conversation at its beginning.
    #[must_use]
    pub fn new(
        settings: WatermarkSettings,
        query: &Query,
        request_id: String,
        created: String,
    ) -> Self {
        let seconds = |key| query.number(key).map(|millis: f64| millis / 1e3);
        let wants = Wants {
            multichannel: query.flag("multichannel"),
            interim_results: query.flag("interim_results"),
            vad_events: query.flag("vad_events"),
            endpointing: seconds("endpointing"),
            utterance_end: seconds("utterance_end_ms"),
        };
        Self {
            settings,
            request_id,
            created,
            wants,
            format: Format::OTHER,
            frames: 0,
            channels: Vec::new(),
            sha256: digest::Context::new(&SHA256),
            last_message: Duration::ZERO,
            phase: Phase::Listening,
        }
    }

    /// Takes a binary message.
    pub fn hear(&mut self, now: Duration, audio: &Audio<'_>, replies: &mut Vec<Reply>) {
        if self.phase != Phase::Listening {
            return;
        }
        self.last_message = now;
        self.sha256.update(audio.bytes);
        self.format = audio.format;
        self.frames = audio.frames;
        let channels = if self.wants.multichannel {
            audio.format.channels
        } else {
            1
        };
        if audio.frames > 0 {
            self.channels
                .resize_with(usize::from(channels), Channel::default);
        }
        for mark in audio.marks {
            // Without `multichannel` there is one channel here, though every channel has the mark.
            if let Some(channel) = self.channels.get_mut(usize::from(mark.channel)) {
                channel.pending.push_back(*mark);
                channel.since_interim += 1;
            }
        }
        for index in 0..self.channels.len() {
            self.notice_speech(index, replies);
            while let Some(cut) = self.due(index) {
                self.finalise(index, cut, false, replies);
            }
            self.interim(index, replies);
        }
    }

    /// Takes a text message.
    pub fn read(&mut self, now: Duration, text: &str, replies: &mut Vec<Reply>) {
        if self.phase != Phase::Listening {
            return;
        }
        self.last_message = now;
        let control: Option<Control> = serde_json::from_str(text).ok();
        match control.as_ref().map(|control| control.r#type.as_str()) {
            Some("KeepAlive") => {}
            Some("Finalize") => {
                for index in 0..self.channels.len() {
                    if self.settings.answer_empty_finalize
                        || self.channels[index].finalised < self.frames
                    {
                        self.finalise(index, self.frames, true, replies);
                    }
                }
            }
            Some("CloseStream") => {
                let closing =
                    Duration::try_from_secs_f64(self.settings.closing_time).unwrap_or_default();
                self.phase = Phase::Closing(now + closing);
                self.tick(now, replies);
            }
            Some("Configure") => {
                let keyterms = control.and_then(|control| control.keyterms);
                let mut success =
                    serde_json::json!({"type": "ConfigureSuccess", "request_id": self.request_id});
                if let Some(keyterms) = keyterms {
                    success["keyterms"] = keyterms.into();
                }
                replies.push(message(success.to_string()));
            }
            Some(_) | None => {
                let error = serde_json::json!({
                    "type": "Error",
                    "variant": "SchemaError",
                    "description": "Could not deserialize last text message",
                    "message": text,
                });
                replies.push(message(error.to_string()));
                self.fail(
                    "1008",
                    "DATA-0000: a text message could not be understood",
                    replies,
                );
            }
        }
    }

    /// Ends the conversation, because the client's input has ended. Pending results are not sent.
    pub fn input_ended(&mut self, replies: &mut Vec<Reply>) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            replies.push(Reply::End);
        }
    }

    /// Returns when [`Self::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Listening => self.silence_ends(),
            Phase::Closing(at) => Some(at),
            Phase::Ended => None,
        }
    }

    /// Does what is due by itself.
    pub fn tick(&mut self, now: Duration, replies: &mut Vec<Reply>) {
        match self.phase {
            Phase::Listening if self.silence_ends().is_some_and(|at| at <= now) => {
                let reason = "NET-0001: did not receive audio data or a text message within the timeout window";
                self.fail("1011", reason, replies);
            }
            Phase::Closing(at) if at <= now => self.close(replies),
            Phase::Listening | Phase::Closing(_) | Phase::Ended => {}
        }
    }

    fn silence_ends(&self) -> Option<Duration> {
        let timeout = Duration::try_from_secs_f64(self.settings.silence_timeout?).ok()?;
        Some(self.last_message + timeout)
    }

    fn fail(&mut self, code: &str, message: &str, replies: &mut Vec<Reply>) {
        self.phase = Phase::Ended;
        replies.push(Reply::Fail {
            code: code.to_owned(),
            message: message.to_owned(),
        });
    }

    fn close(&mut self, replies: &mut Vec<Reply>) {
        self.phase = Phase::Ended;
        for index in 0..self.channels.len() {
            if self.channels[index].finalised < self.frames {
                self.finalise(index, self.frames, false, replies);
            }
        }
        let digest = hex::encode(self.sha256.clone().finish().as_ref());
        let duration = self.seconds(self.frames);
        let channels = if self.wants.multichannel {
            self.format.channels
        } else {
            1
        };
        let closing = results::metadata(
            &self.request_id,
            &self.created,
            &digest,
            &duration,
            channels,
        );
        replies.extend([message(closing), Reply::End]);
    }

    /// Returns where the channel's next final ends, if it is due.
    fn due(&self, index: usize) -> Option<u64> {
        let (settings, channel) = (&self.settings, &self.channels[index]);
        let late = self.format.frames(settings.late_seconds);
        let heard_beyond = |cut: u64| {
            let further = channel.pending.iter().filter(|mark| mark.end > cut).count();
            further >= settings.late_chunks as usize && self.frames >= cut + late
        };
        if let Some(seconds) = settings.window_seconds {
            let window = self.format.frames(seconds).max(1);
            let cut = (channel.finalised / window + 1) * window;
            return (cut <= self.frames && heard_beyond(cut)).then_some(cut);
        }
        let window = settings.window.max(1);
        let skew = if channel.finals == 0 {
            index as u32 * settings.channel_skew % window
        } else {
            0
        };
        let by_count = channel
            .pending
            .get((window - skew) as usize - 1)
            .map(|mark| mark.end);
        if let Some(cut) = by_count {
            return heard_beyond(cut).then_some(cut);
        }
        let quiet_since = channel
            .pending
            .back()
            .map_or(channel.finalised, |mark| mark.end);
        let patience = match (channel.pending.is_empty(), self.wants.endpointing) {
            (false, Some(endpointing)) => endpointing,
            _ => settings.silence_window,
        };
        let cut = self.frames.checked_sub(late)?;
        (cut >= quiet_since + self.format.frames(patience).max(1)).then_some(cut)
    }

    fn finalise(&mut self, index: usize, cut: u64, from_finalize: bool, replies: &mut Vec<Reply>) {
        let channel = &mut self.channels[index];
        let count = channel
            .pending
            .iter()
            .take_while(|mark| mark.end <= cut)
            .count();
        let words: Vec<Mark> = channel.pending.drain(..count).collect();
        let start = std::mem::replace(&mut channel.finalised, cut);
        channel.finals += 1;
        channel.since_interim = 0;
        let silent = |since: u64, seconds: Option<f64>| {
            seconds.is_some_and(|seconds| cut >= since + self.format.frames(seconds).max(1))
        };
        let speech_final = !channel.speech_closed
            && channel.pending.is_empty()
            && channel
                .open_utterance
                .is_some_and(|end| silent(end, self.wants.endpointing));
        channel.speech_closed |= speech_final;
        let ended = channel
            .open_utterance
            .filter(|end| channel.pending.is_empty() && silent(*end, self.wants.utterance_end));
        if ended.is_some() {
            channel.open_utterance = None;
        }
        self.say(
            index,
            start,
            cut,
            &words,
            [true, speech_final, from_finalize],
            replies,
        );
        if let Some(end) = ended {
            let end = results::utterance_end(self.channel_index(index), &self.seconds(end));
            replies.push(message(end));
        }
    }

    fn interim(&mut self, index: usize, replies: &mut Vec<Reply>) {
        let every = self.settings.interim_every;
        let channel = &mut self.channels[index];
        if !self.wants.interim_results || every == 0 || channel.since_interim < every {
            return;
        }
        let words: Vec<Mark> = channel.pending.iter().copied().collect();
        let Some(last) = words.last() else { return };
        channel.since_interim = 0;
        let (start, end) = (channel.finalised, last.end);
        self.say(index, start, end, &words, [false; 3], replies);
    }

    fn notice_speech(&mut self, index: usize, replies: &mut Vec<Reply>) {
        let channel = &mut self.channels[index];
        let Some(last) = channel.pending.back().copied() else {
            return;
        };
        if channel.open_utterance.is_some_and(|end| end >= last.end) {
            return;
        }
        let started = match channel.open_utterance {
            None => true,
            Some(_) => channel.speech_closed,
        };
        let since = channel.open_utterance.replace(last.end);
        channel.speech_closed = false;
        if started && self.wants.vad_events {
            let first = channel
                .pending
                .iter()
                .find(|mark| since.is_none_or(|since| mark.end > since));
            let start = first.map_or(last.start, |mark| mark.start);
            let started = results::speech_started(self.channel_index(index), &self.seconds(start));
            replies.push(message(started));
        }
    }

    fn say(
        &self,
        index: usize,
        start: u64,
        end: u64,
        words: &[Mark],
        flags: [bool; 3],
        replies: &mut Vec<Reply>,
    ) {
        let [is_final, speech_final, from_finalize] = flags;
        let results = Results {
            request_id: &self.request_id,
            format: self.format,
            channel_index: self.channel_index(index),
            start,
            end,
            words,
            listed: self.settings.listed_words.unwrap_or(usize::MAX),
            is_final,
            speech_final,
            from_finalize,
        };
        replies.push(message(results.json()));
    }

    fn channel_index(&self, index: usize) -> [u16; 2] {
        [index as u16, self.channels.len() as u16]
    }

    fn seconds(&self, frames: u64) -> Seconds {
        Seconds {
            micros: self.format.micros(frames),
        }
    }
}

fn message(text: String) -> Reply {
    Reply::Message(Frame::from(text))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;

    use super::*;
    use crate::audio::Clock;
    use crate::watermark::{Reader, mark};

    const QUERY: &str = "encoding=linear16&sample_rate=16000";
    const ZERO: Duration = Duration::ZERO;

    /// A model with what a leg does around it.
    struct Talk {
        model: WatermarkModel,
        clock: Clock,
        reader: Reader,
        said: Vec<Value>,
        over: Option<Reply>,
    }

    impl Talk {
        fn new(settings: WatermarkSettings, query: &str) -> Self {
            let query = Query::parse(query);
            let clock = Clock::new(&query);
            let reader = Reader::new(clock.format());
            let model = WatermarkModel::new(settings, &query, "id".into(), "now".into());
            Self {
                model,
                clock,
                reader,
                said: Vec::new(),
                over: None,
            }
        }

        fn prompt(settings: WatermarkSettings) -> Self {
            Self::new(
                WatermarkSettings {
                    closing_time: 0.0,
                    ..settings
                },
                QUERY,
            )
        }

        fn take(&mut self, replies: Vec<Reply>) {
            for reply in replies {
                assert_eq!(self.over, None, "something follows the end");
                match reply {
                    Reply::Message(frame) => {
                        self.said
                            .push(serde_json::from_str(frame.as_str().unwrap()).unwrap());
                    }
                    end => self.over = Some(end),
                }
            }
        }

        fn hear(&mut self, audio: &[u8]) {
            let audio = self.clock.audio(Bytes::copy_from_slice(audio));
            let mut marks = Vec::new();
            self.reader.read(&audio, |mark| marks.push(mark));
            let (format, frames) = (self.clock.format(), self.clock.frames());
            let audio = Audio {
                bytes: &audio,
                format,
                frames,
                marks: &marks,
            };
            let mut replies = Vec::new();
            self.model.hear(ZERO, &audio, &mut replies);
            self.take(replies);
        }

        /// 20 ms at 16 kHz each.
        fn chunks(&mut self, numbers: std::ops::Range<u32>) {
            for number in numbers {
                let format = self.clock.format();
                self.hear(&mark(number, 320 * format.frame(), format).unwrap());
            }
        }

        fn silence(&mut self, seconds: f64) {
            let format = self.clock.format();
            self.hear(&vec![
                format.silence;
                format.frames(seconds) as usize * format.frame()
            ]);
        }

        fn control(&mut self, name: &str) {
            let mut replies = Vec::new();
            self.model
                .read(ZERO, &format!(r#"{{"type":"{name}"}}"#), &mut replies);
            self.take(replies);
        }

        /// Type, start, duration and transcript of what was said since the last call.
        fn lines(&mut self) -> Vec<String> {
            let line = |said: Value| match said["type"].as_str().unwrap() {
                "Results" => {
                    let kind = match (&said["is_final"], &said["speech_final"]) {
                        (Value::Bool(true), Value::Bool(true)) => "speech_final",
                        (Value::Bool(true), _) => "final",
                        _ => "interim",
                    };
                    let transcript = said["channel"]["alternatives"][0]["transcript"].as_str();
                    format!(
                        "{kind} {} {}+{} {}",
                        said["channel_index"][0],
                        said["start"],
                        said["duration"],
                        transcript.unwrap()
                    )
                }
                "SpeechStarted" => format!("started {}", said["timestamp"]),
                "UtteranceEnd" => format!("ended {}", said["last_word_end"]),
                other => other.to_owned(),
            };
            self.said.drain(..).map(line).collect()
        }
    }

    fn settings() -> WatermarkSettings {
        WatermarkSettings {
            window: 3,
            ..WatermarkSettings::default()
        }
    }

    #[test]
    fn finals_tile_the_audio() {
        let mut talk = Talk::prompt(settings());
        talk.chunks(0..7);
        assert_eq!(
            talk.lines(),
            ["final 0 0.0+0.06 0 1 2", "final 0 0.06+0.06 3 4 5"]
        );
        talk.control("CloseStream");
        assert_eq!(talk.lines(), ["final 0 0.12+0.02 6", "Metadata"]);
        assert_eq!(talk.over, Some(Reply::End));
    }

    #[test]
    fn finals_may_be_late_by_chunks_or_seconds() {
        let mut talk = Talk::prompt(WatermarkSettings {
            late_chunks: 2,
            ..settings()
        });
        talk.chunks(0..4);
        assert_eq!(talk.lines(), [""; 0]);
        talk.chunks(4..5);
        assert_eq!(talk.lines(), ["final 0 0.0+0.06 0 1 2"]);
        let mut talk = Talk::prompt(WatermarkSettings {
            late_seconds: 1.0,
            ..settings()
        });
        talk.chunks(0..52);
        assert_eq!(talk.lines(), [""; 0]);
        talk.chunks(52..53);
        assert_eq!(talk.lines(), ["final 0 0.0+0.06 0 1 2"]);
    }

    #[test]
    fn windows_of_seconds_say_a_chunk_where_it_ends() {
        let mut talk = Talk::prompt(WatermarkSettings {
            window_seconds: Some(0.05),
            ..settings()
        });
        talk.chunks(0..5);
        assert_eq!(
            talk.lines(),
            ["final 0 0.0+0.05 0 1", "final 0 0.05+0.05 2 3 4"]
        );
    }

    #[test]
    fn a_leg_that_begins_within_a_chunk_says_it() {
        let mut talk = Talk::prompt(settings());
        let chunk = mark(9, 640, talk.clock.format()).unwrap();
        talk.hear(&chunk[322..]);
        talk.chunks(10..12);
        let words = talk.said[0]["channel"]["alternatives"][0]["words"].clone();
        // The first whole cell begins three samples after the cut.
        assert_eq!(
            (&words[0]["start"], &words[0]["end"]),
            (&Value::from(0.000_188), &Value::from(0.009_938))
        );
        assert_eq!(talk.lines(), ["final 0 0.0+0.049938 9 10 11"]);
    }

    #[test]
    fn interims_cover_what_is_not_final() {
        let settings = WatermarkSettings {
            interim_every: 2,
            window: 5,
            ..settings()
        };
        let mut talk = Talk::new(settings, &format!("{QUERY}&interim_results=true"));
        talk.chunks(0..6);
        assert_eq!(
            talk.lines(),
            [
                "interim 0 0.0+0.04 0 1",
                "interim 0 0.0+0.08 0 1 2 3",
                "final 0 0.0+0.1 0 1 2 3 4"
            ]
        );
    }

    #[test]
    fn channels_end_at_different_times() {
        let settings = WatermarkSettings {
            channel_skew: 1,
            ..settings()
        };
        let mut talk = Talk::new(settings, &format!("{QUERY}&channels=2&multichannel=true"));
        talk.chunks(0..5);
        assert_eq!(
            talk.lines(),
            [
                "final 1 0.0+0.04 0 1",
                "final 0 0.0+0.06 0 1 2",
                "final 1 0.04+0.06 2 3 4"
            ]
        );
        assert_eq!(talk.model.channel_index(1), [1, 2]);
    }

    #[test]
    fn channels_without_multichannel_are_one() {
        let mut talk = Talk::new(settings(), &format!("{QUERY}&channels=2"));
        talk.chunks(0..3);
        assert_eq!(talk.lines(), ["final 0 0.0+0.06 0 1 2"]);
        assert_eq!(talk.model.channel_index(0), [0, 1]);
    }

    #[test]
    fn finalize_says_everything_heard() {
        let mut talk = Talk::prompt(WatermarkSettings {
            late_chunks: 3,
            ..settings()
        });
        talk.chunks(0..4);
        talk.control("Finalize");
        assert_eq!(talk.said[0]["from_finalize"], true);
        assert_eq!(talk.lines(), ["final 0 0.0+0.08 0 1 2 3"]);
        talk.control("Finalize");
        assert_eq!(talk.lines(), ["final 0 0.08+0.0 "]);
        let mut quiet = Talk::prompt(WatermarkSettings {
            answer_empty_finalize: false,
            ..settings()
        });
        quiet.chunks(0..3);
        quiet.lines();
        quiet.control("Finalize");
        assert_eq!(quiet.lines(), [""; 0]);
    }

    #[test]
    fn silence_gets_empty_finals() {
        let mut talk = Talk::prompt(WatermarkSettings {
            silence_window: 1.0,
            ..settings()
        });
        talk.silence(0.9);
        assert_eq!(talk.lines(), [""; 0]);
        talk.silence(0.2);
        assert_eq!(talk.lines(), ["final 0 0.0+1.1 "]);
    }

    #[test]
    fn utterances_open_and_close_once() {
        let query = format!("{QUERY}&vad_events=true&endpointing=100&utterance_end_ms=1000");
        let mut talk = Talk::new(settings(), &query);
        talk.silence(0.5);
        talk.chunks(0..2);
        assert_eq!(talk.lines(), ["started 0.5"]);
        talk.silence(0.2);
        assert_eq!(talk.lines(), ["speech_final 0 0.0+0.74 0 1"]);
        talk.silence(3.0);
        assert_eq!(talk.lines(), ["final 0 0.74+3.0 ", "ended 0.54"]);
        talk.silence(3.0);
        assert_eq!(talk.lines(), ["final 0 3.74+3.0 "]);
        talk.chunks(2..3);
        assert_eq!(talk.lines(), ["started 6.74"]);
    }

    #[test]
    fn silence_and_close_stream_have_their_times() {
        let mut talk = Talk::new(settings(), QUERY);
        assert_eq!(talk.model.deadline(), Some(Duration::from_secs(10)));
        talk.control("CloseStream");
        assert_eq!(talk.model.deadline(), Some(Duration::from_millis(20)));
        talk.chunks(0..3);
        assert_eq!(talk.lines(), [""; 0], "nothing is heard any more");
        let mut replies = Vec::new();
        talk.model.tick(Duration::from_millis(20), &mut replies);
        talk.take(replies);
        assert_eq!(talk.lines(), ["Metadata"]);
        assert_eq!((talk.over, talk.model.deadline()), (Some(Reply::End), None));
    }

    #[test]
    fn an_input_that_ends_before_the_answer_cuts_the_tail_off() {
        let mut talk = Talk::new(settings(), QUERY);
        talk.chunks(0..2);
        talk.control("CloseStream");
        let mut replies = Vec::new();
        talk.model.input_ended(&mut replies);
        assert_eq!(replies, [Reply::End]);
    }

    #[test]
    fn metadata_has_the_audio_s_digest() {
        let mut talk = Talk::prompt(settings());
        talk.silence(0.0001);
        talk.control("CloseStream");
        let closing = talk.said.last().unwrap();
        // SHA-256 of two zero bytes.
        let expected = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
        assert_eq!(closing["sha256"], expected);
        assert_eq!(closing["channels"], 1);
    }

    #[test]
    fn configure_is_acknowledged_and_nonsense_is_fatal() {
        let mut talk = Talk::prompt(settings());
        let mut replies = Vec::new();
        talk.model.read(
            ZERO,
            r#"{"type":"Configure","keyterms":["a"]}"#,
            &mut replies,
        );
        talk.take(replies);
        assert_eq!(talk.said[0]["keyterms"], serde_json::json!(["a"]));
        talk.control("Nonsense");
        assert_eq!(talk.said[1]["variant"], "SchemaError");
        assert!(matches!(talk.over, Some(Reply::Fail { code, .. }) if code == "1008"));
    }
}
