//! Which of its endpoints a session tries next, after failures.
//!
//! A *round* tries each endpoint once. Between endpoints there is no delay; between rounds there is
//! one, and the settings limit rounds.
//!
//! ```text
//!   mark, of each endpoint
//!
//!             a failure that may pass          the round is over
//!     Untried ───────────────────────▶ Failed ───────────────────▶ Untried
//!        │    one that would be the same again
//!        ├───────────────────────────────────▶ Barred
//!        ▲                                        │
//!        └────────────────────────────────────────┘
//!               progress: the same from any
//! ```
//!
//! With one endpoint every failure ends a round.

use dgsm_leg::reason::{Reason, Verdict, Whose, verdict, whose};

/// How an endpoint stands in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// It can be tried.
    #[default]
    Untried,
    /// It failed in this round.
    Failed,
    /// It failed since the last progress in a way that would be the same again.
    Barred,
}

impl Mark {
    /// Returns its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untried => "untried",
            Self::Failed => "failed",
            Self::Barred => "barred",
        }
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another endpoint is tried at once.
    Elsewhere,
    /// The round is over. The next one follows, at most `limit` times without progress.
    Again { limit: Option<u32> },
    /// No endpoint would take another leg.
    Nowhere,
}

#[derive(Clone, Debug, Default)]
struct Endpoint {
    mark: Mark,
    /// Endpoints with the same number are called with the same keys.
    keys: u32,
    /// It has taken a leg of this session, so its keys are good.
    is_proven: bool,
    /// Why it failed last since the last progress.
    reason: Option<Reason>,
}

/// A session's endpoints.
#[derive(Clone, Debug)]
pub(super) struct Round {
    endpoints: Vec<Endpoint>,
    /// How often what failed in this round is retried; `None`: nothing has failed.
    patience: Option<Verdict>,
}

impl Round {
    /// Creates the first round. Each endpoint has the number of its keys. There is at least one.
    pub(super) fn new(keys: &[u32]) -> Self {
        let endpoints = keys.iter().map(|keys| Endpoint {
            keys: *keys,
            ..Endpoint::default()
        });
        let mut endpoints: Vec<_> = endpoints.collect();
        if endpoints.is_empty() {
            endpoints.push(Endpoint::default());
        }
        Self {
            endpoints,
            patience: None,
        }
    }

    /// Returns whether there is a choice at all.
    pub(super) const fn has_choice(&self) -> bool {
        self.endpoints.len() > 1
    }

    /// Returns the mark of each endpoint.
    pub(super) fn marks(&self) -> impl Iterator<Item = Mark> {
        self.endpoints.iter().map(|endpoint| endpoint.mark)
    }

    /// Returns each endpoint that has failed since the last progress, and why.
    pub(super) fn reasons(&self) -> impl Iterator<Item = (usize, Reason)> {
        let endpoints = self.endpoints.iter().enumerate();
        endpoints.filter_map(|(index, endpoint)| Some((index, endpoint.reason?)))
    }

    /// Notes that a leg is up.
    pub(super) fn opened(&mut self, at: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(at) {
            endpoint.is_proven = true;
        }
    }

    /// Notes progress: what failed before is forgotten.
    pub(super) fn progress(&mut self) {
        for endpoint in &mut self.endpoints {
            endpoint.mark = Mark::Untried;
            endpoint.reason = None;
        }
        self.patience = None;
    }

    /// Notes that a leg failed, or did not open. Returns what follows.
    pub(super) fn failed(&mut self, at: usize, reason: Reason) -> Next {
        let verdict = verdict(reason);
        let Some(failed) = self.endpoints.get_mut(at) else {
            return Next::Nowhere;
        };
        failed.reason = Some(reason);
        let keys = failed.keys;
        let mark = if verdict == Verdict::Never {
            Mark::Barred
        } else {
            Mark::Failed
        };
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let fails = index == at
                || match whose(reason) {
                    Whose::Everywhere => true,
                    Whose::Keys => endpoint.keys == keys && !endpoint.is_proven,
                    Whose::Endpoint | Whose::Load | Whose::Leg => false,
                };
            if fails && endpoint.mark != Mark::Barred {
                endpoint.mark = mark;
            }
        }
        self.patience = Some(match (self.patience, verdict) {
            // A round is retried as often as its most transient failure.
            (Some(Verdict::Often), _) | (_, Verdict::Often) => Verdict::Often,
            (Some(Verdict::Few), _) | (_, Verdict::Few) => Verdict::Few,
            (Some(Verdict::Never) | None, Verdict::Never) => Verdict::Never,
        });
        if self.marks().any(|mark| mark == Mark::Untried) {
            return Next::Elsewhere;
        }
        if self.marks().all(|mark| mark == Mark::Barred) {
            return Next::Nowhere;
        }
        let limit = self.limit();
        self.close();
        Next::Again { limit }
    }

    /// Returns how often this round may be followed by another without progress.
    pub(super) fn limit(&self) -> Option<u32> {
        self.patience.and_then(Verdict::limit)
    }

    /// Ends the round.
    pub(super) fn close(&mut self) {
        for endpoint in &mut self.endpoints {
            if endpoint.mark == Mark::Failed {
                endpoint.mark = Mark::Untried;
            }
        }
        self.patience = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Next = Next::Again { limit: None };
    const FEW: Next = Next::Again { limit: Some(3) };

    fn play(keys: &[u32], failures: &[(usize, Reason)]) -> Vec<Next> {
        let mut round = Round::new(keys);
        failures
            .iter()
            .map(|(at, reason)| round.failed(*at, *reason))
            .collect()
    }

    #[test]
    fn with_one_endpoint_the_verdict_is_the_answer() {
        for reason in Reason::ALL {
            let next = match verdict(*reason) {
                Verdict::Never => Next::Nowhere,
                often @ (Verdict::Few | Verdict::Often) => Next::Again {
                    limit: often.limit(),
                },
            };
            let played = play(&[0], &[(0, *reason), (0, *reason)]);
            assert_eq!(played, [next, next], "{reason}");
        }
    }

    /// Every reason, at the first of two endpoints, with the same keys and with others.
    #[test]
    fn whose_failure_it_is_says_whether_another_is_tried() {
        for reason in Reason::ALL {
            let stays = match verdict(*reason) {
                Verdict::Never => Next::Nowhere,
                Verdict::Few => FEW,
                Verdict::Often => AGAIN,
            };
            let (same, other) = match whose(*reason) {
                Whose::Everywhere => (stays, stays),
                Whose::Keys => (stays, Next::Elsewhere),
                Whose::Endpoint | Whose::Load | Whose::Leg => (Next::Elsewhere, Next::Elsewhere),
            };
            assert_eq!(play(&[0, 0], &[(0, *reason)]), [same], "{reason}");
            assert_eq!(play(&[0, 1], &[(0, *reason)]), [other], "{reason}");
        }
    }

    #[test]
    fn a_round_tries_each_once() {
        let (down, full) = (Reason::Connect, Reason::Throttled);
        let failures = [(0, down), (1, full), (2, down), (0, down), (2, full)];
        let next = [
            Next::Elsewhere,
            Next::Elsewhere,
            AGAIN,
            Next::Elsewhere,
            Next::Elsewhere,
        ];
        assert_eq!(play(&[0; 3], &failures), next);
    }

    #[test]
    fn what_would_be_the_same_again_is_not_tried_again() {
        let mut round = Round::new(&[0, 0]);
        assert_eq!(round.failed(0, Reason::NoEndpoint), Next::Elsewhere);
        assert_eq!(round.failed(1, Reason::Throttled), AGAIN);
        assert!(round.marks().eq([Mark::Barred, Mark::Untried]));
        assert_eq!(round.failed(1, Reason::ServiceFailed), AGAIN);
        assert_eq!(round.failed(1, Reason::AccessDenied), Next::Nowhere);
        let reasons = [(0, Reason::NoEndpoint), (1, Reason::AccessDenied)];
        assert!(round.reasons().eq(reasons));
        round.progress();
        assert!(round.marks().eq([Mark::Untried, Mark::Untried]));
        assert_eq!(round.reasons().count(), 0);
    }

    #[test]
    fn a_round_is_retried_as_often_as_its_most_transient_failure() {
        let (few, often) = (Reason::ContainerUnavailable, Reason::Throttled);
        let never = Reason::NoEndpoint;
        for (first, second, next) in [
            (few, few, FEW),
            (few, often, AGAIN),
            (often, few, AGAIN),
            (never, few, FEW),
            (few, never, FEW),
            (never, never, Next::Nowhere),
        ] {
            let played = play(&[0, 0], &[(0, first), (1, second)]);
            assert_eq!(played, [Next::Elsewhere, next], "{first} {second}");
        }
    }

    #[test]
    fn keys_that_have_worked_are_not_at_fault() {
        let mut round = Round::new(&[0, 0]);
        round.opened(0);
        assert_eq!(round.failed(0, Reason::ServiceFailed), Next::Elsewhere);
        assert_eq!(round.failed(1, Reason::UnknownKey), AGAIN);
        assert!(round.marks().eq([Mark::Untried, Mark::Barred]));
    }

    #[test]
    fn a_round_can_end_early() {
        let mut round = Round::new(&[0, 0, 0]);
        assert_eq!(round.failed(0, Reason::NoEndpoint), Next::Elsewhere);
        assert_eq!(round.failed(1, Reason::ContainerClosed), Next::Elsewhere);
        assert_eq!(round.limit(), Some(3));
        round.close();
        assert_eq!(round.limit(), None);
        assert!(
            round
                .marks()
                .eq([Mark::Barred, Mark::Untried, Mark::Untried])
        );
    }
}
