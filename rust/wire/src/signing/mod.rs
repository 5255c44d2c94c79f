//! AWS Signature Version 4 for event streams.
//!
//! The request's signature seeds a chain: every event is wrapped in an envelope that carries the
//! time (`:date`) and a signature (`:chunk-signature`) over that time, the event and the previous
//! signature. An envelope without an event ends the chain.
//!
//! - [`EventSigner`]: the client's end of the chain.
//! - [`Chain`]: the computation of both ends. The server's end is in the local endpoint.

mod chain;
mod events;
mod key;

pub mod hex;
pub mod time;

pub use chain::{Chain, OutOfRange};
pub(crate) use events::ENVELOPE_LEN;
pub use events::{EventSigner, SigningError};
pub use key::{Scope, SigningKey, same};
