//! `v1/listen` (Nova): what its messages acknowledge, and how those of a later leg become the
//! session's.

use bytes::Bytes;

use super::audio::Audio;
use super::controls::{Configures, Finalizes, LegConfigures, Reply};
use super::incoming::Incoming;
use super::leg::{Gap, LegStart, LegView, PerLeg};
use super::product::{Beyond, Effect, Handover, Owed, Product};
use super::query::{self, Target};
use super::results::{Results, SLACK, channel_of};
use super::rewrite::{Edits, ROUNDING, seconds};
use super::scan::Node;
use super::utterance::{Close, Closers, Observed, Utterance};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// The messages that clients send.
pub const VOCABULARY: &[&str] = &["KeepAlive", "Finalize", "Configure", "CloseStream"];

/// The shortest pause within an utterance, in microseconds.
const SHORT_PAUSE: i64 = 300_000;
/// The most channels that are believed where neither the query nor a header gives their number.
const MAX_CHANNELS: usize = 32;
/// Audio shorter than this, in microseconds, may get no result.
const LITTLE: i64 = 1_000_000;

#[derive(Debug, Default)]
struct Channel {
    /// The end of the last final that was delivered, in microseconds.
    end: i64,
    utterance: Utterance,
}

/// What is remembered of one leg.
#[derive(Debug, Default)]
struct Leg {
    /// For each channel, the block before which the leg hears silence.
    silent_until: Vec<u64>,
    configures: LegConfigures,
    /// The leg has answered the closing message with `Metadata`.
    metadata: bool,
}

/// A Nova session.
#[derive(Debug)]
pub struct ListenV1 {
    audio: Audio,
    closers: Closers,
    /// The number of channels in the query; `None` where the audio decides.
    declared_channels: Option<usize>,
    channels: Vec<Channel>,
    /// The end of the lost audio, where a new channel starts, in microseconds.
    base: i64,
    finalizes: Finalizes,
    configures: Configures,
    legs: PerLeg<Leg>,
}

impl ListenV1 {
    /// Returns a session that asks for this.
    #[must_use]
    pub fn new(target: &Target<'_>) -> Self {
        let text = target.query;
        let micros = |key| query::number(text, key).map(|millis| i64::from(millis) * 1000);
        let utterance_end = micros("utterance_end_ms");
        let endpointing = micros("endpointing").unwrap_or(0).max(SHORT_PAUSE);
        Self {
            audio: Audio::from_query(text),
            declared_channels: if query::switch(text, "multichannel", false) {
                query::number(text, "channels").and_then(|count| usize::try_from(count).ok())
            } else {
                // They are mixed down.
                Some(1)
            },
            closers: Closers {
                speech_final: query::switch(text, "endpointing", true),
                utterance_end,
                pause: utterance_end.unwrap_or(endpointing),
            },
            channels: Vec::new(),
            base: 0,
            finalizes: Finalizes::default(),
            configures: Configures::default(),
            legs: PerLeg::default(),
        }
    }
}

impl Product for ListenV1 {
    fn vocabulary(&self) -> &'static [&'static str] {
        VOCABULARY
    }

    fn control(&self, kind: Option<&str>) -> Option<Control> {
        Some(match kind {
            Some("KeepAlive") => Control::KeepAlive,
            Some("Finalize") => Control::Finalize,
            Some("Configure") => Control::Configure,
            Some("CloseStream") => Control::Close,
            _ => Control::Other,
        })
    }

    fn feed(&mut self, payload: &[u8]) {
        self.audio.feed(payload);
    }

    fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) -> bool {
        let number = journal.next_control();
        let place = self.audio.clock_at(journal.end());
        match kind {
            Control::Finalize => self.finalizes.push(number, place),
            Control::Configure => self.configures.push(number, place, frame.clone()),
            Control::KeepAlive | Control::Close | Control::Other => {}
        }
        true
    }

    fn forget(&mut self, _journal: &mut Journal, number: u64) {
        self.finalizes.remove(number);
        self.configures.remove(number);
    }

    fn is_optional(&self, _frame: &Frame) -> bool {
        true
    }

    fn closing(&self) -> Option<Frame> {
        Some(Frame::from(r#"{"type":"CloseStream"}"#))
    }

    fn keepalive(&self) -> Option<Frame> {
        Some(Frame::from(r#"{"type":"KeepAlive"}"#))
    }

    fn standby_keepalive(&self) -> Option<Frame> {
        self.keepalive()
    }

    /// Channels whose audio is lost go on behind it.
    fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        let earlier = self.legs.begin(number).unwrap_or_default();
        let mut leg = LegView::new(number);
        let Some(layout) = self.audio.layout().filter(|_| number > 0) else {
            for channel in &mut self.channels {
                channel.utterance.carry(self.closers, true);
            }
            let head = self.head(None);
            self.legs.current().configures.go_on(&earlier.configures);
            return LegStart {
                head,
                ..LegStart::at(leg, journal.cursor(0))
            };
        };
        // The service cannot finalise what was never sent. What is lost may end beyond that, in the
        // middle of a frame.
        let sent = self
            .audio
            .blocks_at(journal.sent())
            .max(layout.block_at(self.base));
        let cut = layout.block_at(self.finalised()).min(sent);
        let kept = self.audio.block_from(journal.first().min(journal.sent()));
        let start = if kept > 0 { cut.max(kept) } else { cut };
        leg.offset = layout.micros(start);
        // What follows a file's audio is not missed.
        let missed = start > cut && cut < self.audio.blocks_before(u64::MAX);
        let gap = missed.then(|| Gap {
            start: layout.micros(cut),
            end: leg.offset,
            bytes: self.audio.position(start) - self.audio.position(cut),
        });
        if gap.is_some() {
            // Whether what follows is audio cannot be decided any more.
            self.audio.reaches(leg.offset);
            self.base = self.base.max(leg.offset);
            for channel in &mut self.channels {
                channel.end = channel.end.max(leg.offset);
            }
        }
        for channel in &mut self.channels {
            channel.utterance.carry(self.closers, false);
        }
        if self.channels.len() > 1 {
            self.legs.current().silent_until = self
                .channels
                .iter()
                .map(|channel| layout.block_at(channel.end))
                .collect();
        }
        let header = self.audio.header_from(start);
        let head = self.head(header);
        self.legs.current().configures.go_on(&earlier.configures);
        LegStart {
            view: leg,
            cursor: journal.cursor(self.audio.position(start)),
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

    /// Audio is silent where a channel needs nothing more.
    fn send_audio(&mut self, leg: &LegView, start: u64, payload: Bytes) -> Bytes {
        let silent_until = &self.legs.of(leg).silent_until;
        if silent_until.is_empty() {
            return payload;
        }
        self.audio.silenced(start, payload, silent_until)
    }

    fn send(&mut self, leg: &LegView, kind: Control, number: u64, frame: Frame) -> Frame {
        match kind {
            Control::Finalize => self.finalizes.sent(number, leg.number),
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
            "Results" => {
                if let Some(results) = Results::read(root) {
                    return self.results(&mut message, results);
                }
                message.pass_on();
            }
            "SpeechStarted" => return self.speech_started(&mut message, root),
            "UtteranceEnd" => return self.utterance_end(&mut message, root),
            "Metadata" => {
                // Before the closing message it announces the end of this leg, and another may
                // follow. Only the last leg's is the session's.
                if message.leg.close_sent() {
                    self.legs.of_mut(message.leg).metadata = true;
                    let edits = shifted(root, "duration", message.leg.offset);
                    message.deliver(edits);
                }
            }
            "Error" => message.hold(),
            _ if kind.starts_with("Configure") => self.configured(&mut message, kind),
            _ => message.pass_on(),
        }
        Effect::default()
    }

    /// It has said as much when a final reaches as far as the last delivered one.
    fn overhear(&mut self, leg: &mut LegView, frame: &Frame) -> bool {
        let Some(root) = frame.as_str().and_then(Node::root) else {
            return false;
        };
        match root.get("type").and_then(|kind| kind.raw_str()) {
            Some("Results") => {
                let Some(results) = Results::read(root).filter(|results| results.is_final) else {
                    return false;
                };
                if results.channel >= self.most_channels() {
                    return false;
                }
                let channel = self.channels.get(results.channel);
                let delivered = channel.map_or(self.base, |channel| channel.end);
                let end = results.end + leg.offset;
                let news = end + ROUNDING >= delivered;
                if !news {
                    // The current leg has passed this place.
                    leg.forget_overheard(results.channel, end - self.closers.pause);
                }
                news
            }
            // These come before finals that reach as far.
            Some("SpeechStarted" | "UtteranceEnd") => {
                let (channel, _) = channel_of(root.get("channel"));
                let at = ["timestamp", "last_word_end"].map(|key| root.get(key));
                let at = at.into_iter().flatten().find_map(|node| node.micros());
                leg.overhear(channel, at.unwrap_or(0) + leg.offset, frame.clone());
                false
            }
            Some(kind) if kind.starts_with("Configure") => {
                self.legs.of_mut(leg).configures.drop_reply();
                false
            }
            Some(_) | None => false,
        }
    }

    fn farewell(&self) -> Option<&'static str> {
        Some("Metadata")
    }

    /// Audio without a clock is never certainly acknowledged.
    fn all_acked(&self, byte: u64) -> bool {
        match self.audio.layout() {
            Some(layout) => layout.block_at(self.finalised()) >= self.audio.blocks_before(byte),
            None => byte == 0,
        }
    }

    /// `CloseStream` is answered with `Metadata`, or with everything finalised.
    fn answered(&self, leg: &LegView, journal: &Journal) -> bool {
        leg.close_sent() && (self.legs.of(leg).metadata || self.all_acked(journal.end()))
    }

    fn end_answers(&self, _leg: &LegView, _journal: &Journal) -> bool {
        false
    }

    fn asks_nothing(&self, journal: &Journal) -> bool {
        journal.end() == 0
    }

    fn misses_nothing(&self, journal: &Journal) -> bool {
        self.all_acked(journal.end())
    }

    fn needs_no_answer(&self) -> bool {
        false
    }

    fn reports_all(&self) -> bool {
        true
    }

    fn owed(&self, journal: &Journal) -> Owed {
        let sent = journal.sent();
        if self.all_acked(sent) {
            return Owed::Nothing;
        }
        let left = self.audio.micros_at(sent) - self.finalised();
        if self.audio.layout().is_some() && left >= LITTLE {
            Owed::Something
        } else {
            Owed::Perhaps
        }
    }

    /// `None` where the application has asked already.
    fn ask_for_it(&self) -> Option<Frame> {
        let asked = !self.finalizes.is_empty();
        (!asked).then(|| Frame::from(r#"{"type":"Finalize"}"#))
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

    /// It is the minimum of all channels.
    fn finalised(&self) -> i64 {
        self.channels
            .iter()
            .map(|channel| channel.end)
            .min()
            .unwrap_or(self.base)
    }
}

impl ListenV1 {
    /// Returns what the current leg is sent first: accepted Configures, then the audio's header.
    fn head(&mut self, header: Option<Bytes>) -> Vec<Frame> {
        self.configures
            .head(&mut self.legs.current().configures)
            .into_iter()
            .chain(header.map(Frame::Binary))
            .collect()
    }

    fn results(&mut self, message: &mut Incoming<'_>, mut results: Results<'_>) -> Effect {
        let mut effect = Effect::of_result();
        let offset = message.leg.offset;
        if !self.announce((results.channel, results.channels)) {
            // The audio does not have this channel, so the result says nothing about the others.
            message.deliver(results.moved(offset).edits);
            return effect;
        }
        effect.beyond = self.cut(message.leg, &mut results);
        self.audio.reaches(results.end + offset);
        let results = &results;
        let channels = self.channels.len();
        let channel = &mut self.channels[results.channel];
        if message.leg.is_first() {
            if results.is_final {
                effect.advanced = results.end > channel.end;
                channel.end = channel.end.max(results.end);
                channel.utterance.results(&Observed {
                    spoken: results.spoken(),
                    end: results.end,
                    is_final: true,
                    speech_final: results.speech_final == Some(true),
                });
            }
            if results.is_changed() {
                message.deliver(results.moved(0).edits);
            } else {
                message.pass_on();
            }
        } else {
            let placed = results.place(offset, channel.end);
            let answers = results.from_finalize
                && results.is_final
                && self.finalizes.awaits(results.channel, message.leg.number);
            let empty = placed.end <= channel.end + ROUNDING;
            // Words whose place is unknown are not withheld.
            let stray = results.is_cut() && results.is_final && placed.spoken.is_some();
            if empty && !answers && !stray {
                self.settle(message, results);
                return effect;
            }
            let mut observed = Observed {
                spoken: placed.spoken,
                end: placed.end,
                is_final: results.is_final,
                speech_final: results.speech_final == Some(true),
            };
            // An answer without audio of its own does not show a pause.
            let close = if empty {
                Close::default()
            } else {
                channel.utterance.close(self.closers, &observed)
            };
            let mut edits = placed.edits;
            if close.speech_final {
                results.set_speech_final(&mut edits);
                observed.speech_final = true;
            }
            let which = (results.channel, channels);
            make_end(channel, which, close.end_before, message);
            message.deliver(edits);
            channel.utterance.results(&observed);
            make_end(channel, which, close.end_after, message);
            if results.is_final {
                effect.advanced = placed.end > channel.end;
                channel.end = channel.end.max(placed.end);
            }
        }
        effect.delivered_final = results.is_final;
        self.settle(message, results);
        effect
    }

    /// Takes back what a result claims about audio that its leg was not sent.
    fn cut(&self, leg: &LegView, results: &mut Results<'_>) -> Option<Beyond> {
        let sent = self.sent_until(leg)?;
        let claimed = results.end;
        let known = self.channels[results.channel].end - leg.offset;
        results.cut(sent, known).then(|| Beyond {
            claimed: claimed + leg.offset,
            sent: sent + leg.offset,
        })
    }

    /// Returns the end of what a leg was sent, in microseconds of the leg; `None` without a clock.
    fn sent_until(&self, leg: &LegView) -> Option<i64> {
        self.audio.layout()?;
        Some((self.audio.micros_at(leg.sent()) - leg.offset).max(0))
    }

    /// Returns the false claim in a time of the leg's, where it lies behind what the leg was sent.
    fn beyond(&self, leg: &LegView, at: Option<i64>) -> Option<Beyond> {
        let (at, sent) = (at?, self.sent_until(leg)?);
        (at > sent.saturating_add(SLACK)).then_some(Beyond {
            claimed: at + leg.offset,
            sent: sent + leg.offset,
        })
    }

    /// Acknowledges what a result makes final.
    fn settle(&mut self, message: &mut Incoming<'_>, results: &Results<'_>) {
        if !results.is_final {
            return;
        }
        let settled = self.finalizes.final_result(
            (results.channel, self.channels.len()),
            message.leg.number,
            results.end + message.leg.offset,
            results.from_finalize,
        );
        let finalised = self.finalised();
        for number in settled.into_iter().chain(self.configures.passed(finalised)) {
            message.journal.settle(number);
        }
        if let Some(layout) = self.audio.layout() {
            message
                .journal
                .ack(self.audio.position(layout.block_at(finalised)));
        }
    }

    fn speech_started(&mut self, message: &mut Incoming<'_>, root: Node<'_>) -> Effect {
        let leg = &*message.leg;
        let which = channel_of(root.get("channel"));
        let at = root.get("timestamp").and_then(|node| node.micros());
        let beyond = self.beyond(leg, at);
        if self.announce(which)
            && beyond.is_none()
            && let (Some(channel), Some(at)) = (self.channels.get_mut(which.0), at)
        {
            let at = at + leg.offset;
            let finalised = leg.number > 0 && at < channel.end;
            if finalised || !channel.utterance.start(at, leg.is_first()) {
                return Effect::default();
            }
        }
        let offset = leg.offset;
        deliver_at(message, "timestamp", offset, beyond)
    }

    fn utterance_end(&mut self, message: &mut Incoming<'_>, root: Node<'_>) -> Effect {
        let leg = &*message.leg;
        let which = channel_of(root.get("channel"));
        // -1 is no time: the service does not know the last word.
        let last = root
            .get("last_word_end")
            .and_then(|node| node.micros())
            .filter(|at| *at >= 0);
        let beyond = self.beyond(leg, last);
        if self.announce(which)
            && let Some(channel) = self.channels.get_mut(which.0)
        {
            let last = last.filter(|_| beyond.is_none());
            let last = last.map(|last| last + leg.offset);
            if !channel.utterance.end(last, leg.is_first()) {
                return Effect::default();
            }
        }
        let offset = if last.is_some() { leg.offset } else { 0 };
        deliver_at(message, "last_word_end", offset, beyond)
    }

    /// A message announces the number of channels: all of them count, those without a result from
    /// the start. More than the audio has are not believed. Returns whether the audio has this one.
    fn announce(&mut self, (channel, channels): (usize, usize)) -> bool {
        let most = self.most_channels();
        if channel >= most {
            return false;
        }
        let channels = channels.min(most);
        if self.channels.len() < channels {
            let base = self.base;
            self.channels.resize_with(channels, || Channel {
                end: base,
                ..Channel::default()
            });
        }
        true
    }

    /// Returns how many channels can have results, from the query or the audio's header.
    fn most_channels(&self) -> usize {
        let layout = self.audio.layout();
        let of_audio = layout.map(|layout| usize::from(layout.channels));
        let most = match (self.declared_channels, of_audio) {
            (Some(declared), Some(of_audio)) => declared.min(of_audio),
            (declared, of_audio) => declared.or(of_audio).unwrap_or(MAX_CHANNELS),
        };
        most.max(1)
    }

    fn configured(&mut self, message: &mut Incoming<'_>, kind: &str) {
        let accepted = !kind.contains("Fail") && !kind.contains("Error");
        let leg = &mut self.legs.of_mut(message.leg).configures;
        match self.configures.reply_to(leg, accepted) {
            Reply::Head => return,
            Reply::HeadRefused => {}
            Reply::Own => {
                if let Some(number) = self.configures.reply(message.leg.number, accepted) {
                    message.journal.settle(number);
                }
            }
        }
        message.pass_on();
    }
}

/// Makes an `UtteranceEnd` where the leg cannot.
fn make_end(
    channel: &mut Channel,
    (index, channels): (usize, usize),
    last_word: Option<i64>,
    message: &mut Incoming<'_>,
) {
    let Some(last_word) = last_word else { return };
    if channel.utterance.end(Some(last_word), true) {
        message.inbox.push(Frame::from(format!(
            r#"{{"type":"UtteranceEnd","channel":[{index},{channels}],"last_word_end":{}}}"#,
            seconds(last_word)
        )));
    }
}

/// Delivers a message about one time, on the session's clock. A false claim is cut.
fn deliver_at(
    message: &mut Incoming<'_>,
    key: &str,
    offset: i64,
    beyond: Option<Beyond>,
) -> Effect {
    let edits = match (beyond, message.get(key), message.root()) {
        (Some(beyond), Some(node), _) => {
            let mut edits = Edits::default();
            edits.replace(node.span(), seconds(beyond.sent));
            edits
        }
        (_, _, Some(root)) => shifted(root, key, offset),
        (_, _, None) => Edits::default(),
    };
    message.deliver(edits);
    Effect {
        beyond,
        ..Effect::default()
    }
}

/// Moves one time of a message.
fn shifted(root: Node<'_>, key: &str, offset: i64) -> Edits {
    let mut edits = Edits::default();
    if let Some(node) = root.get(key).filter(|_| offset != 0)
        && let Some(micros) = node.micros()
    {
        edits.replace(node.span(), seconds(micros + offset));
    }
    edits
}
