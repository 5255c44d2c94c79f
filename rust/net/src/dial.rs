//! One connection: TCP, a proxy where there is one, TLS, HTTP/2.
//!
//! ```text
//! resolve ─▶ TCP ─▶ [CONNECT] ─▶ TLS (ALPN h2) ─▶ preface ─▶ first frame heard
//! └──────────────────── connection_timeout ────────────────────────────┘
//! ```
//! The request does not wait for the peer's first frame: that would cost a round trip. The
//! deadline does, see [`Line::heard`].

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::reason::Reason;
use h2::client::{Builder, SendRequest};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

use crate::connection::{Connection, Line, Watched};
use crate::engine::Engine;
use crate::failure::{Failure, FailureKind};
use crate::tunnel::Tunnel;

/// What one stream may send us before we read it. Results are small; audio from Aura is not.
const STREAM_WINDOW: u32 = 1 << 20;
/// The most that a window can be.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// What h2 may hold of a stream's output while TCP does not take it. The journal is the queue: what
/// is here counts as sent.
const SEND_BUFFER: usize = 64 << 10;
/// An answer's headers, or its trailers, may be so large, as HTTP/2 counts them. The service's take
/// less than 2 KiB. What is larger is reset, what is four times as large ends the connection.
pub const MAX_HEADERS: u32 = 64 << 10;
/// How long an address may keep us before the next one is tried as well (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Where connections go, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Through which proxy, if any.
    pub proxy: Option<Proxy>,
    /// Certificates and ALPN.
    pub tls: Arc<ClientConfig>,
    /// The file that `tls` trusts in place of the system's store, for whoever explains a refusal.
    pub bundle: Option<PathBuf>,
    /// How often a silent peer is pinged, and how long it has to answer.
    pub ping: Ping,
}

/// An HTTP proxy that is asked to CONNECT.
#[derive(Clone)]
pub struct Proxy {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS to the proxy itself (`https://`).
    pub tls: bool,
    /// The value of `Proxy-Authorization`, if any.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The authorization is a secret.
        f.debug_struct("Proxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// When a connection counts as dead.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// A peer that has been silent for so long is pinged.
    pub after: Duration,
    /// It is dead if it does not answer within this.
    pub within: Duration,
}

/// How far a dial has come, for whoever has to say why it took too long.
#[derive(Debug, Default)]
pub struct Stage(AtomicU8);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Tcp,
    ProxyTcp,
    ProxyTls,
    Connect,
    Tls,
}

impl Stage {
    pub(crate) fn at(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    /// The failure of a dial that did not end within `limit`.
    #[must_use]
    pub fn too_late(&self, target: &Target, limit: Duration) -> Failure {
        let Target { host, port, .. } = target;
        let at = self.0.load(Ordering::Relaxed);
        let is = |step: Step| at == step as u8;
        let (reason, what) = if is(Step::ProxyTcp) {
            (
                Reason::ProxyTimeout,
                "no connection to the proxy".to_owned(),
            )
        } else if is(Step::ProxyTls) {
            let what = "the proxy does not take part in a TLS handshake, which https:// in its \
                        URL asks for";
            (Reason::ProxyTimeout, what.to_owned())
        } else if is(Step::Connect) {
            let what = format!("the proxy did not answer CONNECT {host}:{port}");
            (Reason::ProxyTimeout, what)
        } else if is(Step::Tls) {
            let what = format!("TCP to {host}:{port} came up, TLS did not");
            (Reason::ConnectTimeout, what)
        } else {
            (
                Reason::ConnectTimeout,
                format!("no connection to {host}:{port}"),
            )
        };
        let detail = format!("{what} within connection_timeout ({limit:?})");
        Failure::new(FailureKind::ConnectTimeout, detail).because(reason)
    }
}

/// Dials, without a deadline: the caller has it. `streams` are to share the connection.
///
/// # Errors
/// Whatever keeps the connection from speaking HTTP/2.
pub async fn dial(
    target: &Target,
    streams: usize,
    engine: &Arc<Engine>,
    stage: &Stage,
) -> Result<Connection, Failure> {
    let dialled = Instant::now();
    let tcp = if let Some(proxy) = &target.proxy {
        Tunnel::open(proxy, target, stage).await?
    } else {
        stage.at(Step::Tcp);
        Tunnel::Direct(connect(&target.host, target.port).await?)
    };
    stage.at(Step::Tls);
    let stream = tls(tcp, target).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Failure::new(
            FailureKind::Http2,
            format!(
                "{}:{} speaks TLS but does not offer HTTP/2",
                target.host, target.port
            ),
        ));
    }
    let line = Arc::new(Line::default());
    let (requests, connection) =
        http2(stream, streams, &line)
            .await
            .map_err(|error| match error.get_io() {
                // It had agreed to HTTP/2 a moment ago.
                Some(_) => Failure::from_h2(&error),
                None => Failure::new(FailureKind::Http2, error.to_string()),
            })?;
    Ok(Connection::spawn(
        requests,
        connection,
        line,
        target.ping,
        dialled,
        engine,
    ))
}

/// HTTP/2 on an open stream that so many `streams` are to share.
pub(crate) async fn http2<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    streams: usize,
    line: &Arc<Line>,
) -> Result<(SendRequest<Bytes>, h2::client::Connection<Watched<T>>), h2::Error> {
    Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        // A stream that is not read must not take the others' share.
        .initial_connection_window_size(u32::try_from(streams).map_or(MAX_WINDOW, |streams| {
            STREAM_WINDOW.saturating_mul(streams).min(MAX_WINDOW)
        }))
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(Watched::new(stream, Arc::clone(line), streams > 1))
        .await
}

/// The first of the host's addresses that answers, the next one joining in after a moment.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let dns = |detail| Failure::new(FailureKind::Dns, detail);
    let addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| dns(format!("{host} did not resolve: {error}")))?
        .collect();
    let mut attempts = tokio::task::JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut last = dns(format!("{host} has no address"));
    let mut more = true;
    loop {
        if more {
            match addresses.next() {
                Some(address) => {
                    attempts.spawn(async move { (address, TcpStream::connect(address).await) });
                }
                None => more = false,
            }
        }
        tokio::select! {
            finished = attempts.join_next(), if !attempts.is_empty() => match finished {
                Some(Ok((_, Ok(stream)))) => {
                    // A chunk is one small segment: it must not wait for the previous one's ack.
                    return match stream.set_nodelay(true) {
                        Ok(()) => Ok(stream),
                        Err(error) => Err(unconnected(&error, error.to_string())),
                    };
                }
                Some(Ok((address, Err(error)))) => {
                    last = unconnected(&error, format!("{address}: {error}"));
                }
                Some(Err(error)) => last = Failure::new(FailureKind::Connect, error.to_string()),
                None => {}
            },
            () = sleep(NEXT_ADDRESS), if more => {}
            else => return Err(last),
        }
    }
}

/// A connection that is accepted and reset at once may not be seen as accepted.
fn unconnected(error: &std::io::Error, detail: String) -> Failure {
    let failure = Failure::new(FailureKind::Connect, detail);
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::NotConnected => {
            failure.because(Reason::HandshakeCut)
        }
        _ => failure,
    }
}

async fn tls(
    stream: Tunnel,
    target: &Target,
) -> Result<tokio_rustls::client::TlsStream<Tunnel>, Failure> {
    let host = &target.host;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| Failure::new(FailureKind::Tls, format!("{host} is no host name")))?;
    TlsConnector::from(Arc::clone(&target.tls))
        .connect(name, stream)
        .await
        .map_err(|error| refused(&error, target, host))
}

/// The failure of a TLS handshake with `host`.
fn refused(error: &std::io::Error, target: &Target, host: &str) -> Failure {
    let (kind, reason) = verdict(error);
    let mut detail = format!("{host}: {error}");
    let mut reason = reason;
    if let (Reason::TlsIssuer, Some(bundle)) = (reason, &target.bundle) {
        reason = Reason::TlsIssuerOfBundle;
        detail = format!("{detail}; trusted is {}", bundle.display());
    }
    Failure::new(kind, detail).because(reason)
}

/// What an error of a TLS handshake means.
pub(crate) fn verdict(error: &std::io::Error) -> (FailureKind, Reason) {
    let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        // Nothing in TLS: TCP broke, or was closed.
        return (FailureKind::Connect, Reason::HandshakeCut);
    };
    match tls {
        rustls::Error::InvalidCertificate(error) => (FailureKind::TlsVerify, certificate(error)),
        rustls::Error::NoCertificatesPresented => (FailureKind::TlsVerify, Reason::TlsCertificate),
        // The polite way to say that there is no HTTP/2 here.
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            (FailureKind::Http2, Reason::NoHttp2)
        }
        rustls::Error::AlertReceived(alert) if is_final(*alert) => {
            (FailureKind::Tls, Reason::TlsRefused)
        }
        rustls::Error::PeerIncompatible(_) => (FailureKind::Tls, Reason::TlsRefused),
        rustls::Error::InvalidMessage(_) => (FailureKind::Tls, Reason::NotTls),
        _ => (FailureKind::Tls, Reason::Tls),
    }
}

/// What an alert says that comes when this side counts the handshake as done: in TLS 1.3 the server
/// judges what the client has shown only then. `None`: it is no alert, or one that may pass.
pub(crate) fn refused_late(error: &std::io::Error) -> Option<Failure> {
    let (kind, reason) = verdict(error);
    (reason == Reason::TlsRefused).then(|| Failure::new(kind, error.to_string()).because(reason))
}

fn certificate(error: &CertificateError) -> Reason {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Reason::TlsExpired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Reason::TlsName
        }
        // The signature is not that of the authority we know by this name: it is another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Reason::TlsIssuer,
        // webpki's own words: rustls has none for it.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            Reason::TlsOwnAuthority
        }
        _ => Reason::TlsCertificate,
    }
}

/// Whether the other side would send the same alert again.
const fn is_final(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::InappropriateFallback
            | AlertDescription::MissingExtension
            | AlertDescription::UnsupportedExtension
            | AlertDescription::UnrecognisedName
            | AlertDescription::AccessDenied
            | AlertDescription::UnknownCA
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
    )
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use std::{io, slice};

    use h2::SendStream;
    use http::Request;
    use tokio::io::{DuplexStream, ReadBuf, duplex};

    use super::*;

    /// Counts what would be system calls.
    struct Counted {
        stream: DuplexStream,
        writes: Arc<AtomicUsize>,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, slice::from_ref(&io::IoSlice::new(buf)))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[io::IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }

    /// How many writes it takes to send five chunks at once, each on a stream of its own.
    async fn writes(chunk: usize, streams: usize) -> usize {
        let (ours, theirs) = duplex(1 << 20);
        let writes = Arc::<AtomicUsize>::default();
        let counted = Counted {
            stream: ours,
            writes: Arc::clone(&writes),
        };
        let line = Arc::new(Line::default());
        let serving = tokio::spawn(async move {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            let mut bodies = tokio::task::JoinSet::new();
            while let Some(Ok((request, _))) = server.accept().await {
                bodies.spawn(async move {
                    let mut length = 0;
                    let mut body = request.into_body();
                    while let Some(data) = body.data().await {
                        length += data.unwrap().len();
                    }
                    length
                });
            }
            bodies.join_all().await
        });
        let (requests, connection) = http2(counted, streams, &line).await.unwrap();
        let driving = tokio::spawn(connection);
        let mut sending: Vec<SendStream<Bytes>> = Vec::new();
        for _ in 0..5 {
            let mut ready = requests.clone().ready().await.unwrap();
            let request = Request::get("https://localhost/").body(()).unwrap();
            sending.push(ready.send_request(request, false).unwrap().1);
        }
        quiet(&writes).await;
        let before = writes.load(Ordering::Relaxed);
        for stream in &mut sending {
            stream.send_data(vec![0; chunk].into(), true).unwrap();
        }
        quiet(&writes).await;
        let taken = writes.load(Ordering::Relaxed) - before;
        drop((requests, sending));
        driving.await.unwrap().unwrap();
        assert_eq!(serving.await.unwrap(), [chunk; 5]);
        taken
    }

    /// Returns when nothing is written any more.
    async fn quiet(writes: &AtomicUsize) {
        let mut last = usize::MAX;
        while last != writes.load(Ordering::Relaxed) {
            last = writes.load(Ordering::Relaxed);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn streams_that_share_a_connection_are_written_together() {
        assert_eq!(writes(850, 2).await, 1);
    }

    #[tokio::test]
    async fn a_large_chunk_is_one_write() {
        assert_eq!(writes(3500, 2).await, 5);
        assert_eq!(writes(850, 1).await, 5);
        assert_eq!(writes(3500, 1).await, 5);
    }
}
