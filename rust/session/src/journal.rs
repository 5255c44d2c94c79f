//! What the application sent, in order: send queue and replay ring at once.
//!
//! ```text
//!              held                             (audio positions, in bytes)
//!         ┌────────────────────────────┐
//!   0 ─── first ─── acked ─── sent ─── end
//!    gone │ finalised │ kept to   │ never
//!         │ in part   │ send again│ sent yet
//! ```
//!
//! Audio and control messages are kept apart, each with its place in the common order. Audio leaves
//! at the front when it is acknowledged or evicted; a control message stays until it is settled.
//! Payloads are shared by reference. Each leg reads with a [`Cursor`] of its own: a reset to
//! `acked` is a new cursor.

use std::collections::VecDeque;

use bytes::Bytes;

use dgsm_leg::frame::Frame;

/// What a control message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Keeps the leg open. It is never sent on another leg.
    KeepAlive,
    /// Asks for results of all audio before it.
    Finalize,
    /// Changes the model's settings.
    Configure,
    /// Ends the input.
    Close,
    /// Any other message. It is sent again until audio behind it is acknowledged.
    Other,
}

/// A frame of audio at its position.
#[derive(Clone, Debug)]
struct Audio {
    order: u64,
    start: u64,
    payload: Bytes,
}

impl Audio {
    fn end(&self) -> u64 {
        self.start + self.payload.len() as u64
    }
}

/// A control message at its place.
#[derive(Clone, Debug)]
struct Message {
    order: u64,
    place: u64,
    kind: Control,
    frame: Frame,
    settled: bool,
}

/// An entry and its number among all entries of its kind.
type Numbered<'a, T> = Option<(u64, &'a T)>;

/// Where a leg reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the next audio frame, among all that were ever pushed.
    audio: u64,
    /// The number of the next control message, likewise.
    control: u64,
    /// The next audio byte.
    byte: u64,
}

impl Cursor {
    /// Returns the position of the next audio byte that the leg gets.
    #[must_use]
    pub const fn byte(&self) -> u64 {
        self.byte
    }
}

/// What a leg gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Audio.
    Audio {
        /// The position of its first byte.
        start: u64,
        /// The bytes, shared.
        payload: Bytes,
        /// How many of them were sent before over another leg, in bytes.
        again: u64,
    },
    /// A control message.
    Control {
        /// Its number among all control messages.
        number: u64,
        /// How much audio was pushed before it, in bytes.
        place: u64,
        /// What it asks for.
        kind: Control,
        /// The message.
        frame: Frame,
    },
}

/// What [`Journal::peek`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Audio.
    Audio {
        /// The position of its first byte.
        start: u64,
        /// The position after its last byte.
        end: u64,
    },
    /// A control message.
    Control {
        /// Its number among all control messages.
        number: u64,
        /// What it asks for.
        kind: Control,
    },
}

/// The application's input. Positions count audio bytes since the session began.
#[derive(Debug, Default)]
pub struct Journal {
    audio: VecDeque<Audio>,
    audio_gone: u64,
    control: VecDeque<Message>,
    control_gone: u64,
    control_sent: u64,
    unsent_control_bytes: usize,
    order: u64,
    acked: u64,
    sent: u64,
    end: u64,
}

impl Journal {
    /// Creates an empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds audio at the end. An empty payload is ignored.
    pub fn push_audio(&mut self, payload: Bytes) {
        if payload.is_empty() {
            return;
        }
        let start = self.end;
        self.end += payload.len() as u64;
        let order = self.next_order();
        self.audio.push_back(Audio {
            order,
            start,
            payload,
        });
    }

    /// Returns the number that the next control message will have.
    #[must_use]
    pub fn next_control(&self) -> u64 {
        self.control_gone + self.control.len() as u64
    }

    /// Adds a control message after all audio so far, and returns its number.
    pub fn push_control(&mut self, kind: Control, frame: Frame) -> u64 {
        let number = self.next_control();
        self.unsent_control_bytes += frame.len();
        let order = self.next_order();
        self.control.push_back(Message {
            order,
            place: self.end,
            kind,
            frame,
            settled: false,
        });
        number
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Returns a cursor for a new leg, from an audio position on. It reads the audio that is held
    /// from there, and every control message that is not settled. It skips audio before the
    /// position, even audio that is pushed later.
    #[must_use]
    pub fn cursor(&self, byte: u64) -> Cursor {
        let byte = byte.max(self.first());
        let skipped = self.audio.partition_point(|audio| audio.end() <= byte);
        Cursor {
            audio: self.audio_gone + skipped as u64,
            control: self.control_gone,
            byte,
        }
    }

    /// Returns what the leg gets next, without moving its cursor.
    #[must_use]
    pub fn peek(&self, cursor: &Cursor) -> Option<Next> {
        match self.entries(cursor) {
            (Some((_, audio)), Some((number, message))) if message.order < audio.order => {
                Some(Next::Control {
                    number,
                    kind: message.kind,
                })
            }
            (Some((_, audio)), _) => Some(Next::Audio {
                start: cursor.byte.max(audio.start),
                end: audio.end(),
            }),
            (None, Some((number, message))) => Some(Next::Control {
                number,
                kind: message.kind,
            }),
            (None, None) => None,
        }
    }

    /// Returns the unsettled control messages before a cursor, oldest first: number, kind and
    /// message.
    pub fn open_before(&self, cursor: &Cursor) -> impl Iterator<Item = (u64, Control, &Frame)> {
        let sent = cursor.control;
        (self.control_gone..sent)
            .zip(&self.control)
            .filter(|(_, message)| !message.settled)
            .map(|(number, message)| (number, message.kind, &message.frame))
    }

    /// Returns what the leg gets next, and moves its cursor.
    pub fn take(&mut self, cursor: &mut Cursor) -> Option<Item> {
        match self.entries(cursor) {
            (Some((_, audio)), Some((number, message))) if message.order < audio.order => {
                Some(self.take_control(cursor, number))
            }
            (Some((number, _)), _) => Some(self.take_audio(cursor, number)),
            (None, Some((number, _))) => Some(self.take_control(cursor, number)),
            (None, None) => None,
        }
    }

    /// Returns the next audio frame and the next unsettled control message at or after a cursor.
    fn entries(&self, cursor: &Cursor) -> (Numbered<'_, Audio>, Numbered<'_, Message>) {
        let mut number = cursor.audio.max(self.audio_gone);
        let mut audio = self.audio.get((number - self.audio_gone) as usize);
        while audio.is_some_and(|audio| audio.end() <= cursor.byte) {
            number += 1;
            audio = self.audio.get((number - self.audio_gone) as usize);
        }
        let first = cursor.control.max(self.control_gone);
        let message = self
            .control
            .iter()
            .skip((first - self.control_gone) as usize)
            .zip(first..)
            .find(|(message, _)| !message.settled);
        (
            audio.map(|audio| (number, audio)),
            message.map(|(message, number)| (number, message)),
        )
    }

    fn take_audio(&mut self, cursor: &mut Cursor, number: u64) -> Item {
        let audio = &self.audio[(number - self.audio_gone) as usize];
        let start = cursor.byte.max(audio.start);
        let end = audio.end();
        let payload = audio.payload.slice((start - audio.start) as usize..);
        let again = self.sent.min(end).saturating_sub(start);
        self.sent = self.sent.max(end);
        cursor.audio = number + 1;
        cursor.byte = end;
        Item::Audio {
            start,
            payload,
            again,
        }
    }

    fn take_control(&mut self, cursor: &mut Cursor, number: u64) -> Item {
        let message = &mut self.control[(number - self.control_gone) as usize];
        let item = Item::Control {
            number,
            place: message.place,
            kind: message.kind,
            frame: message.frame.clone(),
        };
        if message.kind == Control::KeepAlive {
            message.settled = true;
        }
        if number >= self.control_sent {
            self.control_sent = number + 1;
            self.unsent_control_bytes -= message.frame.len();
        }
        cursor.control = number + 1;
        self.drop_settled();
        item
    }

    /// Acknowledges the audio before a position. The acked position never goes back.
    pub fn ack(&mut self, byte: u64) {
        let byte = byte.min(self.sent);
        if byte <= self.acked {
            return;
        }
        self.acked = byte;
        while self.audio.front().is_some_and(|audio| audio.end() <= byte) {
            self.audio.pop_front();
            self.audio_gone += 1;
        }
        for message in &mut self.control {
            if message.kind == Control::Other && message.place < byte {
                message.settled = true;
            }
        }
        self.drop_settled();
    }

    /// Settles a control message: it is not sent again.
    pub fn settle(&mut self, number: u64) {
        let index = number.checked_sub(self.control_gone);
        if let Some(message) = index.and_then(|index| self.control.get_mut(index as usize)) {
            message.settled = true;
            if number >= self.control_sent {
                // It was not sent, so it does not count as unsent any more.
                self.unsent_control_bytes -= message.frame.len();
                message.frame = Frame::Text(Bytes::new());
            }
            self.drop_settled();
        }
    }

    /// Settles every KeepAlive, because the leg that they were for is gone.
    pub fn settle_keepalives(&mut self) {
        let numbers: Vec<u64> = (self.control_gone..)
            .zip(&self.control)
            .filter(|(_, message)| message.kind == Control::KeepAlive && !message.settled)
            .map(|(number, _)| number)
            .collect();
        for number in numbers {
            self.settle(number);
        }
    }

    fn drop_settled(&mut self) {
        while self.control.front().is_some_and(|message| message.settled) {
            self.control.pop_front();
            self.control_gone += 1;
        }
        self.control_sent = self.control_sent.max(self.control_gone);
    }

    /// Drops the oldest frame of audio if it was sent and ends at or before this position. Returns
    /// how many of its bytes were unacknowledged.
    pub fn evict(&mut self, before: u64) -> Option<u64> {
        let front = self.audio.front()?;
        let (start, end) = (front.start.max(self.acked), front.end());
        if end > self.sent.min(before) {
            return None;
        }
        self.audio.pop_front();
        self.audio_gone += 1;
        Some(end - start)
    }

    /// Drops everything that was sent, for input that is never sent again. It does not count as
    /// acknowledged.
    pub fn forget_sent(&mut self) {
        while self
            .audio
            .front()
            .is_some_and(|audio| audio.end() <= self.sent)
        {
            self.audio.pop_front();
            self.audio_gone += 1;
        }
        let sent = self.control_sent;
        while self.control_gone < sent && self.control.pop_front().is_some() {
            self.control_gone += 1;
        }
    }

    /// Returns the position of the first byte that is held; the end if none is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.audio.front().map_or(self.end, |audio| audio.start)
    }

    /// Returns the position before which all audio is finalised.
    #[must_use]
    pub const fn acked(&self) -> u64 {
        self.acked
    }

    /// Returns the position before which all audio was sent at least once.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the position after all audio that was pushed.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Returns how much audio is held, in bytes.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.end - self.first()
    }

    /// Returns how much of the held audio was sent and is not acknowledged, in bytes.
    #[must_use]
    pub fn held_unacked(&self) -> u64 {
        self.sent.saturating_sub(self.first().max(self.acked))
    }

    /// Returns whether the first held frame is followed by more audio that was sent.
    #[must_use]
    pub fn holds_several(&self) -> bool {
        self.audio
            .front()
            .is_some_and(|audio| audio.end() < self.sent)
    }

    /// Returns how much input was never sent, control messages included, in bytes.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.end - self.sent + self.unsent_control_bytes as u64
    }

    /// Returns the last control message if it is not settled and no audio follows it.
    #[must_use]
    pub fn last_control(&self) -> Option<Control> {
        let message = self.control.back()?;
        (message.place == self.end && !message.settled).then_some(message.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize) -> Bytes {
        Bytes::from((0..count).map(|byte| byte as u8).collect::<Vec<_>>())
    }

    fn control(journal: &mut Journal, kind: Control) -> u64 {
        journal.push_control(kind, Frame::from("{}"))
    }

    /// Reads everything that a leg gets from `byte` on: audio as `start..end`, control messages by
    /// number.
    fn read(journal: &mut Journal, byte: u64) -> Vec<String> {
        let mut cursor = journal.cursor(byte);
        let mut seen = Vec::new();
        while let Some(next) = journal.peek(&cursor) {
            match (next, journal.take(&mut cursor).unwrap()) {
                (
                    Next::Audio { start, end },
                    Item::Audio {
                        start: from,
                        payload,
                        ..
                    },
                ) => {
                    assert_eq!((start, end), (from, from + payload.len() as u64));
                    seen.push(format!("{start}..{end}"));
                }
                (
                    Next::Control { kind, .. },
                    Item::Control {
                        kind: taken,
                        number,
                        ..
                    },
                ) => {
                    assert_eq!(kind, taken);
                    seen.push(format!("#{number}"));
                }
                mixed => panic!("peek and take differ: {mixed:?}"),
            }
        }
        seen
    }

    #[test]
    fn a_reset_reads_again_from_what_is_acked() {
        let mut journal = Journal::new();
        for _ in 0..4 {
            journal.push_audio(bytes(10));
        }
        assert_eq!(
            read(&mut journal, 0),
            ["0..10", "10..20", "20..30", "30..40"]
        );
        journal.ack(15);
        assert_eq!(
            (journal.first(), journal.acked(), journal.sent()),
            (10, 15, 40)
        );
        assert_eq!((journal.held(), journal.held_unacked()), (30, 25));
        assert_eq!(read(&mut journal, 15), ["15..20", "20..30", "30..40"]);
    }

    #[test]
    fn a_cursor_may_be_ahead() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        let mut cursor = journal.cursor(13);
        assert_eq!(journal.peek(&cursor), None);
        journal.push_audio(bytes(2));
        journal.push_audio(bytes(5));
        assert_eq!(
            journal.peek(&cursor),
            Some(Next::Audio { start: 13, end: 17 })
        );
        journal.take(&mut cursor);
        assert_eq!(journal.peek(&cursor), None);
    }

    #[test]
    fn bytes_sent_again_are_told_from_new_ones() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        read(&mut journal, 0);
        journal.push_audio(bytes(10));
        let mut cursor = journal.cursor(4);
        let again = |item| match item {
            Some(Item::Audio { again, .. }) => again,
            other => panic!("{other:?}"),
        };
        assert_eq!(again(journal.take(&mut cursor)), 6);
        assert_eq!(again(journal.take(&mut cursor)), 0);
    }

    #[test]
    fn control_messages_keep_their_place() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        control(&mut journal, Control::Finalize);
        journal.push_audio(bytes(10));
        control(&mut journal, Control::Close);
        assert_eq!(read(&mut journal, 0), ["0..10", "#0", "10..20", "#1"]);
        journal.ack(10);
        assert_eq!(read(&mut journal, 10), ["#0", "10..20", "#1"]);
        journal.settle(0);
        assert_eq!(read(&mut journal, 10), ["10..20", "#1"]);
        journal.ack(20);
        assert_eq!(read(&mut journal, 20), ["#1"]);
    }

    #[test]
    fn a_keepalive_is_sent_once_or_never() {
        let mut journal = Journal::new();
        control(&mut journal, Control::KeepAlive);
        assert_eq!(read(&mut journal, 0), ["#0"]);
        assert!(read(&mut journal, 0).is_empty());
        control(&mut journal, Control::KeepAlive);
        assert_eq!(journal.last_control(), Some(Control::KeepAlive));
        journal.settle_keepalives();
        assert!(read(&mut journal, 0).is_empty());
        assert_eq!(journal.unsent(), 0);
    }

    #[test]
    fn what_is_unknown_is_settled_by_audio_behind_it() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        control(&mut journal, Control::Other);
        journal.push_audio(bytes(10));
        read(&mut journal, 0);
        journal.ack(10);
        assert_eq!(read(&mut journal, 10), ["#0", "10..20"]);
        journal.ack(11);
        assert_eq!(read(&mut journal, 11), ["11..20"]);
    }

    #[test]
    fn eviction_takes_whole_sent_frames_and_no_control_message() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        control(&mut journal, Control::Finalize);
        journal.push_audio(bytes(10));
        read(&mut journal, 0);
        journal.push_audio(bytes(10));
        journal.ack(5);
        assert_eq!(journal.evict(9), None, "a leg has yet to get it");
        assert_eq!(journal.evict(10), Some(5));
        assert_eq!(journal.evict(u64::MAX), Some(10));
        assert_eq!(journal.evict(u64::MAX), None, "never sent yet");
        assert_eq!(journal.held_unacked(), 0);
        assert_eq!(read(&mut journal, 5), ["#0", "20..30"]);
    }

    #[test]
    fn acks_never_go_back_nor_beyond_what_was_sent() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        journal.ack(10);
        assert_eq!(journal.acked(), 0);
        read(&mut journal, 0);
        journal.ack(8);
        journal.ack(3);
        assert_eq!(journal.acked(), 8);
    }

    #[test]
    fn unsent_counts_audio_and_control() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        control(&mut journal, Control::Finalize);
        assert_eq!(journal.unsent(), 12);
        read(&mut journal, 0);
        assert_eq!(journal.unsent(), 0);
        read(&mut journal, 0);
        assert_eq!(journal.unsent(), 0);
    }

    #[test]
    fn a_journal_may_keep_nothing() {
        let mut journal = Journal::new();
        journal.push_audio(bytes(10));
        control(&mut journal, Control::Other);
        read(&mut journal, 0);
        journal.push_audio(bytes(10));
        journal.forget_sent();
        assert_eq!((journal.held(), journal.unsent()), (10, 10));
        assert_eq!(read(&mut journal, 0), ["10..20"]);
    }

    #[test]
    fn a_payload_is_shared() {
        let mut journal = Journal::new();
        let payload = bytes(10);
        journal.push_audio(payload.clone());
        let mut cursor = journal.cursor(0);
        let Some(Item::Audio { payload: taken, .. }) = journal.take(&mut cursor) else {
            panic!("audio was pushed")
        };
        assert_eq!(taken.as_ptr(), payload.as_ptr());
    }
}
