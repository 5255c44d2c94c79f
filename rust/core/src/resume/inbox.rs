//! Messages on their way to the application.

use std::collections::VecDeque;

use crate::frame::Frame;

/// A queue that knows its size in bytes.
#[derive(Debug, Default)]
pub struct Inbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    pushed: u64,
}

impl Inbox {
    /// Adds a message.
    pub fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.pushed += 1;
        self.frames.push_back(frame);
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// What waits, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many messages were ever added.
    #[must_use]
    pub const fn pushed(&self) -> u64 {
        self.pushed
    }
}
