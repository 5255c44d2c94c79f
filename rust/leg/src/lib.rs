//! What passes between a transport and a session: the words that both know.
//!
//! A transport carries legs; a session makes a conversation of them. Neither knows the other.
//!
//! - [`frame`]: one message, either way.
//! - [`end`]: how a leg ends.
//! - [`reason`]: why a leg does not open or does not last, and whether the same again may work: the
//!   one table of verdicts.
//! - [`diagnosis`]: a failure as it is explained to people, with [`quote`]d words of the other side.
//! - [`deepgram`]: what Deepgram's containers say of an error.
//!
//! Imports none of our crates. Tests: in each module.

pub mod deepgram;
pub mod diagnosis;
pub mod end;
pub mod frame;
pub mod quote;
pub mod reason;
