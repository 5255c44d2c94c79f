//! A session's figures.

use std::collections::BTreeMap;
use std::time::Duration;

/// A snapshot of the figures. Seconds are 0 where the audio's rate is unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Legs opened.
    pub legs: u64,
    /// Legs that ended and were followed by another, by
    /// [`LegEnd::kind`](dgsm_leg::end::LegEnd::kind).
    pub resets: BTreeMap<&'static str, u64>,
    /// Old legs that another took over from.
    pub rollovers: u64,
    /// Legs opened at another endpoint because one had failed just before.
    pub fallovers: u64,
    /// Legs that the driver was asked for.
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
    /// Audio that was dropped before it was finalised, in bytes.
    pub bytes_evicted: u64,
    /// The same in seconds.
    pub seconds_evicted: f64,
    /// Dropped audio that a reset needed, in bytes.
    pub bytes_lost: u64,
    /// The same in seconds.
    pub seconds_lost: f64,
    /// Audio held now, in bytes.
    pub journal_bytes: u64,
    /// Frames taken from the application.
    pub messages_in: u64,
    /// Messages given to the application's inbox.
    pub messages_out: u64,
    /// Time from the application's first audio to the first result.
    pub time_to_first_result: Option<Duration>,
    /// The last end of a leg that was not in order.
    pub last_error: Option<String>,
}
