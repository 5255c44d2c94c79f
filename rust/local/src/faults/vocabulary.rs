//! The words of fault rules, as they come in JSON. Python writes them: `local/faults` there has the
//! same names and fields.

use serde::Deserialize;

/// One rule for streams.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub action: Action,
    /// When.
    pub when: Trigger,
    /// Which opens, counted from 1 in the rule's scope; `None`: all.
    #[serde(default)]
    pub legs: Option<Ordinals>,
    /// The most strikes in the rule's scope; `None`: no limit.
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

/// When a rule strikes: at most once a leg, except on `NewChunks` and `NewAudio`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Trigger {
    /// When the request has been checked, before it is answered.
    Opening,
    /// After an amount of audio on this leg.
    Audio {
        /// Seconds on the audio's own clock.
        seconds: f64,
    },
    /// After a number of bytes received, counted in messages.
    Bytes {
        /// Bytes.
        count: u64,
    },
    /// After a number of messages received.
    Messages {
        /// Messages.
        count: u64,
    },
    /// After a number of messages sent.
    Replies {
        /// Messages.
        count: u64,
    },
    /// When a text message of this type arrives. If the fault ends the stream, the model does not
    /// see the message.
    Control {
        /// The message's `type`, `CloseStream` for example.
        name: String,
    },
    /// A time after the answer.
    Elapsed {
        /// Seconds on the wall clock.
        seconds: f64,
    },
    /// After a number of watermarked chunks on this leg.
    Chunks {
        /// Chunks.
        count: u64,
    },
    /// Each time that the conversation has heard a number of further watermarked chunks. A chunk
    /// that several legs hear counts once.
    NewChunks {
        /// Chunks.
        count: u64,
    },
    /// Each time that the conversation has heard an amount of further audio. Audio that several
    /// legs hear counts once: a leg's first bytes are looked up in what was heard before.
    NewAudio {
        /// Seconds on the audio's own clock.
        seconds: f64,
    },
    /// When the conversation's next leg opens while this one works.
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
    /// The whole connection closes.
    Drop {
        /// Whether with a TCP RST; otherwise with FIN and without a TLS `close_notify`.
        rst: bool,
    },
    /// `GOAWAY` on the connection.
    GoAway {
        /// The HTTP/2 error code.
        code: u32,
        /// Whether the last stream id covers this stream. If so the stream goes on, and the
        /// connection closes after its last stream; otherwise the connection closes soon.
        covers: bool,
    },
    /// The response ends cleanly, with messages unsent.
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
        /// The exception's type, `InternalStreamFailure` for example.
        name: String,
        /// The `Message`.
        message: String,
    },
    /// An HTTP answer instead of a stream.
    Answer(Answer),
    /// The request is never answered.
    NeverAnswer,
    /// The answer comes late.
    DelayAnswer {
        /// Seconds on the wall clock.
        seconds: f64,
    },
    /// Nothing is sent from now on, not even an end.
    GoSilent,
    /// Messages travel in `PARTIAL` parts from now on.
    Split {
        /// Bytes of one part.
        size: usize,
    },
    /// Everything is sent late from now on.
    Late {
        /// Seconds on the wall clock.
        seconds: f64,
    },
    /// The stream carries malformed bytes.
    Malform {
        /// Which.
        how: Malformation,
    },
    /// Every connection closes, and new ones are refused for a time.
    Outage {
        /// Seconds on the wall clock.
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
    /// Which connections, from 1; `None`: all.
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
    /// The TLS handshake starts late.
    SlowTls {
        /// Seconds on the wall clock.
        seconds: f64,
    },
    /// Accepted and reset at once.
    ResetTcp,
}

impl Fault {
    /// Says why action and trigger do not go together.
    ///
    /// # Errors
    /// The reason, for people.
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

/// An HTTP answer instead of a stream.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `x-amzn-errortype`; empty: no such header.
    pub error_type: String,
    /// The message in the body.
    pub message: String,
    /// The whole body, instead of one made from the message.
    #[serde(default)]
    pub body: Option<String>,
}

impl Action {
    /// Returns whether it happens to the answer of the request.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Answer(_) | Self::NeverAnswer | Self::DelayAnswer { .. }
        )
    }

    /// Returns its name in records.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Reset { .. } => "reset",
            Self::Drop { .. } => "drop",
            Self::GoAway { .. } => "go_away",
            Self::EndEarly => "end_early",
            Self::ModelStreamError { .. } => "model_stream_error",
            Self::Exception { .. } => "exception",
            Self::Answer(_) => "answer",
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

/// Which of a counted series: first, last (`None`: no end) and step.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Ordinals(pub(super) u64, pub(super) Option<u64>, pub(super) u64);

impl Ordinals {
    /// Returns whether `number` is one of them.
    pub(crate) fn include(self, number: u64) -> bool {
        let Self(first, last, step) = self;
        first <= number
            && last.is_none_or(|last| number <= last)
            && (number - first).is_multiple_of(step.max(1))
    }
}

/// Returns whether `number` is among `ordinals`; `None` has every number.
pub(crate) fn covers(ordinals: Option<Ordinals>, number: u64) -> bool {
    ordinals.is_none_or(|ordinals| ordinals.include(number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ordinals() {
        let those =
            |ordinals: Ordinals| (1..10).filter(|n| ordinals.include(*n)).collect::<Vec<_>>();
        assert_eq!(those(Ordinals(2, Some(4), 1)), [2, 3, 4]);
        assert_eq!(those(Ordinals(2, None, 3)), [2, 5, 8]);
        assert!(covers(None, 7));
    }

    #[test]
    fn an_answer_can_only_come_first() {
        let never = |when| Fault {
            action: Action::NeverAnswer,
            when,
            legs: None,
            times: None,
            scope: Scope::Endpoint,
            path: None,
        };
        assert!(never(Trigger::NextOpen).check().is_err());
        assert!(never(Trigger::Opening).check().is_ok());
    }

    #[test]
    fn records_name_an_action_as_rules_do() {
        let rules = json!([
            {"kind": "reset", "code": 2},
            {"kind": "drop", "rst": true},
            {"kind": "go_away", "code": 0, "covers": true},
            {"kind": "end_early"},
            {"kind": "model_stream_error", "code": "1011", "message": ""},
            {"kind": "exception", "name": "InternalStreamFailure", "message": ""},
            {"kind": "answer", "status": 503, "error_type": "", "message": ""},
            {"kind": "never_answer"},
            {"kind": "delay_answer", "seconds": 1.0},
            {"kind": "go_silent"},
            {"kind": "split", "size": 1},
            {"kind": "late", "seconds": 1.0},
            {"kind": "malform", "how": "garbage"},
            {"kind": "outage", "seconds": 1.0},
        ]);
        let mut named = Vec::new();
        for rule in rules.as_array().unwrap() {
            let action: Action = serde_json::from_value(rule.clone()).unwrap();
            assert_eq!(action.name(), rule["kind"]);
            named.push(action.name());
        }
        let unknown = serde_json::from_value::<Action>(json!({"kind": "?"})).unwrap_err();
        let unknown = unknown.to_string();
        let known: Vec<_> = unknown.split('`').skip(3).step_by(2).collect();
        assert_eq!(named, known);
    }
}
