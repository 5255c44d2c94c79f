//! The queue of a leg's response, sent as fast as the client's window allows.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dgsm_leg::frame::Frame;
use dgsm_wire::payload_part::{Completion, DataType, MAX_PART, PayloadPart};
use h2::{Reason, SendStream};
use tokio::time::{Instant, sleep_until};

/// Queued bytes beyond which the leg takes no more input, so that no further replies are made.
const LIMIT: usize = 4 * 1024 * 1024;

/// Encoded events: all of one message, or bytes that are no message.
#[derive(Debug)]
struct Item {
    due: Option<Instant>,
    bytes: Bytes,
    /// The message's bytes before encoding; `None`: not a message.
    message: Option<usize>,
    /// Part of it is sent, so the rest has to follow.
    begun: bool,
}

/// Whether the response ends after what is queued.
#[derive(Clone, Copy, Debug, Default)]
enum End {
    #[default]
    Open,
    Queued {
        due: Option<Instant>,
    },
}

/// The queue of one leg's response.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    items: VecDeque<Item>,
    queued: usize,
    end: End,
    /// Bytes of one payload part; `None`: the largest that the format allows.
    pub(crate) part_size: Option<usize>,
    /// How late everything is sent.
    pub(crate) late: Duration,
}

/// Why sending stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// A message of this number of bytes is sent.
    Message(usize),
    /// The response has ended.
    Ended,
    /// The client has reset the stream.
    Reset(Reason),
    /// The connection is gone.
    Gone,
}

impl Outbound {
    /// Queues a message of the model.
    pub(crate) fn message(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        let size = self.part_size.unwrap_or(MAX_PART).max(1);
        let data_type = Some(if frame.is_text() {
            DataType::Utf8
        } else {
            DataType::Binary
        });
        let mut rest = frame.bytes().clone();
        loop {
            // A cut within a character does no harm: the parts are joined before they are read.
            let data = rest.split_to(rest.len().min(size));
            let completion = if rest.is_empty() {
                Completion::Complete
            } else {
                Completion::Partial
            };
            let part = PayloadPart {
                data,
                data_type,
                completion,
            };
            // Never too long: parts are within the format's limit.
            let _ = part.encode(&mut bytes);
            if completion == Completion::Complete {
                break;
            }
        }
        self.push(bytes.freeze(), Some(frame.len()));
    }

    /// Queues bytes that are not a message.
    pub(crate) fn raw(&mut self, bytes: impl Into<Bytes>) {
        self.push(bytes.into(), None);
    }

    fn push(&mut self, bytes: Bytes, message: Option<usize>) {
        if matches!(self.end, End::Open) {
            self.queued += bytes.len();
            self.items.push_back(Item {
                due: self.due(),
                bytes,
                message,
                begun: false,
            });
        }
    }

    /// Ends the response after what is queued.
    pub(crate) fn end(&mut self) {
        if matches!(self.end, End::Open) {
            self.end = End::Queued { due: self.due() };
        }
    }

    /// Drops what is queued, except the rest of an item that is partly sent.
    pub(crate) fn skip(&mut self) {
        let begun = self.items.pop_front().filter(|item| item.begun);
        self.clear();
        if let Some(item) = begun {
            self.queued = item.bytes.len();
            self.items.push_back(item);
        }
    }

    /// Drops what is queued.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.queued = 0;
    }

    fn due(&self) -> Option<Instant> {
        (!self.late.is_zero()).then(|| Instant::now() + self.late)
    }

    /// Returns whether the client reads too slowly for more replies.
    pub(crate) fn is_full(&self) -> bool {
        self.queued >= LIMIT
    }

    /// Sends until something happens that the leg has to know. Cancel-safe: it may be dropped and
    /// called again.
    pub(crate) async fn pump(&mut self, stream: &mut SendStream<Bytes>) -> Pumped {
        loop {
            let Some(item) = self.items.front_mut() else {
                let End::Queued { due } = self.end else {
                    return gone(stream).await;
                };
                if let Some(over) = wait(due, stream).await {
                    return over;
                }
                return match stream.send_data(Bytes::new(), true) {
                    Ok(()) => Pumped::Ended,
                    Err(_) => Pumped::Gone,
                };
            };
            if let Some(over) = wait(item.due, stream).await {
                return over;
            }
            while !item.bytes.is_empty() {
                stream.reserve_capacity(item.bytes.len());
                let capacity = poll_fn(|cx| match stream.poll_reset(cx) {
                    Poll::Ready(reset) => Poll::Ready(Err(over(reset))),
                    Poll::Pending => stream.poll_capacity(cx).map(|capacity| match capacity {
                        Some(Ok(capacity)) => Ok(capacity),
                        Some(Err(_)) | None => Err(Pumped::Gone),
                    }),
                });
                let capacity = match capacity.await {
                    Ok(capacity) => capacity,
                    Err(over) => return over,
                };
                if capacity == 0 {
                    continue;
                }
                let piece = item.bytes.split_to(capacity.min(item.bytes.len()));
                self.queued -= piece.len();
                item.begun = true;
                if stream.send_data(piece, false).is_err() {
                    return Pumped::Gone;
                }
            }
            let message = item.message;
            self.items.pop_front();
            if let Some(length) = message {
                return Pumped::Message(length);
            }
        }
    }
}

fn over(reset: Result<Reason, h2::Error>) -> Pumped {
    reset.map_or(Pumped::Gone, Pumped::Reset)
}

/// Waits for the client to go away.
async fn gone(stream: &mut SendStream<Bytes>) -> Pumped {
    over(poll_fn(|cx| stream.poll_reset(cx)).await)
}

/// Waits until `due`; returns early if the client goes away.
async fn wait(due: Option<Instant>, stream: &mut SendStream<Bytes>) -> Option<Pumped> {
    tokio::select! {
        () = sleep_until(due?) => None,
        over = gone(stream) => Some(over),
    }
}
