//! The types that a transport and a session share.
//!
//! A transport carries legs; a session makes one conversation of them. Neither knows the other.
//!
//! - [`frame`]: one message, in either direction.
//! - [`end`]: how a leg ends.
//! - [`reason`]: why a leg did not open or ended, and whether to retry: the one table of verdicts.
//! - [`diagnosis`]: a failure, described for error messages, with [`quote`]d words of the peer.
//! - [`deepgram`]: the errors of Deepgram's containers.
//!
//! Imports none of our crates. Tests: in each module.

pub mod deepgram;
pub mod diagnosis;
pub mod end;
pub mod frame;
pub mod quote;
pub mod reason;
