//! Deepgram conversations over any number of legs: sans I/O, without a clock or randomness of its own,
//! and without a word of what carries the legs.
//!
//! - [`Session`]: the state machine, in `session`.
//! - [`journal`]: the ordered record of what the application sent: send queue and replay ring.
//! - [`backoff`]: full-jitter delays, counts and budget.
//! - [`resume`]: what each of Deepgram's products needs to go on over another leg.
//!
//! Imports `dgsm-leg` alone. Tests: `tests/session_*.rs`, where the test plays application, driver,
//! service and clock; and in each module.

pub mod backoff;
pub mod journal;
pub mod resume;
mod session;

pub use session::{
    AfterOpenFailure, EndContext, FailureCause, IllegalMove, LegId, Level, MIN_UNSENT_BYTES,
    Notice, Outcome, PushError, SendStep, Session, SessionFailure, Settings, Stats, Step, Target,
    diagnose,
};
