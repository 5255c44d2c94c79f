//! The PyO3 module `deepgram_sagemaker._native`: registration, conversion, wake-ups and error
//! mapping. No logic lives here.

mod waker;

use pyo3::prelude::*;

/// The native half of `deepgram_sagemaker`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::waker::Waker;
}
