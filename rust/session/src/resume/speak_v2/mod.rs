//! `v2/speak` (Flux): turn by turn, each said once and under one name.
//!
//! ```text
//!   SpeechStarted ─▶ audio … ─▶ SpeechMetadata        a turn, as the service reports it
//!        Flushed: the Flush has arrived; before the audio's end or after it
//! ```
//! A turn is acknowledged when it has both its `SpeechMetadata` and its `Flushed`, or when the next
//! one starts. `SpeechInterrupted` ends it, too.
//!
//! - `turns`: the turns that are not acknowledged.
//! - `interrupts`: the interrupts that are not answered.
//! - `settings`: the Configures.
//! - `clock`: times and sums of the session and of the leg.

mod clock;
mod interrupts;
mod settings;
mod turns;

use super::inbox::Inbox;
use super::incoming::Incoming;
use super::leg::{LegStart, LegView};
use super::product::{Effect, Handover, Product};
use super::query::Target;
use super::rewrite::Edits;
use super::speak::{Kind, Request, Requests, Warnings};
use super::speech::{Join, Speech};
use super::voice::Voice;
use crate::journal::{Control, Journal};
use clock::{Clock, MAX_MILLIS, Totals, character_counts, millis, shift};
use dgsm_leg::frame::Frame;
use interrupts::{Interrupt, Interrupts};
use settings::{Answer, Settings};
use turns::{SpeechTurn, SpeechTurns};

/// The messages that clients send.
pub const VOCABULARY: &[&str] = &["Speak", "Flush", "Interrupt", "Configure", "Close"];

/// A Flux TTS session.
#[derive(Debug)]
pub struct SpeakV2 {
    voice: Option<Voice>,
    speech: Speech,
    requests: Requests,
    turns: SpeechTurns,
    interrupts: Interrupts,
    settings: Settings,
    clock: Clock,
    totals: Totals,
    /// `Connected` was delivered.
    connected: bool,
    /// The leg has answered the closing message with `SessionMetadata`.
    metadata: bool,
    warnings: Warnings,
}

impl SpeakV2 {
    /// Returns a session that asks for this.
    #[must_use]
    pub fn new(target: &Target<'_>) -> Self {
        let voice = Voice::from_query(target.query);
        Self {
            voice,
            speech: Speech::new(voice),
            requests: Requests::default(),
            turns: SpeechTurns::default(),
            interrupts: Interrupts::default(),
            settings: Settings::default(),
            clock: Clock::default(),
            totals: Totals::default(),
            connected: false,
            metadata: false,
            warnings: Warnings::default(),
        }
    }
}

impl Product for SpeakV2 {
    fn vocabulary(&self) -> &'static [&'static str] {
        VOCABULARY
    }

    fn control(&self, kind: Option<&str>) -> Option<Control> {
        Some(match kind {
            Some("Configure") => Control::Configure,
            Some("Close") => Control::Close,
            _ => Control::Other,
        })
    }

    fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool {
        if kind == Control::Close {
            return true;
        }
        let (kind, number) = (Kind::of(frame), journal.next_control());
        let turn = self.requests.push(kind, number);
        match kind {
            Kind::Text => self.turns.add_text(turn),
            Kind::Interrupt => {
                self.interrupts.push(number, frame);
                // It ends the turn that is said now. If that one still takes text, the text that
                // follows is another turn.
                if self.turns.is_only(turn) {
                    self.requests.end_turn();
                }
            }
            Kind::Configure => self.settings.push(number, frame),
            Kind::Flush | Kind::Clear | Kind::Other => {}
        }
        true
    }

    fn forget(&mut self, journal: &mut Journal, number: u64) {
        self.interrupts.take(number);
        self.settings.remove(number);
        self.requests
            .settle(journal, |request| request.number == number);
        self.settings.merge(&mut self.requests, journal);
    }

    fn is_optional(&self, frame: &Frame) -> bool {
        !matches!(Kind::of(frame), Kind::Text | Kind::Flush)
    }

    fn closing(&self) -> Option<Frame> {
        Some(Frame::from(r#"{"type":"Close"}"#))
    }

    /// A leg starts with the settings that were accepted, and the first turn that is not
    /// acknowledged.
    fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        self.requests.begin_leg();
        self.turns.begin_leg();
        if number > 0 {
            self.speech.again();
        }
        self.metadata = false;
        self.clock.begin_leg();
        self.totals.begin_leg();
        let head = self.settings.begin_leg();
        LegStart {
            head: head.into_iter().collect(),
            ..LegStart::at(LegView::new(number), journal.cursor(journal.sent()))
        }
    }

    /// An `Interrupt` waits until the leg has said as much of the turn as the application has heard:
    /// before that there would be nothing to interrupt.
    fn may_send(&self, leg: &LegView, number: u64) -> bool {
        let Some(interrupt) = self.interrupts.get(number) else {
            return true;
        };
        let turn = self.requests.get(number).map_or(0, |request| request.turn);
        let active = self.turns.active();
        let Some(active) = active.filter(|active| !leg.is_first() && active.id <= turn) else {
            return true;
        };
        // The application knows that it is over: it did not mean this one.
        if active.delivered.metadata {
            return false;
        }
        let delivered = self.speech.delivered();
        let played = interrupt
            .played
            .zip(self.voice)
            .map_or(delivered, |(played, voice)| {
                let played = played.saturating_mul(1000);
                let within = played.saturating_sub(self.clock.turn_start());
                voice.bytes(within).min(delivered)
            });
        self.speech.on_leg() >= played.max(1)
    }

    fn send(&mut self, leg: &LegView, _kind: Control, number: u64, frame: Frame) -> Frame {
        self.requests.sent(number);
        self.settings.sent(number);
        self.interrupts.send(leg, number, frame, &self.clock)
    }

    fn unanswered_head(&self, _leg: &LegView) -> Option<Frame> {
        self.settings.unanswered_head()
    }

    fn withdraw_head(&mut self, _leg: &LegView) {
        self.settings.withdraw_head();
    }

    fn receive(&mut self, mut message: Incoming<'_>) -> Effect {
        if let Frame::Binary(payload) = message.frame {
            let joined = self.speech.receive(payload.clone(), message.inbox);
            self.join(joined);
            return Effect {
                joined,
                advanced: self.speech.has_progressed(),
                ..Effect::of_result()
            };
        }
        match message.kind() {
            Some("Connected") => {
                // The second one is another leg's.
                if !std::mem::replace(&mut self.connected, true) {
                    message.pass_on();
                }
            }
            Some("SpeechStarted") => return self.started(&mut message),
            Some("Flushed") => return self.flushed(&mut message),
            Some("SpeechMetadata") => return self.speech_metadata(&mut message),
            Some("SpeechInterrupted") => return self.interrupted(&mut message),
            Some("SessionMetadata") => self.session_metadata(&mut message),
            Some("ConfigureSuccess") => self.configured(&mut message, true),
            Some("ConfigureFailure") => self.configured(&mut message, false),
            Some("Warning") => self.warning(&mut message),
            Some("Error") => message.hold(),
            Some(_) | None => message.pass_on(),
        }
        Effect::default()
    }

    fn greeting(&self) -> Option<&'static str> {
        Some("Connected")
    }

    fn farewell(&self) -> Option<&'static str> {
        Some("SessionMetadata")
    }

    /// No leg follows, so what was kept to be joined is delivered.
    fn conclude(&mut self, inbox: &mut Inbox) {
        self.speech.end(inbox);
    }

    /// Nothing that was sent waits for an answer: a turn is over with its `SpeechMetadata`.
    fn all_acked(&self, _byte: u64) -> bool {
        self.requests
            .iter()
            .all(|request| !request.sent || self.is_answered(request))
    }

    /// The leg has sent its last message, so how it ends does not matter.
    fn answered(&self, leg: &LegView, _journal: &Journal) -> bool {
        leg.close_sent() && self.metadata
    }

    fn end_answers(&self, _leg: &LegView, _journal: &Journal) -> bool {
        false
    }

    fn asks_nothing(&self, _journal: &Journal) -> bool {
        !self.requests.asked()
    }

    fn misses_nothing(&self, _journal: &Journal) -> bool {
        self.requests
            .iter()
            .all(|request| self.is_answered(request))
    }

    fn needs_no_answer(&self) -> bool {
        false
    }

    fn owes(&self) -> bool {
        self.requests
            .iter()
            .any(|request| request.kind != Kind::Text && !self.is_answered(request))
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

impl SpeakV2 {
    /// Two syntheses of the turn may have been joined: what the leg says from here on is later, or
    /// earlier, in the session.
    fn join(&mut self, joined: Option<Join>) {
        let Some(join) = joined else { return };
        self.clock.join(join.moved);
        if let Some(turn) = self.turns.front() {
            turn.moved = join.moved;
        }
    }

    fn started(&mut self, message: &mut Incoming<'_>) -> Effect {
        let name = message.get("speech_id");
        let joined = self.speech.end(message.inbox);
        self.join(joined);
        let mut effect = Effect {
            joined,
            ..Effect::of_result()
        };
        // Nothing more comes of the turns before.
        while let Some(id) = self.turns.over_before(name) {
            self.acknowledge(message.journal, id);
            (effect.delivered_final, effect.advanced) = (true, true);
        }
        let mut edits = Edits::default();
        let mut news = true;
        if let Some(turn) = self.turns.front() {
            news = !std::mem::replace(&mut turn.delivered.started, true);
            turn.rename(name, &mut edits);
        }
        if news {
            message.deliver(edits);
        }
        effect
    }

    fn flushed(&mut self, message: &mut Incoming<'_>) -> Effect {
        let name = message.get("speech_id");
        let requests = &self.requests;
        let unanswered =
            |turn: &SpeechTurn| !turn.leg.flushed && asks_for_flushed(requests, turn.id);
        let Some(turn) = self.turns.named_or(name, unanswered) else {
            message.pass_on();
            return Effect::default();
        };
        turn.leg.flushed = true;
        let news = !std::mem::replace(&mut turn.delivered.flushed, true);
        let mut edits = Edits::default();
        turn.rename(name, &mut edits);
        let (id, over) = (turn.id, turn.leg.metadata);
        self.turns.has_flushed();
        if news {
            message.deliver(edits);
        }
        self.half_over(message.journal, id, over)
    }

    fn speech_metadata(&mut self, message: &mut Incoming<'_>) -> Effect {
        let joined = self.speech.end(message.inbox);
        self.join(joined);
        let name = message.get("speech_id");
        let Some(turn) = self.turns.named_or(name, |turn| !turn.leg.metadata) else {
            message.pass_on();
            return Effect {
                joined,
                ..Effect::default()
            };
        };
        turn.leg.metadata = true;
        turn.counts = character_counts(message.root());
        let news = !std::mem::replace(&mut turn.delivered.metadata, true);
        let mut edits = Edits::default();
        turn.rename(name, &mut edits);
        let duration = message.get("audio_duration_ms");
        shift(&mut edits, duration, millis(turn.moved));
        let (id, flushed) = (turn.id, turn.leg.flushed);
        if news {
            message.deliver(edits);
        }
        // Without a Flush no Flushed comes.
        let last = flushed || !asks_for_flushed(&self.requests, id) || self.turns.never_flushed();
        Effect {
            joined,
            ..self.half_over(message.journal, id, last)
        }
    }

    /// A turn has had one of the messages that end it; with both it is acknowledged.
    fn half_over(&mut self, journal: &mut Journal, id: u64, both: bool) -> Effect {
        if both {
            self.acknowledge(journal, id);
        }
        Effect {
            delivered_final: both,
            advanced: both,
            ..Effect::of_result()
        }
    }

    fn interrupted(&mut self, message: &mut Incoming<'_>) -> Effect {
        let request = self.requests.on_leg(Kind::Interrupt).next().cloned();
        let metadata = message.get("metadata");
        let name = metadata.and_then(|metadata| metadata.get("speech_id"));
        let mut edits = Edits::default();
        let mut over = None;
        if let Some(turn) = self.turns.named_or(name, |turn| !turn.leg.metadata)
            && request
                .as_ref()
                .is_some_and(|request| turn.id <= request.turn)
        {
            turn.rename(name, &mut edits);
            turn.counts = character_counts(metadata);
            over = Some(turn.id);
        }
        let asked = request.is_some();
        let number = request.map_or(u64::MAX, |request| request.number);
        let interrupt = self.take_interrupt(message.journal, number);
        let mut played_until = None;
        if let Some(node) = message.get("audio_played_ms")
            && let Some(given) = node
                .integer()
                .filter(|given| (0..MAX_MILLIS).contains(given))
        {
            let played = Interrupt::session_time(interrupt.as_ref(), given, &self.clock);
            shift(&mut edits, Some(node), played - given);
            let played = played.clamp(-MAX_MILLIS, MAX_MILLIS);
            played_until = Some((played * 1000, given * 1000));
        }
        message.deliver(edits);
        if let Some(id) = over {
            self.cancel(message.journal, id, number);
        }
        if let Some((session, leg)) = played_until.filter(|_| asked) {
            self.clock.interrupt(session, leg);
        }
        // What was not asked for ends nothing.
        Effect {
            delivered_final: asked,
            advanced: asked,
            ..Effect::of_result()
        }
    }

    fn session_metadata(&mut self, message: &mut Incoming<'_>) {
        // Before the closing message it announces the end of this leg, and another may follow.
        if !message.leg.close_sent() {
            return;
        }
        self.metadata = true;
        let mut edits = Edits::default();
        if let Some(root) = message.root().filter(|_| !message.leg.is_first()) {
            let duration = root.get("total_audio_duration_ms");
            shift(&mut edits, duration, self.clock.shift_millis());
            self.totals.shift(root, &mut edits);
        }
        message.deliver(edits);
    }

    fn configured(&mut self, message: &mut Incoming<'_>, accepted: bool) {
        match self.settings.reply(accepted) {
            Answer::Ignored => return,
            Answer::PassedOn => {
                message.pass_on();
                return;
            }
            Answer::Known => {}
            Answer::Accepted => message.pass_on(),
            Answer::Refused(number) => {
                message.pass_on();
                self.requests
                    .settle(message.journal, |request| request.number == number);
            }
        }
        self.settings.merge(&mut self.requests, message.journal);
    }

    fn warning(&mut self, message: &mut Incoming<'_>) {
        let refused = match message.get("code").and_then(|code| code.raw_str()) {
            Some("NO_AUDIO_GENERATED" | "INVALID_INTERRUPT_OFFSET") => {
                self.requests.on_leg(Kind::Interrupt).next()
            }
            // The one before is in progress.
            Some("INTERRUPT_IN_PROGRESS") => self.requests.on_leg(Kind::Interrupt).nth(1),
            Some("NO_ACTIVE_SPEECH") => {
                let empty = |flush: &Request| !self.requests.has_text(flush.turn);
                self.requests.iter().find(|request| match request.kind {
                    Kind::Interrupt => request.on_leg,
                    Kind::Flush => request.on_leg && empty(request),
                    Kind::Text | Kind::Clear | Kind::Configure | Kind::Other => false,
                })
            }
            Some(_) | None => None,
        };
        if let Some(refused) = refused.map(|request| request.number) {
            self.take_interrupt(message.journal, refused);
            self.requests
                .settle(message.journal, |request| request.number == refused);
            message.pass_on();
            self.settings.merge(&mut self.requests, message.journal);
        } else if self.warnings.is_new(message.frame) || message.leg.is_first() {
            message.pass_on();
        }
    }

    /// An interrupt is answered.
    fn take_interrupt(&mut self, journal: &mut Journal, number: u64) -> Option<Interrupt> {
        let interrupt = self.interrupts.take(number)?;
        self.requests
            .settle(journal, |request| request.number == number);
        Some(interrupt)
    }

    /// A turn is over, and the application has all of it.
    fn acknowledge(&mut self, journal: &mut Journal, id: u64) {
        self.requests
            .settle(journal, |request| belongs(request, id));
        if self.requests.open_turn() == id {
            self.requests.end_turn();
        }
        self.next_turn(journal, id);
    }

    /// A turn was interrupted. Its text behind the `Interrupt` is another turn.
    fn cancel(&mut self, journal: &mut Journal, id: u64, interrupt: u64) {
        self.requests.settle(journal, |request| {
            belongs(request, id) && request.number < interrupt
        });
        let goes_on = self.requests.has_text(id);
        if self.requests.open_turn() == id && !goes_on {
            self.requests.end_turn();
        }
        self.next_turn(journal, id);
        if goes_on {
            self.turns.start_again(id);
        }
    }

    fn next_turn(&mut self, journal: &mut Journal, id: u64) {
        let Some(turn) = self.turns.remove(id) else {
            return;
        };
        self.totals.add(turn.counts);
        let lasts = |bytes| self.voice.map_or(0, |voice| voice.micros(bytes));
        let delivered = lasts(self.speech.delivered());
        self.clock.next_turn(delivered, lasts(self.speech.on_leg()));
        self.speech.next_turn();
        self.warnings.clear();
        self.settings.merge(&mut self.requests, journal);
    }

    fn is_answered(&self, request: &Request) -> bool {
        match request.kind {
            Kind::Text => self.turns.is_over(request.turn),
            Kind::Flush => {
                !self.requests.has_text(request.turn) || self.turns.is_flushed(request.turn)
            }
            Kind::Interrupt => false,
            Kind::Configure => !self.settings.waits(request.number),
            // This product has no Clear.
            Kind::Clear | Kind::Other => true,
        }
    }
}

/// Returns whether the leg was sent a `Flush` of a turn.
fn asks_for_flushed(requests: &Requests, turn: u64) -> bool {
    requests.on_leg(Kind::Flush).any(|flush| flush.turn == turn)
}

/// Returns whether a request is settled with its turn.
fn belongs(request: &Request, turn: u64) -> bool {
    let of_turn = matches!(request.kind, Kind::Text | Kind::Flush | Kind::Other);
    of_turn && request.turn == turn
}

#[cfg(test)]
mod tests;
