//! The HTTP/2 data path: connections, streams, and the pump that carries a session over them.
//!
//! May import `dgsm-session`, `dgsm-wire` and `dgsm-leg`, which it joins, and tokio, h2 and rustls.
//! Never PyO3: how the application is woken is a trait (`wake`). It decides nothing about a
//! conversation (that is the session's) and nothing about bytes (that is the wire's).
//!
//! Tests: in each module what needs its private parts; in `tests/net` the rest, against peers made
//! for them and against the local endpoint; `tests/engine.rs` for what has to be alone in its
//! process.
//!
//! ```text
//! engine      one thread, one runtime a process
//! tls         which certificates are trusted, and what a failed handshake means
//! tunnel      TCP, straight or through a proxy       stage   how far a dial has come
//! dial        tunnel, TLS, HTTP/2: makes a connection
//! connection  one connection while it is up: driven, watched, pinged
//! pool        permits, streams per connection        handshakes   pacing, for each host
//! exchange    one request, up to its response headers
//! session     a session, shared with the application's thread
//! wake        wake-ups, both ways, saved up
//! pump        one leg: what the session has to send, what the service answers
//! failure     what can go wrong, as data
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
mod stage;
pub mod tls;
pub mod tunnel;
pub mod wake;
