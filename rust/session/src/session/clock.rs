//! What is due without an event from outside.

use std::time::Duration;

use super::legs::SETTLED;
use super::state::{Event, LastStep, Phase, Role, RoleEvent};
use super::step::FailureCause;
use super::{Notice, Session};
use crate::journal::Next;
use crate::resume::Owed;
use dgsm_leg::end::LegEnd;

/// Audio of unknown rate, in bytes, after which a working leg has answered something.
const AN_ANSWER: u64 = 16 << 10;
/// A session without a leg ends after this silence of the application, as the service would have
/// ended it.
const NO_INPUT_TIMEOUT: Duration = Duration::from_secs(10);

impl Session {
    /// Does what is due.
    pub fn tick(&mut self, now: Duration) {
        self.notices.at(now);
        self.ticked = self.ticked.max(now);
        if self.state.is_over() {
            return;
        }
        if self.blocked && self.wants_messages() {
            self.blocked = false;
            if let Some(index) = self.current() {
                self.legs[index].receives(now);
            }
        }
        if self.state.finish_by().is_some_and(|by| now >= by) {
            self.close_timed_out(now);
            return;
        }
        if let Phase::Dormant { since } = *self.state.phase() {
            self.tick_dormant(now, since);
        }
        if let Some(index) = self.current() {
            self.tick_current(now, index);
        }
        if !self.state.is_over() {
            self.keep_within_limits(now);
        }
    }

    fn close_timed_out(&mut self, now: Duration) {
        let answered = self
            .current()
            .is_some_and(|index| self.product.answered(&self.legs[index].view, &self.journal));
        if !answered {
            self.notices.say(Notice::CloseTimedOut {
                unacked_seconds: self.product.unacked_seconds(&self.journal),
            });
        }
        if answered || self.product.needs_no_answer() || self.misses_nothing() {
            self.conclude();
        } else {
            // An application that still reads learns that answers are missing.
            self.fail(now, FailureCause::CloseTimedOut);
        }
    }

    fn tick_dormant(&mut self, now: Duration, since: Duration) {
        match self.settings.keepalive_interval {
            Some(interval) if now >= since + interval => {
                self.moves(now, &Event::Woken { at: now });
            }
            None if self.product.needs_input() && now >= since + NO_INPUT_TIMEOUT => {
                self.fail(now, FailureCause::Silent);
            }
            Some(_) | None => {}
        }
    }

    fn tick_current(&mut self, now: Duration, index: usize) {
        if self.settled_at(index).is_some_and(|at| now >= at) {
            self.attempts.progress();
            self.round.progress();
            self.suspicion.clear();
        }
        if self.ended_at(index).is_some_and(|at| now >= at) {
            // Everything is answered and only the end of the stream is missing. The session ends
            // it.
            self.deliver_held(index);
            if self.leg_moves(now, index, RoleEvent::Ended(LastStep::End)) {
                self.notices.closed(&self.legs[index], Role::Current);
                self.conclude();
            }
        } else if self.stalled_at(index).is_some_and(|at| now >= at) {
            if !self.flows_until(index, now) {
                self.idle_stall = Some(self.journal.end());
            }
            let silent = now.saturating_sub(self.legs[index].received_at);
            self.notices.say(Notice::Stalled {
                leg: self.legs[index].id,
                silent_seconds: silent.as_secs_f64(),
            });
            if self.leg_moves(now, index, RoleEvent::Ended(LastStep::Stop)) {
                self.current_ended(now, index, LegEnd::Stalled);
            }
        } else if self.ask_at(index).is_some_and(|at| now >= at) {
            let leg = &mut self.legs[index];
            leg.asked_at = Some(self.journal.end());
            leg.head.extend(self.product.ask_for_it());
        } else if self.break_at().is_some_and(|at| now >= at) {
            self.break_before_make(now);
        } else if self.state.has_standby() && self.nothing_unacked() {
            self.take_over(now);
        }
    }

    /// Returns when the session ends a leg that answered the closing message and did not end.
    fn ended_at(&self, index: usize) -> Option<Duration> {
        let leg = &self.legs[index];
        self.product
            .answered(&leg.view, &self.journal)
            .then(|| leg.received_at.max(leg.sent_at) + self.settings.close_timeout)
    }

    /// Returns when a leg that works counts as progress.
    fn settled_at(&self, index: usize) -> Option<Duration> {
        let waits = self.attempts.failures() > 0 && self.nothing_unacked();
        waits.then(|| self.legs[index].opened + SETTLED)
    }

    /// Returns when the service has been silent for too long. Only while it owes an answer: to
    /// audio that it has not finalised, or to the closing message.
    ///
    /// When an application stops sending, the service may have no more to say of the audio so far.
    /// So the service is asked for it before the time is up ([`Session::ask_at`]), and if it may
    /// have no answer at all, silence counts once:
    ///
    /// ```text
    ///   audio flows, or the input is closed      silence is a failure, each time
    ///   the application has stopped, and         likewise: the service would have closed the leg
    ///   sends no KeepAlive                       if it worked, unless it has said all there is
    ///   the application only sends KeepAlive     likewise where a second of audio or more has no
    ///                                            result; for less, or an unknown amount, a
    ///                                            failure once, for what was sent so far
    /// ```
    fn stalled_at(&self, index: usize) -> Option<Duration> {
        let timeout = self.settings.stall_timeout?;
        let leg = &self.legs[index];
        // A leg that was sent the closing message has to end.
        let answers = self.product.reports_all() || self.product.owes() || leg.view.close_sent();
        if self.blocked || !answers {
            return None;
        }
        let at = leg.silent_since().max(self.flowing_since) + timeout;
        let owed = leg.view.close_sent()
            || !self.nothing_unacked()
            || self.journal.peek(&leg.cursor).is_some();
        if !owed {
            return None;
        }
        if self.flows_until(index, at) {
            return Some(at);
        }
        // Silence is counted from the last input that needs an answer.
        let since = leg.received_at.max(leg.input_at).max(self.last_audio);
        match self.product.owed(&self.journal) {
            Owed::Nothing => None,
            Owed::Something => Some(since + timeout),
            Owed::Perhaps => {
                let again = self.idle_stall == Some(self.journal.end());
                let counts = !again || !(leg.has_answered || self.keeps_alive());
                // It may wait for more input, but for no longer than it waits for any.
                let mute = !leg.has_answered && self.journal.sent() >= AN_ANSWER;
                let timeout = if mute {
                    timeout
                } else {
                    timeout.max(NO_INPUT_TIMEOUT)
                };
                counts.then_some(since + timeout)
            }
        }
    }

    /// Returns whether audio flows up to this time, or would if it could: an application that waits
    /// for room would send, and one that closes has sent everything.
    fn flows_until(&self, index: usize, at: Duration) -> bool {
        let timeout = self.settings.stall_timeout.unwrap_or(Duration::MAX);
        self.state.is_closing()
            || self.product.owes()
            || self.is_full()
            || self.limit_waits_until().is_some()
            || matches!(
                self.journal.peek(&self.legs[index].cursor),
                Some(Next::Audio { .. })
            )
            || self.last_audio.saturating_add(timeout / 2) >= at
    }

    /// Returns whether the application only keeps the leg open.
    fn keeps_alive(&self) -> bool {
        self.sender.keeps_alive || self.settings.keepalive_interval.is_some()
    }

    /// Returns when the service is asked for results that nothing else makes it send: once a leg
    /// for the same audio, after half the time that counts as a stall.
    fn ask_at(&self, index: usize) -> Option<Duration> {
        let timeout = self.settings.stall_timeout?;
        let at = self.stalled_at(index)?.checked_sub(timeout / 2)?;
        let leg = &self.legs[index];
        let asks = !self.state.is_closing()
            && leg.asked_at != Some(self.journal.end())
            && !self.flows_until(index, at + timeout / 2)
            && self.product.ask_for_it().is_some();
        asks.then_some(at)
    }

    /// Returns when [`Session::tick`] has something to do; later than its latest call.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        if self.state.is_over() {
            return None;
        }
        let dormant = match *self.state.phase() {
            Phase::Dormant { since } => {
                let silence = self.product.needs_input().then_some(NO_INPUT_TIMEOUT);
                let after = self.settings.keepalive_interval.or(silence);
                after.map(|after| since + after)
            }
            Phase::Waiting { until } => Some(until),
            Phase::Idle | Phase::Opening | Phase::Live(_) | Phase::Finished | Phase::Failed(_) => {
                None
            }
        };
        let current = self.current().map(|index| {
            [
                self.settled_at(index),
                self.ended_at(index),
                self.stalled_at(index),
                self.ask_at(index),
                self.break_at(),
                self.standby_wanted(),
            ]
        });
        let retiring = self.legs.iter().map(|leg| match leg.role() {
            Role::Retiring { by } => Some(by),
            Role::Standby { .. } | Role::Current | Role::Ended(_) => None,
        });
        [self.state.finish_by(), dormant, self.limit_waits_until()]
            .into_iter()
            .chain(current.into_iter().flatten())
            .chain(retiring)
            .flatten()
            .filter(|at| *at > self.ticked)
            .min()
    }
}
