//! `v1/speak` (Aura): text is acknowledged at `Flushed`, and after a reset only the missing speech is
//! delivered.

use super::inbox::Inbox;
use super::incoming::Incoming;
use super::leg::{LegStart, LegView};
use super::product::{Effect, Handover, Product};
use super::query::Target;
use super::rewrite::Edits;
use super::speak::{Kind, Requests, Warnings};
use super::speech::{Join, Speech};
use super::voice::Voice;
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// The messages that clients send.
pub const VOCABULARY: &[&str] = &["Speak", "Flush", "Clear", "Close"];

/// An answer that has a number.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Flushed,
    Cleared,
}

/// How `Flushed` and `Cleared` are numbered. Whether they count together is not documented; the first
/// leg that has both shows it.
#[derive(Debug, Default)]
struct Numbering {
    apart: bool,
    /// How many answers of each kind this leg has had.
    on_leg: [u64; 2],
    /// The next number of each kind.
    next: [u64; 2],
}

impl Numbering {
    /// Returns the session's number of an answer that the leg gave another one.
    fn number(&mut self, answer: Answer, given: u64, first_leg: bool) -> u64 {
        let which = answer as usize;
        let (own, both) = (self.on_leg[which], self.on_leg[0] + self.on_leg[1]);
        if own != both {
            self.apart = given == own;
        }
        self.on_leg[which] += 1;
        let together = self.next[0].max(self.next[1]);
        let number = match (first_leg, self.apart) {
            (true, _) => given,
            (false, true) => self.next[which],
            (false, false) => together,
        };
        self.next[which] = number.saturating_add(1);
        number
    }
}

/// An Aura session.
#[derive(Debug)]
pub struct SpeakV1 {
    speech: Speech,
    requests: Requests,
    numbering: Numbering,
    /// `Metadata` was delivered.
    metadata: bool,
    /// The number of the `Flush` that the session sends by itself.
    own_flush: Option<u64>,
    warnings: Warnings,
}

impl SpeakV1 {
    /// Returns a session that asks for this.
    #[must_use]
    pub fn new(target: &Target<'_>) -> Self {
        Self {
            speech: Speech::new(Voice::from_query(target.query)),
            requests: Requests::default(),
            numbering: Numbering::default(),
            metadata: false,
            own_flush: None,
            warnings: Warnings::default(),
        }
    }
}

impl Product for SpeakV1 {
    fn vocabulary(&self) -> &'static [&'static str] {
        VOCABULARY
    }

    fn control(&self, kind: Option<&str>) -> Option<Control> {
        Some(match kind {
            Some("Close") => Control::Close,
            _ => Control::Other,
        })
    }

    fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool {
        if kind != Control::Close {
            self.requests.push(Kind::of(frame), journal.next_control());
        }
        true
    }

    fn forget(&mut self, journal: &mut Journal, number: u64) {
        self.requests
            .settle(journal, |request| request.number == number);
    }

    fn is_optional(&self, frame: &Frame) -> bool {
        !matches!(Kind::of(frame), Kind::Text | Kind::Flush)
    }

    /// Text that no `Flush` follows would have no answer, and would look like missing speech.
    fn before_close(&mut self, journal: &Journal) -> Option<Frame> {
        let open = self.requests.has_text(self.requests.open_turn());
        open.then(|| {
            self.own_flush = Some(journal.next_control());
            Frame::from(r#"{"type":"Flush"}"#)
        })
    }

    fn closing(&self) -> Option<Frame> {
        Some(Frame::from(r#"{"type":"Close"}"#))
    }

    /// What a `Clear` cancels is not said again.
    fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        let cleared = self
            .requests
            .iter()
            .rfind(|request| request.kind == Kind::Clear);
        if let Some(cleared) = cleared.map(|request| request.number).filter(|_| number > 0) {
            self.requests.settle(journal, |request| {
                request.number < cleared && request.kind != Kind::Clear
            });
            self.speech.next_turn();
        }
        self.requests.begin_leg();
        self.numbering.on_leg = [0; 2];
        if number > 0 {
            self.speech.again();
        }
        LegStart::at(LegView::new(number), journal.cursor(journal.sent()))
    }

    fn send(&mut self, _leg: &LegView, _kind: Control, number: u64, frame: Frame) -> Frame {
        self.requests.sent(number);
        frame
    }

    fn receive(&mut self, mut message: Incoming<'_>) -> Effect {
        if let Frame::Binary(payload) = message.frame {
            let joined = self.speech.receive(payload.clone(), message.inbox);
            return Effect {
                joined,
                advanced: self.speech.has_progressed(),
                ..Effect::of_result()
            };
        }
        match message.kind() {
            Some("Flushed") => return self.flushed(&mut message),
            Some("Cleared") => return self.cleared(&mut message),
            Some("Metadata") => {
                // The second one is another leg's.
                if !std::mem::replace(&mut self.metadata, true) {
                    message.pass_on();
                }
            }
            Some("Warning") => self.warning(&mut message),
            Some("Error") => message.hold(),
            _ => message.pass_on(),
        }
        Effect::default()
    }

    fn greeting(&self) -> Option<&'static str> {
        Some("Metadata")
    }

    /// No leg follows, so what was kept to be joined is delivered.
    fn conclude(&mut self, inbox: &mut Inbox) {
        self.speech.end(inbox);
    }

    fn all_acked(&self, _byte: u64) -> bool {
        !self.requests.waits()
    }

    /// Everything has its answer, so how the leg ends does not matter.
    fn answered(&self, leg: &LegView, _journal: &Journal) -> bool {
        leg.close_sent() && !self.requests.owes() && !self.requests.waits()
    }

    /// Text that no `Flush` follows has no answer: some speech of it has to have come.
    fn end_answers(&self, _leg: &LegView, _journal: &Journal) -> bool {
        !self.requests.owes() && (!self.requests.asks() || self.speech.on_leg() > 0)
    }

    fn asks_nothing(&self, _journal: &Journal) -> bool {
        !self.requests.asked()
    }

    fn misses_nothing(&self, _journal: &Journal) -> bool {
        !self.requests.asks()
    }

    fn needs_no_answer(&self) -> bool {
        false
    }

    fn owes(&self) -> bool {
        self.requests.owes()
    }

    fn needs_input(&self) -> bool {
        false
    }

    fn is_single(&self) -> bool {
        false
    }

    fn is_resumable(&self, _journal: &Journal) -> bool {
        true
    }

    fn handover(&self) -> Handover {
        Handover::Cut
    }
}

impl SpeakV1 {
    /// A `Flush` is answered: everything before it has been said.
    fn flushed(&mut self, message: &mut Incoming<'_>) -> Effect {
        let heard = self.speech.on_leg() > 0;
        // An empty Flush may stay without an answer. Where audio came, this answers another one.
        let answered = self
            .requests
            .on_leg(Kind::Flush)
            .find(|flush| !heard || self.requests.has_text(flush.turn))
            .or_else(|| self.requests.on_leg(Kind::Flush).next())
            .map(|flush| flush.number);
        match answered {
            Some(answered) => self
                .requests
                .settle(message.journal, |request| request.number <= answered),
            // Close flushes what is left.
            None if message.leg.close_sent() => {
                self.requests
                    .settle(message.journal, |request| request.kind == Kind::Text);
            }
            // Nothing that was asked for has this answer.
            None => return self.pass_on(message, Answer::Flushed),
        }
        let joined = self.speech.end(message.inbox);
        let own = answered.is_some() && answered == self.own_flush;
        if own {
            // The application did not ask.
            return self.turn_over(joined);
        }
        self.pass_on(message, Answer::Flushed);
        self.turn_over(joined)
    }

    fn cleared(&mut self, message: &mut Incoming<'_>) -> Effect {
        let answered = self
            .requests
            .on_leg(Kind::Clear)
            .next()
            .map(|clear| clear.number);
        let Some(answered) = answered else {
            return self.pass_on(message, Answer::Cleared);
        };
        self.requests
            .settle(message.journal, |request| request.number <= answered);
        self.pass_on(message, Answer::Cleared);
        self.turn_over(None)
    }

    fn turn_over(&mut self, joined: Option<Join>) -> Effect {
        self.speech.next_turn();
        self.warnings.clear();
        Effect {
            delivered_final: true,
            advanced: true,
            joined,
            ..Effect::of_result()
        }
    }

    /// Delivers an answer under its number in the session.
    fn pass_on(&mut self, message: &mut Incoming<'_>, answer: Answer) -> Effect {
        let mut edits = Edits::default();
        if let Some(node) = message.get("sequence_id")
            && let Some(given) = node.integer().and_then(|given| u64::try_from(given).ok())
        {
            let number = self.numbering.number(answer, given, message.leg.is_first());
            if number != given {
                edits.replace(node.span(), number.to_string());
            }
        }
        message.deliver(edits);
        Effect::of_result()
    }

    fn warning(&mut self, message: &mut Incoming<'_>) {
        let mentions_flush = ["code", "description"]
            .into_iter()
            .filter_map(|key| message.get(key))
            .any(|node| node.text().to_ascii_lowercase().contains("flush"));
        if mentions_flush {
            // There were too many. The latest one gets no answer, and its text waits for the next.
            let refused = self
                .requests
                .on_leg(Kind::Flush)
                .next_back()
                .map(|flush| flush.number);
            if let Some(refused) = refused {
                self.requests
                    .settle(message.journal, |request| request.number == refused);
                message.pass_on();
                return;
            }
        }
        if self.warnings.is_new(message.frame) || message.leg.is_first() {
            message.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Item;

    struct Session {
        speak: SpeakV1,
        journal: Journal,
        leg: LegView,
        inbox: Inbox,
    }

    impl Session {
        fn new(messages: &[&'static str]) -> Self {
            let mut session = Self {
                speak: SpeakV1::new(&Target {
                    path: "v1/speak",
                    query: "encoding=linear16&sample_rate=8000",
                }),
                journal: Journal::new(),
                leg: LegView::default(),
                inbox: Inbox::default(),
            };
            session.ask(messages);
            session.leg(0);
            session
        }

        fn ask(&mut self, messages: &[&'static str]) {
            for message in messages {
                let frame = Frame::from(*message);
                self.speak.ask(Control::Other, &self.journal, &frame);
                self.journal.push_control(Control::Other, frame);
            }
        }

        /// Starts a leg and sends everything; what it got.
        fn leg(&mut self, number: u64) -> Vec<String> {
            let start = self.speak.begin_leg(number, &mut self.journal);
            self.leg = start.view;
            let mut cursor = start.cursor;
            let mut got = Vec::new();
            while let Some(Item::Control { number, frame, .. }) = self.journal.take(&mut cursor) {
                let frame = self.speak.send(&self.leg, Control::Other, number, frame);
                got.push(frame.as_str().unwrap().to_owned());
            }
            got
        }

        fn hear(&mut self, frame: &Frame) -> (Effect, Vec<Frame>) {
            let (leg, journal) = (&mut self.leg, &mut self.journal);
            let message = Incoming::new(leg, journal, frame, &mut self.inbox);
            let effect = self.speak.receive(message);
            (effect, std::iter::from_fn(|| self.inbox.pop()).collect())
        }

        fn say(&mut self, text: &'static str) -> Vec<String> {
            let (_, frames) = self.hear(&Frame::from(text));
            let text = |frame: &Frame| frame.as_str().unwrap().to_owned();
            frames.iter().map(text).collect()
        }
    }

    const SPEAK: &str = r#"{"type":"Speak","text":"a"}"#;
    const FLUSH: &str = r#"{"type":"Flush"}"#;
    const CLEAR: &str = r#"{"type":"Clear"}"#;
    const FLUSHED: &str = r#"{"type":"Flushed", "sequence_id": 0}"#;
    const CLEARED: &str = r#"{"type":"Cleared", "sequence_id": 0}"#;

    #[test]
    fn flushed_acknowledges_its_turn() {
        let mut session = Session::new(&[SPEAK, FLUSH, SPEAK, FLUSH, SPEAK]);
        let (effect, _) = session.hear(&Frame::from(FLUSHED));
        assert!(effect.advanced && effect.delivered_final);
        assert_eq!(session.leg(1), [SPEAK, FLUSH, SPEAK]);
        assert!(!session.speak.all_acked(0) && session.speak.owes());
    }

    #[test]
    fn a_clear_takes_back_what_is_before_it() {
        let mut session = Session::new(&[SPEAK, FLUSH, CLEAR, SPEAK, CLEAR, SPEAK]);
        assert_eq!(
            session.leg(1),
            [CLEAR, CLEAR, SPEAK],
            "every Clear is answered"
        );
        session.say(CLEARED);
        assert_eq!(session.leg(2), [CLEAR, SPEAK]);
    }

    #[test]
    fn an_empty_flush_need_not_be_answered() {
        let mut session = Session::new(&[SPEAK, FLUSH, FLUSH, SPEAK, FLUSH]);
        session.say(FLUSHED);
        session.hear(&Frame::Binary(vec![1; 100].into()));
        session.say(FLUSHED);
        assert!(session.speak.all_acked(0));
        assert!(session.leg(1).is_empty(), "the second one was for the text");
    }

    #[test]
    fn numbers_go_on_together_or_apart() {
        let mut session = Session::new(&[SPEAK, FLUSH, CLEAR, SPEAK, FLUSH, CLEAR]);
        assert_eq!(
            session.say(FLUSHED),
            [FLUSHED],
            "the first leg's, byte for byte"
        );
        assert_eq!(session.say(CLEARED), [CLEARED], "so they count apart");
        session.leg(1);
        assert_eq!(
            session.say(FLUSHED),
            [r#"{"type":"Flushed", "sequence_id": 1}"#]
        );
        assert_eq!(
            session.say(CLEARED),
            [r#"{"type":"Cleared", "sequence_id": 1}"#]
        );
        let mut session = Session::new(&[SPEAK, FLUSH, CLEAR]);
        session.say(FLUSHED);
        session.leg(1);
        assert_eq!(
            session.say(CLEARED),
            [r#"{"type":"Cleared", "sequence_id": 1}"#]
        );
    }

    #[test]
    fn a_refused_flush_is_not_sent_again() {
        let mut session = Session::new(&[SPEAK, FLUSH, SPEAK, FLUSH]);
        let warning = r#"{"type":"Warning","code":"EXCEEDED_FLUSH_LIMIT","description":"wait"}"#;
        assert_eq!(session.say(warning), [warning]);
        assert_eq!(session.leg(1), [SPEAK, FLUSH, SPEAK]);
    }

    #[test]
    fn metadata_and_warnings_are_said_once() {
        let mut session = Session::new(&[SPEAK, FLUSH]);
        let metadata = r#"{"type":"Metadata","request_id":"1"}"#;
        let warning = r#"{"type":"Warning","code":"X","description":"long"}"#;
        assert_eq!(session.say(metadata).len() + session.say(warning).len(), 2);
        session.leg(1);
        assert!(session.say(metadata).is_empty() && session.say(warning).is_empty());
        assert_eq!(
            session.say(r#"{"type":"Later"}"#).len(),
            1,
            "what is unknown is passed on"
        );
        session.say(FLUSHED);
        assert_eq!(session.say(warning).len(), 1, "another turn's");
    }

    #[test]
    fn an_error_is_held() {
        let mut session = Session::new(&[]);
        assert!(session.say(r#"{"type":"Error"}"#).is_empty());
        assert_eq!(session.leg.take_held().len(), 1);
    }

    #[test]
    fn a_second_of_new_speech_is_progress() {
        let mut session = Session::new(&[SPEAK, FLUSH]);
        let audio = |count: usize| Frame::Binary(vec![7; count].into());
        assert!(!session.hear(&audio(15_998)).0.advanced);
        assert!(session.hear(&audio(2)).0.advanced);
        session.leg(1);
        assert!(!session.hear(&audio(16_000)).0.advanced, "heard before");
    }
}
