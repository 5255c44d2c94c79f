//! dgsm-local
