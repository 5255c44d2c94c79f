//! The turns that are not acknowledged: what the application knows of each, and what the leg has said.

use std::collections::VecDeque;

use crate::resume::rewrite::Edits;
use crate::resume::scan::Node;

/// A turn that is not acknowledged.
#[derive(Debug, Default)]
pub(super) struct SpeechTurn {
    pub(super) id: u64,
    /// Its name for the application.
    name: Option<String>,
    /// What was delivered of it.
    pub(super) delivered: Messages,
    /// Its name on the leg that speaks for the session.
    leg_name: Option<String>,
    /// What that leg has said of it.
    pub(super) leg: Messages,
    pub(super) counts: [i64; 2],
    /// How much later the application hears its end than its own synthesis says, in microseconds.
    pub(super) moved: i64,
}

/// The messages of a turn that have come.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) started: bool,
    pub(super) flushed: bool,
    pub(super) metadata: bool,
}

impl SpeechTurn {
    fn new(id: u64) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// Returns whether it is over when a turn of this name starts on the leg.
    fn is_before(&self, name: Option<Node<'_>>) -> bool {
        let other = self.leg_name.as_deref() != name.and_then(|name| name.raw_str());
        self.leg.metadata || (self.leg.flushed && self.leg_name.is_some() && other)
    }

    /// The leg names the turn. The application knows it by the name that it heard first.
    pub(super) fn rename(&mut self, name: Option<Node<'_>>, edits: &mut Edits) {
        let Some((node, given)) = name.and_then(|node| Some((node, node.raw_str()?))) else {
            return;
        };
        self.leg_name = Some(given.to_owned());
        let name = self.name.get_or_insert_with(|| given.to_owned());
        if name != given {
            edits.replace(node.span(), format!("\"{name}\""));
        }
    }
}

/// The turns that are not acknowledged, in order.
#[derive(Debug, Default)]
pub(super) struct SpeechTurns {
    open: VecDeque<SpeechTurn>,
    /// Whether this service sends `Flushed`, once a turn has shown it.
    sends_flushed: Option<bool>,
}

impl SpeechTurns {
    /// Text is added to a turn.
    pub(super) fn add_text(&mut self, id: u64) {
        if self.open.back().is_none_or(|last| last.id != id) {
            self.open.push_back(SpeechTurn::new(id));
        }
    }

    /// A turn goes on under its id after its first part was cancelled.
    pub(super) fn start_again(&mut self, id: u64) {
        self.open.push_front(SpeechTurn::new(id));
    }

    /// Another leg begins, which has said nothing of them.
    pub(super) fn begin_leg(&mut self) {
        for turn in &mut self.open {
            turn.leg = Messages::default();
            turn.leg_name = None;
        }
    }

    /// Returns whether this is the only one.
    pub(super) fn is_only(&self, id: u64) -> bool {
        self.open.len() == 1 && self.open[0].id == id
    }

    /// Returns the turn that is said now, or comes next.
    pub(super) fn front(&mut self) -> Option<&mut SpeechTurn> {
        self.open.front_mut()
    }

    /// Returns the turn that the leg has not ended.
    pub(super) fn active(&self) -> Option<&SpeechTurn> {
        self.open.iter().find(|turn| !turn.leg.metadata)
    }

    /// Returns the turn that the leg calls by this name; else the first one of a sort.
    pub(super) fn named_or(
        &mut self,
        name: Option<Node<'_>>,
        sort: impl Fn(&SpeechTurn) -> bool,
    ) -> Option<&mut SpeechTurn> {
        let named = name.and_then(|name| name.raw_str()).and_then(|name| {
            let mut turns = self.open.iter();
            turns.position(|turn| turn.leg_name.as_deref() == Some(name))
        });
        let index = named.or_else(|| self.open.iter().position(sort))?;
        self.open.get_mut(index)
    }

    /// Returns the first turn, if it is over because one of this name starts.
    pub(super) fn over_before(&mut self, name: Option<Node<'_>>) -> Option<u64> {
        let turn = self.open.front().filter(|turn| turn.is_before(name))?;
        self.sends_flushed.get_or_insert(turn.leg.flushed);
        Some(turn.id)
    }

    /// The service sends `Flushed`.
    pub(super) const fn has_flushed(&mut self) {
        self.sends_flushed = Some(true);
    }

    /// Returns whether the service is known not to send `Flushed`.
    pub(super) fn never_flushed(&self) -> bool {
        self.sends_flushed == Some(false)
    }

    /// A turn is over. Returns it.
    pub(super) fn remove(&mut self, id: u64) -> Option<SpeechTurn> {
        let index = self.open.iter().position(|turn| turn.id == id)?;
        self.open.remove(index)
    }

    /// Returns whether the application has had the end of a turn: `SpeechMetadata`.
    pub(super) fn is_over(&self, id: u64) -> bool {
        let mut turns = self.open.iter();
        turns.all(|turn| turn.id != id || turn.delivered.metadata)
    }

    /// Returns whether its `Flush` is answered as well: with `Flushed`, where the service sends it.
    pub(super) fn is_flushed(&self, id: u64) -> bool {
        let due = self.sends_flushed == Some(true);
        let mut turns = self.open.iter();
        turns.all(|turn| {
            let delivered = &turn.delivered;
            turn.id != id || (delivered.metadata && (delivered.flushed || !due))
        })
    }
}
