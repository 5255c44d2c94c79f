//! The local endpoint: it answers in place of Amazon SageMaker on a laptop or in CI.
//!
//! An HTTP/2 server over TLS that speaks `InvokeEndpointWithBidirectionalStream` as the service
//! does. It checks the request's signature and the events' chain, enforces the service's patterns
//! and limits, and hands whole messages to a model. Faults happen on demand ([`faults`]).
//!
//! - [`Server`]: the thread and its listener; one task a connection, one task a stream.
//! - [`settings`]: all that a server is started with, as JSON.
//! - [`verify`]: the checks of signatures, which only a server makes.
//! - [`bridge`]: models that live in another language; [`watermark`]: the model that counts.
//! - [`stats`]: what a server has counted and recorded.
//!
//! Imports `dgsm-leg` and `dgsm-wire`, and shares nothing else with the client. Tests: in each
//! module; `tests/`, with a client of its own, and `tests/agreement.rs`, which holds the endpoint's
//! readers and the session's against the same tables.

mod authority;
mod checks;
mod connection;
mod container;
mod handle;
mod leg;
mod malformed;
mod outbound;
mod refusal;
mod server;
mod shared;
mod tap;

pub mod audio;
pub mod bridge;
pub mod faults;
pub mod model;
pub mod query;
pub mod settings;
pub mod stats;
pub mod verify;
pub mod watermark;

pub use authority::AuthorityError;
pub use server::{Server, StartError};
