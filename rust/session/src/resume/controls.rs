//! Finalize and Configure: what was asked and is not answered yet.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use dgsm_leg::frame::Frame;

/// A `Finalize` that not every channel has answered.
#[derive(Debug)]
struct Finalize {
    number: u64,
    /// The end of the audio before it, in microseconds; `None` where the audio has no clock.
    place: Option<i64>,
    /// The leg that it was sent on last.
    leg: Option<u64>,
    answered: Vec<bool>,
}

/// The open `Finalize`s, oldest first.
#[derive(Debug, Default)]
pub struct Finalizes {
    open: VecDeque<Finalize>,
}

impl Finalizes {
    /// Returns whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The application sends one.
    pub fn push(&mut self, number: u64, place: Option<i64>) {
        self.open.push_back(Finalize {
            number,
            place,
            leg: None,
            answered: Vec::new(),
        });
    }

    /// One went out on a leg.
    pub fn sent(&mut self, number: u64, leg: u64) {
        for finalize in &mut self.open {
            if finalize.number == number {
                finalize.leg = Some(leg);
            }
        }
    }

    /// One is not sent again, and no answer is expected.
    pub fn remove(&mut self, number: u64) {
        self.open.retain(|finalize| finalize.number != number);
    }

    /// Returns whether a channel's answer on this leg would be news.
    #[must_use]
    pub fn awaits(&self, channel: usize, leg: u64) -> bool {
        self.open
            .iter()
            .any(|finalize| finalize.waits_for(channel, leg))
    }

    /// A channel has a final result. An answer settles the oldest open one; audio behind a
    /// Finalize's place settles that one. Returns the numbers that every channel has settled.
    pub fn final_result(
        &mut self,
        (channel, channels): (usize, usize),
        leg: u64,
        end: i64,
        from_finalize: bool,
    ) -> Vec<u64> {
        if self.open.is_empty() {
            return Vec::new();
        }
        if from_finalize {
            let oldest = self
                .open
                .iter_mut()
                .find(|open| open.waits_for(channel, leg));
            if let Some(finalize) = oldest {
                finalize.settle(channel);
            }
        }
        for finalize in &mut self.open {
            if finalize.place.is_some_and(|place| end > place) {
                finalize.settle(channel);
            }
        }
        let mut settled = Vec::new();
        self.open.retain(|finalize| {
            let open = finalize
                .answered
                .iter()
                .filter(|answered| **answered)
                .count()
                < channels;
            if !open {
                settled.push(finalize.number);
            }
            open
        });
        settled
    }
}

impl Finalize {
    fn waits_for(&self, channel: usize, leg: u64) -> bool {
        self.leg == Some(leg) && !self.answered.get(channel).copied().unwrap_or(false)
    }

    fn settle(&mut self, channel: usize) {
        if self.answered.len() <= channel {
            self.answered.resize(channel + 1, false);
        }
        self.answered[channel] = true;
    }
}

/// A `Configure` without a reply.
#[derive(Debug)]
struct Configure {
    number: u64,
    place: Option<i64>,
    leg: Option<u64>,
    frame: Frame,
}

/// The open `Configure`s, and the accepted ones as one message.
#[derive(Debug, Default)]
pub struct Configures {
    open: VecDeque<Configure>,
    merged: Option<Map<String, Value>>,
    /// How many were accepted.
    accepted: u32,
}

impl Configures {
    /// The application sends one.
    pub fn push(&mut self, number: u64, place: Option<i64>, frame: Frame) {
        self.open.push_back(Configure {
            number,
            place,
            leg: None,
            frame,
        });
    }

    /// One went out on a leg.
    pub fn sent(&mut self, number: u64, leg: u64) {
        for configure in &mut self.open {
            if configure.number == number {
                configure.leg = Some(leg);
            }
        }
    }

    /// One is not sent again, and no answer is expected.
    pub fn remove(&mut self, number: u64) {
        self.open.retain(|configure| configure.number != number);
    }

    /// Returns the accepted ones as one message.
    #[must_use]
    fn merged(&self) -> Option<Frame> {
        let merged = self.merged.as_ref()?;
        Some(Frame::from(serde_json::to_string(merged).ok()?))
    }

    /// The service replied to the oldest one on this leg. Returns its number.
    pub fn reply(&mut self, leg: u64, accepted: bool) -> Option<u64> {
        let index = self
            .open
            .iter()
            .position(|configure| configure.leg == Some(leg))?;
        let configure = self.open.remove(index)?;
        if accepted {
            self.accept(&configure.frame);
        }
        Some(configure.number)
    }

    /// Everything before this time is finalised, so Configures before it took effect. Returns their
    /// numbers.
    pub fn passed(&mut self, acked: i64) -> Vec<u64> {
        let mut passed = Vec::new();
        while let Some(oldest) = self.open.front()
            && oldest.place.is_some_and(|place| place < acked)
            && let Some(configure) = self.open.pop_front()
        {
            self.accept(&configure.frame);
            passed.push(configure.number);
        }
        passed
    }

    /// Makes one part of every leg's head.
    pub fn accept(&mut self, frame: &Frame) {
        let Ok(Value::Object(fields)) = serde_json::from_slice(frame.bytes()) else {
            return;
        };
        merge(self.merged.get_or_insert_default(), fields);
        self.accepted += 1;
    }

    /// Returns the accepted ones as one message, unless a leg was sent all of them.
    pub fn head(&self, leg: &mut LegConfigures) -> Option<Frame> {
        if std::mem::replace(&mut leg.covered, self.accepted) == self.accepted {
            return None;
        }
        let merged = self.merged()?;
        leg.replies_to_drop += 1;
        Some(merged)
    }

    /// Returns that message where a leg was sent it and has not replied.
    #[must_use]
    pub fn unanswered_head(&self, leg: &LegConfigures) -> Option<Frame> {
        self.merged().filter(|_| leg.replies_to_drop > 0)
    }

    /// That message is not in force any more: it heads no further leg.
    pub fn withdraw_head(&mut self, leg: &mut LegConfigures) {
        leg.drop_reply();
        self.merged = None;
    }

    /// The current leg replies to a Configure. Returns to which.
    pub fn reply_to(&mut self, leg: &mut LegConfigures, accepted: bool) -> Reply {
        match (leg.replies_to_drop, accepted) {
            (0, _) => Reply::Own,
            (_, true) => {
                leg.drop_reply();
                Reply::Head
            }
            (_, false) => {
                self.withdraw_head(leg);
                Reply::HeadRefused
            }
        }
    }
}

/// What a reply to a Configure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The leg's head: the application did not ask.
    Head,
    /// The leg's head, which was accepted once and is refused now. The reply is delivered.
    HeadRefused,
    /// A Configure of the application.
    Own,
}

/// What one leg was sent of the accepted Configures, apart from the application's own.
#[derive(Debug, Default)]
pub struct LegConfigures {
    /// How many had been accepted when it was sent them last.
    covered: u32,
    /// Replies that the application did not ask for.
    replies_to_drop: u32,
}

impl LegConfigures {
    /// A standby becomes the current leg: its outstanding replies still come.
    pub const fn go_on(&mut self, standby: &Self) {
        self.replies_to_drop += standby.replies_to_drop;
    }

    /// A reply came that the application did not ask for.
    pub const fn drop_reply(&mut self) {
        self.replies_to_drop = self.replies_to_drop.saturating_sub(1);
    }
}

/// Merges objects field by field. Later values win.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    #[test]
    fn every_channel_settles_a_finalize() {
        let mut finalizes = Finalizes::default();
        finalizes.push(7, Some(1_000));
        finalizes.sent(7, 0);
        assert!(finalizes.awaits(1, 0));
        assert_eq!(finalizes.final_result((1, 2), 0, 900, true), NONE);
        assert!(!finalizes.awaits(1, 0) && finalizes.awaits(0, 0));
        assert_eq!(
            finalizes.final_result((0, 2), 0, 1_000, false),
            NONE,
            "not beyond its place"
        );
        assert_eq!(finalizes.final_result((0, 2), 0, 1_001, false), [7]);
    }

    #[test]
    fn an_answer_belongs_to_the_oldest_that_this_leg_got() {
        let mut finalizes = Finalizes::default();
        finalizes.push(1, Some(100));
        finalizes.push(2, Some(200));
        assert_eq!(
            finalizes.final_result((0, 1), 3, 50, true),
            NONE,
            "none was sent here"
        );
        finalizes.sent(1, 3);
        finalizes.sent(2, 3);
        assert_eq!(finalizes.final_result((0, 1), 3, 100, true), [1]);
        assert_eq!(finalizes.final_result((0, 1), 3, 200, true), [2]);
        assert!(!finalizes.awaits(0, 3));
    }

    #[test]
    fn accepted_configures_are_merged_field_by_field() {
        let mut configures = Configures::default();
        let texts = [
            r#"{"type":"Configure","features":{"numerals":true,"x":1},"k":["a"]}"#,
            r#"{"type":"Configure","features":{"x":null},"k":["b"]}"#,
            r#"{"type":"Configure","features":{"x":"refused"}}"#,
        ];
        for (number, text) in (0..).zip(texts) {
            configures.push(number, Some(100), Frame::from(text));
            configures.sent(number, 0);
        }
        assert_eq!(configures.reply(1, true), None, "another leg's");
        assert_eq!(configures.reply(0, true), Some(0));
        assert_eq!(configures.reply(0, true), Some(1));
        assert_eq!(configures.reply(0, false), Some(2));
        let mut leg = LegConfigures::default();
        let head = configures.head(&mut leg).unwrap();
        assert_eq!(configures.head(&mut leg), None, "it was told");
        let head: Value = serde_json::from_slice(head.bytes()).unwrap();
        let expected = r#"{"type":"Configure","features":{"numerals":true,"x":null},"k":["b"]}"#;
        assert_eq!(head, serde_json::from_str::<Value>(expected).unwrap());
    }

    #[test]
    fn finalised_audio_behind_it_accepts_a_configure() {
        let mut configures = Configures::default();
        configures.push(0, Some(100), Frame::from(r#"{"type":"Configure"}"#));
        assert_eq!(configures.passed(100), NONE);
        assert_eq!(configures.passed(101), [0]);
        assert!(configures.head(&mut LegConfigures::default()).is_some());
    }

    #[test]
    fn a_head_is_answered_before_what_the_application_asked() {
        let mut configures = Configures::default();
        configures.accept(&Frame::from(r#"{"type":"Configure","x":1}"#));
        let (mut leg, mut standby) = (LegConfigures::default(), LegConfigures::default());
        assert!(configures.head(&mut leg).is_some() && configures.head(&mut standby).is_some());
        leg.go_on(&standby);
        assert_eq!(configures.reply_to(&mut leg, true), Reply::Head);
        assert!(configures.unanswered_head(&leg).is_some(), "one is left");
        assert_eq!(configures.reply_to(&mut leg, false), Reply::HeadRefused);
        assert_eq!(configures.unanswered_head(&leg), None);
        assert_eq!(configures.reply_to(&mut leg, true), Reply::Own);
        assert_eq!(
            configures.head(&mut LegConfigures::default()),
            None,
            "it is not in force any more"
        );
    }
}
