//! How legs and sessions end.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_leg::end::LegEnd;
use dgsm_leg::reason::Reason;
use dgsm_session::{
    AfterOpenFailure, Again, FailureCause, Level, Notice, Outcome, Part, PushError, SendStep,
    SessionFailure, Settings, Step,
};
use stage::{CLOSE, FINALIZE, KEEPALIVE, QUERY, RESET, Stage, seconds, settings};

const METADATA: &str = r#"{"type":"Metadata","duration":0.5}"#;

fn failure(stage: &mut Stage) -> SessionFailure {
    match stage.step() {
        Step::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_input_ends_after_the_service_s_side() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.text(CLOSE);
    assert_eq!(stage.sent(leg), ["500", CLOSE]);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.say(leg, METADATA);
    assert_eq!(stage.session.outcome(), Outcome::Open);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.sent(leg), ["end"]);
    assert_eq!(stage.sent(leg), ["stop"]);
    assert_eq!(stage.step(), Step::Finished);
    assert_eq!(stage.read().len(), 2);
    assert_eq!(stage.try_audio(1), Err(PushError::Closed));
}

#[test]
fn finishing_closes_for_the_application() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.session.finish(stage.now);
    assert_eq!(stage.sent(leg), ["500", CLOSE]);
    stage.session.finish(stage.now);
    assert!(stage.sent(leg).is_empty());
    stage.end(leg, LegEnd::Clean);
    assert_eq!(
        stage.session.outcome(),
        Outcome::Open,
        "nothing was answered"
    );
}

#[test]
fn finishing_without_anything_sent_is_the_end() {
    let mut stage = Stage::new();
    stage.session.finish(stage.now);
    assert_eq!(stage.step(), Step::Finished);

    let mut stage = Stage::new();
    assert_eq!(
        stage.step(),
        Step::Open {
            standby: false,
            renew: false
        }
    );
    stage.session.finish(stage.now);
    assert_eq!(stage.step(), Step::Finished);
    let late = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(late), ["stop"]);
}

#[test]
fn a_service_that_does_not_end_is_left_in_time() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.session.finish(stage.now);
    stage.sent(leg);
    stage.pass(9.9);
    assert_eq!(stage.session.outcome(), Outcome::Open);
    stage.pass(0.2);
    let failure = failure(&mut stage);
    assert!((failure.unacked_seconds - 0.5).abs() < 1e-9);
    assert!(failure.to_string().contains("close_timeout"), "{failure}");
    assert_eq!(stage.sent(leg), ["stop"]);
    assert_eq!(
        stage.notices()[0],
        Notice::CloseTimedOut {
            unacked_seconds: 0.5
        }
    );
}

#[test]
fn a_service_that_owes_nothing_is_left_in_order() {
    for (path, sends) in [
        ("v1/listen", false),
        ("v1/agent/converse", true),
        ("v1/other", true),
    ] {
        let mut stage = Stage::at(path, settings(), QUERY);
        let leg = stage.open();
        if sends {
            stage.audio(500);
        } else {
            stage.text(KEEPALIVE);
        }
        stage.session.finish(stage.now);
        stage.sent(leg);
        stage.pass(10.1);
        assert_eq!(stage.session.outcome(), Outcome::Clean, "{path}");
    }
}

#[test]
fn an_answered_leg_that_does_not_end_is_ended() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.text(CLOSE);
    stage.sent(leg);
    stage.say(leg, METADATA);
    stage.pass(10.1);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.sent(leg), ["end"]);
    let notices = stage.notices();
    assert!(
        notices.iter().all(|notice| notice.level() < Level::Warning),
        "{notices:?}"
    );
}

#[test]
fn aborting_stops_every_leg_at_once() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.results(leg, 0.0, 0.1, &[]);
    stage.session.abort(stage.now);
    assert_eq!(stage.sent(leg), ["stop"]);
    assert!(!stage.session.has_message());
    assert_eq!(stage.step(), Step::Finished);
    assert_eq!(stage.session.deadline(), None);
}

#[test]
fn an_unanswered_end_is_a_failure_like_any_other() {
    let in_order = LegEnd::Closed {
        code: "1000".into(),
        text: String::new(),
    };
    for end in [LegEnd::Clean, in_order, RESET] {
        let mut stage = Stage::with(
            Settings {
                max_retries: 3,
                ..settings()
            },
            QUERY,
        );
        let leg = stage.open();
        stage.audio(500);
        stage.text(CLOSE);
        stage.sent(leg);
        stage.results(leg, 0.0, 0.2, &[]);
        stage.end(leg, end.clone());
        for _ in 0..3 {
            let leg = stage.open();
            assert_eq!(stage.sent(leg), ["300", CLOSE]);
            stage.end(leg, end.clone());
        }
        let failure = failure(&mut stage);
        assert_eq!(failure.cause, FailureCause::Leg(end));
        assert_eq!((failure.attempts, failure.unacked_bytes), (4, 300));
        assert!((failure.unacked_seconds - 0.3).abs() < 1e-9);
        let resets = stage.session.stats().resets;
        assert_eq!(resets.values().sum::<u64>(), 3);
    }
}

#[test]
fn progress_between_unanswered_ends_starts_the_count_again() {
    let settings = Settings {
        max_retries: 2,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    stage.audio(900);
    stage.text(CLOSE);
    for done in 0..9 {
        let leg = stage.open();
        stage.sent(leg);
        stage.end(leg, LegEnd::Clean);
        let leg = stage.open();
        assert_eq!(
            stage.sent(leg),
            [(900 - 100 * done).to_string().as_str(), CLOSE]
        );
        stage.results(leg, 0.0, 0.1, &[]);
        stage.end(leg, LegEnd::Clean);
    }
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.read_results().len(), 9);
}

#[test]
fn input_that_no_service_could_answer_ends_in_order() {
    for close_goes_out in [true, false] {
        for query in [QUERY, "model=nova-3"] {
            let mut stage = Stage::with(settings(), query);
            let leg = stage.open();
            stage.text(CLOSE);
            if close_goes_out {
                stage.sent(leg);
            }
            stage.end(leg, LegEnd::Clean);
            assert_eq!(stage.session.outcome(), Outcome::Clean);
        }
    }
}

#[test]
fn a_missing_metadata_is_no_missing_audio() {
    // Every leg fails before CloseStream is sent, and nothing else is missing.
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.text(CLOSE);
    stage.end(leg, RESET);
    while stage.session.driver_wanted(stage.now) && stage.session.outcome() == Outcome::Open {
        let leg = stage.open();
        stage.end(leg, LegEnd::Clean);
    }
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.session.stats().legs, 6);
}

#[test]
fn a_failure_after_the_answer_is_the_end() {
    for metadata in [true, false] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.audio(500);
        stage.text(CLOSE);
        stage.sent(leg);
        if metadata {
            stage.say(leg, METADATA);
        } else {
            stage.results(leg, 0.0, 0.5, &[]);
        }
        stage.end(leg, RESET);
        assert_eq!(stage.session.outcome(), Outcome::Clean);
        assert_eq!(stage.sent(leg), ["stop"]);
    }
}

#[test]
fn a_metadata_before_the_close_is_not_delivered() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.say(leg, METADATA);
    stage.end(leg, LegEnd::Clean);
    let leg = stage.open();
    stage.sent(leg);
    stage.results(leg, 0.0, 0.25, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    stage.text(CLOSE);
    stage.sent(leg);
    stage.say(leg, r#"{"type":"Metadata","duration":0.25,"sha256":"x"}"#);
    let texts = stage.read_texts();
    assert_eq!(texts.len(), 2);
    assert_eq!(
        texts[1],
        r#"{"type":"Metadata","duration":0.5,"sha256":"x"}"#
    );
}

#[test]
fn with_nothing_missing_the_next_send_opens_a_leg() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.sent(leg), ["end"]);
    assert_eq!(stage.step(), Step::Wait { until: None });
    stage.pass(5.0);
    stage.audio(100);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["100"]);
    stage.results(leg, 0.0, 0.1, &[]);
    assert_eq!(stage.read_results()[1], (0.5, 0.6, String::new()));
    assert!(stage.session.stats().resets.is_empty());
}

#[test]
fn without_another_send_the_session_ends_as_the_service_would_end_it() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.end(leg, LegEnd::Clean);
    stage.pass(9.9);
    assert_eq!(stage.session.outcome(), Outcome::Open);
    stage.pass(0.2);
    assert_eq!(failure(&mut stage).cause, FailureCause::Silent);
    assert_eq!(stage.try_audio(1), Err(PushError::Failed));
}

#[test]
fn keepalive_on_a_new_leg_without_audio() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.end(leg, LegEnd::Clean);
    stage.text(KEEPALIVE);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), [KEEPALIVE]);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(
        stage.sent(leg),
        [KEEPALIVE],
        "it was the last thing that the application said"
    );
    stage.audio(10);
    stage.sent(leg);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["10"]);
}

#[test]
fn finishing_without_a_leg_is_the_end() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.end(leg, LegEnd::Clean);
    stage.session.finish(stage.now);
    assert_eq!(stage.step(), Step::Finished);
}

#[test]
fn net_0001_is_terminal_after_the_application_s_silence() {
    let silence = LegEnd::Closed {
        code: "1011".into(),
        text: "NET-0001: no audio".into(),
    };
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.say(leg, r#"{"type":"Error","code":"NET-0001"}"#);
    stage.pass(10.0);
    stage.end(leg, silence.clone());
    let ended = failure(&mut stage);
    assert_eq!(ended.cause, FailureCause::Leg(silence.clone()));
    assert!(ended.silent);
    assert_eq!(stage.read()[0]["type"], "Error", "it explains the end");

    let mut stage = Stage::new();
    let leg = stage.open();
    for _ in 0..10 {
        stage.audio(500);
        stage.sent(leg);
        stage.pass(1.0);
    }
    stage.say(leg, r#"{"type":"Error","code":"NET-0001"}"#);
    stage.end(leg, silence);
    stage.open();
    assert!(
        !stage.session.has_message(),
        "another leg goes on, so there was no error"
    );
}

#[test]
fn failures_in_a_row_are_retried_up_to_the_limit() {
    let mut stage = Stage::with(
        Settings {
            max_retries: 2,
            ..settings()
        },
        QUERY,
    );
    stage.audio(1500);
    for _ in 0..2 {
        let leg = stage.open();
        stage.sent(leg);
        stage.end(leg, RESET);
    }
    let leg = stage.open();
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.end(leg, RESET);
    for _ in 0..2 {
        let leg = stage.open();
        assert_eq!(
            stage.sent(leg),
            ["1000"],
            "after progress the count starts again"
        );
        stage.end(leg, RESET);
    }
    let failure = failure(&mut stage);
    assert_eq!(failure.cause, FailureCause::Leg(RESET));
    assert_eq!((failure.attempts, failure.unacked_bytes), (3, 1000));
    assert!((failure.unacked_seconds - 1.0).abs() < 1e-9);
    assert!(
        failure
            .to_string()
            .contains("1.000 s of audio were not acknowledged"),
        "{failure}"
    );
}

#[test]
fn without_retries_the_first_failure_surfaces() {
    let mut stage = Stage::with(
        Settings {
            max_retries: 0,
            ..settings()
        },
        QUERY,
    );
    let leg = stage.open();
    stage.audio(100);
    stage.sent(leg);
    stage.end(leg, RESET);
    assert_eq!(failure(&mut stage).cause, FailureCause::Leg(RESET));
}

#[test]
fn an_outage_longer_than_the_budget_is_an_error_that_says_so() {
    let settings = Settings {
        max_retries: 1000,
        retry_budget: seconds(5.0),
        ..Settings::default()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.audio(700);
    stage.sent(leg);
    stage.end(leg, RESET);
    let mut tries = 0;
    let gave_up = loop {
        stage.pass(0.01);
        if matches!(stage.step(), Step::Wait { .. }) {
            continue;
        }
        tries += 1;
        match stage.session.open_failed(stage.now, Reason::Connect) {
            AfterOpenFailure::Retry { .. } => {}
            AfterOpenFailure::GiveUp {
                attempts,
                elapsed,
                unacked_seconds,
            } => {
                break (attempts, elapsed, unacked_seconds);
            }
        }
    };
    let (attempts, elapsed, unacked) = gave_up;
    assert_eq!(attempts, tries + 1);
    assert!(
        elapsed >= seconds(5.0) && elapsed < seconds(5.1),
        "{elapsed:?}"
    );
    assert!((unacked - 0.7).abs() < 1e-9);
    assert_eq!(
        failure(&mut stage).cause,
        FailureCause::Open(Reason::Connect)
    );
}

#[test]
fn a_terminal_failure_is_not_retried() {
    let mut stage = Stage::new();
    stage.step();
    let after = stage.session.open_failed(stage.now, Reason::AccessDenied);
    assert!(matches!(
        after,
        AfterOpenFailure::GiveUp { attempts: 1, .. }
    ));
    let policy = LegEnd::Closed {
        code: "1008".into(),
        text: "DATA-0000".into(),
    };
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.end(leg, policy.clone());
    assert_eq!(failure(&mut stage).cause, FailureCause::Leg(policy));
}

#[test]
fn ten_quiet_seconds_are_progress() {
    let settings = Settings {
        max_retries: 1,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.end(leg, RESET);
    let leg = stage.open();
    stage.pass(10.1);
    stage.end(leg, RESET);
    stage.open();
    assert_eq!(stage.session.stats().resets["reset"], 2);
}

#[test]
fn one_line_is_logged_for_a_reset() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.end(leg, RESET);
    stage.open();
    let notices = stage.notices();
    let [
        Notice::LegEnded {
            again: Some(again), ..
        },
        Notice::Resumed { again: false, .. },
    ] = notices[..]
    else {
        panic!("{notices:?}")
    };
    assert_eq!(again.attempts, 1);
    assert!(notices.iter().all(|notice| notice.level() == Level::Info));
    let stats = stage.session.stats();
    assert_eq!(
        stats.last_error.as_deref(),
        Some("the stream was reset (HTTP/2 error 8)")
    );
    assert_eq!((stats.legs, stats.attempts), (2, 2));
}

#[test]
fn silence_while_audio_flows_is_a_reset() {
    let mut stage = Stage::new();
    let leg = stage.open();
    for _ in 0..31 {
        assert_eq!(stage.session.outcome(), Outcome::Open);
        stage.audio(1000);
        stage.sent(leg);
        stage.pass(1.0);
    }
    assert_eq!(stage.sent(leg), ["stop"]);
    let leg = stage.open();
    assert_eq!(stage.sent(leg).len(), 31);
    assert_eq!(stage.session.stats().resets["stalled"], 1);
}

/// Settings under which legs do not grow old.
fn ageless() -> Settings {
    Settings {
        max_leg_age: None,
        ..settings()
    }
}

/// The application sends KeepAlive for this time, in seconds. Returns what the leg is sent
/// meanwhile.
fn keep_alive(stage: &mut Stage, leg: dgsm_session::LegId, time: u32) -> Vec<String> {
    let mut sent = Vec::new();
    for _ in 0..time / 5 {
        stage.pass(5.0);
        stage.text(KEEPALIVE);
        sent.extend(stage.sent(leg));
    }
    sent
}

#[test]
fn a_pause_of_the_application_is_no_silence_of_the_service() {
    // Nova says no more of a second of speech before more comes, unless it is asked.
    let mut stage = Stage::with(ageless(), QUERY);
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    let sent = keep_alive(&mut stage, leg, 15);
    assert_eq!(sent, [KEEPALIVE, KEEPALIVE, FINALIZE, KEEPALIVE]);
    stage.say(
        leg,
        &stage::results(0.0, 1.0, &[], true, r#","from_finalize":true"#),
    );
    let sent = keep_alive(&mut stage, leg, 36_000);
    assert!(sent.iter().all(|sent| sent == KEEPALIVE));
    stage.audio(1000);
    stage.pass(29.0);
    assert_eq!(
        stage.sent(leg),
        ["1000"],
        "the count starts when audio flows again"
    );
    assert!(stage.session.stats().resets.is_empty());
}

#[test]
fn audio_that_may_have_no_answer_ends_no_session() {
    // Half a second is not always worth an answer. For audio without a clock that is unknown.
    for query in [QUERY, "model=nova-3"] {
        let mut stage = Stage::with(ageless(), query);
        let leg = stage.open();
        stage.audio(500);
        stage.sent(leg);
        let sent = keep_alive(&mut stage, leg, 30);
        assert!(sent.contains(&FINALIZE.to_owned()), "{sent:?}");
        assert_eq!(stage.session.stats().resets.get("stalled"), Some(&1));
        let leg = stage.open();
        assert_eq!(stage.sent(leg)[0], "500", "it may have been the leg");
        keep_alive(&mut stage, leg, 36_000);
        assert_eq!(stage.session.outcome(), Outcome::Open);
        assert_eq!(stage.session.stats().legs, 2, "once, for the same audio");
    }
}

#[test]
fn silence_counts_when_the_application_has_stopped() {
    for (path, query, bytes) in [
        ("v1/listen", QUERY, 2900),
        ("v1/listen", QUERY, 300),
        ("v1/listen", "model=nova-3", 2900),
        ("v2/listen", QUERY, 2900),
        ("v2/listen", QUERY, 500),
        ("v2/listen", "model=flux-general-en", 2900),
    ] {
        let mut stage = Stage::at(path, settings(), query);
        stage.audio(bytes);
        for _ in 0..2 {
            let leg = stage.open();
            stage.sent(leg);
            stage.pass(29.9);
            assert_eq!(stage.session.outcome(), Outcome::Open);
            stage.pass(0.2);
        }
        let failure = failure(&mut stage);
        assert_eq!(failure.cause, FailureCause::Leg(LegEnd::Stalled), "{path}");
        assert_eq!(failure.unacked_bytes, bytes as u64);
    }
}

#[test]
fn silence_counts_while_the_application_only_keeps_the_leg_open() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(2900);
    stage.sent(leg);
    keep_alive(&mut stage, leg, 30);
    let leg = stage.open();
    stage.sent(leg);
    keep_alive(&mut stage, leg, 25);
    stage.pass(5.1);
    assert_eq!(
        failure(&mut stage).cause,
        FailureCause::Leg(LegEnd::Stalled)
    );
}

#[test]
fn flux_says_no_more_of_audio_that_it_has_reported() {
    let mut stage = Stage::at("v2/listen", settings(), QUERY);
    let leg = stage.open();
    stage.audio(3000);
    stage.sent(leg);
    stage.say(
        leg,
        r#"{"type":"TurnInfo","event":"StartOfTurn","turn_index":0,"audio_window_start":0,"audio_window_end":2.9,"transcript":"a","words":[]}"#,
    );
    stage.pass(600.0);
    assert_eq!(
        stage.session.stats().legs,
        1,
        "the turn is open, and all is said"
    );
    assert_eq!(stage.session.outcome(), Outcome::Open);
}

#[test]
fn a_service_that_takes_nothing_more_is_silent_too() {
    // A leg without credit is not polled: the closing message stays where it is.
    let mut closing = Stage::new();
    let leg = closing.open();
    closing.audio(1000);
    closing.sent(leg);
    closing.pass(14.0);
    closing.audio(1000);
    closing.text(CLOSE);
    closing.pass(30.1);
    assert_eq!(closing.session.stats().resets.get("stalled"), Some(&1));

    let mut full = Stage::new();
    let leg = full.open();
    full.audio(1000);
    full.sent(leg);
    while full.session.is_writable(full.now) {
        full.audio(100_000);
    }
    full.pass(30.1);
    assert_eq!(full.session.stats().resets.get("stalled"), Some(&1));
}

#[test]
fn a_service_that_never_answers_the_close_is_a_reset() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(1000);
    stage.text(CLOSE);
    stage.sent(leg);
    stage.pass(30.1);
    assert_eq!(stage.sent(leg), ["stop"]);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["1000", CLOSE]);
}

#[test]
fn after_the_close_nothing_follows() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.text(CLOSE);
    stage.text(CLOSE);
    stage.text(KEEPALIVE);
    stage.text(FINALIZE);
    assert_eq!(stage.try_audio(1), Err(PushError::Closed));
    assert_eq!(stage.sent(leg), [CLOSE]);
}

#[test]
fn a_path_that_is_not_resumed_fails_with_an_error() {
    let mut stage = Stage::at("v1/other", settings(), "model=x");
    let leg = stage.open();
    stage.audio(100);
    stage.sent(leg);
    stage.say(leg, r#"{"type":"Metadata"}"#);
    stage.end(leg, RESET);
    assert_eq!(stage.read().len(), 1);
    assert_eq!(failure(&mut stage).cause, FailureCause::NotResumable(RESET));
}

#[test]
fn without_a_closing_message_the_end_of_the_input_closes() {
    let mut stage = Stage::at("v1/other", settings(), "model=x");
    let leg = stage.open();
    stage.audio(100);
    stage.session.finish(stage.now);
    assert_eq!(stage.sent(leg), ["100", "end"]);
    stage.say(leg, "last");
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.session.poll_send(stage.now, leg), SendStep::Stop);
}

/// Every way in which a leg can end.
fn every_end() -> Vec<LegEnd> {
    let model = |code: &str, message: &str| LegEnd::Closed {
        code: code.into(),
        text: message.into(),
    };
    let refused = |reason: Reason| LegEnd::Refused {
        reason,
        name: "n".into(),
        text: "m".into(),
    };
    vec![
        LegEnd::Clean,
        model("1000", ""),
        model("1008", "policy"),
        model("1011", "internal"),
        model("1011", "NET-0001"),
        LegEnd::Failed { text: "m".into() },
        refused(Reason::Throttled),
        refused(Reason::InvalidEvent),
        refused(Reason::UnknownException),
        RESET,
        LegEnd::Reset { code: Some(1) },
        LegEnd::GoAway { code: Some(0) },
        LegEnd::Dropped { detail: "d".into() },
        LegEnd::Protocol { detail: "d".into() },
        LegEnd::Stalled,
    ]
}

/// The application's acts meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// Nothing.
    Waits,
    /// Sends audio all the time.
    Speaks,
    /// Keeps the leg open all the time.
    KeepsAlive,
    /// The session does that for it.
    IsKeptAlive,
    /// Sends audio at once, and closes.
    Closes,
}

/// Plays ten minutes at a service that ends each leg in the same way after this many frames.
/// Returns how many legs were opened, and whether the session is over.
fn openings(path: &str, end: &LegEnd, habit: Habit, frames: usize) -> (u64, bool) {
    let settings = Settings {
        initial_backoff: seconds(0.1),
        keepalive_interval: (habit == Habit::IsKeptAlive).then(|| seconds(0.05)),
        ..Settings::default()
    };
    let query = if path == "v1/speak" { "" } else { QUERY };
    let mut stage = Stage::at(path, settings, query);
    let speaks = |stage: &mut Stage| {
        let speak = r#"{"type":"Speak","text":"a"}"#;
        let _ = match path {
            "v1/speak" | "v2/speak" => stage.session.push(stage.now, speak.into()),
            _ => stage.try_audio(10),
        };
    };
    if habit == Habit::Closes {
        speaks(&mut stage);
        stage.session.finish(stage.now);
    }
    let mut up = None;
    for _ in 0..12_000 {
        match habit {
            Habit::Speaks => speaks(&mut stage),
            Habit::KeepsAlive => drop(stage.session.push(stage.now, KEEPALIVE.into())),
            Habit::Waits | Habit::IsKeptAlive | Habit::Closes => {}
        }
        match up {
            None if stage.session.driver_wanted(stage.now) => {
                if matches!(stage.step(), Step::Open { .. }) {
                    up = Some((stage.session.leg_opened(stage.now), stage.now));
                }
            }
            None => {}
            Some((leg, since)) => {
                let sent = (0..frames)
                    .filter(|_| {
                        let step = stage.session.poll_send(stage.now, leg);
                        matches!(step, SendStep::Frame(_))
                    })
                    .count();
                if sent == frames || stage.now >= since + seconds(5.0) {
                    stage.end(leg, end.clone());
                    up = None;
                }
            }
        }
        stage.pass(0.05);
    }
    let over = stage.session.outcome() != Outcome::Open;
    (stage.session.stats().legs, over)
}

#[test]
fn a_leg_without_progress_is_a_failure_however_it_ends() {
    let habits = [
        Habit::Waits,
        Habit::Speaks,
        Habit::KeepsAlive,
        Habit::IsKeptAlive,
        Habit::Closes,
    ];
    let paths = [
        "v1/listen",
        "v2/listen",
        "v1/speak",
        "v2/speak",
        "v1/agent/converse",
        "v1/other",
    ];
    for path in paths {
        for end in every_end() {
            for habit in habits {
                for frames in [0, 1, 2] {
                    let (legs, over) = openings(path, &end, habit, frames);
                    let what = format!("{path} {end} {habit:?} after {frames}");
                    assert!((1..=6).contains(&legs), "{legs} legs: {what}");
                    assert!(over, "it is not tried for ever: {what}");
                }
            }
        }
    }
}

#[test]
fn legs_with_progress_are_not_limited() {
    // Each leg ends in order after a final. The next send opens another one at once.
    let mut stage = Stage::new();
    for number in 0..100 {
        stage.audio(100);
        let leg = stage.open();
        assert_eq!(stage.sent(leg), ["100"], "{number}");
        stage.results(leg, 0.0, 0.1, &[]);
        stage.end(leg, LegEnd::Clean);
    }
    assert!(stage.session.stats().resets.is_empty());
}

#[test]
fn a_standby_without_progress_is_not_opened_all_the_time() {
    let settings = Settings {
        initial_backoff: seconds(0.1),
        ..Settings::default()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.session.leg_going_away(stage.now, leg);
    stage.minute_with_standbys(
        |stage| {
            stage.audio(50);
            stage.sent(leg);
            stage.say(leg, &stage::results(0.0, 0.05, &[], false, ""));
        },
        |stage, standby| stage.end(standby, LegEnd::Clean),
    );
    let legs = stage.session.stats().legs;
    assert!((10..60).contains(&legs), "{legs} legs within a minute");
}

#[test]
fn connections_that_go_away_at_once_are_not_followed_at_once() {
    let settings = Settings {
        initial_backoff: seconds(0.1),
        ..Settings::default()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.session.leg_going_away(stage.now, leg);
    stage.minute_with_standbys(
        |_| {},
        // It takes over, and its connection is going to be closed as well.
        |stage, leg| stage.session.leg_going_away(stage.now, leg),
    );
    let legs = stage.session.stats().legs;
    assert!((5..60).contains(&legs), "{legs} legs within a minute");
    assert_eq!(stage.session.outcome(), Outcome::Open);
}

#[test]
fn an_unknown_path_ends_as_the_service_ends_it() {
    for closes in [true, false] {
        let mut stage = Stage::at("v1/other", settings(), "model=x");
        let leg = stage.open();
        stage.audio(100);
        stage.sent(leg);
        stage.say(leg, "answer");
        if closes {
            stage.session.finish(stage.now);
        }
        stage.end(leg, LegEnd::Clean);
        assert_eq!(stage.session.outcome(), Outcome::Clean);
    }
    let mut stage = Stage::at("v1/other", settings(), "model=x");
    let leg = stage.open();
    stage.audio(100);
    stage.sent(leg);
    stage.end(leg, LegEnd::Clean);
    let failure = failure(&mut stage);
    assert_eq!(failure.cause, FailureCause::NotResumable(LegEnd::Clean));
}

#[test]
fn an_empty_frame_is_ignored() {
    for path in [
        "v1/listen",
        "v2/listen",
        "v1/speak",
        "v1/agent/converse",
        "v1/other",
    ] {
        let mut stage = Stage::at(path, settings(), QUERY);
        let leg = stage.open();
        assert_eq!(stage.try_audio(0), Ok(()), "{path}");
        assert_eq!(stage.sent(leg), [""; 0], "{path}");
    }
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.audio(0);
    stage.text(KEEPALIVE);
    stage.audio(0);
    stage.audio(500);
    assert_eq!(stage.sent(leg), ["500", KEEPALIVE, "500"]);
    stage.text("");
    assert_eq!(stage.sent(leg), [""], "an empty text is a message");
    stage.text(CLOSE);
    assert_eq!(stage.try_audio(0), Ok(()), "nothing follows the end");
    assert_eq!(stage.sent(leg), [CLOSE]);
    stage.results(leg, 0.0, 1.0, &[]);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.try_audio(0), Err(PushError::Closed));
    // It does not replace the application's last message either.
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.text(KEEPALIVE);
    stage.audio(0);
    stage.sent(leg);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), [KEEPALIVE]);
}

/// On a path that is not Deepgram's it is unknown what an answer is. A leg that took everything,
/// sent a message and ended in order has answered.
#[test]
fn an_unknown_path_that_was_answered_ends_in_order() {
    for end in [
        LegEnd::Clean,
        LegEnd::Closed {
            code: "1000".into(),
            text: String::new(),
        },
    ] {
        let mut stage = Stage::at("v1/other", settings(), "model=x");
        let leg = stage.open();
        stage.audio(100);
        stage.sent(leg);
        stage.say(leg, "answer");
        stage.end(leg, end.clone());
        assert_eq!(stage.session.outcome(), Outcome::Clean);
        assert_eq!(stage.try_audio(1), Err(PushError::Closed));
    }
    // Input that was not taken or not answered is missing.
    for (taken, said) in [(false, true), (true, false)] {
        let mut stage = Stage::at("v1/other", settings(), "model=x");
        let leg = stage.open();
        stage.audio(100);
        if taken {
            stage.sent(leg);
        }
        if said {
            stage.say(leg, "answer");
        }
        stage.end(leg, LegEnd::Clean);
        assert_eq!(
            failure(&mut stage).cause,
            FailureCause::NotResumable(LegEnd::Clean)
        );
    }
}

fn expired() -> LegEnd {
    LegEnd::Refused {
        reason: Reason::KeysExpired,
        name: "ExpiredTokenException".into(),
        text: "The security token included in the request is expired".into(),
    }
}

/// Asks for the next leg. Returns whether it gets fresh keys.
fn asked(stage: &mut Stage) -> bool {
    match stage.step() {
        Step::Open { renew, .. } => renew,
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_that_run_out_in_mid_stream_are_looked_up_again() {
    // Without any retry: the service did not fail.
    let settings = Settings {
        max_retries: 0,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    assert!(!asked(&mut stage));
    let leg = stage.session.leg_opened(stage.now);
    stage.audio(500);
    stage.sent(leg);
    stage.end(leg, expired());
    assert!(asked(&mut stage), "at once, with fresh keys");
    assert_eq!(
        expired().to_string(),
        "ExpiredTokenException: The security token included in the request is expired"
    );
    assert_eq!(
        stage.session.pop_notice().unwrap().1,
        Notice::LegEnded {
            leg,
            part: Part::Current,
            end: Some(expired()),
            reason: Some(Reason::KeysExpired),
            lasted: seconds(0.0),
            again: Some(Again {
                attempts: 0,
                unacked_seconds: 0.5,
            }),
        }
    );
    let leg = stage.session.leg_opened(stage.now);
    assert_eq!(stage.sent(leg), ["500"]);
    stage.results(leg, 0.0, 0.5, &[]);
    // Fresh keys that worked may run out again.
    stage.audio(500);
    stage.sent(leg);
    stage.end(leg, expired());
    assert!(asked(&mut stage));
    let leg = stage.session.leg_opened(stage.now);
    // These did not work.
    stage.sent(leg);
    stage.end(leg, expired());
    let failure = failure(&mut stage);
    assert_eq!(failure.cause, FailureCause::Leg(expired()));
    assert!((failure.unacked_seconds - 0.5).abs() < 1e-9);
}

/// A standby was opened with the old keys, so its end does not show that fresh ones are refused.
#[test]
fn a_standby_with_old_keys_does_not_use_up_the_renewal() {
    let settings = Settings {
        max_leg_age: Some(seconds(1.0)),
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.pass(1.5);
    assert!(!asked(&mut stage), "a standby");
    let standby = stage.session.leg_opened(stage.now);
    stage.end(leg, expired());
    assert_eq!(stage.sent(standby).last().unwrap(), "500");
    stage.end(standby, expired());
    assert!(asked(&mut stage));
    let leg = stage.session.leg_opened(stage.now);
    stage.sent(leg);
    stage.end(leg, expired());
    assert_eq!(failure(&mut stage).cause, FailureCause::Leg(expired()));
}

/// The words of a hostile service are bounded, printable and without secrets everywhere.
#[test]
fn the_service_s_words_are_quoted_in_the_log_and_in_the_figures() {
    let evil = format!(
        "\u{1b}[2Jline\r\nAKIAIOSFODNN7EXAMPLE Signature={}\u{7}{}",
        "ab".repeat(32),
        "x ".repeat(1 << 20)
    );
    for end in [
        LegEnd::Closed {
            code: evil.clone(),
            text: evil.clone(),
        },
        LegEnd::Failed { text: evil.clone() },
        LegEnd::Refused {
            reason: Reason::UnknownException,
            name: evil.clone(),
            text: evil.clone(),
        },
        LegEnd::Dropped {
            detail: evil.clone(),
        },
        LegEnd::Protocol {
            detail: evil.clone(),
        },
    ] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.audio(500);
        stage.sent(leg);
        stage.end(leg, end);
        let figure = stage.session.stats().last_error.unwrap();
        let notices = std::iter::from_fn(|| stage.session.pop_notice());
        let said = notices.map(|(_, notice)| match notice {
            Notice::LegEnded { end: Some(end), .. } => end.to_string(),
            other => format!("{other:?}"),
        });
        for told in said.chain([figure]) {
            assert!(told.chars().count() < 700, "{told}");
            assert!(!told.contains(char::is_control), "{told}");
            assert!(!told.contains("AKIA") && !told.contains("abab"), "{told}");
        }
    }
}

/// A service that takes the closing message and says nothing more is not waited for forever.
#[test]
fn silence_after_the_closing_message_counts_whatever_was_asked_for() {
    const SPEAK: &str = r#"{"type":"Speak","text":"a"}"#;
    const FLUSH: &str = r#"{"type":"Flush"}"#;
    const END: &str = r#"{"type":"Close"}"#;
    for path in ["v1/speak", "v2/speak"] {
        for asked in [&[SPEAK, FLUSH, END][..], &[SPEAK, END], &[END]] {
            let mut stage = Stage::at(path, settings(), "encoding=linear16&sample_rate=8000");
            for message in asked {
                stage.text(message);
            }
            let leg = stage.open();
            assert_eq!(stage.sent(leg).last().unwrap(), END, "{path}");
            stage.say(leg, r#"{"type":"Metadata"}"#);
            if asked.contains(&FLUSH) {
                stage.say(leg, r#"{"type":"Flushed","sequence_id":0,"speech_id":0}"#);
            }
            stage.pass(60.0);
            assert!(
                stage.session.driver_wanted(stage.now),
                "{path} {asked:?} waits for good"
            );
        }
    }
}

/// A session on Flux with a container at 4,000 bytes a second, of which the leg has reported four
/// seconds and then nothing of `more` bytes.
fn reported_in_part(more: usize) -> (Stage, dgsm_session::LegId) {
    let settings = Settings {
        stall_timeout: None,
        ..settings()
    };
    let mut stage = Stage::at("v2/listen", settings, "");
    let leg = stage.open();
    for second in 1..=4 {
        stage.audio(4000);
        stage.sent(leg);
        stage.pass(1.0);
        let update = format!(
            r#"{{"type":"TurnInfo","event":"Update","turn_index":0,"audio_window_start":0,
                "audio_window_end":{second}.0,"transcript":"","words":[]}}"#
        );
        stage.say(leg, &update);
    }
    for _ in 0..more / 1000 {
        stage.audio(1000);
        stage.sent(leg);
        stage.pass(0.25);
    }
    stage.session.finish(stage.now);
    stage.pass(0.3);
    assert_eq!(stage.sent(leg), [CLOSE]);
    (stage, leg)
}

/// The container's clock is its own, but four seconds of it had a known size.
#[test]
fn an_end_in_order_is_not_believed_with_seconds_of_a_container_unreported() {
    for end in [
        LegEnd::Clean,
        LegEnd::Closed {
            code: "1000".into(),
            text: "bye".into(),
        },
    ] {
        let (mut stage, leg) = reported_in_part(12_000);
        stage.end(leg, end);
        assert_eq!(stage.session.outcome(), Outcome::Open);
        let leg = stage.open();
        assert_eq!(
            stage.sent(leg).len(),
            16,
            "everything again, then the quiet"
        );
    }
}

#[test]
fn an_end_in_order_is_believed_with_a_window_of_a_container_unreported() {
    let (mut stage, leg) = reported_in_part(1000);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
}
