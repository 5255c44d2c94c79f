//! `Error` messages: whether the leg goes on, and which message it failed over.
//!
//! ```text
//!   an Error message ──▶ held ──▶ another message         delivered: the leg goes on
//!                          │ ───▶ an end in order         delivered
//!                          │ ───▶ the session fails       delivered: it explains the end
//!                          │ ───▶ over a message that     delivered: the session goes on without
//!                          │      is optional             that message
//!                          └ ───▶ a reset                 not delivered: the session goes on
//! ```
//!
//! An optional message must not end the session. If a service says that it cannot read one, or a
//! container closes over one, the session does not send it again. The last retry leaves out every
//! optional message that all failed legs were sent.

use super::ending::Ending;
use super::suspicion::Suspect;
use super::{Notice, Session};
use crate::journal::Control;
use crate::resume::scan::{Node, type_of};
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;

/// At most this many legs in a row are excused for one message each. The leg after them is sent no
/// optional message.
const MAX_LEGS_EXCUSED: u32 = 8;

/// A message is not left out for its presence alone while fewer legs than this have failed.
const MIN_FAILURES: u32 = 2;

/// Texts with which a service says that it could not read a message.
const UNREADABLE: [&str; 4] = [
    "UNPARSABLE_CLIENT_MESSAGE",
    "SchemaError",
    "MESSAGE-0000",
    "deserialize last text message",
];

fn is_unreadable(text: &str) -> bool {
    UNREADABLE.iter().any(|sign| text.contains(sign))
}

impl Session {
    /// Delivers held errors when another message shows that the leg goes on.
    pub(super) fn complain_if_alive(&mut self, index: usize, frame: &Frame) {
        let leg = &self.legs[index];
        if !leg.view.held().is_empty() && !self.product.may_be_last(&leg.view, frame) {
            self.complain_held(index);
        }
    }

    /// Delivers the errors of a leg that goes on, or that the session leaves while it works.
    pub(super) fn complain_held(&mut self, index: usize) {
        for frame in self.legs[index].view.take_held() {
            self.complain(index, frame);
        }
    }

    /// Delivers the oldest errors when a leg has sent more in a row than are held.
    pub(super) fn complain_overflow(&mut self, index: usize) {
        while let Some(frame) = self.legs[index].view.take_outlived() {
            self.complain(index, frame);
        }
    }

    fn complain(&mut self, index: usize, frame: Frame) {
        if frame.as_str().is_some_and(is_unreadable)
            && let Some(suspect) = self.culprit_of_error(index, &frame)
        {
            self.leave_out(index, &suspect);
        }
        let leg = &mut self.legs[index];
        if leg.complained.first() {
            self.notices.say(Notice::Complaint { leg: leg.id });
        }
        self.product.deliver_held(&leg.view, frame, &mut self.inbox);
    }

    /// Delivers the errors of a leg that has ended: they explain the end.
    pub(super) fn deliver_held(&mut self, index: usize) {
        let leg = &mut self.legs[index];
        for frame in leg.view.take_held() {
            self.product.deliver_held(&leg.view, frame, &mut self.inbox);
        }
    }

    /// Returns what follows a leg's end. If the leg ended over an optional message, the session
    /// leaves the message out and goes on.
    pub(super) fn without_message(&mut self, index: usize, end: &LegEnd, ending: Ending) -> Ending {
        let held = self.legs[index].view.held();
        let unreadable = held
            .iter()
            .find(|frame| frame.as_str().is_some_and(is_unreadable))
            .cloned();
        let (said, closed) = match end {
            LegEnd::Closed { text, .. } => {
                let about_silence = text.contains("NET-0001");
                (
                    is_unreadable(text),
                    ending == Ending::Terminal && !about_silence,
                )
            }
            _ => (false, false),
        };
        if ending == Ending::Finished || !(unreadable.is_some() || said || closed) {
            return ending;
        }
        let words = match (&unreadable, end) {
            (None, LegEnd::Closed { text, .. }) => Frame::from(text.clone()),
            (unreadable, _) => unreadable.clone().unwrap_or(Frame::from("")),
        };
        if ending != Ending::Dormant && !self.may_go_on() {
            return ending;
        }
        let says_so = unreadable.is_some() || said;
        let suspects = match (says_so, self.suspicion.excused) {
            (true, ..MAX_LEGS_EXCUSED) => self.culprit(index, &words).into_iter().collect(),
            // A container that closes does not always mean a message: one more leg shows whether it
            // did.
            (true, MAX_LEGS_EXCUSED) | (false, 0) => self.suspects(index),
            (true | false, _) => return ending,
        };
        if suspects.is_empty() {
            return ending;
        }
        for suspect in &suspects {
            self.leave_out(index, suspect);
        }
        self.deliver_held(index);
        // The audio is not at fault. This excuses at most MAX_LEGS_EXCUSED + 1 legs in a row.
        self.attempts.progress();
        self.round.progress();
        self.suspicion.failed.clear();
        self.suspicion.excused += 1;
        match ending {
            Ending::Terminal => Ending::Reset { limit: None },
            other => other,
        }
    }

    /// Leaves out, before the last retry, what every failed leg was sent.
    pub(super) fn drop_suspects_before_last_retry(&mut self, index: usize) {
        let failures = self.attempts.failures();
        if failures < MIN_FAILURES || !self.may_go_on() {
            return;
        }
        let constant: Vec<Suspect> = self
            .suspects(index)
            .into_iter()
            .filter(|suspect| {
                let failed = self.suspicion.failed.get(&suspect.number);
                failed.is_some_and(|failed| *failed >= failures)
            })
            .collect();
        for suspect in &constant {
            self.leave_out(index, suspect);
        }
        if !constant.is_empty() {
            self.deliver_held(index);
            self.suspicion.clear();
        }
    }

    /// Counts what a failed leg had been sent.
    pub(super) fn count_suspects(&mut self, index: usize) {
        let before = std::mem::take(&mut self.suspicion.failed);
        self.suspicion.failed = self
            .suspects(index)
            .into_iter()
            .map(|suspect| {
                let failed = before.get(&suspect.number).map_or(1, |failed| failed + 1);
                (suspect.number, failed)
            })
            .collect();
    }

    fn may_go_on(&self) -> bool {
        self.settings.max_retries > 0 && !self.outgrown && self.product.is_resumable(&self.journal)
    }

    /// Returns the optional messages that the leg was sent and has not answered, oldest first.
    fn suspects(&self, index: usize) -> Vec<Suspect> {
        let leg = &self.legs[index];
        if !self.product.reads(&leg.view) {
            return Vec::new();
        }
        let head = self
            .product
            .unanswered_head(&leg.view)
            .map(|frame| Suspect {
                number: None,
                frame,
            });
        let sent = self
            .journal
            .open_before(&leg.cursor)
            .filter(|(_, kind, frame)| {
                !matches!(kind, Control::KeepAlive | Control::Close)
                    && self.product.is_optional(frame)
            })
            .map(|(number, _, frame)| Suspect {
                number: Some(number),
                frame: frame.clone(),
            });
        head.into_iter().chain(sent).collect()
    }

    /// Returns the message that a leg failed over: the one that the error repeats, or names first,
    /// or whose type is unknown; else the oldest, which the service read first.
    fn culprit(&self, index: usize, error: &Frame) -> Option<Suspect> {
        let suspects = self.suspects(index);
        let text = error.as_str().unwrap_or_default();
        let named = suspects
            .iter()
            .filter_map(|suspect| Some((text.find(type_of(&suspect.frame)?)?, suspect)))
            .min_by_key(|(at, _)| *at)
            .map(|(_, suspect)| suspect);
        repeated(&suspects, error)
            .or(named)
            .or_else(|| suspects.iter().find(|suspect| !self.knows(&suspect.frame)))
            .or(suspects.first())
            .cloned()
    }

    /// Returns the message that a leg could not read although it goes on: the one that the error
    /// repeats, or whose type is unknown; else a Configure, because one that was read has an
    /// answer.
    fn culprit_of_error(&self, index: usize, error: &Frame) -> Option<Suspect> {
        let suspects = self.suspects(index);
        let configure = |suspect: &&Suspect| type_of(&suspect.frame) == Some("Configure");
        repeated(&suspects, error)
            .or_else(|| suspects.iter().find(|suspect| !self.knows(&suspect.frame)))
            .or_else(|| suspects.iter().find(configure))
            .cloned()
    }

    fn knows(&self, frame: &Frame) -> bool {
        type_of(frame).is_some_and(|kind| self.product.vocabulary().contains(&kind))
    }

    /// Drops a message and says so.
    fn leave_out(&mut self, index: usize, suspect: &Suspect) {
        let leg = &mut self.legs[index];
        match suspect.number {
            Some(number) => {
                self.product.forget(&mut self.journal, number);
                self.journal.settle(number);
            }
            None => self.product.withdraw_head(&leg.view),
        }
        // Only types that the product knows are named in the log.
        let known = type_of(&suspect.frame).and_then(|kind| {
            let mut names = self.product.vocabulary().iter();
            names.find(|name| **name == kind).copied()
        });
        self.notices.say(Notice::LeftOut {
            leg: leg.id,
            kind: known,
        });
    }
}

/// Returns the message that an error repeats word for word.
fn repeated<'a>(suspects: &'a [Suspect], error: &Frame) -> Option<&'a Suspect> {
    let message = error.as_str().and_then(Node::root)?.get("message")?;
    let message: String = serde_json::from_str(message.text()).ok()?;
    suspects
        .iter()
        .find(|suspect| suspect.frame.as_str() == Some(&message))
}
