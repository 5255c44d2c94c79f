//! TCP to the target: straight, or through an HTTP proxy that is asked to CONNECT.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dgsm_leg::reason::Reason;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::dial::{Proxy, Stage, Step, Target, connect, verdict};
use crate::failure::{Failure, FailureKind};

/// A proxy's answer to CONNECT is a status line and a few headers.
const MAX_PROXY_ANSWER: usize = 16 << 10;

/// How every answer to CONNECT begins.
const VERSION: &[u8] = b"HTTP/1.";
/// How long something else may take to say more, for the message.
const MORE: Duration = Duration::from_millis(100);

/// A TCP connection to the target, straight or through a proxy.
#[derive(Debug)]
pub(crate) enum Tunnel {
    Direct(TcpStream),
    ThroughTls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Tunnel {
    /// Through `proxy`.
    pub(crate) async fn open(
        proxy: &Proxy,
        target: &Target,
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
            // A proxy is spoken to in HTTP/1.1; offering h2 would get us h2.
            let mut config = (*target.tls).clone();
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
        tunnel.ask(proxy, target).await.map_err(failed)?;
        Ok(tunnel)
    }

    /// Asks the proxy to connect, and reads its answer up to the empty line and no further.
    async fn ask(&mut self, proxy: &Proxy, target: &Target) -> Result<(), (Reason, String)> {
        // What breaks off may be different the next time.
        let broken = |error: std::io::Error| (Reason::ProxyFailed, error.to_string());
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
                // Not worth waiting for its end: there may be none.
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

/// What a proxy's answer to CONNECT means.
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
        // 511: somebody has to log in to the network first.
        Some(403 | 511) => Reason::ProxyDenied,
        // Not now.
        Some(408 | 425 | 429 | 500 | 502..=504 | 506..=599) => Reason::ProxyFailed,
        // Not this, whenever it is asked; 501 and 505 are of this kind.
        Some(100..=599) => Reason::ProxyRefused,
        Some(_) | None => Reason::ProxyNonsense,
    };
    Err((reason, said))
}

/// The ways to authenticate that a proxy offers.
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
