//! One leg, as products see it.

use std::collections::VecDeque;

use crate::journal::Cursor;
use dgsm_leg::frame::Frame;

/// How many `Error` messages in a row are held back.
const MAX_HELD: usize = 8;
/// How many messages of a standby are kept.
const MAX_OVERHEARD: usize = 64;
/// How many bytes of either are kept. The service's own messages have some hundred bytes each.
const MAX_KEPT_BYTES: usize = 256 << 10;

/// What every product knows of a leg.
#[derive(Debug, Default)]
pub struct LegView {
    /// The leg's number in the session, from 0.
    pub number: u64,
    /// The session's time at the leg's start, in microseconds.
    pub offset: i64,
    /// The end of the audio that was sent, over this leg or an earlier one, in bytes.
    sent: u64,
    close_sent: bool,
    /// `Error` messages, oldest first, kept until it is clear whether the leg ends over them.
    held: VecDeque<Frame>,
    /// What a standby has said and may not have been delivered: the channel, the time, the message.
    overheard: VecDeque<(usize, i64, Frame)>,
    /// What the session answers by itself.
    replies: Vec<Frame>,
}

impl LegView {
    /// Returns the view of a leg that starts at the session's start.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Returns whether it is the session's first leg: its numbers and times are the session's.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.number == 0
    }

    /// Returns the end of the audio that the leg was sent, in bytes.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// The leg was sent the audio before this position.
    pub const fn was_sent(&mut self, byte: u64) {
        self.sent = byte;
    }

    /// Returns whether the closing message went out.
    #[must_use]
    pub const fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// The closing message goes out.
    pub const fn sends_close(&mut self) {
        self.close_sent = true;
    }

    /// Keeps an `Error` message until it is clear whether the leg ends over it.
    pub fn hold(&mut self, frame: Frame) {
        self.held.push_back(frame);
    }

    /// Returns the `Error` messages that the leg may end over, oldest first.
    #[must_use]
    pub const fn held(&self) -> &VecDeque<Frame> {
        &self.held
    }

    /// Takes all held messages: it is clear what became of the leg.
    pub fn take_held(&mut self) -> VecDeque<Frame> {
        std::mem::take(&mut self.held)
    }

    /// Takes the oldest held message while there are more than are kept: the leg has survived it.
    pub fn take_outlived(&mut self) -> Option<Frame> {
        let bytes: usize = self.held.iter().map(Frame::len).sum();
        (self.held.len() > MAX_HELD || bytes > MAX_KEPT_BYTES)
            .then(|| self.held.pop_front())
            .flatten()
    }

    /// Keeps a message of a standby. The oldest ones make room for it.
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

    /// Keeps a message of a standby in place of all before it.
    pub fn overhear_only(&mut self, frame: Frame) {
        self.overheard.clear();
        self.overheard.push_back((0, 0, frame));
    }

    /// Forgets what a standby said of a channel about the time before `at`.
    pub fn forget_overheard(&mut self, channel: usize, at: i64) {
        self.overheard
            .retain(|(of, time, _)| *of != channel || *time >= at);
    }

    /// Takes what a standby has said and may not have been delivered.
    pub fn take_overheard(&mut self) -> Vec<Frame> {
        let overheard = std::mem::take(&mut self.overheard);
        overheard.into_iter().map(|(.., frame)| frame).collect()
    }

    /// Answers the leg for the application.
    pub fn reply(&mut self, replies: impl IntoIterator<Item = Frame>) {
        self.replies.extend(replies);
    }

    /// Takes what the session answers by itself.
    pub fn take_replies(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.replies)
    }
}

/// Audio that a leg needed and the journal no longer had; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its start.
    pub start: i64,
    /// Its end.
    pub end: i64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// How a leg starts.
#[derive(Debug)]
pub struct LegStart {
    /// The leg as products see it.
    pub view: LegView,
    /// Where it reads the journal.
    pub cursor: Cursor,
    /// What it is sent before that.
    pub head: Vec<Frame>,
    /// What it cannot be sent any more.
    pub gap: Option<Gap>,
}

impl LegStart {
    /// Returns a start without a head and without a gap.
    #[must_use]
    pub const fn at(view: LegView, cursor: Cursor) -> Self {
        Self {
            view,
            cursor,
            head: Vec::new(),
            gap: None,
        }
    }
}

/// What a product remembers of each leg that it is asked about: the current one, and the standby
/// that hears everything again beside it.
#[derive(Debug, Default)]
pub struct PerLeg<T> {
    current: T,
    standby: Option<(u64, T)>,
}

impl<T: Default> PerLeg<T> {
    /// A leg becomes the current one, as if it were new. Returns what it was as a standby.
    pub fn begin(&mut self, number: u64) -> Option<T> {
        self.current = T::default();
        self.standby
            .take_if(|(standby, _)| *standby == number)
            .map(|(_, state)| state)
    }

    /// Returns the current leg's state.
    pub const fn current(&mut self) -> &mut T {
        &mut self.current
    }

    /// A standby begins to hear everything again. Returns its state.
    pub fn begin_replay(&mut self, number: u64) -> &mut T {
        &mut self.standby.insert((number, T::default())).1
    }

    /// Returns a leg's state.
    #[must_use]
    pub fn of(&self, leg: &LegView) -> &T {
        match &self.standby {
            Some((number, state)) if *number == leg.number => state,
            Some(_) | None => &self.current,
        }
    }

    /// Returns a leg's state.
    pub fn of_mut(&mut self, leg: &LegView) -> &mut T {
        match &mut self.standby {
            Some((number, state)) if *number == leg.number => state,
            Some(_) | None => &mut self.current,
        }
    }
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

    #[test]
    fn the_current_leg_and_a_standby_are_kept_apart() {
        let mut legs: PerLeg<u32> = PerLeg::default();
        assert_eq!(legs.begin(0), None);
        *legs.current() = 1;
        *legs.begin_replay(1) = 2;
        let (current, standby) = (LegView::new(0), LegView::new(1));
        assert_eq!((*legs.of(&current), *legs.of(&standby)), (1, 2));
        *legs.of_mut(&standby) += 1;
        *legs.of_mut(&current) += 10;
        assert_eq!(legs.begin(1), Some(3), "what it was before it took over");
        assert_eq!(*legs.of(&standby), 0);
    }

    #[test]
    fn a_standby_that_is_gone_leaves_nothing_behind() {
        let mut legs: PerLeg<u32> = PerLeg::default();
        *legs.begin_replay(1) = 2;
        assert_eq!(*legs.begin_replay(2), 0);
        *legs.current() = 5;
        assert_eq!(legs.begin(3), None, "another leg");
        assert_eq!(*legs.of(&LegView::new(3)), 0);
    }
}
