//! `v2/listen` (Flux): what its messages acknowledge, and how those of a later leg become the
//! session's.
//!
//! A leg counts its turns and its messages from 0 and its time from its own start; the session's
//! [`Turns`] and `sequence` go on. The request id is each leg's own. Where the model does not say
//! when a word was spoken, the windows have the only times.

use std::collections::VecDeque;

use super::audio::Audio;
use super::controls::{Configures, LegConfigures, Reply};
use super::inbox::Inbox;
use super::incoming::Incoming;
use super::leg::{Gap, LegStart, LegView, PerLeg};
use super::product::{Beyond, Effect, Handover, Owed, Product};
use super::query::Target;
use super::rewrite::{Edits, ROUNDING};
use super::scan::Node;
use super::turn_info::{COUNTS, TurnInfo};
use super::turns::{Event, LegTurns, Turns};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// The messages that clients send. The service answers `KeepAlive` with an error: it is listed so
/// that it is recognised, and not sent.
pub const VOCABULARY: &[&str] = &["Configure", "ForceEndTurn", "CloseStream", "KeepAlive"];

/// How much later than it hears a model may report, in microseconds.
const LITTLE: i64 = 1_000_000;

/// Audio of unknown rate, in bytes, that may be too short for a window. Uncompressed speech has as
/// much in a quarter of a second.
const SHORT: u64 = 8 << 10;

/// The most bytes of any audio between the last window and one that is not full.
const LONG_REST: u64 = 64 << 10;

/// The same in time, in microseconds, at the mean rate of the audio that was reported on.
const LONG_TIME: u128 = 1_000_000;

/// A `ForceEndTurn` whose turn has not ended.
#[derive(Debug)]
struct ForcedEnd {
    number: u64,
    /// The end of the audio before it, in microseconds; `None` where the audio has no clock.
    place: Option<i64>,
    /// The leg that it was sent on last.
    leg: Option<u64>,
}

/// What is remembered of one leg.
#[derive(Debug, Default)]
struct Leg {
    /// Where its own turns stand.
    turns: LegTurns,
    configures: LegConfigures,
    /// The end of the last window that it reported, in microseconds.
    reported: i64,
    /// How much it had been sent by then, in bytes.
    reported_at: u64,
}

impl Leg {
    /// Returns whether the last `unreported` bytes of audio without a clock may be too short for a
    /// window. The leg had been sent `reported_at` bytes, or fewer, for what it reported.
    fn may_leave(&self, unreported: u64) -> bool {
        let reported = u128::try_from(self.reported).unwrap_or(0);
        let brief = u128::from(unreported) * reported <= u128::from(self.reported_at) * LONG_TIME;
        unreported <= SHORT || unreported <= LONG_REST && brief
    }
}

/// A Flux session.
#[derive(Debug)]
pub struct ListenV2 {
    audio: Audio,
    turns: Turns,
    configures: Configures,
    forced: VecDeque<ForcedEnd>,
    /// `Connected` was delivered.
    connected: bool,
    /// The number of the next message.
    sequence: i64,
    /// A leg was asked to end, and did so without a report.
    ended_mute: bool,
    legs: PerLeg<Leg>,
}

impl ListenV2 {
    /// Returns a session that asks for this.
    #[must_use]
    pub fn new(target: &Target<'_>) -> Self {
        Self {
            audio: Audio::from_query(target.query),
            turns: Turns::default(),
            configures: Configures::default(),
            forced: VecDeque::new(),
            connected: false,
            sequence: 0,
            ended_mute: false,
            legs: PerLeg::default(),
        }
    }
}

impl Product for ListenV2 {
    fn vocabulary(&self) -> &'static [&'static str] {
        VOCABULARY
    }

    fn control(&self, kind: Option<&str>) -> Option<Control> {
        match kind {
            // Flux has none: audio keeps it open.
            Some("KeepAlive") => None,
            Some("ForceEndTurn") => Some(Control::Finalize),
            Some("Configure") => Some(Control::Configure),
            Some("CloseStream") => Some(Control::Close),
            _ => Some(Control::Other),
        }
    }

    fn feed(&mut self, payload: &[u8]) {
        self.audio.feed(payload);
    }

    fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool {
        let number = journal.next_control();
        let place = self.audio.clock_at(journal.end());
        match kind {
            Control::Finalize => self.forced.push_back(ForcedEnd {
                number,
                place,
                leg: None,
            }),
            Control::Configure => self.configures.push(number, place, frame.clone()),
            Control::KeepAlive | Control::Close | Control::Other => {}
        }
        true
    }

    fn forget(&mut self, _journal: &mut Journal, number: u64) {
        self.forced.retain(|forced| forced.number != number);
        self.configures.remove(number);
    }

    fn is_optional(&self, _frame: &Frame) -> bool {
        true
    }

    fn closing(&self) -> Option<Frame> {
        Some(Frame::from(r#"{"type":"CloseStream"}"#))
    }

    fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        let earlier = self.legs.begin(number);
        let mut leg = LegView::new(number);
        let mut cursor = journal.cursor(0);
        let (mut gap, mut header) = (None, None);
        if let Some(layout) = self.audio.layout().filter(|_| number > 0) {
            let sent = self.audio.blocks_at(journal.sent());
            let cut = layout.block_at(self.turns.acked()).min(sent);
            let kept = self
                .audio
                .block_from(journal.first().min(journal.sent()))
                .min(sent);
            let start = if kept > 0 { cut.max(kept) } else { cut };
            leg.offset = layout.micros(start);
            // What follows a file's audio is not missed.
            if start > cut && cut < self.audio.blocks_before(u64::MAX) {
                gap = Some(Gap {
                    start: layout.micros(cut),
                    end: leg.offset,
                    bytes: self.audio.position(start) - self.audio.position(cut),
                });
                self.turns.skip_to(leg.offset);
                // Whether what follows is audio cannot be decided any more.
                self.audio.reaches(leg.offset);
            }
            cursor = journal.cursor(self.audio.position(start));
            header = self.audio.header_from(start);
        }
        let own = self.legs.current();
        own.turns = self.turns.begin_leg(number == 0);
        let head = self
            .configures
            .head(&mut own.configures)
            .into_iter()
            .chain(header.map(Frame::Binary))
            .collect();
        if let Some(earlier) = earlier {
            own.turns.go_on(earlier.turns);
            own.configures.go_on(&earlier.configures);
        }
        LegStart {
            view: leg,
            cursor,
            head,
            gap,
        }
    }

    fn begin_replay(&mut self, number: u64, journal: &Journal) -> Option<LegStart> {
        let leg = self.legs.begin_replay(number);
        let head = self.configures.head(&mut leg.configures);
        Some(LegStart {
            head: head.into_iter().collect(),
            ..LegStart::at(LegView::new(number), journal.cursor(0))
        })
    }

    fn catch_up(&mut self, leg: &LegView) -> Option<Frame> {
        self.configures.head(&mut self.legs.of_mut(leg).configures)
    }

    fn send(&mut self, leg: &LegView, kind: Control, number: u64, frame: Frame) -> Frame {
        match kind {
            Control::Finalize => {
                for forced in &mut self.forced {
                    if forced.number == number {
                        forced.leg = Some(leg.number);
                    }
                }
            }
            Control::Configure => self.configures.sent(number, leg.number),
            Control::Close | Control::KeepAlive | Control::Other => {}
        }
        frame
    }

    fn unanswered_head(&self, leg: &LegView) -> Option<Frame> {
        self.configures
            .unanswered_head(&self.legs.of(leg).configures)
    }

    fn withdraw_head(&mut self, leg: &LegView) {
        self.configures
            .withdraw_head(&mut self.legs.of_mut(leg).configures);
    }

    fn receive(&mut self, mut message: Incoming<'_>) -> Effect {
        let (Some(root), Some(kind)) = (message.root(), message.kind()) else {
            message.pass_on();
            return Effect::default();
        };
        match kind {
            "TurnInfo" => {
                let offset = message.leg.offset;
                if let Some(info) = TurnInfo::read(root, offset, self.turns.ended()) {
                    return self.turn_info(&mut message, info);
                }
            }
            // The second one is another leg's.
            "Connected" if self.connected => return Effect::default(),
            "Connected" => self.connected = true,
            "Error" => {
                message.hold();
                return Effect::default();
            }
            _ if kind.starts_with("Configure") => {
                let accepted = kind == "ConfigureSuccess";
                let leg = &mut self.legs.of_mut(message.leg).configures;
                match self.configures.reply_to(leg, accepted) {
                    Reply::Head => return Effect::default(),
                    Reply::HeadRefused => {}
                    Reply::Own => {
                        if let Some(number) = self.configures.reply(message.leg.number, accepted) {
                            message.journal.settle(number);
                        }
                    }
                }
            }
            _ => {}
        }
        self.deliver(&mut message, Edits::default());
        Effect::default()
    }

    /// It has said as much as was delivered when its report would be news.
    fn overhear(&mut self, leg: &mut LegView, frame: &Frame) -> bool {
        let Some(root) = frame.as_str().and_then(Node::root) else {
            return false;
        };
        let own = self.legs.of_mut(leg);
        match root.get("type").and_then(|kind| kind.raw_str()) {
            Some("TurnInfo") => TurnInfo::read(root, leg.offset, self.turns.ended())
                .is_some_and(|info| self.turns.overhear(&mut own.turns, &info.report())),
            // Unless the current leg says it, it is delivered when this one takes over.
            Some("Connected") => {
                leg.overhear_only(frame.clone());
                false
            }
            Some(kind) if kind.starts_with("Configure") => {
                own.configures.drop_reply();
                false
            }
            Some(_) | None => false,
        }
    }

    fn greeting(&self) -> Option<&'static str> {
        Some("Connected")
    }

    /// It gets its number where it is delivered.
    fn deliver_held(&mut self, leg: &LegView, frame: Frame, inbox: &mut Inbox) {
        let edits = match frame.as_str().and_then(Node::root) {
            Some(root) => self.numbered(leg, root, Edits::default()),
            None => Edits::default(),
        };
        inbox.push(edits.apply_to(&frame));
    }

    /// Turns have ended, and what follows has no words. Of audio without a clock that is unknown.
    fn all_acked(&self, byte: u64) -> bool {
        match self.audio.layout() {
            Some(_) => self.turns.quiet_until(self.audio.micros_before(byte)),
            None => byte == 0,
        }
    }

    /// `CloseStream` is answered with windows up to the audio's end.
    fn answered(&self, leg: &LegView, journal: &Journal) -> bool {
        leg.close_sent() && self.reported(journal.end())
    }

    /// Windows have come up to the audio's very end. A leg that ends in order need not have sent
    /// them: what is too short for a window is not reported.
    fn said_everything(&self, journal: &Journal) -> bool {
        let end = self.audio.micros_before(journal.end());
        self.turns.all_reported_until(end)
    }

    /// Whether windows have come up to the end of audio without a clock is unknown. `CloseStream`
    /// goes out when the service is quiet, so a leg that has reported as much as any, and then ends
    /// in order, has said everything but what is too short for a window.
    fn end_answers(&self, leg: &LegView, journal: &Journal) -> bool {
        let own = self.legs.of(leg);
        let unreported = journal.end().saturating_sub(own.reported_at);
        self.audio.layout().is_none()
            && own.reported > 0
            && own.reported + ROUNDING >= self.turns.reached()
            && own.may_leave(unreported)
    }

    /// Whether all of some audio without a clock is too short for a window is unknown. Where it may
    /// be, two legs that report nothing are believed.
    fn confirms(&mut self, leg: &LegView, journal: &Journal) -> bool {
        let short = self.audio.layout().is_none() && journal.end() <= SHORT;
        let nothing = short && self.turns.reached() == 0;
        nothing && leg.close_sent() && std::mem::replace(&mut self.ended_mute, true)
    }

    fn closes_quietly(&self) -> bool {
        self.audio.layout().is_none()
    }

    fn asks_nothing(&self, journal: &Journal) -> bool {
        journal.end() == 0
    }

    fn misses_nothing(&self, journal: &Journal) -> bool {
        self.reported(journal.end())
    }

    fn needs_no_answer(&self) -> bool {
        false
    }

    fn reports_all(&self) -> bool {
        true
    }

    /// It reports on all audio, also within a turn.
    fn owed(&self, journal: &Journal) -> Owed {
        let sent = journal.sent();
        let little =
            self.turns.reached() > 0 && self.turns.reached() + LITTLE > self.audio.micros_at(sent);
        if self.reported(sent) {
            Owed::Nothing
        } else if self.audio.layout().is_none() || little {
            Owed::Perhaps
        } else {
            Owed::Something
        }
    }

    fn is_single(&self) -> bool {
        false
    }

    fn is_resumable(&self, journal: &Journal) -> bool {
        self.audio.layout().is_some() || journal.first() == 0
    }

    fn handover(&self) -> Handover {
        match self.audio {
            Audio::Raw(_) | Audio::Wav(_) => Handover::Cut,
            Audio::Other => Handover::Replay,
            Audio::Unknown(_) => Handover::Never,
        }
    }

    fn audio(&self) -> Option<&Audio> {
        Some(&self.audio)
    }

    /// Audio before it is not heard again.
    fn finalised(&self) -> i64 {
        self.turns.acked()
    }
}

impl ListenV2 {
    fn turn_info(&mut self, message: &mut Incoming<'_>, mut info: TurnInfo<'_>) -> Effect {
        let leg = &*message.leg;
        let acked = self.turns.acked();
        let sent = self.audio.clock_at(leg.sent());
        let beyond = sent.and_then(|sent| {
            let sent = sent.max(leg.offset);
            let claimed = info.cut(sent, self.turns.reached())?;
            Some(Beyond { claimed, sent })
        });
        let report = info.report();
        self.audio.reaches(report.end);
        let own = self.legs.of_mut(leg);
        if report.end > own.reported {
            (own.reported, own.reported_at) = (report.end, leg.sent());
        }
        let news = self.turns.hear(&mut own.turns, &report);
        if let Some(news) = news {
            for event in news.made.into_iter().chain([news.event]) {
                self.deliver(message, info.edits(&news, event));
            }
        }
        let forced = info.event == Event::EndOfTurn
            && info.trigger.is_none_or(|trigger| trigger == "manual");
        self.settle_forced(message.leg.number, message.journal, forced);
        let acks = self.turns.acked();
        if let Some(layout) = self.audio.layout() {
            message
                .journal
                .ack(self.audio.position(layout.block_at(acks)));
        }
        Effect {
            delivered_final: news.is_some_and(|news| news.event == Event::EndOfTurn),
            advanced: acks > acked,
            beyond,
            ..Effect::of_result()
        }
    }

    /// Settles each forced end whose turn has ended, or had ended before it was sent.
    fn settle_forced(&mut self, leg: u64, journal: &mut Journal, mut answered: bool) {
        // The turn ends with what was transcribed by then: before the place where it was forced.
        let acked = self.turns.acked();
        self.forced.retain(|forced| {
            let oldest = forced.leg == Some(leg) && std::mem::take(&mut answered);
            let open = !oldest && forced.place.is_none_or(|place| place > acked);
            if !open {
                journal.settle(forced.number);
            }
            open
        });
    }

    /// Delivers a message under its number in the session.
    fn deliver(&mut self, message: &mut Incoming<'_>, edits: Edits) {
        let edits = match message.root() {
            Some(root) => self.numbered(message.leg, root, edits),
            None => edits,
        };
        message.deliver(edits);
    }

    /// Gives a message its number in the session.
    fn numbered(&mut self, leg: &LegView, root: Node<'_>, mut edits: Edits) -> Edits {
        let node = root.get("sequence_id");
        if let Some((node, own)) = node.and_then(|node| Some((node, node.integer()?)))
            && COUNTS.contains(&own)
        {
            // The first leg's numbers are the session's.
            let number = if leg.is_first() { own } else { self.sequence };
            if number != own {
                edits.replace(node.span(), number.to_string());
            }
            self.sequence = number + 1;
        }
        edits
    }

    /// Returns whether windows have come up to a position, but for what is too short for one.
    fn reported(&self, byte: u64) -> bool {
        match self.audio.layout() {
            Some(_) => self.turns.reported_until(self.audio.micros_before(byte)),
            None => byte == 0,
        }
    }
}
