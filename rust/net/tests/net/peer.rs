//! Peers to talk to: TCP, TLS and HTTP/2, each of which can stop where a test wants it to.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dgsm_leg::frame::Frame;
use dgsm_local::verify::{Envelope, EventVerifier};
use dgsm_net::connection::Ping;
use dgsm_net::dial::Target;
use dgsm_net::pool::{Limits, Pool};
use dgsm_net::tls::client_config;
use dgsm_wire::eventstream::{Decoder, Limits as EventLimits, decode_exact};
use dgsm_wire::payload_part::PayloadPart;
use dgsm_wire::signing::EventSigner;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub const H2: &[&[u8]] = &[b"h2"];

/// A certificate authority, a client that trusts it, and what it has signed.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub client: Arc<ClientConfig>,
}

impl Authority {
    /// The authority of this test run.
    pub fn ours() -> &'static Self {
        static OURS: OnceLock<Authority> = OnceLock::new();
        OURS.get_or_init(|| Self::new("ours"))
    }

    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let client = trust(&params.self_signed(&key).unwrap(), name);
        Self {
            issuer: Issuer::new(params, key),
            client,
        }
    }

    pub fn server(&self, name: &str, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let names = vec![name.to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        serving(&certificate, &key, alpn)
    }
}

/// A client's TLS that trusts this certificate alone.
fn trust(certificate: &Certificate, name: &str) -> Arc<ClientConfig> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{count}.pem", std::process::id()));
    std::fs::write(&path, certificate.pem()).unwrap();
    let client = client_config(Some(&path)).unwrap();
    std::fs::remove_file(path).unwrap();
    client
}

fn serving(certificate: &Certificate, key: &KeyPair, alpn: &[&[u8]]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// A server with this certificate, and a client that trusts only that.
pub fn trusting(
    certificate: &Certificate,
    key: &KeyPair,
) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    (trust(certificate, "itself"), serving(certificate, key, H2))
}

/// The TLS of a peer that our clients trust.
pub fn server_tls(alpn: &[&[u8]]) -> Arc<ServerConfig> {
    static H2_SERVER: OnceLock<Arc<ServerConfig>> = OnceLock::new();
    if alpn == H2 {
        return Arc::clone(H2_SERVER.get_or_init(|| Authority::ours().server("127.0.0.1", H2)));
    }
    Authority::ours().server("127.0.0.1", alpn)
}

/// A server on a port of its own. Dropping it closes its connections.
pub struct Peer {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
    live: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// Serves each TCP connection.
    pub async fn tcp<F, S>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let live = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&accepted), Arc::clone(&live));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                counts.0.fetch_add(1, Ordering::SeqCst);
                counts.1.fetch_add(1, Ordering::SeqCst);
                let serving = serve(tcp);
                let live = Arc::clone(&counts.1);
                connections.spawn(async move {
                    serving.await;
                    live.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            port,
            accepted,
            live,
            task,
        }
    }

    /// Serves each TLS connection.
    pub async fn tls<F, S>(config: Arc<ServerConfig>, serve: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::tcp(move |tcp| {
            let acceptor = TlsAcceptor::from(Arc::clone(&config));
            let serve = serve.clone();
            async move {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    serve(tls).await;
                }
            }
        })
        .await
    }

    /// Serves each request.
    pub async fn h2<F, S>(builder: Builder, serve: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::tls(server_tls(H2), move |tls| {
            let serve = serve.clone();
            let builder = builder.clone();
            async move { h2(tls, &builder, serve).await }
        })
        .await
    }

    /// Speaks HTTP/2 by hand, from the client's request on.
    pub async fn raw<F, S>(serve: F) -> Self
    where
        F: Fn(Raw) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::tls(server_tls(H2), move |tls| {
            let serve = serve.clone();
            async move {
                let raw = Raw::begin(tls).await;
                serve(raw).await;
            }
        })
        .await
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// How many there are.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    pub fn target(&self) -> Target {
        Target {
            host: "127.0.0.1".into(),
            port: self.port,
            proxy: None,
            tls: Arc::clone(&Authority::ours().client),
            bundle: None,
            ping: Ping {
                after: Duration::from_secs(30),
                within: Duration::from_secs(30),
            },
        }
    }

    pub fn pool(&self) -> Arc<Pool> {
        Pool::new(self.target(), limits())
    }

    pub fn pool_with(&self, change: impl FnOnce(&mut Limits)) -> Arc<Pool> {
        let mut limits = limits();
        change(&mut limits);
        Pool::new(self.target(), limits)
    }
}

/// Limits that no test reaches by accident.
pub fn limits() -> Limits {
    Limits {
        connection_timeout: Duration::from_secs(20),
        acquire_timeout: Duration::from_secs(20),
        subscription_timeout: Duration::from_secs(20),
        max_concurrency: 500,
        max_streams_per_connection: 1,
        max_handshakes: 32,
    }
}

async fn h2<F, S>(tls: TlsStream<TcpStream>, builder: &Builder, serve: F)
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = builder.handshake(tls).await else {
        return;
    };
    let mut streams = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(serve(request, respond));
    }
    // What they have seen is kept.
    streams.detach_all();
}

/// Answers 200, and the stream stays open.
pub fn accept(respond: &mut SendResponse<Bytes>) -> SendStream<Bytes> {
    respond.send_response(Response::new(()), false).unwrap()
}

/// A peer that accepts every request, and says nothing until the client goes away.
pub async fn silent() -> Peer {
    Peer::h2(Builder::new(), |request, mut respond| async move {
        let _send = accept(&mut respond);
        let mut recv = request.into_body();
        while let Some(Ok(data)) = recv.data().await {
            recv.flow_control().release_capacity(data.len()).unwrap();
        }
    })
    .await
}

/// Signer and verifier share these.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

pub fn signer() -> EventSigner {
    EventSigner::new(SECRET, "us-east-1", "sagemaker", &"0".repeat(64)).unwrap()
}

/// The client's events, as the service reads them; every signature is checked.
pub struct Events {
    pub recv: RecvStream,
    decoder: Decoder,
    verifier: EventVerifier,
    /// DATA frames that were read.
    pub data_frames: usize,
}

/// What a client sends.
#[derive(Debug, PartialEq)]
pub enum Event {
    Part(PayloadPart),
    /// The signed empty event.
    End,
    /// The end of the stream.
    Closed,
    /// A reset, or the connection's end.
    Broken(Option<h2::Reason>),
}

impl Events {
    pub fn new(recv: RecvStream) -> Self {
        let verifier =
            EventVerifier::new(SECRET, "us-east-1", "sagemaker", &"0".repeat(64)).unwrap();
        Self {
            recv,
            decoder: Decoder::new(EventLimits::default()),
            verifier,
            data_frames: 0,
        }
    }

    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return match self.verifier.verify(&message).unwrap() {
                    Envelope::Event(inner) => Event::Part(
                        PayloadPart::parse(decode_exact(inner, EventLimits::default()).unwrap())
                            .unwrap(),
                    ),
                    Envelope::End => Event::End,
                };
            }
            match self.recv.data().await {
                Some(Ok(data)) => {
                    self.data_frames += 1;
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    self.decoder.push(data);
                }
                Some(Err(error)) => return Event::Broken(error.reason()),
                None => {
                    self.decoder.finish().unwrap();
                    return Event::Closed;
                }
            }
        }
    }

    /// The payload of the next part.
    pub async fn payload(&mut self) -> Bytes {
        match self.next().await {
            Event::Part(part) => part.data,
            other => panic!("{other:?} in place of a part"),
        }
    }
}

/// A whole message as the service sends it.
pub fn event(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    PayloadPart::whole(frame).encode(&mut out).unwrap();
    out.freeze()
}

pub fn text(message: &str) -> Bytes {
    event(&Frame::from(message.to_owned()))
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;
/// The client's first stream.
pub const STREAM: u32 = 1;

/// HTTP/2 by hand.
pub struct Raw {
    pub tls: TlsStream<TcpStream>,
}

impl Raw {
    /// Settings are exchanged and the request is read.
    async fn begin(mut tls: TlsStream<TcpStream>) -> Self {
        let mut preface = [0; 24];
        tls.read_exact(&mut preface).await.unwrap();
        let mut raw = Self { tls };
        raw.write(&[frame(SETTINGS, 0, 0, &[])]).await;
        loop {
            let (kind, flags, _) = raw.read().await.expect("a request");
            if kind == SETTINGS && flags & ACK == 0 {
                raw.write(&[frame(SETTINGS, ACK, 0, &[])]).await;
            }
            if kind == HEADERS {
                return raw;
            }
        }
    }

    /// One frame: its type, flags and payload.
    pub async fn read(&mut self) -> std::io::Result<(u8, u8, Vec<u8>)> {
        let mut header = [0; 9];
        self.tls.read_exact(&mut header).await?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        self.tls.read_exact(&mut payload).await?;
        Ok((header[3], header[4], payload))
    }

    /// All in one TLS record.
    pub async fn write(&mut self, frames: &[Vec<u8>]) {
        self.tls.write_all(&frames.concat()).await.unwrap();
        self.tls.flush().await.unwrap();
    }

    /// Answers 200.
    pub async fn accept(&mut self) {
        self.write(&[accepted()]).await;
    }

    /// Ends TLS and TCP in order. With unread input it would be a TCP reset, which overtakes data.
    pub async fn leave(mut self) {
        self.tls.shutdown().await.unwrap();
        self.drain().await;
    }

    /// Reads until the client goes away; answers nothing.
    pub async fn drain(&mut self) {
        while self.read().await.is_ok() {}
    }
}

/// The headers of an answer: `:status 200`.
pub fn accepted() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, STREAM, &[0x88])
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub fn goaway(last_stream: u32, code: u32) -> Vec<u8> {
    let payload = [last_stream.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

pub fn reset(code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, STREAM, &code.to_be_bytes())
}
