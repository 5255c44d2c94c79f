//! The data path against peers that misbehave. One file for each module.

mod client;
mod peer;

mod connection;
mod dial;
mod exchange;
mod pool;
mod pump;
mod session;
mod tunnel;
