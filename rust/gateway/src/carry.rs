//! A WebSocket, carried over a session.
//!
//! ```text
//! client ─ frames ─▶ WebSocket ─ push ─▶ session's journal ─▶ legs
//! client ◀─ frames ─ WebSocket ◀─ next ─ session's inbox ◀── legs
//! ```
//! Each side is as fast as the other. A session without room is not pushed to, so the socket is not
//! read, and TCP holds the client back. A client that does not read fills the socket, so the inbox is
//! not read, and the session holds the service back.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use dgsm_net::session::{Next, SharedSession};
use dgsm_net::wake::outbox::Pumped as _;
use dgsm_session::PushError;
use futures_util::{Sink as _, Stream as _, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WebSocketFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::close::{Broken, Ending, judge};
use crate::desk::By;
use crate::gate::Limits;
use crate::line::{Line, Moved};
use crate::serve::Accepted;
use crate::talk::Talk;

/// Bytes that are read at a time, and that a quiet connection keeps.
const READ: usize = 4 << 10;
/// Bytes that are written at a time, at least, while there is more.
const WRITE: usize = 16 << 10;
/// The most messages of a client that are taken at a time: others have their turn.
const AT_ONCE: usize = 32;
/// How long a session that is over waits for the word how to close.
const WORD_WITHIN: Duration = Duration::from_secs(10);
/// How long a client that broke the protocol may read why.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection is no longer carried.
enum Why {
    /// The client has closed.
    Closed(Option<u16>),
    /// It broke, or the client did.
    Broken(Broken),
    /// This side closes.
    Ends(Ending),
}

impl From<Error> for Why {
    fn from(error: Error) -> Self {
        Self::Broken(judge(&error))
    }
}

/// Carries a connection to its end.
pub(crate) async fn carry(line: Line, accepted: Accepted, limits: Limits) {
    let Accepted { talk, session } = accepted;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(WRITE)
        .max_message_size(Some(limits.max_message))
        .max_frame_size(Some(limits.max_message));
    // Not `from_partially_read`: its buffer would grow by single frames, two reads for each.
    let socket = WebSocketStream::from_raw_socket(line, Role::Server, Some(config)).await;
    let mut carry = Carry {
        socket,
        session,
        talk,
        held: None,
        is_unflushed: false,
        is_blocked: false,
        pings: 0,
        is_asked: false,
        moved: Moved::default(),
        over_since: None,
        tick: limits.ping_interval / 2,
        answer_within: limits.ping_timeout,
        timer: Box::pin(sleep(limits.ping_interval / 2)),
    };
    let why = poll_fn(|cx| carry.poll(cx)).await;
    carry.finish(why, limits.close_within).await;
}

struct Carry {
    socket: WebSocketStream<Line>,
    session: Arc<SharedSession>,
    talk: Talk,
    /// Taken from the client; the session has no room for it yet.
    held: Option<Frame>,
    /// Something was written that the socket may not have yet.
    is_unflushed: bool,
    /// The socket takes no more.
    is_blocked: bool,
    /// The client's pings since everything was written last: each is answered.
    pings: usize,
    /// The client has been asked whether it is there, and has not shown itself since.
    is_asked: bool,
    /// What had gone each way at the last tick.
    moved: Moved,
    /// Since when the session is over and nothing is left for the client.
    over_since: Option<Instant>,
    tick: Duration,
    answer_within: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Carry {
    /// Carries what there is. Ready when that is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        // Before the session is asked: a change after the question wakes this task.
        self.session.listen(cx.waker());
        if let Poll::Ready(why) = self.poll_in(cx) {
            return Poll::Ready(why);
        }
        match self.poll_out(cx) {
            Poll::Ready(Err(error)) => return Poll::Ready(error.into()),
            Poll::Ready(Ok(())) => {
                if let Some(ending) = self.talk.request.ending() {
                    return Poll::Ready(Why::Ends(ending.clone()));
                }
            }
            Poll::Pending => {}
        }
        self.poll_timer(cx)
    }

    /// Takes what the client sends, while the session has room.
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        let mut pushed = false;
        let mut taken = 0;
        let why = loop {
            if let Some(frame) = self.held.take() {
                match self.session.push(frame.clone()) {
                    Ok(()) => pushed = true,
                    Err(PushError::Full) => {
                        self.held = Some(frame);
                        break Poll::Pending;
                    }
                    // The session's input has ended. How it ended is said at its end.
                    Err(PushError::Closed | PushError::Failed) => {}
                }
            }
            if taken == AT_ONCE {
                cx.waker().wake_by_ref();
                break Poll::Pending;
            }
            if self.pings >= AT_ONCE {
                // The answers would be kept without bound for a client that does not read them.
                break Poll::Pending;
            }
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(None) => break Poll::Ready(Why::Broken(Broken::Lost)),
                Poll::Ready(Some(Err(error))) => break Poll::Ready(error.into()),
                Poll::Ready(Some(Ok(message))) => message,
            };
            taken += 1;
            let frame = match message {
                Message::Text(text) => Frame::Text(text.into()),
                Message::Binary(data) => Frame::Binary(data),
                Message::Close(close) => {
                    let code = close.map(|close| close.code.into());
                    break Poll::Ready(Why::Closed(code));
                }
                // The library has answered, if the socket takes it.
                Message::Ping(_) => {
                    self.pings += 1;
                    self.is_unflushed = true;
                    continue;
                }
                // It returns no frames.
                Message::Pong(_) | Message::Frame(_) => continue,
            };
            self.talk.heard(frame.len());
            self.held = Some(frame);
        };
        if pushed {
            self.session.notify_pumps();
        }
        why
    }

    /// Writes what the session has for the client, while the socket takes it. Ready when all of it is
    /// written.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.is_blocked = true;
                    return Poll::Pending;
                }
            }
            match self.session.next() {
                Next::Message(frame) => {
                    self.talk.said(frame.len());
                    let (data, kind) = match frame {
                        Frame::Text(text) => (text, Data::Text),
                        Frame::Binary(data) => (data, Data::Binary),
                    };
                    // As a frame: text was checked when it came, and is not checked again.
                    let frame = WebSocketFrame::message(data, OpCode::Data(kind), true);
                    self.is_unflushed = true;
                    Pin::new(&mut self.socket).start_send(Message::Frame(frame))?;
                }
                Next::Nothing => break,
                Next::Over => {
                    if self.over_since.is_none() {
                        let now = Instant::now();
                        self.over_since = Some(now);
                        self.timer.as_mut().reset(now + WORD_WITHIN);
                    }
                    break;
                }
            }
        }
        if self.is_unflushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => {
                    self.is_blocked = true;
                    return Poll::Pending;
                }
            }
            self.is_unflushed = false;
        }
        if std::mem::take(&mut self.pings) >= AT_ONCE {
            // The input waited for this.
            cx.waker().wake_by_ref();
        }
        self.is_blocked = false;
        Poll::Ready(Ok(()))
    }

    /// Keeps the clock: is the client there, and does a session that is over have its last word?
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let is_late = |since: Instant| since.elapsed() >= WORD_WITHIN;
            if self.over_since.is_some_and(is_late) && self.talk.request.ending().is_none() {
                return Poll::Ready(Why::Ends(Ending::unexplained()));
            }
            let wait = if self.shows_itself() {
                self.is_asked = false;
                self.tick
            } else if std::mem::replace(&mut self.is_asked, true) {
                return Poll::Ready(Why::Broken(Broken::Lost));
            } else {
                if !self.is_blocked {
                    let ping = Message::Ping(Bytes::new());
                    if let Err(error) = Pin::new(&mut self.socket).start_send(ping) {
                        return Poll::Ready(error.into());
                    }
                    self.is_unflushed = true;
                    // The next poll flushes it.
                    cx.waker().wake_by_ref();
                }
                self.answer_within
            };
            self.timer.as_mut().reset(Instant::now() + wait);
        }
    }

    /// Returns whether the client has shown since the last tick that it is there.
    ///
    /// Bytes count, not messages: one message may take minutes. What was sent counts only where the
    /// socket was full of it, because only then did the client take any.
    fn shows_itself(&mut self) -> bool {
        let moved = self.socket.get_ref().moved();
        let before = std::mem::replace(&mut self.moved, moved);
        if moved.received > before.received {
            return true;
        }
        if self.is_blocked {
            return moved.sent > before.sent;
        }
        // While the client is not read, its silence says nothing.
        self.held.is_some()
    }

    /// Ends the connection in order, as far as the client allows.
    async fn finish(self, why: Why, within: Duration) {
        let Self {
            mut socket,
            session,
            mut talk,
            ..
        } = self;
        match why {
            Why::Broken(Broken::Lost) => talk.ends(By::Lost, None),
            Why::Closed(code) => {
                talk.ends(By::Client, code);
                // Nobody listens any more. The answer to the client's close frame is on its way.
                drop(talk);
                let _ = timeout(within, async { while socket.next().await.is_some() {} }).await;
                socket.into_inner().leave(LINGER).await;
            }
            Why::Broken(Broken::Violation(ending)) => {
                talk.ends(By::Gateway, Some(ending.code));
                drop(talk);
                let _ = timeout(within, socket.close(Some(ending.frame()))).await;
                socket.into_inner().leave(LINGER).await;
            }
            Why::Ends(ending) => {
                let frame = ending.frame();
                talk.ends(By::Gateway, Some(frame.code.into()));
                session.abort();
                let _ = timeout(within, async {
                    socket.close(Some(frame)).await?;
                    while let Some(message) = socket.next().await {
                        message?;
                    }
                    Ok::<_, Error>(())
                })
                .await;
                drop(talk);
                socket.into_inner().leave(LINGER).await;
            }
        }
    }
}
