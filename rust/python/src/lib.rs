//! The PyO3 module `deepgram_sagemaker._native`: registration, conversion, wake-ups and error
//! mapping. No logic lives here.

use pyo3::prelude::*;

/// The native half of `deepgram_sagemaker`.
#[pymodule]
mod _native {}
