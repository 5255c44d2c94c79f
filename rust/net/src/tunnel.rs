//! TCP to the target: straight, or through an HTTP proxy that is asked to CONNECT.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dgsm_leg::reason::Reason;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::failure::{Failure, FailureKind};
use crate::stage::{Stage, Step};
use crate::tls::verdict;

/// A proxy's answer to CONNECT is a status line and a few headers.
const MAX_PROXY_ANSWER: usize = 16 << 10;

/// The time after which the next address is tried as well (RFC 8305).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How every answer to CONNECT begins.
const VERSION: &[u8] = b"HTTP/1.";
/// How long an answer that is not HTTP may take to say more, for the message.
const MORE: Duration = Duration::from_millis(100);

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

/// A TCP connection to the target, straight or through a proxy.
#[derive(Debug)]
pub(crate) enum Tunnel {
    Direct(TcpStream),
    ThroughTls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Tunnel {
    /// Connects through `proxy`.
    pub(crate) async fn open(
        proxy: &Proxy,
        to: (&str, u16),
        trust: &ClientConfig,
        stage: &Stage,
    ) -> Result<Self, Failure> {
        let failed = |(reason, detail): (Reason, String)| {
            Failure::new(
                FailureKind::Proxy,
                format!("proxy {}:{}: {detail}", proxy.host, proxy.port),
            )
            .because(reason)
        };
        stage.at(Step::ProxyTcp);
        let tcp = connect(&proxy.host, proxy.port)
            .await
            .map_err(|failure| failed((Reason::ProxyUnreachable, failure.detail)))?;
        let mut tunnel = if proxy.tls {
            stage.at(Step::ProxyTls);
            let name = ServerName::try_from(proxy.host.clone())
                .map_err(|error| failed((Reason::ProxyTls, error.to_string())))?;
            // A proxy is spoken to in HTTP/1.1. Offering h2 would lead to h2.
            let mut config = trust.clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let stream = TlsConnector::from(Arc::new(config))
                .connect(name, tcp)
                .await
                .map_err(|error| {
                    let reason = match verdict(&error).0 {
                        FailureKind::TlsVerify => Reason::ProxyCertificate,
                        FailureKind::Connect => Reason::ProxyFailed,
                        _ => Reason::ProxyTls,
                    };
                    failed((reason, error.to_string()))
                })?;
            Self::ThroughTls(Box::new(stream))
        } else {
            Self::Direct(tcp)
        };
        stage.at(Step::Connect);
        tunnel.ask(proxy, to).await.map_err(failed)?;
        Ok(tunnel)
    }

    /// Asks the proxy to connect, and reads its answer up to the empty line and no further.
    async fn ask(&mut self, proxy: &Proxy, to: (&str, u16)) -> Result<(), (Reason, String)> {
        // A connection that breaks may hold the next time.
        let broken = |error: std::io::Error| (Reason::ProxyFailed, error.to_string());
        let (host, port) = to;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(authorization) = &proxy.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        self.write_all(request.as_bytes()).await.map_err(broken)?;
        self.flush().await.map_err(broken)?;
        let mut answer = Vec::with_capacity(256);
        // Byte by byte: what follows the empty line belongs to TLS.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == MAX_PROXY_ANSWER {
                let detail = "its answer to CONNECT has no end".to_owned();
                return Err((Reason::ProxyNonsense, detail));
            }
            answer.push(self.read_u8().await.map_err(broken)?);
            let known = answer.len().min(VERSION.len());
            if answer[..known] != VERSION[..known] {
                // Its end is not waited for: there may be none.
                let mut more = [0; 64];
                let read = timeout(MORE, self.read(&mut more)).await;
                answer.extend_from_slice(&more[..read.map_or(0, |read| read.unwrap_or(0))]);
                let said = String::from_utf8_lossy(&answer);
                return Err((Reason::ProxyNonsense, format!("it answered {said:?}")));
            }
        }
        judge(&String::from_utf8_lossy(&answer), proxy)
    }
}

/// Connects to the first of the host's addresses that answers. The next one is tried as well after
/// [`NEXT_ADDRESS`].
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
                    // A chunk is one small segment, and must not wait for the last one's TCP ack.
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

/// Returns the failure of a TCP connect. A connection that is accepted and reset at once may never
/// be seen as accepted.
fn unconnected(error: &std::io::Error, detail: String) -> Failure {
    let failure = Failure::new(FailureKind::Connect, detail);
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::NotConnected => {
            failure.because(Reason::HandshakeCut)
        }
        _ => failure,
    }
}

/// Judges a proxy's answer to CONNECT.
fn judge(answer: &str, proxy: &Proxy) -> Result<(), (Reason, String)> {
    let mut lines = answer.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut words = line.split_ascii_whitespace();
    let status = words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))
        .and_then(|_| words.next())
        .filter(|status| status.len() == 3)
        .and_then(|status| status.parse::<u16>().ok());
    let mut said = format!("it answered \"{line}\" to CONNECT");
    let reason = match status {
        Some(200..=299) => return Ok(()),
        Some(401 | 407) => {
            let schemes = schemes(lines);
            if !schemes.is_empty() {
                said = format!("{said}, and offers {}", schemes.join(", "));
            }
            if proxy.authorization.is_some() {
                Reason::ProxyPassword
            } else {
                Reason::ProxyWantsPassword
            }
        }
        // 511: the network wants a login first.
        Some(403 | 511) => Reason::ProxyDenied,
        // Later it may work.
        Some(408 | 425 | 429 | 500 | 502..=504 | 506..=599) => Reason::ProxyFailed,
        // It never works, as with 501 and 505.
        Some(100..=599) => Reason::ProxyRefused,
        Some(_) | None => Reason::ProxyNonsense,
    };
    Err((reason, said))
}

/// Returns the ways to authenticate that a proxy offers, at most four.
fn schemes<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    headers
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| {
            name.eq_ignore_ascii_case("proxy-authenticate")
                || name.eq_ignore_ascii_case("www-authenticate")
        })
        .filter_map(|(_, value)| value.split_ascii_whitespace().next())
        .take(4)
        .collect()
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
