//! `v1/agent/converse`: a conversation that goes on over another leg.
//!
//! The agent's messages have no times, so audio is acknowledged by the order of messages: what a leg
//! had been sent when a user's turn was reported belongs to that turn or to an earlier one. The turn
//! is complete when the agent has answered it. A turn without an answer is heard again on the next
//! leg, and its text is not delivered twice.
//!
//! A later leg is sent again:
//!
//! - *Settings*, first, with the conversation so far, without the user's turns that are heard again.
//!   The greeting is part of it only if it was not said. A stored agent, whose settings have an id
//!   instead of a description, cannot be given the conversation.
//! - *Updates* that were accepted, the last of each sort; their answers are not delivered. An update
//!   without an answer stays in its place.
//! - *Injected messages* until the agent has said them, or answered or refused them.
//! - *Anything else* until the agent's next answer, except responses to functions: the new leg has
//!   made no calls.
//!
//! A turn for which the agent called a function is not heard again: the turn, the call and its
//! response are part of the conversation in the settings. If the new leg makes the same call, it
//! gets the known response: see [`Calls`].
//!
//! The agent's own audio is not resumed: if a leg ends within it, the audio ends there, and the
//! session makes `AgentAudioDone`.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::audio::Audio;
use super::calls::{Calls, Response};
use super::conversation::{Conversation, Update};
use super::incoming::Incoming;
use super::leg::{Gap, LegStart, LegView};
use super::product::{Effect, Product};
use super::query::Target;
use super::scan::{Node, type_of};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// The messages that clients send.
pub const VOCABULARY: &[&str] = &[
    "Settings",
    "KeepAlive",
    "UpdatePrompt",
    "UpdateSpeak",
    "UpdateThink",
    "UpdateThink_Live",
    "UpdateListen",
    "InjectUserMessage",
    "InjectAgentMessage",
    "FunctionCallResponse",
    "ForceEndTurn",
];

/// How many of the user's turns may be without an answer. The oldest of more are taken for new ones
/// when they are heard again.
const MAX_TURNS: usize = 64;
/// The longest text that is remembered, in bytes. No turn is longer.
const MAX_WORDS: usize = 64 << 10;

/// How long before it is reported a turn may start, in microseconds.
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
    /// The agent to say this; anything for `None`.
    Say(Option<String>),
    /// The agent to go on from a function's response.
    Called,
    /// Whatever the agent says next.
    Anything,
}

/// A message of the application that a new leg is sent again.
#[derive(Debug)]
struct Open {
    number: u64,
    wants: Wants,
    /// The leg that it was sent on last.
    leg: Option<u64>,
}

/// A user's turn that the agent has not answered.
#[derive(Debug)]
struct UserTurn {
    /// The end of the audio that the leg had been sent when the turn was reported, in bytes.
    end: u64,
    content: String,
    /// The leg that reported it last.
    leg: u64,
}

/// What is remembered of the current leg.
#[derive(Debug, Default)]
struct Leg {
    /// The end of the audio that it was sent, in bytes.
    position: u64,
    /// It hears a turn again whose start was delivered.
    start_known: bool,
    /// Updates that headed the leg and have no answer yet.
    updates_to_drop: Vec<Update>,
    /// It has taken the settings.
    applied: bool,
    /// The leg before ended while the agent spoke.
    audio_cut_off: bool,
}

/// What the service has said at least once.
#[derive(Debug, Default)]
struct SaidOnce {
    welcome: bool,
    settings_applied: bool,
    user_started: bool,
}

/// Who speaks, as far as is known.
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
    said_once: SaidOnce,
    floor: Floor,
    /// The user's turns that the agent has not answered.
    turns: VecDeque<UserTurn>,
    /// The end of the audio that is not heard again, in bytes.
    acked: u64,
    leg: Leg,
}

impl AgentV1 {
    /// Returns a conversation that has not begun. Everything else is in its settings.
    #[must_use]
    pub fn new(_target: &Target<'_>) -> Self {
        Self {
            audio: Audio::Unknown(BytesMut::new()),
            conversation: Conversation::default(),
            calls: Calls::default(),
            open: VecDeque::new(),
            said_once: SaidOnce::default(),
            floor: Floor::default(),
            turns: VecDeque::new(),
            acked: 0,
            leg: Leg::default(),
        }
    }
}

impl Product for AgentV1 {
    fn vocabulary(&self) -> &'static [&'static str] {
        VOCABULARY
    }

    fn control(&self, kind: Option<&str>) -> Option<Control> {
        Some(match kind {
            Some("KeepAlive") => Control::KeepAlive,
            // They stay until they are answered, whatever audio is acknowledged.
            Some("Settings" | "InjectUserMessage" | "InjectAgentMessage") => Control::Configure,
            Some(kind) if Update::asked(kind).is_some() => Control::Configure,
            _ => Control::Other,
        })
    }

    /// A response to a function is not sent to a leg that did not make the call.
    fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool {
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
                self.audio = Audio::encoded(&encoding, u32::try_from(rate).ok(), 1);
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

    fn forget(&mut self, _journal: &mut Journal, number: u64) {
        self.open.retain(|open| open.number != number);
    }

    /// What was said is the conversation; updates are optional.
    fn is_optional(&self, frame: &Frame) -> bool {
        !matches!(
            type_of(frame),
            Some("Settings" | "InjectUserMessage" | "InjectAgentMessage" | "FunctionCallResponse")
        )
    }

    /// Nothing comes before the settings.
    fn keepalive(&self) -> Option<Frame> {
        self.conversation
            .is_settled()
            .then(|| Frame::from(r#"{"type":"KeepAlive"}"#))
    }

    fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        self.calls.begin_leg(number);
        self.open.retain(|open| {
            let called = open.wants == Wants::Called;
            if called {
                journal.settle(open.number);
            }
            !called
        });
        self.leg = Leg::default();
        let leg = LegView::new(number);
        if leg.is_first() {
            return LegStart::at(leg, journal.cursor(0));
        }
        let waiting = self.floor.user || !self.turns.is_empty();
        let mut cut = self.acked;
        if !waiting && self.said_once.user_started {
            cut = cut.max(self.before(journal.sent()));
        }
        let kept = journal.first().min(journal.sent());
        let start = if kept > cut {
            self.sample_behind(kept)
        } else {
            self.sample_before(cut)
        };
        // Silence is not missed.
        let gap = (start > cut && waiting).then(|| Gap {
            start: self.audio.micros_before(cut),
            end: self.audio.micros_before(start),
            bytes: start - cut,
        });
        self.acked = self.acked.max(kept);
        self.leg = Leg {
            position: start,
            start_known: waiting,
            audio_cut_off: self.floor.agent,
            ..Leg::default()
        };
        let mut head = Vec::new();
        // Until settings are applied the journal has them.
        if self.said_once.settings_applied {
            // What is heard again becomes part of the conversation again.
            let again = self.turns.iter().filter(|_| gap.is_none());
            let again: Vec<&str> = again.map(|turn| turn.content.as_str()).collect();
            head.extend(self.conversation.resumed(&again));
            for (update, frame) in self.conversation.updates() {
                self.leg.updates_to_drop.push(update);
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

    fn send_audio(&mut self, _leg: &LegView, start: u64, payload: Bytes) -> Bytes {
        self.leg.position = start + payload.len() as u64;
        payload
    }

    fn send(&mut self, leg: &LegView, _kind: Control, number: u64, frame: Frame) -> Frame {
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

    fn reads(&self, _leg: &LegView) -> bool {
        self.leg.applied
    }

    /// Returns the first of the updates that headed the leg.
    fn unanswered_head(&self, _leg: &LegView) -> Option<Frame> {
        let update = self.leg.updates_to_drop.first()?;
        let mut updates = self.conversation.updates();
        updates.find_map(|(accepted, frame)| (accepted == *update).then_some(frame))
    }

    fn withdraw_head(&mut self, _leg: &LegView) {
        if !self.leg.updates_to_drop.is_empty() {
            let update = self.leg.updates_to_drop.remove(0);
            self.conversation.retract(update);
        }
    }

    fn receive(&mut self, mut message: Incoming<'_>) -> Effect {
        if std::mem::take(&mut self.leg.audio_cut_off) {
            self.floor.agent = false;
            message
                .inbox
                .push(Frame::from(r#"{"type":"AgentAudioDone"}"#));
        }
        let acked = self.acked;
        let leg = message.leg.number;
        let mut effect = Effect::of_result();
        let deliver = match (message.kind(), message.root()) {
            _ if !message.frame.is_text() => {
                self.floor.agent = true;
                true
            }
            (Some("Welcome"), _) => !std::mem::replace(&mut self.said_once.welcome, true),
            (Some("SettingsApplied"), _) => {
                self.leg.applied = true;
                self.settle_first(leg, message.journal, |wants| *wants == Wants::Applied);
                !std::mem::replace(&mut self.said_once.settings_applied, true)
            }
            (Some("ConversationText"), Some(root)) => self.text(leg, message.journal, root),
            (Some("UserStartedSpeaking"), _) => self.user_started(message.journal),
            (Some("AgentStartedSpeaking"), _) => {
                self.floor.agent = true;
                true
            }
            (Some("AgentAudioDone"), _) => {
                self.calls.spoken();
                self.answers(leg, message.journal);
                self.floor.agent = false;
                effect.delivered_final = true;
                true
            }
            (Some("InjectionRefused"), _) => {
                self.settle_first(leg, message.journal, |wants| {
                    matches!(wants, Wants::Reply(_) | Wants::Say(_))
                });
                true
            }
            (Some("FunctionCallRequest"), Some(root)) => {
                let requested = self.calls.requested(message.frame, root, self.floor.user);
                self.conversation.called(&requested.entries);
                message.leg.reply(requested.replies);
                effect.called_again = requested.called_again;
                // The agent has understood what came before, and acts on it.
                self.answers(leg, message.journal);
                if let Some(news) = requested.news {
                    message.inbox.push(news);
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
                let (cancelled, ids) = self.calls.cancelled(message.frame, root);
                for id in ids {
                    self.conversation.cancelled(&id);
                }
                message.inbox.push(cancelled);
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
                message.hold();
                return effect;
            }
            (Some(kind), _) => match Update::answered(kind) {
                Some(update) => self.updated(leg, message.journal, update),
                None => true,
            },
            (None, _) => true,
        };
        if deliver {
            message.pass_on();
        }
        effect.advanced = self.acked > acked;
        effect
    }

    fn greeting(&self) -> Option<&'static str> {
        Some("Welcome")
    }

    /// All of it belongs to turns that were answered. While no one speaks, as far as is known, there
    /// is nothing to lose. A call whose response only this leg can use is open.
    fn all_acked(&self, byte: u64) -> bool {
        let quiet = !self.floor.user && !self.floor.agent && self.turns.is_empty();
        (quiet || self.acked >= byte) && !self.calls.waits()
    }

    /// There is no closing message.
    fn answered(&self, _leg: &LegView, _journal: &Journal) -> bool {
        false
    }

    fn is_single(&self) -> bool {
        false
    }

    fn is_resumable(&self, _journal: &Journal) -> bool {
        true
    }

    fn audio(&self) -> Option<&Audio> {
        Some(&self.audio)
    }

    /// The audio before it is not heard again.
    fn finalised(&self) -> i64 {
        self.audio.micros_before(self.acked)
    }
}

impl AgentV1 {
    /// Returns the start of the last sample at or before a position, in bytes.
    fn sample_before(&self, byte: u64) -> u64 {
        match self.audio.layout() {
            Some(_) => self.audio.position(self.audio.blocks_before(byte)),
            None => byte,
        }
    }

    /// Returns the start of the first sample at or behind a position, in bytes.
    fn sample_behind(&self, byte: u64) -> u64 {
        match self.audio.layout() {
            Some(_) => self.audio.position(self.audio.block_from(byte)),
            None => byte,
        }
    }

    /// Returns the earliest position of a turn that is not reported at this one, in bytes.
    fn before(&self, byte: u64) -> u64 {
        let Some(layout) = self.audio.layout() else {
            return 0;
        };
        self.audio
            .position(layout.block_at(self.audio.micros_before(byte) - UNREPORTED))
    }

    /// The user or the agent said something. Returns whether it is news.
    fn text(&mut self, leg: u64, journal: &mut Journal, root: Node<'_>) -> bool {
        let role = root.get("role").and_then(|role| role.raw_str());
        let content = root.get("content").and_then(string);
        let content = content.filter(|words| words.len() <= MAX_WORDS);
        let (Some(role), Some(content)) = (role, content) else {
            return true;
        };
        match role {
            "user" => {
                let known = self.heard_again(leg, &content);
                let acted_on = self.calls.turn();
                if !known && acted_on {
                    self.conversation.said_before_calls(&content);
                } else if !known {
                    self.conversation.said(role, &content);
                }
                self.floor.user = false;
                self.leg.start_known = false;
                self.turns.push_back(UserTurn {
                    end: self.leg.position,
                    content,
                    leg,
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

    /// Returns whether an earlier leg reported a turn that a leg reports now. One that reads
    /// differently now is news, and takes the other one's place.
    fn heard_again(&mut self, leg: u64, content: &str) -> bool {
        let earlier = |turn: &UserTurn| turn.leg != leg;
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

    /// The user starts to speak. Returns whether it is news. There is no turn in the audio well
    /// before.
    fn user_started(&mut self, journal: &mut Journal) -> bool {
        self.said_once.user_started = true;
        if std::mem::take(&mut self.leg.start_known) {
            return false;
        }
        if !self.floor.user && self.turns.is_empty() {
            self.ack(self.before(self.leg.position), journal);
        }
        self.floor.user = true;
        true
    }

    /// The agent has answered, so it has understood what came before. The start of its speech is not
    /// enough: the words may never come.
    fn answers(&mut self, leg: u64, journal: &mut Journal) {
        let here = |turn: &UserTurn| turn.leg == leg;
        let turns = &self.turns;
        self.open.retain(|open| {
            let answered = match &open.wants {
                Wants::Anything | Wants::Called => true,
                Wants::Reply(words) => turns
                    .iter()
                    .any(|turn| here(turn) && turn.content == *words),
                Wants::Applied | Wants::Updated(..) | Wants::Say(_) => false,
            };
            let done = answered && open.leg == Some(leg);
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

    /// An update is answered. Returns whether the answer is delivered.
    fn updated(&mut self, leg: u64, journal: &mut Journal, update: Update) -> bool {
        let again = self
            .leg
            .updates_to_drop
            .iter()
            .position(|dropped| *dropped == update);
        if let Some(index) = again {
            self.leg.updates_to_drop.remove(index);
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

    /// Settles the oldest message of a sort that this leg was sent. Returns what it waited for.
    fn settle_first(
        &mut self,
        leg: u64,
        journal: &mut Journal,
        sort: impl Fn(&Wants) -> bool,
    ) -> Option<Wants> {
        let here = |open: &Open| open.leg == Some(leg) && sort(&open.wants);
        let index = self.open.iter().position(here)?;
        let open = self.open.remove(index)?;
        journal.settle(open.number);
        Some(open.wants)
    }
}

/// Returns a string, unescaped.
fn string(node: Node<'_>) -> Option<String> {
    serde_json::from_str(node.text()).ok()
}
