//! The data path against peers that do what real ones should not. A file per module.

mod client;
mod peer;

mod connection;
mod dial;
mod exchange;
mod pool;
mod pump;
mod session;
mod tunnel;
