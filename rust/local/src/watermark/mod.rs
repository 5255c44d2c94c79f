//! Audio whose every chunk can be counted, and the model that counts it.
//!
//! An application that wants to know what was lost, repeated or moved sends chunks that carry
//! their number ([`mark`]); the model answers with results whose words are those numbers and whose
//! times are on the clock of the audio ([`WatermarkModel`]).

mod layout;
mod model;
mod results;
mod settings;

pub use layout::{CELL, Mark, MarkError, Reader, mark};
pub use model::{Audio, WatermarkModel};
pub use results::timestamp;
pub use settings::WatermarkSettings;
