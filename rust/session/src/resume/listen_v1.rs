//! `v1/listen`: what its messages acknowledge, and how those of a later leg become the session's.

use bytes::Bytes;

use super::audio::Audio;
use super::controls::{Configures, Finalizes};
use super::inbox::Inbox;
use super::results::{Results, SLACK, channel_of};
use super::rewrite::{Edits, ROUNDING, seconds};
use super::scan::Node;
use super::utterance::{Close, Closers, Heard, Utterance};
use super::{Beyond, Effect, Gap, LegStart, LegView, Owed, query};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// Pauses within an utterance are at least so long, in microseconds.
const SHORT_PAUSE: i64 = 300_000;
/// Where neither the query nor a header says how many channels there are: more are not believed.
const MAX_CHANNELS: usize = 32;
/// So much audio, in microseconds, may be too little for the service to say anything of it.
const LITTLE: i64 = 1_000_000;

#[derive(Debug, Default)]
struct Channel {
    /// End of the last final that was delivered, in microseconds.
    end: i64,
    utterance: Utterance,
}

/// A Nova session.
#[derive(Debug)]
pub struct ListenV1 {
    audio: Audio,
    closers: Closers,
    /// How many channels the query says; `None`: it is the audio's matter.
    declared_channels: Option<usize>,
    channels: Vec<Channel>,
    /// Where a channel starts that is heard for the first time: behind what is lost.
    base: i64,
    finalizes: Finalizes,
    configures: Configures,
}

impl ListenV1 {
    /// A session that asks for this.
    #[must_use]
    pub fn new(text: &str) -> Self {
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

    /// The application sends a control message: the journal's next one.
    pub fn ask(&mut self, kind: Control, journal: &Journal, frame: &Frame) {
        let number = journal.next_control();
        let clock = self.audio.layout().is_some();
        let place = clock.then(|| self.audio.micros_at(journal.end()));
        match kind {
            Control::Finalize => self.finalizes.push(number, place),
            Control::Configure => self.configures.push(number, place, frame.clone()),
            Control::KeepAlive | Control::Close | Control::Other => {}
        }
    }

    /// A control message is not sent again.
    pub fn forget(&mut self, number: u64) {
        self.finalizes.remove(number);
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

    /// All audio before a position is finalised. Audio without a clock never is, for certain.
    #[must_use]
    pub fn all_acked(&self, byte: u64) -> bool {
        match self.audio.layout() {
            Some(layout) => layout.block_at(self.finalised()) >= self.audio.blocks_before(byte),
            None => byte == 0,
        }
    }

    /// Every channel is finalised up to this time, in microseconds.
    #[must_use]
    pub fn finalised(&self) -> i64 {
        self.channels
            .iter()
            .map(|channel| channel.end)
            .min()
            .unwrap_or(self.base)
    }

    /// Where the next leg starts, and what it gets first. Channels whose audio is lost go on
    /// behind it.
    pub fn begin_leg(&mut self, number: u64, journal: &Journal) -> LegStart {
        let mut leg = LegView {
            number,
            ..LegView::default()
        };
        let Some(layout) = self.audio.layout().filter(|_| number > 0) else {
            for channel in &mut self.channels {
                channel.utterance.carry(self.closers, true);
            }
            let head = self.head(&mut leg, None);
            return LegStart {
                view: leg,
                cursor: journal.cursor(0),
                head,
                gap: None,
            };
        };
        // Nobody is believed who finalises what was never sent; what is lost may end behind it, in
        // the middle of a frame.
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
            // Nobody can say any more that what follows is no audio.
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
            leg.silent_until = self
                .channels
                .iter()
                .map(|channel| layout.block_at(channel.end))
                .collect();
        }
        let header = self.audio.header_from(start);
        let head = self.head(&mut leg, header);
        let cursor = journal.cursor(self.audio.position(start));
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
        let head = self.head(&mut leg, None);
        LegStart {
            view: leg,
            cursor: journal.cursor(0),
            head,
            gap: None,
        }
    }

    /// A message came on a leg that hears everything again: whether it is a final that reaches as
    /// far as the last one that was delivered.
    pub fn overhear(&self, leg: &mut LegView, frame: &Frame) -> bool {
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
                    // The old leg has been there, too.
                    let passed = end - self.closers.pause;
                    let of = results.channel;
                    leg.overheard
                        .retain(|(channel, at, _)| *channel != of || *at >= passed);
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
                leg.replies_to_drop = leg.replies_to_drop.saturating_sub(1);
                false
            }
            Some(_) | None => false,
        }
    }

    /// What a leg has to be told of the Configures that were accepted.
    pub fn tell(&self, leg: &mut LegView) -> Option<Frame> {
        leg.tell(&self.configures)
    }

    fn head(&self, leg: &mut LegView, header: Option<Bytes>) -> Vec<Frame> {
        self.tell(leg)
            .into_iter()
            .chain(header.map(Frame::Binary))
            .collect()
    }

    /// Audio as the leg gets it: silent where a channel needs nothing more.
    #[must_use]
    pub fn send_audio(&self, leg: &LegView, start: u64, payload: Bytes) -> Bytes {
        if leg.silent_until.is_empty() {
            return payload;
        }
        self.audio.silenced(start, payload, &leg.silent_until)
    }

    /// A control message went out on a leg.
    pub fn sent(&mut self, leg: &LegView, kind: Control, number: u64) {
        match kind {
            Control::Finalize => self.finalizes.sent(number, leg.number),
            Control::Configure => self.configures.sent(number, leg.number),
            Control::Close | Control::KeepAlive | Control::Other => {}
        }
    }

    /// A message came on a leg that speaks for the session.
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
            "Results" => {
                if let Some(results) = Results::read(root) {
                    return self.results(leg, journal, results, &frame, inbox);
                }
                inbox.push(frame);
            }
            "SpeechStarted" => return self.speech_started(leg, root, &frame, inbox),
            "UtteranceEnd" => return self.utterance_end(leg, root, &frame, inbox),
            "Metadata" => {
                // Only the last leg's is the session's; before the end was asked for it announces
                // the end of this leg, and another may follow.
                if leg.close_sent {
                    leg.metadata = true;
                    inbox.push(shifted(root, "duration", leg.offset).apply_to(&frame));
                }
            }
            "Error" => {
                leg.hold(frame);
            }
            _ if kind.starts_with("Configure") => {
                self.configured(leg, journal, kind, &frame, inbox);
            }
            _ => inbox.push(frame),
        }
        Effect::default()
    }

    fn results(
        &mut self,
        leg: &LegView,
        journal: &mut Journal,
        mut results: Results<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let mut effect = Effect {
            result: true,
            ..Effect::default()
        };
        if !self.announce((results.channel, results.channels)) {
            // Of a channel that the audio has not: it says nothing of the others.
            inbox.push(results.moved(leg.offset).edits.apply_to(frame));
            return effect;
        }
        effect.beyond = self.cut(leg, &mut results);
        self.audio.reaches(results.end + leg.offset);
        let results = &results;
        let channels = self.channels.len();
        let channel = &mut self.channels[results.channel];
        if leg.number == 0 {
            if results.is_final {
                effect.advanced = results.end > channel.end;
                channel.end = channel.end.max(results.end);
                channel.utterance.results(&Heard {
                    spoken: results.spoken(),
                    end: results.end,
                    is_final: true,
                    speech_final: results.speech_final == Some(true),
                });
            }
            if results.is_changed() {
                inbox.push(results.moved(0).edits.apply_to(frame));
            } else {
                inbox.push(frame.clone());
            }
        } else {
            let placed = results.place(leg.offset, channel.end);
            let answers = results.from_finalize
                && results.is_final
                && self.finalizes.awaits(results.channel, leg.number);
            let empty = placed.end <= channel.end + ROUNDING;
            // Words about which nobody knows where they belong are not withheld.
            let stray = results.is_cut() && results.is_final && placed.spoken.is_some();
            if empty && !answers && !stray {
                self.settle(leg, journal, results);
                return effect;
            }
            let mut heard = Heard {
                spoken: placed.spoken,
                end: placed.end,
                is_final: results.is_final,
                speech_final: results.speech_final == Some(true),
            };
            // An answer without audio of its own says nothing of a pause.
            let close = if empty {
                Close::default()
            } else {
                channel.utterance.close(self.closers, &heard)
            };
            let mut edits = placed.edits;
            if close.speech_final {
                results.set_speech_final(&mut edits);
                heard.speech_final = true;
            }
            let which = (results.channel, channels);
            make_end(channel, which, close.end_before, inbox);
            inbox.push(edits.apply_to(frame));
            channel.utterance.results(&heard);
            make_end(channel, which, close.end_after, inbox);
            if results.is_final {
                effect.advanced = placed.end > channel.end;
                channel.end = channel.end.max(placed.end);
            }
        }
        effect.delivered_final = results.is_final;
        self.settle(leg, journal, results);
        effect
    }

    /// Takes back what a result claims beyond the audio that its leg was sent.
    fn cut(&self, leg: &LegView, results: &mut Results<'_>) -> Option<Beyond> {
        let sent = self.sent_until(leg)?;
        let claimed = results.end;
        let known = self.channels[results.channel].end - leg.offset;
        results.cut(sent, known).then(|| Beyond {
            claimed: claimed + leg.offset,
            sent: sent + leg.offset,
        })
    }

    /// The end of what a leg was sent, on its own clock, where there is one.
    fn sent_until(&self, leg: &LegView) -> Option<i64> {
        self.audio.layout()?;
        Some((self.audio.micros_at(leg.sent) - leg.offset).max(0))
    }

    /// Whether a time of the leg's can be true: it lies within what the leg was sent.
    fn beyond(&self, leg: &LegView, at: Option<i64>) -> Option<Beyond> {
        let (at, sent) = (at?, self.sent_until(leg)?);
        (at > sent.saturating_add(SLACK)).then_some(Beyond {
            claimed: at + leg.offset,
            sent: sent + leg.offset,
        })
    }

    /// Takes what a result acknowledges.
    fn settle(&mut self, leg: &LegView, journal: &mut Journal, results: &Results<'_>) {
        if !results.is_final {
            return;
        }
        let settled = self.finalizes.final_result(
            (results.channel, self.channels.len()),
            leg.number,
            results.end + leg.offset,
            results.from_finalize,
        );
        let finalised = self.finalised();
        for number in settled.into_iter().chain(self.configures.passed(finalised)) {
            journal.settle(number);
        }
        if let Some(layout) = self.audio.layout() {
            journal.ack(self.audio.position(layout.block_at(finalised)));
        }
    }

    fn speech_started(
        &mut self,
        leg: &LegView,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
        let which = channel_of(root.get("channel"));
        let at = root.get("timestamp").and_then(|node| node.micros());
        let beyond = self.beyond(leg, at);
        if self.announce(which)
            && beyond.is_none()
            && let (Some(channel), Some(at)) = (self.channels.get_mut(which.0), at)
        {
            let at = at + leg.offset;
            let finalised = leg.number > 0 && at < channel.end;
            if finalised || !channel.utterance.start(at, leg.number == 0) {
                return Effect::default();
            }
        }
        tell(root, "timestamp", (leg.offset, beyond), frame, inbox)
    }

    fn utterance_end(
        &mut self,
        leg: &LegView,
        root: Node<'_>,
        frame: &Frame,
        inbox: &mut Inbox,
    ) -> Effect {
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
            if !channel.utterance.end(last, leg.number == 0) {
                return Effect::default();
            }
        }
        let offset = if last.is_some() { leg.offset } else { 0 };
        tell(root, "last_word_end", (offset, beyond), frame, inbox)
    }

    /// There are so many channels: all of them count, those without a result from the start. More
    /// than the audio has are not believed. Whether this is one of those that it has.
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

    /// How many channels results can be of: the query says so, or the audio's header.
    fn most_channels(&self) -> usize {
        let layout = self.audio.layout();
        let of_audio = layout.map(|layout| usize::from(layout.channels));
        let most = match (self.declared_channels, of_audio) {
            (Some(declared), Some(of_audio)) => declared.min(of_audio),
            (declared, of_audio) => declared.or(of_audio).unwrap_or(MAX_CHANNELS),
        };
        most.max(1)
    }

    fn configured(
        &mut self,
        leg: &mut LegView,
        journal: &mut Journal,
        kind: &str,
        frame: &Frame,
        inbox: &mut Inbox,
    ) {
        let accepted = !kind.contains("Fail") && !kind.contains("Error");
        if leg.replies_to_drop > 0 && accepted {
            leg.replies_to_drop -= 1;
            return;
        }
        if leg.replies_to_drop > 0 {
            // What was granted once is refused now: that is news.
            self.forget_told(leg);
            inbox.push(frame.clone());
            return;
        }
        if let Some(number) = self.configures.reply(leg.number, accepted) {
            journal.settle(number);
        }
        inbox.push(frame.clone());
    }

    /// What the service has yet to say of what it was sent, for all that is known.
    #[must_use]
    pub fn owed(&self, journal: &Journal) -> Owed {
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

    /// What makes the service say it, unless the application has asked already.
    #[must_use]
    pub fn ask_for_it(&self) -> Option<Frame> {
        let asked = !self.finalizes.is_empty();
        (!asked).then(|| Frame::from(r#"{"type":"Finalize"}"#))
    }

    /// The leg has answered `CloseStream`: `Metadata`, or everything finalised.
    #[must_use]
    pub fn answered(&self, leg: &LegView, journal: &Journal) -> bool {
        leg.close_sent && (leg.metadata || self.all_acked(journal.end()))
    }
}

/// Makes an `UtteranceEnd` that the leg cannot know of.
fn make_end(
    channel: &mut Channel,
    (index, channels): (usize, usize),
    last_word: Option<i64>,
    inbox: &mut Inbox,
) {
    let Some(last_word) = last_word else { return };
    if channel.utterance.end(Some(last_word), true) {
        inbox.push(Frame::from(format!(
            r#"{{"type":"UtteranceEnd","channel":[{index},{channels}],"last_word_end":{}}}"#,
            seconds(last_word)
        )));
    }
}

/// Hands over a message about one time, on the session's clock, and none that cannot be.
fn tell(
    root: Node<'_>,
    key: &str,
    (offset, beyond): (i64, Option<Beyond>),
    frame: &Frame,
    inbox: &mut Inbox,
) -> Effect {
    let edits = match (beyond, root.get(key)) {
        (Some(beyond), Some(node)) => {
            let mut edits = Edits::default();
            edits.replace(node.span(), seconds(beyond.sent));
            edits
        }
        (Some(_) | None, _) => shifted(root, key, offset),
    };
    inbox.push(edits.apply_to(frame));
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
