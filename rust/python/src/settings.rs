//! Settings: Python objects whose fields are read by name. Python has validated them.

use std::path::PathBuf;
use std::time::Duration;

use dgsm_net::connection::Ping;
use dgsm_net::pool::Limits;
use dgsm_net::tunnel;
use dgsm_session::Settings;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The fields of `SageMakerConfig` that a session needs.
#[derive(FromPyObject)]
pub(crate) struct SessionConfig {
    max_leg_age: Option<f64>,
    stall_timeout: Option<f64>,
    replay_speed: Option<f64>,
    keepalive_interval: Option<f64>,
    max_replay_buffer_bytes: usize,
    max_retries: u32,
    initial_backoff: f64,
    max_backoff: f64,
    backoff_multiplier: f64,
    retry_budget: f64,
    close_timeout: f64,
}

impl SessionConfig {
    pub(crate) fn settings(&self) -> PyResult<Settings> {
        Ok(Settings {
            max_leg_age: self.max_leg_age.map(seconds).transpose()?,
            stall_timeout: self.stall_timeout.map(seconds).transpose()?,
            replay_speed: self.replay_speed,
            keepalive_interval: self.keepalive_interval.map(seconds).transpose()?,
            max_replay_buffer_bytes: self.max_replay_buffer_bytes,
            max_retries: self.max_retries,
            initial_backoff: seconds(self.initial_backoff)?,
            max_backoff: seconds(self.max_backoff)?,
            backoff_multiplier: self.backoff_multiplier,
            retry_budget: seconds(self.retry_budget)?,
            close_timeout: seconds(self.close_timeout)?,
            ..Settings::default()
        })
    }
}

/// The fields of `SageMakerConfig` that a pool needs.
#[derive(FromPyObject)]
pub(crate) struct PoolConfig {
    connection_timeout: f64,
    connection_acquire_timeout: f64,
    subscription_timeout: f64,
    max_concurrency: usize,
    max_streams_per_connection: usize,
}

/// The fields of `Route`: where a pool's connections go.
#[derive(FromPyObject)]
pub(crate) struct Route {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) ca_bundle: Option<PathBuf>,
    pub(crate) proxy: Option<Proxy>,
    max_handshakes: usize,
    ping_after: f64,
    ping_within: f64,
}

/// The fields of `Proxy`.
#[derive(FromPyObject)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    tls: bool,
    authorization: Option<String>,
}

impl Route {
    pub(crate) fn limits(&self, config: &PoolConfig) -> PyResult<Limits> {
        Ok(Limits {
            connection_timeout: seconds(config.connection_timeout)?,
            acquire_timeout: seconds(config.connection_acquire_timeout)?,
            subscription_timeout: seconds(config.subscription_timeout)?,
            max_concurrency: config.max_concurrency,
            max_streams_per_connection: config.max_streams_per_connection,
            max_handshakes: self.max_handshakes,
        })
    }

    pub(crate) fn ping(&self) -> PyResult<Ping> {
        Ok(Ping {
            after: seconds(self.ping_after)?,
            within: seconds(self.ping_within)?,
        })
    }
}

impl From<Proxy> for tunnel::Proxy {
    fn from(proxy: Proxy) -> Self {
        Self {
            host: proxy.host,
            port: proxy.port,
            tls: proxy.tls,
            authorization: proxy.authorization,
        }
    }
}

/// What stands for "without limit": far beyond any session, and within every clock.
const ENDLESS: Duration = Duration::from_secs(1_000_000_000);

/// Converts seconds as Python has them.
pub(crate) fn seconds(value: f64) -> PyResult<Duration> {
    if value == f64::INFINITY {
        return Ok(ENDLESS);
    }
    Duration::try_from_secs_f64(value).map_err(|error| PyValueError::new_err(error.to_string()))
}
