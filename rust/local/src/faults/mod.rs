//! Faults on demand: rules that say what goes wrong, and when.
//!
//! - `vocabulary`: the words of a rule.
//! - `rules`: which rules strike a leg, and when.
//! - `conversation`: what the legs of one conversation have heard.

mod conversation;
mod rules;
mod vocabulary;

pub(crate) use conversation::Conversation;
pub(crate) use rules::{Armed, Progress, Rules};
pub(crate) use vocabulary::covers;
pub use vocabulary::{
    Action, Answer, ConnectionAction, ConnectionFault, Fault, Malformation, Ordinals, Scope,
    Trigger,
};
