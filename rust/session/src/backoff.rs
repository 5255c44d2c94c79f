//! When to try again, and when to give up.
//!
//! Delays have full jitter: they are drawn uniformly between zero and an upper end that grows with
//! each failure, so that streams that failed together do not come back together. Failures are
//! counted in a row, and progress resets the count.

use std::time::Duration;

/// How delays grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The upper end of the first delay.
    pub initial: Duration,
    /// The upper end of any delay.
    pub max: Duration,
    /// The factor by which the upper end grows from one delay to the next.
    pub multiplier: f64,
}

impl Schedule {
    /// Returns the upper end of the delay after this many failures in a row, from 1.
    #[must_use]
    pub fn upper_end(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        // A power out of range is not finite.
        if seconds.is_finite() && seconds < self.max.as_secs_f64() {
            Duration::from_secs_f64(seconds.max(0.0))
        } else {
            self.max
        }
    }

    /// Returns the delay after this many failures in a row. `random` lies in `0.0..1.0`.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> Duration {
        self.upper_end(failures).mul_f64(random.clamp(0.0, 1.0))
    }
}

/// How many failures in a row are retried, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How many failures are retried.
    pub max_retries: u32,
    /// How long they may go on, from the first.
    pub budget: Duration,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this time.
    Retry(Duration),
    /// Give up.
    GiveUp,
}

/// Failures in a row.
///
/// ```text
///                 failure                failure (retries or budget used up)
///   no failure ───────────▶ failures: n ─────────────────────────────────────▶ give up
///        ▲                       │  ▲│ failure
///        └───────────────────────┘  └┘
///                progress
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    failures: u32,
    /// Failures that were followed by a delay: where there is a choice of endpoints, each is tried
    /// once before.
    rounds: u32,
    /// Rounds of the kinds that are retried less often.
    limited: u32,
    first: Option<Duration>,
    keys: Keys,
}

/// The keys that legs are opened with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keys {
    /// They work, as far as is known.
    #[default]
    Good,
    /// They ran out. The next leg is opened with fresh ones.
    Expired,
    /// They are fresh, and there was no progress since.
    Fresh,
}

impl Attempts {
    /// Resets the count, after progress. Keys that ran out are still replaced.
    pub fn progress(&mut self) {
        let keys = match self.keys {
            Keys::Good | Keys::Fresh => Keys::Good,
            Keys::Expired => Keys::Expired,
        };
        *self = Self {
            keys,
            ..Self::default()
        };
    }

    /// Counts a failure and returns what follows. A kind of failure that is retried less often has
    /// a `limit` of its own. `random` lies in `0.0..1.0`.
    pub fn failure(
        &mut self,
        now: Duration,
        schedule: &Schedule,
        patience: &Patience,
        limit: Option<u32>,
        random: f64,
    ) -> Verdict {
        self.count(now);
        self.round(now, schedule, patience, limit, random)
    }

    /// Counts a failure after which another endpoint is tried. Within the budget that is at once,
    /// and no retry.
    pub fn moved(&mut self, now: Duration, patience: &Patience) -> Verdict {
        self.count(now);
        if self.left(now, patience).is_zero() {
            return Verdict::GiveUp;
        }
        Verdict::Retry(Duration::ZERO)
    }

    /// Ends a round of failures that are counted already, and returns what follows, as
    /// [`Attempts::failure`] does.
    pub fn round(
        &mut self,
        now: Duration,
        schedule: &Schedule,
        patience: &Patience,
        limit: Option<u32>,
        random: f64,
    ) -> Verdict {
        self.rounds = self.rounds.saturating_add(1);
        self.limited += u32::from(limit.is_some());
        let left = self.left(now, patience);
        let too_often = limit.is_some_and(|limit| self.limited > limit);
        if too_often || self.rounds > patience.max_retries || left.is_zero() {
            return Verdict::GiveUp;
        }
        // The last retry comes at the end of the budget, not after it.
        Verdict::Retry(schedule.delay(self.rounds, random).min(left))
    }

    fn count(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.first.get_or_insert(now);
    }

    /// Returns what is left of the budget.
    fn left(&self, now: Duration, patience: &Patience) -> Duration {
        patience.budget.saturating_sub(self.elapsed(now))
    }

    /// Returns whether another round with this limit would be the last, however soon it comes.
    #[must_use]
    pub fn is_last_retry(&self, max_retries: u32, limit: Option<u32>) -> bool {
        self.rounds >= max_retries || limit.is_some_and(|limit| self.limited >= limit)
    }

    /// Returns whether keys that run out may be replaced: once without progress.
    #[must_use]
    pub const fn may_renew(&self) -> bool {
        match self.keys {
            Keys::Good | Keys::Expired => true,
            Keys::Fresh => false,
        }
    }

    /// Notes that the keys ran out. Fresh keys are not replaced again without progress.
    pub const fn expire(&mut self) {
        self.keys = match self.keys {
            Keys::Good | Keys::Expired => Keys::Expired,
            Keys::Fresh => Keys::Fresh,
        };
    }

    /// Notes that a leg is opened. Returns whether it gets fresh keys, because the old ones ran
    /// out.
    pub const fn renew(&mut self) -> bool {
        let expired = matches!(self.keys, Keys::Expired);
        if expired {
            self.keys = Keys::Fresh;
        }
        expired
    }

    /// Returns the number of failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns the time since the first of them.
    #[must_use]
    pub fn elapsed(&self, now: Duration) -> Duration {
        self.first
            .map_or(Duration::ZERO, |first| now.saturating_sub(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(5),
        multiplier: 2.0,
    };
    const PATIENCE: Patience = Patience {
        max_retries: 3,
        budget: Duration::from_secs(30),
    };

    #[test]
    fn the_upper_end_doubles_up_to_the_maximum() {
        let ends: Vec<u128> = (1..=8)
            .map(|failures| SCHEDULE.upper_end(failures).as_millis())
            .collect();
        assert_eq!(ends, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(SCHEDULE.upper_end(u32::MAX), SCHEDULE.max);
        assert_eq!(SCHEDULE.upper_end(0), SCHEDULE.initial);
    }

    #[test]
    fn the_delay_is_a_share_of_the_upper_end() {
        assert_eq!(SCHEDULE.delay(3, 0.0), Duration::ZERO);
        assert_eq!(SCHEDULE.delay(3, 0.5), Duration::from_millis(200));
        assert_eq!(SCHEDULE.delay(3, 7.0), Duration::from_millis(400));
    }

    #[test]
    fn retries_are_counted_in_a_row() {
        let mut attempts = Attempts::default();
        let fail = |attempts: &mut Attempts, second| {
            attempts.failure(Duration::from_secs(second), &SCHEDULE, &PATIENCE, None, 0.0)
        };
        for second in 1..=3 {
            assert_eq!(fail(&mut attempts, second), Verdict::Retry(Duration::ZERO));
        }
        assert_eq!(fail(&mut attempts, 4), Verdict::GiveUp);
        assert_eq!(
            attempts.elapsed(Duration::from_secs(4)),
            Duration::from_secs(3)
        );
        attempts.progress();
        assert_eq!(fail(&mut attempts, 5), Verdict::Retry(Duration::ZERO));
    }

    #[test]
    fn trying_another_endpoint_is_no_retry() {
        let mut attempts = Attempts::default();
        let second = Duration::from_secs;
        for round in 1..=3 {
            let moved = attempts.moved(second(round), &PATIENCE);
            assert_eq!(moved, Verdict::Retry(Duration::ZERO));
            let verdict = attempts.failure(second(round), &SCHEDULE, &PATIENCE, None, 1.0);
            let delay = SCHEDULE.upper_end(u32::try_from(round).unwrap());
            assert_eq!(verdict, Verdict::Retry(delay));
            assert_eq!(
                u64::from(attempts.failures()),
                2 * round,
                "each counts as one"
            );
        }
        assert_eq!(
            attempts.moved(second(4), &PATIENCE),
            Verdict::Retry(Duration::ZERO)
        );
        let verdict = attempts.round(second(4), &SCHEDULE, &PATIENCE, None, 1.0);
        assert_eq!(verdict, Verdict::GiveUp);
        assert_eq!(attempts.failures(), 7, "a round is no failure of its own");
        let late = attempts.moved(second(31), &PATIENCE);
        assert_eq!(
            late,
            Verdict::GiveUp,
            "the budget counts from the first failure"
        );
    }

    #[test]
    fn keys_that_ran_out_are_replaced_once_without_progress() {
        let mut attempts = Attempts::default();
        assert!(attempts.may_renew() && !attempts.renew());
        attempts.expire();
        assert!(attempts.may_renew());
        attempts.progress();
        assert!(attempts.renew(), "progress over old keys replaces none");
        assert!(!attempts.may_renew() && !attempts.renew());
        attempts.expire();
        assert!(!attempts.renew(), "they are fresh");
        attempts.progress();
        assert!(attempts.may_renew() && !attempts.renew());
    }

    #[test]
    fn without_retries_the_first_failure_is_the_last() {
        let patience = Patience {
            max_retries: 0,
            ..PATIENCE
        };
        let verdict = Attempts::default().failure(Duration::ZERO, &SCHEDULE, &patience, None, 0.5);
        assert_eq!(verdict, Verdict::GiveUp);
    }

    #[test]
    fn a_kind_may_be_retried_less_often() {
        let patience = Patience {
            max_retries: 5,
            ..PATIENCE
        };
        let mut attempts = Attempts::default();
        for _ in 0..2 {
            attempts.failure(Duration::ZERO, &SCHEDULE, &patience, None, 0.0);
        }
        for _ in 0..2 {
            let verdict = attempts.failure(Duration::ZERO, &SCHEDULE, &patience, Some(2), 0.0);
            assert_eq!(verdict, Verdict::Retry(Duration::ZERO));
        }
        let verdict = attempts.failure(Duration::ZERO, &SCHEDULE, &patience, Some(2), 0.0);
        assert_eq!(verdict, Verdict::GiveUp);
    }

    #[test]
    fn the_last_try_comes_at_the_end_of_the_budget() {
        let patience = Patience {
            max_retries: 100,
            budget: Duration::from_secs(5),
        };
        let mut attempts = Attempts::default();
        attempts.failure(Duration::ZERO, &SCHEDULE, &patience, None, 0.0);
        let late = Duration::from_millis(4900);
        for _ in 0..6 {
            attempts.failure(late, &SCHEDULE, &patience, None, 0.0);
        }
        let verdict = attempts.failure(late, &SCHEDULE, &patience, None, 1.0);
        assert_eq!(verdict, Verdict::Retry(Duration::from_millis(100)));
        let verdict = attempts.failure(Duration::from_secs(5), &SCHEDULE, &patience, None, 1.0);
        assert_eq!(verdict, Verdict::GiveUp);
    }
}
