//! What an application can set, as the session needs it.

use std::time::Duration;

/// Audio that was never sent may always hold this much, whatever the replay limit is: 256 KiB.
pub const MIN_UNSENT_BYTES: usize = 256 * 1024;

/// The knobs of a session. The application's own settings are validated before they come here.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Age at which a leg is followed by the next one; varied by ±10 % a leg. `None`: never.
    pub max_leg_age: Option<Duration>,
    /// Silence from the service, while audio flows to it, after which the leg counts as dead.
    /// `None`: never.
    pub stall_timeout: Option<Duration>,
    /// How many times faster than real time a backlog is sent after a reset; never below the
    /// application's own pace. `None`: as fast as it goes.
    pub replay_speed: Option<f64>,
    /// `KeepAlive` is sent for the application when nothing else was sent for so long.
    /// `None`: never.
    pub keepalive_interval: Option<Duration>,
    /// Audio that was sent and is not acknowledged, kept to be sent again, in bytes.
    pub max_replay_buffer_bytes: usize,
    /// How many failures in a row, without progress between them, are retried.
    pub max_retries: u32,
    /// Upper end of the first delay before a retry.
    pub initial_backoff: Duration,
    /// Upper end of any delay before a retry.
    pub max_backoff: Duration,
    /// How much the upper end grows from one failure to the next.
    pub backoff_multiplier: f64,
    /// How long failures in a row may go on, counted from the first.
    pub retry_budget: Duration,
    /// What messages that the application has not read take, in bytes, with a cost for each; beyond
    /// it the service has to wait.
    pub max_unread_bytes: usize,
    /// How long `finish` waits for the service to end its side.
    pub close_timeout: Duration,
    /// Age at which the service ends a leg by itself: 30 minutes.
    pub leg_cap: Duration,
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
        }
    }
}
