//! Answers in HTTP, as Deepgram writes them.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::Full;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use crate::door::Denied;

/// The body of every answer.
pub(crate) type Body = Full<Bytes>;

/// The header with a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("dg-request-id");
const ERROR: HeaderName = HeaderName::from_static("dg-error");

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// Deepgram's name for it.
    pub code: Cow<'static, str>,
    /// What went wrong, for people.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// Makes a refusal with words of this crate's.
    pub(crate) const fn of(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code: Cow::Borrowed(code),
            message: Cow::Borrowed(message),
        }
    }

    /// Returns the answer to the request with this id.
    #[must_use]
    pub fn response(&self, id: &str) -> Response<Full<Bytes>> {
        let body = json!({
            "err_code": self.code,
            "err_msg": self.message,
            "request_id": id,
        });
        let mut response = respond(
            self.status,
            HeaderValue::from_static("application/json"),
            body.to_string().into(),
            id,
        );
        response.headers_mut().insert(ERROR, line(&self.message));
        response
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Key => Self::of(
                StatusCode::UNAUTHORIZED,
                "INVALID_AUTH",
                "Invalid credentials.",
            ),
            Denied::Origin => Self::of(
                StatusCode::FORBIDDEN,
                "INSUFFICIENT_PERMISSIONS",
                "Pages of this origin may not connect.",
            ),
            Denied::Busy(_) => Self::of(
                StatusCode::TOO_MANY_REQUESTS,
                "TOO_MANY_REQUESTS",
                "Too many requests. Please try again later.",
            ),
        }
    }
}

/// Returns an answer with a body.
pub(crate) fn respond(
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    id: &str,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REQUEST_ID, line(id));
    response
}

/// Returns text as the value of a header: printable ASCII on one line.
fn line(text: &str) -> HeaderValue {
    let text: String = text
        .chars()
        .map(|letter| match letter {
            ' '..='~' => letter,
            _ => '?',
        })
        .collect();
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

/// Draws the id of a request: a UUID of version 4. `None`: the system has no random bytes.
pub(crate) fn draw_id() -> Option<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let n = u128::from_be_bytes(bytes);
    Some(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        n >> 96,
        (n >> 80) & 0xffff,
        (n >> 64) & 0xffff,
        (n >> 48) & 0xffff,
        n & 0xffff_ffff_ffff
    ))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn body(response: Response<Body>) -> serde_json::Value {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let body = runtime.block_on(response.into_body().collect()).unwrap();
        serde_json::from_slice(&body.to_bytes()).unwrap()
    }

    #[test]
    fn a_refusal_is_deepgrams() {
        let response = Refusal::from(Denied::Key).response("1-2");
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["dg-request-id"], "1-2");
        assert_eq!(response.headers()["dg-error"], "Invalid credentials.");
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(
            body(response),
            json!({
                "err_code": "INVALID_AUTH",
                "err_msg": "Invalid credentials.",
                "request_id": "1-2",
            })
        );
    }

    #[test]
    fn a_message_is_one_line_in_the_header_and_whole_in_the_body() {
        let refusal = Refusal {
            status: StatusCode::BAD_REQUEST,
            code: "Bad Request".into(),
            message: "grün\r\nx-evil: 1".into(),
        };
        let response = refusal.response("1");
        assert_eq!(response.headers()["dg-error"], "gr?n??x-evil: 1");
        assert_eq!(body(response)["err_msg"], "grün\r\nx-evil: 1");
    }

    #[test]
    fn ids_are_uuids_and_differ() {
        let (one, other) = (draw_id().unwrap(), draw_id().unwrap());
        assert_ne!(one, other);
        for id in [one, other] {
            let lengths: Vec<_> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(&id[14..15], "4");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }
}
