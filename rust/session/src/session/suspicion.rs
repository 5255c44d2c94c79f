//! Which messages legs may have failed over.

use std::collections::BTreeMap;

use dgsm_leg::frame::Frame;

/// A message that a leg may have failed over.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    /// Its number in the journal. `None`: it is part of the leg's start.
    pub(super) number: Option<u64>,
    pub(super) frame: Frame,
}

/// What legs that failed in a row had been sent.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// How many of them had been sent each message.
    pub(super) failed: BTreeMap<Option<u64>, u32>,
    /// How many of them did not count as failures, because a message was at fault.
    pub(super) excused: u32,
}

impl Suspicion {
    /// Starts again, after progress.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
