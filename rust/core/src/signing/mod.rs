//! AWS Signature Version 4 for event streams.
//!
//! The request's signature seeds a chain: every event is wrapped in an envelope that carries the
//! time (`:date`) and a signature (`:chunk-signature`) over that time, the event and the signature
//! before it. An envelope without an event ends the chain.
//!
//! - [`EventSigner`]: the client's end of the chain.
//! - [`EventVerifier`]: the server's.
//! - [`verify_request`]: the server's check of the request, which yields the seed.

mod chain;
mod events;
mod hex;
mod key;
mod request;
mod time;

pub(crate) use events::ENVELOPE_LEN;
pub use events::{Envelope, EventSigner, EventVerifier, SignatureError, SigningError};
pub use key::{Scope, SigningKey};
pub use request::{Request, RequestSignature, SigV4Error, verify_request};
