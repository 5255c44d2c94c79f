//! SageMaker's bytes, without I/O and without a clock.
//!
//! - [`eventstream`]: the `application/vnd.amazon.eventstream` framing, both ways.
//! - [`signing`]: the signature chain over the events.
//! - [`payload_part`]: the service's events, and how a frame becomes signed events.
//! - [`refusals`]: maps the names and bodies of AWS's errors to reasons.
//!
//! Imports only `dgsm-leg`. Tests: `tests/`, against AWS's own crates, and in each module.

pub mod eventstream;
pub mod payload_part;
pub mod refusals;
pub mod signing;
