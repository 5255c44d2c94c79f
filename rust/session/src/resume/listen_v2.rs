//! `v2/listen` (Flux): what its messages acknowledge, and how those of a later leg become the
//! session's.
//!
//! A leg counts its turns and its messages from 0 and its time from its own start; the session's
//! [`Turns`] and `sequence` go on. The request id is each leg's own. Where the model does not say
//! when a word was spoken, times are the windows' alone.

use std::collections::VecDeque;

use super::audio::Audio;
use super::controls::Configures;
use super::inbox::Inbox;
use super::rewrite::{Edits, ROUNDING};
use super::scan::Node;
use super::turn_info::{COUNTS, TurnInfo};
use super::turns::{Event, Turns};
use super::{Beyond, Effect, Gap, LegStart, LegView, Owed};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// A model may report so much later than it hears, in microseconds.
const LITTLE: i64 = 1_000_000;

/// Audio of unknown rate, in bytes, that may be too short for a window. Speech that is not
/// compressed at all has as much in a quarter of a second.
const SHORT: u64 = 8 << 10;

/// As much may be sent of any audio after the last window came, and before the next is full.
const LONG_REST: u64 = 64 << 10;

/// A `ForceEndTurn` whose turn has not ended.
#[derive(Debug)]
struct ForcedEnd {
    number: u64,
    /// Audio before it, in microseconds; `None` where the audio has no clock.
    place: Option<i64>,
    /// The leg that it was sent on last.
    leg: Option<u64>,
}

/// A Flux session.
#[derive(Debug)]
pub struct ListenV2 {
    audio: Audio,
    turns: Turns,
    configures: Configures,
    forced: VecDeque<ForcedEnd>,
    /// The application knows that it is connected.
    connected: bool,
    /// Number of the next message.
    sequence: i64,
    /// A leg was asked to end, and did so without a report.
    ended_mute: bool,
}

impl ListenV2 {
    /// A session that asks for this.
    #[must_use]
    pub fn new(query: &str) -> Self {
        Self {
            audio: Audio::from_query(query),
            turns: Turns::default(),
            configures: Configures::default(),
            forced: VecDeque::new(),
            connected: false,
            sequence: 0,
            ended_mute: false,
        }
    }

    /// What a text message of the application is.
    #[must_use]
    pub fn classify(kind: Option<&str>) -> Control {
        match kind {
            Some("ForceEndTurn") => Control::Finalize,
            Some("Configure") => Control::Configure,
            Some("CloseStream") => Control::Close,
            _ => Control::Other,
        }
    }

    /// The audio's clock.
    #[must_use]
    pub const fn audio(&self) -> &Audio {
        &self.audio
    }

    /// The application sends audio.
    pub fn feed(&mut self, payload: &[u8]) {
        self.audio.feed(payload);
    }

    /// The application sends a control message, which is about to enter the journal.
    pub fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) {
        let number = journal.next_control();
        let clock = self.audio.layout().is_some();
        let place = clock.then(|| self.audio.micros_at(journal.end()));
        match kind {
            Control::Finalize => self.forced.push_back(ForcedEnd {
                number,
                place,
                leg: None,
            }),
            Control::Configure => self.configures.push(number, place, frame.clone()),
            Control::KeepAlive | Control::Close | Control::Other => {}
        }
    }

    /// A control message is not sent again.
    pub fn forget(&mut self, number: u64) {
        self.forced.retain(|forced| forced.number != number);
        self.configures.remove(number);
    }

    /// The accepted Configures, where a leg was told of them and has not replied.
    #[must_use]
    pub fn told(&self, leg: &LegView) -> Option<Frame> {
        self.configures.merged().filter(|_| leg.replies_to_drop > 0)
    }

    /// They are not in force any more: no leg is told of them.
    pub fn forget_told(&mut self, leg: &mut LegView) {
        leg.replies_to_drop = leg.replies_to_drop.saturating_sub(1);
        self.configures.retract();
    }

    /// Nothing before a position is open: turns have ended, and what follows has no words. Of audio
    /// without a clock nobody knows.
    #[must_use]
    pub fn all_acked(&self, byte: u64) -> bool {
        match self.audio.layout() {
            Some(_) => self.turns.quiet_until(self.audio.micros_before(byte)),
            None => byte == 0,
        }
    }

    /// Audio before this time is not heard again, in microseconds.
    #[must_use]
    pub const fn finalised(&self) -> i64 {
        self.turns.acked()
    }

    /// Where the next leg starts, and what it gets first.
    pub fn begin_leg(&mut self, number: u64, journal: &Journal) -> LegStart {
        let mut leg = LegView {
            number,
            ..LegView::default()
        };
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
                // Nobody can say any more that what follows is no audio.
                self.audio.reaches(leg.offset);
            }
            cursor = journal.cursor(self.audio.position(start));
            header = self.audio.header_from(start);
        }
        leg.turns = self.turns.begin_leg(number == 0);
        let head = self
            .tell(&mut leg)
            .into_iter()
            .chain(header.map(Frame::Binary))
            .collect();
        LegStart {
            view: leg,
            cursor,
            head,
            gap,
        }
    }

    /// Where a leg starts that hears everything again before it takes over.
    #[must_use]
    pub fn begin_replay(&self, number: u64, journal: &Journal) -> LegStart {
        let mut leg = LegView {
            number,
            ..LegView::default()
        };
        let head = self.tell(&mut leg).into_iter().collect();
        LegStart {
            view: leg,
            cursor: journal.cursor(0),
            head,
            gap: None,
        }
    }

    /// What a leg has to be told of the Configures that were accepted.
    pub fn tell(&self, leg: &mut LegView) -> Option<Frame> {
        leg.tell(&self.configures)
    }

    /// A message came on a leg that hears everything again: whether it would be news.
    pub fn overhear(&self, leg: &mut LegView, frame: &Frame) -> bool {
        let Some(root) = frame.as_str().and_then(Node::root) else {
            return false;
        };
        match root.get("type").and_then(|kind| kind.raw_str()) {
            Some("TurnInfo") => TurnInfo::read(root, leg.offset, self.turns.ended())
                .is_some_and(|info| self.turns.overhear(&mut leg.turns, &info.heard())),
            // Unless the other leg says it, it is said when this one takes over.
            Some("Connected") => {
                leg.overheard.clear();
                leg.overheard.push_back((0, 0, frame.clone()));
                false
            }
            Some(kind) if kind.starts_with("Configure") => {
                leg.replies_to_drop = leg.replies_to_drop.saturating_sub(1);
                false
            }
            Some(_) | None => false,
        }
    }

    /// A control message went out on a leg.
    pub fn sent(&mut self, leg: &LegView, kind: Control, number: u64) {
        match kind {
            Control::Finalize => {
                for forced in self
                    .forced
                    .iter_mut()
                    .filter(|forced| forced.number == number)
                {
                    forced.leg = Some(leg.number);
                }
            }
            Control::Configure => self.configures.sent(number, leg.number),
            Control::Close | Control::KeepAlive | Control::Other => {}
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
        let root = frame.as_str().and_then(Node::root);
        let kind = root
            .and_then(|root| root.get("type"))
            .and_then(|kind| kind.raw_str());
        let (Some(root), Some(kind)) = (root, kind) else {
            inbox.push(frame);
            return Effect::default();
        };
        match kind {
            "TurnInfo" => {
                if let Some(info) = TurnInfo::read(root, leg.offset, self.turns.ended()) {
                    return self.turn_info(leg, journal, (root, info), &frame, inbox);
                }
                self.deliver(leg, root, Edits::default(), &frame, inbox);
            }
            "Connected" => {
                if !std::mem::replace(&mut self.connected, true) {
                    self.deliver(leg, root, Edits::default(), &frame, inbox);
                }
            }
            "Error" => leg.hold(frame),
            _ if kind.starts_with("Configure") => {
                if leg.replies_to_drop > 0 && kind == "ConfigureSuccess" {
                    leg.replies_to_drop -= 1;
                } else if leg.replies_to_drop > 0 {
                    // What was granted once is refused now: that is news.
                    self.forget_told(leg);
                    self.deliver(leg, root, Edits::default(), &frame, inbox);
                } else {
                    if let Some(number) = self
                        .configures
                        .reply(leg.number, kind == "ConfigureSuccess")
                    {
                        journal.settle(number);
                    }
                    self.deliver(leg, root, Edits::default(), &frame, inbox);
                }
            }
            _ => self.deliver(leg, root, Edits::default(), &frame, inbox),
        }
        Effect::default()
    }

    fn turn_info(
        &mut self,
        leg: &mut LegView,
        journal: &mut Journal,
        (root, mut info): (Node<'_>, TurnInfo<'_>),
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let acked = self.turns.acked();
        let clock = self.audio.layout().is_some();
        let sent = clock.then(|| self.audio.micros_at(leg.sent).max(leg.offset));
        let beyond = sent.and_then(|sent| {
            let claimed = info.cut(sent, self.turns.reached())?;
            Some(Beyond { claimed, sent })
        });
        let heard = info.heard();
        self.audio.reaches(heard.end);
        if heard.end > leg.reported {
            (leg.reported, leg.reported_at) = (heard.end, leg.sent);
        }
        let said = self.turns.hear(&mut leg.turns, &heard);
        if let Some(said) = said {
            for event in said.made.into_iter().chain([said.event]) {
                self.deliver(leg, root, info.edits(&said, event), frame, inbox);
            }
        }
        let forced = info.event == Event::EndOfTurn
            && info.trigger.is_none_or(|trigger| trigger == "manual");
        self.settle_forced(leg, journal, forced);
        let acks = self.turns.acked();
        if let Some(layout) = self.audio.layout() {
            journal.ack(self.audio.position(layout.block_at(acks)));
        }
        Effect {
            result: true,
            delivered_final: said.is_some_and(|said| said.event == Event::EndOfTurn),
            advanced: acks > acked,
            joined: None,
            beyond,
        }
    }

    /// A forced end is done with when its turn has ended, or had before it came.
    fn settle_forced(&mut self, leg: &LegView, journal: &mut Journal, mut answered: bool) {
        // The turn ends with what was transcribed by then: before the place where it was forced.
        let acked = self.turns.acked();
        self.forced.retain(|forced| {
            let oldest = forced.leg == Some(leg.number) && std::mem::take(&mut answered);
            let open = !oldest && forced.place.is_none_or(|place| place > acked);
            if !open {
                journal.settle(forced.number);
            }
            open
        });
    }

    /// Gives a message its number in the session, and hands it over.
    fn deliver(
        &mut self,
        leg: &LegView,
        root: Node<'_>,
        mut edits: Edits,
        frame: &Frame,
        inbox: &mut Inbox,
    ) {
        let node = root.get("sequence_id");
        if let Some((node, own)) = node.and_then(|node| Some((node, node.integer()?)))
            && COUNTS.contains(&own)
        {
            // The first leg's numbers are the session's.
            let number = if leg.number == 0 { own } else { self.sequence };
            if number != own {
                edits.replace(node.span(), number.to_string());
            }
            self.sequence = number + 1;
        }
        inbox.push(edits.apply_to(frame));
    }

    /// Hands over what was held back.
    pub fn say(&mut self, leg: &LegView, frame: &Frame, inbox: &mut Inbox) {
        match frame.as_str().and_then(Node::root) {
            Some(root) => self.deliver(leg, root, Edits::default(), frame, inbox),
            None => inbox.push(frame.clone()),
        }
    }

    /// Windows have come up to a position, but for what is too short for one.
    #[must_use]
    pub fn reported(&self, byte: u64) -> bool {
        match self.audio.layout() {
            Some(_) => self.turns.reported_until(self.audio.micros_before(byte)),
            None => byte == 0,
        }
    }

    /// What the service has yet to say of what it was sent, for all that is known: it reports on
    /// all audio, also within a turn.
    #[must_use]
    pub fn owed(&self, journal: &Journal) -> Owed {
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

    /// The leg has answered `CloseStream`: windows have come up to the audio's end.
    #[must_use]
    pub fn answered(&self, leg: &LegView, journal: &Journal) -> bool {
        leg.close_sent && self.reported(journal.end())
    }

    /// Windows have come up to the audio's very end: a leg that breaks off after that has said
    /// everything. One that ends in order need not have: what is too short for a window is not
    /// reported.
    #[must_use]
    pub fn said_everything(&self, journal: &Journal) -> bool {
        let end = self.audio.micros_before(journal.end());
        self.turns.all_reported_until(end)
    }

    /// Of audio without a clock nobody knows whether windows have come up to its end. `CloseStream`
    /// goes out when the service has said what it says by itself, so a leg that has reported as
    /// much as any, and then ends in order, has said everything but what is too short for a window.
    #[must_use]
    pub fn end_answers(&self, leg: &LegView, journal: &Journal) -> bool {
        let unreported = journal.end().saturating_sub(leg.reported_at);
        self.audio.layout().is_none()
            && leg.reported > 0
            && self.has_come_as_far(leg)
            && unreported <= LONG_REST
    }

    fn has_come_as_far(&self, leg: &LegView) -> bool {
        leg.reported + ROUNDING >= self.turns.reached()
    }

    /// A leg was asked to end, did so in order and reported nothing. Of audio without a clock
    /// nobody knows whether all of it is too short for a window: where it may be, two legs are
    /// believed.
    pub fn confirms(&mut self, leg: &LegView, journal: &Journal) -> bool {
        let short = self.audio.layout().is_none() && journal.end() <= SHORT;
        let nothing = short && self.turns.reached() == 0;
        nothing && leg.close_sent && std::mem::replace(&mut self.ended_mute, true)
    }
}
