//! Faults on demand: rules that say what goes wrong, and when.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;

use crate::audio::Format;

/// One rule for streams.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub action: Action,
    /// When.
    pub when: Trigger,
    /// On which opens, counted from 1 in the rule's scope.
    #[serde(default)]
    pub legs: Option<Ordinals>,
    /// How often at most in the rule's scope; `None`: no limit.
    pub times: Option<u64>,
    /// Where opens and times are counted.
    pub scope: Scope,
    /// Only for this invocation path.
    #[serde(default)]
    pub path: Option<String>,
}

/// Where a rule counts.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Over all streams.
    Endpoint,
    /// Over the streams with the same path and query: the legs of one session.
    Conversation,
}

/// When a rule strikes. All but `NewChunks` and `NewAudio` strike at most once a leg.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// When the request has been checked, before it is answered.
    Opening,
    /// After so many seconds of audio on this leg.
    Audio {
        /// On the audio's own clock.
        seconds: f64,
    },
    /// After so many bytes of messages received.
    Bytes {
        /// How many.
        count: u64,
    },
    /// After so many messages received.
    Messages {
        /// How many.
        count: u64,
    },
    /// After so many messages sent.
    Replies {
        /// How many.
        count: u64,
    },
    /// When a text message of this type arrives. If the fault ends the stream, the model does not see it.
    Control {
        /// The message's `type`, `CloseStream` for example.
        name: String,
    },
    /// So long after the answer.
    Elapsed {
        /// On the wall clock.
        seconds: f64,
    },
    /// After so many watermarked chunks on this leg.
    Chunks {
        /// How many.
        count: u64,
    },
    /// After each so many watermarked chunks that no leg of the conversation had heard before.
    NewChunks {
        /// How many.
        count: u64,
    },
    /// After each so many seconds of audio that no leg of the conversation had heard before. A leg's first bytes are looked up
    /// in what was heard before.
    NewAudio {
        /// On the audio's own clock.
        seconds: f64,
    },
    /// When the conversation's next leg has opened while this one works.
    NextOpen,
}

/// What happens to a stream.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// `RST_STREAM`.
    Reset {
        /// The HTTP/2 error code.
        code: u32,
    },
    /// The whole connection goes away.
    Drop {
        /// With a TCP RST, or with FIN and without a TLS `close_notify`.
        rst: bool,
    },
    /// `GOAWAY` on the connection.
    GoAway {
        /// The HTTP/2 error code.
        code: u32,
        /// Whether the last stream id covers this stream: it then goes on, and the connection closes after its last stream.
        /// Otherwise the connection closes soon.
        covers: bool,
    },
    /// The response ends cleanly, whatever is outstanding.
    EndEarly,
    /// In-band `ModelStreamError`.
    ModelStreamError {
        /// The `ErrorCode`.
        code: String,
        /// The `Message`.
        message: String,
    },
    /// Another in-band exception.
    Exception {
        /// Its type, `InternalStreamFailure` for example.
        name: String,
        /// The `Message`.
        message: String,
    },
    /// An HTTP answer instead of a stream.
    Answer {
        /// The status.
        status: u16,
        /// `x-amzn-errortype`; empty: no such header.
        error_type: String,
        /// The body's message.
        message: String,
        /// The whole body instead.
        #[serde(default)]
        body: Option<String>,
    },
    /// No answer ever.
    NeverAnswer,
    /// The answer comes so much later.
    DelayAnswer {
        /// On the wall clock.
        seconds: f64,
    },
    /// Nothing is sent from now on, not even an end.
    GoSilent,
    /// Messages travel in `PARTIAL` parts of so many bytes from now on.
    Split {
        /// Bytes of one part.
        size: usize,
    },
    /// Everything is sent so much later from now on.
    Late {
        /// On the wall clock.
        seconds: f64,
    },
    /// Bytes on the stream that are not what they should be.
    Malform {
        /// Which.
        how: Malformation,
    },
    /// Every connection goes away and new ones are refused for a time.
    Outage {
        /// On the wall clock.
        seconds: f64,
    },
}

/// What a malformed event looks like.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Malformation {
    /// The first half of an event, then the end of the response.
    Truncated,
    /// A prelude that announces far too many bytes.
    Oversized,
    /// An event whose CRC is wrong.
    WrongCrc,
    /// An intact event of an unknown type; the stream goes on.
    UnknownEvent,
    /// Text that is not UTF-8.
    NotUtf8,
    /// No event stream at all.
    Garbage,
    /// Fragments of one message with different types.
    MixedTypes,
}

/// One rule for connections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionFault {
    /// What happens.
    pub action: ConnectionAction,
    /// On which connections, from 1.
    #[serde(default)]
    pub connections: Option<Ordinals>,
}

/// What happens to a connection before HTTP/2 speaks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ConnectionAction {
    /// Accepted, then silence.
    NeverTls,
    /// TLS, then silence.
    NeverHttp2,
    /// The TLS handshake starts so much later.
    SlowTls {
        /// On the wall clock.
        seconds: f64,
    },
    /// Accepted and reset at once.
    ResetTcp,
}

impl Fault {
    /// Says whether action and trigger go together.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.action.is_answer() && !matches!(self.when, Trigger::Opening) {
            return Err(format!(
                "{:?} happens when a stream opens, not {:?}",
                self.action, self.when
            ));
        }
        Ok(())
    }
}

impl Action {
    /// Whether it is about the answer to the request.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Answer { .. } | Self::NeverAnswer | Self::DelayAnswer { .. }
        )
    }

    /// Its name in records.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Reset { .. } => "reset",
            Self::Drop { .. } => "drop",
            Self::GoAway { .. } => "go_away",
            Self::EndEarly => "end_early",
            Self::ModelStreamError { .. } => "model_stream_error",
            Self::Exception { .. } => "exception",
            Self::Answer { .. } => "answer",
            Self::NeverAnswer => "never_answer",
            Self::DelayAnswer { .. } => "delay_answer",
            Self::GoSilent => "go_silent",
            Self::Split { .. } => "split",
            Self::Late { .. } => "late",
            Self::Malform { .. } => "malform",
            Self::Outage { .. } => "outage",
        }
    }
}

/// Which of a counted series: the first and each `step`-th after it, up to the last, if there is one.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Ordinals(u64, Option<u64>, u64);

impl Ordinals {
    /// Whether `number` is one of them.
    pub(crate) fn include(self, number: u64) -> bool {
        let Self(first, last, step) = self;
        first <= number
            && last.is_none_or(|last| number <= last)
            && (number - first).is_multiple_of(step.max(1))
    }
}

/// Whether `number` is meant; without a choice every one is.
pub(crate) fn covers(ordinals: Option<Ordinals>, number: u64) -> bool {
    ordinals.is_none_or(|ordinals| ordinals.include(number))
}

/// The legs that count as one session: those with the same path and query.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// How many legs have opened.
    pub(crate) opens: watch::Sender<u64>,
    heard: Mutex<HeardBefore>,
    /// How often each rule has struck here.
    struck: Mutex<HashMap<usize, u64>>,
}

#[derive(Debug, Default)]
struct HeardBefore {
    chunks: BTreeSet<u32>,
    audio: Vec<u8>,
    /// What each rule about new audio waits for, in chunks or bytes.
    thresholds: HashMap<usize, u64>,
}

impl Conversation {
    pub(crate) fn new() -> Self {
        Self {
            opens: watch::Sender::new(0),
            heard: Mutex::default(),
            struck: Mutex::default(),
        }
    }
}

/// All rules, and how often each has struck.
#[derive(Debug)]
pub(crate) struct Rules {
    faults: Vec<Fault>,
    struck: Mutex<HashMap<usize, u64>>,
}

/// What a leg has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress<'a> {
    pub(crate) opening: bool,
    pub(crate) elapsed: Duration,
    pub(crate) audio_seconds: f64,
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    pub(crate) replies: u64,
    pub(crate) chunks: u64,
    /// The type of the text message that has just arrived.
    pub(crate) control: Option<&'a str>,
    pub(crate) next_open: bool,
}

/// The rules that may still strike on one leg.
#[derive(Debug)]
pub(crate) struct Armed {
    /// Index of the rule, and whether it has struck.
    rules: Vec<(usize, bool)>,
    locator: Option<Locator>,
}

impl Rules {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self {
            faults,
            struck: Mutex::default(),
        }
    }

    /// The rules for a leg: the endpoint's `open`-th and its conversation's `leg`-th.
    pub(crate) fn arm(&self, path: &str, open: u64, leg: u64) -> Armed {
        let matches = |fault: &Fault| {
            let ordinal = match fault.scope {
                Scope::Endpoint => open,
                Scope::Conversation => leg,
            };
            covers(fault.legs, ordinal) && fault.path.as_deref().is_none_or(|only| only == path)
        };
        let armed: Vec<_> = self
            .faults
            .iter()
            .enumerate()
            .filter(|(_, fault)| matches(fault))
            .collect();
        let locates = armed
            .iter()
            .any(|(_, fault)| matches!(fault.when, Trigger::NewAudio { .. }));
        Armed {
            rules: armed.into_iter().map(|(index, _)| (index, false)).collect(),
            locator: locates.then(Locator::default),
        }
    }

    /// Whether watermarked chunks matter to any rule.
    pub(crate) fn count_chunks(&self) -> bool {
        let counts = |fault: &Fault| {
            matches!(
                fault.when,
                Trigger::Chunks { .. } | Trigger::NewChunks { .. }
            )
        };
        self.faults.iter().any(counts)
    }

    /// The first rule of `armed` that strikes now. Call again until there is none: several may.
    pub(crate) fn strike(
        &self,
        armed: &mut Armed,
        at: &Conversation,
        progress: &Progress<'_>,
    ) -> Option<Action> {
        for (index, done) in &mut armed.rules {
            if *done {
                continue;
            }
            let fault = &self.faults[*index];
            let reached = |count: u64, so_far: u64| so_far >= count;
            let due = match &fault.when {
                Trigger::Opening => progress.opening,
                Trigger::Audio { seconds } => progress.audio_seconds + 1e-9 >= *seconds,
                Trigger::Bytes { count } => reached(*count, progress.bytes),
                Trigger::Messages { count } => reached(*count, progress.messages),
                Trigger::Replies { count } => reached(*count, progress.replies),
                Trigger::Chunks { count } => reached(*count, progress.chunks),
                Trigger::Control { name } => progress.control == Some(name),
                Trigger::Elapsed { seconds } => {
                    !progress.opening && progress.elapsed.as_secs_f64() >= *seconds
                }
                Trigger::NextOpen => progress.next_open,
                Trigger::NewChunks { count } => {
                    at.passes(*index, *count, |heard| heard.chunks.len() as u64)
                }
                Trigger::NewAudio { seconds } => {
                    let format = armed
                        .locator
                        .as_ref()
                        .map_or(Format::OTHER, |locator| locator.format);
                    let bytes = format.frames(*seconds) * format.frame() as u64;
                    at.passes(*index, bytes, |heard| heard.audio.len() as u64)
                }
            };
            if !due {
                continue;
            }
            *done = !matches!(
                fault.when,
                Trigger::NewChunks { .. } | Trigger::NewAudio { .. }
            );
            let struck = match fault.scope {
                Scope::Endpoint => &self.struck,
                Scope::Conversation => &at.struck,
            };
            let mut struck = struck.lock().unwrap_or_else(PoisonError::into_inner);
            let times = struck.entry(*index).or_default();
            if fault.times.is_none_or(|limit| *times < limit) {
                *times += 1;
                return Some(fault.action.clone());
            }
        }
        None
    }

    /// When the next rule strikes by itself, since the answer.
    pub(crate) fn deadline(&self, armed: &Armed) -> Option<Duration> {
        let waiting = armed.rules.iter().filter(|(_, done)| !done);
        let times = waiting.filter_map(|(index, _)| match self.faults[*index].when {
            Trigger::Elapsed { seconds } => Duration::try_from_secs_f64(seconds).ok(),
            _ => None,
        });
        times.min()
    }

    /// Whether any rule waits for the conversation's next leg.
    pub(crate) fn wait_for_next_open(&self, armed: &Armed) -> bool {
        let waits = |(index, done): &(usize, bool)| {
            !done && matches!(self.faults[*index].when, Trigger::NextOpen)
        };
        armed.rules.iter().any(waits)
    }
}

impl Armed {
    /// Takes audio that a leg has heard, so that what is new to the conversation can be told.
    pub(crate) fn hear(&mut self, at: &Conversation, audio: &[u8], format: Format) {
        if let Some(locator) = &mut self.locator {
            locator.format = format;
            let mut heard = at.heard.lock().unwrap_or_else(PoisonError::into_inner);
            locator.hear(audio, &mut heard.audio);
        }
    }
}

impl Conversation {
    /// Notes a chunk that a leg has heard to its end.
    pub(crate) fn hear_chunk(&self, number: u32) {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .chunks
            .insert(number);
    }

    /// Whether what has been heard passes a rule's next threshold, a multiple of `step`.
    fn passes(&self, rule: usize, step: u64, total: impl FnOnce(&HeardBefore) -> u64) -> bool {
        let step = step.max(1);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let total = total(&heard);
        let threshold = heard.thresholds.entry(rule).or_insert(step);
        let passed = total >= *threshold;
        if passed {
            *threshold = (total / step + 1) * step;
        }
        passed
    }
}

/// Finds where in a conversation's audio a leg begins.
#[derive(Debug)]
struct Locator {
    format: Format,
    /// The leg's first bytes, until it is located.
    head: Vec<u8>,
    /// Where the leg's next byte lies in the conversation's audio.
    at: Option<usize>,
}

impl Default for Locator {
    fn default() -> Self {
        Self {
            format: Format::OTHER,
            head: Vec::new(),
            at: None,
        }
    }
}

impl Locator {
    /// So many bytes say where they come from.
    const NEEDLE: usize = 1024;

    fn hear(&mut self, audio: &[u8], heard: &mut Vec<u8>) {
        match self.at {
            Some(at) => self.at = Some(Self::append(at, audio, heard)),
            None if heard.is_empty() => self.at = Some(Self::append(0, audio, heard)),
            None => {
                self.head.extend_from_slice(audio);
                if let Some(needle) = self.head.get(..Self::NEEDLE) {
                    // The last place: a cut never lies far back. Nowhere: all of it is new.
                    let at = memchr::memmem::rfind(heard, needle).unwrap_or(heard.len());
                    self.at = Some(Self::append(at, &std::mem::take(&mut self.head), heard));
                }
            }
        }
    }

    fn append(at: usize, audio: &[u8], heard: &mut Vec<u8>) -> usize {
        let known = heard.len().saturating_sub(at).min(audio.len());
        heard.extend_from_slice(&audio[known..]);
        at + audio.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(when: Trigger) -> Fault {
        Fault {
            action: Action::EndEarly,
            when,
            legs: None,
            times: None,
            scope: Scope::Endpoint,
            path: None,
        }
    }

    fn strikes(
        rules: &Rules,
        armed: &mut Armed,
        at: &Conversation,
        progress: Progress<'_>,
    ) -> bool {
        rules.strike(armed, at, &progress).is_some()
    }

    #[test]
    fn a_rule_strikes_once_a_leg_and_as_often_as_it_may() {
        let once = Fault {
            times: Some(2),
            ..fault(Trigger::Messages { count: 3 })
        };
        let (rules, at) = (Rules::new(vec![once]), Conversation::new());
        let three = Progress {
            messages: 3,
            ..Progress::default()
        };
        for leg in 1..=3 {
            let mut armed = rules.arm("v1/listen", leg, leg);
            assert!(!strikes(
                &rules,
                &mut armed,
                &at,
                Progress {
                    messages: 2,
                    ..Progress::default()
                }
            ));
            assert_eq!(strikes(&rules, &mut armed, &at, three), leg < 3);
            assert!(!strikes(&rules, &mut armed, &at, three));
        }
    }

    #[test]
    fn opens_are_counted_in_the_scope() {
        let second_leg = Fault {
            legs: Some(Ordinals(2, Some(2), 1)),
            scope: Scope::Conversation,
            ..fault(Trigger::Opening)
        };
        let rules = Rules::new(vec![second_leg]);
        let (at, opening) = (
            Conversation::new(),
            Progress {
                opening: true,
                ..Progress::default()
            },
        );
        assert!(!strikes(
            &rules,
            &mut rules.arm("v1/listen", 2, 1),
            &at,
            opening
        ));
        assert!(strikes(
            &rules,
            &mut rules.arm("v1/listen", 9, 2),
            &at,
            opening
        ));
    }

    #[test]
    fn ordinals() {
        let those =
            |ordinals: Ordinals| (1..10).filter(|n| ordinals.include(*n)).collect::<Vec<_>>();
        assert_eq!(those(Ordinals(2, Some(4), 1)), [2, 3, 4]);
        assert_eq!(those(Ordinals(2, None, 3)), [2, 5, 8]);
        assert!(covers(None, 7));
    }

    #[test]
    fn only_new_chunks_count_as_new() {
        let rules = Rules::new(vec![fault(Trigger::NewChunks { count: 50 })]);
        let at = Conversation::new();
        let mut struck = Vec::new();
        for leg in 0..3_u32 {
            let mut armed = rules.arm("v1/listen", 1, 1);
            // Each leg hears twenty chunks again.
            for number in (leg * 50).saturating_sub(20)..leg * 50 + 50 {
                at.hear_chunk(number);
                if strikes(&rules, &mut armed, &at, Progress::default()) {
                    struck.push(number);
                }
            }
        }
        assert_eq!(struck, [49, 99, 149]);
    }

    #[test]
    fn only_new_audio_counts_as_new() {
        let rules = Rules::new(vec![fault(Trigger::NewAudio { seconds: 1.0 })]);
        let at = Conversation::new();
        let audio: Vec<u8> = (0..400_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let second = usize::try_from(Format::OTHER.rate).unwrap();
        let mut armed = rules.arm("v1/listen", 1, 1);
        armed.hear(&at, &audio[..second - 1], Format::OTHER);
        assert!(!strikes(&rules, &mut armed, &at, Progress::default()));
        armed.hear(&at, &audio[second - 1..second], Format::OTHER);
        assert!(strikes(&rules, &mut armed, &at, Progress::default()));
        let mut armed = rules.arm("v1/listen", 2, 2);
        for piece in audio[second / 2..2 * second].chunks(640) {
            assert!(!strikes(&rules, &mut armed, &at, Progress::default()));
            armed.hear(&at, piece, Format::OTHER);
        }
        assert!(strikes(&rules, &mut armed, &at, Progress::default()));
    }

    #[test]
    fn an_answer_can_only_come_first() {
        let late = Fault {
            action: Action::NeverAnswer,
            ..fault(Trigger::NextOpen)
        };
        assert!(late.check().is_err());
        assert!(
            Fault {
                action: Action::NeverAnswer,
                ..fault(Trigger::Opening)
            }
            .check()
            .is_ok()
        );
    }

    #[test]
    fn only_the_path_asked_for() {
        let rules = Rules::new(vec![Fault {
            path: Some("v2/listen".into()),
            ..fault(Trigger::Opening)
        }]);
        let (at, opening) = (
            Conversation::new(),
            Progress {
                opening: true,
                ..Progress::default()
            },
        );
        assert!(!strikes(
            &rules,
            &mut rules.arm("v1/listen", 1, 1),
            &at,
            opening
        ));
        assert!(strikes(
            &rules,
            &mut rules.arm("v2/listen", 1, 1),
            &at,
            opening
        ));
    }
}
