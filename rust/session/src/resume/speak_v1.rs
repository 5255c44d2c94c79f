//! `v1/speak` (Aura): acknowledged at `Flushed`, and what is said after a reset is what was missing.

use super::inbox::Inbox;
use super::rewrite::Edits;
use super::scan::Node;
use super::speak::{Kind, Requests, Said};
use super::speech::Speech;
use super::voice::Voice;
use super::{Effect, LegStart, LegView};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// How `Flushed` and `Cleared` are numbered. The service does not say whether they count together;
/// the first leg that has both shows it.
#[derive(Debug, Default)]
struct Numbering {
    apart: bool,
    /// Answers of each kind on this leg, and the numbers that come next.
    on_leg: [u64; 2],
    next: [u64; 2],
}

impl Numbering {
    /// The number of an answer: `which` is 0 for `Flushed` and 1 for `Cleared`.
    fn number(&mut self, which: usize, given: u64, first_leg: bool) -> u64 {
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
    voice: Option<Voice>,
    speech: Speech,
    requests: Requests,
    numbering: Numbering,
    metadata_said: bool,
    /// The `Flush` that the session sends by itself.
    own_flush: Option<u64>,
    said: Said,
    /// How much of the turn had been delivered when the leg began, or at the last progress.
    progress: u64,
}

impl SpeakV1 {
    /// A session that asks for this.
    #[must_use]
    pub fn new(query: &str) -> Self {
        let voice = Voice::from_query(query);
        Self {
            voice,
            speech: Speech::new(voice),
            requests: Requests::default(),
            numbering: Numbering::default(),
            metadata_said: false,
            own_flush: None,
            said: Said::default(),
            progress: 0,
        }
    }

    /// The application sends a message: the journal's next one.
    pub fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) {
        if kind != Control::Close {
            self.requests.push(Kind::of(frame), journal.next_control());
        }
    }

    /// The end is asked for. Text that no `Flush` follows would have no answer, and could not be
    /// told from text that is missing: so the session sends one.
    pub fn before_close(&mut self, journal: &Journal) -> Option<Frame> {
        let open = self.requests.has_text(self.requests.open_turn());
        open.then(|| {
            self.own_flush = Some(journal.next_control());
            Frame::from(r#"{"type":"Flush"}"#)
        })
    }

    /// A message is not sent again.
    pub fn forget(&mut self, journal: &mut Journal, number: u64) {
        self.requests
            .settle(journal, |request| request.number == number);
    }

    /// What went out.
    pub fn sent(&mut self, number: u64) {
        self.requests.sent(number);
    }

    /// Where the next leg starts. What a `Clear` takes back is not said again.
    pub fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
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
        self.progress = self.speech.said();
        LegStart {
            view: LegView {
                number,
                ..LegView::default()
            },
            cursor: journal.cursor(journal.sent()),
            head: Vec::new(),
            gap: None,
        }
    }

    /// A message came on the leg that speaks for the session.
    pub fn receive(
        &mut self,
        leg: &mut LegView,
        journal: &mut Journal,
        frame: Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        if let Frame::Binary(payload) = frame {
            let joined = self.speech.receive(payload, inbox);
            return self.progressed(Effect {
                result: true,
                joined,
                ..Effect::default()
            });
        }
        let root = frame.as_str().and_then(Node::root);
        let kind = root
            .and_then(|root| root.get("type"))
            .and_then(|kind| kind.raw_str());
        match (root, kind) {
            (Some(root), Some("Flushed")) => {
                return self.flushed(leg, journal, root, &frame, inbox);
            }
            (Some(root), Some("Cleared")) => {
                return self.cleared(leg, journal, root, &frame, inbox);
            }
            (_, Some("Metadata")) => {
                // The second one is another leg's.
                if !std::mem::replace(&mut self.metadata_said, true) {
                    inbox.push(frame);
                }
            }
            (Some(root), Some("Warning")) => self.warning(leg, journal, root, &frame, inbox),
            (_, Some("Error")) => {
                leg.hold(frame);
            }
            _ => inbox.push(frame),
        }
        Effect::default()
    }

    /// A second of a turn that was not heard before is progress, too: a long turn may need many
    /// legs, and audio that kills its leg does not come so far.
    fn progressed(&mut self, mut effect: Effect) -> Effect {
        let new = self.speech.said().saturating_sub(self.progress);
        if self
            .voice
            .is_some_and(|voice| voice.micros(new) >= 1_000_000)
        {
            self.progress = self.speech.said();
            effect.advanced = true;
        }
        effect
    }

    /// Everything up to the `Flush` that this answers has been said.
    fn flushed(
        &mut self,
        leg: &LegView,
        journal: &mut Journal,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let heard = self.speech.heard() > 0;
        // An empty Flush may not be answered at all; where audio came, it is another one's.
        let answered = self
            .requests
            .on_leg(Kind::Flush)
            .find(|flush| !heard || self.requests.has_text(flush.turn))
            .or_else(|| self.requests.on_leg(Kind::Flush).next())
            .map(|flush| flush.number);
        match answered {
            Some(answered) => self
                .requests
                .settle(journal, |request| request.number <= answered),
            // Close flushes what is left.
            None if leg.close_sent => {
                self.requests
                    .settle(journal, |request| request.kind == Kind::Text);
            }
            // Nothing was asked for that it could answer.
            None => return self.pass_on(leg, (0, root, frame), inbox),
        }
        let joined = self.speech.end(inbox);
        let own = answered.is_some() && answered == self.own_flush;
        if own {
            // The application did not ask.
            return self.turn_over(joined);
        }
        self.answer(leg, (0, root, frame), joined, inbox)
    }

    fn cleared(
        &mut self,
        leg: &LegView,
        journal: &mut Journal,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let answered = self
            .requests
            .on_leg(Kind::Clear)
            .next()
            .map(|clear| clear.number);
        let Some(answered) = answered else {
            return self.pass_on(leg, (1, root, frame), inbox);
        };
        self.requests
            .settle(journal, |request| request.number <= answered);
        self.answer(leg, (1, root, frame), None, inbox)
    }

    fn answer(
        &mut self,
        leg: &LegView,
        (which, root, frame): (usize, Node<'_>, &Frame),
        joined: Option<super::speech::Join>,
        inbox: &mut Inbox,
    ) -> Effect {
        self.pass_on(leg, (which, root, frame), inbox);
        self.turn_over(joined)
    }

    fn turn_over(&mut self, joined: Option<super::speech::Join>) -> Effect {
        self.speech.next_turn();
        self.said.clear();
        self.progress = 0;
        Effect {
            result: true,
            delivered_final: true,
            advanced: true,
            joined,
            beyond: None,
        }
    }

    /// Hands over an answer under its number in the session.
    fn pass_on(
        &mut self,
        leg: &LegView,
        (which, root, frame): (usize, Node<'_>, &Frame),
        inbox: &mut Inbox,
    ) -> Effect {
        let mut edits = Edits::default();
        if let Some(node) = root.get("sequence_id")
            && let Some(given) = node.integer().and_then(|given| u64::try_from(given).ok())
        {
            let number = self.numbering.number(which, given, leg.number == 0);
            if number != given {
                edits.replace(node.span(), number.to_string());
            }
        }
        inbox.push(edits.apply_to(frame));
        Effect {
            result: true,
            ..Effect::default()
        }
    }

    fn warning(
        &mut self,
        leg: &LegView,
        journal: &mut Journal,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) {
        let mentions_flush = ["code", "description"]
            .into_iter()
            .filter_map(|key| root.get(key))
            .any(|node| node.text().to_ascii_lowercase().contains("flush"));
        if mentions_flush {
            // Too many of them: the latest is not going to be answered, and its text waits for
            // the next one.
            let refused = self
                .requests
                .on_leg(Kind::Flush)
                .next_back()
                .map(|flush| flush.number);
            if let Some(refused) = refused {
                self.requests
                    .settle(journal, |request| request.number == refused);
                inbox.push(frame.clone());
                return;
            }
        }
        if self.said.is_new(frame) || leg.number == 0 {
            inbox.push(frame.clone());
        }
    }

    /// Nothing that was sent waits for an answer.
    #[must_use]
    pub fn all_acked(&self) -> bool {
        !self.requests.waits()
    }

    /// The service owes something now.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.requests.owes()
    }

    /// The leg has answered everything, `Close` included: how it ends does not matter.
    #[must_use]
    pub fn answered(&self, leg: &LegView) -> bool {
        leg.close_sent && !self.requests.owes() && !self.requests.waits()
    }

    /// Anything was asked for, ever.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.requests.asked()
    }

    /// Something was asked for that has no answer, sent or not.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.requests.asks()
    }

    /// Whether the service has said everything if it ends in order after `Close`: what has an
    /// answer is answered, and of text that no `Flush` followed something was said.
    #[must_use]
    pub fn end_answers(&self) -> bool {
        !self.requests.owes() && (!self.requests.asks() || self.speech.heard() > 0)
    }

    /// No leg follows: what was kept to be joined is all there is.
    pub fn conclude(&mut self, inbox: &mut Inbox) {
        self.speech.end(inbox);
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
                speak: SpeakV1::new("encoding=linear16&sample_rate=8000"),
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
                self.speak.sent(number);
                got.push(frame.as_str().unwrap().to_owned());
            }
            got
        }

        fn hear(&mut self, frame: Frame) -> (Effect, Vec<Frame>) {
            let (leg, journal) = (&mut self.leg, &mut self.journal);
            let effect = self.speak.receive(leg, journal, frame, &mut self.inbox);
            (effect, std::iter::from_fn(|| self.inbox.pop()).collect())
        }

        fn say(&mut self, text: &'static str) -> Vec<String> {
            let (_, frames) = self.hear(Frame::from(text));
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
        let (effect, _) = session.hear(Frame::from(FLUSHED));
        assert!(effect.advanced && effect.delivered_final);
        assert_eq!(session.leg(1), [SPEAK, FLUSH, SPEAK]);
        assert!(!session.speak.all_acked() && session.speak.owes());
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
        session.hear(Frame::Binary(vec![1; 100].into()));
        session.say(FLUSHED);
        assert!(session.speak.all_acked());
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
        assert!(!session.hear(audio(15_998)).0.advanced);
        assert!(session.hear(audio(2)).0.advanced);
        session.leg(1);
        assert!(!session.hear(audio(16_000)).0.advanced, "heard before");
    }
}
