//! How much is kept, what waits, and which losses are reported.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use std::time::Duration;

use dgsm_leg::end::LegEnd;
use dgsm_session::resume::inbox::MESSAGE_COST;
use dgsm_session::{
    FailureCause, Level, MIN_UNSENT_BYTES, Notice, Outcome, PushError, SendStep, Settings, Step,
};
use stage::{CLOSE, FINALIZE, KEEPALIVE, QUERY, RESET, Stage, seconds, settings};

fn limited(bytes: usize) -> Stage {
    Stage::with(
        Settings {
            max_replay_buffer_bytes: bytes,
            ..settings()
        },
        QUERY,
    )
}

#[test]
fn unsent_audio_has_room_whatever_the_limit() {
    for (limit, room) in [(0, MIN_UNSENT_BYTES), (300_000, 300_000)] {
        let mut stage = limited(limit);
        let mut taken = 0;
        while stage.session.is_writable(stage.now) {
            stage.audio(1000);
            taken += 1000;
        }
        assert_eq!(taken, room.next_multiple_of(1000));
        assert_eq!(stage.try_audio(1), Err(PushError::Full));
        assert!(
            stage.session.push(stage.now, CLOSE.into()).is_ok(),
            "closing needs no room"
        );
    }
}

#[test]
fn a_file_waits_for_its_results() {
    let mut stage = limited(10_000);
    let leg = stage.open();
    for _ in 0..11 {
        stage.audio(1000);
        stage.sent(leg);
    }
    assert!(!stage.session.is_writable(stage.now), "11 s sent at once");
    stage.results(leg, 0.0, 1.0, &[]);
    assert!(stage.session.is_writable(stage.now));
    stage.audio(1000);
    stage.sent(leg);
    assert!(!stage.session.is_writable(stage.now));
    // A deadline wakes an application that waits for room when the wall clock has caught up.
    assert_eq!(stage.session.deadline(), Some(seconds(11.0)));
    stage.pass(11.0);
    assert!(stage.session.is_writable(stage.now));
    assert_eq!(stage.session.stats().bytes_evicted, 1000);
    assert_eq!(
        stage.session.stats().bytes_lost,
        0,
        "only a reset would need it"
    );
}

#[test]
fn an_application_that_waits_for_room_is_not_silent() {
    let file = || {
        let limits = Settings {
            max_replay_buffer_bytes: 30_000,
            stall_timeout: None,
            ..settings()
        };
        let mut stage = Stage::with(limits, QUERY);
        let leg = stage.open();
        for _ in 0..31 {
            stage.audio(1000);
            stage.sent(leg);
        }
        (stage, leg)
    };
    let second = |stage: &mut Stage, leg| {
        stage.pass(1.0);
        stage.sent(leg)
    };
    // It stops, although it could send: nothing speaks for it.
    let (mut stage, leg) = file();
    for _ in 0..20 {
        assert_eq!(second(&mut stage, leg), [""; 0]);
    }
    stage.end(leg, net_0001());
    assert!(matches!(stage.step(), Step::Failed(_)));
    // It waits: the service hears that there will be more.
    let (mut stage, leg) = file();
    assert_eq!(stage.try_audio(1), Err(PushError::Full));
    let sent: Vec<_> = (0..20).flat_map(|_| second(&mut stage, leg)).collect();
    assert_eq!(sent, [KEEPALIVE; 5]);
    stage.end(leg, net_0001());
    stage.open();
    // It does not come back when there is room.
    let (mut stage, leg) = file();
    assert_eq!(stage.try_audio(1), Err(PushError::Full));
    stage.results(leg, 0.0, 10.0, &[]);
    assert!(stage.session.is_writable(stage.now));
    for _ in 0..9 {
        assert_eq!(second(&mut stage, leg), [""; 0]);
    }
    stage.end(leg, net_0001());
    assert!(matches!(stage.step(), Step::Failed(_)));
}

fn net_0001() -> LegEnd {
    LegEnd::Closed {
        code: "1011".into(),
        text: "NET-0001: no audio".into(),
    }
}

#[test]
fn live_audio_over_the_limit_is_evicted_and_missed_only_by_a_reset() {
    let mut stage = limited(3000);
    let leg = stage.open();
    for _ in 0..8 {
        stage.pass(1.0);
        stage.audio(1000);
        stage.text(FINALIZE);
        stage.sent(leg);
    }
    let stats = stage.session.stats();
    assert_eq!(
        (stats.journal_bytes, stats.bytes_evicted, stats.bytes_lost),
        (3000, 5000, 0)
    );
    stage.results(leg, 0.0, 1.5, &[]);
    stage.end(leg, RESET);
    stage.notices();
    let leg = stage.open();
    let stats = stage.session.stats();
    assert_eq!(stats.bytes_lost, 3500);
    assert!((stats.seconds_lost - 3.5).abs() < 1e-9);
    let gap = stage
        .notices()
        .into_iter()
        .find(|notice| notice.level() == Level::Warning);
    let gap = gap.expect("a gap is a warning");
    assert_eq!(
        gap,
        Notice::Gap {
            start_seconds: 1.5,
            seconds: 3.5,
            bytes: 3500
        }
    );
    let sent = stage.sent(leg);
    assert_eq!(sent.iter().filter(|sent| *sent == "1000").count(), 3);
    assert_eq!(
        sent.iter().filter(|sent| *sent == FINALIZE).count(),
        7,
        "never evicted"
    );
    stage.read();
    stage.results(leg, 0.0, 1.0, &[]);
    assert_eq!(
        stage.read_results(),
        [(5.0, 6.0, String::new())],
        "later times stay right"
    );
    stage.end(leg, RESET);
    stage.open();
    assert_eq!(stage.session.stats().bytes_lost, 3500, "lost once");
}

#[test]
fn with_nothing_kept_a_reset_loses_unacked_audio() {
    let mut stage = limited(0);
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    stage.audio(500);
    assert_eq!(stage.session.stats().journal_bytes, 500);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["500"]);
    assert_eq!(stage.session.stats().bytes_lost, 1000);
    stage.results(leg, 0.0, 0.5, &[]);
    assert_eq!(stage.read_results(), [(1.0, 1.5, String::new())]);
}

#[test]
fn audio_that_waits_to_be_replayed_is_not_evicted_first() {
    let mut stage = limited(10_000);
    let leg = stage.open();
    for _ in 0..15 {
        stage.try_audio(1000).ok();
        stage.sent(leg);
    }
    stage.end(leg, RESET);
    // The wall clock has caught up, and nothing runs ahead any more.
    stage.pass(20.0);
    let leg = stage.open();
    assert_eq!(stage.sent(leg).len(), 11);
    assert_eq!(stage.session.stats().bytes_lost, 0);
}

#[test]
fn other_audio_is_kept_from_its_start_while_it_fits() {
    let settings = Settings {
        max_replay_buffer_bytes: 2500,
        ..settings()
    };
    let mut stage = Stage::with(settings, "model=nova-3");
    let leg = stage.open();
    for _ in 0..2 {
        stage.audio(1000);
    }
    stage.sent(leg);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["1000", "1000"]);
    assert!(
        stage
            .notices()
            .iter()
            .all(|notice| notice.level() < Level::Warning)
    );
    for _ in 0..3 {
        stage.audio(1000);
        stage.sent(leg);
    }
    assert_eq!(
        stage.notices(),
        [Notice::NotResumable { limit: 2500 }],
        "said once"
    );
    assert_eq!(stage.session.stats().journal_bytes, 0);
    stage.end(leg, RESET);
    match stage.step() {
        Step::Failed(failure) => {
            assert_eq!(failure.cause, FailureCause::NotResumable(RESET));
            assert!(
                failure.to_string().contains("cannot be resumed"),
                "{failure}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_replay_is_paced_and_what_follows_is_not() {
    let settings = Settings {
        replay_speed: Some(4.0),
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    for _ in 0..80 {
        stage.pass(0.1);
        stage.audio(100);
        stage.sent(leg);
    }
    stage.end(leg, RESET);
    let leg = stage.open();
    let began = stage.now;
    let mut sent = 0;
    while sent < 80 {
        match stage.session.poll_send(stage.now, leg) {
            SendStep::Frame(_) => sent += 1,
            SendStep::Wait { until } => {
                let until = until.expect("a pace has a next time");
                assert!(until > stage.now);
                stage.now = until;
            }
            other => panic!("{other:?}"),
        }
    }
    let took = stage.now.saturating_sub(began).as_secs_f64();
    assert!(
        (1.9..=2.0).contains(&took),
        "8 s at four times their speed took {took}"
    );
    for _ in 0..20 {
        stage.audio(100);
    }
    assert_eq!(stage.sent(leg).len(), 20, "it has caught up");
}

#[test]
fn a_replay_is_never_slower_than_the_application() {
    let settings = Settings {
        replay_speed: Some(1.0),
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    for _ in 0..80 {
        stage.pass(0.01);
        stage.audio(100);
        stage.sent(leg);
    }
    stage.end(leg, RESET);
    let leg = stage.open();
    let began = stage.now;
    while let SendStep::Frame(_) | SendStep::Wait { until: Some(_) } =
        match stage.session.poll_send(stage.now, leg) {
            SendStep::Wait { until: Some(until) } => {
                stage.now = until;
                SendStep::Wait { until: Some(until) }
            }
            step => step,
        }
    {}
    assert!(
        stage.now < began + seconds(0.8),
        "8 s that came within 0.8 s"
    );
}

#[test]
fn unread_messages_hold_the_service_back() {
    let settings = Settings {
        max_unread_bytes: 1000,
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    while stage.session.wants_messages() {
        stage.say(leg, r#"{"type":"Future"}"#);
    }
    // Each message takes its content and an overhead.
    assert!(matches!(
        stage.notices()[..],
        [Notice::Unread { bytes, again: false }] if bytes == 4 * (17 + MESSAGE_COST)
    ));
    stage.say(leg, r#"{"type":"Future"}"#);
    assert!(stage.notices().is_empty(), "said once");
    for _ in 0..60 {
        stage.audio(1000);
        stage.sent(leg);
        stage.pass(1.0);
    }
    assert_eq!(stage.session.outcome(), Outcome::Open);
    assert_eq!(stage.session.stats().legs, 1, "the service could not speak");
    stage.read();
    assert!(stage.session.wants_messages());
    stage.pass(0.1);
    for _ in 0..29 {
        stage.audio(1000);
        stage.sent(leg);
        stage.pass(1.0);
    }
    assert!(
        stage.session.stats().resets.is_empty(),
        "the time of silence starts when it may"
    );
}

#[test]
fn keepalives_are_made_when_asked_for() {
    let settings = Settings {
        keepalive_interval: Some(Duration::from_secs(3)),
        ..settings()
    };
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    assert_eq!(
        stage.session.poll_send(stage.now, leg),
        SendStep::Wait {
            until: Some(seconds(3.0))
        }
    );
    stage.pass(3.0);
    assert_eq!(stage.sent(leg), [KEEPALIVE]);
    stage.pass(2.0);
    stage.audio(10);
    assert_eq!(stage.sent(leg), ["10"]);
    stage.pass(2.0);
    assert!(stage.sent(leg).is_empty());
    stage.pass(1.0);
    assert_eq!(stage.sent(leg), [KEEPALIVE]);
    stage.results(leg, 0.0, 0.01, &[]);
    stage.end(leg, dgsm_leg::end::LegEnd::Clean);
    stage.pass(3.0);
    let leg = stage.open();
    assert_eq!(
        stage.sent(leg),
        [KEEPALIVE],
        "a session that is kept alive has no silent end"
    );
}

#[test]
fn a_file_waits_whatever_the_size_of_its_pieces() {
    let limit = 8_000;
    for pieces in [
        vec![30_000],
        vec![30_000, 100, 100, 100],
        vec![30_000, 30_000, 30_000],
        vec![100, 30_000, 100],
        vec![5_000, 5_000, 5_000, 5_000],
        vec![8_000, 8_000],
    ] {
        let mut stage = limited(limit);
        let leg = stage.open();
        let (mut sent, mut final_until) = (0_u32, 0_u32);
        for piece in &pieces {
            // Finals come two seconds behind the audio that was sent.
            while !stage.session.is_writable(stage.now) {
                assert!(final_until < sent, "it waits for nothing: {pieces:?}");
                let until = (final_until + 1000).min(sent);
                let time = |millis: u32| f64::from(millis) / 1e3;
                stage.results(leg, time(final_until), time(until - final_until), &[]);
                final_until = until;
                stage.pass(0.01);
            }
            stage.audio(*piece as usize);
            sent += piece;
            stage.sent(leg);
            stage.pass(0.01);
        }
        assert_eq!(stage.session.stats().bytes_evicted, 0, "{pieces:?}");
        stage.end(leg, RESET);
        let leg = stage.open();
        let again = stage.sent(leg);
        let again: u32 = again
            .iter()
            .map(|bytes| bytes.parse::<u32>().unwrap())
            .sum();
        assert_eq!(again, sent - final_until, "{pieces:?}");
        assert_eq!(stage.session.stats().bytes_lost, 0, "{pieces:?}");
    }
}

#[test]
fn a_live_frame_over_the_limit_by_itself_is_kept() {
    let mut stage = limited(8_000);
    let leg = stage.open();
    for _ in 0..5 {
        stage.audio(30_000);
        stage.sent(leg);
        stage.say(leg, r#"{"type":"Future"}"#);
        stage.pass(29.5);
        assert!(
            stage.session.is_writable(stage.now),
            "what is live does not wait"
        );
        let stats = stage.session.stats();
        assert_eq!(stats.journal_bytes, 30_000, "the one before makes room");
        stage.say(leg, r#"{"type":"Future"}"#);
        stage.pass(0.5);
    }
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["30000"]);
    assert_eq!(stage.session.stats().bytes_lost, 120_000);
}

#[test]
fn other_audio_in_one_frame_is_kept_whatever_its_size() {
    for pieces in [vec![10_000], vec![500, 10_000], vec![10_000, 500, 1500]] {
        let settings = Settings {
            max_replay_buffer_bytes: 2500,
            ..settings()
        };
        let mut stage = Stage::with(settings, "model=nova-3");
        let leg = stage.open();
        for piece in &pieces {
            stage.audio(*piece);
        }
        let sent = stage.sent(leg);
        assert!(stage.notices().is_empty(), "{pieces:?}");
        stage.end(leg, RESET);
        let leg = stage.open();
        assert_eq!(stage.sent(leg), sent);
        stage.audio(3000);
        stage.sent(leg);
        let warned = |notice: &Notice| *notice == Notice::NotResumable { limit: 2500 };
        assert!(stage.notices().iter().any(warned), "{pieces:?}");
    }
}
