//! How a leg ends, independent of the transport.

use std::fmt;

use crate::quote;
use crate::reason::Reason;

/// How a leg ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegEnd {
    /// The service ended its side in order.
    Clean,
    /// The peer closed with a code and a text, as a WebSocket does.
    Closed {
        /// The close code, or what the service sends in its place.
        code: String,
        /// The peer's text.
        text: String,
    },
    /// The service failed in mid-stream.
    Failed {
        /// The service's text.
        text: String,
    },
    /// The service refused to go on.
    Refused {
        /// The meaning of the service's name for it.
        reason: Reason,
        /// The service's name for it.
        name: String,
        /// The service's text.
        text: String,
    },
    /// The stream was reset.
    Reset {
        /// The HTTP/2 error code.
        code: Option<u32>,
    },
    /// The connection was closed in order before the stream had ended.
    GoAway {
        /// The HTTP/2 error code.
        code: Option<u32>,
    },
    /// The connection broke.
    Dropped {
        /// The transport's description.
        detail: String,
    },
    /// The service broke the protocol.
    Protocol {
        /// The transport's description.
        detail: String,
    },
    /// The service sent nothing for `stall_timeout` while audio flowed to it.
    Stalled,
}

impl LegEnd {
    /// Returns the kind of end, as the figures count it. A [`Reason`] says why.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Clean => "early_end",
            Self::Closed { .. } => "model_stream_error",
            Self::Failed { .. } => "internal_stream_failure",
            Self::Refused { .. } => "exception",
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
            Self::Closed { code, text } => {
                let (code, text) = (quote::name(code), quote::text(text));
                write!(out, "the container ended the stream: {code} {text}")
            }
            Self::Failed { text } => {
                let text = quote::text(text);
                write!(out, "the service failed inside the stream: {text}")
            }
            Self::Refused { name, text, .. } => {
                write!(out, "{}: {}", quote::name(name), quote::text(text))
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
