//! What a server is told when it starts, as plain data (JSON, from Python).

use std::time::Duration;

use serde::Deserialize;

use crate::faults::{Action, ConnectionFault, Fault};
use crate::watermark::WatermarkSettings;

/// Seconds as they come in settings; what no [`Duration`] can hold is none at all.
pub(crate) fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A server's settings. Seconds are `f64` throughout.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address to listen on, without the port.
    pub host: String,
    /// The port; 0: any that is free.
    pub port: u16,
    /// Host names and addresses the certificate is for.
    pub certificate_names: Vec<String>,
    /// The region that requests have to be signed for.
    pub region: String,
    /// The endpoints that exist.
    pub endpoint_names: Vec<String>,
    /// Their production variants; the first one serves requests that name none.
    pub variants: Vec<String>,
    /// Who may call.
    pub credentials: Vec<Credential>,
    /// What answers behind the endpoint.
    pub model: Model,
    /// Seconds after which a stream is ended, as the service does after 30 minutes; `None`: never.
    pub max_stream_age: Option<f64>,
    /// How it is ended then.
    pub at_max_age: Action,
    /// The status of the answer for an unknown endpoint: the service has been seen with 400 and 404.
    pub unknown_endpoint_status: u16,
    /// HTTP/2 streams allowed at once on one connection.
    pub max_concurrent_streams: u32,
    /// What goes wrong on streams.
    pub faults: Vec<Fault>,
    /// What goes wrong before HTTP/2 speaks.
    pub connection_faults: Vec<ConnectionFault>,
    /// Whether the arrival of each watermarked chunk is kept.
    pub record_arrivals: bool,
    /// The container that refuses bad queries as Deepgram's do; `None`: every query is taken.
    #[serde(default)]
    pub container: Option<Container>,
}

/// A container of Deepgram's that looks at a stream's path and query before it takes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The paths that it serves.
    pub paths: Vec<String>,
    /// How long the service takes to say that it refuses.
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
    /// The session token that has to come with it; `None`: none is asked for.
    #[serde(default)]
    pub session_token: Option<String>,
    /// When it stops being accepted, in seconds since the epoch; `None`: never.
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

/// Reads identities from JSON: a list, as in [`Settings`].
///
/// # Errors
/// [`SettingsError`] when the text is not of the right shape.
pub fn credentials_from_json(json: &str) -> Result<Vec<Credential>, SettingsError> {
    Ok(serde_json::from_str(json)?)
}

/// The container's side.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Model {
    /// The numbers of the chunks heard, as `v1/listen` results.
    Watermark {
        /// How it answers.
        settings: WatermarkSettings,
        /// Paths of other products, which are served like [`Model::External`].
        #[serde(default)]
        elsewhere: Vec<String>,
    },
    /// Served by the process that started the server, through a [`Listener`](crate::bridge::Listener).
    External,
}

/// Why settings are not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not JSON of the right shape.
    #[error("the endpoint's settings can't be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A fault that can't happen where it is asked for.
    #[error("{0}")]
    Fault(String),
}

impl Settings {
    /// Reads settings from JSON.
    ///
    /// # Errors
    /// [`SettingsError`] when the text is not of the right shape, or a fault makes no sense.
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
        Ok(settings)
    }
}
