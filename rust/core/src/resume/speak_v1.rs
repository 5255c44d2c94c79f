//! `v1/speak` (Aura): acknowledged at `Flushed`, and what is said after a reset is what was missing.

use super::inbox::Inbox;
use super::rewrite::Edits;
use super::scan::Node;
use super::speak::{Kind, MAX_HELD, Requests, Said};
use super::speech::Speech;
use super::voice::Voice;
use super::{Effect, LegStart, LegView};
use crate::frame::Frame;
use crate::journal::{Control, Journal};

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
                if leg.held.len() < MAX_HELD {
                    leg.held.push(frame);
                }
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
        let joined = self.speech.end(inbox);
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
            None => {}
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
        if let Some(answered) = answered {
            self.requests
                .settle(journal, |request| request.number <= answered);
        }
        self.answer(leg, (1, root, frame), None, inbox)
    }

    fn answer(
        &mut self,
        leg: &LegView,
        (which, root, frame): (usize, Node<'_>, &Frame),
        joined: Option<super::speech::Join>,
        inbox: &mut Inbox,
    ) -> Effect {
        self.speech.next_turn();
        self.said.clear();
        self.progress = 0;
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
            delivered_final: true,
            advanced: true,
            joined,
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

    /// Whether the service has said everything if it ends in order after `Close`: what has an
    /// answer is answered, and text that no `Flush` followed was said, or never will be.
    #[must_use]
    pub fn end_answers(&self) -> bool {
        !self.requests.owes()
    }

    /// No leg follows: what was kept to be joined is all there is.
    pub fn conclude(&mut self, inbox: &mut Inbox) {
        self.speech.end(inbox);
    }
}
