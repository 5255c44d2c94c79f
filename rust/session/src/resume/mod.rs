//! What a product's messages mean to a session that goes on over another leg.
//!
//! ```text
//! listen_v1   Nova: what acknowledges, what moves, what is not said twice
//!   audio       the audio's own clock          results     one result, shifted and clipped
//!   utterance   what a new leg cannot know     controls    Finalize and Configure
//!   segments    what points at words and times
//! listen_v2   Flux: the same
//!   turns       which event is news, and as what   turn_info   one message in the session's words
//! agent_v1    the voice agent: the same
//!   conversation   what a new leg is told of what was said
//!   calls          functions that it had called
//! speak_v1, speak_v2   Aura and Flux: what is said again is not heard again
//!   speak       what was asked for             speech      one turn, over several syntheses
//!   voice       what a sample is               join        from one synthesis to another
//! scan, rewrite   JSON by spans                inbox       messages on their way
//! vocabulary      what clients send, as text or as bytes
//! ```
//!
//! [`Product`] is the one place where products differ for the session. A product that can go on
//! over another leg has its own module and its arm in every method here; one that cannot is
//! [`Product::Passthrough`].

pub mod agent_v1;
pub mod audio;
pub mod calls;
pub mod controls;
pub mod conversation;
pub mod inbox;
pub mod join;
pub mod listen_v1;
pub mod listen_v2;
pub mod query;
pub mod results;
pub mod rewrite;
pub mod scan;
pub mod segments;
pub mod speak;
pub mod speak_v1;
pub mod speak_v2;
pub mod speech;
pub mod turn_info;
pub mod turns;
pub mod utterance;
pub mod vocabulary;
pub mod voice;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::journal::{Control, Cursor, Journal};
use agent_v1::{AgentV1, LegAgent};
use audio::Audio;
use controls::Configures;
use dgsm_leg::frame::Frame;
use inbox::Inbox;
use listen_v1::ListenV1;
use listen_v2::ListenV2;
use query::Target;
use scan::{Node, type_of};
use speak::Kind;
use speak_v1::SpeakV1;
use speak_v2::SpeakV2;
use speech::Join;
use turns::LegTurns;

/// What an application's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Audio.
    Audio,
    /// A message about the stream.
    Control(Control),
    /// Nothing that this product knows and needs: it is not sent.
    Nothing,
}

/// What one leg adds to the session: where its clock starts, and what it was told.
#[derive(Debug, Default)]
pub struct LegView {
    /// The leg's number in the session.
    number: u64,
    /// The session's time at the leg's start, in microseconds.
    offset: i64,
    /// For each channel, the block before which the leg hears silence.
    silent_until: Vec<u64>,
    /// How many of the accepted Configures it was told of, other than by the application.
    told: u32,
    /// Replies to that, which the application did not ask for now.
    replies_to_drop: u32,
    /// The audio before this position was sent, over this leg or one before.
    sent: u64,
    /// The closing message went out.
    close_sent: bool,
    /// What answers it came.
    metadata: bool,
    /// Flux: the end of the last window that the leg reported, in microseconds.
    reported: i64,
    /// Flux: how much the leg had been sent by then, in bytes.
    reported_at: u64,
    /// `Error` messages, kept until it is clear whether the leg ends over them; oldest first.
    held: VecDeque<Frame>,
    /// Before it speaks for the session: what it has said of a channel, about a time, that may not
    /// have been delivered.
    overheard: VecDeque<(usize, i64, Frame)>,
    /// Flux: where the leg's own turns stand.
    turns: LegTurns,
    /// The voice agent: what the leg hears again.
    agent: LegAgent,
    /// What the session answers by itself.
    replies: Vec<Frame>,
    /// The agent has had the service call a function a second time.
    called_again: bool,
}

impl LegView {
    /// The leg has heard everything again and speaks for the session from here on: what it knows
    /// by itself stays.
    #[must_use]
    pub fn taking_over(self, mut start: Self) -> Self {
        start.replies_to_drop += self.replies_to_drop;
        start.turns.go_on(self.turns);
        start
    }

    /// What the leg has to be told of what was accepted before it got there.
    fn tell(&mut self, configures: &Configures) -> Option<Frame> {
        let frame = configures.news(&mut self.told)?;
        self.replies_to_drop += 1;
        Some(frame)
    }

    /// The leg was sent the audio before this position, so far.
    pub const fn was_sent(&mut self, byte: u64) {
        self.sent = byte;
    }

    /// The closing message went out.
    #[must_use]
    pub const fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// What the leg has said that belongs to finals to come.
    pub fn take_overheard(&mut self) -> Vec<Frame> {
        let overheard = std::mem::take(&mut self.overheard);
        overheard.into_iter().map(|(.., frame)| frame).collect()
    }

    /// Keeps an `Error` message until it is clear whether the leg ends over it.
    fn hold(&mut self, frame: Frame) {
        self.held.push_back(frame);
    }

    /// `Error` messages that the leg may end over, oldest first.
    #[must_use]
    pub const fn held(&self) -> &VecDeque<Frame> {
        &self.held
    }

    /// The oldest of more than are kept: the leg has lived on for many more.
    pub fn take_outlived(&mut self) -> Option<Frame> {
        let bytes: usize = self.held.iter().map(Frame::len).sum();
        (self.held.len() > MAX_HELD || bytes > MAX_KEPT_BYTES)
            .then(|| self.held.pop_front())
            .flatten()
    }

    /// Keeps what a leg says that does not speak for the session yet: the latest of it.
    pub fn overhear(&mut self, channel: usize, at: i64, frame: Frame) {
        if frame.len() > MAX_KEPT_BYTES {
            return;
        }
        let kept = |leg: &Self| {
            leg.overheard
                .iter()
                .map(|(.., frame)| frame.len())
                .sum::<usize>()
        };
        while self.overheard.len() == MAX_OVERHEARD || kept(self) + frame.len() > MAX_KEPT_BYTES {
            self.overheard.pop_front();
        }
        self.overheard.push_back((channel, at, frame));
    }

    /// Those that are kept: it is clear now.
    pub fn take_held(&mut self) -> VecDeque<Frame> {
        std::mem::take(&mut self.held)
    }

    /// What the session answers by itself to what the leg said.
    pub fn take_replies(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.replies)
    }

    /// Whether the service was made to call a function a second time, since the last call.
    pub const fn take_called_again(&mut self) -> bool {
        std::mem::replace(&mut self.called_again, false)
    }
}

/// Audio that a leg needed and the journal no longer had; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where it starts.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
    /// How many bytes it was.
    pub bytes: u64,
}

/// How a leg starts.
#[derive(Debug)]
pub struct LegStart {
    /// What it adds to the session.
    pub view: LegView,
    /// Where it reads the journal.
    pub cursor: Cursor,
    /// What it gets before that.
    pub head: Vec<Frame>,
    /// What it cannot get any more.
    pub gap: Option<Gap>,
}

/// How another leg takes over while one still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// It goes on from what the old one has finalised: there and then.
    Cut,
    /// It has to hear everything from the first byte: it does so beside the old one, and takes over
    /// once it says as much.
    Replay,
    /// Not at all.
    Never,
}

/// So many `Error` messages in a row may be what a leg ends over.
const MAX_HELD: usize = 8;
/// So many messages are kept of a leg that does not speak for the session yet.
const MAX_OVERHEARD: usize = 64;
/// The most bytes of either. The service's own are some hundred bytes each.
const MAX_KEPT_BYTES: usize = 256 << 10;

/// What a message did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// It was a result.
    pub result: bool,
    /// It was a final result, and was delivered.
    pub delivered_final: bool,
    /// More audio is finalised than before.
    pub advanced: bool,
    /// Speech goes on in another synthesis, which is not the same.
    pub joined: Option<Join>,
    /// It was about audio that nobody has sent.
    pub beyond: Option<Beyond>,
}

/// A claim about audio that the leg was not sent; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// What the service says it has heard.
    pub claimed: i64,
    /// What it was sent.
    pub sent: i64,
}

/// What the service has yet to say of what it was sent, where nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Nothing.
    Nothing,
    /// Something, unless it is too little to be worth a word, or was said: nobody can know.
    Perhaps,
    /// Something.
    Something,
}

/// A Deepgram product.
#[derive(Debug)]
pub enum Product {
    /// Nova speech to text.
    ListenV1(Box<ListenV1>),
    /// Flux speech to text.
    ListenV2(Box<ListenV2>),
    /// The voice agent.
    AgentV1(Box<AgentV1>),
    /// Aura text to speech.
    SpeakV1(Box<SpeakV1>),
    /// Flux text to speech.
    SpeakV2(Box<SpeakV2>),
    /// Something unknown: one leg, its messages as they come.
    Passthrough,
}

impl Product {
    /// The product that answers at a path.
    #[must_use]
    pub fn at(target: &Target<'_>) -> Self {
        match target.path.trim_start_matches('/') {
            "v1/listen" => Self::ListenV1(Box::new(ListenV1::new(target.query))),
            "v2/listen" => Self::ListenV2(Box::new(ListenV2::new(target.query))),
            "v1/agent/converse" => Self::AgentV1(Box::default()),
            "v1/speak" => Self::SpeakV1(Box::new(SpeakV1::new(target.query))),
            "v2/speak" => Self::SpeakV2(Box::new(SpeakV2::new(target.query))),
            _ => Self::Passthrough,
        }
    }

    /// The message that asks for what is left.
    #[must_use]
    pub fn closing(&self) -> Option<Frame> {
        match self {
            Self::ListenV1(_) | Self::ListenV2(_) => Some(Frame::from(r#"{"type":"CloseStream"}"#)),
            Self::SpeakV1(_) | Self::SpeakV2(_) => Some(Frame::from(r#"{"type":"Close"}"#)),
            Self::AgentV1(_) | Self::Passthrough => None,
        }
    }

    /// The message that keeps a leg open without audio.
    #[must_use]
    pub fn keepalive(&self) -> Option<Frame> {
        match self {
            Self::ListenV1(_) => Some(Frame::from(r#"{"type":"KeepAlive"}"#)),
            Self::AgentV1(agent) => agent.keepalive(),
            Self::ListenV2(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => None,
        }
    }

    /// The message that keeps a leg open that has not been told anything yet.
    #[must_use]
    pub fn standby_keepalive(&self) -> Option<Frame> {
        match self {
            Self::ListenV1(_) => self.keepalive(),
            // The agent expects its settings before anything else.
            Self::AgentV1(_)
            | Self::ListenV2(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_)
            | Self::Passthrough => None,
        }
    }

    /// The service reports on all audio, so that its silence is a sign.
    #[must_use]
    pub const fn reports_all(&self) -> bool {
        match self {
            Self::ListenV1(_) | Self::ListenV2(_) => true,
            // It has nothing to say while nobody speaks; what is passed on is nobody's business.
            // Speech comes when it is asked for: see `owes`.
            Self::AgentV1(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => false,
        }
    }

    /// Whether the service owes an answer to what it was asked, whatever else is sent.
    #[must_use]
    pub fn owes(&self) -> bool {
        match self {
            Self::SpeakV1(speak) => speak.owes(),
            Self::SpeakV2(speak) => speak.owes(),
            Self::ListenV1(_) | Self::ListenV2(_) | Self::AgentV1(_) | Self::Passthrough => false,
        }
    }

    /// Whether the service ends a session whose application is silent.
    #[must_use]
    pub const fn needs_input(&self) -> bool {
        match self {
            Self::ListenV1(_) | Self::ListenV2(_) | Self::AgentV1(_) | Self::Passthrough => true,
            Self::SpeakV1(_) | Self::SpeakV2(_) => false,
        }
    }

    /// The types of the messages that its clients send.
    #[must_use]
    pub const fn vocabulary(&self) -> &'static [&'static str] {
        match self {
            Self::ListenV1(_) => vocabulary::LISTEN_V1,
            Self::ListenV2(_) => vocabulary::LISTEN_V2,
            Self::AgentV1(_) => vocabulary::AGENT_V1,
            Self::SpeakV1(_) => vocabulary::SPEAK_V1,
            Self::SpeakV2(_) => vocabulary::SPEAK_V2,
            Self::Passthrough => &[],
        }
    }

    /// What an application's frame is.
    #[must_use]
    pub fn classify(&self, frame: &Frame) -> Input {
        let kind = frame
            .as_str()
            .and_then(Node::root)
            .and_then(|root| root.get("type"));
        let kind = kind.and_then(|kind| kind.raw_str());
        match (self, frame) {
            // To the service it may be a word of its own, and nobody meant one.
            (_, Frame::Binary(bytes)) if bytes.is_empty() => Input::Nothing,
            (_, Frame::Binary(_)) => Input::Audio,
            (Self::ListenV1(_), Frame::Text(_)) => Input::Control(match kind {
                Some("KeepAlive") => Control::KeepAlive,
                Some("Finalize") => Control::Finalize,
                Some("Configure") => Control::Configure,
                Some("CloseStream") => Control::Close,
                _ => Control::Other,
            }),
            // Flux knows none: what keeps it open is audio.
            (Self::ListenV2(_), Frame::Text(_)) if kind == Some("KeepAlive") => Input::Nothing,
            (Self::ListenV2(_), Frame::Text(_)) => Input::Control(ListenV2::classify(kind)),
            (Self::AgentV1(_), Frame::Text(_)) => Input::Control(AgentV1::classify(kind)),
            (Self::SpeakV1(_), Frame::Text(_)) => Input::Control(match kind {
                Some("Close") => Control::Close,
                _ => Control::Other,
            }),
            (Self::SpeakV2(_), Frame::Text(_)) => Input::Control(match kind {
                Some("Configure") => Control::Configure,
                Some("Close") => Control::Close,
                _ => Control::Other,
            }),
            (Self::Passthrough, Frame::Text(_)) => Input::Control(Control::Other),
        }
    }

    /// What the session sends by itself before the closing message, so that everything has an
    /// answer.
    pub fn before_close(&mut self, journal: &Journal) -> Option<Frame> {
        match self {
            Self::SpeakV1(speak) => speak.before_close(journal),
            Self::ListenV1(_)
            | Self::ListenV2(_)
            | Self::AgentV1(_)
            | Self::SpeakV2(_)
            | Self::Passthrough => None,
        }
    }

    /// Whether another leg can go on where one ended, given what the journal still has.
    #[must_use]
    pub fn is_resumable(&self, journal: &Journal) -> bool {
        match self {
            Self::ListenV1(listen) => listen.audio().layout().is_some() || journal.first() == 0,
            Self::ListenV2(listen) => listen.audio().layout().is_some() || journal.first() == 0,
            Self::AgentV1(_) | Self::SpeakV1(_) | Self::SpeakV2(_) => true,
            Self::Passthrough => false,
        }
    }

    /// Nothing is kept to be sent again: there is one leg, and what it says is all.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        match self {
            Self::ListenV1(_)
            | Self::ListenV2(_)
            | Self::AgentV1(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_) => false,
            Self::Passthrough => true,
        }
    }

    /// How another leg takes over while one still works.
    #[must_use]
    pub fn handover(&self) -> Handover {
        match self {
            Self::SpeakV1(_) | Self::SpeakV2(_) => Handover::Cut,
            Self::ListenV1(_) | Self::ListenV2(_) | Self::AgentV1(_) | Self::Passthrough => {
                match (self, self.audio()) {
                    (_, Some(Audio::Raw(_) | Audio::Wav(_))) => Handover::Cut,
                    (Self::ListenV1(_) | Self::ListenV2(_), Some(Audio::Other)) => Handover::Replay,
                    _ => Handover::Never,
                }
            }
        }
    }

    /// The audio's clock, where the product's input is audio that is kept.
    #[must_use]
    pub fn audio(&self) -> Option<&Audio> {
        match self {
            Self::ListenV1(listen) => Some(listen.audio()),
            Self::ListenV2(listen) => Some(listen.audio()),
            Self::AgentV1(agent) => Some(agent.audio()),
            Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => None,
        }
    }

    /// The application sends audio.
    pub fn feed(&mut self, payload: &[u8]) {
        match self {
            Self::ListenV1(listen) => listen.feed(payload),
            Self::ListenV2(listen) => listen.feed(payload),
            Self::AgentV1(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => {}
        }
    }

    /// The application sends a control message: the journal's next one, unless this says that it
    /// is not to be sent.
    pub fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool {
        match self {
            Self::ListenV1(listen) => listen.ask(kind, journal, frame),
            Self::ListenV2(listen) => listen.ask(kind, journal, frame),
            Self::AgentV1(agent) => return agent.ask(kind, journal, frame),
            Self::SpeakV1(speak) => speak.ask(kind, journal, frame),
            Self::SpeakV2(speak) => speak.ask(kind, journal, frame),
            Self::Passthrough => {}
        }
        true
    }

    /// Whether a session can do without a control message: what was sent is answered all the same.
    #[must_use]
    pub fn is_optional(&self, kind: Control, frame: &Frame) -> bool {
        if matches!(kind, Control::KeepAlive | Control::Close) {
            return false;
        }
        match self {
            Self::ListenV1(_) | Self::ListenV2(_) => true,
            Self::AgentV1(_) => type_of(frame) != Some("Settings"),
            Self::SpeakV1(_) | Self::SpeakV2(_) => {
                !matches!(Kind::of(frame), Kind::Text | Kind::Flush)
            }
            Self::Passthrough => false,
        }
    }

    /// Whether a leg has come so far that it reads what is optional.
    #[must_use]
    pub const fn reads(&self, leg: &LegView) -> bool {
        match self {
            Self::AgentV1(_) => leg.agent.has_settings(),
            Self::ListenV1(_)
            | Self::ListenV2(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_)
            | Self::Passthrough => true,
        }
    }

    /// A control message is not sent again, and no answer to it is waited for.
    pub fn forget(&mut self, journal: &mut Journal, number: u64) {
        match self {
            Self::ListenV1(listen) => listen.forget(number),
            Self::ListenV2(listen) => listen.forget(number),
            Self::AgentV1(agent) => agent.forget(number),
            Self::SpeakV1(speak) => speak.forget(journal, number),
            Self::SpeakV2(speak) => speak.forget(journal, number),
            Self::Passthrough => {}
        }
        journal.settle(number);
    }

    /// What a leg was told at its start, beyond what it cannot do without, and has not answered.
    #[must_use]
    pub fn told(&self, leg: &LegView) -> Option<Frame> {
        match self {
            Self::ListenV1(listen) => listen.told(leg),
            Self::ListenV2(listen) => listen.told(leg),
            Self::AgentV1(agent) => agent.told(leg),
            Self::SpeakV2(speak) => speak.told(leg),
            Self::SpeakV1(_) | Self::Passthrough => None,
        }
    }

    /// No leg is told that again.
    pub fn forget_told(&mut self, leg: &mut LegView) {
        match self {
            Self::ListenV1(listen) => listen.forget_told(leg),
            Self::ListenV2(listen) => listen.forget_told(leg),
            Self::AgentV1(agent) => agent.forget_told(leg),
            Self::SpeakV2(speak) => speak.forget_told(leg),
            Self::SpeakV1(_) | Self::Passthrough => {}
        }
    }

    /// Whether a message may be among a leg's last words, so that the leg need not have outlived
    /// what it called an error before.
    #[must_use]
    pub fn may_be_last(&self, leg: &LegView, frame: &Frame) -> bool {
        match (self, type_of(frame)) {
            (_, Some("Error")) => true,
            // Before the end was asked for, it announces the leg's.
            (Self::ListenV1(_), Some("Metadata")) | (Self::SpeakV2(_), Some("SessionMetadata")) => {
                !leg.close_sent
            }
            _ => false,
        }
    }

    /// An `Error` message that was kept reaches the application.
    pub fn say(&mut self, leg: &LegView, frame: Frame, inbox: &mut Inbox) {
        match self {
            Self::ListenV2(listen) => listen.say(leg, &frame, inbox),
            Self::ListenV1(_)
            | Self::AgentV1(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_)
            | Self::Passthrough => inbox.push(frame),
        }
    }

    /// Where a leg starts, and what it gets first.
    pub fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        match self {
            Self::ListenV1(listen) => listen.begin_leg(number, journal),
            Self::ListenV2(listen) => listen.begin_leg(number, journal),
            Self::AgentV1(agent) => agent.begin_leg(number, journal),
            Self::SpeakV1(speak) => speak.begin_leg(number, journal),
            Self::SpeakV2(speak) => speak.begin_leg(number, journal),
            Self::Passthrough => LegStart {
                view: LegView {
                    number,
                    ..LegView::default()
                },
                cursor: journal.cursor(0),
                head: Vec::new(),
                gap: None,
            },
        }
    }

    /// Where a leg starts that hears everything again before it takes over, and what it gets
    /// first. `begin_leg` follows when it does.
    #[must_use]
    pub fn begin_replay(&self, number: u64, journal: &Journal) -> Option<LegStart> {
        match self {
            Self::ListenV1(listen) => Some(listen.begin_replay(number, journal)),
            Self::ListenV2(listen) => Some(listen.begin_replay(number, journal)),
            Self::AgentV1(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => None,
        }
    }

    /// A message came on a leg that hears everything again. Whether it says as much as was
    /// delivered: then it is the first one of that leg that counts.
    pub fn overhear(&self, leg: &mut LegView, frame: &Frame) -> bool {
        match self {
            Self::ListenV1(listen) => listen.overhear(leg, frame),
            Self::ListenV2(listen) => listen.overhear(leg, frame),
            Self::AgentV1(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => false,
        }
    }

    /// Whether a message is one that each leg says by itself when it begins.
    #[must_use]
    pub fn greets(&self, frame: &Frame) -> bool {
        match self {
            Self::ListenV2(_) | Self::SpeakV2(_) => type_of(frame) == Some("Connected"),
            Self::SpeakV1(_) => type_of(frame) == Some("Metadata"),
            Self::AgentV1(_) => type_of(frame) == Some("Welcome"),
            Self::ListenV1(_) | Self::Passthrough => false,
        }
    }

    /// What such a leg gets before anything else: what the application was granted meanwhile.
    #[must_use]
    pub fn tell(&self, leg: &mut LegView) -> Option<Frame> {
        match self {
            Self::ListenV1(listen) => listen.tell(leg),
            Self::ListenV2(listen) => listen.tell(leg),
            Self::AgentV1(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => None,
        }
    }

    /// Audio as the leg gets it. `start` is its position.
    #[must_use]
    pub fn send_audio(&self, leg: &mut LegView, start: u64, payload: Bytes) -> Bytes {
        match self {
            Self::ListenV1(listen) => listen.send_audio(leg, start, payload),
            Self::AgentV1(_) => {
                leg.agent.sent_audio(start + payload.len() as u64);
                payload
            }
            Self::ListenV2(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => payload,
        }
    }

    /// Whether a control message may go out on a leg now; else after more has come.
    #[must_use]
    pub fn may_send(&self, leg: &LegView, number: u64) -> bool {
        match self {
            Self::SpeakV2(speak) => speak.may_send(leg, number),
            Self::ListenV1(_)
            | Self::ListenV2(_)
            | Self::AgentV1(_)
            | Self::SpeakV1(_)
            | Self::Passthrough => true,
        }
    }

    /// A control message goes out on a leg, as the leg gets it.
    pub fn send(&mut self, leg: &mut LegView, kind: Control, number: u64, frame: Frame) -> Frame {
        leg.close_sent |= kind == Control::Close;
        match self {
            Self::ListenV1(listen) => listen.sent(leg, kind, number),
            Self::ListenV2(listen) => listen.sent(leg, kind, number),
            Self::AgentV1(agent) => return agent.send(leg, number, frame),
            Self::SpeakV1(speak) => speak.sent(number),
            Self::SpeakV2(speak) => return speak.send(leg, number, frame),
            Self::Passthrough => {}
        }
        frame
    }

    /// A message came on the leg that speaks for the session.
    pub fn receive(
        &mut self,
        leg: &mut LegView,
        journal: &mut Journal,
        frame: Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        match self {
            Self::ListenV1(listen) => listen.receive(leg, journal, frame, inbox),
            Self::ListenV2(listen) => listen.receive(leg, journal, frame, inbox),
            Self::AgentV1(agent) => agent.receive(leg, journal, frame, inbox),
            Self::SpeakV1(speak) => speak.receive(leg, journal, frame, inbox),
            Self::SpeakV2(speak) => speak.receive(leg, journal, frame, inbox),
            Self::Passthrough => {
                inbox.push(frame);
                Effect {
                    result: true,
                    ..Effect::default()
                }
            }
        }
    }

    /// All audio before a position is finalised, for certain.
    #[must_use]
    pub fn all_acked(&self, byte: u64) -> bool {
        match self {
            Self::ListenV1(listen) => listen.all_acked(byte),
            Self::ListenV2(listen) => listen.all_acked(byte),
            Self::AgentV1(agent) => agent.all_acked(byte),
            Self::SpeakV1(speak) => speak.all_acked(),
            Self::SpeakV2(speak) => speak.all_acked(),
            Self::Passthrough => byte == 0,
        }
    }

    /// The leg has answered the closing message, so that nothing is missing if it ends.
    #[must_use]
    pub fn answered(&self, leg: &LegView, journal: &Journal) -> bool {
        match self {
            Self::ListenV1(listen) => listen.answered(leg, journal),
            Self::ListenV2(listen) => listen.answered(leg, journal),
            Self::SpeakV1(speak) => speak.answered(leg),
            Self::SpeakV2(speak) => speak.answered(leg),
            Self::AgentV1(_) | Self::Passthrough => false,
        }
    }

    /// Whether a leg that answered the closing message has said everything if it breaks off now.
    #[must_use]
    pub fn said_everything(&self, journal: &Journal) -> bool {
        match self {
            Self::ListenV2(listen) => listen.said_everything(journal),
            Self::ListenV1(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_)
            | Self::AgentV1(_)
            | Self::Passthrough => true,
        }
    }

    /// Whether the closing message goes out only when the service has said what it has to say
    /// without it: so that what comes then is known to be its answer.
    #[must_use]
    pub fn closes_quietly(&self) -> bool {
        match self {
            Self::ListenV2(listen) => listen.audio().layout().is_none(),
            Self::ListenV1(_)
            | Self::AgentV1(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_)
            | Self::Passthrough => false,
        }
    }

    /// A leg has ended in order, after it was asked to, and has not answered. Whether it has
    /// nothing to say, as far as anybody can know.
    pub fn confirms(&mut self, leg: &LegView, journal: &Journal) -> bool {
        match self {
            Self::ListenV2(listen) => listen.confirms(leg, journal),
            Self::ListenV1(_)
            | Self::AgentV1(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_)
            | Self::Passthrough => false,
        }
    }

    /// Nothing was asked of the service that it could answer: it may end in order at any time.
    #[must_use]
    pub fn asks_nothing(&self, journal: &Journal) -> bool {
        match self {
            Self::ListenV1(_) | Self::ListenV2(_) => journal.end() == 0,
            Self::SpeakV1(speak) => !speak.asked(),
            Self::SpeakV2(speak) => !speak.asked(),
            Self::AgentV1(_) | Self::Passthrough => false,
        }
    }

    /// What was sent has its answers, but perhaps for the last word of a leg.
    #[must_use]
    pub fn misses_nothing(&self, journal: &Journal) -> bool {
        match self {
            Self::ListenV1(listen) => listen.all_acked(journal.end()),
            Self::ListenV2(listen) => listen.reported(journal.end()),
            Self::SpeakV1(speak) => !speak.asks(),
            Self::SpeakV2(speak) => !speak.asks(),
            Self::AgentV1(_) | Self::Passthrough => false,
        }
    }

    /// Whether what is sent may stay without an answer, for good.
    #[must_use]
    pub const fn needs_no_answer(&self) -> bool {
        match self {
            Self::AgentV1(_) | Self::Passthrough => true,
            Self::ListenV1(_) | Self::ListenV2(_) | Self::SpeakV1(_) | Self::SpeakV2(_) => false,
        }
    }

    /// What the service has yet to say of what it was sent, where nothing more comes.
    #[must_use]
    pub fn owed(&self, journal: &Journal) -> Owed {
        match self {
            Self::ListenV1(listen) => listen.owed(journal),
            Self::ListenV2(listen) => listen.owed(journal),
            Self::AgentV1(_) | Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => {
                Owed::Nothing
            }
        }
    }

    /// What makes the service say it without more audio.
    #[must_use]
    pub fn ask_for_it(&self) -> Option<Frame> {
        match self {
            Self::ListenV1(listen) => listen.ask_for_it(),
            Self::ListenV2(_)
            | Self::AgentV1(_)
            | Self::SpeakV1(_)
            | Self::SpeakV2(_)
            | Self::Passthrough => None,
        }
    }

    /// Whether the service has said everything if it ends in order now, after it was asked to.
    #[must_use]
    pub fn end_answers(&self, leg: &LegView, journal: &Journal) -> bool {
        match self {
            Self::ListenV1(_) | Self::SpeakV2(_) => false,
            Self::ListenV2(listen) => listen.end_answers(leg, journal),
            Self::SpeakV1(speak) => speak.end_answers(),
            Self::AgentV1(_) | Self::Passthrough => true,
        }
    }

    /// The session is over, in order: no leg follows.
    pub fn conclude(&mut self, inbox: &mut Inbox) {
        match self {
            Self::SpeakV1(speak) => speak.conclude(inbox),
            Self::SpeakV2(speak) => speak.conclude(inbox),
            Self::ListenV1(_) | Self::ListenV2(_) | Self::AgentV1(_) | Self::Passthrough => {}
        }
    }

    /// Audio that was pushed and is not finalised, in seconds; 0 where nobody knows.
    #[must_use]
    pub fn unacked_seconds(&self, journal: &Journal) -> f64 {
        match self {
            Self::ListenV1(listen) => unacked(listen.audio(), journal, listen.finalised()),
            Self::ListenV2(listen) => unacked(listen.audio(), journal, listen.finalised()),
            Self::AgentV1(agent) => unacked(agent.audio(), journal, agent.finalised()),
            Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => 0.0,
        }
    }

    /// Audio that is finalised, in seconds.
    #[must_use]
    pub fn acked_seconds(&self) -> f64 {
        match self {
            Self::ListenV1(listen) => as_seconds(listen.finalised()),
            Self::ListenV2(listen) => as_seconds(listen.finalised()),
            Self::AgentV1(agent) => as_seconds(agent.finalised()),
            Self::SpeakV1(_) | Self::SpeakV2(_) | Self::Passthrough => 0.0,
        }
    }
}

/// Audio that was pushed and is not finalised, in seconds.
fn unacked(audio: &Audio, journal: &Journal, finalised: i64) -> f64 {
    as_seconds(
        audio
            .micros_before(journal.end())
            .saturating_sub(finalised)
            .max(0),
    )
}

/// Microseconds as seconds, for people.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "for people, and exact for 285 years"
)]
pub fn as_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_leg_is_bounded() {
        let mut leg = LegView::default();
        let large = || Frame::Text(vec![b' '; MAX_KEPT_BYTES / 3].into());
        for at in 0..1000 {
            leg.hold(large());
            while leg.take_outlived().is_some() {}
            leg.overhear(0, at, large());
        }
        assert_eq!((leg.held.len(), leg.overheard.len()), (3, 3));
        assert_eq!(leg.overheard[2].1, 999, "the latest");
        leg.overhear(0, 1000, Frame::Text(vec![b' '; MAX_KEPT_BYTES + 1].into()));
        assert_eq!(leg.overheard[2].1, 999);
        let mut leg = LegView::default();
        for at in 0..1000 {
            leg.hold(Frame::from("small"));
            while leg.take_outlived().is_some() {}
            leg.overhear(0, at, Frame::from("small"));
        }
        assert_eq!(
            (leg.held.len(), leg.overheard.len()),
            (MAX_HELD, MAX_OVERHEARD)
        );
    }
}
