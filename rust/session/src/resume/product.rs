//! What a session asks of a Deepgram product.
//!
//! The session knows legs, the journal and time; a [`Product`] knows what messages mean. It reads
//! what both sides say, and answers the session's questions. It has no I/O, no clock and no
//! randomness.
//!
//! ```text
//!   application ──▶ control, feed, ask ──▶ journal ──▶ send_audio, send ──▶ leg
//!   application ◀── inbox ◀── receive ◀───────────────────────────────────── leg
//!                    │
//!                    └─ acknowledges in the journal what it makes final
//! ```
//!
//! Each product implements the trait in a module of its own, which also has the product's message
//! types, its closing message, its `KeepAlive` and its greeting. A method without an implementation
//! there does what suits a product that is not understood: everything is passed on, over one leg.
//!
//! At most two legs are asked about at a time: the *current* one, which speaks for the session, and
//! a *standby* that hears everything again. What a product has to remember of each is its own, see
//! [`super::leg::PerLeg`].

use std::fmt;

use bytes::Bytes;

use super::audio::Audio;
use super::inbox::Inbox;
use super::incoming::Incoming;
use super::leg::{LegStart, LegView};
use super::scan::type_of;
use super::speech::Join;
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// What an application's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Audio.
    Audio,
    /// A control message.
    Control(Control),
    /// A frame that is not sent: the product has no use for it.
    Nothing,
}

/// How another leg takes over while one still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// The new leg goes on at once, from what the old one has finalised.
    Cut,
    /// The new leg hears everything from the first byte beside the old one, and takes over when it
    /// has said as much.
    Replay,
    /// It does not.
    Never,
}

/// What a message did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
pub struct Effect {
    /// It was a result.
    pub result: bool,
    /// It was a final result, and was delivered.
    pub delivered_final: bool,
    /// More input is acknowledged than before.
    pub advanced: bool,
    /// Speech goes on in another synthesis, which differs.
    pub joined: Option<Join>,
    /// It was about audio that the leg was not sent.
    pub beyond: Option<Beyond>,
    /// The service carries out a function call a second time.
    pub called_again: bool,
}

impl Effect {
    /// Returns the effect of a result that changes nothing else.
    #[must_use]
    pub fn of_result() -> Self {
        Self {
            result: true,
            ..Self::default()
        }
    }
}

/// A claim about audio that the leg was not sent; times in microseconds of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// The end of the audio that the service claims to have heard.
    pub claimed: i64,
    /// The end of the audio that the leg was sent.
    pub sent: i64,
}

/// What the service still has to say about what it was sent, if nothing more is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Nothing.
    Nothing,
    /// Unknown: the rest may be too short for a result, or have one already.
    Perhaps,
    /// Something.
    Something,
}

/// A Deepgram product: what its messages mean to a session that goes on over several legs.
pub trait Product: fmt::Debug + Send {
    // What the application sends.

    /// Returns the `type`s of the messages that clients send.
    fn vocabulary(&self) -> &'static [&'static str];

    /// Returns what a text message of this `type` is; `None` for one that is not sent.
    fn control(&self, kind: Option<&str>) -> Option<Control>;

    /// Returns what an application's frame is.
    fn classify(&self, frame: &Frame) -> Input {
        match frame {
            // An empty message may have a meaning of its own to the service, and none was meant.
            Frame::Binary(bytes) if bytes.is_empty() => Input::Nothing,
            Frame::Binary(_) => Input::Audio,
            Frame::Text(_) => self
                .control(type_of(frame))
                .map_or(Input::Nothing, Input::Control),
        }
    }

    /// The application sends audio, which is about to enter the journal.
    fn feed(&mut self, _payload: &[u8]) {}

    /// The application sends a control message, which is about to enter the journal. Returns
    /// whether it is to be sent at all.
    fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool;

    /// A control message is not sent again, and no answer to it is expected. The caller settles it
    /// in the journal.
    fn forget(&mut self, _journal: &mut Journal, _number: u64) {}

    /// Returns whether the session can do without a control message that is neither a `KeepAlive`
    /// nor the closing message.
    fn is_optional(&self, _frame: &Frame) -> bool {
        false
    }

    /// Returns the message that the session sends before the closing message, so that all input
    /// has an answer.
    fn before_close(&mut self, _journal: &Journal) -> Option<Frame> {
        None
    }

    /// Returns the closing message. Without one the end of the input closes.
    fn closing(&self) -> Option<Frame> {
        None
    }

    /// Returns the message that keeps the current leg open without audio.
    fn keepalive(&self) -> Option<Frame> {
        None
    }

    /// Returns the message that keeps a standby open that was sent nothing else.
    fn standby_keepalive(&self) -> Option<Frame> {
        None
    }

    // What a leg is sent.

    /// A leg begins to speak for the session. Returns where it starts, and what it is sent first.
    fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart;

    /// A standby begins to hear everything again. Returns where it starts, and what it is sent
    /// first. [`Product::begin_leg`] follows when it takes over.
    fn begin_replay(&mut self, _number: u64, _journal: &Journal) -> Option<LegStart> {
        None
    }

    /// Returns what a standby that hears everything again is sent next: settings that the service
    /// has accepted meanwhile.
    fn catch_up(&mut self, _leg: &LegView) -> Option<Frame> {
        None
    }

    /// Returns audio as the leg gets it. `start` is its position in the journal, in bytes.
    fn send_audio(&mut self, _leg: &LegView, _start: u64, payload: Bytes) -> Bytes {
        payload
    }

    /// Returns whether a control message may go out on a leg now; otherwise it waits for the next
    /// message of the leg.
    fn may_send(&self, _leg: &LegView, _number: u64) -> bool {
        true
    }

    /// A control message goes out on a leg. Returns it as the leg gets it.
    fn send(&mut self, leg: &LegView, kind: Control, number: u64, frame: Frame) -> Frame;

    /// Returns whether a leg has come to the point where it reads optional messages.
    fn reads(&self, _leg: &LegView) -> bool {
        true
    }

    /// Returns the optional message that headed a leg and has no answer.
    fn unanswered_head(&self, _leg: &LegView) -> Option<Frame> {
        None
    }

    /// That message heads no further leg.
    fn withdraw_head(&mut self, _leg: &LegView) {}

    // What the service says.

    /// The current leg says something. What is news goes into the inbox.
    fn receive(&mut self, message: Incoming<'_>) -> Effect;

    /// A standby that hears everything again says something. Returns whether it has said as much as
    /// was delivered: the message is then the first one that counts.
    fn overhear(&mut self, _leg: &mut LegView, _frame: &Frame) -> bool {
        false
    }

    /// Returns the `type` of the message with which each leg greets.
    fn greeting(&self) -> Option<&'static str> {
        None
    }

    /// Returns whether a message is a leg's greeting.
    fn greets(&self, frame: &Frame) -> bool {
        let greeting = self.greeting();
        greeting.is_some() && type_of(frame) == greeting
    }

    /// Returns the `type` of the message with which a leg announces its end.
    fn farewell(&self) -> Option<&'static str> {
        None
    }

    /// Returns whether a message may be among a leg's last ones: such a message does not show that
    /// the leg survived an error.
    fn may_be_last(&self, leg: &LegView, frame: &Frame) -> bool {
        let kind = type_of(frame);
        // After the closing message a farewell answers it.
        kind == Some("Error") || (kind.is_some() && kind == self.farewell() && !leg.close_sent())
    }

    /// Delivers an `Error` message that was held back.
    fn deliver_held(&mut self, _leg: &LegView, frame: Frame, inbox: &mut Inbox) {
        inbox.push(frame);
    }

    /// The session is over, in order. Delivers what was kept back.
    fn conclude(&mut self, _inbox: &mut Inbox) {}

    // What is answered, and what is owed.

    /// Returns whether all input before a position is certainly acknowledged.
    fn all_acked(&self, byte: u64) -> bool;

    /// Returns whether the leg has answered the closing message, so that nothing is missing if it
    /// ends.
    fn answered(&self, leg: &LegView, journal: &Journal) -> bool;

    /// Returns whether a leg that answered the closing message has said everything even if it ends
    /// out of order.
    fn said_everything(&self, _journal: &Journal) -> bool {
        true
    }

    /// Returns whether the service has said everything if it ends in order after the closing
    /// message.
    fn end_answers(&self, _leg: &LegView, _journal: &Journal) -> bool {
        true
    }

    /// A leg has ended in order after the closing message, without an answer. Returns whether it
    /// had nothing to say, as far as can be known.
    fn confirms(&mut self, _leg: &LegView, _journal: &Journal) -> bool {
        false
    }

    /// Returns whether the closing message waits until the service is quiet, so that what comes
    /// after it is known to be its answer.
    fn closes_quietly(&self) -> bool {
        false
    }

    /// Returns whether nothing was sent that the service could answer: it may end in order at any
    /// time.
    fn asks_nothing(&self, _journal: &Journal) -> bool {
        false
    }

    /// Returns whether everything that was sent has its answer, apart from a leg's farewell.
    fn misses_nothing(&self, _journal: &Journal) -> bool {
        false
    }

    /// Returns whether input may stay without an answer for good.
    fn needs_no_answer(&self) -> bool {
        true
    }

    /// Returns whether the service reports on all audio, so that its silence is a failure.
    fn reports_all(&self) -> bool {
        false
    }

    /// Returns whether the service owes an answer now, even if nothing more is sent.
    fn owes(&self) -> bool {
        false
    }

    /// Returns whether the service ends a session whose application is silent.
    fn needs_input(&self) -> bool {
        true
    }

    /// Returns what the service still has to say about what it was sent, if nothing more is sent.
    fn owed(&self, _journal: &Journal) -> Owed {
        Owed::Nothing
    }

    /// Returns the message that makes the service say it.
    fn ask_for_it(&self) -> Option<Frame> {
        None
    }

    // How the session goes on over another leg.

    /// Returns whether there is only one leg: nothing is kept to be sent again. A product that goes
    /// on over another leg overrides this and [`Product::is_resumable`].
    fn is_single(&self) -> bool {
        true
    }

    /// Returns whether another leg can go on, given what the journal still has.
    fn is_resumable(&self, _journal: &Journal) -> bool {
        false
    }

    /// Returns how another leg takes over while one still works.
    fn handover(&self) -> Handover {
        match self.audio() {
            Some(Audio::Raw(_) | Audio::Wav(_)) => Handover::Cut,
            Some(Audio::Unknown(_) | Audio::Other) | None => Handover::Never,
        }
    }

    /// Returns the audio's clock, where the input is audio that is kept.
    fn audio(&self) -> Option<&Audio> {
        None
    }

    /// Returns the end of the audio that is finalised, in microseconds.
    fn finalised(&self) -> i64 {
        0
    }

    /// Returns how much audio is in the journal and not finalised, in seconds; 0 where that is
    /// unknown.
    fn unacked_seconds(&self, journal: &Journal) -> f64 {
        let end = self
            .audio()
            .map_or(0, |audio| audio.micros_before(journal.end()));
        as_seconds(end.saturating_sub(self.finalised()).max(0))
    }

    /// Returns how much audio is finalised, in seconds.
    fn acked_seconds(&self) -> f64 {
        as_seconds(self.finalised())
    }
}

/// Converts microseconds to seconds, for people.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "for people, and exact for 285 years"
)]
pub fn as_seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
