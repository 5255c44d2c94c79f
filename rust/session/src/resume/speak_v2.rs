//! `v2/speak` (Flux): turn by turn, each said once and under one name.
//!
//! ```text
//!   SpeechStarted ─▶ audio … ─▶ SpeechMetadata        a turn, as the service reports it
//!        Flushed: the Flush has arrived; before the audio's end or after it
//! ```
//! A turn is acknowledged when it has both its `SpeechMetadata` and its `Flushed`, or when the next
//! one starts. `SpeechInterrupted` ends it, too.

use std::collections::VecDeque;

use super::controls::Configures;
use super::inbox::Inbox;
use super::rewrite::Edits;
use super::scan::{Node, type_of};
use super::speak::{Kind, Request, Requests, Said};
use super::speech::{Join, Speech};
use super::voice::Voice;
use super::{Effect, LegStart, LegView};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// What the service counts: characters as they came, and those that are billed.
const CHARACTER_COUNTS: [(&str, &str); 2] = [
    ("input_character_count", "total_input_character_count"),
    ("billable_character_count", "total_billable_character_count"),
];

/// Thirty years: a clock beyond it is nonsense, and so would be the sums.
const MAX_MILLIS: i64 = 1_000_000_000_000;

/// A turn that is not acknowledged.
#[derive(Debug, Default)]
struct Turn {
    id: u64,
    /// Its name for the application.
    name: Option<String>,
    /// What the application was told of it.
    told: Told,
    /// What the leg that speaks for the session has said of it.
    leg: LegTurn,
    counts: [i64; 2],
    /// How much later the application hears its end than its own synthesis says, in microseconds.
    moved: i64,
}

/// The messages of a turn, as far as they were delivered.
#[derive(Debug, Default)]
struct Told {
    started: bool,
    flushed: bool,
    metadata: bool,
}

/// A turn on one leg.
#[derive(Debug, Default)]
struct LegTurn {
    name: Option<String>,
    flushed: bool,
    metadata: bool,
}

impl Turn {
    fn new(id: u64) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// Whether it is over when another one of this name starts on the leg.
    fn is_before(&self, name: Option<Node<'_>>) -> bool {
        let other = self.leg.name.as_deref() != name.and_then(|name| name.raw_str());
        self.leg.metadata || (self.leg.flushed && self.leg.name.is_some() && other)
    }
}

/// An `Interrupt` that is not answered.
#[derive(Debug)]
struct Interrupt {
    number: u64,
    /// What the application has played, in milliseconds of the session.
    played: Option<i64>,
    /// The same in milliseconds of the leg that it was sent on.
    leg_played: Option<i64>,
}

/// A `Configure` that is not part of every leg's head yet.
#[derive(Debug)]
struct Setting {
    number: u64,
    frame: Frame,
    /// The service has accepted it, and the application knows.
    accepted: bool,
    /// The leg got it, and has not replied.
    asked: bool,
}

/// A Flux TTS session.
#[derive(Debug)]
pub struct SpeakV2 {
    voice: Option<Voice>,
    speech: Speech,
    requests: Requests,
    turns: VecDeque<Turn>,
    interrupts: VecDeque<Interrupt>,
    settings: VecDeque<Setting>,
    merged: Configures,
    connected_said: bool,
    said: Said,
    /// Whether this service sends `Flushed`, once a turn has shown it.
    sends_flushed: Option<bool>,
    /// The session's audio before the first turn that is not acknowledged, in microseconds.
    turn_start: i64,
    /// The leg's audio before that turn, likewise.
    leg_turn_start: i64,
    /// What the session's clock is ahead of the leg's, in microseconds.
    shift: i64,
    /// What the acknowledged turns before this leg come to.
    counted: [i64; 2],
    leg_counts_from: [i64; 2],
    progress: u64,
}

impl SpeakV2 {
    /// A session that asks for this.
    #[must_use]
    pub fn new(query: &str) -> Self {
        let voice = Voice::from_query(query);
        Self {
            voice,
            speech: Speech::new(voice),
            requests: Requests::default(),
            turns: VecDeque::new(),
            interrupts: VecDeque::new(),
            settings: VecDeque::new(),
            merged: Configures::default(),
            connected_said: false,
            said: Said::default(),
            sends_flushed: None,
            turn_start: 0,
            leg_turn_start: 0,
            shift: 0,
            counted: [0; 2],
            leg_counts_from: [0; 2],
            progress: 0,
        }
    }

    /// The application sends a message: the journal's next one.
    pub fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) {
        if kind == Control::Close {
            return;
        }
        let (kind, number) = (Kind::of(frame), journal.next_control());
        let turn = self.requests.push(kind, number);
        match kind {
            Kind::Text => {
                if self.turns.back().is_none_or(|last| last.id != turn) {
                    self.turns.push_back(Turn::new(turn));
                }
            }
            Kind::Interrupt => {
                let offset = frame
                    .as_str()
                    .and_then(Node::root)
                    .and_then(playback_offset);
                let played = offset.and_then(|offset| offset.integer());
                self.interrupts.push_back(Interrupt {
                    number,
                    played,
                    leg_played: None,
                });
                // It ends the turn that is said now. Where that one still takes text, what
                // follows is another turn.
                if self.turns.len() == 1 && self.turns[0].id == turn {
                    self.requests.end_turn();
                }
            }
            Kind::Configure => self.settings.push_back(Setting {
                number,
                frame: frame.clone(),
                accepted: false,
                asked: false,
            }),
            Kind::Flush | Kind::Clear | Kind::Other => {}
        }
    }

    /// A message is not sent again.
    pub fn forget(&mut self, journal: &mut Journal, number: u64) {
        self.interrupts
            .retain(|interrupt| interrupt.number != number);
        self.settings.retain(|setting| setting.number != number);
        self.requests
            .settle(journal, |request| request.number == number);
        self.merge(journal);
    }

    /// The accepted Configures, where a leg was told of them and has not replied.
    #[must_use]
    pub fn told(&self, leg: &LegView) -> Option<Frame> {
        self.merged.merged().filter(|_| leg.replies_to_drop > 0)
    }

    /// They are not in force any more: no leg is told of them.
    pub fn forget_told(&mut self, leg: &mut LegView) {
        leg.replies_to_drop = leg.replies_to_drop.saturating_sub(1);
        self.merged.retract();
    }

    /// Where the next leg starts: with the settings that were accepted, and the first turn that is
    /// not acknowledged.
    pub fn begin_leg(&mut self, number: u64, journal: &Journal) -> LegStart {
        self.requests.begin_leg();
        for turn in &mut self.turns {
            turn.leg = LegTurn::default();
        }
        for setting in &mut self.settings {
            setting.asked = false;
        }
        if number > 0 {
            self.speech.again();
        }
        self.progress = self.speech.said();
        (self.leg_turn_start, self.shift) = (0, self.turn_start);
        self.leg_counts_from = self.counted;
        let mut leg = LegView {
            number,
            ..LegView::default()
        };
        let head = leg.tell(&self.merged).into_iter().collect();
        LegStart {
            view: leg,
            cursor: journal.cursor(journal.sent()),
            head,
            gap: None,
        }
    }

    /// Whether a message may go out on this leg now. An `Interrupt` waits until the leg has said as
    /// much of the turn as the application has heard: before that there would be nothing to
    /// interrupt.
    #[must_use]
    pub fn may_send(&self, leg: &LegView, number: u64) -> bool {
        let Some(interrupt) = self.interrupts.iter().find(|open| open.number == number) else {
            return true;
        };
        let turn = self.requests.get(number).map_or(0, |request| request.turn);
        let active = self.turns.iter().find(|turn| !turn.leg.metadata);
        let Some(active) = active.filter(|active| leg.number > 0 && active.id <= turn) else {
            return true;
        };
        // The application knows that it is over: it did not mean this one.
        if active.told.metadata {
            return false;
        }
        let said = self.speech.said();
        let played = interrupt
            .played
            .zip(self.voice)
            .map_or(said, |(played, voice)| {
                let within = played.saturating_mul(1000).saturating_sub(self.turn_start);
                voice.bytes(within).min(said)
            });
        self.speech.heard() >= played.max(1)
    }

    /// A message as the leg gets it: what counts from the session's start counts from the leg's.
    #[must_use]
    pub fn send(&mut self, leg: &LegView, number: u64, frame: Frame) -> Frame {
        self.requests.sent(number);
        if let Some(setting) = self.settings.iter_mut().find(|open| open.number == number) {
            setting.asked = true;
        }
        let Some(interrupt) = self
            .interrupts
            .iter_mut()
            .find(|open| open.number == number)
        else {
            return frame;
        };
        let Some(played) = interrupt.played else {
            return frame;
        };
        let leg_played = if leg.number == 0 {
            played
        } else {
            played.saturating_sub(millis(self.shift)).max(0)
        };
        interrupt.leg_played = Some(leg_played);
        let mut edits = Edits::default();
        if leg_played != played
            && let Some(node) = frame
                .as_str()
                .and_then(Node::root)
                .and_then(playback_offset)
        {
            edits.replace(node.span(), leg_played.to_string());
        }
        edits.apply_to(&frame)
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
            self.join(joined);
            return self.progressed(Effect {
                result: true,
                joined,
                ..Effect::default()
            });
        }
        let Some(root) = frame.as_str().and_then(Node::root) else {
            inbox.push(frame);
            return Effect::default();
        };
        match type_of(&frame) {
            Some("Connected") => {
                // The second one is another leg's.
                if !std::mem::replace(&mut self.connected_said, true) {
                    inbox.push(frame);
                }
            }
            Some("SpeechStarted") => return self.started(journal, root, &frame, inbox),
            Some("Flushed") => return self.flushed(journal, root, &frame, inbox),
            Some("SpeechMetadata") => return self.metadata(journal, root, &frame, inbox),
            Some("SpeechInterrupted") => return self.interrupted(journal, root, &frame, inbox),
            Some("SessionMetadata") => self.session_metadata(leg, root, &frame, inbox),
            Some("ConfigureSuccess") => self.configured(leg, journal, true, frame, inbox),
            Some("ConfigureFailure") => self.configured(leg, journal, false, frame, inbox),
            Some("Warning") => self.warning(leg, journal, root, &frame, inbox),
            Some("Error") => {
                leg.hold(frame);
            }
            Some(_) | None => inbox.push(frame),
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

    /// From here on the leg says later, or earlier, what the session hears now.
    fn join(&mut self, joined: Option<Join>) {
        let Some(join) = joined else { return };
        self.shift = self.turn_start - self.leg_turn_start + join.moved;
        if let Some(turn) = self.turns.front_mut() {
            turn.moved = join.moved;
        }
    }

    fn started(
        &mut self,
        journal: &mut Journal,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let name = root.get("speech_id");
        let joined = self.speech.end(inbox);
        self.join(joined);
        let mut effect = Effect {
            result: true,
            joined,
            ..Effect::default()
        };
        // Nothing more comes of the turns before.
        while let Some(turn) = self.turns.front().filter(|turn| turn.is_before(name)) {
            self.sends_flushed.get_or_insert(turn.leg.flushed);
            let id = turn.id;
            self.acknowledge(journal, id);
            (effect.delivered_final, effect.advanced) = (true, true);
        }
        let mut edits = Edits::default();
        let mut news = true;
        if let Some(turn) = self.turns.front_mut() {
            news = !std::mem::replace(&mut turn.told.started, true);
            rename(turn, name, &mut edits);
        }
        if news {
            inbox.push(edits.apply_to(frame));
        }
        effect
    }

    fn flushed(
        &mut self,
        journal: &mut Journal,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let name = root.get("speech_id");
        let requests = &self.requests;
        let unanswered = |turn: &Turn| {
            !turn.leg.flushed
                && requests
                    .on_leg(Kind::Flush)
                    .any(|flush| flush.turn == turn.id)
        };
        let index = self
            .by_name(name)
            .or_else(|| self.turns.iter().position(unanswered));
        let Some(turn) = index.and_then(|index| self.turns.get_mut(index)) else {
            inbox.push(frame.clone());
            return Effect::default();
        };
        self.sends_flushed = Some(true);
        turn.leg.flushed = true;
        let news = !std::mem::replace(&mut turn.told.flushed, true);
        let mut edits = Edits::default();
        rename(turn, name, &mut edits);
        let (id, over) = (turn.id, turn.leg.metadata);
        if news {
            inbox.push(edits.apply_to(frame));
        }
        self.over(journal, id, over)
    }

    fn metadata(
        &mut self,
        journal: &mut Journal,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let joined = self.speech.end(inbox);
        self.join(joined);
        let name = root.get("speech_id");
        let index = self.by_name(name);
        let index = index.or_else(|| self.turns.iter().position(|turn| !turn.leg.metadata));
        let Some(turn) = index.and_then(|index| self.turns.get_mut(index)) else {
            inbox.push(frame.clone());
            return Effect {
                joined,
                ..Effect::default()
            };
        };
        turn.leg.metadata = true;
        turn.counts = CHARACTER_COUNTS.map(|(key, _)| integer(root.get(key)));
        let news = !std::mem::replace(&mut turn.told.metadata, true);
        let mut edits = Edits::default();
        rename(turn, name, &mut edits);
        shift(
            &mut edits,
            root.get("audio_duration_ms"),
            millis(turn.moved),
        );
        let (id, flushed) = (turn.id, turn.leg.flushed);
        if news {
            inbox.push(edits.apply_to(frame));
        }
        // Without a Flush there is nothing to be Flushed.
        let asked = self
            .requests
            .on_leg(Kind::Flush)
            .any(|flush| flush.turn == id);
        let effect = self.over(
            journal,
            id,
            flushed || !asked || self.sends_flushed == Some(false),
        );
        Effect {
            result: true,
            joined,
            ..effect
        }
    }

    /// A turn has had one of the messages that end it; with the other one it is acknowledged.
    fn over(&mut self, journal: &mut Journal, id: u64, both: bool) -> Effect {
        if both {
            self.acknowledge(journal, id);
        }
        Effect {
            result: true,
            delivered_final: both,
            advanced: both,
            joined: None,
            beyond: None,
        }
    }

    fn interrupted(
        &mut self,
        journal: &mut Journal,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let answered = self.requests.on_leg(Kind::Interrupt).next().cloned();
        let asked = answered.is_some();
        let metadata = root.get("metadata");
        let name = metadata.and_then(|metadata| metadata.get("speech_id"));
        let mut edits = Edits::default();
        let mut over = None;
        let index = self.by_name(name);
        let index = index.or_else(|| self.turns.iter().position(|turn| !turn.leg.metadata));
        if let Some(turn) = index.and_then(|index| self.turns.get_mut(index))
            && answered
                .as_ref()
                .is_some_and(|interrupt| turn.id <= interrupt.turn)
        {
            rename(turn, name, &mut edits);
            let count = |key| integer(metadata.and_then(|metadata| metadata.get(key)));
            turn.counts = CHARACTER_COUNTS.map(|(key, _)| count(key));
            over = Some(turn.id);
        }
        let number = answered.map_or(u64::MAX, |interrupt| interrupt.number);
        let interrupt = self.take_interrupt(journal, number);
        let mut clock = None;
        if let Some(node) = root.get("audio_played_ms")
            && let Some(given) = node
                .integer()
                .filter(|given| (0..MAX_MILLIS).contains(given))
        {
            let played = match interrupt {
                Some(Interrupt {
                    played: Some(played),
                    leg_played,
                    ..
                }) if leg_played == Some(given) => played,
                Some(_) | None => given + millis(self.shift),
            };
            shift(&mut edits, Some(node), played - given);
            let played = played.clamp(-MAX_MILLIS, MAX_MILLIS);
            clock = Some((played * 1000, given * 1000));
        }
        inbox.push(edits.apply_to(frame));
        if let Some(id) = over {
            self.cancel(journal, id, number);
        }
        // The service goes on counting from what was played.
        if let Some((session, leg)) = clock.filter(|_| asked) {
            (self.turn_start, self.leg_turn_start) = (session, leg);
            self.shift = session - leg;
        }
        // Where nobody interrupted, nothing is over.
        Effect {
            result: true,
            delivered_final: asked,
            advanced: asked,
            joined: None,
            beyond: None,
        }
    }

    fn session_metadata(
        &mut self,
        leg: &mut LegView,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) {
        // Before the end was asked for it announces the end of this leg, and another may follow.
        if !leg.close_sent {
            return;
        }
        leg.metadata = true;
        let mut edits = Edits::default();
        if leg.number > 0 {
            shift(
                &mut edits,
                root.get("total_audio_duration_ms"),
                millis(self.shift),
            );
            for ((_, key), before) in CHARACTER_COUNTS.iter().zip(self.leg_counts_from) {
                shift(&mut edits, root.get(key), before);
            }
        }
        inbox.push(edits.apply_to(frame));
    }

    fn configured(
        &mut self,
        leg: &mut LegView,
        journal: &mut Journal,
        accepted: bool,
        frame: Frame,
        inbox: &mut Inbox,
    ) {
        if leg.replies_to_drop > 0 {
            if accepted {
                leg.replies_to_drop -= 1;
            } else {
                // What was granted once is refused now: that is news.
                self.forget_told(leg);
                inbox.push(frame);
            }
            return;
        }
        let Some(index) = self.settings.iter().position(|setting| setting.asked) else {
            inbox.push(frame);
            return;
        };
        let setting = &mut self.settings[index];
        setting.asked = false;
        // The application knows the answer of the leg before.
        if !setting.accepted {
            inbox.push(frame);
            if accepted {
                setting.accepted = true;
            } else {
                let number = setting.number;
                self.settings.remove(index);
                self.requests
                    .settle(journal, |request| request.number == number);
            }
        }
        self.merge(journal);
    }

    /// Accepted settings head every leg as soon as nothing before them is to be said again:
    /// earlier text is said as it was the first time.
    fn merge(&mut self, journal: &mut Journal) {
        while let Some(oldest) = self.requests.front()
            && oldest.kind == Kind::Configure
            && let number = oldest.number
            && self
                .settings
                .front()
                .is_some_and(|first| first.number == number && first.accepted)
            && let Some(setting) = self.settings.pop_front()
        {
            self.merged.accept(&setting.frame);
            self.requests
                .settle(journal, |request| request.number == number);
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
        let refused = match root.get("code").and_then(|code| code.raw_str()) {
            Some("NO_AUDIO_GENERATED" | "INVALID_INTERRUPT_OFFSET") => {
                self.requests.on_leg(Kind::Interrupt).next()
            }
            // It is the one before that is being processed.
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
            self.take_interrupt(journal, refused);
            self.requests
                .settle(journal, |request| request.number == refused);
            inbox.push(frame.clone());
            self.merge(journal);
        } else if self.said.is_new(frame) || leg.number == 0 {
            inbox.push(frame.clone());
        }
    }

    fn take_interrupt(&mut self, journal: &mut Journal, number: u64) -> Option<Interrupt> {
        let index = self
            .interrupts
            .iter()
            .position(|open| open.number == number)?;
        self.requests
            .settle(journal, |request| request.number == number);
        self.interrupts.remove(index)
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

    /// A turn is over; text that followed the `Interrupt` is another one.
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
            self.turns.push_front(Turn::new(id));
        }
    }

    fn next_turn(&mut self, journal: &mut Journal, id: u64) {
        let Some(index) = self.turns.iter().position(|turn| turn.id == id) else {
            return;
        };
        if let Some(turn) = self.turns.remove(index) {
            for (sum, count) in self.counted.iter_mut().zip(turn.counts) {
                *sum = sum.saturating_add(count);
            }
        }
        let lasts = |bytes| self.voice.map_or(0, |voice| voice.micros(bytes));
        self.turn_start += lasts(self.speech.said());
        self.leg_turn_start += lasts(self.speech.heard());
        self.shift = self.turn_start - self.leg_turn_start;
        self.speech.next_turn();
        self.said.clear();
        self.progress = 0;
        self.merge(journal);
    }

    fn by_name(&self, name: Option<Node<'_>>) -> Option<usize> {
        let name = name?.raw_str()?;
        self.turns
            .iter()
            .position(|turn| turn.leg.name.as_deref() == Some(name))
    }

    /// Nothing that was sent waits for an answer: a turn is over with its `SpeechMetadata`.
    #[must_use]
    pub fn all_acked(&self) -> bool {
        self.requests
            .iter()
            .all(|request| !request.sent || self.is_answered(request))
    }

    /// The service owes something now.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.requests
            .iter()
            .any(|request| request.kind != Kind::Text && !self.is_answered(request))
    }

    /// Anything was asked for, ever.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.requests.asked()
    }

    /// Something was asked for that has no answer, sent or not.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.requests
            .iter()
            .any(|request| !self.is_answered(request))
    }

    fn is_answered(&self, request: &Request) -> bool {
        match request.kind {
            Kind::Text => self.is_over(request.turn),
            Kind::Flush => !self.requests.has_text(request.turn) || self.is_flushed(request.turn),
            Kind::Interrupt => false,
            Kind::Configure => {
                let number = request.number;
                let setting = self
                    .settings
                    .iter()
                    .find(|setting| setting.number == number);
                setting.is_none_or(|setting| setting.accepted)
            }
            // This product has no Clear.
            Kind::Clear | Kind::Other => true,
        }
    }

    /// `SpeechMetadata` is a turn's end.
    fn is_over(&self, turn: u64) -> bool {
        let mut turns = self.turns.iter();
        turns.all(|open| open.id != turn || open.told.metadata)
    }

    /// And with `Flushed`, where the service sends it, the `Flush` is answered.
    fn is_flushed(&self, turn: u64) -> bool {
        let due = self.sends_flushed == Some(true);
        let mut turns = self.turns.iter();
        turns.all(|open| open.id != turn || (open.told.metadata && (open.told.flushed || !due)))
    }

    /// The leg has said its last word, `SessionMetadata`: how it ends does not matter.
    #[must_use]
    pub const fn answered(&self, leg: &LegView) -> bool {
        leg.close_sent && leg.metadata
    }

    /// No leg follows: what was kept to be joined is all there is.
    pub fn conclude(&mut self, inbox: &mut Inbox) {
        self.speech.end(inbox);
    }
}

fn belongs(request: &Request, id: u64) -> bool {
    let of_turn = matches!(request.kind, Kind::Text | Kind::Flush | Kind::Other);
    of_turn && request.turn == id
}

/// The application knows a turn by the name that it heard first.
fn rename(turn: &mut Turn, name: Option<Node<'_>>, edits: &mut Edits) {
    let Some((node, given)) = name.and_then(|node| Some((node, node.raw_str()?))) else {
        return;
    };
    turn.leg.name = Some(given.to_owned());
    let name = turn.name.get_or_insert_with(|| given.to_owned());
    if name != given {
        edits.replace(node.span(), format!("\"{name}\""));
    }
}

fn playback_offset(root: Node<'_>) -> Option<Node<'_>> {
    root.get("playback_offset")?.get("value")
}

fn integer(node: Option<Node<'_>>) -> i64 {
    node.and_then(|node| node.integer()).unwrap_or(0)
}

/// Moves a whole number of a message.
fn shift(edits: &mut Edits, node: Option<Node<'_>>, by: i64) {
    if by != 0
        && let Some(node) = node
        && let Some(given) = node.integer()
    {
        edits.replace(node.span(), given.saturating_add(by).to_string());
    }
}

/// Microseconds as milliseconds, rounded.
const fn millis(micros: i64) -> i64 {
    (micros + 500).div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Item;

    struct Session {
        speak: SpeakV2,
        journal: Journal,
        leg: LegView,
        inbox: Inbox,
    }

    impl Session {
        fn new(messages: &[&'static str]) -> Self {
            let mut session = Self {
                speak: SpeakV2::new("encoding=linear16&sample_rate=8000"),
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

        /// Starts a leg and sends what may be sent; what it got.
        fn leg(&mut self, number: u64) -> Vec<String> {
            let start = self.speak.begin_leg(number, &self.journal);
            self.leg = start.view;
            let mut got: Vec<Frame> = start.head;
            let mut cursor = start.cursor;
            while let Some(Item::Control { number, frame, .. }) = self.journal.take(&mut cursor) {
                if !self.speak.may_send(&self.leg, number) {
                    break;
                }
                got.push(self.speak.send(&self.leg, number, frame));
            }
            got.iter()
                .map(|frame| frame.as_str().unwrap().to_owned())
                .collect()
        }

        fn hear(&mut self, frame: Frame) -> Vec<Frame> {
            let (leg, journal) = (&mut self.leg, &mut self.journal);
            self.speak.receive(leg, journal, frame, &mut self.inbox);
            std::iter::from_fn(|| self.inbox.pop()).collect()
        }

        fn say(&mut self, text: impl Into<String>) -> Vec<String> {
            let frames = self.hear(Frame::from(text.into()));
            frames
                .iter()
                .map(|frame| frame.as_str().unwrap().to_owned())
                .collect()
        }

        /// Ten milliseconds are 160 bytes.
        fn sound(&mut self, millis: usize) {
            self.hear(Frame::Binary(vec![5; 16 * millis].into()));
        }

        fn turn(&mut self, name: &str, millis: usize) {
            self.say(format!(
                r#"{{"type":"SpeechStarted","speech_id":"{name}"}}"#
            ));
            self.sound(millis);
            self.say(format!(r#"{{"type":"Flushed","speech_id":"{name}"}}"#));
            self.say(format!(
                r#"{{"type":"SpeechMetadata","speech_id":"{name}","audio_duration_ms":{millis},"input_character_count":5,"billable_character_count":4}}"#
            ));
        }
    }

    const SPEAK: &str = r#"{"type":"Speak","text":"a"}"#;
    const FLUSH: &str = r#"{"type":"Flush"}"#;
    const INTERRUPT: &str =
        r#"{"type":"Interrupt","playback_offset":{"type":"time_ms","value":130}}"#;

    #[test]
    fn an_interrupt_waits_for_what_was_heard() {
        let mut session = Session::new(&[SPEAK, FLUSH, SPEAK, FLUSH]);
        session.turn("a", 100);
        session.say(r#"{"type":"SpeechStarted","speech_id":"b"}"#);
        session.sound(50);
        session.ask(&[INTERRUPT]);
        assert_eq!(
            session.leg(1),
            [SPEAK, FLUSH],
            "there is nothing to interrupt yet"
        );
        assert!(
            session
                .say(r#"{"type":"SpeechStarted","speech_id":"c"}"#)
                .is_empty()
        );
        session.sound(29);
        let interrupt = session.speak.interrupts[0].number;
        assert!(!session.speak.may_send(&session.leg, interrupt));
        session.sound(1);
        assert!(session.speak.may_send(&session.leg, interrupt));
        let sent = session
            .speak
            .send(&session.leg, interrupt, Frame::from(INTERRUPT));
        assert!(
            sent.as_str().unwrap().contains(r#""value":30}"#),
            "of this leg"
        );
        let answer = session.say(
            r#"{"type":"SpeechInterrupted","audio_played_ms":30,"text_spoken":"x","metadata":{"speech_id":"c"}}"#,
        );
        let expected = r#"{"type":"SpeechInterrupted","audio_played_ms":130,"text_spoken":"x","metadata":{"speech_id":"b"}}"#;
        assert_eq!(answer, [expected]);
        assert!(session.speak.all_acked() && !session.speak.owes());
    }

    #[test]
    fn an_interrupt_does_not_meet_a_turn_that_was_over() {
        let mut session = Session::new(&[SPEAK, FLUSH]);
        session.say(r#"{"type":"SpeechStarted","speech_id":"a"}"#);
        session.sound(200);
        session.say(r#"{"type":"SpeechMetadata","speech_id":"a","audio_duration_ms":200}"#);
        session.ask(&[INTERRUPT]);
        // The turn is said again for its Flushed alone.
        assert_eq!(session.leg(1), [SPEAK, FLUSH]);
        let interrupt = session.speak.interrupts[0].number;
        session.say(r#"{"type":"SpeechStarted","speech_id":"b"}"#);
        session.sound(200);
        assert!(!session.speak.may_send(&session.leg, interrupt));
        session.say(r#"{"type":"SpeechMetadata","speech_id":"b","audio_duration_ms":200}"#);
        assert!(session.speak.may_send(&session.leg, interrupt));
    }

    #[test]
    fn sums_go_on() {
        let mut session = Session::new(&[SPEAK, FLUSH, SPEAK, FLUSH]);
        session.turn("a", 100);
        session.leg(1);
        session.turn("b", 20);
        session.leg.close_sent = true;
        let sums = |audio, input, billed| {
            format!(
                r#"{{"type":"SessionMetadata","total_audio_duration_ms":{audio},"total_input_character_count":{input},"total_billable_character_count":{billed}}}"#
            )
        };
        assert_eq!(session.say(sums(20, 5, 4)), [sums(120, 10, 8)]);
        assert!(session.speak.answered(&session.leg));
    }

    #[test]
    fn sums_before_the_close_are_a_leg_s_own() {
        let mut session = Session::new(&[]);
        assert!(session.say(r#"{"type":"SessionMetadata"}"#).is_empty());
        assert!(!session.speak.answered(&session.leg));
    }

    #[test]
    fn settings_head_a_leg_when_nothing_before_them_is_said_again() {
        let mut session = Session::new(&[SPEAK, FLUSH, r#"{"type":"Configure","speed":0.8}"#]);
        let accepted = r#"{"type":"ConfigureSuccess","applied":{"speed":0.8}}"#;
        assert_eq!(session.say(accepted).len(), 1);
        let in_place = [SPEAK, FLUSH, r#"{"type":"Configure","speed":0.8}"#];
        assert_eq!(
            session.leg(1),
            in_place,
            "the text was said at the speed before"
        );
        assert!(session.say(accepted).is_empty(), "known");
        session.turn("a", 10);
        let head = session.leg(2);
        assert_eq!(head.len(), 1);
        assert!(head[0].contains(r#""speed":0.8"#) && head[0].contains("Configure"));
        assert!(session.say(accepted).is_empty(), "nobody asked");
        session.ask(&[r#"{"type":"Configure","speed":9}"#]);
        assert_eq!(session.leg(3).len(), 2);
        assert!(session.say(accepted).is_empty());
        assert_eq!(
            session
                .say(r#"{"type":"ConfigureFailure","code":"X"}"#)
                .len(),
            1
        );
        assert_eq!(session.leg(4).len(), 1, "what was refused is forgotten");
    }

    #[test]
    fn a_turn_is_kept_until_it_has_both_its_ends() {
        let metadata = r#"{"type":"SpeechMetadata","speech_id":"a","audio_duration_ms":1}"#;
        let flushed = r#"{"type":"Flushed","speech_id":"a"}"#;
        for (first, second) in [(metadata, flushed), (flushed, metadata)] {
            let mut session = Session::new(&[SPEAK, FLUSH]);
            session.say(r#"{"type":"SpeechStarted","speech_id":"a"}"#);
            assert_eq!(session.say(first).len(), 1);
            assert_eq!(session.leg(1), [SPEAK, FLUSH]);
            assert!(session.say(first).is_empty(), "known");
            assert_eq!(session.say(second).len(), 1);
            assert!(session.leg(2).is_empty());
        }
    }

    #[test]
    fn refusals_settle_what_they_refuse() {
        let mut session = Session::new(&[FLUSH, INTERRUPT, INTERRUPT, SPEAK]);
        let warning = |code: &str| format!(r#"{{"type":"Warning","code":"{code}"}}"#);
        assert_eq!(session.say(warning("NO_ACTIVE_SPEECH")).len(), 1);
        assert_eq!(session.say(warning("INTERRUPT_IN_PROGRESS")).len(), 1);
        assert_eq!(session.say(warning("NO_AUDIO_GENERATED")).len(), 1);
        assert_eq!(session.leg(1), [SPEAK]);
        assert_eq!(session.say(warning("SYNTHESIS_RETRYING")).len(), 1);
        assert!(
            session.say(warning("SYNTHESIS_RETRYING")).is_empty(),
            "said in this turn"
        );
    }

    #[test]
    fn a_clock_that_makes_no_sense_is_passed_on() {
        for played in ["-9223372036854775808", "9223372036854775807", "1e9", "null"] {
            let mut session = Session::new(&[SPEAK, INTERRUPT]);
            session.leg(1);
            session.sound(10);
            let answer = format!(r#"{{"type":"SpeechInterrupted","audio_played_ms":{played}}}"#);
            assert_eq!(session.say(answer.clone()), [answer]);
            session.turn("b", 10);
        }
        let mut session = Session::new(&[SPEAK]);
        session.sound(10);
        session.ask(&[
            r#"{"type":"Interrupt","playback_offset":{"type":"time_ms","value":-9223372036854775808}}"#,
        ]);
        session.leg(1);
        session.sound(10);
        let frame = Frame::from(INTERRUPT);
        let number = session.speak.interrupts[0].number;
        assert!(session.speak.may_send(&session.leg, number));
        // Nothing overflows.
        let _ = session.speak.send(&session.leg, number, frame);
    }

    #[test]
    fn text_behind_an_interrupt_is_another_turn() {
        let mut session = Session::new(&[SPEAK, INTERRUPT, SPEAK, FLUSH]);
        session.say(r#"{"type":"SpeechStarted","speech_id":"a"}"#);
        session.sound(200);
        session.say(
            r#"{"type":"SpeechInterrupted","audio_played_ms":130,"metadata":{"speech_id":"a"}}"#,
        );
        assert_eq!(session.leg(1), [SPEAK, FLUSH]);
        let started = r#"{"type":"SpeechStarted","speech_id":"b"}"#;
        assert_eq!(session.say(started), [started], "a turn of its own");
        assert_eq!(session.speak.turn_start, 130_000);
    }
}
