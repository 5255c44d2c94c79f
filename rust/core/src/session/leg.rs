//! One leg, as the session sees it.

use std::time::Duration;

use super::step::LegId;
use crate::journal::Cursor;

/// What a leg's pump still has to do.
///
/// ```text
///          the service ended, in order        the end was handed out
///   Open ──────────────────────────────▶ EndDue ─────────────────▶ Over
///     │                                                             ▲
///     └─────────────────────────────────────────────────────────────┘
///          it failed, or is of no more use
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Frames go out.
    Open,
    /// The signed empty event is to go out.
    EndDue,
    /// Nothing goes out any more.
    Over,
}

/// A leg that is up.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) sending: Sending,
    pub(super) cursor: Cursor,
    /// `CloseStream`, or the product's word for it, went out.
    pub(super) close_sent: bool,
    /// When anything came last; the leg's opening before that.
    pub(super) heard: Duration,
}

impl Leg {
    pub(super) fn new(id: LegId, now: Duration, cursor: Cursor) -> Self {
        Self {
            id,
            sending: Sending::Open,
            cursor,
            close_sent: false,
            heard: now,
        }
    }
}
