//! A failure, described for error messages.

use crate::quote;
use crate::reason::Reason;

/// A failure: its reason, and the peer's words in quotable form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The reason.
    pub reason: Reason,
    /// The words of the peer or the transport; empty if there are none.
    pub said: String,
    /// `said` has the other side's words, not the transport's.
    pub is_quote: bool,
    /// The status of an HTTP answer.
    pub status: Option<u16>,
    /// The HTTP/2 error code of a reset or a GOAWAY.
    pub h2_code: Option<u32>,
    /// Its name for the error.
    pub code: Option<String>,
    /// The service's id of the request.
    pub request_id: Option<String>,
    /// The HTTP status that the container answered with.
    pub model_status: Option<i64>,
    /// The container's own code.
    pub model_code: Option<String>,
    /// What the container said.
    pub model_message: Option<String>,
    /// The name of the container's log stream.
    pub log_stream: Option<String>,
}

impl Diagnosis {
    /// Creates a diagnosis without the service's names.
    #[must_use]
    pub fn new(reason: Reason, detail: &str, h2_code: Option<u32>) -> Self {
        Self {
            reason,
            said: quote::text(detail),
            is_quote: false,
            status: None,
            h2_code,
            code: h2_code.map(h2_name),
            request_id: None,
            model_status: None,
            model_code: None,
            model_message: None,
            log_stream: None,
        }
    }
}

/// Returns a name of the peer's in quotable form; `None` if it is empty.
#[must_use]
pub fn named(name: &str) -> Option<String> {
    Some(quote::name(name)).filter(|name| !name.is_empty())
}

const H2_NAMES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

fn h2_name(code: u32) -> String {
    H2_NAMES
        .get(code as usize)
        .map_or_else(|| format!("0x{code:x}"), |name| (*name).to_owned())
}
