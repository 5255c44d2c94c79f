//! The local endpoint: what answers in place of Amazon SageMaker on a laptop or in CI.
//!
//! An HTTP/2 server over TLS that speaks `InvokeEndpointWithBidirectionalStream` as the service
//! does: it checks the request's signature and the chain of the events', enforces the service's
//! patterns and limits, and hands whole messages to a model. What goes wrong, goes wrong on
//! demand ([`faults`]). It shares nothing with the client but the codec of `dgsm-wire`.

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
