//! A product that is not known: one leg, its messages as they come.

use super::incoming::Incoming;
use super::leg::{LegStart, LegView};
use super::product::{Effect, Product};
use crate::journal::{Control, Journal};
use dgsm_leg::frame::Frame;

/// A session with a product that is not known.
#[derive(Debug)]
pub struct Passthrough;

impl Product for Passthrough {
    fn vocabulary(&self) -> &'static [&'static str] {
        &[]
    }

    fn control(&self, _kind: Option<&str>) -> Option<Control> {
        Some(Control::Other)
    }

    fn ask(&mut self, _kind: Control, _journal: &Journal, _frame: &Frame) -> bool {
        true
    }

    fn begin_leg(&mut self, number: u64, journal: &mut Journal) -> LegStart {
        LegStart::at(LegView::new(number), journal.cursor(0))
    }

    fn send(&mut self, _leg: &LegView, _kind: Control, _number: u64, frame: Frame) -> Frame {
        frame
    }

    fn receive(&mut self, mut message: Incoming<'_>) -> Effect {
        message.pass_on();
        Effect::of_result()
    }

    fn all_acked(&self, byte: u64) -> bool {
        byte == 0
    }

    fn answered(&self, _leg: &LegView, _journal: &Journal) -> bool {
        false
    }
}
