//! TCP to the target: straight, or through an HTTP proxy that is asked to CONNECT.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::dial::{Proxy, Target, connect};
use crate::failure::{Failure, FailureKind};

/// A proxy's answer to CONNECT is a status line and a few headers.
const MAX_PROXY_ANSWER: usize = 16 << 10;

/// A TCP connection to the target, straight or through a proxy.
#[derive(Debug)]
pub(crate) enum Tunnel {
    Direct(TcpStream),
    ThroughTls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Tunnel {
    /// Through `proxy`.
    pub(crate) async fn open(proxy: &Proxy, target: &Target) -> Result<Self, Failure> {
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
        self.flush().await.map_err(|error| error.to_string())?;
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
        match (words.next(), words.next().map(str::as_bytes)) {
            (Some(version), Some([b'2', _, _])) if version.starts_with("HTTP/1.") => Ok(()),
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
