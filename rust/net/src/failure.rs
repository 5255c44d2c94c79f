//! What can go wrong between a request and its stream, as data.
//!
//! The table of reasons (`dgsm_leg::reason`) says whether a failure may be retried.

use bytes::Bytes;
use dgsm_leg::diagnosis::Diagnosis;
use dgsm_leg::reason::Reason;
use dgsm_wire::refusals;

/// Where a request, or a stream that it opened, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The host's name did not resolve.
    Dns,
    /// TCP was refused or unreachable.
    Connect,
    /// TCP, TLS and HTTP/2 together took longer than `connection_timeout`.
    ConnectTimeout,
    /// TLS failed, but not over the certificate.
    Tls,
    /// The peer's certificate was not accepted.
    TlsVerify,
    /// The proxy could not be reached or would not connect.
    Proxy,
    /// The peer does not speak HTTP/2.
    Http2,
    /// No permit or connection was free within `connection_acquire_timeout`.
    AcquireTimeout,
    /// No response headers within `subscription_timeout`.
    SubscriptionTimeout,
    /// The server refused the stream before doing anything with it.
    RefusedStream,
    /// The server closed the connection in order (GOAWAY) without serving the stream.
    GoAway,
    /// The stream was reset.
    Reset,
    /// The connection broke.
    Dropped,
    /// An answer other than 200; the failure has it whole.
    HttpStatus,
    /// The server broke the protocol.
    Protocol,
    /// Cancelled from this side.
    Cancelled,
}

impl FailureKind {
    /// Returns its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::TlsVerify => "tls_verify",
            Self::Proxy => "proxy",
            Self::Http2 => "http2",
            Self::AcquireTimeout => "acquire_timeout",
            Self::SubscriptionTimeout => "subscription_timeout",
            Self::RefusedStream => "refused_stream",
            Self::GoAway => "goaway",
            Self::Reset => "reset",
            Self::Dropped => "dropped",
            Self::HttpStatus => "http_status",
            Self::Protocol => "protocol",
            Self::Cancelled => "closed",
        }
    }

    /// Returns the reason where nothing more is known.
    const fn reason(self) -> Reason {
        match self {
            Self::Dns => Reason::Dns,
            Self::Connect => Reason::Connect,
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::Tls => Reason::Tls,
            Self::TlsVerify => Reason::TlsCertificate,
            Self::Proxy => Reason::ProxyUnreachable,
            Self::Http2 => Reason::NoHttp2,
            Self::AcquireTimeout => Reason::AcquireTimeout,
            Self::SubscriptionTimeout => Reason::SubscriptionTimeout,
            Self::RefusedStream => Reason::Refused,
            Self::GoAway => Reason::GoAway,
            Self::Reset => Reason::Reset,
            Self::Dropped => Reason::Dropped,
            Self::HttpStatus => Reason::NotSageMaker,
            Self::Protocol => Reason::Protocol,
            Self::Cancelled => Reason::Closed,
        }
    }
}

/// An answer that is not a stream, kept for the error's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, values as text; other values are left out.
    pub headers: Vec<(String, String)>,
    /// At most [`crate::exchange::MAX_ERROR_BODY`] bytes of the body.
    pub body: Bytes,
}

/// A failure, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", kind.as_str())]
pub struct Failure {
    /// Where it failed.
    pub kind: FailureKind,
    /// Why, where the kind alone does not say it.
    why: Option<Reason>,
    /// What happened, for people; never a secret or a payload.
    pub detail: String,
    /// The HTTP/2 error code, when the peer gave one.
    pub h2_code: Option<u32>,
    /// The answer, when there was one.
    pub answer: Option<Box<Answer>>,
}

impl Failure {
    /// Makes a failure without an HTTP/2 code or an answer.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            why: None,
            detail: detail.into(),
            h2_code: None,
            answer: None,
        }
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(self, why: Reason) -> Self {
        Self {
            why: Some(why),
            ..self
        }
    }

    /// Returns the reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match (&self.answer, self.why) {
            (Some(_), _) => self.diagnosis().reason,
            (None, Some(why)) => why,
            (None, None) => match self.kind {
                FailureKind::Reset | FailureKind::RefusedStream | FailureKind::GoAway => {
                    Reason::of_h2(self.h2_code, self.kind.reason())
                }
                kind => kind.reason(),
            },
        }
    }

    /// Returns the failure as it is explained to people.
    #[must_use]
    pub fn diagnosis(&self) -> Diagnosis {
        match &self.answer {
            Some(answer) => refusals::diagnose(answer.status, &answer.headers, &answer.body),
            None => Diagnosis::new(self.reason(), &self.detail, self.h2_code),
        }
    }

    /// Makes the failure of an answer other than 200.
    #[must_use]
    pub fn from_answer(answer: Answer) -> Self {
        let detail = format!("the service answered {}", answer.status);
        Self {
            kind: FailureKind::HttpStatus,
            why: None,
            detail,
            h2_code: None,
            answer: Some(Box::new(answer)),
        }
    }

    /// Makes the failure of a stream or a connection that h2 says has ended badly.
    ///
    /// | h2's error | becomes |
    /// | --- | --- |
    /// | I/O, or the connection's end | dropped |
    /// | RST_STREAM from the peer | reset; refused stream |
    /// | GOAWAY from the peer that does not cover the stream | goaway |
    /// | RST_STREAM or GOAWAY from this side, for what the peer sent | protocol |
    /// | a stream used after its end | dropped: its other direction knows more |
    #[must_use]
    pub fn from_h2(error: &h2::Error) -> Self {
        let reason = error.reason();
        let kind = if error.is_remote() {
            match reason {
                _ if error.is_go_away() => FailureKind::GoAway,
                Some(h2::Reason::REFUSED_STREAM) => FailureKind::RefusedStream,
                _ => FailureKind::Reset,
            }
        } else if error.is_library() {
            FailureKind::Protocol
        } else {
            FailureKind::Dropped
        };
        Self {
            kind,
            why: None,
            detail: error.to_string(),
            h2_code: reason.map(u32::from),
            answer: None,
        }
    }
}
