//! Audio whose every chunk can be counted, and the model that counts it.
//!
//! A test sends chunks that carry their number ([`mark`]). The model ([`WatermarkModel`]) answers
//! with results whose words are these numbers, timed on the audio's own clock. So a chunk that is
//! lost, repeated or moved shows.

mod layout;
mod model;
mod results;
mod settings;

pub use layout::{CELL, Mark, MarkError, Reader, mark};
pub use model::{Audio, WatermarkModel};
pub use results::timestamp;
pub use settings::WatermarkSettings;
