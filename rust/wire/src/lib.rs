//! SageMaker's bytes: pure, without I/O and without a clock.
//!
//! - [`eventstream`]: the `application/vnd.amazon.eventstream` framing, both ways.
//! - [`signing`]: the signature chain over the events.
//! - [`payload_part`]: what the service's events mean, and how a frame becomes signed events.
//! - [`refusals`]: the names and bodies of AWS's errors, and what they mean.
//!
//! Imports `dgsm-leg` alone. Tests: `tests/`, against AWS's own crates; and in each module.

pub mod eventstream;
pub mod payload_part;
pub mod refusals;
pub mod signing;
