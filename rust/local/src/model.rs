//! What a model says.

use dgsm_leg::frame::Frame;

/// A model's next act.
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
