//! A layer between h2 and TLS: it injects HTTP/2 frames that h2 would never write, and can end the
//! connection with a TCP RST.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

const FRAME_HEADER: usize = 9;

/// Orders to a connection.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    injecting: AtomicBool,
    injection: Mutex<Vec<u8>>,
    reset_on_close: AtomicBool,
}

impl Orders {
    /// Writes a `GOAWAY` frame at the next boundary between frames, once h2 writes its next frame.
    pub(crate) fn go_away(&self, last_stream: u32, code: u32) {
        let mut frame = vec![0, 0, 8, 7, 0, 0, 0, 0, 0];
        frame.extend_from_slice(&last_stream.to_be_bytes());
        frame.extend_from_slice(&code.to_be_bytes());
        self.injection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(&frame);
        self.injecting.store(true, Relaxed);
    }

    /// Makes closing the connection a TCP RST.
    pub(crate) fn reset_on_close(&self) {
        self.reset_on_close.store(true, Relaxed);
    }
}

/// Follows the frames in the bytes written.
#[derive(Debug, Default)]
struct Boundary {
    header: [u8; FRAME_HEADER],
    seen: usize,
    payload_left: usize,
}

impl Boundary {
    fn is_at_one(&self) -> bool {
        self.seen == 0 && self.payload_left == 0
    }

    /// Returns how many bytes certainly belong to the current frame.
    fn left(&self) -> usize {
        if self.payload_left > 0 {
            self.payload_left
        } else {
            FRAME_HEADER - self.seen
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let step = bytes.len().min(self.left());
            if self.payload_left > 0 {
                self.payload_left -= step;
            } else {
                self.header[self.seen..self.seen + step].copy_from_slice(&bytes[..step]);
                self.seen += step;
                if self.seen == FRAME_HEADER {
                    self.seen = 0;
                    let [high, middle, low, ..] = self.header;
                    self.payload_left = u32::from_be_bytes([0, high, middle, low]) as usize;
                }
            }
            bytes = &bytes[step..];
        }
    }
}

/// A TLS connection with [`Orders`].
#[derive(Debug)]
pub(crate) struct Tap {
    io: TlsStream<TcpStream>,
    orders: Arc<Orders>,
    boundary: Boundary,
}

impl Tap {
    pub(crate) fn new(io: TlsStream<TcpStream>, orders: Arc<Orders>) -> Self {
        Self {
            io,
            orders,
            boundary: Boundary::default(),
        }
    }

    /// Writes the injected frames if the last frame is complete.
    fn poll_inject(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.orders.injecting.load(Relaxed) && self.boundary.is_at_one() {
            let mut injection = self
                .orders
                .injection
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if injection.is_empty() {
                self.orders.injecting.store(false, Relaxed);
                break;
            }
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &injection))?;
            injection.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if self.orders.reset_on_close.load(Relaxed) {
            // If this fails the peer gets a FIN instead, as from a process that was killed.
            let _ = self.io.get_ref().0.set_zero_linger();
        }
    }
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_inject(cx))?;
        let end = if self.orders.injecting.load(Relaxed) {
            buf.len().min(self.boundary.left())
        } else {
            buf.len()
        };
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, &buf[..end]))?;
        self.boundary.advance(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.orders.injecting.load(Relaxed) {
            let first = bufs
                .iter()
                .find(|buf| !buf.is_empty())
                .map_or(&[][..], |buf| &**buf);
            return self.poll_write(cx, first);
        }
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let step = left.min(buf.len());
            self.boundary.advance(&buf[..step]);
            left -= step;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_followed_through_any_pieces() {
        let frames = [
            &[0, 0, 3, 0, 0, 0, 0, 0, 1, 7, 7, 7][..],
            &[0, 0, 0, 4, 1, 0, 0, 0, 0],
        ];
        for size in 1..21 {
            let (mut boundary, mut at, mut found) = (Boundary::default(), 0, Vec::new());
            for piece in frames.concat().chunks(size) {
                boundary.advance(piece);
                at += piece.len();
                if boundary.is_at_one() {
                    found.push(at);
                }
            }
            assert_eq!(found.last(), Some(&21), "in pieces of {size}");
            assert!(found.iter().all(|at| [12, 21].contains(at)));
        }
    }
}
