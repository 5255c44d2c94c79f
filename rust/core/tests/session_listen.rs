//! `v1/listen` over several legs: what its messages become, and what is sent again.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use dgsm_core::frame::Frame;
use dgsm_core::session::SendStep;
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
    // From sample 1234: 0.5 ms before the final's end.
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
fn nothing_from_the_service_is_a_panic() {
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
