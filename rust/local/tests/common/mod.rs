//! A client made of h2 and the codec of `dgsm-wire`. It builds and signs requests by its own code,
//! so the server is not tested with the product's client.

// Every test file uses a part of it, and passes values as it writes them.
#![allow(dead_code, clippy::needless_pass_by_value)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use dgsm_leg::frame::Frame;
use dgsm_local::Server;
use dgsm_local::bridge::Listener;
use dgsm_local::settings::Settings;
use dgsm_local::stats::LegFacts;
use dgsm_wire::eventstream::{DecodeError, Decoder, Limits};
use dgsm_wire::payload_part::{Assembler, MAX_PART, ServerEvent, encode_signed};
use dgsm_wire::signing::{EventSigner, Scope, SigningKey, hex};
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use ring::digest::{SHA256, digest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub const KEY: &str = "AKIDTEST";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";
pub const REGION: &str = "eu-west-1";
pub const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
pub const LINEAR16: &str = "encoding=linear16&sample_rate=16000";
/// Longer than anything takes here.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Makes settings of an endpoint called `local`, with the fields of `changes` in their place.
pub fn settings(changes: Value) -> Settings {
    let mut settings = json!({
        "host": "127.0.0.1",
        "port": 0,
        "certificate_names": ["localhost", "127.0.0.1"],
        "regions": [REGION],
        "endpoint_names": ["local"],
        "variants": ["blue", "green"],
        "credentials": [{"access_key_id": KEY, "secret_access_key": SECRET}],
        "model": {"kind": "watermark", "settings": {"closing_time": 0.0}},
        "max_stream_age": 1800.0,
        "at_max_age": {"kind": "reset", "code": 2},
        "unknown_endpoint_status": 400,
        "max_concurrent_streams": 1000,
        "faults": [],
        "connection_faults": [],
        "record_arrivals": true,
    });
    let Value::Object(changes) = changes else {
        panic!("changes are an object")
    };
    for (key, value) in changes {
        settings[key] = value;
    }
    Settings::from_json(&settings.to_string()).unwrap()
}

pub fn start(changes: Value) -> Server {
    Server::start(settings(changes), None).unwrap()
}

pub fn start_with(changes: Value, listener: Arc<dyn Listener>) -> Server {
    let mut changes = changes;
    changes["model"] = json!({"kind": "external"});
    Server::start(settings(changes), Some(listener)).unwrap()
}

/// Makes a rule that strikes once, on any stream.
pub fn fault(action: Value, when: Value) -> Value {
    json!({"action": action, "when": when, "times": 1, "scope": "endpoint"})
}

pub fn counter(server: &Server, name: &str) -> u64 {
    let counters = server.counters().snapshot();
    counters.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Waits until the facts of leg `number` satisfy `settled`; returns them.
pub async fn facts(
    server: &Server,
    number: usize,
    settled: impl Fn(&LegFacts) -> bool,
) -> LegFacts {
    for _ in 0..400 {
        if let Some(record) = server.legs().get(number - 1) {
            let facts = record.facts().clone();
            if settled(&facts) {
                return facts;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("leg {number} did not come so far: {:?}", server.legs());
}

pub async fn tls(server: &Server) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(server.address()).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// Opens an HTTP/2 connection, whose task lives as long as the runtime.
pub async fn connect(server: &Server) -> SendRequest<Bytes> {
    connect_with(server, &h2::client::Builder::new()).await
}

pub async fn connect_with(server: &Server, builder: &h2::client::Builder) -> SendRequest<Bytes> {
    let (client, connection) = builder.handshake(tls(server).await.unwrap()).await.unwrap();
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_millis()).unwrap()
}

/// `YYYYMMDDThhmmssZ`
fn amz_date(ms: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).unwrap();
    let (year, month, day) = date.to_calendar_date();
    let (hour, minute, second) = date.to_hms();
    let month = u8::from(month);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// A request's content. Each field can be made wrong.
#[derive(Clone)]
pub struct Call {
    pub method: &'static str,
    pub uri_path: String,
    pub path: Option<String>,
    pub query: Option<String>,
    pub variant: Option<String>,
    pub key: &'static str,
    pub secret: &'static str,
    pub region: &'static str,
    pub service: &'static str,
    pub token: Option<&'static str>,
    /// `x-amz-content-sha256`; `None`: no such header, and the hash of an empty body is signed.
    pub payload_hash: Option<&'static str>,
    /// How far the client's clock is ahead, in milliseconds.
    pub skew_ms: i64,
    pub signed: bool,
}

impl Call {
    pub fn listen(query: &str) -> Self {
        Self {
            method: "POST",
            uri_path: "/endpoints/local/invocations-bidirectional-stream".into(),
            path: Some("v1/listen".into()),
            query: (!query.is_empty()).then(|| query.into()),
            variant: None,
            key: KEY,
            secret: SECRET,
            region: REGION,
            service: "sagemaker",
            token: None,
            payload_hash: Some("STREAMING-AWS4-HMAC-SHA256-EVENTS"),
            skew_ms: 0,
            signed: true,
        }
    }

    pub fn endpoint(name: &str) -> Self {
        Self {
            uri_path: format!("/endpoints/{name}/invocations-bidirectional-stream"),
            ..Self::listen(LINEAR16)
        }
    }

    /// Makes the request, and returns it with its signature.
    pub fn request(&self, authority: &str) -> (Request<()>, String) {
        let date = amz_date(now_ms() + self.skew_ms);
        let mut headers = vec![("host", authority.to_owned())];
        if let Some(payload_hash) = self.payload_hash {
            headers.push(("x-amz-content-sha256", payload_hash.to_owned()));
        }
        headers.push(("x-amz-date", date.clone()));
        if let Some(token) = self.token {
            headers.push(("x-amz-security-token", token.to_owned()));
        }
        if let Some(path) = &self.path {
            headers.push(("x-amzn-sagemaker-model-invocation-path", path.clone()));
        }
        if let Some(query) = &self.query {
            headers.push(("x-amzn-sagemaker-model-query-string", query.clone()));
        }
        if let Some(variant) = &self.variant {
            headers.push(("x-amzn-sagemaker-target-variant", variant.clone()));
        }
        let names = headers
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(";");
        let mut canonical = format!("{}\n{}\n\n", self.method, self.uri_path);
        for (name, value) in &headers {
            writeln!(canonical, "{name}:{value}").unwrap();
        }
        let payload_hash = self.payload_hash.unwrap_or(EMPTY_HASH);
        write!(canonical, "\n{names}\n{payload_hash}").unwrap();
        let scope = Scope {
            date: &date[..8],
            region: self.region,
            service: self.service,
        };
        let credential = format!(
            "{}/{}/{}/aws4_request",
            scope.date, scope.region, scope.service
        );
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{credential}\n{}",
            hex::encode(digest(&SHA256, canonical.as_bytes()).as_ref())
        );
        let signature =
            hex::encode(&SigningKey::derive(self.secret, scope).sign(to_sign.as_bytes()));
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("https://{authority}{}", self.uri_path));
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, value);
        }
        if self.signed {
            let authorization = format!(
                "AWS4-HMAC-SHA256 Credential={}/{credential}, SignedHeaders={names}, Signature={signature}",
                self.key
            );
            request = request.header("authorization", authorization);
        }
        (request.body(()).unwrap(), signature)
    }
}

/// An HTTP answer instead of a stream.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn error_type(&self) -> &str {
        self.headers
            .get("x-amzn-errortype")
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// One stream, from the client's side.
pub struct Leg {
    send: SendStream<Bytes>,
    pub recv: RecvStream,
    pub signer: EventSigner,
    pub headers: HeaderMap,
    decoder: Decoder,
    assembler: Assembler,
    events: VecDeque<ServerEvent>,
    pub parts: usize,
}

/// What the server says next.
#[derive(Debug, PartialEq)]
pub enum Said {
    Message(Frame),
    Exception {
        kind: String,
        code: Option<String>,
        message: String,
    },
    Unknown(String),
    End,
    Reset(Reason),
    /// The connection is gone, or leaves this stream out of its `GOAWAY`.
    Lost,
    Undecodable(DecodeError),
    Malformed(String),
}

impl Said {
    /// A text message's JSON.
    pub fn json(&self) -> Value {
        match self {
            Self::Message(frame) => serde_json::from_str(frame.as_str().unwrap()).unwrap(),
            other => panic!("not a message: {other:?}"),
        }
    }
}

/// Sends a request; returns the stream, or the answer instead of one.
pub async fn open(client: &SendRequest<Bytes>, call: &Call) -> Result<Leg, Answer> {
    let (response, send, signature) = begin(client, call).await;
    let response = response.await.unwrap();
    accept(call, response, send, &signature).await
}

pub async fn begin(
    client: &SendRequest<Bytes>,
    call: &Call,
) -> (h2::client::ResponseFuture, SendStream<Bytes>, String) {
    let mut client = client.clone().ready().await.unwrap();
    let (request, signature) = call.request("localhost");
    let (response, send) = client.send_request(request, false).unwrap();
    (response, send, signature)
}

pub async fn accept(
    call: &Call,
    response: Response<RecvStream>,
    send: SendStream<Bytes>,
    signature: &str,
) -> Result<Leg, Answer> {
    let (head, mut recv) = response.into_parts();
    if head.status != 200 {
        let mut body = BytesMut::new();
        while let Some(data) = recv.data().await {
            body.extend_from_slice(&data.unwrap());
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        return Err(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        });
    }
    Ok(Leg {
        send,
        recv,
        signer: EventSigner::new(call.secret, call.region, call.service, signature).unwrap(),
        headers: head.headers,
        decoder: Decoder::new(Limits::PROTOCOL),
        assembler: Assembler::new(64 * 1024 * 1024),
        events: VecDeque::new(),
        parts: 0,
    })
}

impl Leg {
    /// Sends raw bytes, within the window.
    pub async fn raw(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let Some(Ok(capacity)) = poll_fn(|cx| self.send.poll_capacity(cx)).await else {
                return;
            };
            if capacity > 0 {
                let piece = bytes.split_to(capacity.min(bytes.len()));
                if self.send.send_data(piece, false).is_err() {
                    return;
                }
            }
        }
    }

    pub async fn frame(&mut self, frame: &Frame) {
        self.frame_in_parts(frame, MAX_PART).await;
    }

    pub async fn frame_in_parts(&mut self, frame: &Frame, part: usize) {
        let mut out = BytesMut::new();
        encode_signed(&mut self.signer, now_ms(), frame, part, &mut out).unwrap();
        self.raw(out.freeze()).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.frame(&Frame::from(text.to_owned())).await;
    }

    pub async fn control(&mut self, name: &str) {
        self.text(&json!({ "type": name }).to_string()).await;
    }

    pub async fn audio(&mut self, audio: Vec<u8>) {
        self.frame(&Frame::Binary(audio.into())).await;
    }

    /// Sends the signed empty event and ends the HTTP/2 stream.
    pub async fn end(&mut self) {
        let mut out = BytesMut::new();
        self.signer.sign_end(now_ms(), &mut out).unwrap();
        self.raw(out.freeze()).await;
        self.end_unsigned();
    }

    pub fn end_unsigned(&mut self) {
        let _ = self.send.send_data(Bytes::new(), true);
    }

    pub fn reset(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    /// Returns what the server sends next.
    pub async fn next(&mut self) -> Said {
        tokio::time::timeout(PATIENCE, self.said())
            .await
            .expect("the server says nothing")
    }

    async fn said(&mut self) -> Said {
        loop {
            while let Some(event) = self.events.pop_front() {
                match event {
                    ServerEvent::Part(part) => {
                        self.parts += 1;
                        match self.assembler.push(part) {
                            Ok(Some(frame)) => return Said::Message(frame),
                            Ok(None) => {}
                            Err(error) => return Said::Malformed(error.to_string()),
                        }
                    }
                    ServerEvent::Exception {
                        kind,
                        code,
                        message,
                    } => {
                        return Said::Exception {
                            kind,
                            code,
                            message,
                        };
                    }
                    ServerEvent::Unknown { event_type } => return Said::Unknown(event_type),
                }
            }
            match self.recv.data().await {
                Some(Ok(data)) => {
                    self.recv
                        .flow_control()
                        .release_capacity(data.len())
                        .unwrap();
                    self.decoder.push(data);
                    loop {
                        match self.decoder.next() {
                            Ok(Some(message)) => match ServerEvent::parse(message) {
                                Ok(event) => self.events.push_back(event),
                                Err(error) => return Said::Malformed(error.to_string()),
                            },
                            Ok(None) => break,
                            Err(error) => return Said::Undecodable(error),
                        }
                    }
                }
                Some(Err(error)) if error.is_reset() => {
                    return Said::Reset(error.reason().unwrap());
                }
                Some(Err(_)) => return Said::Lost,
                None => match self.decoder.finish() {
                    Ok(()) => return Said::End,
                    Err(error) => return Said::Undecodable(error),
                },
            }
        }
    }

    /// Returns every message up to the end, as JSON.
    pub async fn rest(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Said::End => return messages,
                said => messages.push(said.json()),
            }
        }
    }
}

/// Makes a marked chunk: 20 ms of linear16 at 16 kHz.
pub fn chunk(number: u32) -> Vec<u8> {
    let format = dgsm_local::audio::Format {
        rate: 16_000,
        channels: 1,
        width: 2,
        silence: 0,
    };
    dgsm_local::watermark::mark(number, 640, format).unwrap()
}

/// Returns the words of all final results in `messages`.
pub fn transcript(messages: &[Value]) -> Vec<u32> {
    let finals = messages
        .iter()
        .filter(|message| message["is_final"] == true);
    let words = finals.flat_map(|message| {
        let words = message["channel"]["alternatives"][0]["words"]
            .as_array()
            .unwrap()
            .clone();
        words
            .into_iter()
            .map(|word| word["word"].as_str().unwrap().parse().unwrap())
    });
    words.collect()
}
