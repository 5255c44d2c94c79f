//! What is due by itself.

use std::time::Duration;

use super::leg::{Rest, Role};
use super::step::{FailureCause, LegEnd};
use super::{Notice, Phase, Session, Standby};

/// Without a leg and without a message from the application, a session ends after this, as the
/// service would have ended it.
const SILENCE: Duration = Duration::from_secs(10);
/// A leg that stays open so long with nothing unacknowledged is progress.
const SETTLED: Duration = Duration::from_secs(10);

impl Session {
    /// Does what is due by itself.
    pub fn tick(&mut self, now: Duration) {
        self.ticked = self.ticked.max(now);
        if self.is_over() {
            return;
        }
        if self.blocked && self.wants_messages() {
            self.blocked = false;
            if let Some(index) = self.with_role(Role::Current) {
                self.legs[index].hears(now);
            }
        }
        if self.finish_by.is_some_and(|by| now >= by) {
            self.close_timed_out();
            return;
        }
        if let Phase::Dormant { since } = self.phase {
            self.tick_dormant(now, since);
        }
        if let Some(index) = self.with_role(Role::Current) {
            self.tick_current(now, index);
        }
        if !self.is_over() {
            self.keep_within_limits(now);
        }
    }

    fn close_timed_out(&mut self) {
        let answered = self
            .with_role(Role::Current)
            .is_some_and(|index| self.product.answered(&self.legs[index].view, &self.journal));
        if !answered {
            self.notices.push_back(Notice::CloseTimedOut {
                unacked_seconds: self.product.unacked_seconds(&self.journal),
            });
        }
        self.conclude();
    }

    fn tick_dormant(&mut self, now: Duration, since: Duration) {
        match self.settings.keepalive_interval {
            Some(interval) if now >= since + interval => {
                self.phase = Phase::Waiting { until: now };
            }
            None if self.product.needs_input() && now >= since + SILENCE => {
                self.fail(now, FailureCause::Silent);
            }
            Some(_) | None => {}
        }
    }

    fn tick_current(&mut self, now: Duration, index: usize) {
        if self.settled_at(index).is_some_and(|at| now >= at) {
            self.attempts.progress();
            self.on_board.clear();
        }
        if self.ended_at(index).is_some_and(|at| now >= at) {
            // Everything is there; only the end of the stream is missing, so it is made here.
            self.say_held(index);
            self.legs[index].role = Role::Ended(Rest::End);
            self.conclude();
        } else if self.stalled_at(index).is_some_and(|at| now >= at) {
            self.legs[index].role = Role::Ended(Rest::Stop);
            self.current_ended(now, index, LegEnd::Stalled);
        } else if self.break_at().is_some_and(|at| now >= at) {
            self.break_before_make(now);
        } else if self.standby == Standby::Ready && self.nothing_unacked() {
            self.take_over(now);
        }
    }

    /// When a leg that answered the closing message, and does not end, has had its time.
    fn ended_at(&self, index: usize) -> Option<Duration> {
        let leg = &self.legs[index];
        self.product
            .answered(&leg.view, &self.journal)
            .then(|| leg.heard.max(leg.sent) + self.settings.close_timeout)
    }

    /// When a leg that works counts as progress.
    fn settled_at(&self, index: usize) -> Option<Duration> {
        let waits = self.attempts.failures() > 0 && self.nothing_unacked();
        waits.then(|| self.legs[index].opened + SETTLED)
    }

    /// When the service has been silent for too long. Only while it owes an answer: audio flows
    /// that it has not finalised, or the closing message went out.
    fn stalled_at(&self, index: usize) -> Option<Duration> {
        let timeout = self.settings.stall_timeout?;
        if self.blocked || !(self.product.reports_all() || self.product.owes()) {
            return None;
        }
        let leg = &self.legs[index];
        let at = leg.silent_since().max(self.flowing_since) + timeout;
        let owed = leg.view.close_sent()
            || !self.nothing_unacked()
            || self.journal.peek(&leg.cursor).is_some();
        // An application that has to wait for room would send if it could; one that closes has sent
        // everything.
        let flows = self.closing
            || self.product.owes()
            || self.is_full()
            || self.limit_waits_until().is_some()
            || self.last_audio + timeout / 2 >= at;
        (owed && flows).then_some(at)
    }

    /// When something is due by itself: [`Session::tick`] does it. Later than what was told last.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.is_over() {
            return None;
        }
        let dormant = match self.phase {
            Phase::Dormant { since } => {
                let silence = self.product.needs_input().then_some(SILENCE);
                let after = self.settings.keepalive_interval.or(silence);
                after.map(|after| since + after)
            }
            Phase::Waiting { until } => Some(until),
            Phase::Idle | Phase::Opening | Phase::Live | Phase::Finished | Phase::Failed(_) => None,
        };
        let current = self.with_role(Role::Current).map(|index| {
            [
                self.settled_at(index),
                self.ended_at(index),
                self.stalled_at(index),
                self.break_at(),
                self.standby_wanted().map(|(at, _)| at),
            ]
        });
        let retiring = self.legs.iter().map(|leg| match leg.role {
            Role::Retiring { by } => Some(by),
            Role::Standby | Role::Current | Role::Ended(_) => None,
        });
        [self.finish_by, dormant, self.limit_waits_until()]
            .into_iter()
            .chain(current.into_iter().flatten())
            .chain(retiring)
            .flatten()
            .filter(|at| *at > self.ticked)
            .min()
    }
}
