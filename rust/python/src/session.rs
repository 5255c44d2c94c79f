//! `Session`, `Step`, `SessionFailure`, `SendResult`, `Interest`: a session as Python holds it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use dgsm_leg::reason::Reason;
use dgsm_net::pump;
use dgsm_net::session::SharedSession;
use dgsm_net::wake::interest;
use dgsm_session::{Mark, PushError, Session as CoreSession, Settings, Stats, Target};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString};

use crate::diagnosis::Diagnosis;
use crate::notice;
use crate::pool::Leg;
use crate::settings::SessionConfig;
use crate::waker::{Outbox, Waker};

/// What `Session.send` answers.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct SendResult;

#[pymethods]
impl SendResult {
    /// Taken; the loop is already going to flush its waker.
    #[classattr]
    const TAKEN: u8 = 0;
    /// Taken; the loop flushes its waker when it has done what else is ready.
    #[classattr]
    const HELD: u8 = 1;
    /// Not taken: no room now.
    #[classattr]
    const FULL: u8 = 2;
    /// Not taken: the session, or its input, has ended in order.
    #[classattr]
    const ENDED: u8 = 3;
    /// Not taken: the session has failed; the driver knows why, or soon will.
    #[classattr]
    const FAILED: u8 = 4;
}

/// What a session's waiter may wait for, as bits.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Interest;

#[pymethods]
impl Interest {
    /// A message, or the end.
    #[classattr]
    const READABLE: u8 = interest::READABLE;
    /// Room for another frame.
    #[classattr]
    const WRITABLE: u8 = interest::WRITABLE;
    /// Another step for the driver.
    #[classattr]
    const DRIVER: u8 = interest::DRIVER;
}

/// What the driver does next.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) enum Step {
    /// Open a leg, then `attach` it or say `open_failed`.
    Open {
        standby: bool,
        renew: bool,
        /// Failures in a row without progress.
        failures: u32,
    },
    /// Wait for this time, in seconds, or until woken.
    Wait { seconds: Option<f64> },
    /// The session is over, in order.
    Finished {},
    /// The session is over, and why.
    Failed { failure: Py<SessionFailure> },
}

/// Why a session failed.
#[pyclass(module = "deepgram_sagemaker._native", frozen, get_all)]
pub(crate) struct SessionFailure {
    /// The failure, judged; `None` where no leg could be opened: the driver has that error.
    diagnosis: Option<Py<Diagnosis>>,
    /// Whether everything that another leg needs is still there.
    resumable: bool,
    attempts: u32,
    elapsed: f64,
    unacknowledged_bytes: u64,
    unacknowledged_seconds: f64,
    /// The endpoint that failed last, or that the last leg was opened at.
    endpoint: usize,
    /// The endpoints that have failed since the last progress, with the reasons' names.
    endpoints: Vec<(usize, &'static str)>,
}

impl SessionFailure {
    fn new(py: Python<'_>, failure: &dgsm_session::SessionFailure) -> PyResult<Self> {
        let diagnosis = failure.diagnosis().map(Diagnosis::from);
        Ok(Self {
            diagnosis: diagnosis
                .map(|diagnosis| Py::new(py, diagnosis))
                .transpose()?,
            resumable: failure.is_resumable(),
            attempts: failure.attempts,
            elapsed: failure.elapsed.as_secs_f64(),
            unacknowledged_bytes: failure.unacked_bytes,
            unacknowledged_seconds: failure.unacked_seconds,
            endpoint: failure.endpoint,
            endpoints: failure
                .endpoints
                .iter()
                .map(|(endpoint, reason)| (*endpoint, reason.as_str()))
                .collect(),
        })
    }
}

/// One conversation, over any number of legs.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Session {
    shared: Arc<SharedSession>,
    outbox: Arc<Outbox>,
}

impl Session {
    /// Returns the session for the task that carries its messages.
    pub(crate) fn carried(&self) -> PyResult<Arc<SharedSession>> {
        if self.shared.is_carried() {
            Ok(Arc::clone(&self.shared))
        } else {
            Err(PyValueError::new_err("the session is not carried"))
        }
    }
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (path, query, config, *, seed, waker, token, endpoints = vec![0],
        carried = false))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        path: &str,
        query: &str,
        config: SessionConfig,
        seed: u64,
        waker: &Waker,
        token: u64,
        endpoints: Vec<u32>,
        carried: bool,
    ) -> PyResult<Self> {
        let settings = Settings {
            endpoints,
            ..config.settings()?
        };
        let session = CoreSession::new(settings, &Target { path, query }, seed);
        let wake = waker.token(token);
        Ok(Self {
            shared: if carried {
                SharedSession::carried(session, wake)
            } else {
                SharedSession::new(session, wake)
            },
            outbox: waker.outbox(),
        })
    }

    /// Takes a message of the application. After `FULL` the waiter is woken when it is worth
    /// another try.
    fn send(&self, data: &Bound<'_, PyAny>) -> PyResult<u8> {
        let frame = frame(data)?;
        Ok(match self.shared.push(frame) {
            Ok(()) if self.outbox.note(&self.shared) => SendResult::HELD,
            Ok(()) => SendResult::TAKEN,
            Err(PushError::Full) => SendResult::FULL,
            Err(PushError::Closed) => SendResult::ENDED,
            Err(PushError::Failed) => SendResult::FAILED,
        })
    }

    /// Returns the next message for the application. None: not now; the waiter is woken when there
    /// is one.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self.shared.pop() {
            None => None,
            Some(Frame::Text(text)) => Some(PyString::from_bytes(py, &text)?.into_any()),
            Some(Frame::Binary(data)) => Some(PyBytes::new(py, &data).into_any()),
        })
    }

    /// Ends the application's input.
    fn finish(&self) {
        self.shared.finish();
    }

    /// Ends everything now: legs are reset, nothing more is sent or received.
    fn abort(&self) {
        self.shared.abort();
    }

    /// Returns what the driver does next.
    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        use dgsm_session::Step as CoreStep;
        Ok(match self.shared.step() {
            CoreStep::Open { standby, renew } => Step::Open {
                standby,
                renew,
                failures: self.shared.lock().failures(),
            },
            CoreStep::Wait { until } => {
                let now = self.shared.now();
                Step::Wait {
                    seconds: until.map(|until| until.saturating_sub(now).as_secs_f64()),
                }
            }
            CoreStep::Finished => Step::Finished {},
            CoreStep::Failed(failure) => Step::Failed {
                failure: Py::new(py, SessionFailure::new(py, &failure)?)?,
            },
        })
    }

    /// Returns how each endpoint stands: `untried`, `failed` or `barred`.
    fn endpoints(&self) -> Vec<&'static str> {
        self.shared.lock().endpoints().map(Mark::as_str).collect()
    }

    /// Returns whether the session has no leg until the one that is being opened is up.
    fn needs_leg(&self) -> bool {
        self.shared.lock().needs_leg()
    }

    /// Says at which endpoint the driver opens the leg that was asked for.
    fn opening_at(&self, endpoint: usize) {
        self.shared.lock().opening_at(endpoint);
    }

    /// Ends the round instead of opening the leg that was asked for. False: there is no other
    /// round, and the rest has to be tried.
    fn end_round(&self) -> bool {
        self.shared.update(CoreSession::end_round)
    }

    /// Opens the standby later, by this time in seconds. False: it cannot wait.
    fn postpone(&self, by: f64) -> bool {
        let by = Duration::try_from_secs_f64(by).unwrap_or_default();
        self.shared.update(|session, now| session.postpone(now, by))
    }

    /// Gives the session the leg that the driver opened, and pumps it. Returns its number.
    fn attach(&self, leg: &Leg) -> PyResult<u64> {
        let (engine, open, signer) = leg.take()?;
        self.outbox.set_engine(&engine);
        let id = pump::attach(&engine, Arc::clone(&self.shared), open, signer);
        Ok(id.number())
    }

    /// Reports why the leg that the session wanted could not be opened, by the reason's name.
    fn open_failed(&self, reason: &str) -> PyResult<()> {
        let reason = Reason::from_name(reason)
            .ok_or_else(|| PyValueError::new_err(format!("no such reason: {reason}")))?;
        self.shared.open_failed(reason);
        Ok(())
    }

    /// Returns the session's figures, by the names of `Stats`; `legs_at` has a number for each
    /// endpoint.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let session = self.shared.lock();
        let (stats, legs_at) = (session.stats(), session.legs_at());
        drop(session);
        let figures = figures(py, stats)?;
        figures.set_item("legs_at", legs_at)?;
        Ok(figures)
    }

    /// Returns the endpoint where the session is, and the figures of each endpoint, which add up to
    /// the session's.
    fn shares<'py>(&self, py: Python<'py>) -> PyResult<(usize, Vec<Bound<'py, PyDict>>)> {
        let (at, shares) = self.shared.lock().shares();
        let each = shares.into_iter().map(|share| figures(py, share));
        Ok((at, each.collect::<PyResult<_>>()?))
    }

    /// Takes what has happened since the last call, as bits of `Interest`.
    fn take_happened(&self) -> u8 {
        self.shared.take_happened()
    }

    /// Takes what has happened since the last call: the name of its event, the fields of the event
    /// that only the native side knows, and how many seconds ago it was.
    fn take_notices<'py>(&self, py: Python<'py>) -> PyResult<Vec<notice::Told<'py>>> {
        let notices = self.shared.take_notices();
        let skipped = self.shared.take_skipped();
        let notices = notices
            .into_iter()
            .map(|(age, notice)| notice::tell(py, age, notice));
        let skipped = skipped
            .into_iter()
            .map(|(age, name)| notice::tell_skipped(py, age, name));
        notices.chain(skipped).collect()
    }
}

/// Returns figures by the names of `Stats`.
fn figures(py: Python<'_>, stats: Stats) -> PyResult<Bound<'_, PyDict>> {
    let figures = PyDict::new(py);
    figures.set_item("legs", stats.legs)?;
    figures.set_item("resets", stats.resets)?;
    figures.set_item("rollovers", stats.rollovers)?;
    figures.set_item("fallovers", stats.fallovers)?;
    figures.set_item("attempts", stats.attempts)?;
    figures.set_item("bytes_sent", stats.bytes_sent)?;
    figures.set_item("seconds_sent", stats.seconds_sent)?;
    figures.set_item("bytes_acknowledged", stats.bytes_acknowledged)?;
    figures.set_item("seconds_acknowledged", stats.seconds_acknowledged)?;
    figures.set_item("bytes_replayed", stats.bytes_replayed)?;
    figures.set_item("seconds_replayed", stats.seconds_replayed)?;
    figures.set_item("bytes_evicted", stats.bytes_evicted)?;
    figures.set_item("seconds_evicted", stats.seconds_evicted)?;
    figures.set_item("bytes_lost", stats.bytes_lost)?;
    figures.set_item("seconds_lost", stats.seconds_lost)?;
    figures.set_item("journal_bytes", stats.journal_bytes)?;
    figures.set_item("messages_in", stats.messages_in)?;
    figures.set_item("messages_out", stats.messages_out)?;
    let first = stats.time_to_first_result.map(|time| time.as_secs_f64());
    figures.set_item("time_to_first_result", first)?;
    figures.set_item("last_error", stats.last_error)?;
    Ok(figures)
}

/// Converts a message. The SDK sends `bytes` and `str`.
fn frame(data: &Bound<'_, PyAny>) -> PyResult<Frame> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(Frame::Binary(Bytes::copy_from_slice(bytes.as_bytes())));
    }
    if let Ok(text) = data.cast::<PyString>() {
        let text = Bytes::copy_from_slice(text.to_str()?.as_bytes());
        return Frame::text(text).map_err(|error| PyTypeError::new_err(error.to_string()));
    }
    if let Ok(array) = data.cast::<PyByteArray>() {
        return Ok(Frame::Binary(Bytes::from(array.to_vec())));
    }
    if data.is_instance_of::<PyMemoryView>() {
        // A view of any format stands for its bytes.
        let bytes = data.call_method0("tobytes")?;
        let bytes = bytes.cast::<PyBytes>()?;
        return Ok(Frame::Binary(Bytes::copy_from_slice(bytes.as_bytes())));
    }
    Err(PyTypeError::new_err(format!(
        "send() takes str, bytes, bytearray, memoryview or dict, not {}",
        data.get_type().name()?
    )))
}
