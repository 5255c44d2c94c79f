//! The pure core of Deepgram on Amazon SageMaker: bytes and rules, without a clock, randomness or
//! I/O of its own.
//!
//! - [`frame`]: one message of the application.
//! - [`eventstream`]: the `application/vnd.amazon.eventstream` framing, both ways.
//! - [`signing`]: the signature chain over the events, and the server's check of the request's
//!   signature.
//! - [`payload_part`]: what the service's events mean, and how a frame becomes signed events.
//! - [`refusals`]: what AWS's errors mean, and [`quote`]: what is shown of their words.
//! - [`session`]: one conversation over any number of legs, with its [`journal`] of what was sent,
//!   its [`backoff`], and what each product needs to [`resume`].

pub mod backoff;
pub mod deepgram;
pub mod diagnosis;
pub mod end;
pub mod eventstream;
pub mod frame;
pub mod journal;
pub mod payload_part;
pub mod quote;
pub mod reason;
pub mod refusals;
pub mod resume;
pub mod session;
pub mod signing;
