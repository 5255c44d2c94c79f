//! The settings of a session.

use std::time::Duration;

/// Unsent audio may always hold this much, whatever the replay limit is: 256 KiB.
pub const MIN_UNSENT_BYTES: usize = 256 * 1024;

/// A session's settings. They are validated before they come here.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The age at which another leg takes over, ±10 % a leg. `None`: never.
    pub max_leg_age: Option<Duration>,
    /// The silence of the service while audio flows after which a leg has stalled. `None`: never.
    pub stall_timeout: Option<Duration>,
    /// How many times faster than real time a backlog is sent, never slower than the application's
    /// own pace. `None`: without a limit.
    pub replay_speed: Option<f64>,
    /// The interval without other input after which the session sends `KeepAlive`. `None`: never.
    pub keepalive_interval: Option<Duration>,
    /// How much sent and unacked audio is kept to be sent again, in bytes.
    pub max_replay_buffer_bytes: usize,
    /// How many failures in a row without progress are retried.
    pub max_retries: u32,
    /// The upper end of the first delay before a retry.
    pub initial_backoff: Duration,
    /// The upper end of any delay before a retry.
    pub max_backoff: Duration,
    /// The factor by which the upper end grows from one failure to the next.
    pub backoff_multiplier: f64,
    /// How long failures in a row may go on, from the first.
    pub retry_budget: Duration,
    /// The size of unread messages above which the service has to wait, in bytes, with an overhead
    /// for each message.
    pub max_unread_bytes: usize,
    /// How long `finish` waits for the service to end its side.
    pub close_timeout: Duration,
    /// The age at which the service ends a leg: 30 minutes.
    pub leg_cap: Duration,
    /// The endpoints that legs may be opened at. Those that are called with the same keys have the
    /// same number.
    pub endpoints: Vec<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_leg_age: Some(Duration::from_secs(1500)),
            stall_timeout: Some(Duration::from_secs(30)),
            replay_speed: Some(4.0),
            keepalive_interval: None,
            max_replay_buffer_bytes: 8 * 1024 * 1024,
            max_retries: 5,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            backoff_multiplier: 2.0,
            retry_budget: Duration::from_secs(30),
            max_unread_bytes: 16 * 1024 * 1024,
            close_timeout: Duration::from_secs(10),
            leg_cap: Duration::from_secs(1800),
            endpoints: vec![0],
        }
    }
}
