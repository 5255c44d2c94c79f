//! The bytes to and from a client: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The bytes to and from a client.
pub(crate) struct Line {
    wire: Wire,
    /// What was read already, and is to be read again.
    ahead: Bytes,
    /// Bytes that came from the client, and that its side has taken.
    moved: Moved,
}

/// How many bytes have gone each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Line {
    /// Returns the line of a connection.
    pub(crate) async fn begin(
        stream: TcpStream,
        tls: Option<&TlsAcceptor>,
        by: Instant,
    ) -> Option<Self> {
        let wire = match tls {
            None => Wire::Plain(stream),
            Some(acceptor) => {
                let accepted = timeout_at(by, acceptor.accept(stream)).await;
                Wire::Tls(Box::new(accepted.ok()?.ok()?))
            }
        };
        let ahead = Bytes::new();
        Some(Self {
            wire,
            ahead,
            moved: Moved::default(),
        })
    }

    /// Has bytes read again before any others.
    pub(crate) fn put_back(&mut self, ahead: Bytes) {
        self.ahead = ahead;
    }

    /// Returns how many bytes have gone each way.
    pub(crate) fn moved(&self) -> Moved {
        self.moved
    }

    /// Ends the output, and waits for the client to end the input.
    pub(crate) async fn leave(mut self, within: Duration) {
        let _ = timeout(within, async {
            self.shutdown().await?;
            let mut rest = [0; 1024];
            while self.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }
}

impl AsyncRead for Line {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { wire, ahead, moved } = self.get_mut();
        if !ahead.is_empty() {
            let now = ahead.split_to(ahead.len().min(buf.remaining()));
            buf.put_slice(&now);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = match wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        moved.received += (buf.filled().len() - before) as u64;
        polled
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { wire, moved, .. } = self.get_mut();
        let polled = match wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        };
        if let Poll::Ready(Ok(written)) = polled {
            moved.sent += written as u64;
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
