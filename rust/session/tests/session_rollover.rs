//! Old legs are replaced before the service ends them.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_leg::end::LegEnd;
use dgsm_leg::reason::Reason;
use dgsm_session::{AfterOpenFailure, LegId, Notice, Outcome, Settings, Step};
use stage::{CLOSE, FINALIZE, KEEPALIVE, QUERY, RESET, Stage, results, seconds, settings};

/// A session whose first leg is old and was sent 2 s of audio, of which nothing is final.
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
    assert_eq!(
        stage.step(),
        Step::Open {
            standby: true,
            renew: false
        }
    );
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
        "the old leg's messages are discarded: {results:?}"
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

/// Nor is a leg wanted longer if its pump cannot ask because its peer takes nothing.
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
    stage.session.abort(stage.now);
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
        assert_eq!(
            stage.step(),
            Step::Open {
                standby: true,
                renew: false
            }
        );
        let after = stage.session.open_failed(stage.now, Reason::Connect);
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
    assert_eq!(
        stage.step(),
        Step::Open {
            standby: true,
            renew: false
        }
    );
    let new = stage.session.leg_opened(stage.now);
    stage.results(old, 0.0, 2.0, &[]);
    stage.audio(10);
    assert_eq!(stage.sent(new), [KEEPALIVE.to_owned(), "10".into()][1..]);
}

#[test]
fn without_a_standby_the_leg_is_left_before_the_service_ends_it() {
    let (mut stage, old) = old();
    stage.step();
    stage.session.open_failed(stage.now, Reason::Connect);
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
    assert_eq!(
        stage.step(),
        Step::Open {
            standby: true,
            renew: false
        }
    );
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

/// A session of other audio whose first leg is old and was sent 2000 bytes, final up to 2 s.
fn old_ogg(settings: &Settings) -> (Stage, LegId) {
    let settings = Settings {
        max_leg_age: Some(seconds(100.0)),
        stall_timeout: None,
        leg_cap: seconds(300.0),
        ..settings.clone()
    };
    let mut stage = Stage::with(settings, "model=nova-3");
    let leg = stage.open();
    for _ in 0..2 {
        stage.audio(1000);
        stage.sent(leg);
        stage.pass(1.0);
    }
    stage.results(leg, 0.0, 2.0, &[]);
    stage.pass(109.0);
    (stage, leg)
}

#[test]
fn other_audio_is_heard_again_beside_the_old_leg() {
    let (mut stage, old) = old_ogg(&settings());
    assert_eq!(
        stage.step(),
        Step::Open {
            standby: true,
            renew: false
        }
    );
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(new), [KEEPALIVE, "1000", "1000"]);
    stage.audio(500);
    assert!(stage.sent(new).is_empty(), "the current leg goes ahead");
    assert_eq!(stage.sent(old), ["500"]);
    assert_eq!(stage.sent(new), ["500"]);
    stage.results(old, 2.0, 0.3, &[]);
    assert!(stage.sent(old).is_empty(), "the standby is not there yet");
    stage.results(new, 0.0, 1.5, &[]);
    stage.results(old, 2.3, 0.1, &[]);
    assert_eq!(stage.read_results().len(), 3, "the old leg speaks");
    // It has said as much as was delivered, and more.
    stage.results(new, 1.5, 1.0, &[("old", 1.6, 1.9), ("new", 2.42, 2.5)]);
    assert_eq!(stage.read_results(), [(2.4, 2.5, "new".into())]);
    assert_eq!(stage.sent(old), [CLOSE]);
    stage.audio(100);
    assert_eq!(stage.sent(new), ["100"], "nothing is sent twice");
    stage.results(old, 2.4, 0.2, &[]);
    assert!(
        stage.read().is_empty(),
        "the old leg's messages are discarded"
    );
    assert_eq!(stage.session.stats().rollovers, 1);
}

#[test]
fn a_standby_that_has_said_the_same_takes_over_and_repeats_nothing() {
    let (mut stage, old) = old_ogg(&settings());
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    stage.sent(new);
    stage.read();
    stage.results(new, 0.0, 2.0, &[]);
    assert!(stage.read().is_empty());
    assert_eq!(stage.sent(old), [CLOSE]);
}

#[test]
fn a_replay_beside_the_old_leg_is_paced() {
    let (mut stage, _) = old_ogg(&Settings {
        replay_speed: Some(4.0),
        ..settings()
    });
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(new), [KEEPALIVE, "1000"]);
    // It came as two seconds of audio within one second.
    stage.pass(0.12);
    assert!(stage.sent(new).is_empty());
    stage.pass(0.01);
    assert_eq!(stage.sent(new), ["1000"]);
}

#[test]
fn a_replay_starts_in_time_to_catch_up() {
    // A leg may last 240 s. In 4 s of replay the standby gains 3 s.
    for (age, due) in [(100.0, 90.0..110.0), (200.0, 179.9..180.1)] {
        let mut stage = Stage::with(
            Settings {
                max_leg_age: Some(seconds(age)),
                leg_cap: seconds(300.0),
                replay_speed: Some(4.0),
                stall_timeout: None,
                ..settings()
            },
            "model=nova-3",
        );
        let leg = stage.open();
        stage.audio(1000);
        stage.sent(leg);
        let Step::Wait { until: Some(until) } = stage.step() else {
            panic!("a standby is due some time");
        };
        assert!(due.contains(&until.as_secs_f64()), "{until:?}");
    }
    // Audio from before this leg is replayed too.
    let mut stage = Stage::with(
        Settings {
            max_leg_age: Some(seconds(100.0)),
            leg_cap: seconds(300.0),
            replay_speed: Some(4.0),
            stall_timeout: None,
            ..settings()
        },
        "model=nova-3",
    );
    let leg = stage.open();
    for _ in 0..800 {
        stage.pass(1.0);
        stage.audio(10);
        stage.sent(leg);
    }
    stage.end(leg, RESET);
    let leg = stage.open();
    stage.sent(leg);
    assert_eq!(
        stage.step(),
        Step::Wait { until: None },
        "after 800 s on other legs it would never be in time"
    );
}

#[test]
fn a_standby_goes_on_with_its_replay_when_the_old_leg_breaks() {
    let (mut stage, old) = old_ogg(&Settings {
        replay_speed: Some(4.0),
        ..settings()
    });
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(new), [KEEPALIVE, "1000"]);
    stage.read();
    stage.results(new, 0.0, 0.5, &[]);
    stage.end(old, RESET);
    stage.pass(5.0);
    assert_eq!(stage.sent(new), ["1000"]);
    stage.results(new, 0.5, 0.5, &[]);
    stage.results(new, 1.0, 1.2, &[]);
    assert_eq!(stage.read_results(), [(2.0, 2.2, String::new())]);
    assert_eq!(stage.session.stats().rollovers, 0);
}

#[test]
fn a_finalize_stays_with_the_old_leg() {
    let (mut stage, old) = old_ogg(&settings());
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    stage.sent(new);
    stage.text(FINALIZE);
    stage.audio(100);
    assert_eq!(stage.sent(old), [FINALIZE, "100"]);
    assert!(stage.sent(new).is_empty());
    stage.read();
    stage.say(
        old,
        &results(2.0, 0.0, &[], true, r#","from_finalize":true"#),
    );
    assert_eq!(stage.read_results().len(), 1);
    assert_eq!(stage.sent(new), ["100"]);
    stage.results(new, 0.0, 2.1, &[]);
    assert_eq!(stage.read_results(), [(2.0, 2.1, String::new())]);
}

#[test]
fn a_standby_is_stopped_when_its_audio_outgrows_the_journal() {
    let (mut stage, old) = old_ogg(&Settings {
        max_replay_buffer_bytes: 2500,
        replay_speed: Some(4.0),
        ..settings()
    });
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(new), [KEEPALIVE, "1000"]);
    stage.audio(600);
    assert_eq!(stage.sent(old), ["600"]);
    assert_eq!(stage.sent(new), ["stop"]);
    stage.pass(60.0);
    assert_eq!(stage.step(), Step::Wait { until: None });
    stage.audio(100);
    assert_eq!(stage.sent(old), ["100"], "the old leg goes on");
}

#[test]
fn a_standby_that_is_ahead_of_a_closing_session_is_stopped() {
    let (mut stage, old) = old_ogg(&settings());
    stage.step();
    let new = stage.session.leg_opened(stage.now);
    stage.sent(new);
    stage.read();
    stage.text(CLOSE);
    assert_eq!(stage.sent(old), [CLOSE]);
    stage.results(new, 0.0, 2.0, &[]);
    assert_eq!(stage.sent(new), ["stop"]);
    stage.say(old, r#"{"type":"Metadata","duration":2.0}"#);
    stage.end(old, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.read().len(), 1);
}

#[test]
fn a_replaying_standby_that_fails_is_not_replaced_at_once() {
    let (mut stage, _) = old_ogg(&Settings {
        initial_backoff: seconds(1.0),
        backoff_multiplier: 2.0,
        max_backoff: seconds(60.0),
        ..settings()
    });
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(
            stage.step(),
            Step::Open {
                standby: true,
                renew: false
            }
        );
        let new = stage.session.leg_opened(stage.now);
        stage.end(new, RESET);
        let Step::Wait { until: Some(until) } = stage.step() else {
            panic!("another one is due");
        };
        waits.push(until.saturating_sub(stage.now));
        stage.pass(waits[waits.len() - 1].as_secs_f64());
    }
    assert!(
        waits[5] > seconds(2.0) || waits[4] > seconds(2.0),
        "{waits:?}"
    );
}

/// Each product: the greeting of a leg, and the input that it works on.
const GREETINGS: [(&str, &str, &str); 4] = [
    ("v1/speak", "Metadata", r#"{"type":"Speak","text":"a"}"#),
    ("v2/speak", "Connected", r#"{"type":"Speak","text":"a"}"#),
    ("v2/listen", "Connected", ""),
    (
        "v1/agent/converse",
        "Welcome",
        r#"{"type":"Settings","audio":{"input":{"encoding":"mulaw","sample_rate":1000}}}"#,
    ),
];

/// An old leg that did not greet and has something unanswered, and its standby.
fn mute(path: &str, input: &'static str) -> (Stage, LegId, LegId) {
    let settings = Settings {
        max_leg_age: Some(seconds(100.0)),
        stall_timeout: None,
        leg_cap: seconds(300.0),
        ..settings()
    };
    let mut stage = Stage::at(path, settings, QUERY);
    let old = stage.open();
    if input.is_empty() {
        stage.audio(2000);
    } else {
        stage.text(input);
        stage.audio(if path.ends_with("speak") { 0 } else { 100 });
    }
    stage.sent(old);
    if path == "v1/agent/converse" {
        stage.say(old, r#"{"type":"UserStartedSpeaking"}"#);
        assert_eq!(stage.read().len(), 1);
    }
    stage.pass(110.1);
    let standby = Step::Open {
        standby: true,
        renew: false,
    };
    assert_eq!(stage.step(), standby, "{path}");
    let new = stage.session.leg_opened(stage.now);
    (stage, old, new)
}

/// A leg greets once. If it did as a standby, and no earlier leg had, the application has yet to
/// read a greeting.
#[test]
fn a_standby_s_greeting_is_delivered_when_it_takes_over() {
    for (path, kind, input) in GREETINGS {
        let greeting = format!(r#"{{"type":"{kind}","request_id":"second"}}"#);
        let (mut stage, old, new) = mute(path, input);
        stage.say(new, &greeting);
        assert_eq!(stage.read_texts(), Vec::<String>::new(), "{path}: not yet");
        stage.end(old, RESET);
        let read = stage.read();
        assert_eq!(read.len(), 1, "{path}: {read:?}");
        assert_eq!(read[0]["type"], kind, "{path}");
    }
}

#[test]
fn a_standby_s_greeting_is_not_delivered_twice() {
    for (path, kind, input) in GREETINGS {
        let greeting = format!(r#"{{"type":"{kind}","request_id":"first"}}"#);
        let (mut stage, old, new) = mute(path, input);
        stage.say(new, &greeting);
        stage.say(
            new,
            r#"{"type":"Warning","description":"nothing is asked yet"}"#,
        );
        stage.say(old, &greeting);
        stage.end(old, RESET);
        let read = stage.read();
        assert_eq!(read.len(), 1, "{path}: {read:?}");
        assert_eq!(read[0]["request_id"], "first", "{path}");
    }
}

const CONFIGURE: &str = r#"{"type":"Configure","x":1}"#;
const ACCEPTED: &str = r#"{"type":"ConfigureSuccess"}"#;

/// The head of a standby that was lost does not count for the one that takes over.
#[test]
fn a_lost_standby_leaves_no_open_replies_behind() {
    let (mut stage, old) = old_ogg(&settings());
    stage.text(CONFIGURE);
    assert_eq!(stage.sent(old), [CONFIGURE]);
    stage.say(old, ACCEPTED);
    stage.step();
    let lost = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(lost)[1], CONFIGURE);
    stage.end(lost, RESET);
    assert!(matches!(stage.step(), Step::Open { standby: true, .. }));
    let new = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(new)[1], CONFIGURE);
    stage.read();
    stage.results(new, 0.0, 2.2, &[]);
    assert_eq!(stage.sent(old), [CLOSE], "another leg has taken over");
    assert_eq!(stage.sent(new), [CONFIGURE]);
    stage.say(new, ACCEPTED);
    stage.say(new, ACCEPTED);
    assert_eq!(stage.read_results().len(), 1, "both were the session's own");
    stage.text(r#"{"type":"Configure","y":2}"#);
    stage.sent(new);
    stage.say(new, ACCEPTED);
    assert_eq!(stage.read_texts(), [ACCEPTED], "the application's");
}

/// The driver may report a standby after the session has ended, or after the leg beside it has.
#[test]
fn a_late_standby_changes_no_end() {
    for opens in [true, false] {
        let (mut stage, old) = old();
        stage.step();
        stage.text(CLOSE);
        stage.sent(old);
        stage.say(old, r#"{"type":"Metadata","duration":2.0}"#);
        stage.end(old, LegEnd::Clean);
        assert_eq!(stage.session.outcome(), Outcome::Clean);
        if opens {
            let late = stage.session.leg_opened(stage.now);
            assert_eq!(stage.sent(late), ["stop"]);
        } else {
            let after = stage.session.open_failed(stage.now, Reason::Connect);
            assert!(matches!(after, AfterOpenFailure::GiveUp { .. }));
        }
        stage.end(old, RESET);
        stage.session.leg_going_away(stage.now, old);
        stage.results(old, 0.0, 2.0, &[]);
        stage.session.tick(stage.now + seconds(60.0));
        assert_eq!(stage.session.outcome(), Outcome::Clean);
        assert_eq!(stage.step(), Step::Finished);
    }
}

/// A standby on its way becomes the next leg, and its failure counts as that leg's.
#[test]
fn a_standby_that_is_needed_counts_its_failure() {
    let (mut stage, leg) = old();
    stage.step();
    stage.end(leg, RESET);
    assert_eq!(stage.step(), Step::Wait { until: None }, "it is on its way");
    let after = stage.session.open_failed(stage.now, Reason::AccessDenied);
    let AfterOpenFailure::GiveUp { attempts, .. } = after else {
        panic!("{after:?}");
    };
    assert_eq!(attempts, 2, "the reset and the opening");
    assert!(matches!(stage.session.outcome(), Outcome::Failed(_)));
}
