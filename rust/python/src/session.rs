//! `Session`, `Step`, `SessionFailure`: a core session as Python holds it.

use std::sync::Arc;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use dgsm_leg::reason::Reason;
use dgsm_net::pump;
use dgsm_net::session::{SharedSession, interest};
use dgsm_net::wake::outbox::Pumped as _;
use dgsm_session::{PushError, Session as CoreSession, Settings, Target};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView, PyString};

use crate::diagnosis::Diagnosis;
use crate::notice::Notice;
use crate::pool::{Leg, seconds};
use crate::waker::{Outbox, Waker};

/// Why a message was not taken: no room now.
pub(crate) const FULL: u8 = 1;
/// Why a message was not taken: the session, or its input, has ended in order.
pub(crate) const ENDED: u8 = 2;
/// Why a message was not taken: the session has failed; the driver knows why, or soon will.
pub(crate) const FAILED: u8 = 4;
/// A message was taken; the loop flushes its waker when it has done what else is ready.
pub(crate) const HELD: u8 = 3;

/// The fields of `SageMakerConfig` that a session needs; they are validated there.
#[derive(FromPyObject)]
struct Knobs {
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

impl Knobs {
    fn settings(&self) -> PyResult<Settings> {
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

/// What the driver does next.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) enum Step {
    /// Open a leg, then `attach` it or say `open_failed`.
    Open { standby: bool, renew: bool },
    /// Nothing, for so many seconds or until woken.
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
    /// What another leg would need is there.
    resumable: bool,
    attempts: u32,
    elapsed: f64,
    unacknowledged_bytes: u64,
    unacknowledged_seconds: f64,
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
        })
    }
}

/// One conversation, over any number of legs.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Session {
    shared: Arc<SharedSession>,
    outbox: Arc<Outbox>,
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (path, query, config, *, seed, waker, token))]
    fn new(
        path: &str,
        query: &str,
        config: Knobs,
        seed: u64,
        waker: &Waker,
        token: u64,
    ) -> PyResult<Self> {
        let session = CoreSession::new(config.settings()?, &Target { path, query }, seed);
        Ok(Self {
            shared: SharedSession::new(session, waker.token(token)),
            outbox: waker.outbox(),
        })
    }

    /// Takes a message of the application: 0 or `HELD`. Or why not: `FULL`, and woken when it is worth
    /// another try; `ENDED` or `FAILED` for good.
    fn send(&self, data: &Bound<'_, PyAny>) -> PyResult<u8> {
        let frame = frame(data)?;
        Ok(match self.shared.push(frame) {
            Ok(()) if self.outbox.note(&self.shared) => HELD,
            Ok(()) => 0,
            Err(PushError::Full) => FULL,
            Err(PushError::Closed) => ENDED,
            Err(PushError::Failed) => FAILED,
        })
    }

    /// The next message for the application. None: not now; woken when there is one.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut session = self.shared.lock();
        let Some(frame) = session.pop() else {
            self.shared.arm(interest::READABLE);
            return Ok(None);
        };
        drop(session);
        self.shared.has_read();
        Ok(Some(match frame {
            Frame::Text(text) => PyString::from_bytes(py, &text)?.into_any(),
            Frame::Binary(data) => PyBytes::new(py, &data).into_any(),
        }))
    }

    /// The application ends its input.
    fn finish(&self) {
        let now = self.shared.now();
        self.shared.lock().finish(now);
        self.shared.notify_pumps();
    }

    /// Ends everything now: legs are reset, nothing more is sent or received.
    fn abort(&self) {
        self.shared.lock().abort();
        self.shared.notify_pumps();
    }

    /// What the driver does next.
    fn step(&self, py: Python<'_>) -> PyResult<Step> {
        use dgsm_session::Step as CoreStep;
        // Without a leg nobody else keeps the session's clock.
        let (now, step, deadline) = self.shared.update(|session, now| {
            let step = session.step(now);
            (now, step, session.deadline())
        });
        // What was due may concern any leg.
        self.shared.notify_pumps();
        Ok(match step {
            CoreStep::Open { standby, renew } => Step::Open { standby, renew },
            CoreStep::Wait { until } => {
                let due = [until, deadline].into_iter().flatten().min();
                Step::Wait {
                    seconds: due.map(|due| due.saturating_sub(now).as_secs_f64()),
                }
            }
            CoreStep::Finished => Step::Finished {},
            CoreStep::Failed(failure) => Step::Failed {
                failure: Py::new(py, SessionFailure::new(py, &failure)?)?,
            },
        })
    }

    /// The leg that the driver opened: its pump starts.
    fn attach(&self, leg: &Leg) -> PyResult<()> {
        let (engine, open, signer) = leg.take()?;
        self.outbox.set_engine(&engine);
        let id = self.shared.update(CoreSession::leg_opened);
        // It may take over at once from one that waits.
        self.shared.notify_pumps();
        pump::spawn(&engine, Arc::clone(&self.shared), id, open, signer);
        Ok(())
    }

    /// The leg that the session wanted could not be opened, for this reason.
    fn open_failed(&self, reason: &str) -> PyResult<()> {
        let reason = Reason::from_name(reason)
            .ok_or_else(|| PyValueError::new_err(format!("no such reason: {reason}")))?;
        let now = self.shared.now();
        // What follows is asked for with `step`.
        let _ = self.shared.lock().open_failed(now, reason);
        Ok(())
    }

    /// The session's figures, by the names of the Python class that shows them.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.shared.lock().stats();
        let figures = PyDict::new(py);
        figures.set_item("legs", stats.legs)?;
        figures.set_item("resets", stats.resets)?;
        figures.set_item("rollovers", stats.rollovers)?;
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

    /// What has happened since the last call, as bits: 1 readable, 2 writable, 4 driver.
    fn take_happened(&self) -> u8 {
        self.shared.take_happened()
    }

    /// What happened since the last call: level, as `logging` has them, and notice.
    fn take_notices(&self) -> Vec<(u8, Notice)> {
        let mut session = self.shared.lock();
        let notices: Vec<_> = std::iter::from_fn(|| session.pop_notice()).collect();
        drop(session);
        let skipped = self.shared.take_skipped().into_iter();
        notices
            .into_iter()
            .map(Notice::of)
            .chain(skipped.map(Notice::unknown_event))
            .collect()
    }
}

/// Bytes or text from whatever holds them. `bytes` and `str` are what the SDK sends.
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
        // Of any format: a view of samples stands for their bytes.
        let bytes = data.call_method0("tobytes")?;
        let bytes = bytes.cast::<PyBytes>()?;
        return Ok(Frame::Binary(Bytes::copy_from_slice(bytes.as_bytes())));
    }
    Err(PyTypeError::new_err(format!(
        "send() takes str, bytes, bytearray, memoryview or dict, not {}",
        data.get_type().name()?
    )))
}
