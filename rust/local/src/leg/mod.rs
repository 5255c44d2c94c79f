//! One stream, from its request to its end.
//!
//! - `request`: the checks and the record; the request is refused, or a stream opens.
//! - `opening`: faults before the answer, then the answer.
//! - `stream`: the accepted stream: its loop, its faults, its end.
//! - `input`: the client's bytes: verified, and joined to messages.
//! - `hearing`: the audio in these messages, and the chunks that it carries.
//! - `control`: the text messages.
//! - `container`: the model that answers.
//! - `fault`: what a fault does beyond its own stream.

mod container;
mod control;
mod fault;
mod hearing;
mod input;
mod opening;
mod request;
mod stream;

pub(crate) use request::serve;
