//! A leg whose model lives outside, in practice in Python.
//!
//! The leg's task and the model's thread exchange messages through two bounded queues. No call
//! blocks: each side is notified when the other has changed something.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dgsm_leg::frame::Frame;
use tokio::sync::Notify;

use crate::model::Reply;

/// The most that waits in each queue, in bytes; beyond it the sender has to wait.
const LIMIT: usize = 1024 * 1024;
/// What a message costs on top of its bytes.
const OVERHEAD: usize = 64;

/// Whoever serves external models. Its methods run on the server's thread and must not block.
pub trait Listener: Send + Sync + 'static {
    /// A stream was accepted.
    fn accepted(&self, stream: Arc<Bridge>);
    /// Something changed for the model of this stream: a message, the end of the input, the end of
    /// the stream, or room to send.
    fn changed(&self, leg: u64);
    /// The container refused a stream, in `words` that the client does not get.
    fn refused(&self, leg: u64, words: &str) {
        let _ = (leg, words);
    }
}

/// Both queues of one leg.
pub struct Bridge {
    leg: u64,
    path: String,
    query: Vec<(String, String)>,
    listener: Arc<dyn Listener>,
    queues: Mutex<Queues>,
    to_leg: Notify,
}

impl std::fmt::Debug for Bridge {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Bridge")
            .field("leg", &self.leg)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queues {
    inbound: VecDeque<Frame>,
    inbound_cost: usize,
    input_ended: bool,
    outbound: VecDeque<Reply>,
    outbound_cost: usize,
    /// A message was refused for lack of room: notify the model when there is some.
    wants_room: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The model has ended the conversation.
    Closed,
    /// The leg has ended.
    Gone,
}

/// The answer to a model that asks for the next message.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// One message.
    Message(Frame),
    /// No message yet.
    Nothing,
    /// The input has ended.
    Ended,
}

/// The answer to a model that sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The message is queued.
    Taken,
    /// There is no room: send again after the next notification.
    Full,
    /// The stream has ended.
    Gone,
}

fn cost(frame: &Frame) -> usize {
    frame.len() + OVERHEAD
}

impl Bridge {
    pub(crate) fn new(
        leg: u64,
        path: String,
        query: Vec<(String, String)>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        Self {
            leg,
            path,
            query,
            listener,
            queues: Mutex::default(),
            to_leg: Notify::new(),
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the leg's number.
    #[must_use]
    pub fn leg(&self) -> u64 {
        self.leg
    }

    /// Returns the invocation's path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the pairs of the invocation's query, decoded.
    #[must_use]
    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// Takes the next message, for the model.
    #[must_use]
    pub fn receive(&self) -> Received {
        let mut queues = self.queues();
        if let Some(frame) = queues.inbound.pop_front() {
            let was_full = queues.inbound_cost >= LIMIT;
            queues.inbound_cost -= cost(&frame);
            let has_room = queues.inbound_cost < LIMIT;
            drop(queues);
            if was_full && has_room {
                self.to_leg.notify_one();
            }
            return Received::Message(frame);
        }
        if queues.input_ended || queues.phase == Phase::Gone {
            Received::Ended
        } else {
            Received::Nothing
        }
    }

    /// Queues a message of the model.
    #[must_use]
    pub fn send(&self, frame: Frame) -> Sent {
        let mut queues = self.queues();
        if queues.phase != Phase::Open {
            return Sent::Gone;
        }
        if queues.outbound_cost >= LIMIT {
            queues.wants_room = true;
            return Sent::Full;
        }
        queues.outbound_cost += cost(&frame);
        queues.outbound.push_back(Reply::Message(frame));
        drop(queues);
        self.to_leg.notify_one();
        Sent::Taken
    }

    /// Ends the conversation for the model: cleanly, or with [`Reply::Fail`]. Only the first end
    /// counts.
    pub fn close(&self, end: Reply) {
        let mut queues = self.queues();
        if queues.phase == Phase::Open {
            queues.phase = Phase::Closed;
            queues.outbound.push_back(end);
            drop(queues);
            self.to_leg.notify_one();
        }
    }

    /// Returns whether the leg has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.queues().phase == Phase::Gone
    }

    /// Queues a message of the client.
    pub(crate) fn deliver(&self, frame: Frame) {
        let mut queues = self.queues();
        // A model that has ended the conversation reads nothing more.
        if queues.phase != Phase::Open {
            return;
        }
        let was_empty = queues.inbound.is_empty();
        queues.inbound_cost += cost(&frame);
        queues.inbound.push_back(frame);
        drop(queues);
        if was_empty {
            self.listener.changed(self.leg);
        }
    }

    /// Returns whether the model is behind, so that the client should wait.
    pub(crate) fn is_behind(&self) -> bool {
        self.queues().inbound_cost >= LIMIT
    }

    pub(crate) fn end_input(&self) {
        self.queues().input_ended = true;
        self.listener.changed(self.leg);
    }

    /// Takes the model's next reply, for the leg.
    pub(crate) fn take(&self) -> Option<Reply> {
        let mut queues = self.queues();
        let reply = queues.outbound.pop_front()?;
        if let Reply::Message(frame) = &reply {
            queues.outbound_cost -= cost(frame);
        }
        let tell = queues.outbound_cost < LIMIT / 2 && std::mem::take(&mut queues.wants_room);
        drop(queues);
        if tell {
            self.listener.changed(self.leg);
        }
        Some(reply)
    }

    /// Waits until the model has done something. Only one call may wait at a time.
    pub(crate) async fn changed(&self) {
        self.to_leg.notified().await;
    }

    /// Closes both queues: the leg has ended.
    pub(crate) fn leave(&self) {
        let was = std::mem::replace(&mut self.queues().phase, Phase::Gone);
        if was != Phase::Gone {
            self.listener.changed(self.leg);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Ears(Mutex<Vec<u64>>);

    impl Listener for Ears {
        fn accepted(&self, _: Arc<Bridge>) {}
        fn changed(&self, leg: u64) {
            self.0.lock().unwrap().push(leg);
        }
    }

    fn bridge() -> (Arc<Ears>, Bridge) {
        let ears = Arc::new(Ears::default());
        let listener: Arc<dyn Listener> = ears.clone();
        (
            ears,
            Bridge::new(7, "v1/listen".into(), Vec::new(), listener),
        )
    }

    #[test]
    fn a_burst_is_told_once() {
        let (ears, bridge) = bridge();
        bridge.deliver(Frame::from("a"));
        bridge.deliver(Frame::from("b"));
        assert_eq!(*ears.0.lock().unwrap(), [7]);
        assert_eq!(bridge.receive(), Received::Message(Frame::from("a")));
        bridge.end_input();
        assert_eq!(bridge.receive(), Received::Message(Frame::from("b")));
        assert_eq!(bridge.receive(), Received::Ended);
    }

    #[test]
    fn a_full_queue_makes_the_model_wait_and_says_when_there_is_room() {
        let (ears, bridge) = bridge();
        let large = Frame::Binary(vec![0; LIMIT / 2].into());
        assert_eq!(bridge.send(large.clone()), Sent::Taken);
        assert_eq!(bridge.send(large.clone()), Sent::Taken);
        assert_eq!(bridge.send(large.clone()), Sent::Full);
        assert!(bridge.take().is_some());
        assert!(bridge.take().is_some());
        assert_eq!(*ears.0.lock().unwrap(), [7]);
        assert_eq!(bridge.send(large), Sent::Taken);
    }

    #[test]
    fn nothing_is_sent_after_the_end() {
        let (_, bridge) = bridge();
        bridge.close(Reply::End);
        bridge.close(Reply::Fail {
            code: "1011".into(),
            message: String::new(),
        });
        assert_eq!(bridge.send(Frame::from("late")), Sent::Gone);
        assert_eq!(bridge.take(), Some(Reply::End));
        assert_eq!(bridge.take(), None);
    }

    #[test]
    fn a_leg_that_is_gone_ends_the_input() {
        let (_, bridge) = bridge();
        bridge.leave();
        assert_eq!(bridge.receive(), Received::Ended);
        assert_eq!(bridge.send(Frame::from("x")), Sent::Gone);
    }
}
