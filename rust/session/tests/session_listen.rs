//! `v1/listen` over several legs: how its messages are rewritten, and what is sent again.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{LegId, Level, Notice, Outcome, SendStep};
use serde_json::json;
use stage::{CLOSE, FINALIZE, KEEPALIVE, QUERY, RESET, Stage, results, settings};

#[test]
fn the_first_leg_s_messages_come_byte_for_byte() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(5000);
    stage.sent(leg);
    let said = [
        r#" {"type" : "Results","start":0.00,"duration":1.50,"is_final":true,"channel_index":[0,1],"new":{"a":[1e0]}}"#,
        r#"{"type":"SpeechStarted","channel":[0],"timestamp":0.100}"#,
        r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":-1}"#,
        r#"{"type":"Future","x":1}"#,
        "not JSON at all",
    ];
    for text in said {
        stage.say(leg, text);
    }
    assert_eq!(stage.read_texts(), said);
}

#[test]
fn later_legs_go_on_where_the_last_final_ended() {
    let mut stage = Stage::new();
    let leg = stage.open();
    for _ in 0..6 {
        stage.audio(500);
    }
    stage.sent(leg);
    stage.results(leg, 0.0, 1.2345, &[("one", 0.5, 1.0)]);
    stage.say(leg, &results(1.2345, 0.7, &[("two", 1.3, 1.5)], false, ""));
    stage.end(leg, RESET);
    let leg = stage.open();
    // The leg starts at sample 1234, 0.5 ms before the final's end.
    assert_eq!(stage.sent(leg), ["266", "500", "500", "500"]);
    stage.say(leg, &results(0.0, 0.7, &[("two", 0.066, 0.266)], false, ""));
    stage.results(
        leg,
        0.0,
        1.0,
        &[("two", 0.066, 0.266), ("three", 0.5, 0.75)],
    );
    stage.results(leg, 1.0, 0.766, &[("four", 1.1, 1.2)]);
    assert_eq!(
        stage.read_results(),
        [
            (0.0, 1.2345, "one".into()),
            (1.2345, 1.9345, "two".into()),
            (1.2345, 1.934, "two".into()),
            (1.2345, 2.234, "two three".into()),
            (2.234, 3.0, "four".into()),
        ]
    );
    let stats = stage.session.stats();
    assert_eq!((stats.bytes_sent, stats.bytes_replayed), (3000, 1766));
    assert_eq!(stats.bytes_acknowledged, 3000);
    assert_eq!(stats.journal_bytes, 0);
}

#[test]
fn what_a_later_leg_leaves_alone() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(3000);
    stage.sent(leg);
    stage.results(leg, 0.0, 1.0, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    stage.sent(leg);
    stage.read();
    stage.say(
        leg,
        r#"{ "type":"Results","unknown":[1.50, {"start":0.0}],"start" : 0.0 ,"duration":1.00,"is_final":true,"channel_index":[0,1],"channel":{"alternatives":[{"transcript":"a","words":[{"start":0.25,"confidence":0.10,"end":5e-1,"word":"a"}]}]},"entities":[{"start_word":0}]}"#,
    );
    assert_eq!(
        stage.read_texts(),
        [
            r#"{ "type":"Results","unknown":[1.50, {"start":0.0}],"start" : 1.0 ,"duration":1.00,"is_final":true,"channel_index":[0,1],"channel":{"alternatives":[{"transcript":"a","words":[{"start":1.25,"confidence":0.10,"end":1.5,"word":"a"}]}]},"entities":[{"start_word":0}]}"#
        ]
    );
    stage.say(
        leg,
        r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":1.75}"#,
    );
    stage.say(
        leg,
        r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":0.5}"#,
    );
    stage.say(
        leg,
        r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":-1}"#,
    );
    stage.say(leg, r#"{"type":"Future","start":1.0}"#);
    assert_eq!(
        stage.read_texts(),
        [
            r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":2.75}"#,
            r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.5}"#,
            r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":-1}"#,
            r#"{"type":"Future","start":1.0}"#,
        ]
    );
}

#[test]
fn acks_are_taken_before_anyone_reads() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    stage.results(leg, 0.0, 1.0, &[]);
    assert_eq!(stage.session.stats().journal_bytes, 0);
    assert!(stage.session.has_message());
}

#[test]
fn a_message_of_an_old_leg_is_not_heard() {
    let mut stage = Stage::new();
    let old = stage.open();
    stage.audio(1000);
    stage.sent(old);
    stage.end(old, RESET);
    stage.open();
    stage.results(old, 0.0, 1.0, &[]);
    assert!(!stage.session.has_message());
    assert_eq!(stage.session.stats().bytes_acknowledged, 0);
}

#[test]
fn control_messages_are_sent_again_in_their_place() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(400);
    stage.text(KEEPALIVE);
    stage.audio(600);
    stage.text(FINALIZE);
    stage.audio(500);
    assert_eq!(stage.sent(leg), ["400", KEEPALIVE, "600", FINALIZE, "500"]);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["500", FINALIZE, "500"]);
    stage.say(
        leg,
        &results(0.0, 0.5, &[], true, r#","from_finalize":true"#),
    );
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["500"], "it was answered");
}

#[test]
fn an_answer_without_audio_of_its_own_is_delivered_once() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(1000);
    stage.sent(leg);
    stage.results(leg, 0.0, 1.0, &[]);
    stage.text(FINALIZE);
    stage.sent(leg);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), [FINALIZE]);
    stage.read();
    let answer = results(0.0, 0.0, &[], true, r#","from_finalize":true"#);
    stage.say(leg, &answer);
    stage.say(leg, &answer);
    assert_eq!(stage.read_results(), [(1.0, 1.0, String::new())]);
}

#[test]
fn a_later_final_beyond_its_place_settles_a_finalize() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.text(FINALIZE);
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.8, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["200"]);
}

#[test]
fn accepted_configures_head_each_leg_and_their_replies_do_not_come_again() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.text(r#"{"type":"Configure","features":{"numerals":true}}"#);
    stage.audio(500);
    stage.sent(leg);
    stage.say(leg, r#"{"type":"ConfigureSuccess","n":1}"#);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.text(r#"{"type":"Configure","features":{"redact":"pci"}}"#);
    stage.sent(leg);
    assert_eq!(stage.read().len(), 2);
    stage.end(leg, RESET);
    let leg = stage.open();
    let sent: Vec<serde_json::Value> = stage
        .sent(leg)
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    assert_eq!(
        sent,
        [
            json!({"type":"Configure","features":{"numerals":true}}),
            json!({"type":"Configure","features":{"redact":"pci"}}),
        ]
    );
    stage.say(leg, r#"{"type":"ConfigureSuccess","n":1}"#);
    stage.say(leg, r#"{"type":"ConfigureSuccess","n":2}"#);
    assert_eq!(stage.read(), [json!({"type":"ConfigureSuccess","n":2})]);
    stage.end(leg, RESET);
    let leg = stage.open();
    let sent: serde_json::Value = serde_json::from_str(&stage.sent(leg)[0]).unwrap();
    assert_eq!(
        sent,
        json!({"type":"Configure","features":{"numerals":true,"redact":"pci"}})
    );
}

#[test]
fn a_channel_that_is_ahead_hears_silence_again() {
    let query = "encoding=alaw&sample_rate=1000&channels=2&multichannel=true";
    let mut stage = Stage::with(settings(), query);
    let leg = stage.open();
    stage.audio(4000);
    stage.sent(leg);
    let on = |channel: usize, text: String| {
        text.replace(
            "\"channel_index\":[0,1]",
            &format!("\"channel_index\":[{channel},2]"),
        )
    };
    stage.say(leg, &on(0, results(0.0, 0.5, &[("a", 0.1, 0.2)], true, "")));
    stage.say(leg, &on(1, results(0.0, 1.5, &[("b", 1.0, 1.2)], true, "")));
    stage.end(leg, RESET);
    let leg = stage.open();
    let SendStep::Frame(Frame::Binary(audio)) = stage.session.poll_send(stage.now, leg) else {
        panic!("audio is sent again")
    };
    assert_eq!(audio.len(), 3000);
    for (at, block) in audio.chunks(2).enumerate() {
        let expected: [u8; 2] = if at < 1000 {
            [b'a', 0xD5]
        } else {
            [b'a', b'a']
        };
        assert_eq!(block, expected, "block {at}");
    }
    stage.read();
    stage.say(leg, &on(1, results(0.0, 0.9, &[], true, "")));
    stage.say(leg, &on(1, results(0.9, 0.5, &[("c", 1.2, 1.3)], true, "")));
    stage.say(leg, &on(0, results(0.0, 1.5, &[("d", 0.3, 0.4)], true, "")));
    assert_eq!(
        stage.read_results(),
        [(1.5, 1.9, "c".into()), (0.5, 2.0, "d".into())],
        "the first one was about silence that is final already"
    );
}

#[test]
fn a_wav_file_goes_on_with_its_header() {
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x07\0\x01\0".to_vec();
    wav.extend(1000_u32.to_le_bytes());
    wav.extend(1000_u32.to_le_bytes());
    wav.extend(b"\x01\0\x08\0data\xff\xff\xff\xff");
    let header = wav.clone();
    wav.extend([b'x'; 1000]);
    let mut stage = Stage::with(settings(), "model=nova-3");
    let leg = stage.open();
    for chunk in wav.chunks(500) {
        stage
            .session
            .push(stage.now, Frame::Binary(chunk.to_vec().into()))
            .unwrap();
    }
    stage.text(CLOSE);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.75, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    let SendStep::Frame(first) = stage.session.poll_send(stage.now, leg) else {
        panic!("the header is due")
    };
    assert_eq!(first.bytes(), &header);
    assert_eq!(stage.sent(leg), ["206", "44", CLOSE]);
    stage.say(leg, r#"{"type":"Metadata","duration":0.25}"#);
    assert_eq!(stage.read()[1]["duration"], 1.0);
}

#[test]
fn other_audio_starts_again_and_is_clipped() {
    let mut stage = Stage::with(settings(), "encoding=opus&sample_rate=48000");
    let leg = stage.open();
    for _ in 0..3 {
        stage.audio(100);
    }
    stage.sent(leg);
    stage.results(leg, 0.0, 1.0, &[("one", 0.25, 0.5)]);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["100", "100", "100"]);
    stage.results(leg, 0.0, 0.75, &[("one", 0.25, 0.5)]);
    stage.results(leg, 0.75, 1.0, &[("none", 0.8, 0.9), ("two", 1.25, 1.5)]);
    assert_eq!(
        stage.read_results(),
        [(0.0, 1.0, "one".into()), (1.0, 1.75, "two".into())]
    );
}

#[test]
fn an_open_utterance_is_closed_once() {
    let query = format!("{QUERY}&utterance_end_ms=1000&vad_events=true");
    let mut stage = Stage::with(settings(), &query);
    let leg = stage.open();
    stage.audio(8000);
    stage.sent(leg);
    stage.say(
        leg,
        r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":0.25}"#,
    );
    stage.results(leg, 0.0, 1.0, &[("one", 0.25, 0.75)]);
    stage.end(leg, RESET);
    let leg = stage.open();
    stage.sent(leg);
    stage.read();
    stage.say(
        leg,
        r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":0.01}"#,
    );
    assert!(stage.read().is_empty(), "inside the open utterance");
    stage.results(leg, 0.0, 0.5, &[]);
    stage.results(leg, 0.5, 0.5, &[]);
    let said: Vec<_> = stage
        .read()
        .iter()
        .map(|message| match message["type"].as_str().unwrap() {
            "UtteranceEnd" => format!("end {}", message["last_word_end"]),
            _ => format!("{} {}", message["start"], message["speech_final"]),
        })
        .collect();
    assert_eq!(said, ["1.0 true", "1.5 false", "end 0.75"]);
    stage.say(
        leg,
        r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":2.0}"#,
    );
    assert_eq!(stage.read()[0]["timestamp"], 3.0, "a new one begins");
}

#[test]
fn no_message_of_the_service_is_a_panic() {
    for text in [
        "",
        "{}",
        "[]",
        "{\"type\":1}",
        r#"{"type":"Results"}"#,
        r#"{"type":"Results","start":1e300,"duration":1,"is_final":true}"#,
        r#"{"type":"Results","start":0,"duration":1e9,"is_final":true}"#,
        r#"{"type":"Results","start":-5,"duration":-5,"is_final":true,"channel_index":[9,3]}"#,
        r#"{"type":"Results","start":0,"duration":1,"is_final":true,"channel_index":[0,100000]}"#,
        r#"{"type":"Results","start":0,"duration":1,"is_final":true,"channel":{"alternatives":[{"words":[1,{},{"start":1}]}]}}"#,
        r#"{"type":"SpeechStarted","timestamp":"x","channel":[7,8]}"#,
        r#"{"type":"UtteranceEnd"}"#,
        r#"{"type":"Metadata"}"#,
        r#"{"type":"ConfigureSuccess"}"#,
    ] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.audio(1000);
        stage.sent(leg);
        stage.say(leg, text);
        stage
            .session
            .receive(stage.now, leg, Frame::Binary(vec![0xFF].into()));
        stage.end(leg, RESET);
        let leg = stage.open();
        stage.sent(leg);
        stage.say(leg, text);
        stage.end(leg, RESET);
        let leg = stage.open();
        stage.sent(leg);
    }
}

/// A WAV file's header: one channel, 1000 bytes a second.
fn wav(data: u32) -> Vec<u8> {
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x07\0\x01\0\xe8\x03\0\0\xe8\x03\0\0\x01\0\x08\0data");
    bytes.extend(data.to_le_bytes());
    bytes
}

fn push(stage: &mut Stage, bytes: Vec<u8>) {
    let frame = Frame::Binary(bytes.into());
    stage.session.push(stage.now, frame).unwrap();
}

/// Returns everything that a leg is sent first.
fn first_frame(stage: &mut Stage, leg: LegId) -> Vec<u8> {
    match stage.session.poll_send(stage.now, leg) {
        SendStep::Frame(frame) => frame.bytes().to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_header_that_was_written_too_early_loses_nothing() {
    for declared in [1_u32, 20, 999, 1000, 2500] {
        for whole in [true, false] {
            let mut stage = Stage::with(settings(), "model=nova-3");
            let leg = stage.open();
            let header = wav(declared);
            if whole {
                push(&mut stage, [header, vec![b'a'; 1000]].concat());
            } else {
                let (one, two) = header.split_at(17);
                push(&mut stage, one.to_vec());
                push(&mut stage, two.to_vec());
                push(&mut stage, vec![b'a'; 1000]);
            }
            for _ in 0..4 {
                stage.audio(1000);
            }
            stage.sent(leg);
            stage.results(leg, 0.0, 2.75, &[("one", 2.0, 2.5)]);
            stage.end(leg, RESET);
            let leg = stage.open();
            let head = first_frame(&mut stage, leg);
            let sizes = [&head[4..8], &head[40..44]];
            assert_eq!(sizes, [[0xFF; 4]; 2], "how much follows is not known");
            assert_eq!(stage.sent(leg), ["250", "1000", "1000"]);
            stage.results(leg, 0.0, 0.25, &[("two", 0.0, 0.25)]);
            // Not everything is answered, so even an end in order is no end of the session.
            stage.text(CLOSE);
            stage.sent(leg);
            stage.end(leg, LegEnd::Clean);
            let leg = stage.open();
            assert_eq!(stage.sent(leg)[1..], ["1000", "1000", CLOSE]);
            stage.results(leg, 0.0, 2.0, &[("three", 1.0, 2.0)]);
            stage.end(leg, LegEnd::Clean);
            assert_eq!(
                stage.read_results(),
                [
                    (0.0, 2.75, "one".into()),
                    (2.75, 3.0, "two".into()),
                    (3.0, 5.0, "three".into())
                ]
            );
            let stats = stage.session.stats();
            assert_eq!((stats.bytes_lost, stats.legs), (0, 3));
            assert!((stats.seconds_acknowledged - 5.0).abs() < 1e-9);
        }
    }
}

#[test]
fn bytes_after_a_file_s_audio_are_no_audio_unless_a_final_covers_them() {
    let mut stage = Stage::with(settings(), "model=nova-3");
    let leg = stage.open();
    push(&mut stage, [wav(1000), vec![b'a'; 1000]].concat());
    push(&mut stage, b"LIST\x08\0\0\0INFOabcd".to_vec());
    stage.text(CLOSE);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    let head = first_frame(&mut stage, leg);
    assert_eq!(head, wav(500));
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.end(leg, RESET);
    assert_eq!(
        stage.session.outcome(),
        Outcome::Clean,
        "all of it is final"
    );
}

#[test]
fn a_finalize_behind_a_declared_end_keeps_its_place() {
    let mut stage = Stage::with(settings(), "model=nova-3");
    let leg = stage.open();
    push(&mut stage, [wav(100), vec![b'a'; 2000]].concat());
    stage.text(FINALIZE);
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 1.0, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(stage.sent(leg)[1..], ["1000", FINALIZE, "500"]);
}

fn warnings(mut notices: Vec<Notice>) -> Vec<Notice> {
    notices.retain(|notice| notice.level() == Level::Warning);
    notices
}

#[test]
fn no_claim_reaches_beyond_what_was_sent() {
    // One bad message on a leg, the first or a later one. All others are right.
    for later in [false, true] {
        for (start, duration) in [(0.0, 61.0), (0.0, 3.2), (60.0, 1.0), (0.0, 8e9)] {
            let mut stage = Stage::new();
            let mut leg = stage.open();
            if later {
                stage.audio(500);
                stage.sent(leg);
                stage.results(leg, 0.0, 0.5, &[("zero", 0.0, 0.5)]);
                stage.end(leg, RESET);
                leg = stage.open();
                stage.read();
            }
            let base = if later { 0.5 } else { 0.0 };
            stage.audio(3000);
            stage.sent(leg);
            stage.results(leg, start, duration, &[("one", start + 0.1, start + 1.0)]);
            stage.results(leg, 1.0, 1.0, &[("two", 1.0, 2.0)]);
            stage.end(leg, RESET);
            let leg = stage.open();
            assert_eq!(stage.sent(leg), ["1000"], "{start} {duration}");
            stage.results(leg, 0.0, 1.0, &[("three", 0.0, 1.0)]);
            stage.end(leg, LegEnd::Clean);
            let told = stage.read_results();
            let said: Vec<&str> = told.iter().map(|(.., said)| said.as_str()).collect();
            assert_eq!(said, ["one", "two", "three"]);
            assert!(
                told.iter()
                    .all(|(start, end, _)| *start <= *end && *end <= base + 3.0)
            );
            assert_eq!(
                told[1..],
                [
                    (base + 1.0, base + 2.0, "two".into()),
                    (base + 2.0, base + 3.0, "three".into()),
                ]
            );
            let warned = warnings(stage.notices());
            assert_eq!(warned.len(), 1, "{warned:?}");
            assert!(matches!(warned[0], Notice::Beyond { .. }), "{warned:?}");
            let stats = stage.session.stats();
            assert_eq!(stats.bytes_lost, 0);
            assert!(stats.seconds_acknowledged <= stats.seconds_sent);
        }
    }
}

#[test]
fn claims_of_utterances_beyond_what_was_sent_close_nothing() {
    let query = format!("{QUERY}&utterance_end_ms=1000&vad_events=true");
    let mut stage = Stage::with(settings(), &query);
    let leg = stage.open();
    stage.audio(3000);
    stage.sent(leg);
    stage.say(
        leg,
        r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":60.5}"#,
    );
    stage.say(
        leg,
        r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":61.5}"#,
    );
    let told = stage.read();
    assert_eq!(
        (&told[0]["timestamp"], &told[1]["last_word_end"]),
        (&3.0.into(), &3.0.into())
    );
    stage.results(leg, 0.0, 1.0, &[]);
    stage.end(leg, RESET);
    let leg = stage.open();
    stage.sent(leg);
    stage.read();
    stage.say(
        leg,
        r#"{"type":"SpeechStarted","channel":[0,1],"timestamp":0.5}"#,
    );
    stage.results(leg, 0.0, 1.0, &[("one", 0.5, 1.0)]);
    stage.say(
        leg,
        r#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":1.0}"#,
    );
    let told = stage.read();
    assert_eq!(
        (&told[0]["timestamp"], &told[2]["last_word_end"]),
        (&1.5.into(), &2.0.into())
    );
    assert_eq!(warnings(stage.notices()).len(), 1);
}

#[test]
fn invalid_numbers_change_nothing() {
    for (start, duration) in [
        ("1e300", "1.0"),
        ("0.0", "1e300"),
        ("-1e300", "1.0"),
        ("null", "1.0"),
        ("\"0\"", "1.0"),
        ("NaN", "1.0"),
        ("0.0", "-5.0"),
        ("-5.0", "1.0"),
        ("[]", "{}"),
    ] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.audio(2000);
        stage.sent(leg);
        stage.say(
            leg,
            &format!(r#"{{"type":"Results","channel_index":[0,1],"start":{start},"duration":{duration},"is_final":true,"channel":{{"alternatives":[]}}}}"#),
        );
        stage.say(
            leg,
            &format!(r#"{{"type":"SpeechStarted","channel":[0,1],"timestamp":{start}}}"#),
        );
        stage.say(
            leg,
            &format!(r#"{{"type":"UtteranceEnd","channel":[0,1],"last_word_end":{start}}}"#),
        );
        stage.say(
            leg,
            &format!(r#"{{"type":"Metadata","duration":{duration}}}"#),
        );
        stage.read_texts();
        stage.results(leg, 0.0, 1.0, &[("one", 0.0, 1.0)]);
        stage.end(leg, RESET);
        let leg = stage.open();
        assert_eq!(stage.sent(leg), ["1000"], "{start} {duration}");
        stage.results(leg, 0.0, 1.0, &[("two", 0.0, 1.0)]);
        let said = stage.read_results();
        assert_eq!(said, [(0.0, 1.0, "one".into()), (1.0, 2.0, "two".into())]);
    }
}

#[test]
fn channels_that_the_audio_does_not_have_are_not_waited_for() {
    let stereo = "encoding=mulaw&sample_rate=500&channels=2&multichannel=true";
    let mixed = "encoding=mulaw&sample_rate=500&channels=2";
    for (query, real) in [(QUERY, 1), (stereo, 2), (mixed, 1)] {
        for false_claim in ["[0,256]", "[3,255]", "[200,256]", "[2,3]"] {
            let mut stage = Stage::with(settings(), query);
            let leg = stage.open();
            stage.audio(2000);
            stage.text(FINALIZE);
            stage.sent(leg);
            for kind in ["SpeechStarted", "UtteranceEnd"] {
                stage.say(leg, &format!(r#"{{"type":"{kind}","channel":{false_claim},"timestamp":0.25,"last_word_end":0.25}}"#));
            }
            let claim = stage::results(0.0, 0.25, &[], true, "");
            stage.say(leg, &claim.replace("[0,1]", false_claim));
            assert_eq!(stage.read().len(), 3, "whatever it is, it is passed on");
            for channel in 0..real {
                let whole = stage::results(0.0, 2.0, &[], true, r#","from_finalize":true"#);
                stage.say(leg, &whole.replace("[0,1]", &format!("[{channel},{real}]")));
            }
            assert_eq!(
                stage.session.stats().bytes_acknowledged,
                2000,
                "{query} {false_claim}"
            );
            stage.end(leg, RESET);
            let leg = stage.open();
            assert_eq!(stage.sent(leg), [""; 0], "Finalize has its answers");
        }
    }
}
