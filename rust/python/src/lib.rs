//! The PyO3 module `deepgram_sagemaker._native`: registration, conversion and error mapping. No
//! logic lives here.
//!
//! May import every crate of the house. What it registers is described in `_native.pyi`, which
//! `mypy.stubtest` holds against it. It has no tests of its own in Rust: `tests/` uses all of it
//! from Python, `tests/test_wakeups.py`, `tests/test_notices.py` and `tests/aws/test_failures.py`
//! at the boundary itself.

mod diagnosis;
mod gateway;
#[cfg(feature = "local")]
mod local;
mod notice;
mod pool;
mod session;
mod settings;
mod waker;

use pyo3::prelude::*;

/// The native half of `deepgram_sagemaker`. It needs no GIL: every class is immutable for Python and
/// keeps what changes behind a lock, under which nothing of Python's is called.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::diagnosis::{Diagnosis, judge, quote, reasons, whose};
    #[pymodule_export]
    use crate::gateway::{Gateway, GatewayEnd, GatewayRefusal, GatewayRequest};
    #[cfg(feature = "local")]
    #[pymodule_export]
    use crate::local::{LocalServer, LocalStream, watermark};
    #[pymodule_export]
    use crate::notice::notices;
    #[pymodule_export]
    use crate::pool::{Acquiring, Admission, Leg, OpenFailure, Opening, Permits, Pool};
    #[pymodule_export]
    use crate::session::{Interest, SendResult, Session, SessionFailure, Step};
    #[pymodule_export]
    use crate::waker::Waker;

    /// The version is the workspace's: one number for crates, wheel and module.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
