//! What a session asks of those who drive it, and what they tell it.

use std::fmt;
use std::time::Duration;

use super::reason::Reason;
use crate::frame::Frame;
use crate::{quote, refusals};

/// One leg of a session: one bidirectional stream. Numbers count up from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub(crate) u64);

impl LegId {
    /// The leg's number in its session; the first is 0.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What the driver does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Open a leg, then report `leg_opened` or `open_failed`. Said once for each leg.
    Open {
        /// The current leg still works; this one needs no permit of its own.
        standby: bool,
        /// The keys of the leg before ran out in mid-stream: fresh ones are to be looked up.
        renew: bool,
    },
    /// Nothing, until this time or until `driver_wanted`.
    Wait {
        /// When to ask again, at the latest; `None`: only when something else happens.
        until: Option<Duration>,
    },
    /// The session is over, in order.
    Finished,
    /// The session is over, and why.
    Failed(SessionFailure),
}

/// What a leg's pump sends next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendStep {
    /// This frame, shared by reference.
    Frame(Frame),
    /// Nothing, until this time or until the application sends.
    Wait {
        /// When to ask again, at the latest.
        until: Option<Duration>,
    },
    /// The signed empty event, then end the stream's input. Said once.
    End,
    /// Nothing more: reset the stream if it is still open, and forget it.
    Stop,
}

/// How a leg ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegEnd {
    /// The service ended its side in order.
    Clean,
    /// The container closed, or the model failed: `ModelStreamError`.
    ModelStreamError {
        /// The container's WebSocket close code, or what the service says instead.
        code: String,
        /// The container's reason.
        message: String,
    },
    /// The service failed: `InternalStreamFailure`.
    InternalStreamFailure {
        /// What the service says.
        message: String,
    },
    /// Another exception inside the stream.
    Exception {
        /// The exception's name.
        kind: String,
        /// What the service says.
        message: String,
    },
    /// The stream was reset.
    Reset {
        /// The HTTP/2 error code.
        code: Option<u32>,
    },
    /// The connection went away in order without serving the stream to its end.
    GoAway {
        /// The HTTP/2 error code.
        code: Option<u32>,
    },
    /// The connection broke.
    Dropped {
        /// What was seen.
        detail: String,
    },
    /// The service broke the protocol.
    Protocol {
        /// What was wrong.
        detail: String,
    },
    /// The service said nothing for `stall_timeout` while audio flowed to it.
    Stalled,
}

/// What else was known as a leg ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The application had sent nothing for so long that the service may have closed over it.
    pub silent: bool,
    /// The closing message was sent, or the application has closed.
    pub closing: bool,
}

impl LegEnd {
    /// Why the leg ended.
    #[must_use]
    pub fn why(&self, seen: Seen) -> Reason {
        match self {
            Self::Clean if seen.closing => Reason::Unanswered,
            Self::Clean => Reason::EarlyEnd,
            Self::ModelStreamError { code, .. } if code == "1000" => Reason::ContainerDone,
            Self::ModelStreamError { code, message } => {
                refusals::of_close(code, message, seen.silent)
            }
            Self::InternalStreamFailure { .. } => Reason::StreamFailed,
            Self::Exception { kind, message } => refusals::of_exception(kind, message),
            Self::Reset { code } => Reason::of_h2(*code, Reason::Reset),
            Self::GoAway { code } => Reason::of_h2(*code, Reason::GoAway),
            Self::Dropped { .. } => Reason::Dropped,
            Self::Protocol { .. } => Reason::Protocol,
            Self::Stalled => Reason::Stalled,
        }
    }

    /// A name to count it by.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Clean => "early_end",
            Self::ModelStreamError { .. } => "model_stream_error",
            Self::InternalStreamFailure { .. } => "internal_stream_failure",
            Self::Exception { .. } => "exception",
            Self::Reset { .. } => "reset",
            Self::GoAway { .. } => "goaway",
            Self::Dropped { .. } => "dropped",
            Self::Protocol { .. } => "protocol",
            Self::Stalled => "stalled",
        }
    }
}

impl fmt::Display for LegEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => write!(out, "the service ended the stream early"),
            Self::ModelStreamError { code, message } => {
                let (code, message) = (quote::name(code), quote::text(message));
                write!(out, "the container ended the stream: {code} {message}")
            }
            Self::InternalStreamFailure { message } => {
                let message = quote::text(message);
                write!(out, "the service failed inside the stream: {message}")
            }
            Self::Exception { kind, message } => {
                write!(out, "{}: {}", quote::name(kind), quote::text(message))
            }
            Self::Reset { code: Some(code) } => {
                write!(out, "the stream was reset (HTTP/2 error {code})")
            }
            Self::Reset { code: None } => write!(out, "the stream was reset"),
            Self::GoAway {
                code: None | Some(0),
            } => write!(out, "the service closed the connection"),
            Self::GoAway { code: Some(code) } => {
                write!(
                    out,
                    "the service closed the connection (HTTP/2 error {code})"
                )
            }
            Self::Dropped { detail } => {
                write!(out, "the connection broke: {}", quote::text(detail))
            }
            Self::Protocol { detail } => {
                write!(
                    out,
                    "the service broke the protocol: {}",
                    quote::text(detail)
                )
            }
            Self::Stalled => write!(out, "the service stopped answering"),
        }
    }
}

/// What follows a leg that could not be opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AfterOpenFailure {
    /// The session asks for a leg again after this time.
    Retry {
        /// The delay.
        after: Duration,
    },
    /// The session is over.
    GiveUp {
        /// Failures in a row without progress, this one included.
        attempts: u32,
        /// Since the first of them.
        elapsed: Duration,
        /// Audio that the application sent and the service had not finalised, in seconds; 0 where
        /// the audio's rate is not known.
        unacked_seconds: f64,
    },
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq)]
pub enum FailureCause {
    /// No leg could be opened, the last time for this reason; the driver knows the error.
    Open(Reason),
    /// A leg ended for good, or too often.
    Leg(LegEnd),
    /// A leg ended, and what it needed is not kept: this audio outgrew the journal, or this
    /// product is not resumed.
    NotResumable(LegEnd),
    /// Neither audio nor `KeepAlive` came from the application for ten seconds.
    Silent,
    /// The application closed, and the service had not answered everything within `close_timeout`.
    CloseTimedOut,
}

/// How a session failed, for whoever explains it to the application.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionFailure {
    /// Why.
    pub cause: FailureCause,
    /// The application had sent nothing for so long that the service may have closed over it.
    pub silent: bool,
    /// The closing message was pushed, or the application has closed.
    pub closing: bool,
    /// Failures in a row without progress.
    pub attempts: u32,
    /// Since the first of them.
    pub elapsed: Duration,
    /// Audio that was not finalised, in bytes.
    pub unacked_bytes: u64,
    /// The same in seconds; 0 where the audio's rate is not known.
    pub unacked_seconds: f64,
}

impl fmt::Display for SessionFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            FailureCause::Open(reason) => write!(out, "no stream could be opened ({reason})")?,
            FailureCause::Leg(end) => write!(out, "{end}")?,
            FailureCause::NotResumable(end) => {
                write!(out, "{end}; this stream cannot be resumed")?;
            }
            FailureCause::Silent => {
                write!(
                    out,
                    "neither audio nor KeepAlive was sent for ten seconds (NET-0001)"
                )?;
            }
            FailureCause::CloseTimedOut => {
                write!(
                    out,
                    "the service did not end the stream within close_timeout"
                )?;
            }
        }
        if self.attempts > 1 {
            write!(
                out,
                " ({} failures in a row within {:.1} s)",
                self.attempts,
                self.elapsed.as_secs_f64()
            )?;
        }
        if self.unacked_seconds > 0.0 {
            write!(
                out,
                "; {:.3} s of audio were not acknowledged",
                self.unacked_seconds
            )?;
        } else if self.unacked_bytes > 0 {
            write!(
                out,
                "; {} bytes of audio were not acknowledged",
                self.unacked_bytes
            )?;
        }
        Ok(())
    }
}

/// Where a session stands for the application, once it has read every message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// More may come.
    Open,
    /// The end.
    Clean,
    /// The end, and why.
    Failed(&'a SessionFailure),
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No room now; see `is_writable`.
    #[error("no room for another frame now")]
    Full,
    /// The input has ended.
    #[error("the session's input has ended")]
    Closed,
    /// The session has failed.
    #[error("the session has failed")]
    Failed,
}
