//! Messages on their way to the application.

use std::collections::VecDeque;

use dgsm_leg::frame::Frame;

/// What a message costs beside its content, in bytes: its place in the queue, which may have twice
/// the room it needs and is copied when it grows, and the headers of its allocation.
pub const MESSAGE_COST: usize = 256;
/// How many messages an empty queue keeps room for.
const SPARE: usize = 64;

/// A queue that counts the memory it takes.
#[derive(Debug, Default)]
pub struct Inbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    pushed: u64,
}

impl Inbox {
    /// Adds a message.
    pub fn push(&mut self, frame: Frame) {
        self.bytes += cost(&frame);
        self.pushed += 1;
        self.frames.push_back(frame);
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= cost(&frame);
        if self.frames.is_empty() {
            self.frames.shrink_to(SPARE);
        }
        Some(frame)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.frames.shrink_to(SPARE);
        self.bytes = 0;
    }

    /// Returns whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns the memory of the waiting messages, in bytes: their contents, and [`MESSAGE_COST`]
    /// for each.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of messages that were ever added.
    #[must_use]
    pub const fn pushed(&self) -> u64 {
        self.pushed
    }
}

fn cost(frame: &Frame) -> usize {
    frame.len() + MESSAGE_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_without_content_count() {
        let mut inbox = Inbox::default();
        for _ in 0..1000 {
            inbox.push(Frame::from(""));
        }
        inbox.push(Frame::from("words"));
        assert_eq!(inbox.bytes(), 1001 * MESSAGE_COST + 5);
        while inbox.pop().is_some() {}
        assert_eq!((inbox.bytes(), inbox.pushed()), (0, 1001));
        assert!(inbox.frames.capacity() <= 2 * SPARE, "room is given back");
    }
}
