//! Control messages that come as bytes, and control messages that a service does not take.

#[allow(dead_code, reason = "each test file uses its part of the stage")]
mod stage;

use bytes::Bytes;
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{Level, Notice, Outcome};
use stage::{CLOSE, FINALIZE, QUERY, RESET, Stage, settings};

fn bytes(stage: &mut Stage, text: &str) {
    let frame = Frame::Binary(Bytes::copy_from_slice(text.as_bytes()));
    stage.session.push(stage.now, frame).unwrap();
}

#[test]
fn a_closing_message_in_bytes_closes() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    bytes(&mut stage, "{\"type\": \"CloseStream\"}\n");
    assert_eq!(
        stage.sent(leg),
        ["500", "{\"type\": \"CloseStream\"}\n"],
        "as text"
    );
    stage.results(leg, 0.0, 0.5, &[]);
    stage.say(leg, r#"{"type":"Metadata","duration":0.5}"#);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(stage.read()[1]["type"], "Metadata");
    assert_eq!(stage.session.stats().bytes_sent, 500);
}

#[test]
fn control_in_bytes_keeps_its_place_among_the_audio() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(400);
    bytes(&mut stage, r#"{"type":"KeepAlive"}"#);
    stage.audio(100);
    bytes(&mut stage, FINALIZE);
    stage.audio(100);
    bytes(&mut stage, r#"{"type":"CloseStream""#);
    bytes(&mut stage, r#"{"type":"ForceEndTurn"}"#);
    stage.sent(leg);
    stage.end(leg, RESET);
    let leg = stage.open();
    assert_eq!(
        stage.sent(leg),
        ["400", "100", FINALIZE, "100", "21", "23"],
        "what is no message of the product is audio"
    );
}

#[test]
fn each_product_knows_its_own_messages_in_bytes() {
    for (path, query, texts) in [
        (
            "v1/listen",
            QUERY,
            &[FINALIZE, r#"{"type":"Configure","x":1}"#, CLOSE][..],
        ),
        (
            "v2/listen",
            QUERY,
            &[
                r#"{"type":"ForceEndTurn"}"#,
                r#"{"type":"Configure"}"#,
                CLOSE,
            ],
        ),
        (
            "v1/speak",
            "encoding=linear16&sample_rate=8000",
            &[
                r#"{"type":"Speak","text":"a"}"#,
                r#"{"type":"Flush"}"#,
                r#"{"type":"Clear"}"#,
                r#"{"type":"Close"}"#,
            ],
        ),
        (
            "v2/speak",
            "encoding=linear16&sample_rate=8000",
            &[
                r#"{"type":"Configure"}"#,
                r#"{"type":"Speak","text":"a"}"#,
                r#"{"type":"Flush"}"#,
                r#"{"type":"Interrupt"}"#,
                r#"{"type":"Close"}"#,
            ],
        ),
        (
            "v1/agent/converse",
            "",
            &[
                r#"{"type":"Settings","agent":{}}"#,
                r#"{"type":"UpdatePrompt","prompt":"x"}"#,
                r#"{"type":"UpdateThink_Live"}"#,
                r#"{"type":"InjectUserMessage","content":"x"}"#,
                r#"{"type":"InjectAgentMessage","message":"x"}"#,
                r#"{"type":"FunctionCallResponse","id":"x","name":"f","content":"1"}"#,
                r#"{"type":"ForceEndTurn"}"#,
                r#"{"type":"KeepAlive"}"#,
            ],
        ),
    ] {
        let mut stage = Stage::at(path, settings(), query);
        let leg = stage.open();
        for text in texts {
            bytes(&mut stage, text);
        }
        assert_eq!(stage.sent(leg), texts, "{path}");
        assert_eq!(stage.session.stats().bytes_sent, 0, "{path}");
    }
    let mut stage = Stage::at("v2/listen", settings(), QUERY);
    let leg = stage.open();
    bytes(&mut stage, r#"{"type":"KeepAlive"}"#);
    assert!(
        stage.sent(leg).is_empty(),
        "Flux has none, and would end over it"
    );
    let mut stage = Stage::at("v1/other", settings(), "");
    let leg = stage.open();
    bytes(&mut stage, CLOSE);
    assert_eq!(stage.sent(leg), ["22"], "of other paths nothing is known");
}

const ERROR: &str = r#"{"type":"Error","code":"X","description":"no"}"#;

/// What an application reads: types, and for results also their end.
fn kinds(stage: &mut Stage) -> Vec<String> {
    let kind = |message: &serde_json::Value| message["type"].as_str().unwrap().to_owned();
    stage.read().iter().map(kind).collect()
}

fn warnings(stage: &mut Stage) -> Vec<Notice> {
    let mut notices = stage.notices();
    notices.retain(|notice| notice.level() == Level::Warning);
    notices
}

/// Every product, with an ordinary message of its service.
const PRODUCTS: [(&str, &str, &str); 5] = [
    (
        "v1/listen",
        QUERY,
        r#"{"type":"Results","start":0,"duration":0.1,"is_final":false}"#,
    ),
    (
        "v2/listen",
        QUERY,
        r#"{"type":"TurnInfo","event":"Update","turn_index":0,"sequence_id":1,"audio_window_start":0,"audio_window_end":0.1,"transcript":"","words":[]}"#,
    ),
    ("v1/speak", "", r#"{"type":"Flushed","sequence_id":0}"#),
    (
        "v2/speak",
        "",
        r#"{"type":"SpeechStarted","speech_id":"a"}"#,
    ),
    (
        "v1/agent/converse",
        "",
        r#"{"type":"AgentThinking","content":"x"}"#,
    ),
];

#[test]
fn an_error_of_a_leg_that_goes_on_is_delivered_before_the_next_message() {
    for (path, query, message) in PRODUCTS {
        let mut stage = Stage::at(path, settings(), query);
        let leg = stage.open();
        stage.audio(500);
        stage.sent(leg);
        stage.say(leg, ERROR);
        assert!(!stage.session.has_message(), "{path}: it may be the end");
        stage.say(leg, message);
        let texts = stage.read_texts();
        assert_eq!(texts, [ERROR, message], "{path}");
        assert_eq!(warnings(&mut stage).len(), 1, "{path}");
        stage.say(leg, ERROR);
        stage.say(leg, message);
        assert_eq!(stage.read_texts().len(), 2, "{path}");
        assert!(warnings(&mut stage).is_empty(), "{path}: once a leg");
    }
}

#[test]
fn an_error_of_a_leg_that_ends_is_not_delivered() {
    for (path, query, _) in PRODUCTS {
        let mut stage = Stage::at(path, settings(), query);
        let leg = stage.open();
        stage.audio(500);
        stage.text(r#"{"type":"Flush"}"#);
        stage.sent(leg);
        stage.say(leg, ERROR);
        stage.end(leg, RESET);
        let leg = stage.open();
        stage.sent(leg);
        assert_eq!(kinds(&mut stage), [""; 0], "{path}");
    }
}

#[test]
fn an_end_in_order_delivers_what_was_held() {
    // With nothing missing, before the closing message and after it.
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.say(leg, ERROR);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(kinds(&mut stage), ["Results", "Error"]);
    stage.text(CLOSE);
    let leg = stage.open();
    stage.sent(leg);
    stage.say(leg, ERROR);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(stage.session.outcome(), Outcome::Clean);
    assert_eq!(kinds(&mut stage), ["Error"]);
    // Where the session ends the stream itself.
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.session.finish(stage.now);
    stage.sent(leg);
    stage.say(leg, ERROR);
    stage.pass(60.0);
    assert_eq!(kinds(&mut stage), ["Error"]);
}

#[test]
fn a_leg_s_last_messages_do_not_show_that_it_goes_on() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.say(leg, ERROR);
    stage.say(leg, r#"{"type":"Metadata","duration":0.5}"#);
    stage.end(leg, RESET);
    stage.open();
    assert!(!stage.session.has_message());
}

#[test]
fn no_error_is_lost_among_many() {
    for last in [true, false] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.audio(500);
        stage.sent(leg);
        for number in 0..50 {
            stage.say(leg, &format!(r#"{{"type":"Error","n":{number}}}"#));
        }
        if last {
            let fatal = LegEnd::Closed {
                code: "1008".into(),
                text: "no".into(),
            };
            stage.end(leg, fatal);
        } else {
            stage.results(leg, 0.0, 0.5, &[]);
        }
        let numbers: Vec<_> = stage
            .read()
            .iter()
            .filter_map(|m| m["n"].as_i64())
            .collect();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    }
}

#[test]
fn a_leg_s_last_error_is_delivered_when_no_other_leg_opens() {
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.say(leg, ERROR);
    stage.end(leg, RESET);
    stage.step();
    let terminal = dgsm_leg::reason::Reason::AccessDenied;
    stage.session.open_failed(stage.now, terminal);
    assert_eq!(kinds(&mut stage), ["Error"]);
}

#[test]
fn an_error_is_delivered_when_its_leg_is_left_for_another() {
    let mut settings = settings();
    settings.max_leg_age = Some(std::time::Duration::from_secs(60));
    let mut stage = Stage::with(settings, QUERY);
    let leg = stage.open();
    stage.audio(500);
    stage.sent(leg);
    stage.results(leg, 0.0, 0.5, &[]);
    stage.say(leg, ERROR);
    stage.pass(70.0);
    stage.open();
    stage.pass(1.0);
    assert_eq!(stage.session.stats().rollovers, 1);
    assert_eq!(kinds(&mut stage), ["Results", "Error"]);
}

const UNPARSABLE: &str =
    r#"{"type":"Error","sequence_id":7,"code":"UNPARSABLE_CLIENT_MESSAGE","description":"no"}"#;

fn ends() -> [LegEnd; 5] {
    let closed = |code: &str, message: &str| LegEnd::Closed {
        code: code.into(),
        text: message.into(),
    };
    [
        LegEnd::Clean,
        RESET,
        closed("1000", ""),
        closed("1008", "DATA-0000: no"),
        closed("1011", "internal"),
    ]
}

#[test]
fn a_message_that_a_leg_failed_over_is_left_out_and_reported_once() {
    for (path, kind, text) in [
        (
            "v2/listen",
            Some("Configure"),
            r#"{"type":"Configure","x":1}"#,
        ),
        (
            "v2/listen",
            Some("ForceEndTurn"),
            r#"{"type":"ForceEndTurn"}"#,
        ),
        ("v2/listen", None, r#"{"type":"Other"}"#),
        (
            "v1/listen",
            Some("Configure"),
            r#"{"type":"Configure","x":1}"#,
        ),
        ("v1/listen", Some("Finalize"), FINALIZE),
        ("v1/listen", None, r#"{"no":"type"}"#),
    ] {
        for end in ends() {
            let mut stage = Stage::at(path, settings(), QUERY);
            let leg = stage.open();
            stage.audio(400);
            stage.text(text);
            stage.audio(100);
            stage.sent(leg);
            stage.say(leg, UNPARSABLE);
            stage.end(leg, end.clone());
            let ended = leg;
            let leg = stage.open();
            assert_eq!(stage.sent(leg), ["400", "100"], "{text}, {end}");
            assert_eq!(kinds(&mut stage), ["Error"], "{text}, {end}");
            let warned = warnings(&mut stage);
            assert_eq!(warned, [Notice::LeftOut { leg: ended, kind }]);
        }
    }
}

#[test]
fn a_bad_message_is_left_out_even_if_nothing_is_missing() {
    let mut stage = Stage::at("v2/listen", settings(), QUERY);
    let leg = stage.open();
    stage.text(r#"{"type":"Configure","x":1}"#);
    stage.sent(leg);
    stage.say(leg, UNPARSABLE);
    stage.end(leg, LegEnd::Clean);
    assert_eq!(kinds(&mut stage), ["Error"]);
    stage.audio(100);
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["100"]);
}

#[test]
fn a_service_that_takes_no_message_is_sent_none_twice() {
    let texts = [
        r#"{"type":"Configure","n":0}"#,
        r#"{"type":"Configure","n":1}"#,
        r#"{"type":"Configure","n":2}"#,
        r#"{"type":"ForceEndTurn"}"#,
        r#"{"type":"Configure","n":4}"#,
        r#"{"type":"Configure","n":5}"#,
        r#"{"type":"Configure","n":6}"#,
        r#"{"type":"Configure","n":7}"#,
    ];
    let mut stage = Stage::at("v2/listen", settings(), QUERY);
    let mut leg = stage.open();
    stage.audio(100);
    for text in texts {
        stage.text(text);
    }
    stage.audio(100);
    for left in (0..texts.len()).rev() {
        assert_eq!(stage.sent(leg).len(), left + 3);
        stage.say(leg, UNPARSABLE);
        stage.end(leg, LegEnd::Clean);
        leg = stage.open();
    }
    assert_eq!(
        stage.sent(leg),
        ["100", "100"],
        "more than max_retries would bear"
    );
    assert_eq!(kinds(&mut stage).len(), texts.len());
}

#[test]
fn the_message_that_the_error_is_about_is_left_out() {
    let unknown = r#"{"type":"Confgure"}"#;
    for error in [
        r#"{"type":"Error","variant":"SchemaError","description":"no","message":"{\"type\":\"Confgure\"}"}"#,
        r#"{"type":"Error","code":"UNPARSABLE_CLIENT_MESSAGE","description":"unknown variant Confgure, expected Configure or CloseStream"}"#,
        r#"{"type":"Error","code":"UNPARSABLE_CLIENT_MESSAGE","description":"no"}"#,
    ] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.text(r#"{"type":"Configure"}"#);
        stage.text(unknown);
        stage.audio(100);
        stage.sent(leg);
        stage.say(leg, error);
        stage.end(leg, RESET);
        let leg = stage.open();
        assert_eq!(
            stage.sent(leg),
            [r#"{"type":"Configure"}"#, "100"],
            "{error}"
        );
    }
}

#[test]
fn an_unreadable_message_is_not_repeated_on_another_leg() {
    for (text, said) in [
        (
            r#"{"type":"Finalise"}"#,
            r#"{"type":"Error","variant":"SchemaError","description":"no"}"#,
        ),
        (
            r#"{"type":"Configure"}"#,
            r#"{"type":"Error","variant":"SchemaError","description":"no"}"#,
        ),
    ] {
        let mut stage = Stage::new();
        let leg = stage.open();
        stage.text(FINALIZE);
        stage.text(text);
        stage.audio(500);
        stage.sent(leg);
        stage.say(leg, said);
        stage.results(leg, 0.0, 0.0, &[]);
        stage.end(leg, RESET);
        let leg = stage.open();
        assert_eq!(stage.sent(leg), [FINALIZE, "500"]);
    }
}

#[test]
fn accepted_configures_that_another_leg_refuses_do_not_head_a_third() {
    let accepted = r#"{"type":"ConfigureSuccess","sequence_id":0}"#;
    for path in ["v1/listen", "v2/listen"] {
        for refusal in [UNPARSABLE, r#"{"type":"ConfigureFailure","code":"X"}"#] {
            let mut stage = Stage::at(path, settings(), QUERY);
            let leg = stage.open();
            stage.text(r#"{"type":"Configure","x":1}"#);
            stage.audio(100);
            stage.sent(leg);
            stage.say(leg, accepted);
            stage.end(leg, RESET);
            let leg = stage.open();
            assert_eq!(stage.sent(leg), [r#"{"type":"Configure","x":1}"#, "100"]);
            kinds(&mut stage);
            stage.say(leg, refusal);
            stage.end(leg, RESET);
            assert_eq!(kinds(&mut stage).len(), 1, "{path}: {refusal} is news");
            let leg = stage.open();
            assert_eq!(stage.sent(leg), ["100"], "{path}, {refusal}");
        }
    }
}

#[test]
fn a_message_that_every_leg_fails_over_without_an_error_is_left_out_in_the_end() {
    let mut stage = Stage::new();
    stage.audio(100);
    stage.text(r#"{"type":"Configure"}"#);
    stage.audio(100);
    let mut legs = 0;
    loop {
        let leg = stage.open();
        legs += 1;
        let sent = stage.sent(leg);
        assert_eq!(sent.len(), if legs <= 5 { 3 } else { 2 }, "{sent:?}");
        stage.end(leg, RESET);
        if stage.session.outcome() != Outcome::Open {
            break;
        }
    }
    assert_eq!(legs, 6, "five with it, and the last without");
    assert_eq!(warnings(&mut stage).len(), 1);
}

#[test]
fn without_retries_the_first_failure_is_the_end() {
    let mut none = settings();
    none.max_retries = 0;
    let mut stage = Stage::with(none, QUERY);
    let leg = stage.open();
    stage.audio(100);
    stage.text(r#"{"type":"Configure"}"#);
    stage.sent(leg);
    stage.say(leg, UNPARSABLE);
    stage.end(leg, RESET);
    assert!(matches!(stage.session.outcome(), Outcome::Failed(_)));
    assert_eq!(kinds(&mut stage), ["Error"]);
}

#[test]
fn speech_is_not_left_out() {
    for (path, texts) in [
        (
            "v1/speak",
            [r#"{"type":"Speak","text":"a"}"#, r#"{"type":"Flush"}"#],
        ),
        (
            "v2/speak",
            [r#"{"type":"Speak","text":"a"}"#, r#"{"type":"Flush"}"#],
        ),
    ] {
        let mut stage = Stage::at(path, settings(), "");
        for text in texts {
            stage.text(text);
        }
        let leg = stage.open();
        stage.text(r#"{"type":"Configure"}"#);
        stage.sent(leg);
        stage.say(leg, UNPARSABLE);
        stage.end(leg, RESET);
        let leg = stage.open();
        assert_eq!(stage.sent(leg), texts, "{path}");
        stage.say(leg, UNPARSABLE);
        let fatal = LegEnd::Closed {
            code: "1008".into(),
            text: "DATA-0000".into(),
        };
        stage.end(leg, fatal);
        assert!(
            matches!(stage.session.outcome(), Outcome::Failed(_)),
            "{path}"
        );
    }
}

#[test]
fn an_agent_goes_on_without_an_update_but_not_without_its_settings() {
    let agent = || Stage::at("v1/agent/converse", settings(), "");
    let fatal = || LegEnd::Closed {
        code: "1008".into(),
        text: "UNPARSABLE_CLIENT_MESSAGE".into(),
    };
    let mut stage = agent();
    let leg = stage.open();
    stage.text(r#"{"type":"Settings","agent":{}}"#);
    stage.text(r#"{"type":"UpdateThink_Live","x":1}"#);
    stage.sent(leg);
    stage.say(leg, r#"{"type":"SettingsApplied"}"#);
    stage.say(leg, UNPARSABLE);
    stage.end(leg, fatal());
    let leg = stage.open();
    assert_eq!(stage.sent(leg).len(), 1, "the settings alone");
    assert_eq!(kinds(&mut stage), ["SettingsApplied", "Error"]);
    let mut stage = agent();
    let leg = stage.open();
    stage.text(r#"{"type":"Settings","agent":{}}"#);
    stage.sent(leg);
    stage.say(leg, UNPARSABLE);
    stage.end(leg, fatal());
    assert!(matches!(stage.session.outcome(), Outcome::Failed(_)));
}

/// What the user, the agent or a function said is the conversation. Where the service does not take
/// it, the application gets the error.
#[test]
fn an_agent_does_not_go_on_without_what_was_said() {
    for said in [
        r#"{"type":"InjectUserMessage","content":"x"}"#,
        r#"{"type":"InjectAgentMessage","message":"x"}"#,
    ] {
        let mut stage = Stage::at("v1/agent/converse", settings(), "");
        stage.text(r#"{"type":"Settings","agent":{}}"#);
        stage.text(r#"{"type":"UpdatePrompt","prompt":"p"}"#);
        stage.text(said);
        let closed = LegEnd::Closed {
            code: "1000".into(),
            text: "bye".into(),
        };
        let mut legs = 0;
        let mut last = Vec::new();
        while stage.session.outcome() == Outcome::Open {
            let leg = stage.open();
            legs += 1;
            last = stage.sent(leg);
            stage.say(leg, r#"{"type":"SettingsApplied"}"#);
            last.extend(stage.sent(leg));
            stage.end(leg, closed.clone());
        }
        assert!(matches!(stage.session.outcome(), Outcome::Failed(_)));
        assert!(legs > 2, "{legs}");
        assert!(last.iter().any(|sent| sent == said), "{said}: {last:?}");
    }
}

#[test]
fn a_close_without_an_error_costs_one_more_leg_however_much_is_pending() {
    let fatal = || LegEnd::Closed {
        code: "1008".into(),
        text: "DATA-0000: cannot decode".into(),
    };
    let mut stage = Stage::new();
    let leg = stage.open();
    stage.audio(100);
    for _ in 0..50 {
        stage.text(FINALIZE);
    }
    stage.sent(leg);
    stage.end(leg, fatal());
    let leg = stage.open();
    assert_eq!(stage.sent(leg), ["100"]);
    stage.end(leg, fatal());
    assert!(matches!(stage.session.outcome(), Outcome::Failed(_)));
}

#[test]
fn messages_of_a_service_that_reads_none_are_not_tried_one_by_one_forever() {
    let mut stage = Stage::new();
    stage.audio(100);
    for _ in 0..50 {
        stage.text(FINALIZE);
    }
    let mut legs = 0;
    loop {
        let leg = stage.open();
        legs += 1;
        if stage.sent(leg).len() == 1 {
            break;
        }
        stage.say(leg, UNPARSABLE);
        stage.end(leg, RESET);
    }
    assert_eq!(legs, 10);
}

#[test]
fn settings_that_are_refused_are_not_another_message_s_fault() {
    let mut stage = Stage::at("v1/agent/converse", settings(), "");
    let leg = stage.open();
    stage.text(r#"{"type":"Settings","agent":{}}"#);
    stage.text(r#"{"type":"UpdatePrompt","prompt":"x"}"#);
    stage.sent(leg);
    stage.say(leg, r#"{"type":"Welcome"}"#);
    stage.say(
        leg,
        r#"{"type":"Error","code":"INVALID_SETTINGS","description":"no"}"#,
    );
    let fatal = LegEnd::Closed {
        code: "1008".into(),
        text: "INVALID_SETTINGS".into(),
    };
    stage.end(leg, fatal);
    assert!(matches!(stage.session.outcome(), Outcome::Failed(_)));
    assert_eq!(kinds(&mut stage), ["Welcome", "Error"]);
}

#[test]
fn messages_that_legs_fail_over_after_the_close_lose_no_audio() {
    let mut stage = Stage::at("v2/listen", settings(), QUERY);
    let mut leg = stage.open();
    stage.audio(500);
    stage.text(r#"{"type":"Configure","n":0}"#);
    stage.text(r#"{"type":"Configure","n":1}"#);
    stage.text(CLOSE);
    for left in [4, 3] {
        assert_eq!(stage.sent(leg).len(), left);
        stage.say(leg, UNPARSABLE);
        stage.end(leg, LegEnd::Clean);
        leg = stage.open();
    }
    assert_eq!(stage.sent(leg), ["500", CLOSE]);
}

#[test]
fn legs_are_not_opened_forever_for_messages_that_they_fail_over() {
    for (code, message, most) in [
        ("1008", "policy", 2),
        ("1008", "UNPARSABLE_CLIENT_MESSAGE", 10),
    ] {
        let mut stage = Stage::new();
        stage.audio(100);
        let mut legs = 0;
        while stage.session.outcome() == Outcome::Open {
            stage.text(r#"{"type":"Configure"}"#);
            let leg = stage.open();
            legs += 1;
            stage.sent(leg);
            stage.end(
                leg,
                LegEnd::Closed {
                    code: code.into(),
                    text: message.into(),
                },
            );
            assert!(legs <= most, "{code} {message}");
        }
        assert_eq!(legs, most, "{code} {message}");
    }
}
