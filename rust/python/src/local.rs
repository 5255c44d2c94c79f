//! `LocalServer`, `LocalStream` and `watermark`: the local endpoint, for Python.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dgsm_leg::frame::Frame;
use dgsm_local::audio::Format;
use dgsm_local::bridge::{Bridge, Listener, Received, Sent};
use dgsm_local::model::Reply;
use dgsm_local::settings::Settings;
use dgsm_local::stats::LegFacts;
use dgsm_local::{Server, StartError};
use pyo3::exceptions::{PyConnectionError, PyEOFError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::waker::{Mailbox, Waker};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has happened since the event loop last looked.
#[derive(Default)]
struct News {
    accepted: Vec<Arc<Bridge>>,
    changed: Vec<u64>,
    refused: Vec<Refused>,
}

/// A leg, and the words in which its container refused it.
type Refused = (u64, String);

/// Collects news, and wakes the event loop for the first of it.
struct Gatherer {
    news: Mutex<News>,
    mailbox: Arc<Mailbox>,
    token: u64,
}

impl Gatherer {
    fn tell(&self, add: impl FnOnce(&mut News)) {
        let mut news = lock(&self.news);
        let first = news.accepted.is_empty() && news.changed.is_empty() && news.refused.is_empty();
        add(&mut news);
        drop(news);
        if first {
            self.mailbox.post(self.token);
        }
    }
}

impl Listener for Gatherer {
    fn accepted(&self, stream: Arc<Bridge>) {
        self.tell(|news| news.accepted.push(stream));
    }

    fn changed(&self, leg: u64) {
        self.tell(|news| news.changed.push(leg));
    }

    fn refused(&self, leg: u64, words: &str) {
        self.tell(|news| news.refused.push((leg, words.to_owned())));
    }
}

/// A running local endpoint.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct LocalServer {
    server: Mutex<Option<Server>>,
    gatherer: Arc<Gatherer>,
}

impl LocalServer {
    fn with<T>(&self, read: impl FnOnce(&Server) -> T) -> PyResult<T> {
        match &*lock(&self.server) {
            Some(server) => Ok(read(server)),
            None => Err(PyRuntimeError::new_err("the local endpoint has stopped")),
        }
    }
}

#[pymethods]
impl LocalServer {
    /// Starts a server with settings in JSON. When there is news, posts `token` to `waker`.
    #[new]
    fn new(settings: &str, waker: &Waker, token: u64) -> PyResult<Self> {
        let settings = Settings::from_json(settings)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let news = Mutex::default();
        let gatherer = Arc::new(Gatherer {
            news,
            mailbox: waker.mailbox(),
            token,
        });
        let server =
            Server::start(settings, Some(gatherer.clone())).map_err(|error| match error {
                StartError::Host { .. } | StartError::Authority(_) => {
                    PyValueError::new_err(error.to_string())
                }
                StartError::Listen { .. } | StartError::Thread(_) => {
                    PyOSError::new_err(error.to_string())
                }
            })?;
        Ok(Self {
            server: Mutex::new(Some(server)),
            gatherer,
        })
    }

    /// Returns the port that the server listens on.
    #[getter]
    fn port(&self) -> PyResult<u16> {
        self.with(|server| server.address().port())
    }

    /// Returns the certificate of the server's authority, PEM.
    #[getter]
    fn ca_pem(&self) -> PyResult<String> {
        self.with(|server| server.ca_pem().to_owned())
    }

    /// Returns what has happened since the last call: streams accepted, legs changed, and legs
    /// refused, with the container's words.
    fn news(&self) -> (Vec<LocalStream>, Vec<u64>, Vec<Refused>) {
        let News {
            accepted,
            changed,
            refused,
        } = std::mem::take(&mut *lock(&self.gatherer.news));
        (
            accepted
                .into_iter()
                .map(|bridge| LocalStream { bridge })
                .collect(),
            changed,
            refused,
        )
    }

    /// Returns every counter by name.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = PyDict::new(py);
        for (name, value) in self.with(|server| server.counters().snapshot())? {
            counters.set_item(name, value)?;
        }
        Ok(counters)
    }

    /// Returns the facts of every leg. Times are seconds since the server's start.
    fn legs<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.with(Server::legs)?
            .iter()
            .map(|record| facts(py, &record.facts().clone()))
            .collect()
    }

    /// Returns the seconds since the server's start.
    fn elapsed(&self) -> PyResult<f64> {
        Ok(self.with(Server::elapsed)?.as_secs_f64())
    }

    /// Replaces the identities that are accepted, as JSON like that of the settings.
    fn set_credentials(&self, credentials: &str) -> PyResult<()> {
        let credentials = dgsm_local::settings::credentials_from_json(credentials)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.with(|server| server.set_credentials(credentials))
    }

    /// Resets all connections and refuses new ones for `seconds`.
    fn outage(&self, seconds: f64) -> PyResult<()> {
        let length = Duration::try_from_secs_f64(seconds)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.with(|server| server.outage(length))
    }

    /// Stops the server and waits for its thread. Does nothing the second time.
    fn stop(&self, py: Python<'_>) {
        let server = lock(&self.server).take();
        py.detach(|| drop(server));
    }
}

fn facts<'py>(py: Python<'py>, facts: &LegFacts) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("number", facts.number)?;
    dict.set_item("connection", facts.connection)?;
    dict.set_item("opened", facts.opened.as_secs_f64())?;
    dict.set_item("closed", facts.closed.map(|at| at.as_secs_f64()))?;
    dict.set_item("status", facts.status)?;
    dict.set_item("path", &facts.path)?;
    dict.set_item("query", &facts.query)?;
    dict.set_item("access_key_id", &facts.access_key_id)?;
    dict.set_item("headers", facts.headers.clone())?;
    dict.set_item("messages_in", facts.messages_in)?;
    dict.set_item("bytes_in", facts.bytes_in)?;
    dict.set_item("messages_out", facts.messages_out)?;
    dict.set_item("bytes_out", facts.bytes_out)?;
    dict.set_item("audio_seconds", facts.audio_seconds)?;
    dict.set_item("controls", facts.controls.clone())?;
    dict.set_item("chunks", facts.chunks)?;
    let arrivals = facts
        .arrivals
        .iter()
        .map(|(number, at)| (*number, at.as_secs_f64()));
    dict.set_item("arrivals", arrivals.collect::<Vec<_>>())?;
    dict.set_item("input_end", facts.input_end.name())?;
    dict.set_item("end", facts.end.name())?;
    dict.set_item("faults", facts.faults.clone())?;
    dict.set_item("refusal", &facts.refusal)?;
    Ok(dict)
}

/// One accepted stream, for a model in Python. No call blocks.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct LocalStream {
    bridge: Arc<Bridge>,
}

#[pymethods]
impl LocalStream {
    /// Returns the leg's number.
    #[getter]
    fn leg(&self) -> u64 {
        self.bridge.leg()
    }

    /// Returns the invocation's path.
    #[getter]
    fn path(&self) -> &str {
        self.bridge.path()
    }

    /// Returns the pairs of the invocation's query, decoded, in their order.
    #[getter]
    fn query(&self) -> Vec<(String, String)> {
        self.bridge.query().to_vec()
    }

    /// Returns the next message; `None` if there is none yet. Raises `EOFError` after the last.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.bridge.receive() {
            Received::Message(Frame::Binary(bytes)) => {
                Ok(Some(PyBytes::new(py, &bytes).into_any()))
            }
            Received::Message(frame @ Frame::Text(_)) => {
                let text = frame.as_str().unwrap_or_default();
                Ok(Some(PyString::new(py, text).into_any()))
            }
            Received::Nothing => Ok(None),
            Received::Ended => Err(PyEOFError::new_err("the client's input has ended")),
        }
    }

    /// Sends a text message. Returns `False` if there is no room yet.
    fn send_text(&self, message: &str) -> PyResult<bool> {
        self.send(Frame::from(message.to_owned()))
    }

    /// Sends a binary message. Returns `False` if there is no room yet.
    fn send_bytes(&self, message: &[u8]) -> PyResult<bool> {
        self.send(Frame::Binary(message.to_vec().into()))
    }

    /// Returns whether the leg has ended.
    #[getter]
    fn is_gone(&self) -> bool {
        self.bridge.is_gone()
    }

    /// Ends the response. Only the first end counts.
    fn close(&self) {
        self.bridge.close(Reply::End);
    }

    /// Ends the response with a `ModelStreamError`. Only the first end counts.
    fn fail(&self, code: String, message: String) {
        self.bridge.close(Reply::Fail { code, message });
    }
}

impl LocalStream {
    fn send(&self, frame: Frame) -> PyResult<bool> {
        match self.bridge.send(frame) {
            Sent::Taken => Ok(true),
            Sent::Full => Ok(false),
            Sent::Gone => Err(PyConnectionError::new_err("the stream has ended")),
        }
    }
}

/// Makes a chunk of `size` bytes that carries `number` in each of `channels` interleaved channels
/// whose samples have `width` bytes.
#[pyfunction]
pub(crate) fn watermark(
    py: Python<'_>,
    number: u32,
    size: usize,
    channels: u16,
    width: u16,
) -> PyResult<Bound<'_, PyBytes>> {
    if channels == 0 || width == 0 {
        return Err(PyValueError::new_err(
            "a chunk has at least one channel and one byte a sample",
        ));
    }
    let format = Format {
        channels,
        width,
        ..Format::OTHER
    };
    let chunk = dgsm_local::watermark::mark(number, size, format)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &chunk))
}
