//! Interrupts that are not answered, and what the application had played by then.
//!
//! An `Interrupt` says how much the application has played since the session's start; a leg
//! understands what was played since its own start.

use std::collections::VecDeque;

use super::clock::Clock;
use crate::resume::leg::LegView;
use crate::resume::rewrite::Edits;
use crate::resume::scan::Node;
use dgsm_leg::frame::Frame;

/// An `Interrupt` that is not answered.
#[derive(Debug)]
pub(super) struct Interrupt {
    pub(super) number: u64,
    /// What the application has played, in milliseconds of the session.
    pub(super) played: Option<i64>,
    /// The same in milliseconds of the leg that it was sent on.
    leg_played: Option<i64>,
}

impl Interrupt {
    /// Returns the session's time of what the leg says was played, in milliseconds. Where it repeats
    /// what it was sent, that is what the application said.
    pub(super) fn session_time(interrupt: Option<&Self>, given: i64, clock: &Clock) -> i64 {
        interrupt
            .filter(|interrupt| interrupt.leg_played == Some(given))
            .and_then(|interrupt| interrupt.played)
            .unwrap_or_else(|| given + clock.shift_millis())
    }
}

/// The interrupts that are not answered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    open: VecDeque<Interrupt>,
}

impl Interrupts {
    /// The application interrupts.
    pub(super) fn push(&mut self, number: u64, frame: &Frame) {
        let offset = playback_offset(frame);
        self.open.push_back(Interrupt {
            number,
            played: offset.and_then(|offset| offset.integer()),
            leg_played: None,
        });
    }

    /// Returns one by its number.
    pub(super) fn get(&self, number: u64) -> Option<&Interrupt> {
        self.open
            .iter()
            .find(|interrupt| interrupt.number == number)
    }

    /// Takes one that is answered, or not sent again.
    pub(super) fn take(&mut self, number: u64) -> Option<Interrupt> {
        let index = self
            .open
            .iter()
            .position(|interrupt| interrupt.number == number)?;
        self.open.remove(index)
    }

    /// Returns a message as the leg gets it: an interrupt says what was played of the leg.
    pub(super) fn send(
        &mut self,
        leg: &LegView,
        number: u64,
        frame: Frame,
        clock: &Clock,
    ) -> Frame {
        let mut open = self.open.iter_mut();
        let Some(interrupt) = open.find(|interrupt| interrupt.number == number) else {
            return frame;
        };
        let Some(played) = interrupt.played else {
            return frame;
        };
        let leg_played = if leg.is_first() {
            played
        } else {
            played.saturating_sub(clock.shift_millis()).max(0)
        };
        interrupt.leg_played = Some(leg_played);
        let mut edits = Edits::default();
        if leg_played != played
            && let Some(node) = playback_offset(&frame)
        {
            edits.replace(node.span(), leg_played.to_string());
        }
        edits.apply_to(&frame)
    }
}

fn playback_offset(frame: &Frame) -> Option<Node<'_>> {
    let root = frame.as_str().and_then(Node::root)?;
    root.get("playback_offset")?.get("value")
}

#[cfg(test)]
impl Interrupts {
    /// Returns the number of the oldest one.
    pub(super) fn oldest(&self) -> u64 {
        self.open[0].number
    }
}
