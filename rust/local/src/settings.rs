//! A server's settings, as JSON. Python writes them.

use std::time::Duration;

use serde::Deserialize;

use crate::faults::{Action, ConnectionFault, Fault};
use crate::watermark::WatermarkSettings;

/// Converts seconds of the settings. Out of range counts as zero.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A server's settings. Seconds are `f64` throughout.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address to listen on, without the port.
    pub host: String,
    /// The port; 0: any free one.
    pub port: u16,
    /// The host names and addresses in the certificate.
    pub certificate_names: Vec<String>,
    /// The regions that requests may be signed for.
    pub regions: Vec<String>,
    /// The names of the endpoints that exist.
    pub endpoint_names: Vec<String>,
    /// Their production variants; the first serves requests without a variant.
    pub variants: Vec<String>,
    /// The identities that may call.
    pub credentials: Vec<Credential>,
    /// The model behind the endpoint.
    pub model: Model,
    /// The age in seconds at which a stream is ended (the service: 30 minutes); `None`: never.
    pub max_stream_age: Option<f64>,
    /// How a stream is ended at that age.
    pub at_max_age: Action,
    /// The status for an unknown endpoint: the service was seen with 400 and with 404.
    pub unknown_endpoint_status: u16,
    /// The most HTTP/2 streams at once on one connection.
    pub max_concurrent_streams: u32,
    /// The most streams at once at the endpoint; `None`: no limit.
    #[serde(default)]
    pub max_streams: Option<u32>,
    /// The [`Action::Answer`] to one more; `None`: as a container that has no room.
    #[serde(default)]
    pub at_max_streams: Option<Action>,
    /// The faults of streams.
    pub faults: Vec<Fault>,
    /// The faults of connections, before HTTP/2 begins.
    pub connection_faults: Vec<ConnectionFault>,
    /// Whether records keep the arrival of each watermarked chunk.
    pub record_arrivals: bool,
    /// A container that refuses bad queries, as Deepgram's do; `None`: every query is taken.
    #[serde(default)]
    pub container: Option<Container>,
}

/// A container that checks path and query before it takes a stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The paths that it serves.
    pub paths: Vec<String>,
    /// Seconds until the service answers a refused request.
    pub refuses_after: f64,
}

/// An identity whose signatures are accepted.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The session token that must come with it; `None`: none may.
    #[serde(default)]
    pub session_token: Option<String>,
    /// When it expires, in seconds since the epoch; `None`: never.
    #[serde(default)]
    pub expires_at: Option<f64>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Credential")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Reads a list of identities from JSON, as in [`Settings`].
///
/// # Errors
/// [`SettingsError`] when the text is not of the right shape.
pub fn credentials_from_json(json: &str) -> Result<Vec<Credential>, SettingsError> {
    Ok(serde_json::from_str(json)?)
}

/// The model behind the endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Model {
    /// Answers `v1/listen` with the numbers of the chunks heard.
    Watermark {
        /// How it answers.
        settings: WatermarkSettings,
        /// The paths of other products, served like [`Model::External`].
        #[serde(default)]
        elsewhere: Vec<String>,
    },
    /// Lives in the process that started the server, behind a
    /// [`Listener`](crate::bridge::Listener).
    External,
}

/// Why settings are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not JSON of the right shape.
    #[error("the endpoint's settings can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A fault cannot happen where it is asked for.
    #[error("{0}")]
    Fault(String),
}

impl Settings {
    /// Reads settings from JSON.
    ///
    /// # Errors
    /// [`SettingsError`] when the text is not of the right shape, or a fault cannot happen.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        let settings: Self = serde_json::from_str(json)?;
        for fault in &settings.faults {
            fault.check().map_err(SettingsError::Fault)?;
        }
        if settings.at_max_age.is_answer() {
            return Err(SettingsError::Fault(
                "a stream at its maximum age has been answered already".into(),
            ));
        }
        if !matches!(settings.at_max_streams, None | Some(Action::Answer(_))) {
            return Err(SettingsError::Fault(
                "a stream for which there is no room can only be answered".into(),
            ));
        }
        Ok(settings)
    }
}
