//! One connection: TCP, a proxy where there is one, TLS, HTTP/2.
//!
//! ```text
//! resolve ─▶ TCP ─▶ [CONNECT] ─▶ TLS (ALPN h2) ─▶ preface ─▶ first frame heard
//! └──────────────────── connection_timeout ────────────────────────────┘
//! ```
//! The request does not wait for the peer's first frame: that would cost a round trip. The
//! deadline does, see [`Connection::heard`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::engine::Engine;
use crate::failure::{Failure, FailureKind};

/// What one stream may send us before we read it. Results are small; audio from Aura is not.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of one connection may.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// How long an address may keep us before the next one is tried as well (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// A proxy's answer to CONNECT is a status line and a few headers.
const MAX_PROXY_ANSWER: usize = 16 << 10;

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

/// An HTTP/2 connection. It closes when this and every stream opened on it are gone.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Opens streams.
    pub requests: SendRequest<Bytes>,
    /// Whether the peer has said anything yet in HTTP/2.
    pub heard: Arc<Heard>,
    /// When the dial began.
    pub dialled: Instant,
}

/// Set once, when the first bytes of HTTP/2 arrive.
#[derive(Debug, Default)]
pub struct Heard {
    first: AtomicBool,
    /// Bytes have arrived since the last look; what the keep-alive asks.
    recent: AtomicBool,
    arrived: Notify,
}

impl Heard {
    fn mark(&self) {
        self.recent.store(true, Ordering::Relaxed);
        if !self.first.swap(true, Ordering::AcqRel) {
            self.arrived.notify_waiters();
        }
    }

    /// Returns when the peer's first bytes have arrived.
    pub async fn wait(&self) {
        let arrived = self.arrived.notified();
        if !self.first.load(Ordering::Acquire) {
            arrived.await;
        }
    }
}

/// Dials, without a deadline: the caller has it.
///
/// # Errors
/// Whatever keeps the connection from speaking HTTP/2.
pub async fn dial(target: &Target, engine: &Arc<Engine>) -> Result<Connection, Failure> {
    let dialled = Instant::now();
    let tcp = match &target.proxy {
        Some(proxy) => Tunnel::open(proxy, target).await?,
        None => Tunnel::Direct(
            connect(&target.host, target.port)
                .await
                .map_err(|(kind, detail)| Failure::new(kind, detail))?,
        ),
    };
    let stream = tls(tcp, &target.tls, &target.host).await?;
    let offered = stream.get_ref().1.alpn_protocol();
    if offered != Some(b"h2") {
        return Err(Failure::new(
            FailureKind::Http2,
            format!(
                "{}:{} speaks TLS but does not offer HTTP/2",
                target.host, target.port
            ),
        ));
    }
    let heard = Arc::new(Heard::default());
    let stream = Watched {
        stream,
        heard: Arc::clone(&heard),
    };
    let (requests, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await
        .map_err(|error| Failure::new(FailureKind::Http2, error.to_string()))?;
    engine.handle().spawn(drive(
        connection,
        target.ping,
        Arc::clone(&heard),
        Arc::clone(engine),
    ));
    Ok(Connection {
        requests,
        heard,
        dialled,
    })
}

/// Runs a connection to its end. It holds the engine: what is still to be flushed when the last
/// session lets go is flushed.
async fn drive<T>(
    mut connection: h2::client::Connection<T>,
    ping: Ping,
    heard: Arc<Heard>,
    _engine: Arc<Engine>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Some(mut pings) = connection.ping_pong() else {
        // Taken nowhere else.
        return;
    };
    let watchdog = async {
        loop {
            sleep(ping.after).await;
            if heard.recent.swap(false, Ordering::Relaxed) {
                continue;
            }
            match timeout(ping.within, pings.ping(h2::Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection has ended by itself, and tells its streams so.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => return,
            }
        }
    };
    // Both ways out tell the streams: h2 by itself, or by the connection's being dropped.
    tokio::select! {
        _ = connection => {}
        () = watchdog => {}
    }
}

/// The first of the host's addresses that answers, the next one joining in after a moment.
async fn connect(host: &str, port: u16) -> Result<TcpStream, (FailureKind, String)> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| (FailureKind::Dns, format!("{host} did not resolve: {error}")))?
        .collect();
    let mut attempts = tokio::task::JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut last = (FailureKind::Dns, format!("{host} has no address"));
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
                    stream
                        .set_nodelay(true)
                        .map_err(|error| (FailureKind::Connect, error.to_string()))?;
                    return Ok(stream);
                }
                Some(Ok((address, Err(error)))) => {
                    last = (FailureKind::Connect, format!("{address}: {error}"));
                }
                Some(Err(error)) => last = (FailureKind::Connect, error.to_string()),
                None => {}
            },
            () = sleep(NEXT_ADDRESS), if more => {}
            else => return Err(last),
        }
    }
}

async fn tls(
    stream: Tunnel,
    config: &Arc<ClientConfig>,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<Tunnel>, Failure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::new(FailureKind::Tls, format!("{host} is no host name")))?;
    TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
        .map_err(|error| {
            let verdict = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                .map_or(FailureKind::Tls, |inner| match inner {
                    rustls::Error::InvalidCertificate(_)
                    | rustls::Error::NoCertificatesPresented => FailureKind::TlsVerify,
                    _ => FailureKind::Tls,
                });
            Failure::new(verdict, format!("{host}: {error}"))
        })
}

/// A TCP connection to the target, straight or through a proxy.
#[derive(Debug)]
enum Tunnel {
    Direct(TcpStream),
    ThroughTls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Tunnel {
    async fn open(proxy: &Proxy, target: &Target) -> Result<Self, Failure> {
        let failed = |detail: String| {
            Failure::new(
                FailureKind::Proxy,
                format!("proxy {}:{}: {detail}", proxy.host, proxy.port),
            )
        };
        let tcp = connect(&proxy.host, proxy.port)
            .await
            .map_err(|(_, detail)| failed(detail))?;
        let mut tunnel = if proxy.tls {
            let name = ServerName::try_from(proxy.host.clone())
                .map_err(|error| failed(error.to_string()))?;
            // A proxy is spoken to in HTTP/1.1; offering h2 would get us h2.
            let mut config = (*target.tls).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let stream = TlsConnector::from(Arc::new(config))
                .connect(name, tcp)
                .await
                .map_err(|error| failed(error.to_string()))?;
            Self::ThroughTls(Box::new(stream))
        } else {
            Self::Direct(tcp)
        };
        tunnel.ask(proxy, target).await.map_err(failed)?;
        Ok(tunnel)
    }

    /// Asks the proxy to connect, and reads its answer up to the empty line and no further.
    async fn ask(&mut self, proxy: &Proxy, target: &Target) -> Result<(), String> {
        let host = if target.host.contains(':') {
            format!("[{}]", target.host)
        } else {
            target.host.clone()
        };
        let mut request = format!(
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n",
            port = target.port
        );
        if let Some(authorization) = &proxy.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        self.write_all(request.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut answer = Vec::with_capacity(256);
        // Byte by byte: what follows the empty line belongs to TLS.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == MAX_PROXY_ANSWER {
                return Err("its answer to CONNECT has no end".into());
            }
            answer.push(self.read_u8().await.map_err(|error| error.to_string())?);
        }
        let line = answer
            .split(|byte| *byte == b'\r')
            .next()
            .unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some(version), Some(status))
                if version.starts_with("HTTP/1.") && status.starts_with('2') =>
            {
                Ok(())
            }
            _ => Err(format!("it answered \"{line}\" to CONNECT")),
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::ThroughTls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::ThroughTls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::ThroughTls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Direct(stream) => stream.is_write_vectored(),
            Self::ThroughTls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
            Self::ThroughTls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::ThroughTls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// Notes when something arrives; passes everything through.
#[derive(Debug)]
struct Watched<T> {
    stream: T,
    heard: Arc<Heard>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.mark();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
