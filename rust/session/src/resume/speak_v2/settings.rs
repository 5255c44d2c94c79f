//! Configures: what is asked for, and what heads every leg.
//!
//! ```text
//!   pending ──▶ asked ──▶ accepted ──▶ part of every leg's head
//!                 │                    once all text before it is acknowledged
//!                 └──▶ refused
//! ```
//! Earlier text is said again as it was said the first time, so an accepted Configure keeps its place
//! until that text is acknowledged.

use std::collections::VecDeque;

use crate::journal::Journal;
use crate::resume::controls::{Configures, LegConfigures, Reply};
use crate::resume::speak::{Kind, Requests};
use dgsm_leg::frame::Frame;

/// A `Configure` that is not part of every leg's head yet.
#[derive(Debug)]
struct Setting {
    number: u64,
    frame: Frame,
    /// The service has accepted it, and the application knows.
    accepted: bool,
    /// The leg was sent it, and has not replied.
    asked: bool,
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The application did not ask, and does not hear of it.
    Ignored,
    /// It is delivered, and changes nothing.
    PassedOn,
    /// The application has had this answer over an earlier leg.
    Known,
    /// It is delivered.
    Accepted,
    /// It is delivered, and the message with this number is not sent again.
    Refused(u64),
}

/// The session's Configures.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pending: VecDeque<Setting>,
    merged: Configures,
    leg: LegConfigures,
}

impl Settings {
    /// The application sends one.
    pub(super) fn push(&mut self, number: u64, frame: &Frame) {
        self.pending.push_back(Setting {
            number,
            frame: frame.clone(),
            accepted: false,
            asked: false,
        });
    }

    /// One is not sent again.
    pub(super) fn remove(&mut self, number: u64) {
        self.pending.retain(|setting| setting.number != number);
    }

    /// Another leg begins. Returns what heads it.
    pub(super) fn begin_leg(&mut self) -> Option<Frame> {
        for setting in &mut self.pending {
            setting.asked = false;
        }
        self.leg = LegConfigures::default();
        self.merged.head(&mut self.leg)
    }

    /// Returns what headed the leg and has no reply yet.
    pub(super) fn unanswered_head(&self) -> Option<Frame> {
        self.merged.unanswered_head(&self.leg)
    }

    /// That is not in force any more.
    pub(super) fn withdraw_head(&mut self) {
        self.merged.withdraw_head(&mut self.leg);
    }

    /// A message went out.
    pub(super) fn sent(&mut self, number: u64) {
        for setting in &mut self.pending {
            setting.asked |= setting.number == number;
        }
    }

    /// The leg replies to the oldest one that it was sent.
    pub(super) fn reply(&mut self, accepted: bool) -> Answer {
        match self.merged.reply_to(&mut self.leg, accepted) {
            Reply::Head => return Answer::Ignored,
            Reply::HeadRefused => return Answer::PassedOn,
            Reply::Own => {}
        }
        let Some(index) = self.pending.iter().position(|setting| setting.asked) else {
            return Answer::PassedOn;
        };
        let setting = &mut self.pending[index];
        setting.asked = false;
        if setting.accepted {
            return Answer::Known;
        }
        if accepted {
            setting.accepted = true;
            return Answer::Accepted;
        }
        let number = setting.number;
        self.pending.remove(index);
        Answer::Refused(number)
    }

    /// Returns whether one waits for its reply.
    pub(super) fn waits(&self, number: u64) -> bool {
        let mut pending = self.pending.iter();
        pending.any(|setting| setting.number == number && !setting.accepted)
    }

    /// Accepted ones become part of every leg's head where no text before them is open.
    pub(super) fn merge(&mut self, requests: &mut Requests, journal: &mut Journal) {
        while let Some(oldest) = requests.front()
            && oldest.kind == Kind::Configure
            && let number = oldest.number
            && self
                .pending
                .front()
                .is_some_and(|first| first.number == number && first.accepted)
            && let Some(setting) = self.pending.pop_front()
        {
            self.merged.accept(&setting.frame);
            requests.settle(journal, |request| request.number == number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Control;

    /// Asks for text, then for a Configure; both are sent.
    fn asked() -> (Settings, Requests, Journal) {
        let mut journal = Journal::new();
        let (mut settings, mut requests) = (Settings::default(), Requests::default());
        for kind in [Kind::Text, Kind::Configure] {
            let frame = Frame::from(r#"{"type":"Configure","speed":2}"#);
            let number = journal.push_control(Control::Other, frame.clone());
            requests.push(kind, number);
            if kind == Kind::Configure {
                settings.push(number, &frame);
            }
            settings.sent(number);
        }
        (settings, requests, journal)
    }

    #[test]
    fn an_accepted_one_keeps_its_place_until_the_text_before_it_is_acknowledged() {
        let (mut settings, mut requests, mut journal) = asked();
        assert!(settings.waits(1));
        assert_eq!(settings.reply(true), Answer::Accepted);
        assert!(!settings.waits(1));
        settings.merge(&mut requests, &mut journal);
        assert_eq!(settings.begin_leg(), None, "the text comes first");
        settings.sent(1);
        assert_eq!(settings.reply(true), Answer::Known);
        requests.settle(&mut journal, |request| request.kind == Kind::Text);
        settings.merge(&mut requests, &mut journal);
        assert!(requests.front().is_none());
        assert!(settings.begin_leg().is_some());
        assert_eq!(settings.reply(true), Answer::Ignored);
        assert_eq!(settings.reply(true), Answer::PassedOn, "nothing was asked");
    }

    #[test]
    fn a_refused_one_is_not_sent_again() {
        let (mut settings, ..) = asked();
        assert_eq!(settings.reply(false), Answer::Refused(1));
        assert!(!settings.waits(1));
        assert_eq!(settings.begin_leg(), None);
    }
}
