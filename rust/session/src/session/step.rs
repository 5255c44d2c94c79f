//! What a session asks of its driver and pumps, and what they report.

use std::fmt;
use std::time::Duration;

use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_leg::reason::Reason;

/// One leg of a session: one bidirectional stream. Legs are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub(crate) u64);

impl LegId {
    /// Returns the leg's number in its session.
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
    /// Open a leg, then report `leg_opened` or `open_failed`. Asked once a leg.
    Open {
        /// The current leg still works. The new one needs no permit of its own.
        standby: bool,
        /// The previous leg's keys ran out in mid-stream. Look up fresh ones.
        renew: bool,
    },
    /// Wait until this time or until `driver_wanted`.
    Wait {
        /// When to ask again at the latest; `None`: only after an event.
        until: Option<Duration>,
    },
    /// The session ended in order.
    Finished,
    /// The session failed.
    Failed(SessionFailure),
}

/// What a leg's pump sends next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendStep {
    /// This frame, shared by reference.
    Frame(Frame),
    /// Wait until this time or until the application sends.
    Wait {
        /// When to ask again at the latest.
        until: Option<Duration>,
    },
    /// Send the signed empty event, then end the stream's input. Asked once.
    End,
    /// Reset the stream if it is still open, and forget it.
    Stop,
}

/// What the session knew when a leg ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndContext {
    /// The application was silent for long enough that the service may have closed for that.
    pub silent: bool,
    /// The closing message was sent, or the application has closed.
    pub closing: bool,
}

/// What follows when a leg could not be opened.
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
        /// Time since the first of them.
        elapsed: Duration,
        /// Audio that was sent and not finalised, in seconds; 0 where the audio's rate is unknown.
        unacked_seconds: f64,
    },
}

/// A move that the tables do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} does not follow {from}")]
pub struct IllegalMove {
    /// Where the session or the leg stands.
    pub from: &'static str,
    /// What should have moved it.
    pub event: &'static str,
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq)]
pub enum FailureCause {
    /// No leg could be opened, the last time for this reason. The driver has the error.
    Open(Reason),
    /// A leg's end was terminal, or legs ended too often.
    Leg(LegEnd),
    /// A leg ended, and what another leg needs is not kept: the audio outgrew the journal, or the
    /// product is not resumed.
    NotResumable(LegEnd),
    /// The application sent neither audio nor `KeepAlive` for ten seconds.
    Silent,
    /// The application closed, and the service did not answer everything within `close_timeout`.
    CloseTimedOut,
    /// The session's own state was wrong.
    Internal(IllegalMove),
}

/// How a session failed, for error messages.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionFailure {
    /// Why.
    pub cause: FailureCause,
    /// The application was silent for long enough that the service may have closed for that.
    pub silent: bool,
    /// The closing message was pushed, or the application has closed.
    pub closing: bool,
    /// Failures in a row without progress.
    pub attempts: u32,
    /// Time since the first of them.
    pub elapsed: Duration,
    /// Audio that was not finalised, in bytes.
    pub unacked_bytes: u64,
    /// The same in seconds; 0 where the audio's rate is unknown.
    pub unacked_seconds: f64,
    /// The endpoint that failed last, or that the last leg was opened at.
    pub endpoint: usize,
    /// The endpoints that have failed since the last progress, and why.
    pub endpoints: Vec<(usize, Reason)>,
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
            FailureCause::Internal(illegal) => write!(out, "internal error: {illegal}")?,
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

/// How a session stands for an application that has read every message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// More messages may come.
    Open,
    /// The session ended in order.
    Clean,
    /// The session failed.
    Failed(&'a SessionFailure),
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// There is no room now; see `is_writable`.
    #[error("no room for another frame now")]
    Full,
    /// The input has ended.
    #[error("the session's input has ended")]
    Closed,
    /// The session has failed.
    #[error("the session has failed")]
    Failed,
}
