//! A session's figures.

use std::collections::BTreeMap;
use std::time::Duration;

/// A snapshot, plain data. Seconds are 0 where the audio's rate is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Legs opened.
    pub legs: u64,
    /// Legs that ended and were followed by another, by [`super::LegEnd::reason`].
    pub resets: BTreeMap<&'static str, u64>,
    /// Legs followed by another because of their age.
    pub rollovers: u64,
    /// Legs asked for.
    pub attempts: u64,
    /// Audio sent for the first time, in bytes.
    pub bytes_sent: u64,
    /// The same in seconds.
    pub seconds_sent: f64,
    /// Audio that the service has finalised, in bytes.
    pub bytes_acknowledged: u64,
    /// The same in seconds.
    pub seconds_acknowledged: f64,
    /// Audio sent again, in bytes.
    pub bytes_replayed: u64,
    /// The same in seconds.
    pub seconds_replayed: f64,
    /// Audio that was dropped from the journal before it was finalised, in bytes.
    pub bytes_evicted: u64,
    /// The same in seconds.
    pub seconds_evicted: f64,
    /// Evicted audio that a reset needed: gaps, in bytes.
    pub bytes_lost: u64,
    /// The same in seconds.
    pub seconds_lost: f64,
    /// Audio held now, in bytes.
    pub journal_bytes: u64,
    /// Frames taken from the application.
    pub messages_in: u64,
    /// Messages given to the application's inbox.
    pub messages_out: u64,
    /// From the first audio of the application to the first result.
    pub time_to_first_result: Option<Duration>,
    /// The last leg's end that was not in order.
    pub last_error: Option<String>,
}
