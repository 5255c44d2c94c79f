//! A WebSocket server that speaks as Deepgram does, and carries each connection over a session.
//!
//! It runs on the engine's thread, one task a connection. A payload goes from the socket into the
//! session's journal, and from the session's inbox to the socket. Python is asked once a
//! connection: it opens the session, or says why not.
//!
//! May import `dgsm-net`, `dgsm-session` and `dgsm-leg`. Never PyO3, and never `dgsm-local`.
//!
//! Tests: in each module what needs no socket; in `tests/gateway` (Python) the rest, over real
//! sockets and against the local endpoint.
//!
//! ```text
//! gateway   a running gateway
//! listen    the socket, and one connection's way
//! gate      what connections share        line      TCP, or TLS over it
//! serve     HTTP: what is answered here, and what Python is asked
//! door      who is let in
//! answer    refusals as Deepgram writes them
//! request   a request that Python decides on
//! desk      what Python has yet to take   places    how much of it
//! talk      one conversation: its figures and its end
//! carry     WebSocket ↔ session
//! close     close codes
//! counts    figures of the whole gateway
//! ```

pub mod answer;
mod carry;
pub mod close;
pub mod counts;
pub mod desk;
pub mod door;
pub mod gate;
pub mod gateway;
mod line;
mod listen;
mod places;
pub mod request;
mod serve;
mod talk;
