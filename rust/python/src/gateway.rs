//! `Gateway`, `GatewayRequest`, `GatewayEnd` and `GatewayRefusal`: a WebSocket server in front of
//! sessions.

use std::sync::Arc;

use bytes::Bytes;
use dgsm_gateway::answer::Refusal;
use dgsm_gateway::close::Ending;
use dgsm_gateway::desk::{Ended, News, Refused};
use dgsm_gateway::door::Key;
use dgsm_gateway::gate::Limits;
use dgsm_gateway::gateway::{self, Settings, StartError};
use dgsm_gateway::request::Request;
use dgsm_net::engine::Engine;
use http::StatusCode;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::session::Session;
use crate::settings::seconds;
use crate::waker::Waker;

/// A running gateway.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Gateway {
    gateway: gateway::Gateway,
}

/// What `Gateway.take` returns.
#[derive(IntoPyObject)]
enum Taken {
    Request(GatewayRequest),
    Refusal(GatewayRefusal),
    End(GatewayEnd),
}

#[pymethods]
impl Gateway {
    #[new]
    #[pyo3(signature = (*, host, port, waker, token, pages, open_pages, keys, origins,
        max_connections, reuse_port, certificate, private_key, head_timeout, answer_timeout,
        ping_interval, ping_timeout, close_timeout, max_message_bytes))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        py: Python<'_>,
        host: String,
        port: u16,
        waker: &Waker,
        token: u64,
        pages: Vec<String>,
        open_pages: Vec<String>,
        keys: Vec<(String, String, Option<usize>)>,
        origins: Option<Vec<String>>,
        max_connections: usize,
        reuse_port: bool,
        certificate: Option<Vec<u8>>,
        private_key: Option<Vec<u8>>,
        head_timeout: f64,
        answer_timeout: f64,
        ping_interval: f64,
        ping_timeout: f64,
        close_timeout: f64,
        max_message_bytes: usize,
    ) -> PyResult<Self> {
        let tls = match (certificate, private_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => {
                let both = "TLS takes a certificate and its private key";
                return Err(PyValueError::new_err(both));
            }
        };
        let settings = Settings {
            host,
            port,
            reuse_port,
            tls,
            keys: keys
                .into_iter()
                .map(|(name, secret, most)| Key { name, secret, most })
                .collect(),
            origins,
            pages,
            open_pages,
            max_connections,
            limits: Limits {
                head_within: seconds(head_timeout)?,
                answer_within: seconds(answer_timeout)?,
                ping_interval: seconds(ping_interval)?,
                ping_timeout: seconds(ping_timeout)?,
                close_within: seconds(close_timeout)?,
                max_message: max_message_bytes,
            },
        };
        let wake = waker.token(token);
        // The host's name is looked up, which takes time.
        let started = py.detach(|| {
            let engine = Engine::shared().map_err(PyErr::from)?;
            gateway::Gateway::start(settings, engine, wake).map_err(|error| match error {
                StartError::Certificate(_) => PyValueError::new_err(error.to_string()),
                StartError::Listen { .. } | StartError::Random => {
                    PyOSError::new_err(error.to_string())
                }
            })
        });
        Ok(Self { gateway: started? })
    }

    /// Returns the address and port that it listens on.
    #[getter]
    fn address(&self) -> (String, u16) {
        let address = self.gateway.address();
        (address.ip().to_string(), address.port())
    }

    /// Takes what has happened since the last call, oldest first; a `None` is the last of all: every
    /// connection is closed.
    fn take(&self) -> Vec<Option<Taken>> {
        let taken = self.gateway.take().into_iter();
        taken
            .map(|news| match news {
                News::Request(request) => Some(Taken::Request(GatewayRequest { request })),
                News::Refused(refused) => Some(Taken::Refusal(refused.into())),
                News::Ended(ended) => Some(Taken::End(ended.into())),
                News::Stopped => None,
            })
            .collect()
    }

    /// Returns every figure by name.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for (name, count) in self.gateway.counts().snapshot() {
            counts.set_item(name, count)?;
        }
        Ok(counts)
    }

    /// Accepts no more connections; those that are up go on.
    fn drain(&self) {
        self.gateway.drain();
    }

    /// Closes everything now.
    fn stop(&self) {
        self.gateway.stop();
    }
}

/// A request for a conversation or a page, which waits for an answer.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct GatewayRequest {
    request: Arc<Request>,
}

#[pymethods]
impl GatewayRequest {
    /// Returns the id, which the client has as `dg-request-id`.
    #[getter]
    fn id(&self) -> &str {
        &self.request.id
    }

    #[getter]
    fn method(&self) -> &str {
        &self.request.method
    }

    /// Returns the path, as it came.
    #[getter]
    fn path(&self) -> &str {
        &self.request.path
    }

    /// Returns the query, as it came.
    #[getter]
    fn query(&self) -> &str {
        &self.request.query
    }

    /// Returns the client's address and port.
    #[getter]
    fn peer(&self) -> &str {
        &self.request.peer
    }

    /// Returns the name of the key.
    #[getter]
    fn key(&self) -> Option<&str> {
        self.request.key.as_deref()
    }

    /// Returns the product's path; `None` for a page.
    #[getter]
    fn route(&self) -> Option<&'static str> {
        self.request.route
    }

    #[getter]
    fn user_agent(&self) -> Option<&str> {
        self.request.user_agent.as_deref()
    }

    /// Returns the body of a request for a page.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.request.body)
    }

    /// Answers with a page. False: nobody waits for it any more.
    fn respond(&self, status: u16, content_type: String, body: Vec<u8>) -> bool {
        self.request
            .respond(status, content_type, Bytes::from(body))
    }

    /// Refuses. False: nobody waits for it any more.
    fn refuse(&self, status: u16, code: String, message: String) -> PyResult<bool> {
        let status = StatusCode::from_u16(status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .ok_or_else(|| PyValueError::new_err(format!("no status of a refusal: {status}")))?;
        Ok(self.request.refuse(Refusal {
            status,
            code: code.into(),
            message: message.into(),
        }))
    }

    /// Makes it a WebSocket over a session that was made with `carried=True`. False: nobody waits
    /// for it any more.
    fn accept(&self, session: &Session) -> PyResult<bool> {
        let session = session.carried()?;
        Ok(self.request.accept(session))
    }

    /// Says how to close the WebSocket once everything is sent. Only the first word counts.
    fn end(&self, code: u16, reason: &str) {
        self.request.end(Ending::new(code, reason));
    }
}

/// The end of a conversation.
#[pyclass(module = "deepgram_sagemaker._native", frozen, get_all)]
pub(crate) struct GatewayEnd {
    id: String,
    /// The close code, or the status of the refusal.
    code: Option<u16>,
    by: &'static str,
    messages_in: u64,
    bytes_in: u64,
    messages_out: u64,
    bytes_out: u64,
    seconds: f64,
}

impl From<Ended> for GatewayEnd {
    fn from(ended: Ended) -> Self {
        let Ended {
            id,
            code,
            by,
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            seconds,
        } = ended;
        Self {
            id,
            code,
            by: by.as_str(),
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            seconds,
        }
    }
}

/// A request that was refused without asking.
#[pyclass(module = "deepgram_sagemaker._native", frozen, get_all)]
pub(crate) struct GatewayRefusal {
    id: String,
    path: String,
    route: Option<&'static str>,
    key: Option<String>,
    peer: String,
    user_agent: Option<String>,
    status: u16,
    code: String,
}

impl From<Refused> for GatewayRefusal {
    fn from(refused: Refused) -> Self {
        let Refused {
            id,
            path,
            route,
            key,
            peer,
            user_agent,
            status,
            code,
        } = refused;
        Self {
            id,
            path,
            route,
            key: key.map(|key| key.to_string()),
            peer,
            user_agent,
            status,
            code,
        }
    }
}
