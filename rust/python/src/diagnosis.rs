//! `judge`, `Diagnosis`, `quote`, `reasons`, `whose`: what a failure means.

use std::collections::HashMap;

use dgsm_leg::diagnosis::Diagnosis as CoreDiagnosis;
use dgsm_leg::end::LegEnd;
use dgsm_leg::reason::{self, Reason, verdict};
use dgsm_session::{EndContext, diagnose};
use dgsm_wire::refusals;
use pyo3::prelude::*;

/// A failure, judged, with the peer's text in quotable form.
#[pyclass(module = "deepgram_sagemaker._native", frozen, get_all)]
pub(crate) struct Diagnosis {
    /// The reason's name.
    reason: &'static str,
    /// The text of the peer or of the transport; empty if there is none.
    said: String,
    /// `said` is the peer's text, not the transport's.
    is_quote: bool,
    /// The status of an HTTP answer.
    status: Option<u16>,
    /// The HTTP/2 error code of a reset or a GOAWAY.
    h2_code: Option<u32>,
    code: Option<String>,
    request_id: Option<String>,
    model_status: Option<i64>,
    model_code: Option<String>,
    model_message: Option<String>,
    log_stream: Option<String>,
}

impl From<CoreDiagnosis> for Diagnosis {
    fn from(diagnosis: CoreDiagnosis) -> Self {
        let CoreDiagnosis {
            reason,
            said,
            is_quote,
            status,
            h2_code,
            code,
            request_id,
            model_status,
            model_code,
            model_message,
            log_stream,
        } = diagnosis;
        Self {
            reason: reason.as_str(),
            said,
            is_quote,
            status,
            h2_code,
            code,
            request_id,
            model_status,
            model_code,
            model_message,
            log_stream,
        }
    }
}

/// Returns a peer's text as one printable line of at most 300 characters, without secrets.
#[pyfunction]
pub(crate) fn quote(said: &str) -> String {
    dgsm_leg::quote::text(said)
}

/// Judges a failure by its observed facts: `kind` is `http_status`, a leg end's name or a
/// reason's.
///
/// Failures on the native side have their diagnosis already. This is for failures in Python, and
/// for tests of each diagnosis's text.
#[pyfunction]
#[pyo3(signature = (
    kind, *, detail = "", status = None, headers = None, body = None, code = None,
    message = None, h2_code = None, silent = false, closing = false
))]
#[expect(clippy::too_many_arguments, reason = "what was seen, by keyword")]
pub(crate) fn judge(
    kind: &str,
    detail: &str,
    status: Option<u16>,
    headers: Option<HashMap<String, String>>,
    body: Option<&[u8]>,
    code: Option<String>,
    message: Option<String>,
    h2_code: Option<u32>,
    silent: bool,
    closing: bool,
) -> Diagnosis {
    let code = code.unwrap_or_default();
    let message = message.unwrap_or_default();
    let context = EndContext { silent, closing };
    let named = || Reason::from_name(kind).unwrap_or(Reason::Unknown);
    let end = |end: LegEnd| diagnose(&end, context);
    match kind {
        "http_status" => {
            let headers: Vec<_> = headers.unwrap_or_default().into_iter().collect();
            refusals::diagnose(
                status.unwrap_or_default(),
                &headers,
                body.unwrap_or_default(),
            )
        }
        "model_stream_error" => end(LegEnd::Closed {
            code,
            text: message,
        }),
        "internal_stream_failure" => end(LegEnd::Failed { text: message }),
        "exception" => end(refusals::ended(&code, None, message)),
        "early_end" => end(LegEnd::Clean),
        "reset" | "goaway" | "refused_stream" => {
            CoreDiagnosis::new(Reason::of_h2(h2_code, named()), detail, h2_code)
        }
        _ => CoreDiagnosis::new(named(), detail, h2_code),
    }
    .into()
}

/// Returns every reason by name, with the retries that it is worth without progress; `None`: as
/// many as the settings allow.
#[pyfunction]
pub(crate) fn reasons() -> HashMap<&'static str, Option<u32>> {
    Reason::ALL
        .iter()
        .map(|reason| (reason.as_str(), verdict(*reason).limit()))
        .collect()
}

/// Returns every reason by name, with whose failure it is: `everywhere`, `keys`, `endpoint`, `load`
/// or `leg`.
#[pyfunction]
pub(crate) fn whose() -> HashMap<&'static str, &'static str> {
    Reason::ALL
        .iter()
        .map(|reason| (reason.as_str(), reason::whose(*reason).as_str()))
        .collect()
}
