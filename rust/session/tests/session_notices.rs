//! What a session reports of itself.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_leg::end::LegEnd;
use dgsm_leg::reason::Reason;
use dgsm_session::{LegId, Level, Notice, Part, PushError, Settings};
use stage::{CLOSE, QUERY, RESET, Stage, seconds, settings};

/// A leg's end, by what matters here: its number, its part, why, and whether another follows.
fn ends(stage: &mut Stage) -> Vec<(u64, Part, Option<Reason>, bool)> {
    stage
        .notices()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::LegEnded {
                leg,
                part,
                reason,
                again,
                ..
            } => Some((leg.number(), part, reason, again.is_some())),
            _ => None,
        })
        .collect()
}

#[test]
fn each_end_of_a_leg_is_reported_with_its_reason() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.end(leg, RESET);
    assert_eq!(
        ends(&mut stage),
        [(0, Part::Current, Some(Reason::Reset), true)]
    );
    let leg = stage.open();
    stage.text(CLOSE);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.say(leg, r#"{"type":"Metadata","duration":0.5}"#);
    assert_eq!(ends(&mut stage), []);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(ends(&mut stage), [(1, Part::Current, None, false)]);
    stage.sent(leg);
    assert_eq!(ends(&mut stage), []);
}

#[test]
fn a_leg_that_is_given_up_is_reported_with_its_reason() {
    let settings = Settings {
        max_retries: 0,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.end(leg, RESET);
    assert_eq!(
        ends(&mut stage),
        [(0, Part::Current, Some(Reason::Reset), false)]
    );
}

#[test]
fn legs_that_this_side_ends_are_reported() {
    let mut stage = Stage::new();
    stage.open();
    stage.session.abort(stage.now);
    assert_eq!(ends(&mut stage), [(0, Part::Current, None, false)]);
    stage.session.abort(stage.now);
    assert_eq!(ends(&mut stage), []);

    let mut stage = Stage::new();
    stage.step();
    stage.session.finish(stage.now);
    stage.session.leg_opened(stage.now);
    assert_eq!(
        ends(&mut stage),
        [(0, Part::Current, None, false)],
        "it came too late"
    );
}

/// A session whose leg has grown old, with half a second of audio not final.
fn rolling() -> (Stage, LegId) {
    let settings = Settings {
        max_leg_age: Some(seconds(10.0)),
        leg_cap: seconds(75.0),
        stall_timeout: None,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.pass(12.0);
    stage.audio(500);
    stage.sent(leg);
    stage.notices();
    (stage, leg)
}

#[test]
fn a_standby_that_ends_is_reported_as_one() {
    let (mut stage, _) = rolling();
    stage.step();
    let standby = stage.session.leg_opened(stage.now);
    stage.end(standby, RESET);
    assert_eq!(
        ends(&mut stage),
        [(1, Part::Standby, Some(Reason::Reset), false)]
    );
}

#[test]
fn a_rollover_is_reported_with_what_is_sent_again() {
    let (mut stage, old) = rolling();
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    stage.results(old, 0.5, 0.25, &[]);
    assert_eq!(
        stage.notices(),
        [
            Notice::Resumed {
                leg: new,
                seconds: 0.25,
                bytes: 250,
                again: false,
            },
            Notice::RolledOver { leg: new },
        ]
    );
    stage.sent(old);
    stage.pass(6.0);
    stage.sent(old);
    assert_eq!(ends(&mut stage), [(0, Part::Retiring, None, false)]);
}

/// What the figures count as a rollover is reported as one.
#[test]
fn a_leg_that_is_left_without_a_standby_is_a_rollover_too() {
    let (mut stage, old) = rolling();
    stage.step();
    stage.session.open_failed(stage.now, Reason::Connect);
    stage.pass(5.0);
    stage.sent(old);
    assert_eq!(stage.session.stats().rollovers, 0, "there is no other yet");
    let new = stage.open();
    assert!(stage.notices().contains(&Notice::RolledOver { leg: new }));
    assert_eq!(stage.session.stats().rollovers, 1);
}

#[test]
fn notices_have_the_time_at_which_they_happened() {
    let mut stage = Stage::new();
    stage.pass(1.0);
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.pass(2.0);
    let ended = stage.now;
    assert!(!stage.session.has_notice());
    stage.end(leg, RESET);
    assert!(stage.session.has_notice());
    stage.pass(3.0);
    let (at, notice) = stage.session.pop_notice().unwrap();
    assert_eq!(at, ended);
    match notice {
        Notice::LegEnded { lasted, .. } => assert_eq!(lasted, seconds(2.0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stall_is_reported_with_its_length() {
    let settings = Settings {
        stall_timeout: Some(seconds(5.0)),
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    for _ in 0..60 {
        stage.audio(100);
        stage.sent(leg);
        stage.pass(0.1);
    }
    let notices = stage.notices();
    match &notices[..] {
        [
            Notice::Stalled {
                leg: which,
                silent_seconds,
            },
            Notice::LegEnded {
                end: Some(LegEnd::Stalled),
                again: Some(_),
                ..
            },
        ] => {
            assert_eq!(*which, leg);
            assert!((5.0..5.2).contains(silent_seconds), "{silent_seconds}");
        }
        _ => panic!("{notices:?}"),
    }
}

#[test]
fn a_backlog_is_reported_again_once_it_has_halved() {
    let settings = Settings {
        max_unread_bytes: 1000,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    let levels = |stage: &mut Stage| -> Vec<Level> {
        while stage.session.wants_messages() {
            stage.say(leg, r#"{"type":"Future"}"#);
        }
        stage.say(leg, r#"{"type":"Future"}"#);
        let notices = stage.notices();
        assert!(
            notices
                .iter()
                .all(|each| matches!(each, Notice::Unread { .. })),
            "{notices:?}"
        );
        notices.iter().map(Notice::level).collect()
    };
    assert_eq!(levels(&mut stage), [Level::Warning]);
    stage.session.pop();
    stage.session.pop();
    assert_eq!(levels(&mut stage), [], "it has hardly shrunk");
    stage.read();
    assert_eq!(levels(&mut stage), [Level::Detail], "the log says it once");
}

#[test]
fn input_that_has_to_wait_is_reported_once_a_backlog() {
    let settings = Settings {
        max_replay_buffer_bytes: 0,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let full = |stage: &mut Stage| {
        while stage.try_audio(64 << 10).is_ok() {}
        assert_eq!(stage.try_audio(1), Err(PushError::Full));
        stage.notices()
    };
    let bytes = 256 << 10;
    assert_eq!(full(&mut stage), [Notice::Unsent { bytes }]);
    assert_eq!(full(&mut stage), []);
    let leg = stage.open();
    stage.sent(leg);
    assert_eq!(full(&mut stage), [Notice::Unsent { bytes }]);
}
