//! What a speaking application has asked for and not been given yet.
//!
//! The journal has the messages; here is what they mean. Text belongs to a turn, which a `Flush`
//! ends; the service answers turn by turn, in order.

use std::collections::VecDeque;

use super::scan::type_of;
use crate::journal::Journal;
use dgsm_leg::frame::Frame;

/// How many warnings of a turn are remembered.
const MAX_WARNINGS: usize = 16;

/// What an application asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text to say.
    Text,
    /// The turn's text is complete.
    Flush,
    /// Nothing before it is to be said.
    Clear,
    /// The active turn is not to be said further.
    Interrupt,
    /// Other settings from here on.
    Configure,
    /// Something unknown, sent where it stands.
    Other,
}

impl Kind {
    /// By the message's `type`.
    #[must_use]
    pub fn of(frame: &Frame) -> Self {
        match type_of(frame) {
            Some("Speak") => Self::Text,
            Some("Flush") => Self::Flush,
            Some("Clear") => Self::Clear,
            Some("Interrupt") => Self::Interrupt,
            Some("Configure") => Self::Configure,
            Some(_) | None => Self::Other,
        }
    }
}

/// One message of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number in the journal.
    pub number: u64,
    /// What it asks for.
    pub kind: Kind,
    /// The turn it belongs to.
    pub turn: u64,
    /// It went out, on some leg.
    pub sent: bool,
    /// It went out on the leg that speaks for the session.
    pub on_leg: bool,
}

/// Everything asked for, oldest first.
#[derive(Debug, Default)]
pub struct Requests {
    queue: VecDeque<Request>,
    /// The turn that text is added to.
    open: u64,
    /// Anything was asked for, ever.
    asked: bool,
}

impl Requests {
    /// The application asks; the turn it is part of.
    pub fn push(&mut self, kind: Kind, number: u64) -> u64 {
        let turn = self.open;
        self.asked = true;
        self.queue.push_back(Request {
            number,
            kind,
            turn,
            sent: false,
            on_leg: false,
        });
        match kind {
            Kind::Flush | Kind::Clear => self.open += 1,
            Kind::Text | Kind::Interrupt | Kind::Configure | Kind::Other => {}
        }
        turn
    }

    /// Text from here on belongs to another turn.
    pub const fn end_turn(&mut self) {
        self.open += 1;
    }

    /// The turn that text is added to.
    #[must_use]
    pub const fn open_turn(&self) -> u64 {
        self.open
    }

    /// One went out.
    pub fn sent(&mut self, number: u64) {
        if let Some(request) = self
            .queue
            .iter_mut()
            .find(|request| request.number == number)
        {
            request.sent = true;
            request.on_leg = true;
        }
    }

    /// Another leg: nothing went out on it yet.
    pub fn begin_leg(&mut self) {
        for request in &mut self.queue {
            request.on_leg = false;
        }
    }

    /// All of them, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Request> {
        self.queue.iter()
    }

    /// Those of a kind that the leg got, oldest first.
    #[must_use]
    pub fn on_leg(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Request> {
        self.queue
            .iter()
            .filter(move |request| request.on_leg && request.kind == kind)
    }

    /// One by its number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Request> {
        self.queue.iter().find(|request| request.number == number)
    }

    /// Whether a turn has anything to say.
    #[must_use]
    pub fn has_text(&self, turn: u64) -> bool {
        self.queue
            .iter()
            .any(|request| request.turn == turn && request.kind == Kind::Text)
    }

    /// Whether something went out that waits for its answer, or text for its audio.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.queue
            .iter()
            .any(|request| request.sent && self.is_due(request))
    }

    /// Whether the service owes an answer, beyond audio for text that no `Flush` followed.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.queue
            .iter()
            .any(|request| request.kind != Kind::Text && self.is_due(request))
    }

    /// Whether anything was ever asked for.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.asked
    }

    /// Whether anything has no answer yet, sent or not.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.queue.iter().any(|request| self.is_due(request))
    }

    /// An empty `Flush` need not be answered, and what is unknown is not.
    fn is_due(&self, request: &Request) -> bool {
        match request.kind {
            Kind::Text | Kind::Clear | Kind::Interrupt => true,
            Kind::Flush => self.has_text(request.turn),
            Kind::Configure | Kind::Other => false,
        }
    }

    /// These are done with: the journal does not send them again.
    pub fn settle(&mut self, journal: &mut Journal, done: impl Fn(&Request) -> bool) {
        self.queue.retain(|request| {
            let done = done(request);
            if done {
                journal.settle(request.number);
            }
            !done
        });
    }

    /// The oldest one.
    #[must_use]
    pub fn front(&self) -> Option<&Request> {
        self.queue.front()
    }
}

/// The warnings of a turn, word for word, so that another leg does not repeat them.
#[derive(Debug, Default)]
pub struct Warnings {
    said: Vec<Frame>,
}

impl Warnings {
    /// Returns whether a warning is new in this turn.
    pub fn is_new(&mut self, frame: &Frame) -> bool {
        let new = !self.said.contains(frame);
        if new && self.said.len() < MAX_WARNINGS {
            self.said.push(frame.clone());
        }
        new
    }

    /// Another turn begins.
    pub fn clear(&mut self) {
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(kinds: &[Kind]) -> (Requests, Journal) {
        let (mut requests, mut journal) = (Requests::default(), Journal::new());
        for kind in kinds {
            let number = journal.push_control(crate::journal::Control::Other, Frame::from("{}"));
            requests.push(*kind, number);
        }
        (requests, journal)
    }

    #[test]
    fn a_flush_ends_a_turn() {
        let kinds = [
            Kind::Text,
            Kind::Text,
            Kind::Flush,
            Kind::Text,
            Kind::Clear,
            Kind::Flush,
        ];
        let (requests, _) = requests(&kinds);
        let turns: Vec<u64> = requests.iter().map(|request| request.turn).collect();
        assert_eq!(turns, [0, 0, 0, 1, 1, 2]);
        assert!(requests.has_text(1) && !requests.has_text(2));
    }

    #[test]
    fn what_was_sent_waits() {
        let (mut requests, mut journal) = requests(&[
            Kind::Text,
            Kind::Flush,
            Kind::Flush,
            Kind::Other,
            Kind::Configure,
        ]);
        assert!(!requests.waits(), "nothing went out");
        requests.sent(0);
        assert!(requests.waits());
        requests.sent(1);
        requests.settle(&mut journal, |request| request.turn == 0);
        for number in 2..5 {
            requests.sent(number);
        }
        assert!(!requests.waits() && !requests.owes());
    }

    #[test]
    fn what_is_settled_is_not_sent_again() {
        let (mut requests, mut journal) = requests(&[Kind::Text, Kind::Flush, Kind::Text]);
        requests.settle(&mut journal, |request| request.turn == 0);
        let mut cursor = journal.cursor(0);
        let Some(crate::journal::Item::Control { number, .. }) = journal.take(&mut cursor) else {
            panic!("one is left")
        };
        assert_eq!(number, 2);
        assert!(journal.take(&mut cursor).is_none());
    }

    #[test]
    fn the_same_words_are_new_once_a_turn() {
        let mut warnings = Warnings::default();
        assert!(warnings.is_new(&Frame::from("a")));
        assert!(!warnings.is_new(&Frame::from("a")));
        warnings.clear();
        assert!(warnings.is_new(&Frame::from("a")));
    }

    #[test]
    fn kinds_by_name() {
        for (text, kind) in [
            (r#"{"type":"Speak","text":"Flush"}"#, Kind::Text),
            (r#"{ "type" : "Flush" }"#, Kind::Flush),
            (r#"{"type":"Configure"}"#, Kind::Configure),
            ("Flush", Kind::Other),
        ] {
            assert_eq!(Kind::of(&Frame::from(text)), kind);
        }
    }
}
