//! Deepgram conversations over several legs. The crate has no I/O, no clock and no randomness, and does
//! not know what carries the legs.
//!
//! - [`Session`]: the state machine, in `session`; its transitions are in `session::state`.
//! - [`journal`]: the ordered record of what the application sent, both send queue and replay ring.
//! - [`backoff`]: full-jitter delays, counts and budget.
//! - [`resume`]: a trait and a module per product: how it goes on over another leg.
//!
//! `session` imports the other three, and `resume` imports `journal`. Of our crates this one imports
//! `dgsm-leg` alone. Tests are in each module and in `tests/session_*.rs`. There a test plays
//! application, driver, service and clock by hand (`tests/stage`), or has generated sessions played
//! against a simulated service (`tests/simulator`).

pub mod backoff;
pub mod journal;
pub mod resume;
mod session;

pub use resume::query::Target;
pub use session::{
    AfterOpenFailure, Again, EndContext, FailureCause, IllegalMove, LegId, Level, MIN_UNSENT_BYTES,
    Mark, Notice, Outcome, Part, PushError, SendStep, Session, SessionFailure, Settings, Stats,
    Step, diagnose,
};
