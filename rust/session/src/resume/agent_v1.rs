//! `v1/agent/converse`: a conversation that goes on over another leg.
//!
//! The agent's messages have no times, so audio is acknowledged by where they come: what a leg has
//! been sent when a user's turn is reported belongs to that turn or to one before it. The turn is
//! complete when the agent has said what it answers; one without an answer is heard again on the next leg, and its
//! text is not delivered twice.
//!
//! What is sent again on a later leg:
//!
//! - *Settings*, first, with the conversation so far, but for the user's turns that are heard again;
//!   the greeting only if it was not said. An agent that is named instead of described cannot be
//!   given the conversation.
//! - *Updates* that were accepted, the last of each sort; their answers are not delivered. One
//!   without an answer stays in its place.
//! - *Injected messages* until the agent has said them, or what they ask for, or refused them.
//! - *Anything else* until the agent's next answer, but for responses to functions: the new leg has
//!   made no calls.
//!
//! A turn for which the agent had a function called is not heard again: the turn, the call and its
//! response are part of the conversation that the new leg is told of. Where that leg makes the
//! same call all the same, it gets the response that is known: see [`Calls`].
//!
//! The agent's own audio is not resumed: where a leg ends in the middle of it, it ends there, and
//! `AgentAudioDone` is made.

use std::collections::VecDeque;

use bytes::BytesMut;
use serde_json::Value;

use super::audio::Audio;
use super::calls::{Calls, Response};
use super::conversation::{Conversation, Update};
use super::inbox::Inbox;
use super::scan::Node;
use super::{Effect, Gap, LegStart, LegView};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// Turns in a row that the agent may leave without an answer; beyond it the oldest are not told
/// from new ones.
const MAX_TURNS: usize = 64;
/// What is said at once is remembered up to so many bytes: nobody says more.
const MAX_WORDS: usize = 64 << 10;

/// While nobody speaks, so much audio may hold the start of a turn that is not reported yet.
const UNREPORTED: i64 = 10_000_000;

/// What waits for an answer.
#[derive(Debug, PartialEq)]
enum Wants {
    /// The settings.
    Applied,
    /// A change of the settings.
    Updated(Update, Frame),
    /// An answer to these words of the user.
    Reply(String),
    /// The agent to say this; `None`: what it likes.
    Say(Option<String>),
    /// The agent to go on from a function's response.
    Called,
    /// Whatever the agent says next.
    Anything,
}

/// A message of the application that a new leg would have to be sent again.
#[derive(Debug)]
struct Open {
    number: u64,
    wants: Wants,
    /// The leg that it was sent on last.
    leg: Option<u64>,
}

/// A user's turn that the agent has not answered.
#[derive(Debug)]
struct Turn {
    /// Audio that the leg had been sent when the turn was reported, in bytes.
    end: u64,
    content: String,
    /// The leg that reported it last.
    leg: u64,
}

/// What one leg adds.
#[derive(Debug, Default)]
pub struct LegAgent {
    /// Audio that it has been sent: the position after the last byte.
    position: u64,
    /// It hears a turn again whose start is known.
    start_known: bool,
    /// Answers to what headed the leg.
    updates_to_drop: Vec<Update>,
    /// It has taken the settings.
    applied: bool,
    /// The leg before ended while the agent spoke.
    audio_cut_off: bool,
}

impl LegAgent {
    /// Audio up to this position went out.
    pub const fn sent_audio(&mut self, end: u64) {
        self.position = end;
    }

    /// The leg has taken the settings.
    #[must_use]
    pub const fn has_settings(&self) -> bool {
        self.applied
    }
}

/// What the service has said once.
#[derive(Debug, Default)]
struct Told {
    /// `Welcome`.
    welcome: bool,
    /// The settings were applied.
    applied: bool,
    /// The user starts to speak: it does say so.
    starts: bool,
}

/// Who speaks, as far as anybody knows.
#[derive(Debug, Default)]
struct Floor {
    user: bool,
    agent: bool,
}

/// A conversation with an agent.
#[derive(Debug)]
pub struct AgentV1 {
    audio: Audio,
    conversation: Conversation,
    calls: Calls,
    open: VecDeque<Open>,
    told: Told,
    floor: Floor,
    /// The user's turns that the agent has not answered.
    turns: VecDeque<Turn>,
    /// Audio that is not heard again, in bytes.
    acked: u64,
}

impl AgentV1 {
    /// What a text message of the application is.
    #[must_use]
    pub fn classify(kind: Option<&str>) -> Control {
        match kind {
            Some("KeepAlive") => Control::KeepAlive,
            // They stay until they are answered, whatever audio is acknowledged.
            Some("Settings" | "InjectUserMessage" | "InjectAgentMessage") => Control::Configure,
            Some(kind) if Update::asked(kind).is_some() => Control::Configure,
            _ => Control::Other,
        }
    }

    /// The audio's clock, as the settings say.
    #[must_use]
    pub const fn audio(&self) -> &Audio {
        &self.audio
    }

    /// The application sends a control message, which is about to enter the journal. Whether it is
    /// to: a response to a function is not sent to a leg that does not know the call.
    pub fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool {
        let number = journal.next_control();
        let root = frame.as_str().and_then(Node::root);
        let name = root
            .and_then(|root| root.get("type"))
            .and_then(|name| name.raw_str());
        let words = |key| string(root?.get(key)?);
        let wants = match (kind, name) {
            (Control::KeepAlive | Control::Close, _) => return true,
            (_, Some("Settings")) if self.conversation.settle_on(frame) => {
                let (encoding, rate) = self.conversation.input();
                let query = format!("encoding={encoding}&sample_rate={rate}");
                self.audio = Audio::from_query(&query);
                Wants::Applied
            }
            (_, Some("FunctionCallResponse")) => {
                let response = root.map(|root| self.calls.responded(root));
                let (id, wanted) = match response {
                    Some(Response::Wanted(id)) => (id, true),
                    Some(Response::Unwanted(id)) => (id, false),
                    None => (None, true),
                };
                if let (Some(id), Some(content)) = (id, words("content")) {
                    self.conversation.responded(&id, &content);
                }
                if !wanted {
                    return false;
                }
                Wants::Called
            }
            (_, Some("InjectUserMessage")) => match words("content") {
                Some(content) => Wants::Reply(content),
                None => Wants::Anything,
            },
            (_, Some("InjectAgentMessage")) => Wants::Say(words("message")),
            (_, name) => match name.and_then(Update::asked) {
                Some(update) => Wants::Updated(update, frame.clone()),
                None => Wants::Anything,
            },
        };
        self.open.push_back(Open {
            number,
            wants,
            leg: None,
        });
        true
    }

    /// A control message is not sent again.
    pub fn forget(&mut self, number: u64) {
        self.open.retain(|open| open.number != number);
    }

    /// The first of the updates that headed a leg that it has not answered.
    #[must_use]
    pub fn told(&self, leg: &LegView) -> Option<Frame> {
        let update = leg.agent.updates_to_drop.first()?;
        let mut updates = self.conversation.updates();
        updates.find_map(|(accepted, frame)| (accepted == *update).then_some(frame))
    }

    /// It is not in force any more: no leg is told of it.
    pub fn forget_told(&mut self, leg: &mut LegView) {
        if !leg.agent.updates_to_drop.is_empty() {
            let update = leg.agent.updates_to_drop.remove(0);
            self.conversation.retract(update);
        }
    }

    /// All audio before a position belongs to turns that were answered. Where nobody speaks, so far
    /// as anybody knows, there is nothing to lose. A call whose response only this leg can use is
    /// open.
    #[must_use]
    pub fn all_acked(&self, byte: u64) -> bool {
        let quiet = !self.floor.user && !self.floor.agent && self.turns.is_empty();
        (quiet || self.acked >= byte) && !self.calls.waits()
    }

    /// Whether a session can do without a message: not without what makes up the conversation.
    #[must_use]
    pub fn is_optional(kind: Option<&str>) -> bool {
        !matches!(
            kind,
            Some("Settings" | "InjectUserMessage" | "InjectAgentMessage" | "FunctionCallResponse")
        )
    }

    /// What keeps a leg open: nothing comes before the settings.
    #[must_use]
    pub fn keepalive(&self) -> Option<Frame> {
        self.conversation
            .is_settled()
            .then(|| Frame::from(r#"{"type":"KeepAlive"}"#))
    }

    /// Audio that is not heard again, in microseconds.
    #[must_use]
    pub fn finalised(&self) -> i64 {
        self.audio.micros_before(self.acked)
    }

    /// Where the next leg starts, and what it gets first.
    pub fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        self.calls.begin_leg(number);
        self.open.retain(|open| {
            let called = open.wants == Wants::Called;
            if called {
                journal.settle(open.number);
            }
            !called
        });
        let mut leg = LegView {
            number,
            ..LegView::default()
        };
        if number == 0 {
            return LegStart {
                view: leg,
                cursor: journal.cursor(0),
                head: Vec::new(),
                gap: None,
            };
        }
        let waiting = self.floor.user || !self.turns.is_empty();
        let mut cut = self.acked;
        if !waiting && self.told.starts {
            cut = cut.max(self.before(journal.sent()));
        }
        let kept = journal.first().min(journal.sent());
        let start = if kept > cut {
            self.sample_behind(kept)
        } else {
            self.sample_before(cut)
        };
        // What nobody spoke in is not missed.
        let gap = (start > cut && waiting).then(|| Gap {
            start: self.audio.micros_before(cut),
            end: self.audio.micros_before(start),
            bytes: start - cut,
        });
        self.acked = self.acked.max(kept);
        leg.agent = LegAgent {
            position: start,
            start_known: waiting,
            updates_to_drop: Vec::new(),
            applied: false,
            audio_cut_off: self.floor.agent,
        };
        let mut head = Vec::new();
        // Until they are applied the journal has them.
        if self.told.applied {
            // What is heard again becomes part of the conversation again.
            let again = self.turns.iter().filter(|_| gap.is_none());
            let again: Vec<&str> = again.map(|turn| turn.content.as_str()).collect();
            head.extend(self.conversation.resumed(&again));
            for (update, frame) in self.conversation.updates() {
                leg.agent.updates_to_drop.push(update);
                head.push(frame);
            }
        }
        LegStart {
            view: leg,
            cursor: journal.cursor(start),
            head,
            gap,
        }
    }

    /// The last sample's start at or before a position.
    fn sample_before(&self, byte: u64) -> u64 {
        match self.audio.layout() {
            Some(_) => self.audio.position(self.audio.blocks_before(byte)),
            None => byte,
        }
    }

    /// The first sample's start at or behind a position.
    fn sample_behind(&self, byte: u64) -> u64 {
        match self.audio.layout() {
            Some(_) => self.audio.position(self.audio.block_from(byte)),
            None => byte,
        }
    }

    /// As long before a position as a turn may go unreported.
    fn before(&self, byte: u64) -> u64 {
        let Some(layout) = self.audio.layout() else {
            return 0;
        };
        self.audio
            .position(layout.block_at(self.audio.micros_before(byte) - UNREPORTED))
    }

    /// A control message goes out on a leg, as the leg gets it.
    #[must_use]
    pub fn send(&mut self, leg: &LegView, number: u64, frame: Frame) -> Frame {
        let mut called = false;
        for open in self.open.iter_mut().filter(|open| open.number == number) {
            open.leg = Some(leg.number);
            called |= open.wants == Wants::Called;
        }
        if called {
            self.calls.addressed(frame)
        } else {
            frame
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
        if std::mem::take(&mut leg.agent.audio_cut_off) {
            self.floor.agent = false;
            inbox.push(Frame::from(r#"{"type":"AgentAudioDone"}"#));
        }
        let acked = self.acked;
        let root = frame.as_str().and_then(Node::root);
        let kind = root
            .and_then(|root| root.get("type"))
            .and_then(|kind| kind.raw_str());
        let mut effect = Effect {
            result: true,
            ..Effect::default()
        };
        let deliver = match (kind, root) {
            _ if !frame.is_text() => {
                self.floor.agent = true;
                true
            }
            (Some("Welcome"), _) => !std::mem::replace(&mut self.told.welcome, true),
            (Some("SettingsApplied"), _) => {
                leg.agent.applied = true;
                self.settle_first(leg, journal, |wants| *wants == Wants::Applied);
                !std::mem::replace(&mut self.told.applied, true)
            }
            (Some("ConversationText"), Some(root)) => self.text(leg, journal, root),
            (Some("UserStartedSpeaking"), _) => self.user_started(leg, journal),
            (Some("AgentStartedSpeaking"), _) => {
                self.floor.agent = true;
                true
            }
            (Some("AgentAudioDone"), _) => {
                self.calls.spoken();
                self.answers(leg, journal);
                self.floor.agent = false;
                effect.delivered_final = true;
                true
            }
            (Some("InjectionRefused"), _) => {
                self.settle_first(leg, journal, |wants| {
                    matches!(wants, Wants::Reply(_) | Wants::Say(_))
                });
                true
            }
            (Some("FunctionCallRequest"), Some(root)) => {
                let requested = self.calls.requested(&frame, root, self.floor.user);
                self.conversation.called(&requested.entries);
                leg.replies.extend(requested.replies);
                leg.called_again |= requested.called_again;
                // The agent has understood what came before, and acts on it.
                self.answers(leg, journal);
                if let Some(news) = requested.news {
                    inbox.push(news);
                }
                effect.advanced = self.acked > acked;
                return effect;
            }
            (Some("FunctionCallResponse"), Some(root)) => {
                let id = self.calls.carried_out(root);
                if let (Some(id), Some(content)) = (id, root.get("content").and_then(string)) {
                    self.conversation.responded(&id, &content);
                }
                true
            }
            (Some("FunctionCallCancelled"), Some(root)) => {
                let (cancelled, ids) = self.calls.cancelled(&frame, root);
                for id in ids {
                    self.conversation.cancelled(&id);
                }
                inbox.push(cancelled);
                return effect;
            }
            (Some("History"), Some(root)) => {
                if root.get("function_calls").is_some()
                    && let Ok(mut history) = serde_json::from_str::<Value>(root.text())
                {
                    self.calls.rename(&mut history);
                    self.conversation.recounted(&history);
                }
                true
            }
            (Some("Error"), _) => {
                leg.hold(frame);
                return effect;
            }
            (Some(kind), _) => match Update::answered(kind) {
                Some(update) => self.updated(leg, journal, update),
                None => true,
            },
            (None, _) => true,
        };
        if deliver {
            inbox.push(frame);
        }
        effect.advanced = self.acked > acked;
        effect
    }

    /// Somebody said something: whether it is news.
    fn text(&mut self, leg: &mut LegView, journal: &mut Journal, root: Node<'_>) -> bool {
        let role = root.get("role").and_then(|role| role.raw_str());
        let content = root.get("content").and_then(string);
        let content = content.filter(|words| words.len() <= MAX_WORDS);
        let (Some(role), Some(content)) = (role, content) else {
            return true;
        };
        match role {
            "user" => {
                let known = self.heard_again(leg.number, &content);
                let acted_on = self.calls.turn();
                if !known && acted_on {
                    self.conversation.said_before_calls(&content);
                } else if !known {
                    self.conversation.said(role, &content);
                }
                self.floor.user = false;
                leg.agent.start_known = false;
                self.turns.push_back(Turn {
                    end: leg.agent.position,
                    content,
                    leg: leg.number,
                });
                if acted_on {
                    self.answers(leg, journal);
                }
                !known
            }
            "assistant" => {
                self.conversation.said(role, &content);
                self.settle_first(leg, journal, |wants| match wants {
                    Wants::Say(Some(words)) => words.trim_start().starts_with(content.trim()),
                    Wants::Say(None) => true,
                    _ => false,
                });
                self.floor.agent = true;
                self.calls.spoken();
                self.answers(leg, journal);
                true
            }
            _ => true,
        }
    }

    /// Whether a turn that a leg reports was reported by one before. One that was and reads
    /// differently now is news, and takes the other one's place.
    fn heard_again(&mut self, leg: u64, content: &str) -> bool {
        let earlier = |turn: &Turn| turn.leg != leg;
        let again = self
            .turns
            .iter()
            .position(|turn| earlier(turn) && turn.content == content);
        let same = again.or_else(|| self.turns.iter().position(earlier));
        if let Some(index) = same {
            self.turns.remove(index);
            let mut before = 0..index;
            self.turns
                .retain(|turn| before.next().is_none() || !earlier(turn));
        }
        while self.turns.len() >= MAX_TURNS {
            self.turns.pop_front();
        }
        again.is_some()
    }

    /// The user starts to speak: whether it is news. What came well before has no turn in it.
    fn user_started(&mut self, leg: &mut LegView, journal: &mut Journal) -> bool {
        self.told.starts = true;
        if std::mem::take(&mut leg.agent.start_known) {
            return false;
        }
        if !self.floor.user && self.turns.is_empty() {
            self.ack(self.before(leg.agent.position), journal);
        }
        self.floor.user = true;
        true
    }

    /// The agent has answered, so it has understood what came before. That it starts to speak is
    /// not enough: the words may never come.
    fn answers(&mut self, leg: &LegView, journal: &mut Journal) {
        let here = |turn: &Turn| turn.leg == leg.number;
        let turns = &self.turns;
        self.open.retain(|open| {
            let answered = match &open.wants {
                Wants::Anything | Wants::Called => true,
                Wants::Reply(words) => turns
                    .iter()
                    .any(|turn| here(turn) && turn.content == *words),
                Wants::Applied | Wants::Updated(..) | Wants::Say(_) => false,
            };
            let done = answered && open.leg == Some(leg.number);
            if done {
                journal.settle(open.number);
            }
            !done
        });
        let end = self
            .turns
            .iter()
            .filter(|turn| here(turn))
            .map(|turn| turn.end)
            .max();
        self.turns.retain(|turn| !here(turn));
        if let Some(end) = end {
            self.ack(end, journal);
        }
    }

    fn ack(&mut self, byte: u64, journal: &mut Journal) {
        self.acked = self.acked.max(byte.min(journal.sent()));
        journal.ack(self.acked);
    }

    /// An answer to an update: whether the application asked for it now.
    fn updated(&mut self, leg: &mut LegView, journal: &mut Journal, update: Update) -> bool {
        let again = leg
            .agent
            .updates_to_drop
            .iter()
            .position(|dropped| *dropped == update);
        if let Some(index) = again {
            leg.agent.updates_to_drop.remove(index);
            return false;
        }
        let asked = self.settle_first(
            leg,
            journal,
            |wants| matches!(wants, Wants::Updated(asked, _) if *asked == update),
        );
        if let Some(Wants::Updated(_, frame)) = asked {
            self.conversation.accept(update, frame);
        }
        true
    }

    /// Settles the oldest message of a sort that this leg was sent.
    fn settle_first(
        &mut self,
        leg: &LegView,
        journal: &mut Journal,
        sort: impl Fn(&Wants) -> bool,
    ) -> Option<Wants> {
        let here = |open: &Open| open.leg == Some(leg.number) && sort(&open.wants);
        let index = self.open.iter().position(here)?;
        let open = self.open.remove(index)?;
        journal.settle(open.number);
        Some(open.wants)
    }
}

impl Default for AgentV1 {
    /// A conversation that has not begun.
    fn default() -> Self {
        Self {
            audio: Audio::Unknown(BytesMut::new()),
            conversation: Conversation::default(),
            calls: Calls::default(),
            open: VecDeque::new(),
            told: Told::default(),
            floor: Floor::default(),
            turns: VecDeque::new(),
            acked: 0,
        }
    }
}

/// A string with its escapes undone.
fn string(node: Node<'_>) -> Option<String> {
    serde_json::from_str(node.text()).ok()
}
