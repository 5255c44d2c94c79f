//! Sessions with a choice of endpoints: which failures move them, when, and how often.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use std::time::Duration;

use dgsm_leg::end::LegEnd;
use dgsm_leg::reason::Reason;
use dgsm_session::{FailureCause, LegId, Mark, SessionFailure, Settings, Step};
use stage::{QUERY, RESET, Stage};

use Mark::{Barred, Failed, Untried};

/// A stage with two endpoints, called with the same keys, and delays that are noticed.
fn stage(settings: Settings) -> Stage {
    let settings = Settings {
        initial_backoff: Duration::from_secs(5),
        max_backoff: Duration::from_secs(5),
        replay_speed: None,
        ..settings
    };
    Stage::with(settings, QUERY)
}

fn two() -> Settings {
    Settings {
        endpoints: vec![0, 0],
        ..Settings::default()
    }
}

fn marks(stage: &Stage) -> Vec<Mark> {
    stage.session.endpoints().collect()
}

/// Opens the leg that is wanted now, at this endpoint.
fn open_at(stage: &mut Stage, endpoint: usize) -> LegId {
    assert!(matches!(stage.step(), Step::Open { .. }), "a leg is wanted");
    stage.session.opening_at(endpoint);
    stage.session.leg_opened(stage.now)
}

/// Has the leg that is wanted now fail to open at this endpoint.
fn fail_at(stage: &mut Stage, endpoint: usize, reason: Reason) {
    assert!(matches!(stage.step(), Step::Open { .. }), "a leg is wanted");
    stage.session.opening_at(endpoint);
    stage.session.open_failed(stage.now, reason);
}

fn waits(stage: &mut Stage) -> bool {
    matches!(stage.step(), Step::Wait { .. })
}

fn failure(stage: &mut Stage) -> SessionFailure {
    match stage.step() {
        Step::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_leg_that_breaks_is_followed_at_once_by_one_at_another_endpoint() {
    let mut stage = stage(two());
    stage.audio(1000);
    let leg = open_at(&mut stage, 0);
    stage.sent(leg);
    stage.end(leg, RESET);
    assert_eq!(marks(&stage), [Failed, Untried]);
    let leg = open_at(&mut stage, 1);
    assert_eq!(stage.sent(leg), ["1000"], "it is sent everything again");
    stage.results(leg, 0.0, 0.5, &[]);
    assert_eq!(marks(&stage), [Untried, Untried], "this is progress");
    stage.end(leg, RESET);
    let leg = open_at(&mut stage, 0);
    assert_eq!(stage.sent(leg), ["500"]);
}

#[test]
fn a_round_of_openings_has_no_delay_and_the_next_round_has_one() {
    let mut stage = stage(two());
    for _ in 0..2 {
        fail_at(&mut stage, 0, Reason::Connect);
        fail_at(&mut stage, 1, Reason::Throttled);
        assert!(waits(&mut stage));
        assert_eq!(marks(&stage), [Untried, Untried]);
        stage.pass(5.0);
    }
    assert_eq!(stage.session.stats().attempts, 4);
}

#[test]
fn what_no_endpoint_could_do_better_ends_the_session() {
    let mut stage = stage(two());
    fail_at(&mut stage, 0, Reason::InvalidRequest);
    let failure = failure(&mut stage);
    assert_eq!(failure.cause, FailureCause::Open(Reason::InvalidRequest));
    assert_eq!(failure.endpoints, [(0, Reason::InvalidRequest)]);

    let mut stage = self::stage(two());
    stage.audio(1000);
    let leg = open_at(&mut stage, 0);
    stage.end(
        leg,
        LegEnd::Closed {
            code: "1008".into(),
            text: "policy".into(),
        },
    );
    let failure = self::failure(&mut stage);
    assert_eq!((failure.attempts, failure.endpoint), (0, 0));
}

#[test]
fn a_leg_that_one_endpoint_refuses_for_good_is_tried_at_the_other() {
    let mut stage = stage(two());
    stage.audio(1000);
    let leg = open_at(&mut stage, 0);
    let denied = LegEnd::Refused {
        reason: Reason::AccessDenied,
        name: "AccessDeniedException".into(),
        text: "no".into(),
    };
    stage.end(leg, denied.clone());
    assert_eq!(marks(&stage), [Barred, Untried]);
    let leg = open_at(&mut stage, 1);
    stage.end(leg, denied.clone());
    let failure = failure(&mut stage);
    assert_eq!(failure.cause, FailureCause::Leg(denied));
    assert_eq!((failure.attempts, failure.endpoint), (2, 1));
    let reasons = [(0, Reason::AccessDenied), (1, Reason::AccessDenied)];
    assert_eq!(failure.endpoints, reasons);
}

#[test]
fn without_retries_each_endpoint_is_tried_once() {
    let mut stage = stage(Settings {
        max_retries: 0,
        ..two()
    });
    stage.audio(1000);
    let leg = open_at(&mut stage, 0);
    stage.end(leg, RESET);
    fail_at(&mut stage, 1, Reason::Connect);
    let failure = failure(&mut stage);
    assert_eq!(failure.cause, FailureCause::Open(Reason::Connect));
    assert_eq!((failure.attempts, failure.endpoint), (2, 1));
    let reasons = [(0, Reason::Reset), (1, Reason::Connect)];
    assert_eq!(failure.endpoints, reasons);
}

#[test]
fn the_budget_ends_a_round_as_well() {
    let mut stage = stage(Settings {
        retry_budget: Duration::from_secs(3),
        ..two()
    });
    fail_at(&mut stage, 0, Reason::Connect);
    assert!(matches!(stage.step(), Step::Open { .. }));
    stage.session.opening_at(1);
    stage.pass(3.0);
    stage.session.open_failed(stage.now, Reason::Connect);
    assert_eq!(failure(&mut stage).attempts, 2);
}

#[test]
fn a_round_can_end_before_the_rest_was_tried() {
    let mut stage = stage(Settings {
        max_retries: 1,
        ..two()
    });
    stage.audio(1000);
    let leg = open_at(&mut stage, 0);
    stage.end(leg, RESET);
    assert!(matches!(stage.step(), Step::Open { .. }));
    assert!(stage.session.end_round(stage.now));
    assert!(waits(&mut stage));
    assert_eq!(stage.session.stats().attempts, 1, "none was requested");
    stage.pass(5.0);
    assert_eq!(marks(&stage), [Untried, Untried]);
    let leg = open_at(&mut stage, 0);
    stage.end(leg, RESET);
    assert!(matches!(stage.step(), Step::Open { .. }));
    assert!(
        !stage.session.end_round(stage.now),
        "there is no other round"
    );
    stage.session.opening_at(1);
    let leg = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(leg), ["1000"]);
}

#[test]
fn a_standby_that_does_not_open_here_is_tried_there() {
    let mut stage = stage(Settings {
        max_leg_age: Some(Duration::from_secs(10)),
        ..two()
    });
    stage.audio(1000);
    let first = open_at(&mut stage, 0);
    stage.sent(first);
    stage.pass(11.5);
    fail_at(&mut stage, 0, Reason::Throttled);
    let standby = open_at(&mut stage, 1);
    stage.results(first, 0.0, 1.0, &[]);
    assert!(stage.session.wants_leg(stage.now, standby));
    assert_eq!(stage.session.stats().rollovers, 1);
    assert!(stage.session.stats().resets.is_empty());
}

#[test]
fn a_standby_can_wait_and_a_session_without_a_leg_cannot() {
    let settings = Settings {
        max_leg_age: Some(Duration::from_secs(10)),
        ..two()
    };
    let mut stage = stage(settings);
    stage.audio(1000);
    assert!(matches!(stage.step(), Step::Open { .. }));
    let second = Duration::from_secs(1);
    assert!(!stage.session.postpone(stage.now, second));
    let first = stage.session.leg_opened(stage.now);
    stage.sent(first);
    stage.pass(11.5);
    assert!(matches!(stage.step(), Step::Open { standby: true, .. }));
    assert!(stage.session.postpone(stage.now, second));
    assert!(waits(&mut stage));
    assert_eq!(stage.session.stats().attempts, 1);
    stage.pass(1.0);
    assert!(matches!(stage.step(), Step::Open { standby: true, .. }));
    assert!(stage.session.postpone(stage.now, second));
    // It is needed before it is due.
    stage.end(first, RESET);
    let next = open_at(&mut stage, 1);
    assert_eq!(stage.sent(next), ["1000"]);
}

#[test]
fn a_standby_that_no_endpoint_opens_is_tried_again_later() {
    let mut stage = stage(Settings {
        max_leg_age: Some(Duration::from_secs(10)),
        ..two()
    });
    stage.audio(1000);
    let first = open_at(&mut stage, 0);
    stage.sent(first);
    stage.pass(11.5);
    fail_at(&mut stage, 0, Reason::NoEndpoint);
    fail_at(&mut stage, 1, Reason::NoEndpoint);
    assert!(waits(&mut stage));
    assert!(
        stage.session.wants_leg(stage.now, first),
        "the current one works"
    );
    stage.pass(5.0);
    assert!(matches!(stage.step(), Step::Open { standby: true, .. }));
    assert!(stage.session.end_round(stage.now));
    assert!(waits(&mut stage));
}

#[test]
fn keys_that_ran_out_are_no_failure_of_the_endpoint() {
    let mut stage = stage(two());
    stage.audio(1000);
    let leg = open_at(&mut stage, 0);
    let expired = LegEnd::Refused {
        reason: Reason::KeysExpired,
        name: "ExpiredTokenException".into(),
        text: "expired".into(),
    };
    stage.end(leg, expired);
    assert_eq!(marks(&stage), [Untried, Untried]);
    assert_eq!(
        stage.step(),
        Step::Open {
            standby: false,
            renew: true
        }
    );
}

/// Bytes are milliseconds.
#[test]
fn every_endpoint_has_its_share_of_the_figures() {
    let mut stage = stage(Settings {
        max_replay_buffer_bytes: 0,
        ..two()
    });
    fail_at(&mut stage, 0, Reason::Connect);
    let leg = open_at(&mut stage, 1);
    stage.audio(1000);
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.4, &[]);
    // Audio that was sent is not kept, so what is not final is lost with the leg.
    stage.end(leg, RESET);
    let before = stage.session.stats();
    let leg = open_at(&mut stage, 0);
    let (at, shares) = stage.session.shares();
    let [first, second] = &shares[..] else {
        panic!("{shares:?}")
    };
    assert_eq!(at, 0);
    assert_eq!((first.attempts, second.attempts), (2, 1));
    assert_eq!((first.legs, second.legs), (1, 1));
    assert_eq!((first.fallovers, second.fallovers), (1, 1));
    assert_eq!((first.bytes_sent, second.bytes_sent), (0, 1500));
    assert_eq!((first.bytes_lost, second.bytes_lost), (0, 1100));
    assert!((second.seconds_lost - 1.1).abs() < 1e-9);
    assert_eq!(second.bytes_acknowledged, before.bytes_acknowledged);
    assert_eq!(second.bytes_acknowledged, 400, "what is lost is not final");
    assert_eq!(second.resets.values().sum::<u64>(), 1);
    assert!(first.resets.is_empty());

    stage.audio(300);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.3, &[]);
    let (_, shares) = stage.session.shares();
    assert_eq!((shares[0].bytes_sent, shares[1].bytes_sent), (300, 1500));
    assert_eq!(shares[0].bytes_acknowledged, 300);
    assert_eq!(shares[1].bytes_acknowledged, 400);
    assert_eq!(stage.session.legs_at(), [1, 1]);
    let total = stage.session.stats();
    assert_eq!((total.bytes_acknowledged, total.bytes_lost), (700, 1100));
    assert_eq!((total.fallovers, total.attempts), (2, 3));
}
