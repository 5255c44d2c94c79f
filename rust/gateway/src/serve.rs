//! HTTP: what is answered here, and what Python is asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dgsm_net::session::SharedSession;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::answer::{self, Body, Refusal, respond};
use crate::desk::{By, News, Refused};
use crate::door::{Denied, accepted_subprotocol};
use crate::gate::Gate;
use crate::request::{Answer, Facts, Request};
use crate::talk::Talk;

/// The paths of Deepgram's products, with anything before them.
const PRODUCTS: [&str; 5] = [
    "v1/listen",
    "v2/listen",
    "v1/speak",
    "v2/speak",
    "v1/agent/converse",
];
/// The largest body of a request for a page, in bytes.
const MAX_BODY: usize = 64 << 10;

const NOT_FOUND: Refusal = Refusal::of(
    StatusCode::NOT_FOUND,
    "NOT_FOUND",
    "There is nothing at this path.",
);
const NOT_ALLOWED: Refusal = Refusal::of(
    StatusCode::METHOD_NOT_ALLOWED,
    "METHOD_NOT_ALLOWED",
    "This path is not served with this method.",
);
const NOT_A_WEBSOCKET: Refusal = Refusal::of(
    StatusCode::UPGRADE_REQUIRED,
    "UPGRADE_REQUIRED",
    "This path is served over a WebSocket: connect with ws:// or wss://.",
);
const BAD_HANDSHAKE: Refusal = Refusal::of(
    StatusCode::BAD_REQUEST,
    "Bad Request",
    "The WebSocket handshake is not valid.",
);
const WRONG_VERSION: Refusal = Refusal::of(
    StatusCode::UPGRADE_REQUIRED,
    "UPGRADE_REQUIRED",
    "WebSocket version 13 is served here.",
);
const TOO_LARGE: Refusal = Refusal::of(
    StatusCode::PAYLOAD_TOO_LARGE,
    "PAYLOAD_TOO_LARGE",
    "The request's body is too large.",
);
const BAD_BODY: Refusal = Refusal::of(
    StatusCode::BAD_REQUEST,
    "Bad Request",
    "The request's body did not arrive.",
);
const TOO_MANY: Refusal = Refusal::of(
    StatusCode::SERVICE_UNAVAILABLE,
    "SERVICE_UNAVAILABLE",
    "Too many connections. Please try again later.",
);
const DRAINING: Refusal = Refusal::of(
    StatusCode::SERVICE_UNAVAILABLE,
    "SERVICE_UNAVAILABLE",
    "The gateway is shutting down. Please try again.",
);
const UNANSWERED: Refusal = Refusal::of(
    StatusCode::SERVICE_UNAVAILABLE,
    "SERVICE_UNAVAILABLE",
    "The request was not answered in time. Please try again later.",
);

/// A client's connection, as long as it speaks HTTP.
pub(crate) struct Visit {
    gate: Arc<Gate>,
    peer: SocketAddr,
    is_one_too_many: bool,
    accepted: Mutex<Option<Accepted>>,
    /// When the latest request came.
    heard: Mutex<Option<Instant>>,
}

/// What the WebSocket is for that the client was answered with.
pub(crate) struct Accepted {
    pub(crate) talk: Talk,
    pub(crate) session: Arc<SharedSession>,
}

impl Visit {
    pub(crate) fn new(gate: Arc<Gate>, peer: SocketAddr, is_one_too_many: bool) -> Self {
        Self {
            gate,
            peer,
            is_one_too_many,
            accepted: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    /// Returns when the latest request came; `None`: there was none.
    pub(crate) fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was accepted, if anything was.
    pub(crate) fn take_accepted(&self) -> Option<Accepted> {
        self.accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Answers a request.
pub(crate) async fn serve(
    visit: Arc<Visit>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let counts = &visit.gate.counts;
    *visit.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    // A system without random bytes does no TLS either, so nothing of this ever leaves it.
    let id = answer::draw_id().unwrap_or_default();
    let path = request.uri().path().to_owned();
    let user_agent = user_agent(&request);
    let Turned { refusal, key } = match visit.answered(&id, request).await {
        Ok(response) => {
            counts.requests_answered.add(1);
            return Ok(response);
        }
        Err(turned) => turned,
    };
    counts.refuse(refusal.status.as_u16());
    let told = visit.gate.desk.tell(News::Refused(Refused {
        id: id.clone(),
        route: route(&path),
        path,
        key,
        peer: visit.peer.to_string(),
        user_agent,
        status: refusal.status.as_u16(),
        code: refusal.code.to_string(),
    }));
    if !told {
        counts.untold.add(1);
    }
    let mut response = refusal.response(&id);
    if refusal.status == StatusCode::UPGRADE_REQUIRED {
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    Ok(response)
}

impl Visit {
    /// Answers a request, or says why it is refused without Python.
    async fn answered(
        &self,
        id: &str,
        request: http::Request<Incoming>,
    ) -> Result<Response<Body>, Turned> {
        let path = request.uri().path();
        if let Some(response) = self.health(id, request.method(), path) {
            return Ok(response?);
        }
        if self.is_one_too_many {
            return Err(TOO_MANY.into());
        }
        if let Some(route) = route(path) {
            return self.conversation(id, route, &request).await;
        }
        if self.gate.pages.iter().any(|page| page == path) {
            return self.page(id, request).await;
        }
        Err(NOT_FOUND.into())
    }

    /// Returns the answer to a question for the gateway's health; `None`: it is another one.
    fn health(
        &self,
        id: &str,
        method: &Method,
        path: &str,
    ) -> Option<Result<Response<Body>, Refusal>> {
        let (status, body) = match path {
            "/healthz" => (StatusCode::OK, "ok\n"),
            "/readyz" if self.gate.drain.is_on() => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => (StatusCode::OK, "ready\n"),
            _ => return None,
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(Err(NOT_ALLOWED));
        }
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let body = Bytes::from_static(body.as_bytes());
        Some(Ok(respond(status, text, body, id)))
    }

    /// Asks Python for a conversation.
    async fn conversation(
        &self,
        id: &str,
        route: &'static str,
        request: &http::Request<Incoming>,
    ) -> Result<Response<Body>, Turned> {
        let began = Instant::now();
        let gate = &self.gate;
        let accept_key = handshake(request)?;
        let pass = gate.door.enter(request.headers())?;
        let turned = |refusal| Turned::of(refusal, pass.name.as_ref());
        if gate.drain.is_on() {
            return Err(turned(DRAINING));
        }
        let place = gate.places.take().ok_or_else(|| turned(TOO_MANY))?;
        let facts = self.facts(id, request, pass.name.clone(), Some(route), Bytes::new());
        let (asked, answer) = Request::new(facts, place);
        let mut talk = Talk::new(Arc::clone(&asked), Arc::clone(gate), began, pass);
        gate.desk.tell(News::Request(asked));
        let answer = timeout(gate.limits.answer_within, answer).await;
        let refusal = match answer {
            Ok(Ok(Answer::Carry(session))) => {
                talk.carry(Arc::clone(&session));
                let accepted = Accepted { talk, session };
                *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepted);
                return Ok(switching(id, &accept_key, request.headers()));
            }
            Ok(Ok(Answer::Refuse(refusal))) => refusal,
            Ok(Ok(Answer::Page { .. }) | Err(_)) | Err(_) => UNANSWERED,
        };
        gate.counts.refuse(refusal.status.as_u16());
        talk.ends(By::Refused, Some(refusal.status.as_u16()));
        Ok(refusal.response(id))
    }

    /// Asks Python for a page.
    async fn page(
        &self,
        id: &str,
        request: http::Request<Incoming>,
    ) -> Result<Response<Body>, Turned> {
        let gate = &self.gate;
        if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST) {
            return Err(NOT_ALLOWED.into());
        }
        let path = request.uri().path();
        let is_open = gate.open_pages.iter().any(|page| page == path);
        let name = gate.door.look_in(request.headers(), is_open)?;
        let key = name.clone();
        let turned = |refusal| Turned::of(refusal, key.as_ref());
        let place = gate.places.take().ok_or_else(|| turned(TOO_MANY))?;
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect();
        let body = match timeout(gate.limits.head_within, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(turned(TOO_LARGE));
            }
            Ok(Err(_)) | Err(_) => return Err(turned(BAD_BODY)),
        };
        let request = http::Request::from_parts(parts, ());
        let (asked, answer) = Request::new(self.facts(id, &request, name, None, body), place);
        gate.desk.tell(News::Request(asked));
        let answer = timeout(gate.limits.answer_within, answer).await;
        match answer {
            Ok(Ok(Answer::Page {
                status,
                content_type,
                body,
            })) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                let content_type = HeaderValue::try_from(content_type)
                    .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
                Ok(respond(status, content_type, body, id))
            }
            Ok(Ok(Answer::Refuse(refusal))) => Err(turned(refusal)),
            Ok(Ok(Answer::Carry(_)) | Err(_)) | Err(_) => Err(turned(UNANSWERED)),
        }
    }

    fn facts<B>(
        &self,
        id: &str,
        request: &http::Request<B>,
        key: Option<Arc<str>>,
        route: Option<&'static str>,
        body: Bytes,
    ) -> Facts {
        Facts {
            id: id.to_owned(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            peer: self.peer.to_string(),
            key,
            route,
            user_agent: user_agent(request),
            body,
        }
    }
}

/// Why a request goes no further, and whose it is.
struct Turned {
    refusal: Refusal,
    key: Option<Arc<str>>,
}

impl Turned {
    fn of(refusal: Refusal, key: Option<&Arc<str>>) -> Self {
        Self {
            refusal,
            key: key.cloned(),
        }
    }
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Self::of(refusal, None)
    }
}

impl From<Denied> for Turned {
    fn from(denied: Denied) -> Self {
        let key = match &denied {
            Denied::Busy(key) => Some(Arc::clone(key)),
            Denied::Key | Denied::Origin => None,
        };
        Self {
            refusal: denied.into(),
            key,
        }
    }
}

/// Returns what a client calls itself.
fn user_agent<B>(request: &http::Request<B>) -> Option<String> {
    let agent = request.headers().get(USER_AGENT)?;
    Some(String::from_utf8_lossy(agent.as_bytes()).into_owned())
}

/// Returns the product that a path leads to.
fn route(path: &str) -> Option<&'static str> {
    PRODUCTS.into_iter().find(|product| {
        path.strip_suffix(product)
            .is_some_and(|before| before.ends_with('/'))
    })
}

/// Checks a WebSocket handshake. Returns the value of the header that accepts it.
fn handshake<B>(request: &http::Request<B>) -> Result<String, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET
        || request.version() != Version::HTTP_11
        || !has_word(headers, &CONNECTION, "upgrade")
        || !has_word(headers, &UPGRADE, "websocket")
    {
        return Err(NOT_A_WEBSOCKET);
    }
    // What follows the head would be taken for the body, and not for WebSocket frames.
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
    if has_body {
        return Err(BAD_HANDSHAKE);
    }
    match only(headers, &SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "13" => {}
        Some(_) => return Err(WRONG_VERSION),
        None => return Err(BAD_HANDSHAKE),
    }
    match only(headers, &SEC_WEBSOCKET_KEY) {
        Some(key) if is_nonce(key.as_bytes()) => Ok(derive_accept_key(key.as_bytes())),
        Some(_) | None => Err(BAD_HANDSHAKE),
    }
}

/// Returns the value of a header that comes once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns whether this is sixteen bytes in base64.
fn is_nonce(key: &[u8]) -> bool {
    let digits = key.strip_suffix(b"==").unwrap_or_default();
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    digits.len() == 22 && digits.iter().all(is_digit)
}

/// Returns whether a word is in the list of a header, in any case.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|each| each.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// Returns the answer with which the connection becomes a WebSocket.
fn switching(id: &str, accept_key: &str, asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in [
        (SEC_WEBSOCKET_ACCEPT, Some(accept_key.as_bytes())),
        (SEC_WEBSOCKET_PROTOCOL, accepted_subprotocol(asked)),
        (answer::REQUEST_ID, Some(id.as_bytes())),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_found_behind_any_prefix() {
        for (path, product) in [
            ("/v1/listen", Some("v1/listen")),
            ("/deepgram/eu/v1/listen", Some("v1/listen")),
            ("/v2/listen", Some("v2/listen")),
            ("//v1/speak", Some("v1/speak")),
            ("/v2/speak", Some("v2/speak")),
            ("/v1/agent/converse", Some("v1/agent/converse")),
            ("/x/v1/agent/converse", Some("v1/agent/converse")),
            ("/v1/listen/", None),
            ("/av1/listen", None),
            ("/v3/listen", None),
            ("/V1/listen", None),
            ("/", None),
            ("v1/listen", None),
        ] {
            assert_eq!(route(path), product, "{path}");
        }
    }

    fn asked(change: impl FnOnce(&mut http::Request<()>)) -> Result<String, Refusal> {
        let mut request = http::Request::get("/v1/listen")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        change(&mut request);
        handshake(&request)
    }

    #[test]
    fn a_handshake_is_accepted_as_the_standard_says() {
        // The example of RFC 6455, section 1.3.
        assert_eq!(asked(|_| {}).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn handshakes_that_are_none_are_refused() {
        let value = HeaderValue::from_static;
        let header = |name: &'static str, given: &'static str| {
            asked(move |request| {
                request.headers_mut().insert(name, value(given));
            })
            .unwrap_err()
        };
        assert_eq!(header("connection", "keep-alive"), NOT_A_WEBSOCKET);
        assert_eq!(header("upgrade", "h2c"), NOT_A_WEBSOCKET);
        assert_eq!(header("sec-websocket-version", "8"), WRONG_VERSION);
        assert_eq!(header("content-length", "5"), BAD_HANDSHAKE);
        assert_eq!(header("transfer-encoding", "chunked"), BAD_HANDSHAKE);
        for key in [
            "",
            "c2hvcnQ=",
            "dGhlIHNhbXBsZSBub25jZQ",
            "****************------==",
        ] {
            assert_eq!(header("sec-websocket-key", key), BAD_HANDSHAKE, "{key}");
        }
        assert!(asked(|request| *request.method_mut() = Method::POST).is_err());
        assert!(asked(|request| *request.version_mut() = Version::HTTP_10).is_err());
        let twice = asked(|request| {
            let again = value("AAAAAAAAAAAAAAAAAAAAAA==");
            request.headers_mut().append("sec-websocket-key", again);
        });
        assert_eq!(twice.unwrap_err(), BAD_HANDSHAKE);
    }
}
