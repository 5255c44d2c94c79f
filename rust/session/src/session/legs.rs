//! Opening legs, their ends, and the rollover from one to the next.

use std::time::Duration;

use super::ending::{Circumstances, Ending, classify, in_order, reason_of};
use super::leg::{Leg, Pace};
use super::round::{Mark, Next};
use super::state::{Event, LastStep, Phase, Role, RoleEvent, Standby};
use super::step::{AfterOpenFailure, EndContext, FailureCause, LegId, Step};
use super::{Again, Notice, Session};
use crate::backoff::{Patience, Schedule, Verdict};
use crate::resume::{Handover, Incoming, as_seconds};
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_leg::reason::{Reason, Whose, verdict, whose};

/// After this silence the application may be why the service closed. The service waits for 10 s.
const SILENT_APPLICATION: Duration = Duration::from_secs(8);
/// A leg that stays open for this long counts as progress.
pub(super) const SETTLED: Duration = Duration::from_secs(10);
/// How long a retiring leg may take to finish.
const RETIREMENT: Duration = Duration::from_secs(5);
/// A standby that is not up this long before the service's cap is not waited for.
const BREAK_BEFORE: Duration = Duration::from_secs(60);
/// The largest number of legs kept. Ended ones are forgotten first: their pumps may never ask
/// again.
const MAX_ENDED: usize = 16;
/// A backlog goes out at least this much faster than the application sends, so that it shrinks.
const CATCHING_UP: f64 = 1.25;

impl Session {
    /// Returns what the driver does next.
    pub fn step(&mut self, now: Duration) -> Step {
        self.tick(now);
        let due = self.step_due();
        if due.is_some_and(|at| at <= now) {
            return self.step_now();
        }
        self.driver_due = due;
        Step::Wait { until: due }
    }

    /// Returns whether [`Session::step`] has news for the driver: something to do, or another time
    /// to ask again.
    #[must_use]
    pub fn driver_wanted(&self, now: Duration) -> bool {
        let due = self.step_due();
        due.is_some_and(|at| at <= now) || due != self.driver_due
    }

    /// Returns when the driver has something to do; `None` while there is nothing.
    fn step_due(&self) -> Option<Duration> {
        match self.state.phase() {
            Phase::Waiting { until } => Some(*until),
            Phase::Live(_) => self.standby_wanted(),
            Phase::Opening | Phase::Dormant { .. } => None,
            Phase::Idle | Phase::Finished | Phase::Failed(_) => Some(Duration::ZERO),
        }
    }

    /// Does what is due, and returns the driver's part.
    fn step_now(&mut self) -> Step {
        let standby = match self.state.apply(&Event::Asked) {
            Ok(phase) => matches!(phase, Phase::Live(_)),
            Err(_) => {
                return match self.state.phase() {
                    Phase::Finished => Step::Finished,
                    Phase::Failed(failure) => Step::Failed(failure.as_ref().clone()),
                    Phase::Idle
                    | Phase::Opening
                    | Phase::Live(_)
                    | Phase::Waiting { .. }
                    | Phase::Dormant { .. } => Step::Wait { until: None },
                };
            }
        };
        self.stats.attempts += 1;
        Step::Open {
            standby,
            // A standby is opened with the keys of the current leg.
            renew: !standby && self.attempts.renew(),
        }
    }

    /// Returns when to open a standby.
    pub(super) fn standby_wanted(&self) -> Option<Duration> {
        let current = &self.legs[self.current()?];
        if self.state.is_closing() {
            return None;
        }
        let latest = match self.handover() {
            Handover::Cut => Duration::MAX,
            Handover::Replay => self.latest_replay(current)?,
            Handover::Never => return None,
        };
        let due = current.rollover_at?.min(latest);
        match self.state.standby() {
            Standby::None => Some(due),
            Standby::Waiting { until, .. } => Some(until.max(due)).filter(|at| *at <= latest),
            Standby::Opening { .. } | Standby::Ready { .. } => None,
        }
    }

    /// Returns how another leg takes over from one that works. Audio can only be replayed from its
    /// first byte while that is kept.
    pub(super) fn handover(&self) -> Handover {
        match self.product.handover() {
            Handover::Replay if self.outgrown || self.journal.first() > 0 => Handover::Never,
            handover => handover,
        }
    }

    /// Returns the latest time at which a standby can begin a replay and still catch up before the
    /// current leg has to be left; `None` if it never could. While it replays `n` seconds, more
    /// arrives, so it has caught up `n / (speed - 1)` seconds later.
    fn latest_replay(&self, current: &Leg) -> Option<Duration> {
        let left = current.opened + self.settings.leg_cap.checked_sub(BREAK_BEFORE)?;
        let Some(speed) = self.settings.replay_speed else {
            return Some(left);
        };
        let speed = speed.max(CATCHING_UP);
        let first = self.first_audio?.as_secs_f64();
        let latest = ((speed - 1.0) * left.as_secs_f64() + first) / speed;
        let latest = Duration::try_from_secs_f64(latest).ok()?;
        (latest >= current.opened).then_some(latest)
    }

    /// The leg that [`Step::Open`] asked for is up. Returns its number. A leg that is no longer
    /// wanted gets [`super::SendStep::Stop`] at once.
    pub fn leg_opened(&mut self, now: Duration) -> LegId {
        self.notices.at(now);
        let id = LegId(self.opened);
        self.opened += 1;
        self.stats.legs += 1;
        self.shares.opened(self.opening_at);
        self.forget_ended();
        // The audio may have outgrown the journal while the standby was being opened.
        let is_standby = matches!(self.state.phase(), Phase::Live(Standby::Opening { .. }));
        let event = if is_standby && self.handover() == Handover::Never {
            Event::Dismissed
        } else {
            Event::Opened
        };
        let role = match self.state.apply(&event) {
            Ok(Phase::Live(Standby::Ready { .. })) => Role::Standby { replays: false },
            Ok(_) if !is_standby => Role::Current,
            // It is too late, or was not asked for.
            Ok(_) | Err(_) => Role::Ended(LastStep::Stop),
        };
        // A session mostly has one leg, and a leg is large.
        self.legs.reserve_exact(1);
        self.round.opened(self.opening_at);
        self.failed_at = self.opening_at;
        self.legs.push(Leg::new(
            id,
            self.opening_at,
            now,
            role,
            self.journal.cursor(self.journal.acked()),
        ));
        let index = self.legs.len() - 1;
        match role {
            Role::Current => self.begin(now, index, true),
            Role::Standby { .. } => self.stand_by(now, index),
            Role::Retiring { .. } | Role::Ended(_) => {
                let meant = if is_standby {
                    Role::Standby { replays: false }
                } else {
                    Role::Current
                };
                self.notices.closed(&self.legs[index], meant);
            }
        }
        id
    }

    /// Starts a standby.
    fn stand_by(&mut self, now: Duration, index: usize) {
        self.legs[index]
            .head
            .extend(self.product.standby_keepalive());
        if self.nothing_unacked() {
            self.take_over(now);
        } else if self.handover() == Handover::Replay {
            let number = self.legs[index].id.number();
            let pace = self.replay_pace(now);
            if let Some(start) = self.product.begin_replay(number, &self.journal)
                && self.leg_moves(now, index, RoleEvent::Replays)
            {
                let leg = &mut self.legs[index];
                leg.view = start.view;
                leg.cursor = start.cursor;
                leg.head.extend(start.head);
                leg.pace = pace;
            }
        }
    }

    /// Stops the standby.
    pub(super) fn dismiss_standby(&mut self, now: Duration) {
        if let Some(index) = self.standby() {
            let was = self.legs[index].role();
            if self.leg_moves(now, index, RoleEvent::Ended(LastStep::Stop)) {
                self.notices.closed(&self.legs[index], was);
            }
            self.moves(now, &Event::Dismissed);
        }
    }

    fn forget_ended(&mut self) {
        while self.legs.len() >= MAX_ENDED
            && let Some(index) = self
                .legs
                .iter()
                .position(|leg| matches!(leg.role(), Role::Ended(_)))
        {
            self.legs.remove(index);
        }
    }

    /// The leg that [`Step::Open`] asked for could not be opened. Returns what follows.
    pub fn open_failed(&mut self, now: Duration, reason: Reason) -> AfterOpenFailure {
        self.notices.at(now);
        let after = match *self.state.phase() {
            Phase::Opening => match self.endpoint_failed(now, self.opening_at, reason) {
                Verdict::Retry(after) => Some(after),
                Verdict::GiveUp => {
                    self.fail(now, FailureCause::Open(reason));
                    None
                }
            },
            // The current leg works, so nothing is lost by trying for as long as it does.
            Phase::Live(Standby::Opening { failures }) => {
                Some(match self.round.failed(self.opening_at, reason) {
                    Next::Elsewhere => Duration::ZERO,
                    Next::Again { .. } | Next::Nowhere => {
                        self.round.progress();
                        self.standby_delay(failures)
                    }
                })
            }
            Phase::Live(Standby::None | Standby::Waiting { .. } | Standby::Ready { .. })
            | Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Dormant { .. }
            | Phase::Finished
            | Phase::Failed(_) => None,
        };
        if let Some(after) = after
            && self.moves(now, &Event::OpenFailed { again: now + after })
        {
            return AfterOpenFailure::Retry { after };
        }
        AfterOpenFailure::GiveUp {
            attempts: self.attempts.failures(),
            elapsed: self.attempts.elapsed(now),
            unacked_seconds: self.product.unacked_seconds(&self.journal),
        }
    }

    /// Returns how each endpoint stands, for the driver's choice.
    pub fn endpoints(&self) -> impl Iterator<Item = Mark> {
        self.round.marks()
    }

    /// Returns whether the session has no leg until the one that is being opened is up. A standby
    /// becomes that one when the current leg ends first.
    #[must_use]
    pub const fn needs_leg(&self) -> bool {
        matches!(self.state.phase(), Phase::Opening)
    }

    /// The driver opens the leg that [`Step::Open`] asked for at this endpoint.
    pub fn opening_at(&mut self, endpoint: usize) {
        self.opening_at = endpoint;
        let falls_over = self.round.marks().any(|mark| mark != Mark::Untried);
        self.shares.asked(endpoint, falls_over);
    }

    /// The driver would rather end the round than open the leg that [`Step::Open`] asked for,
    /// because what is left to try is worse than what has failed. Returns whether it may; without
    /// another retry the rest has to be tried now.
    pub fn end_round(&mut self, now: Duration) -> bool {
        let after = match *self.state.phase() {
            Phase::Opening => {
                let (schedule, patience) = (self.schedule(), self.patience());
                let (limit, random) = (self.round.limit(), self.random.unit());
                let mut attempts = self.attempts;
                let Verdict::Retry(after) =
                    attempts.round(now, &schedule, &patience, limit, random)
                else {
                    return false;
                };
                self.attempts = attempts;
                self.round.close();
                after
            }
            Phase::Live(Standby::Opening { failures }) => {
                self.round.progress();
                self.standby_delay(failures)
            }
            Phase::Live(Standby::None | Standby::Waiting { .. } | Standby::Ready { .. })
            | Phase::Idle
            | Phase::Waiting { .. }
            | Phase::Dormant { .. }
            | Phase::Finished
            | Phase::Failed(_) => return false,
        };
        self.postponed(now, after);
        true
    }

    /// The driver would rather open the standby later, because the endpoint takes few legs just
    /// now. Returns whether it may.
    pub fn postpone(&mut self, now: Duration, by: Duration) -> bool {
        // A replay that begins later may not catch up.
        let waits = matches!(self.state.phase(), Phase::Live(Standby::Opening { .. }))
            && self.handover() == Handover::Cut;
        if waits {
            self.postponed(now, by);
        }
        waits
    }

    fn postponed(&mut self, now: Duration, by: Duration) {
        // No leg was requested.
        self.stats.attempts -= 1;
        self.moves(now, &Event::Postponed { again: now + by });
    }

    /// Returns the delay before the next standby, after one more failure than these.
    fn standby_delay(&mut self, failures: u32) -> Duration {
        let random = self.random.unit();
        self.schedule().delay(failures.saturating_add(1), random)
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            initial: self.settings.initial_backoff,
            max: self.settings.max_backoff,
            multiplier: self.settings.backoff_multiplier,
        }
    }

    const fn patience(&self) -> Patience {
        Patience {
            max_retries: self.settings.max_retries,
            budget: self.settings.retry_budget,
        }
    }

    /// Counts the failure of an endpoint, and returns what follows.
    fn endpoint_failed(&mut self, now: Duration, endpoint: usize, reason: Reason) -> Verdict {
        self.failed_at = endpoint;
        match self.round.failed(endpoint, reason) {
            Next::Elsewhere => self.attempts.moved(now, &self.patience()),
            Next::Again { limit } => self.count_failure(now, limit),
            Next::Nowhere => self.count_failure(now, Some(0)),
        }
    }

    fn count_failure(&mut self, now: Duration, limit: Option<u32>) -> Verdict {
        let patience = self.patience();
        let random = self.random.unit();
        self.attempts
            .failure(now, &self.schedule(), &patience, limit, random)
    }

    /// Makes a leg the current one, from where everything is finalised.
    fn begin(&mut self, now: Duration, index: usize, paced: bool) {
        let replayed = self.legs[index].role() == Role::Standby { replays: true };
        if !self.leg_moves(now, index, RoleEvent::Began) {
            return;
        }
        self.last_words.clear();
        let number = self.legs[index].id.number();
        let start = self.product.begin_leg(number, &mut self.journal);
        if let Some(gap) = start.gap {
            let seconds = as_seconds(gap.end - gap.start);
            let end = start.cursor.byte();
            if self.journal.acked() >= self.gap.end {
                self.gap.start = end.saturating_sub(gap.bytes);
            }
            self.gap.end = end;
            self.stats.bytes_lost += gap.bytes;
            self.stats.seconds_lost += seconds;
            self.notices.say(Notice::Gap {
                start_seconds: as_seconds(gap.start),
                seconds,
                bytes: gap.bytes,
            });
        }
        // What was lost was lost where the session was.
        let endpoint = self.legs[index].endpoint;
        if self.shares.leaves_for(endpoint) {
            self.shares.move_to(endpoint, self.stats());
        }
        let pace = self.replay_pace(now).filter(|_| paced && number > 0);
        let age = self.settings.max_leg_age;
        // ±10 % a leg, so that a burst of sessions does not roll over at once.
        let spread = 0.9 + 0.2 * self.random.unit();
        let leg = &mut self.legs[index];
        let overheard = leg.view.take_overheard();
        leg.view = start.view;
        // One that replays goes on from where it is.
        if !replayed {
            leg.cursor = start.cursor;
            leg.head.clear();
        }
        leg.head.extend(start.head);
        leg.pace = pace;
        leg.receives(now);
        leg.rollover_at = age.map(|age| leg.opened + age.mul_f64(spread));
        let leg_starts = leg.cursor.byte();
        let idle = self.journal.peek(&leg.cursor).is_none();
        let alive = self.sender.keeps_alive || self.settings.keepalive_interval.is_some();
        if number > 0 && idle && alive {
            leg.head.extend(self.product.keepalive());
        }
        if number > 0 {
            // A leg that has replayed everything began at the first byte.
            let from = if replayed { 0 } else { leg_starts };
            let bytes = self.journal.sent().saturating_sub(from);
            let again = !self.said.resumed.first();
            self.notices.say(Notice::Resumed {
                leg: LegId(number),
                seconds: self.seconds_of(bytes),
                bytes,
                again,
            });
        }
        if std::mem::take(&mut self.reports.left_old) {
            self.rolled_over(index);
        }
        for frame in overheard {
            self.receive_current(now, index, &frame);
        }
    }

    /// Returns how fast a backlog goes out; `None`: without a limit.
    fn replay_pace(&self, now: Duration) -> Option<Pace> {
        let times = self.settings.replay_speed?;
        let first = self.first_audio?;
        let took = self.last_audio.saturating_sub(first).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a pace is no count")]
        let pushed = self.journal.end() as f64;
        // Audio that came all at once may go all at once: the quotient is infinite.
        let own = pushed / took;
        #[expect(clippy::cast_precision_loss, reason = "a pace is no count")]
        let rate = match self.product.audio()?.layout() {
            Some(layout) => (times * layout.byte_rate() as f64).max(CATCHING_UP * own),
            None => times.max(CATCHING_UP) * own,
        };
        (rate.is_finite() && rate > 0.0).then(|| Pace::new(now, rate))
    }

    /// Takes a message that arrived on a leg.
    pub fn receive(&mut self, now: Duration, leg: LegId, frame: Frame) {
        self.notices.at(now);
        let Some(index) = self.find(leg).filter(|_| !self.state.is_over()) else {
            return;
        };
        self.legs[index].receives(now);
        self.legs[index].has_answered = true;
        match self.legs[index].role() {
            Role::Current => self.receive_current(now, index, &frame),
            Role::Standby { replays: true } => self.receive_replaying(now, index, &frame),
            // It was sent no input yet. If no earlier leg has sent its greeting, the application
            // gets it when this leg takes over.
            Role::Standby { replays: false } => {
                if self.product.greets(&frame) {
                    self.legs[index].view.overhear(0, 0, frame);
                }
            }
            // Another leg is current.
            Role::Retiring { .. } | Role::Ended(_) => {}
        }
    }

    /// Takes a message of a standby that replays. The standby takes over once it has said
    /// everything that the application has read.
    fn receive_replaying(&mut self, now: Duration, index: usize, frame: &Frame) {
        let leg = &mut self.legs[index];
        if !self.product.overhear(&mut leg.view, frame) {
            return;
        }
        self.take_over(now);
        if self.legs[index].role() == Role::Current {
            self.receive_current(now, index, frame);
        } else {
            // The session is closing: the standby's messages came too late.
            self.dismiss_standby(now);
        }
    }

    /// Takes a message of the current leg.
    fn receive_current(&mut self, now: Duration, index: usize, frame: &Frame) {
        self.complain_if_alive(index, frame);
        let leg = &mut self.legs[index];
        leg.view.was_sent(leg.cursor.byte());
        let effect = self.product.receive(Incoming::new(
            &mut leg.view,
            &mut self.journal,
            frame,
            &mut self.inbox,
        ));
        leg.head.extend(leg.view.take_replies());
        if effect.called_again {
            self.notices.say(Notice::CalledAgain { leg: leg.id });
        }
        self.complain_overflow(index);
        if effect.result
            && self.stats.time_to_first_result.is_none()
            && let Some(first) = self.first_audio
        {
            let took = now.saturating_sub(first);
            self.stats.time_to_first_result = Some(took);
            self.notices.say(Notice::FirstResult {
                seconds: took.as_secs_f64(),
            });
        }
        if effect.advanced {
            self.legs[index].progressed = true;
            self.attempts.progress();
            self.round.progress();
            self.suspicion.clear();
        }
        if let Some(beyond) = effect.beyond
            && self.said.beyond.first()
        {
            self.notices.say(Notice::Beyond {
                claimed_seconds: as_seconds(beyond.claimed),
                sent_seconds: as_seconds(beyond.sent),
            });
        }
        if let Some(join) = effect.joined {
            self.notices.say(Notice::Joined {
                at_seconds: as_seconds(join.at),
                moved_seconds: as_seconds(join.moved),
            });
        }
        if !self.wants_messages() {
            self.blocked = true;
            if !std::mem::replace(&mut self.reports.unread, true) {
                self.notices.say(Notice::Unread {
                    bytes: self.inbox.bytes(),
                    again: !self.said.unread.first(),
                });
            }
        } else if self.inbox.bytes() <= self.settings.max_unread_bytes / 2 {
            self.reports.unread = false;
        }
        if effect.delivered_final && self.state.has_standby() && self.handover() == Handover::Cut {
            self.take_over(now);
        }
    }

    /// The service is going to close the leg's connection, and the stream still works. Another leg
    /// is opened meanwhile.
    pub fn leg_going_away(&mut self, now: Duration, leg: LegId) {
        let Some(index) = self.find(leg) else { return };
        let leg = &self.legs[index];
        let hasty = !leg.progressed && now.saturating_sub(leg.opened) < SETTLED;
        self.hasty = if hasty {
            self.hasty.saturating_add(1)
        } else {
            0
        };
        // If every connection goes away at once, the next one is no better.
        let after = match self.hasty {
            0 | 1 => Duration::ZERO,
            again => self.schedule().delay(again - 1, self.random.unit()),
        };
        let (leg, due) = (&mut self.legs[index], now + after);
        leg.rollover_at = Some(leg.rollover_at.map_or(due, |at| at.min(due)));
    }

    /// Lets the standby go on where the current leg's last final ended. The old leg retires. The
    /// backlog is small and is not paced.
    pub(super) fn take_over(&mut self, now: Duration) {
        let Some(next) = self.standby() else {
            return;
        };
        if self.state.is_closing() {
            // The session ends soon, over the old leg.
            return;
        }
        if !self.moves(now, &Event::TookOver) {
            return;
        }
        self.retire_current(now);
        self.begin(now, next, false);
        self.rolled_over(next);
    }

    /// Counts and reports that a leg has taken over from an old one.
    fn rolled_over(&mut self, index: usize) {
        self.stats.rollovers += 1;
        self.shares.of(self.legs[index].endpoint).rollovers += 1;
        self.notices.say(Notice::RolledOver {
            leg: self.legs[index].id,
        });
    }

    fn retire_current(&mut self, now: Duration) {
        if let Some(index) = self.current() {
            self.complain_held(index);
            let by = now + RETIREMENT;
            if !self.leg_moves(now, index, RoleEvent::Retired { by }) {
                return;
            }
            let leg = &mut self.legs[index];
            leg.head.clear();
            leg.head.extend(self.product.closing());
        }
        self.journal.settle_keepalives();
    }

    /// Returns when the current leg is left, with or without a standby, because the service would
    /// end it soon.
    pub(super) fn break_at(&self) -> Option<Duration> {
        self.settings.max_leg_age?;
        let leg = &self.legs[self.current()?];
        let rolls = match self.handover() {
            Handover::Cut => !self.state.is_closing(),
            // Without a standby the next leg would first replay everything. The current one
            // delivers more for as long as it lasts.
            Handover::Replay => !self.state.is_closing() && self.state.has_standby(),
            Handover::Never => false,
        };
        let margin = self.settings.leg_cap.checked_sub(BREAK_BEFORE)?;
        leg.rollover_at
            .filter(|_| rolls)
            .map(|due| due.max(leg.opened + margin))
    }

    /// Leaves a leg that the service is about to end.
    pub(super) fn break_before_make(&mut self, now: Duration) {
        if self.state.has_standby() {
            self.take_over(now);
            return;
        }
        self.retire_current(now);
        self.reports.left_old = true;
        self.moves(now, &Event::Lost { again: now });
    }

    /// A leg ended, as its pump reports. The pump polls it once more to learn how to end its input.
    pub fn leg_ended(&mut self, now: Duration, leg: LegId, end: LegEnd) {
        self.notices.at(now);
        let Some(index) = self.find(leg) else { return };
        let leg = &mut self.legs[index];
        let was = leg.role();
        let last = if end == LegEnd::Clean && !leg.input_ended {
            LastStep::End
        } else {
            LastStep::Stop
        };
        if leg.apply(RoleEvent::Ended(last)).is_err() {
            // It had ended before.
            return;
        }
        match was {
            Role::Current if !self.state.is_over() => self.current_ended(now, index, end),
            Role::Standby { replays } => {
                self.report_end(now, index, was, &end, None);
                self.standby_ended(now, index, replays);
            }
            Role::Retiring { .. } => self.report_end(now, index, was, &end, None),
            Role::Current | Role::Ended(_) => {}
        }
    }

    /// Reports how a leg ended that the session does not wait for, or that has failed.
    fn report_end(
        &mut self,
        now: Duration,
        index: usize,
        was: Role,
        end: &LegEnd,
        again: Option<Again>,
    ) {
        let context = EndContext {
            silent: self.is_silent(now),
            closing: self.state.is_closing(),
        };
        // Another leg has taken over: nothing was missing.
        let is_done = matches!(was, Role::Retiring { .. }) && in_order(end);
        let reason = (!is_done).then(|| reason_of(end, context));
        self.notices
            .ended(&self.legs[index], was, Some(end), reason, again);
    }

    /// Reports that the current leg ended with nothing missing.
    fn report_done(&mut self, index: usize, end: &LegEnd) {
        self.notices
            .ended(&self.legs[index], Role::Current, Some(end), None, None);
    }

    /// The standby ended before it took over. Another one is opened later.
    fn standby_ended(&mut self, now: Duration, index: usize, replays: bool) {
        // The service closes an idle standby now and then, which is no failure. One that replays is
        // not opened again at once.
        let leg = &self.legs[index];
        let lasted = now.saturating_sub(leg.opened) >= SETTLED;
        let failures = match self.state.standby() {
            Standby::Ready { failures } if !lasted || replays => failures,
            Standby::Ready { .. }
            | Standby::None
            | Standby::Opening { .. }
            | Standby::Waiting { .. } => 0,
        };
        let again = now + self.standby_delay(failures);
        self.moves(now, &Event::StandbyEnded { again, failures });
    }

    /// The current leg has ended. Decides what follows.
    pub(super) fn current_ended(&mut self, now: Duration, index: usize, end: LegEnd) {
        self.journal.settle_keepalives();
        let confirmed =
            in_order(&end) && self.product.confirms(&self.legs[index].view, &self.journal);
        let leg = &self.legs[index];
        let view = &leg.view;
        let single = self.product.is_single();
        let answered = self.product.answered(view, &self.journal);
        let asked = view.close_sent() || leg.input_ended;
        let nothing_unacked = self.nothing_unacked();
        let lasted = now.saturating_sub(leg.opened) >= SETTLED;
        let circumstances = Circumstances {
            answered: if in_order(&end) {
                answered
                    || confirmed
                    || (asked && self.product.end_answers(view, &self.journal))
                    || (self.state.is_closing() && self.asks_nothing())
                    // If the messages are not understood, a leg that took everything and answered
                    // is complete.
                    || (single && leg.has_answered && self.journal.unsent() == 0)
            } else {
                answered && self.product.said_everything(&self.journal)
            },
            // If the closing message was not sent, it is missing itself.
            unacked: single || self.state.is_closing() || !nothing_unacked,
            progressed: leg.progressed || (lasted && nothing_unacked),
            silent: self.is_silent(now),
            renewable: self.attempts.may_renew(),
        };
        let ending = classify(&end, circumstances);
        let excused = self.suspicion.excused;
        let ending = self.without_message(index, &end, ending);
        // A message was at fault, and no endpoint.
        let excused = self.suspicion.excused > excused;
        let context = EndContext {
            silent: circumstances.silent,
            closing: self.state.is_closing(),
        };
        let reason = reason_of(&end, context);
        if ending != Ending::Finished && ending != Ending::Dormant {
            self.stats.last_error = Some(end.to_string());
        }
        match ending {
            Ending::Finished => {
                self.report_done(index, &end);
                self.deliver_held(index);
                self.conclude();
            }
            Ending::Dormant => {
                self.report_done(index, &end);
                self.deliver_held(index);
                self.go_dormant(now);
            }
            Ending::Terminal if self.may_move(reason) => {
                self.reset(now, index, end, verdict(reason).limit(), Some(reason));
            }
            Ending::Terminal => {
                self.round.failed(self.legs[index].endpoint, reason);
                self.leg_failed(now, index, FailureCause::Leg(end));
            }
            Ending::Reset { limit } => {
                self.reset(now, index, end, limit, (!excused).then_some(reason));
            }
            Ending::Renewal => self.renewed(now, index, end),
        }
    }

    pub(super) fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.sender.latest) >= SILENT_APPLICATION && self.journal.unsent() == 0
    }

    fn go_dormant(&mut self, now: Duration) {
        let event = if self.journal.unsent() > 0 {
            Event::Lost { again: now }
        } else {
            Event::Completed { since: now }
        };
        self.moves(now, &event);
        self.promote(now, false);
    }

    /// Returns whether another endpoint may take the session after a failure that would be the
    /// same again.
    fn may_move(&self, reason: Reason) -> bool {
        self.round.has_choice()
            && whose(reason) != Whose::Everywhere
            && !self.outgrown
            && self.product.is_resumable(&self.journal)
    }

    /// Goes on over another leg, if there may be one. `reason`: why the leg's endpoint failed;
    /// `None`: it did not, and is used again.
    fn reset(
        &mut self,
        now: Duration,
        index: usize,
        end: LegEnd,
        limit: Option<u32>,
        reason: Option<Reason>,
    ) {
        if self.outgrown || !self.product.is_resumable(&self.journal) {
            self.leg_failed(now, index, FailureCause::NotResumable(end));
            return;
        }
        let verdict = match reason {
            Some(reason) => self.endpoint_failed(now, self.legs[index].endpoint, reason),
            None => self.count_failure(now, limit),
        };
        self.count_suspects(index);
        let Verdict::Retry(after) = verdict else {
            if self.state.is_closing() && self.inbox.pushed() > 0 && self.misses_nothing() {
                // Only a last message is missing, such as Metadata.
                self.report_end(now, index, Role::Current, &end, None);
                self.deliver_held(index);
                self.conclude();
            } else {
                self.leg_failed(now, index, FailureCause::Leg(end));
            }
            return;
        };
        if self
            .attempts
            .is_last_retry(self.settings.max_retries, limit)
        {
            self.drop_suspects_before_last_retry(index);
        }
        self.go_on_after(now, index, &end, after);
    }

    /// The keys ran out in mid-stream, which is no failure of the service. Another leg follows at
    /// once with fresh keys. The next such end without progress is terminal.
    fn renewed(&mut self, now: Duration, index: usize, end: LegEnd) {
        if self.outgrown || !self.product.is_resumable(&self.journal) {
            self.leg_failed(now, index, FailureCause::NotResumable(end));
            return;
        }
        // A standby was opened with the old keys. If it takes over and is refused as well, fresh
        // keys are still to be tried.
        self.attempts.expire();
        self.go_on_after(now, index, &end, Duration::ZERO);
    }

    /// Reports a leg's end, and goes on over another leg.
    fn go_on_after(&mut self, now: Duration, index: usize, end: &LegEnd, after: Duration) {
        self.last_words = self.legs[index].view.take_held();
        *self.stats.resets.entry(end.kind()).or_default() += 1;
        let share = self.shares.of(self.legs[index].endpoint);
        *share.resets.entry(end.kind()).or_default() += 1;
        let again = Again {
            attempts: self.attempts.failures(),
            unacked_seconds: self.product.unacked_seconds(&self.journal),
        };
        self.report_end(now, index, Role::Current, end, Some(again));
        self.moves(now, &Event::Lost { again: now + after });
        self.promote(now, true);
    }

    /// Goes on over the standby, if it has become the current leg.
    fn promote(&mut self, now: Duration, paced: bool) {
        if !matches!(self.state.phase(), Phase::Live(_)) {
            return;
        }
        match self.standby() {
            Some(next) => self.begin(now, next, paced),
            None => _ = self.moves(now, &Event::Lost { again: now }),
        }
    }

    fn leg_failed(&mut self, now: Duration, index: usize, cause: FailureCause) {
        self.failed_at = self.legs[index].endpoint;
        if let FailureCause::Leg(end) | FailureCause::NotResumable(end) = &cause {
            self.report_end(now, index, Role::Current, end, None);
        }
        self.deliver_held(index);
        self.fail(now, cause);
    }
}
