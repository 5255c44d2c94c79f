//! The PyO3 module `deepgram_sagemaker._native`: registration, conversion, wake-ups and error
//! mapping. No logic lives here.

mod diagnosis;
mod local;
mod notice;
mod pool;
mod session;
mod waker;

use pyo3::prelude::*;

/// The native half of `deepgram_sagemaker`.
#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::diagnosis::{Diagnosis, judge, quote, reasons};
    #[pymodule_export]
    use crate::local::{LocalServer, LocalStream, watermark};
    #[pymodule_export]
    use crate::notice::Notice;
    #[pymodule_export]
    use crate::pool::{Acquiring, Admission, Leg, OpenFailure, Opening, Pool};
    #[pymodule_export]
    use crate::session::{Session, SessionFailure, Step};
    #[pymodule_export]
    use crate::waker::Waker;

    /// Why a message was not taken: no room now.
    #[pymodule_export]
    const FULL: u8 = crate::session::FULL;
    /// Why a message was not taken: the session, or its input, has ended in order.
    #[pymodule_export]
    const ENDED: u8 = crate::session::ENDED;
    /// Why a message was not taken: the session has failed; the driver knows why, or soon will.
    #[pymodule_export]
    const FAILED: u8 = crate::session::FAILED;
    /// A message was taken; the loop flushes its waker when it has done what else is ready.
    #[pymodule_export]
    const HELD: u8 = crate::session::HELD;
    /// What a session's waiter may wait for: a message, or the end.
    #[pymodule_export]
    const READABLE: u8 = dgsm_net::session::interest::READABLE;
    /// Room for another frame.
    #[pymodule_export]
    const WRITABLE: u8 = dgsm_net::session::interest::WRITABLE;
    /// Another step for the driver.
    #[pymodule_export]
    const DRIVER: u8 = dgsm_net::session::interest::DRIVER;

    /// The version is the workspace's: one number for crates, wheel and module.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
