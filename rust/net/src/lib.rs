//! The HTTP/2 data path: tokio, h2 and rustls.
//!
//! ```text
//! engine    one thread, one runtime a process
//! tls       whom we trust
//! dial      TCP, proxy, TLS, HTTP/2: makes a connection
//! connection   one while it is up: driven, watched, pinged
//! pool      permits, streams per connection      handshakes   pacing, for each host
//! exchange  one request, up to its response headers
//! session   a core session, shared with the application's thread
//! pump      one leg: what the session has to send, what the service answers
//! failure   what can go wrong, as data
//! ```

mod clock;
pub mod connection;
pub mod dial;
pub mod engine;
pub mod exchange;
pub mod failure;
mod handshakes;
pub mod pool;
pub mod pump;
pub mod session;
pub mod tls;
mod tunnel;

/// Tells the application's thread that something it waits for may have happened.
pub trait Wake: Send + Sync + 'static {
    /// Called from the engine's thread, or from the application's own; cheap, never blocks.
    fn wake(&self);
}
