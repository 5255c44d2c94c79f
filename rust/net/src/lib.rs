//! dgsm-net
