//! One HTTP/2 connection while it is up: driven, watched, pinged.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::clock::later;
use crate::engine::Engine;
use crate::failure::{Failure, FailureKind};
use crate::tls::refused_late;

/// When a connection counts as dead.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    /// The silence after which the peer is pinged.
    pub after: Duration,
    /// The time that the peer has to answer before it counts as dead.
    pub within: Duration,
}

/// An HTTP/2 connection. It closes when this and every stream opened on it are gone.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: Arc<SendRequest<Bytes>>,
    line: Arc<Line>,
    dialled: Instant,
}

impl Connection {
    /// Drives `connection` to its end, on the engine.
    pub(crate) fn spawn<T>(
        requests: SendRequest<Bytes>,
        mut connection: h2::client::Connection<Watched<T>>,
        line: Arc<Line>,
        ping: Ping,
        dialled: Instant,
        engine: &Arc<Engine>,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let requests = Arc::new(requests);
        let (heard, weak) = (Arc::clone(&line), Arc::downgrade(&requests));
        // The engine stays until everything is flushed, also when the last session is gone.
        let held = Arc::clone(engine);
        // By reference: a task holds twice the size of what it is given by value.
        engine.handle().spawn(async move {
            drive(&mut connection, ping, &heard, &weak).await;
            drop(held);
        });
        Self {
            requests,
            line,
            dialled,
        }
    }

    /// Returns what opens a stream.
    #[must_use]
    pub fn requests(&self) -> SendRequest<Bytes> {
        (*self.requests).clone()
    }

    /// Returns how many streams the peer allows at a time.
    #[must_use]
    pub fn max_streams(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Returns what is known of the peer.
    #[must_use]
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Returns when the dial began.
    #[must_use]
    pub fn dialled(&self) -> Instant {
        self.dialled
    }
}

/// What a connection's driver has seen of the peer.
#[derive(Debug, Default)]
pub struct Line {
    /// Bytes have arrived since the driver's last check.
    fresh: AtomicBool,
    heard: AtomicBool,
    /// Why no stream can be opened any more: GOAWAY, or the connection's end.
    farewell: OnceLock<Failure>,
    changed: Notify,
}

impl Line {
    /// Returns once the peer has sent something in HTTP/2.
    pub async fn heard(&self) {
        self.until(|| self.heard.load(Ordering::Acquire)).await;
    }

    /// Returns once no further stream can be opened here, with the reason.
    pub async fn leaving(&self) -> &Failure {
        loop {
            self.until(|| self.farewell.get().is_some()).await;
            if let Some(farewell) = self.farewell.get() {
                return farewell;
            }
        }
    }

    /// Returns whether no further stream can be opened here.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.farewell.get().is_some()
    }

    /// Returns the connection's failure in place of a stream's that went down with it: the stream
    /// does not know why.
    #[must_use]
    pub fn explain(&self, failure: Failure) -> Failure {
        match self.farewell.get() {
            Some(farewell) if failure.kind == FailureKind::Dropped => farewell.clone(),
            _ => failure,
        }
    }

    async fn until(&self, happened: impl Fn() -> bool) {
        loop {
            // Made before the check, so that no change after it is missed.
            let changed = self.changed.notified();
            if happened() {
                return;
            }
            changed.await;
        }
    }

    fn hear(&self) {
        if !self.heard.swap(true, Ordering::AcqRel) {
            self.changed.notify_waiters();
        }
    }

    fn leave(&self, farewell: Failure) {
        if self.farewell.set(farewell).is_ok() {
            self.changed.notify_waiters();
        }
    }
}

/// Runs a connection to its end.
///
/// A peer is pinged after a silence of `ping.after`, and counts as dead when nothing comes within
/// another `ping.within`.
async fn drive<T>(
    connection: &mut h2::client::Connection<Watched<T>>,
    ping: Ping,
    line: &Line,
    requests: &Weak<SendRequest<Bytes>>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Some(mut pings) = connection.ping_pong() else {
        // Taken nowhere else.
        return;
    };
    let mut heard_at = Instant::now();
    let mut pinged = false;
    let mut timer = pin!(sleep_until(later(heard_at, ping.after)));
    let farewell = std::future::poll_fn(|cx| {
        let polled = Pin::new(&mut *connection).poll(cx);
        if line.fresh.swap(false, Ordering::Relaxed) {
            line.hear();
            heard_at = Instant::now();
            if pinged {
                pinged = false;
                timer.as_mut().reset(later(heard_at, ping.after));
            }
            if !line.is_leaving()
                && let Some(farewell) = requests.upgrade().and_then(|up| refusal(&up, cx))
            {
                line.leave(farewell);
            }
        }
        if let Poll::Ready(result) = polled {
            return Poll::Ready(match result {
                Ok(()) => Failure::new(FailureKind::Dropped, "the peer closed the connection"),
                Err(error) => Failure::from_h2(&error),
            });
        }
        // The timer is not moved with every read. When it elapses it checks when the last read was.
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let silent = now.saturating_duration_since(heard_at);
            if pinged {
                return Poll::Ready(Failure::new(
                    FailureKind::Dropped,
                    format!("the peer was silent for {silent:?}, and did not answer a PING"),
                ));
            }
            if silent < ping.after {
                timer.as_mut().reset(later(heard_at, ping.after));
                continue;
            }
            // h2 wants the last PONG taken before the next PING.
            let _ = pings.poll_pong(cx);
            // It fails when the connection has ended, and the poll above says so.
            let _ = pings.send_ping(h2::Ping::opaque());
            pinged = true;
            timer.as_mut().reset(later(now, ping.within));
        }
        Poll::Pending
    })
    .await;
    // Before the streams see the end of their connection.
    line.leave(farewell);
}

/// Returns why no stream can be opened. h2 does not report a GOAWAY by itself.
fn refusal(requests: &SendRequest<Bytes>, cx: &mut Context<'_>) -> Option<Failure> {
    match requests.clone().poll_ready(cx) {
        Poll::Ready(Err(error)) => Some(Failure::from_h2(&error)),
        Poll::Ready(Ok(())) | Poll::Pending => None,
    }
}

/// A connection's bytes. Notes that some arrive, and reports their end one poll late.
///
/// h2 forgets that a stream has ended in order when it learns that the connection has ended before
/// the stream's reader has seen the end. So every task that is ready runs before the next poll.
///
/// Where streams share the connection their frames are written together. h2 copies small frames
/// into one buffer only for a writer without vectors, and writes the head of a large frame by
/// itself; here the head waits for the rest. A stream that is alone has nothing to be merged with,
/// and its frames are not copied.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    stream: BufWriter<T>,
    line: Arc<Line>,
    end: Option<io::Result<()>>,
    is_shared: bool,
}

impl<T: AsyncWrite> Watched<T> {
    /// The size of one frame: h2 flushes after each frame that it has not copied.
    const MERGED: usize = 17 << 10;

    pub(crate) fn new(stream: T, line: Arc<Line>, is_shared: bool) -> Self {
        let room = if is_shared { Self::MERGED } else { 0 };
        Self {
            stream: BufWriter::with_capacity(room, stream),
            line,
            end: None,
            is_shared,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(end) = self.end.take() {
            return Poll::Ready(end);
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.line.fresh.store(true, Ordering::Relaxed);
            return polled;
        }
        if let Poll::Ready(end) = polled {
            // h2 keeps an error's text and loses its type.
            if let Some(refused) = end.as_ref().err().and_then(refused_late) {
                self.line.leave(refused);
            }
            self.end = Some(end);
            // Not woken at once: a reader that another thread has just woken is in a queue that comes
            // after this one.
            let _ = pin!(yield_now()).poll(cx);
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        !self.is_shared && self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
