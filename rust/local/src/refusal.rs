//! Answers that are not streams, in the service's own words.

use bytes::Bytes;
use http::Response;

/// An HTTP error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// `x-amzn-errortype`; empty: not said.
    pub(crate) error_type: String,
    pub(crate) body: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, error_type: &str, message: impl AsRef<str>) -> Self {
        let body = serde_json::json!({"message": message.as_ref()}).to_string();
        Self {
            status,
            error_type: error_type.to_owned(),
            body,
        }
    }

    /// A constraint of the service's model that a member does not meet.
    pub(crate) fn constraint(member: &str, value: &str, rule: &str) -> Self {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {rule}"
        );
        Self::new(400, "InputValidationError", message)
    }

    /// The head of the answer. A status that HTTP does not know becomes 500.
    pub(crate) fn head(&self, request_id: &str) -> Response<()> {
        let builder = Response::builder()
            .status(self.status)
            .header("content-type", "application/json")
            .header("content-length", self.body.len())
            .header("x-amzn-requestid", request_id);
        let builder = match self.error_type.as_str() {
            "" => builder,
            error_type => builder.header("x-amzn-errortype", error_type),
        };
        builder.body(()).unwrap_or_else(|_| {
            let mut head = Response::new(());
            *head.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            head
        })
    }

    pub(crate) fn into_body(self) -> Bytes {
        Bytes::from(self.body)
    }
}
