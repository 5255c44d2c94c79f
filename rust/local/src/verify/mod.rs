//! What only a server needs of Signature Version 4: the check of a request, which yields the seed, and
//! the check of the chain of events that it starts.

mod events;
mod request;

pub use events::{Envelope, EventVerifier, SignatureError};
pub use request::{Request, RequestSignature, SigV4Error, verify_request};
