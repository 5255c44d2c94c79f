//! What the container behind the endpoint says.

use bytes::Bytes;
use dgsm_leg::frame::Frame;

use crate::audio::Format;
use crate::watermark::Mark;

/// What a model does next on its side of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// One message to the client.
    Message(Frame),
    /// The container has closed the conversation: the response ends cleanly.
    End,
    /// The container has closed with a code: a `ModelStreamError`.
    Fail {
        /// The `ErrorCode`.
        code: String,
        /// The `Message`.
        message: String,
    },
}

/// The audio of one binary message, understood.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Its bytes without header or trailer.
    pub audio: &'a Bytes,
    /// The format as far as it is known.
    pub format: Format,
    /// Frames of audio heard on this leg so far, this message's included.
    pub frames: u64,
    /// The chunks that ended in this message.
    pub marks: &'a [Mark],
}
