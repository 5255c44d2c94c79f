//! Claims of a service about audio that it cannot have heard.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{Notice, Outcome, Settings, Step};
use stage::{CLOSE, RESET, Stage, seconds, settings};

const SPEAK: &str = "encoding=linear16&sample_rate=8000";
const TEXT: &str = r#"{"type":"Speak","text":"one"}"#;
const FLUSH: &str = r#"{"type":"Flush"}"#;

fn beyond(stage: &mut Stage) -> usize {
    let notices = stage.notices();
    let claims = notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Beyond { .. }));
    claims.count()
}

#[test]
fn what_a_service_rounds_up_is_not_taken_from_what_follows() {
    // A final ends a little behind the audio that was sent. That is no false claim, and no result
    // of the next audio.
    for over in [0.01, 0.05, 0.1] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.audio(500);
        stage.sent(leg);
        stage.results(leg, 0.0, 0.5 + over, &[("a", 0.1, 0.5 + over)]);
        stage.audio(500);
        stage.sent(leg);
        stage.end(leg, RESET);
        assert_eq!(stage.read_results(), [(0.0, 0.5, "a".to_owned())]);
        assert!((stage.session.stats().seconds_acknowledged - 0.5).abs() < 1e-9);
        let leg = stage.open();
        assert_eq!(stage.sent(leg), ["500"]);
        stage.results(leg, 0.0, 0.5, &[("b", 0.0, over), ("c", over, 0.5)]);
        assert_eq!(stage.read_results(), [(0.5, 1.0, "b c".to_owned())]);
        assert_eq!(beyond(&mut stage), 0);
    }
}

#[test]
fn what_flux_rounds_up_is_not_taken_from_what_follows() {
    let query = "model=flux&encoding=mulaw&sample_rate=1000";
    let mut stage = Stage::at("v2/listen", settings(), query);
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    stage.say(leg, &turn("EndOfTurn", 0, (0.0, 1.08), "a"));
    stage.audio(1000);
    stage.sent(leg);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["1000"]);
    stage.say(leg, &turn("EndOfTurn", 0, (0.0, 0.06), "b"));
    let told: Vec<_> = stage
        .read()
        .iter()
        .filter(|told| told["event"] == "EndOfTurn")
        .map(|told| (told["transcript"].clone(), told["audio_window_end"].clone()))
        .collect();
    assert_eq!(told, [("a".into(), 1.0.into()), ("b".into(), 1.06.into())]);
    assert_eq!(beyond(&mut stage), 0);
}

#[test]
fn a_leg_says_nothing_of_audio_that_it_was_not_sent() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    stage.end(leg, RESET);
    let leg = stage.open();
    // Before the leg was sent anything.
    stage.results(leg, 0.0, 1.0, &[]);
    assert_eq!(beyond(&mut stage), 1);
    assert_eq!(stage.session.stats().bytes_acknowledged, 0);
    assert_eq!(stage.sent(leg), ["1000"]);
    stage.results(leg, 0.0, 1.0, &[("a", 0.1, 0.9)]);
    assert_eq!(stage.read_results().last().unwrap().2, "a");
}

fn turn(event: &str, index: u32, (start, end): (f64, f64), transcript: &str) -> String {
    format!(
        r#"{{"type":"TurnInfo","event":"{event}","turn_index":{index},"audio_window_start":{start},"audio_window_end":{end},"transcript":"{transcript}","words":[],"sequence_id":1}}"#
    )
}

/// Plays legs that answer with these messages and end in order. Returns how many were opened in 10
/// s.
fn openings(path: &str, asks: &[&'static str], says: &[&str]) -> u64 {
    let ordinary = Settings {
        replay_speed: None,
        ..Settings::default()
    };
    let mut stage = Stage::at(path, ordinary, SPEAK);
    for text in asks {
        stage.text(text);
    }
    while stage.now < seconds(10.0) {
        match stage.step() {
            Step::Open { .. } => {
                let leg = stage.session.leg_opened(stage.now);
                stage.sent(leg);
                for text in says {
                    stage.say(leg, text);
                }
                stage.end(leg, LegEnd::Clean);
                stage.pass(0.001);
            }
            Step::Wait { .. } => stage.pass(0.01),
            Step::Finished | Step::Failed(_) => break,
        }
    }
    stage.session.stats().legs
}

#[test]
fn an_answer_that_was_not_asked_for_is_no_progress() {
    let says = [
        r#"{"type":"Flushed","sequence_id":0}"#,
        r#"{"type":"Cleared","sequence_id":0}"#,
        r#"{"type":"SpeechInterrupted","audio_played_ms":0,"metadata":{}}"#,
        r#"{"type":"Metadata","request_id":"r"}"#,
    ];
    for path in ["v1/speak", "v2/speak"] {
        for said in says {
            let legs = openings(path, &[TEXT], &[said]);
            assert!(legs <= 6, "{path}: {legs} legs of {said}");
        }
        // Neither of these answers a Flush.
        for said in &says[1..] {
            let legs = openings(path, &[TEXT, FLUSH], &[said]);
            assert!(legs <= 6, "{path}: {legs} legs of {said}");
        }
    }
}

#[test]
fn an_interrupt_that_was_not_sent_takes_nothing_back() {
    let mut stage = Stage::at("v2/speak", settings(), SPEAK);
    let leg = stage.open();
    for text in [TEXT, FLUSH, r#"{"type":"Close"}"#] {
        stage.text(text);
    }
    stage.sent(leg);
    stage.say(
        leg,
        r#"{"type":"SpeechInterrupted","audio_played_ms":0,"metadata":{}}"#,
    );
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Open);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), [TEXT, FLUSH, r#"{"type":"Close"}"#]);
}

#[test]
fn an_answer_that_was_not_asked_for_repeats_no_speech() {
    let mut stage = Stage::at("v1/speak", settings(), SPEAK);
    let leg = stage.open();
    stage.text(TEXT);
    stage.sent(leg);
    let hear = |stage: &mut Stage, leg, bytes: &[u8]| {
        let frame = Frame::Binary(bytes.to_vec().into());
        stage.session.receive(stage.now, leg, frame);
    };
    hear(&mut stage, leg, &[1; 1600]);
    stage.say(leg, r#"{"type":"Flushed","sequence_id":0}"#);
    stage.end(leg, RESET);
    let leg = stage.open();
    stage.text(FLUSH);
    assert_eq!(stage.sent(leg), [TEXT, FLUSH]);
    hear(&mut stage, leg, &[1; 3200]);
    stage.say(leg, r#"{"type":"Flushed","sequence_id":0}"#);
    let heard: usize = std::iter::from_fn(|| stage.session.pop())
        .filter(|frame| frame.as_str().is_none())
        .map(|frame| match frame {
            Frame::Binary(bytes) | Frame::Text(bytes) => bytes.len(),
        })
        .sum();
    assert_eq!(heard, 3200);
}

/// Plays a container on Flux that is closed. Each leg reports windows once it has this much audio,
/// and ends in order on `CloseStream`. Returns whether the session ends in order, and over how many
/// legs.
fn container(bytes: usize, reports: Option<(usize, f64)>) -> (bool, u64) {
    let mut stage = Stage::at("v2/listen", settings(), "model=flux");
    stage
        .session
        .push(stage.now, Frame::Binary(b"OggS\0\x02".to_vec().into()))
        .unwrap();
    for _ in 0..bytes / 640 {
        stage.audio(640);
    }
    stage.text(CLOSE);
    while stage.session.outcome() == Outcome::Open {
        let leg = stage.open();
        let mut sent = 0;
        loop {
            let got = stage.session.poll_send(stage.now, leg);
            let dgsm_session::SendStep::Frame(frame) = got else {
                stage.pass(1.0);
                continue;
            };
            if frame.as_str() == Some(CLOSE) {
                break;
            }
            let before = sent;
            sent += match &frame {
                Frame::Binary(bytes) | Frame::Text(bytes) => bytes.len(),
            };
            if let Some((at, end)) = reports
                && before <= at
                && at < sent
            {
                stage.say(leg, &turn("Update", 0, (0.0, end), ""));
            }
        }
        stage.end(leg, LegEnd::Clean);
    }
    (
        stage.session.outcome() == Outcome::Clean,
        stage.session.stats().legs,
    )
}

#[test]
fn a_container_without_an_answer_from_flux_is_missing() {
    // It may be too little for a window.
    assert_eq!(container(640, None), (true, 2));
    assert_eq!(container(7680, None), (true, 2));
    // No window is as long as that.
    assert_eq!(container(9600, None), (false, 6));
    assert_eq!(container(100_000, None), (false, 6));
}

#[test]
fn the_rest_of_a_container_without_an_answer_from_flux_is_missing() {
    assert_eq!(container(100_000, Some((99_000, 3.0))), (true, 1));
    assert_eq!(container(100_000, Some((80_000, 2.5))), (true, 1));
    assert_eq!(container(100_000, Some((60_000, 2.0))), (false, 6));
    assert_eq!(container(100_000, Some((20_000, 1.0))), (false, 6));
}

#[test]
fn a_turn_without_a_word_ends_nothing_that_was_not_sent() {
    let query = "model=flux&encoding=mulaw&sample_rate=1000";
    for event in ["Update", "StartOfTurn", "EagerEndOfTurn", "EndOfTurn"] {
        let mut stage = Stage::at("v2/listen", settings(), query);
        let mut legs = 0;
        for _ in 0..50 {
            if stage.session.outcome() != Outcome::Open {
                break;
            }
            stage.audio(5000);
            let leg = stage.open();
            stage.sent(leg);
            stage.say(leg, &turn(event, 0, (0.0, 5000.0), ""));
            stage.end(leg, LegEnd::Clean);
            legs += 1;
        }
        assert_eq!(legs, 6, "{event}: no progress");
        assert_eq!(stage.session.stats().bytes_acknowledged, 0, "{event}");
    }
}

#[test]
fn a_session_that_ends_does_not_report_that_it_goes_on() {
    let query = "model=flux&encoding=mulaw&sample_rate=1000";
    let error = r#"{"type":"Error","code":"UNPARSABLE_CLIENT_MESSAGE","description":"x"}"#;
    for (retries, goes_on) in [(0, false), (1, true)] {
        let patient = Settings {
            max_retries: retries,
            ..settings()
        };
        let mut stage = Stage::at("v2/listen", patient, query);
        let leg = stage.open();
        stage.audio(1000);
        stage.text(r#"{"type":"Configure","thresholds":{"eot_threshold":0.8}}"#);
        stage.sent(leg);
        stage.say(leg, error);
        stage.end(leg, LegEnd::Clean);
        assert_eq!(stage.session.outcome() == Outcome::Open, goes_on);
        let notices = stage.notices();
        let says_so = |notice: &Notice| matches!(notice, Notice::LeftOut { .. });
        assert_eq!(notices.iter().any(says_so), goes_on);
        assert_eq!(stage.read_texts(), [error]);
    }
}

#[test]
fn text_without_a_flush_is_said_to_its_end() {
    const CLOSE: &str = r#"{"type":"Close"}"#;
    for finish in [false, true] {
        let mut stage = Stage::at("v1/speak", settings(), SPEAK);
        let leg = stage.open();
        stage.text(TEXT);
        if finish {
            stage.session.finish(stage.now);
        } else {
            stage.text(CLOSE);
        }
        // Audio without an answer looks like missing audio, so the session asks for it.
        assert_eq!(stage.sent(leg), [TEXT, FLUSH, CLOSE]);
        let say = |stage: &mut Stage, leg, samples: usize| {
            let frame = Frame::Binary(vec![1; samples * 2].into());
            stage.session.receive(stage.now, leg, frame);
        };
        say(&mut stage, leg, 100);
        stage.end(leg, LegEnd::Clean);
        assert_eq!(stage.session.outcome(), Outcome::Open, "it broke off");
        let leg = stage.open();
        assert_eq!(stage.sent(leg), [TEXT, FLUSH, CLOSE]);
        say(&mut stage, leg, 300);
        stage.say(leg, r#"{"type":"Flushed","sequence_id":0}"#);
        stage.end(leg, LegEnd::Clean);
        assert_eq!(stage.session.outcome(), Outcome::Clean);
        let mut heard = 0;
        while let Some(frame) = stage.session.pop() {
            match frame {
                Frame::Binary(bytes) => heard += bytes.len(),
                Frame::Text(text) => panic!("the application asked for nothing: {text:?}"),
            }
        }
        assert_eq!(heard, 600);
    }
}
