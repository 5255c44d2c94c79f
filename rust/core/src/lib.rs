//! dgsm-core
