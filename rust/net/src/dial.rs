//! One connection: TCP, a proxy where there is one, TLS, HTTP/2.
//!
//! ```text
//! resolve ─▶ TCP ─▶ [CONNECT] ─▶ TLS (ALPN h2) ─▶ preface ─▶ first frame heard
//! └──────────────────── connection_timeout ────────────────────────────┘
//! ```
//! The request does not wait for the peer's first frame, which would cost a round trip. The
//! deadline covers it, see [`Line::heard`].

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dgsm_leg::reason::Reason;
use h2::client::{Builder, SendRequest};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::connection::{Connection, Line, Ping, Watched};
use crate::engine::Engine;
use crate::failure::{Failure, FailureKind};
use crate::stage::{Stage, Step};
use crate::tls::verdict;
use crate::tunnel::{Proxy, Tunnel, connect};

/// What one stream may send before it is read. Results are small, audio from Aura is not.
const STREAM_WINDOW: u32 = 1 << 20;
/// The most that a window can be.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// What h2 may hold of a stream's output while TCP does not take it. It is small because it counts
/// as sent: the queue is the journal.
const SEND_BUFFER: usize = 64 << 10;
/// The largest headers or trailers of an answer, as HTTP/2 counts them. The service's take less
/// than 2 KiB. Larger ones reset the stream; ones four times as large end the connection.
pub const MAX_HEADERS: u32 = 64 << 10;
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
    /// The file that `tls` trusts in place of the system's store: a refusal names it.
    pub bundle: Option<PathBuf>,
    /// When a silent peer is pinged, and how long it has to answer.
    pub ping: Ping,
}

/// Dials a connection that `streams` are to share. The caller has the deadline.
///
/// # Errors
/// Anything that keeps the connection from speaking HTTP/2.
pub async fn dial(
    target: &Target,
    streams: usize,
    engine: &Arc<Engine>,
    stage: &Stage,
) -> Result<Connection, Failure> {
    let dialled = Instant::now();
    let tcp = if let Some(proxy) = &target.proxy {
        let to = (target.host.as_str(), target.port);
        Tunnel::open(proxy, to, &target.tls, stage).await?
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
                // The peer agreed to HTTP/2 a moment ago.
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

/// Begins HTTP/2 on an open connection that `streams` are to share.
pub(crate) async fn http2<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    streams: usize,
    line: &Arc<Line>,
) -> Result<(SendRequest<Bytes>, h2::client::Connection<Watched<T>>), h2::Error> {
    Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        // A stream that is not read must not take the other streams' share.
        .initial_connection_window_size(u32::try_from(streams).map_or(MAX_WINDOW, |streams| {
            STREAM_WINDOW.saturating_mul(streams).min(MAX_WINDOW)
        }))
        .max_header_list_size(MAX_HEADERS)
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(Watched::new(stream, Arc::clone(line), streams > 1))
        .await
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

/// Returns the failure of a TLS handshake with `host`.
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
