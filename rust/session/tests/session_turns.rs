//! Flux and the voice agent, played by hand: what a later leg is sent, and what the application
//! does not read.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_leg::end::LegEnd;
use dgsm_session::{LegId, Level, SendStep, Settings, Step};
use serde_json::{Value, json};
use stage::{CLOSE, KEEPALIVE, QUERY, RESET, Stage, settings};

fn flux() -> Stage {
    Stage::at("v2/listen", settings(), QUERY)
}

fn agent() -> Stage {
    Stage::at("v1/agent/converse", settings(), "")
}

/// A `TurnInfo` on the leg's clock, in seconds.
fn turn(sequence: u64, event: &str, index: u64, window: (f64, f64), transcript: &str) -> String {
    let words: Vec<Value> = transcript
        .split_whitespace()
        .map(|word| json!({"word": word, "confidence": 0.5}))
        .collect();
    let mut message = json!({
        "type": "TurnInfo",
        "sequence_id": sequence,
        "event": event,
        "turn_index": index,
        "audio_window_start": window.0,
        "audio_window_end": window.1,
        "transcript": transcript,
        "words": words,
    });
    if event == "EndOfTurn" {
        message["trigger"] = "model".into();
    }
    message.to_string()
}

fn reset(stage: &mut Stage, leg: LegId) -> LegId {
    stage.end(leg, RESET);
    stage.open()
}

fn say(stage: &mut Stage, leg: LegId, messages: &[&str]) {
    for message in messages {
        stage.say(leg, message);
    }
}

#[test]
fn accepted_configures_head_every_leg_and_their_replies_are_not_delivered() {
    let mut stage = flux();
    let first = stage.open();
    stage.text(r#"{"type":"Configure","thresholds":{"eot_threshold":0.8}}"#);
    stage.text(r#"{"type":"Configure","thresholds":{"eot_timeout_ms":900},"keyterms":["a"]}"#);
    stage.text(r#"{"type":"Configure","keyterms":["refused"]}"#);
    stage.audio(1000);
    stage.text(r#"{"type":"Configure","numerals":true}"#);
    assert_eq!(stage.sent(first).len(), 5);
    say(
        &mut stage,
        first,
        &[
            r#"{"type":"Connected","sequence_id":0}"#,
            r#"{"type":"ConfigureSuccess","sequence_id":1}"#,
            r#"{"type":"ConfigureSuccess","sequence_id":2}"#,
            r#"{"type":"ConfigureFailure","sequence_id":3}"#,
        ],
    );
    stage.read();
    let second = reset(&mut stage, first);
    let sent = stage.sent(second);
    let head: Value = serde_json::from_str(&sent[0]).unwrap();
    let thresholds = json!({"eot_threshold": 0.8, "eot_timeout_ms": 900});
    let merged = json!({"type": "Configure", "thresholds": thresholds, "keyterms": ["a"]});
    assert_eq!(head, merged);
    assert_eq!(
        sent[1..],
        ["1000", r#"{"type":"Configure","numerals":true}"#]
    );
    say(
        &mut stage,
        second,
        &[
            r#"{"type":"Connected","sequence_id":0}"#,
            r#"{"type":"ConfigureSuccess","sequence_id":1}"#,
            r#"{"type":"ConfigureSuccess","sequence_id":2,"numerals":true}"#,
        ],
    );
    let expected = r#"{"type":"ConfigureSuccess","sequence_id":4,"numerals":true}"#;
    assert_eq!(stage.read_texts(), [expected]);
}

#[test]
fn a_forced_end_is_sent_again_until_its_turn_has_ended() {
    let mut stage = flux();
    let force = r#"{"type":"ForceEndTurn"}"#;
    let first = stage.open();
    stage.audio(1000);
    stage.text(force);
    stage.audio(500);
    assert_eq!(stage.sent(first), ["1000", force, "500"]);
    stage.say(first, &turn(0, "StartOfTurn", 0, (0.0, 0.9), "a"));
    let second = reset(&mut stage, first);
    assert_eq!(stage.sent(second), ["1000", force, "500"]);
    // The leg hears a little less than was sent before the message.
    let end = turn(1, "EndOfTurn", 0, (0.0, 0.9), "a").replace("model", "manual");
    stage.say(second, &end);
    let third = reset(&mut stage, second);
    assert_eq!(stage.sent(third), ["100", "500"]);
    let events: Vec<Value> = stage.read();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["trigger"], "manual");
}

#[test]
fn silence_settles_a_forced_end_between_turns() {
    let mut stage = flux();
    let first = stage.open();
    stage.audio(1000);
    stage.text(r#"{"type":"ForceEndTurn"}"#);
    stage.audio(3000);
    stage.sent(first);
    stage.say(first, &turn(0, "Update", 0, (0.0, 3.5), ""));
    let second = reset(&mut stage, first);
    assert_eq!(stage.sent(second), ["2500"]);
}

#[test]
fn an_error_is_held_back_and_numbered_when_it_is_delivered() {
    let error = r#"{"type":"Error","sequence_id":1,"code":"X","description":"no"}"#;
    let mut stage = flux();
    let first = stage.open();
    stage.audio(1000);
    stage.sent(first);
    say(
        &mut stage,
        first,
        &[r#"{"type":"Connected","sequence_id":0}"#, error],
    );
    let second = reset(&mut stage, first);
    stage.sent(second);
    say(
        &mut stage,
        second,
        &[
            r#"{"type":"Connected","sequence_id":0}"#,
            error,
            &turn(2, "StartOfTurn", 0, (0.0, 0.5), "a"),
        ],
    );
    let fatal = LegEnd::Closed {
        code: "1008".into(),
        text: "DATA-0000".into(),
    };
    stage.end(second, fatal);
    assert!(matches!(stage.step(), Step::Failed(_)));
    let messages = stage.read();
    let numbers: Vec<(&Value, &Value)> = messages
        .iter()
        .map(|message| (&message["type"], &message["sequence_id"]))
        .collect();
    let expected = [
        (&json!("Connected"), &json!(0)),
        // The second leg went on after its error.
        (&json!("Error"), &json!(1)),
        (&json!("TurnInfo"), &json!(2)),
    ];
    assert_eq!(numbers, expected);
}

#[test]
fn the_tail_of_an_open_turn_is_heard_again_after_close_stream() {
    let mut stage = flux();
    let first = stage.open();
    stage.audio(1000);
    stage.text(CLOSE);
    stage.sent(first);
    stage.say(first, &turn(0, "StartOfTurn", 0, (0.0, 0.5), "a"));
    let second = reset(&mut stage, first);
    assert_eq!(stage.sent(second), ["1000", CLOSE]);
    say(
        &mut stage,
        second,
        &[
            &turn(0, "StartOfTurn", 0, (0.0, 0.5), "a"),
            &turn(1, "Update", 0, (0.0, 0.9), "a b"),
        ],
    );
    stage.end(second, LegEnd::Clean);
    assert_eq!(stage.step(), Step::Finished);
    let messages = stage.read();
    assert_eq!(messages.len(), 2);
    assert_eq!(
        (&messages[1]["transcript"], &messages[1]["sequence_id"]),
        (&json!("a b"), &json!(1))
    );
}

#[test]
fn a_clean_end_between_turns_waits_for_the_next_audio() {
    let mut stage = flux();
    let first = stage.open();
    stage.audio(3000);
    stage.sent(first);
    stage.say(first, &turn(0, "Update", 0, (0.0, 2.9), ""));
    stage.end(first, LegEnd::Clean);
    assert_eq!(stage.step(), Step::Wait { until: None });
    stage.audio(500);
    let second = stage.open();
    assert_eq!(stage.sent(second), ["2100", "500"]);
}

#[test]
fn flux_gets_no_keepalive() {
    let mut settings = settings();
    settings.keepalive_interval = Some(stage::seconds(1.0));
    let mut stage = Stage::at("v2/listen", settings, QUERY);
    let leg = stage.open();
    stage.audio(100);
    assert_eq!(stage.sent(leg), ["100"]);
    for _ in 0..20 {
        stage.pass(0.5);
        stage.text(KEEPALIVE);
        assert_eq!(stage.sent(leg), [""; 0]);
    }
}

const SETTINGS: &str =
    r#"{"type":"Settings","audio":{"input":{"encoding":"mulaw","sample_rate":1000}},"agent":{}}"#;
const APPLIED: &str = r#"{"type":"SettingsApplied"}"#;

#[test]
fn settings_that_were_not_applied_are_sent_again_as_they_are() {
    let mut stage = agent();
    let first = stage.open();
    stage.text(SETTINGS);
    stage.audio(100);
    assert_eq!(stage.sent(first), [SETTINGS, "100"]);
    stage.say(first, r#"{"type":"Welcome","request_id":"1"}"#);
    let second = reset(&mut stage, first);
    assert_eq!(stage.sent(second), [SETTINGS, "100"]);
    say(
        &mut stage,
        second,
        &[r#"{"type":"Welcome","request_id":"2"}"#, APPLIED],
    );
    assert_eq!(
        stage.read_texts(),
        [r#"{"type":"Welcome","request_id":"1"}"#, APPLIED]
    );
    let third = reset(&mut stage, second);
    let sent = stage.sent(third);
    let again: Value = serde_json::from_str(&sent[0]).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(SETTINGS).unwrap());
    assert_eq!(sent[1..], ["100"]);
}

#[test]
fn an_accepted_update_is_sent_on_each_new_leg() {
    let mut stage = agent();
    let update = r#"{"type":"UpdateSpeak","speak":{"provider":{"model":"aura-2"}}}"#;
    let pending = r#"{"type":"UpdatePrompt","prompt":"p"}"#;
    let first = stage.open();
    stage.text(SETTINGS);
    stage.text(update);
    stage.text(pending);
    stage.sent(first);
    say(&mut stage, first, &[APPLIED, r#"{"type":"SpeakUpdated"}"#]);
    stage.read();
    let second = reset(&mut stage, first);
    assert_eq!(stage.sent(second)[1..], [update, pending]);
    say(
        &mut stage,
        second,
        &[
            APPLIED,
            r#"{"type":"SpeakUpdated"}"#,
            r#"{"type":"PromptUpdated"}"#,
        ],
    );
    assert_eq!(stage.read_texts(), [r#"{"type":"PromptUpdated"}"#]);
}

#[test]
fn a_refused_injection_is_not_sent_again() {
    let mut stage = agent();
    let inject = r#"{"type":"InjectAgentMessage","message":"Still there?"}"#;
    let first = stage.open();
    stage.text(SETTINGS);
    stage.text(inject);
    stage.sent(first);
    stage.say(first, APPLIED);
    let second = reset(&mut stage, first);
    assert_eq!(stage.sent(second)[1..], [inject]);
    stage.say(second, r#"{"type":"InjectionRefused","message":"no"}"#);
    let third = reset(&mut stage, second);
    assert_eq!(stage.sent(third).len(), 1, "the settings");
}

#[test]
fn an_agent_may_be_silent_while_the_user_is() {
    let mut stage = agent();
    let leg = stage.open();
    stage.text(SETTINGS);
    stage.sent(leg);
    stage.say(leg, APPLIED);
    for _ in 0..120 {
        stage.audio(1000);
        assert_eq!(stage.sent(leg), ["1000"]);
        stage.pass(1.0);
    }
    assert_eq!(stage.session.stats().legs, 1);
}

#[test]
fn nothing_comes_before_the_settings() {
    let mut settings = settings();
    settings.keepalive_interval = Some(stage::seconds(1.0));
    let mut stage = Stage::at("v1/agent/converse", settings, "");
    let leg = stage.open();
    stage.pass(3.0);
    assert_eq!(stage.sent(leg), [""; 0]);
    stage.text(SETTINGS);
    assert_eq!(stage.sent(leg), [SETTINGS]);
    stage.pass(1.5);
    assert_eq!(stage.sent(leg), [KEEPALIVE]);
    stage.session.finish(stage.now);
    assert_eq!(stage.session.poll_send(stage.now, leg), SendStep::End);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.step(), Step::Finished);
}

#[test]
fn that_the_agent_starts_to_speak_is_no_answer() {
    let user = r#"{"type":"ConversationText","role":"user","content":"Hi."}"#;
    let agent_says = r#"{"type":"ConversationText","role":"assistant","content":"Hello."}"#;
    let starts = r#"{"type":"AgentStartedSpeaking"}"#;
    let mut stage = agent();
    let first = stage.open();
    stage.text(SETTINGS);
    stage.audio(1000);
    stage.sent(first);
    say(&mut stage, first, &[APPLIED, user, starts]);
    let second = reset(&mut stage, first);
    assert_eq!(stage.sent(second)[1..], ["1000"]);
    // This leg also sends nothing before it ends.
    let third = reset(&mut stage, second);
    assert_eq!(stage.sent(third)[1..], ["1000"]);
    say(&mut stage, third, &[APPLIED, user, starts, agent_says]);
    let done = r#"{"type":"AgentAudioDone"}"#;
    assert_eq!(
        stage.read_texts(),
        [APPLIED, user, starts, done, starts, agent_says]
    );
    let fourth = reset(&mut stage, third);
    let sent = stage.sent(fourth);
    let settings: Value = serde_json::from_str(&sent[0]).unwrap();
    let said = settings["agent"]["context"]["messages"].as_array().unwrap();
    assert_eq!((said.len(), sent.len()), (2, 1), "{sent:?}");
}

#[test]
fn a_standby_of_the_agent_is_sent_nothing_before_the_settings() {
    let mut stage = agent();
    let first = stage.open();
    stage.text(SETTINGS);
    stage.audio(1000);
    stage.sent(first);
    say(
        &mut stage,
        first,
        &[APPLIED, r#"{"type":"UserStartedSpeaking"}"#],
    );
    stage.session.leg_going_away(stage.now, first);
    assert_eq!(
        stage.step(),
        Step::Open {
            standby: true,
            renew: false
        }
    );
    let standby = stage.session.leg_opened(stage.now);
    for _ in 0..5 {
        stage.pass(2.0);
        assert_eq!(stage.sent(standby), [""; 0]);
    }
    stage.say(
        first,
        r#"{"type":"ConversationText","role":"user","content":"Hi."}"#,
    );
    stage.say(
        first,
        r#"{"type":"ConversationText","role":"assistant","content":"Hello."}"#,
    );
    assert_eq!(stage.sent(standby), [""; 0], "the agent speaks");
    stage.say(first, r#"{"type":"AgentAudioDone"}"#);
    assert!(stage.sent(standby)[0].contains(r#""content":"Hello.""#));
}

#[test]
fn without_a_clock_only_an_end_in_order_is_an_answer() {
    let mut stage = Stage::at("v2/listen", settings(), "model=flux-general-en");
    let first = stage.open();
    stage.audio(1000);
    stage.text(CLOSE);
    stage.sent(first);
    stage.say(first, &turn(0, "StartOfTurn", 0, (0.0, 0.5), "a"));
    let second = reset(&mut stage, first);
    // It is asked to close after its own last message.
    assert_eq!(stage.sent(second), ["1000"]);
    stage.pass(0.2);
    stage.say(second, &turn(0, "StartOfTurn", 0, (0.0, 0.5), "a"));
    stage.pass(0.2);
    assert_eq!(stage.sent(second), [""; 0]);
    stage.pass(0.1);
    assert_eq!(stage.sent(second), [CLOSE]);
    stage.say(second, &turn(1, "Update", 0, (0.0, 0.9), "a b"));
    stage.end(second, LegEnd::Clean);
    assert_eq!(stage.step(), Step::Finished);
    let said: Vec<Value> = stage.read();
    assert_eq!((said.len(), &said[1]["transcript"]), (2, &json!("a b")));
}

#[test]
fn without_a_clock_an_end_that_comes_too_soon_is_no_end() {
    let settings = Settings {
        max_retries: 3,
        ..settings()
    };
    let mut stage = Stage::at("v2/listen", settings, "model=flux-general-en");
    let mut leg = stage.open();
    stage.audio(1000);
    stage.text(CLOSE);
    stage.sent(leg);
    stage.say(leg, &turn(0, "StartOfTurn", 0, (0.0, 0.5), "a"));
    leg = reset(&mut stage, leg);
    for end in [0.25, 0.49] {
        stage.sent(leg);
        stage.pass(0.3);
        assert_eq!(stage.sent(leg), [CLOSE]);
        stage.say(leg, &turn(0, "StartOfTurn", 0, (0.0, end), "a"));
        stage.end(leg, LegEnd::Clean);
        leg = stage.open();
    }
    stage.end(leg, LegEnd::Clean);
    match stage.step() {
        Step::Failed(failure) => assert_eq!(failure.unacked_bytes, 1000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_window_reaches_beyond_what_was_sent() {
    // A false end of a turn takes nothing from the next turn.
    for timed in [true, false] {
        for (event, bogus) in [("EndOfTurn", 61.0), ("Update", 61.0), ("EndOfTurn", 8e9)] {
            let mut stage = flux();
            let first = stage.open();
            stage.audio(8000);
            stage.sent(first);
            let timed = |message: String| {
                let untimed = r#""word":"a""#;
                let times = r#""word":"a","start":0.5,"end":1.0"#;
                if timed {
                    message.replace(untimed, times)
                } else {
                    message
                }
            };
            stage.say(first, &timed(turn(0, "StartOfTurn", 0, (0.0, 1.0), "a")));
            stage.say(first, &timed(turn(1, event, 0, (0.0, bogus), "a")));
            if event == "Update" {
                stage.say(first, &timed(turn(2, "EndOfTurn", 0, (0.0, 1.5), "a")));
            }
            let told = stage.read();
            for message in &told {
                let end = message["audio_window_end"].as_f64().unwrap();
                assert!(end <= 8.0, "{message}");
            }
            let ended = told.last().unwrap()["audio_window_end"].as_f64().unwrap();
            assert!((1.0..=1.5).contains(&ended), "{ended}");
            let second = reset(&mut stage, first);
            assert_eq!(stage.sent(second), [((8.0 - ended) * 1e3).to_string()]);
            stage.say(second, &turn(0, "StartOfTurn", 0, (0.5, 1.0), "b"));
            stage.say(second, &turn(1, "EndOfTurn", 0, (0.5, 3.0), "b"));
            let told = stage.read();
            assert_eq!(told.len(), 2);
            assert_eq!(
                (&told[1]["turn_index"], &told[1]["transcript"]),
                (&1.into(), &"b".into())
            );
            let warned = stage.notices();
            let warned = warned
                .iter()
                .filter(|notice| notice.level() == Level::Warning);
            assert_eq!(warned.count(), 1);
        }
    }
}

#[test]
fn an_early_end_after_the_close_is_a_failure() {
    // The windows do not reach the end of the audio.
    let mut stage = flux();
    stage.audio(3000);
    stage.text(CLOSE);
    for _ in 0..6 {
        let leg = stage.open();
        assert_eq!(stage.sent(leg), ["3000", CLOSE]);
        stage.say(leg, &turn(0, "StartOfTurn", 0, (0.0, 2.7), "a"));
        stage.end(leg, LegEnd::Clean);
    }
    match stage.step() {
        Step::Failed(failure) => assert!((failure.unacked_seconds - 3.0).abs() < 1e-9),
        other => panic!("{other:?}"),
    }
    // The rest is too short for a window.
    let mut stage = flux();
    let leg = stage.open();
    stage.audio(3000);
    stage.text(CLOSE);
    stage.sent(leg);
    stage.say(leg, &turn(0, "StartOfTurn", 0, (0.0, 2.8), "a"));
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.step(), Step::Finished);
}

#[test]
fn speech_without_every_flushed_has_no_end_in_order() {
    const SPEAK: &str = r#"{"type":"Speak","text":"a"}"#;
    const FLUSH: &str = r#"{"type":"Flush"}"#;
    const END: &str = r#"{"type":"Close"}"#;
    for path in ["v1/speak", "v2/speak"] {
        for asked in [&[SPEAK, FLUSH, END][..], &[SPEAK, END]] {
            let mut stage = Stage::at(path, settings(), "encoding=linear16&sample_rate=8000");
            for message in asked {
                stage.text(message);
            }
            for _ in 0..6 {
                let leg = stage.open();
                // The session asks Aura, because nothing else does.
                let mut sent = stage.sent(leg);
                sent.retain(|text| asked.contains(&text.as_str()) || path == "v2/speak");
                assert_eq!(sent, asked, "{path}");
                stage.say(leg, r#"{"type":"Metadata"}"#);
                stage.end(leg, LegEnd::Clean);
            }
            match stage.step() {
                Step::Failed(failure) => assert_eq!(failure.attempts, 6),
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}
