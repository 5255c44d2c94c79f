//! What a session did at each of its endpoints.
//!
//! Most figures grow where the session is: at the endpoint of the leg that speaks for it. They are
//! not counted twice, once for the session and once for the endpoint. What they grew by is added to
//! the endpoint's share when the session leaves it. What belongs to one leg, such as its end, is
//! counted at that leg's endpoint when it happens.

use super::stats::Stats;

/// The figures of each endpoint. Together they are the session's.
#[derive(Debug)]
pub(super) struct Shares {
    /// Where the session is: at the endpoint of the leg that speaks for it, or spoke for it last;
    /// before that, at the first.
    at: usize,
    each: Vec<Stats>,
    /// An endpoint had failed just before the leg was asked for that is being opened.
    falls_over: bool,
    /// The session's figures when it came here.
    came_with: Stats,
}

impl Shares {
    pub(super) fn new(endpoints: usize) -> Self {
        Self {
            at: 0,
            each: vec![Stats::default(); endpoints.max(1)],
            falls_over: false,
            came_with: Stats::default(),
        }
    }

    /// Counts a leg that is asked for. `falls_over`: an endpoint has failed just before.
    pub(super) fn asked(&mut self, endpoint: usize, falls_over: bool) {
        self.falls_over = falls_over;
        self.of(endpoint).attempts += 1;
    }

    /// Counts a leg that is open.
    pub(super) fn opened(&mut self, endpoint: usize) {
        let fallovers = u64::from(self.falls_over);
        let share = self.of(endpoint);
        share.legs += 1;
        share.fallovers += fallovers;
    }

    /// Returns the number of legs that were opened because another endpoint had failed.
    pub(super) fn fallovers(&self) -> u64 {
        self.each.iter().map(|share| share.fallovers).sum()
    }

    /// Returns where the session is.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Returns the share of an endpoint, for what one leg does: `resets`, `rollovers` and
    /// `bytes_replayed`.
    pub(super) fn of(&mut self, endpoint: usize) -> &mut Stats {
        // A driver that names another has no choice to begin with.
        let last = self.each.len() - 1;
        &mut self.each[endpoint.min(last)]
    }

    /// Returns whether the session would leave its endpoint for this one.
    pub(super) const fn leaves_for(&self, endpoint: usize) -> bool {
        endpoint != self.at && endpoint < self.each.len()
    }

    /// Moves the session to another endpoint. `now`: its figures.
    pub(super) fn move_to(&mut self, endpoint: usize, now: Stats) {
        grow(&mut self.each[self.at], &self.came_with, &now);
        self.came_with = now;
        self.at = endpoint;
    }

    /// Returns the share of each endpoint. `now`: the session's figures.
    pub(super) fn all(&self, now: &Stats) -> Vec<Stats> {
        let mut each = self.each.clone();
        let here = &mut each[self.at];
        grow(here, &self.came_with, now);
        here.journal_bytes = now.journal_bytes;
        each
    }

    /// Returns the number of legs that were opened at each endpoint.
    pub(super) fn legs(&self) -> Vec<u64> {
        self.each.iter().map(|share| share.legs).collect()
    }
}

/// Adds to a share what the session's figures grew by.
fn grow(share: &mut Stats, before: &Stats, now: &Stats) {
    share.bytes_sent += now.bytes_sent - before.bytes_sent;
    share.seconds_sent += now.seconds_sent - before.seconds_sent;
    share.bytes_acknowledged += now.bytes_acknowledged - before.bytes_acknowledged;
    share.seconds_acknowledged += now.seconds_acknowledged - before.seconds_acknowledged;
    share.bytes_evicted += now.bytes_evicted - before.bytes_evicted;
    share.seconds_evicted += now.seconds_evicted - before.seconds_evicted;
    share.bytes_lost += now.bytes_lost - before.bytes_lost;
    share.seconds_lost += now.seconds_lost - before.seconds_lost;
    share.messages_in += now.messages_in - before.messages_in;
    share.messages_out += now.messages_out - before.messages_out;
}
