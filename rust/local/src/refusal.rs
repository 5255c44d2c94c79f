//! Answers that are not streams, in the service's own words.

use bytes::Bytes;
use http::Response;
use serde_json::json;

/// The errors in the service's model. Their bodies say `Message`, as the model does; all other
/// errors come from the service's front ends, which write `message`.
const MODELLED: [&str; 4] = [
    "InputValidationError",
    MODEL_ERROR,
    "InternalServerError",
    "ServiceUnavailableError",
];
const MODEL_ERROR: &str = "ModelError";
/// What the service says when a container does not take a stream.
const NOT_TAKEN: &str = "Failed to establish WebSocket connection";

/// Returns the name in `namespace#Name` or `Name:http://…`.
fn bare(error_type: &str) -> &str {
    let name = error_type.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default()
}

/// An HTTP error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The value of `x-amzn-errortype`; empty: no such header.
    pub(crate) error_type: String,
    pub(crate) body: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, error_type: &str, message: impl AsRef<str>) -> Self {
        let member = if MODELLED.contains(&bare(error_type)) {
            "Message"
        } else {
            "message"
        };
        Self {
            status,
            error_type: error_type.to_owned(),
            body: json!({member: message.as_ref()}).to_string(),
        }
    }

    /// Creates an answer of the endpoint. If the container is to blame it names the container's log.
    pub(crate) fn of_endpoint(
        status: u16,
        error_type: &str,
        message: &str,
        log_stream: &str,
    ) -> Self {
        let refusal = Self::new(status, error_type, message);
        if bare(error_type) != MODEL_ERROR {
            return refusal;
        }
        let body = json!({"Message": message, "LogStreamArn": log_stream}).to_string();
        Self { body, ..refusal }
    }

    /// Creates the answer for a container that did not take the stream. Its own text is left out.
    pub(crate) fn not_taken(log_stream: &str) -> Self {
        let body = json!({
            "Message": NOT_TAKEN,
            "OriginalStatusCode": 400,
            "OriginalMessage": "",
            "LogStreamArn": log_stream,
        });
        Self {
            body: body.to_string(),
            ..Self::new(424, MODEL_ERROR, NOT_TAKEN)
        }
    }

    /// Creates the answer for a member that breaks a constraint of the service's model.
    pub(crate) fn constraint(member: &str, value: &str, rule: &str) -> Self {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {rule}"
        );
        Self::new(400, "InputValidationError", message)
    }

    /// Returns the head of the answer. A status that HTTP does not allow becomes 500.
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
