//! Deepgram conversations over any number of legs: sans I/O, without a clock or randomness of its
//! own, and independent of the transport that carries the legs.
//!
//! - [`Session`]: the state machine, in `session`; its transitions are in `session::state`.
//! - [`journal`]: the ordered record of what the application sent: send queue and replay ring.
//! - [`backoff`]: full-jitter delays, counts and budget.
//! - [`resume`]: what each of Deepgram's products needs to go on over another leg.
//!
//! Imports only `dgsm-leg`. Tests are in each module and in `tests/session_*.rs`. There a test plays
//! application, driver, service and clock by hand (`tests/stage`), or has generated sessions played
//! against a simulated service (`tests/simulator`).

pub mod backoff;
pub mod journal;
pub mod resume;
mod session;

pub use session::{
    AfterOpenFailure, EndContext, FailureCause, IllegalMove, LegId, Level, MIN_UNSENT_BYTES,
    Notice, Outcome, PushError, SendStep, Session, SessionFailure, Settings, Stats, Step, Target,
    diagnose,
};
