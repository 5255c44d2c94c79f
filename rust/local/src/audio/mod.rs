//! The audio that clients send: its format, and the clock that counts it.

mod clock;
mod format;
mod wav;

pub use clock::Clock;
pub use format::{Format, OTHER_BYTES_PER_SECOND};
