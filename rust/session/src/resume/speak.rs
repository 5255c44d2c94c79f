//! What a speaking application has asked for and has no answer to.
//!
//! The journal has the messages; this module has their meaning. Text belongs to a turn, which a
//! `Flush` ends. The service answers turn by turn, in order.

use std::collections::VecDeque;

use super::scan::type_of;
use crate::journal::Journal;
use dgsm_leg::frame::Frame;

/// How many warnings of a turn are remembered.
const MAX_WARNINGS: usize = 16;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Speech for a text.
    Text,
    /// The rest of a turn's speech: its text is complete.
    Flush,
    /// Silence: nothing before it is to be spoken.
    Clear,
    /// Silence for the rest of the active turn.
    Interrupt,
    /// Other settings from here on.
    Configure,
    /// Something unknown.
    Other,
}

impl Kind {
    /// Returns what a message of this `type` asks for.
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
    /// Its turn.
    pub turn: u64,
    /// It was sent, over any leg.
    pub sent: bool,
    /// It was sent over the current leg.
    pub on_leg: bool,
}

/// The messages without an answer, oldest first.
#[derive(Debug, Default)]
pub struct Requests {
    queue: VecDeque<Request>,
    /// The turn that text is added to.
    open: u64,
    /// Anything was ever asked for.
    asked: bool,
}

impl Requests {
    /// The application asks. Returns the turn of the message.
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

    /// Ends the turn: text from here on belongs to another one.
    pub const fn end_turn(&mut self) {
        self.open += 1;
    }

    /// Returns the turn that text is added to.
    #[must_use]
    pub const fn open_turn(&self) -> u64 {
        self.open
    }

    /// A message was sent.
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

    /// Another leg begins, which was sent nothing.
    pub fn begin_leg(&mut self) {
        for request in &mut self.queue {
            request.on_leg = false;
        }
    }

    /// Returns all of them, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Request> {
        self.queue.iter()
    }

    /// Returns those of a kind that the current leg was sent, oldest first.
    #[must_use]
    pub fn on_leg(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Request> {
        self.queue
            .iter()
            .filter(move |request| request.on_leg && request.kind == kind)
    }

    /// Returns one by its number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Request> {
        self.queue.iter().find(|request| request.number == number)
    }

    /// Returns whether a turn has text without an answer.
    #[must_use]
    pub fn has_text(&self, turn: u64) -> bool {
        self.queue
            .iter()
            .any(|request| request.turn == turn && request.kind == Kind::Text)
    }

    /// Returns whether anything that was sent waits for its answer, or text for its speech.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.queue
            .iter()
            .any(|request| request.sent && self.is_due(request))
    }

    /// Returns whether the service owes an answer, beyond speech for text that no `Flush` follows.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.queue
            .iter()
            .any(|request| request.kind != Kind::Text && self.is_due(request))
    }

    /// Returns whether anything was ever asked for.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.asked
    }

    /// Returns whether anything has no answer, sent or not.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.queue.iter().any(|request| self.is_due(request))
    }

    /// Returns whether an answer is due. An empty `Flush` may stay without one, and unknown
    /// messages have none.
    fn is_due(&self, request: &Request) -> bool {
        match request.kind {
            Kind::Text | Kind::Clear | Kind::Interrupt => true,
            Kind::Flush => self.has_text(request.turn),
            Kind::Configure | Kind::Other => false,
        }
    }

    /// Settles messages: the journal does not send them again.
    pub fn settle(&mut self, journal: &mut Journal, done: impl Fn(&Request) -> bool) {
        self.queue.retain(|request| {
            let done = done(request);
            if done {
                journal.settle(request.number);
            }
            !done
        });
    }

    /// Returns the oldest one.
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
