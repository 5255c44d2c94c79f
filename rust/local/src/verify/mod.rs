//! The checks of Signature Version 4, which only a server makes: of a request, whose signature
//! seeds the chain, and of the events in the chain.

mod events;
pub(crate) mod percent;
mod request;

pub use events::{Envelope, EventVerifier, SignatureError};
pub use request::{Request, RequestSignature, SigV4Error, verify_request};
