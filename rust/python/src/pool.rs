//! `Permits`, `Pool`, `Acquiring`, `Admission`, `Opening`, `Leg`, `OpenFailure`: opening streams, in
//! that order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dgsm_net::dial::Target;
use dgsm_net::engine::Engine;
use dgsm_net::exchange::Exchange;
use dgsm_net::failure::Failure;
use dgsm_net::pool::{OpenLeg, Pending};
use dgsm_net::tls;
use dgsm_wire::signing::EventSigner;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::diagnosis::Diagnosis;
use crate::settings::{PoolConfig, Route};
use crate::waker::Waker;

/// The service's name in credential scopes.
const SERVICE: &str = "sagemaker";

/// `max_concurrency`, for several pools together.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Permits {
    permits: dgsm_net::pool::Permits,
}

#[pymethods]
impl Permits {
    #[new]
    fn new(max_concurrency: usize) -> Self {
        Self {
            permits: dgsm_net::pool::Permits::new(max_concurrency),
        }
    }
}

/// Connections to one endpoint, within limits.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Pool {
    pool: Arc<dgsm_net::pool::Pool>,
}

#[pymethods]
impl Pool {
    #[new]
    #[pyo3(signature = (config, route, permits = None))]
    fn new(
        py: Python<'_>,
        config: PoolConfig,
        route: Route,
        permits: Option<&Permits>,
    ) -> PyResult<Self> {
        // Python does not wait for the files, which may lie on a server.
        let tls = py
            .detach(|| tls::client_config(route.ca_bundle.as_deref()))
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        let limits = route.limits(&config)?;
        let target = Target {
            ping: route.ping()?,
            host: route.host,
            port: route.port,
            proxy: route.proxy.map(Into::into),
            tls,
            bundle: route.ca_bundle,
        };
        Ok(Self {
            pool: match permits {
                None => dgsm_net::pool::Pool::new(target, limits),
                Some(shared) => {
                    let permits = shared.permits.clone();
                    dgsm_net::pool::Pool::with_permits(target, limits, permits)
                }
            },
        })
    }

    /// Returns the number of openings that wait for one of `max_concurrency`.
    #[getter]
    fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Waits on the engine for the right to open a stream; then posts the token.
    #[pyo3(signature = (*, with_permit, waker, token))]
    fn acquire(&self, with_permit: bool, waker: &Waker, token: u64) -> PyResult<Acquiring> {
        let engine = Engine::shared()?;
        let waiter = waker.token(token);
        let acquiring = self.pool.acquire(&engine, with_permit, waiter);
        Ok(Acquiring {
            parts: Mutex::new(Some((acquiring, engine))),
        })
    }
}

/// An admission on its way.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Acquiring {
    parts: Mutex<Option<(Pending<dgsm_net::pool::Admission>, Arc<Engine>)>>,
}

/// The outcome of acquiring.
#[derive(IntoPyObject)]
enum Acquired {
    Admission(Admission),
    Failure(OpenFailure),
}

#[pymethods]
impl Acquiring {
    /// Returns the outcome, once; `None` while there is none, and after `cancel`.
    fn take(&self) -> Option<Acquired> {
        let parts = locked(&self.parts);
        let (acquiring, engine) = parts.as_ref()?;
        Some(match acquiring.take()? {
            Ok(admission) => Acquired::Admission(Admission {
                parts: Mutex::new(Some((admission, Arc::clone(engine)))),
            }),
            Err(failure) => Acquired::Failure(OpenFailure { failure }),
        })
    }

    /// Stops waiting, from any thread; an admission that was not taken is given back.
    fn cancel(&self) {
        drop(locked(&self.parts).take());
    }
}

/// The right to open one stream.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Admission {
    parts: Mutex<Option<(dgsm_net::pool::Admission, Arc<Engine>)>>,
}

#[pymethods]
impl Admission {
    /// Sends a POST and waits on the engine for its response headers; then posts the token.
    #[pyo3(signature = (authority, path, headers, *, waker, token))]
    fn open(
        &self,
        authority: &str,
        path: &str,
        headers: Vec<(String, String)>,
        waker: &Waker,
        token: u64,
    ) -> PyResult<Opening> {
        let mut request = http::Request::post(format!("https://{authority}{path}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let (admission, engine) = locked(&self.parts)
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("a turn opens one stream"))?;
        let opening = admission.open(&engine, request, waker.token(token));
        Ok(Opening {
            parts: Mutex::new(Some((opening, engine))),
        })
    }

    /// Gives it back, unless it has opened a stream.
    fn release(&self) {
        drop(locked(&self.parts).take());
    }
}

/// A stream on its way.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Opening {
    parts: Mutex<Option<(Pending<OpenLeg>, Arc<Engine>)>>,
}

/// The outcome of an opening.
#[derive(IntoPyObject)]
enum Opened {
    Leg(Leg),
    Failure(OpenFailure),
}

#[pymethods]
impl Opening {
    /// Returns the outcome, once; `None` while there is none, and after `cancel`.
    fn take(&self) -> Option<Opened> {
        let parts = locked(&self.parts);
        let (opening, engine) = parts.as_ref()?;
        Some(match opening.take()? {
            Ok(leg) => Opened::Leg(Leg::new(leg, Arc::clone(engine))),
            Err(failure) => Opened::Failure(OpenFailure { failure }),
        })
    }

    /// Stops waiting, from any thread; a stream that was not taken is closed.
    fn cancel(&self) {
        drop(locked(&self.parts).take());
    }
}

/// A stream that the service has accepted, until a session takes it over.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Leg {
    parts: Mutex<Parts>,
    headers: Vec<(String, String)>,
}

struct Parts {
    open: Option<(Box<OpenLeg>, Arc<Engine>)>,
    signer: Option<Box<EventSigner>>,
}

impl Leg {
    fn new(leg: OpenLeg, engine: Arc<Engine>) -> Self {
        let Exchange { headers, .. } = &leg.exchange;
        let headers = headers.clone();
        Self {
            parts: Mutex::new(Parts {
                open: Some((Box::new(leg), engine)),
                signer: None,
            }),
            headers,
        }
    }

    /// Returns what a session needs of it, once.
    pub(crate) fn take(&self) -> PyResult<(Arc<Engine>, OpenLeg, EventSigner)> {
        let mut parts = locked(&self.parts);
        match (parts.open.take(), parts.signer.take()) {
            (Some((open, engine)), Some(signer)) => Ok((engine, *open, *signer)),
            _ => Err(PyRuntimeError::new_err(
                "a leg is taken once, and after begin_chain()",
            )),
        }
    }
}

#[pymethods]
impl Leg {
    /// Returns the response's headers.
    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        self.headers.clone()
    }

    /// Closes the stream, unless a session has taken it over.
    fn close(&self) {
        drop(locked(&self.parts).open.take());
    }

    /// Begins the chain of event signatures, with the key and signature of the leg's request.
    #[pyo3(signature = (*, secret_access_key, region, seed_signature))]
    fn begin_chain(
        &self,
        secret_access_key: &str,
        region: &str,
        seed_signature: &str,
    ) -> PyResult<()> {
        let signer = EventSigner::new(secret_access_key, region, SERVICE, seed_signature)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        locked(&self.parts).signer = Some(Box::new(signer));
        Ok(())
    }
}

/// Why there is no stream.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct OpenFailure {
    failure: Failure,
}

#[pymethods]
impl OpenFailure {
    /// Returns the failure, judged.
    #[getter]
    fn diagnosis(&self) -> Diagnosis {
        self.failure.diagnosis().into()
    }

    /// Returns the transport's description, for people.
    #[getter]
    fn detail(&self) -> &str {
        &self.failure.detail
    }

    /// Returns the answer's status, where there was one.
    #[getter]
    fn status(&self) -> Option<u16> {
        self.failure.answer.as_ref().map(|answer| answer.status)
    }

    /// Returns the answer's headers.
    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        self.failure
            .answer
            .as_ref()
            .map_or_else(Vec::new, |answer| answer.headers.clone())
    }

    /// Returns the part of the answer's body that was kept.
    #[getter]
    fn body(&self) -> &[u8] {
        self.failure
            .answer
            .as_ref()
            .map_or(&[], |answer| &answer.body)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
