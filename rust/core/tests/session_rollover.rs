//! Legs that grow old are followed before they end.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_core::session::{
    AfterOpenFailure, LegEnd, LegId, Notice, OpenFailure, Outcome, Settings, Step,
};
use stage::{CLOSE, KEEPALIVE, QUERY, RESET, Stage, seconds, settings};

/// A session whose first leg is old, and was sent 2 s of audio of which nothing is final.
fn old() -> (Stage, LegId) {
    let settings = Settings {
        max_leg_age: Some(seconds(100.0)),
        stall_timeout: None,
        leg_cap: seconds(300.0),
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), Vec::<String>::new());
    stage.pass(89.9);
    assert!(
        matches!(stage.step(), Step::Wait { until: Some(_) }),
        "±10 % at most"
    );
    stage.audio(2000);
    stage.sent(leg);
    stage.pass(20.2);
    (stage, leg)
}

#[test]
fn the_next_final_is_the_cut() {
    let (mut stage, old) = old();
    assert_eq!(stage.step(), Step::Open { standby: true });
    assert_eq!(stage.step(), Step::Wait { until: None }, "said once");
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(new), [KEEPALIVE]);
    stage.pass(4.0);
    assert_eq!(stage.sent(new), [KEEPALIVE]);
    stage.audio(500);
    assert_eq!(stage.sent(old), ["500"], "the old leg still works");
    stage.results(old, 0.0, 1.25, &[]);
    assert_eq!(stage.sent(old), [CLOSE]);
    stage.audio(100);
    assert_eq!(
        stage.sent(new),
        ["750", "500", "100"],
        "the backlog is not paced"
    );
    stage.results(old, 1.25, 1.25, &[]);
    stage.results(new, 0.0, 1.35, &[]);
    let results = stage.read_results();
    assert_eq!(
        results[1],
        (1.25, 2.6, String::new()),
        "nobody listens to the old leg: {results:?}"
    );
    stage.end(old, LegEnd::Clean);
    assert_eq!(stage.sent(old), ["end"]);
    let stats = stage.session.stats();
    assert_eq!((stats.rollovers, stats.legs), (1, 2));
    assert!(stats.resets.is_empty());
    assert!(stage.notices().contains(&Notice::RolledOver { leg: new }));
}

#[test]
fn with_nothing_unacked_the_cut_is_now() {
    let (mut stage, old) = old();
    stage.results(old, 0.0, 2.0, &[]);
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(old), [CLOSE]);
    stage.audio(100);
    assert_eq!(stage.sent(new), ["100"]);
}

#[test]
fn an_old_leg_that_does_not_end_is_stopped() {
    let (mut stage, old) = old();
    stage.step();
    stage.session.leg_opened(stage.now);
    stage.results(old, 0.0, 1.0, &[]);
    assert_eq!(stage.sent(old), [CLOSE]);
    stage.pass(5.0);
    assert_eq!(stage.sent(old), ["stop"]);
}

/// One whose pump cannot ask, because its peer takes nothing, is not wanted for longer either.
#[test]
fn an_old_leg_is_wanted_until_it_is_stopped() {
    let (mut stage, old) = old();
    stage.results(old, 0.0, 2.0, &[]);
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    assert!(stage.session.wants_leg(stage.now, old));
    let due = stage
        .session
        .deadline()
        .expect("when the old leg is stopped");
    assert_eq!(due, stage.now + seconds(5.0));
    stage.pass(5.0);
    stage.session.tick(stage.now);
    assert!(!stage.session.wants_leg(stage.now, old));
    assert!(stage.session.wants_leg(stage.now, new));
    stage.session.abort();
    assert!(!stage.session.wants_leg(stage.now, new));
}

#[test]
fn a_standby_takes_over_from_a_leg_that_fails() {
    let (mut stage, old) = old();
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    stage.end(old, RESET);
    assert_eq!(stage.sent(new), ["2000"]);
    assert_eq!(
        stage.step(),
        Step::Wait {
            until: stage.session.deadline()
        }
    );
    assert_eq!(stage.session.stats().resets["reset"], 1);
}

#[test]
fn a_standby_on_its_way_becomes_the_next_leg() {
    let (mut stage, old) = old();
    stage.step();
    stage.end(old, RESET);
    assert_eq!(stage.step(), Step::Wait { until: None });
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(new), ["2000"]);
}

#[test]
fn a_standby_that_fails_is_opened_again() {
    let (mut stage, old) = old();
    for _ in 0..20 {
        assert_eq!(stage.step(), Step::Open { standby: true });
        let after = stage.session.open_failed(stage.now, OpenFailure::Transient);
        assert!(
            matches!(after, AfterOpenFailure::Retry { .. }),
            "the old leg still works"
        );
        stage.pass(0.1);
    }
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    stage.end(new, RESET);
    assert_eq!(stage.session.outcome(), Outcome::Open);
    stage.pass(0.2);
    assert_eq!(stage.step(), Step::Open { standby: true });
    let new = stage.session.leg_opened(stage.now);
    stage.results(old, 0.0, 2.0, &[]);
    stage.audio(10);
    assert_eq!(stage.sent(new), [KEEPALIVE.to_owned(), "10".into()][1..]);
}

#[test]
fn without_a_standby_the_leg_is_left_before_the_service_ends_it() {
    let (mut stage, old) = old();
    stage.step();
    stage.session.open_failed(stage.now, OpenFailure::Transient);
    stage.pass(131.0);
    assert_eq!(stage.sent(old), [CLOSE]);
    let new = stage.open();
    assert_eq!(stage.sent(new), ["2000"]);
    assert_eq!(stage.session.stats().rollovers, 1);
}

#[test]
fn a_connection_that_goes_away_is_followed_at_once() {
    let mut stage = Stage::with(
        Settings {
            max_leg_age: None,
            ..settings()
        },
        QUERY,
    );
    let old = stage.open();
    stage.audio(1000);
    stage.sent(old);
    assert!(!stage.session.driver_wanted(stage.now));
    stage.session.leg_going_away(stage.now, old);
    assert_eq!(stage.step(), Step::Open { standby: true });
    let new = stage.session.leg_opened(stage.now);
    stage.results(old, 0.0, 0.5, &[]);
    assert_eq!(stage.sent(new), ["500"]);
}

#[test]
fn a_session_that_closes_does_not_roll_over() {
    let (mut stage, old) = old();
    stage.step();
    stage.text(CLOSE);
    let new = stage.session.leg_opened(stage.now);
    stage.results(old, 0.0, 1.0, &[]);
    assert_eq!(stage.sent(old), [CLOSE]);
    stage.results(old, 1.0, 1.0, &[]);
    stage.say(old, r#"{"type":"Metadata","duration":2.0}"#);
    stage.end(old, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.sent(new), ["stop"]);
    assert_eq!(stage.read().len(), 3);
}

#[test]
fn other_audio_does_not_roll_over() {
    let settings = Settings {
        max_leg_age: Some(seconds(1.0)),
        ..settings()
    };
    let mut stage = Stage::with(settings, "model=nova-3");
    let leg = stage.open();
    stage.audio(100);
    stage.sent(leg);
    stage.pass(5.0);
    assert!(!stage.session.driver_wanted(stage.now));
}
