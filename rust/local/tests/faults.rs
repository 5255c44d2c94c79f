//! Each fault, as a client sees it.

mod common;

use std::time::{Duration, Instant};

use common::{
    Call, LINEAR16, Leg, PATIENCE, Said, begin, chunk, connect, counter, facts, fault, open, start,
    tls, transcript,
};
use dgsm_local::Server;
use dgsm_local::settings::Settings;
use dgsm_local::stats::{InputEnd, LegEnd};
use dgsm_wire::eventstream::DecodeError;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn opening() -> Value {
    json!({"kind": "opening"})
}

fn after(messages: u64) -> Value {
    json!({"kind": "messages", "count": messages})
}

async fn listen(server: &Server) -> Leg {
    open(&connect(server).await, &Call::listen(LINEAR16))
        .await
        .unwrap()
}

/// Opens a stream with one fault after its third chunk, and sends three chunks.
async fn third(action: Value) -> (Server, Leg) {
    let server = start(json!({"faults": [fault(action, after(3))]}));
    let mut leg = listen(&server).await;
    for number in 0..3 {
        leg.audio(chunk(number)).await;
    }
    (server, leg)
}

#[tokio::test]
async fn reset() {
    let (server, mut leg) = third(json!({"kind": "reset", "code": 7})).await;
    assert_eq!(leg.next().await, Said::Reset(h2::Reason::REFUSED_STREAM));
    let facts = facts(&server, 1, |facts| facts.input_end != InputEnd::Open).await;
    assert_eq!(
        (facts.end, facts.messages_in, facts.faults),
        (LegEnd::Fault, 3, vec!["reset"])
    );
    assert_eq!(counter(&server, "faults"), 1);
}

#[tokio::test]
async fn reset_before_the_answer() {
    let server = start(json!({"faults": [fault(json!({"kind": "reset", "code": 2}), opening())]}));
    let client = connect(&server).await;
    let (response, _send, _) = begin(&client, &Call::listen(LINEAR16)).await;
    let error = response.await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
    assert!(open(&client, &Call::listen(LINEAR16)).await.is_ok(), "once");
}

#[tokio::test]
async fn dropped_connections() {
    for rst in [true, false] {
        let (server, mut leg) = third(json!({"kind": "drop", "rst": rst})).await;
        assert_eq!(leg.next().await, Said::Lost);
        let facts = facts(&server, 1, |facts| facts.end != LegEnd::Open).await;
        assert_eq!(facts.faults, ["drop"]);
        while counter(&server, "live_connections") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(connect(&server).await.ready().await.is_ok());
    }
}

#[tokio::test]
async fn a_goaway_that_covers_the_stream_lets_it_finish() {
    let server = start(
        json!({"faults": [fault(json!({"kind": "go_away", "code": 0, "covers": true}), after(3))]}),
    );
    let client = connect(&server).await;
    let mut leg = open(&client, &Call::listen(LINEAR16)).await.unwrap();
    for number in 0..10 {
        leg.audio(chunk(number)).await;
    }
    leg.control("CloseStream").await;
    assert_eq!(transcript(&leg.rest().await), (0..10).collect::<Vec<_>>());
    leg.end().await;
    // The connection takes no new stream and closes.
    let ready = async {
        let mut client = client;
        loop {
            match client.clone().ready().await {
                Ok(ready) => client = ready,
                Err(_) => break,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.unwrap();
    facts(&server, 1, |facts| facts.input_end == InputEnd::Signed).await;
}

#[tokio::test]
async fn a_goaway_that_does_not_cover_the_stream_ends_it() {
    let (server, mut leg) = third(json!({"kind": "go_away", "code": 2, "covers": false})).await;
    let said = leg.next().await;
    assert!(matches!(said, Said::Lost | Said::Reset(_)), "{said:?}");
    facts(&server, 1, |facts| facts.end != LegEnd::Open).await;
}

#[tokio::test]
async fn a_clean_end_too_early() {
    let (server, mut leg) = third(json!({"kind": "end_early"})).await;
    assert_eq!(leg.next().await, Said::End);
    leg.end().await;
    let facts = facts(&server, 1, |facts| facts.input_end != InputEnd::Open).await;
    assert_eq!(
        (facts.end, facts.input_end),
        (LegEnd::Fault, InputEnd::Signed)
    );
}

#[tokio::test]
async fn in_band_exceptions() {
    let action = json!({"kind": "model_stream_error", "code": "1011", "message": "NET-0000"});
    let (_server, mut leg) = third(action).await;
    let expected = Said::Exception {
        kind: "ModelStreamError".into(),
        code: Some("1011".into()),
        message: "NET-0000".into(),
    };
    assert_eq!(leg.next().await, expected);
    assert_eq!(leg.next().await, Said::End);
    let action = json!({"kind": "exception", "name": "InternalStreamFailure", "message": "sorry"});
    let (_server, mut leg) = third(action).await;
    let said = leg.next().await;
    assert!(
        matches!(&said, Said::Exception { kind, code: None, .. } if kind == "InternalStreamFailure"),
        "{said:?}"
    );
}

#[tokio::test]
async fn answers_instead_of_a_stream() {
    let throttled = json!({"kind": "answer", "status": 429, "error_type": "ThrottlingException", "message": "Rate exceeded"});
    let bare =
        json!({"kind": "answer", "status": 503, "error_type": "", "message": "", "body": ""});
    let twice = json!({"action": throttled, "when": opening(), "times": 2, "scope": "endpoint"});
    let third = json!({"action": bare, "when": opening(), "legs": [3, 3, 1], "times": 1, "scope": "endpoint"});
    let server = start(json!({"faults": [twice, third]}));
    let client = connect(&server).await;
    for _ in 0..2 {
        let answer = open(&client, &Call::listen(LINEAR16)).await.err().unwrap();
        assert_eq!(
            (answer.status, answer.error_type()),
            (429, "ThrottlingException")
        );
        assert_eq!(answer.body["message"], "Rate exceeded");
    }
    let answer = open(&client, &Call::listen(LINEAR16)).await.err().unwrap();
    assert_eq!(
        (answer.status, answer.error_type(), &answer.body),
        (503, "", &Value::Null)
    );
    assert!(open(&client, &Call::listen(LINEAR16)).await.is_ok());
    assert_eq!(
        (counter(&server, "refused"), counter(&server, "opens")),
        (3, 4)
    );
}

#[tokio::test]
async fn no_answer_and_a_late_one() {
    let never = json!({"action": {"kind": "never_answer"}, "when": opening(), "legs": [1, 1, 1], "times": 1, "scope": "endpoint"});
    let late = json!({"action": {"kind": "delay_answer", "seconds": 0.3}, "when": opening(), "times": 2, "scope": "endpoint"});
    let server = start(json!({"faults": [never, late]}));
    let client = connect(&server).await;
    let (response, mut send, _) = begin(&client, &Call::listen(LINEAR16)).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(300), response)
            .await
            .is_err()
    );
    send.send_reset(h2::Reason::CANCEL);
    let gave_up = facts(&server, 1, |facts| facts.end != LegEnd::Open).await;
    assert_eq!((gave_up.end, gave_up.status), (LegEnd::ClientReset, 0));
    let began = Instant::now();
    assert!(open(&client, &Call::listen(LINEAR16)).await.is_ok());
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn silence_after_the_answer() {
    let (server, mut leg) = third(json!({"kind": "go_silent"})).await;
    for number in 3..20 {
        leg.audio(chunk(number)).await;
    }
    leg.control("CloseStream").await;
    let quiet = tokio::time::timeout(Duration::from_millis(300), leg.recv.data()).await;
    assert!(quiet.is_err());
    let facts = facts(&server, 1, |facts| facts.messages_in == 21).await;
    assert_eq!(facts.end, LegEnd::Open);
}

#[tokio::test]
async fn replies_in_parts_and_late() {
    let split = fault(json!({"kind": "split", "size": 100}), opening());
    let late = fault(json!({"kind": "late", "seconds": 0.3}), opening());
    let server = start(json!({"faults": [split, late]}));
    let mut leg = listen(&server).await;
    let began = Instant::now();
    for number in 0..10 {
        leg.audio(chunk(number)).await;
    }
    let said = leg.next().await.json();
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(transcript(&[said]), (0..10).collect::<Vec<_>>());
    assert!(leg.parts > 5, "{}", leg.parts);
}

#[tokio::test]
async fn malformed_events() {
    let how = |how: &str| json!({"kind": "malform", "how": how});
    assert!(matches!(
        third(how("truncated")).await.1.next().await,
        Said::Undecodable(DecodeError::Truncated { .. })
    ));
    assert!(matches!(
        third(how("oversized")).await.1.next().await,
        Said::Undecodable(DecodeError::MessageTooLarge { .. })
    ));
    assert!(matches!(
        third(how("wrong_crc")).await.1.next().await,
        Said::Undecodable(DecodeError::MessageChecksum { .. })
    ));
    assert!(matches!(
        third(how("garbage")).await.1.next().await,
        Said::Undecodable(DecodeError::PreludeChecksum { .. })
    ));
    assert!(matches!(
        third(how("not_utf8")).await.1.next().await,
        Said::Malformed(_)
    ));
    assert!(matches!(
        third(how("mixed_types")).await.1.next().await,
        Said::Malformed(_)
    ));
    let (_server, mut leg) = third(how("unknown_event")).await;
    assert_eq!(leg.next().await, Said::Unknown("Novelty".into()));
    for number in 3..10 {
        leg.audio(chunk(number)).await;
    }
    // The stream goes on, and the model has heard the chunk that came with the fault.
    assert_eq!(
        transcript(&[leg.next().await.json()]),
        (0..10).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn triggers() {
    let end = json!({"kind": "end_early"});
    let cases = [
        (json!({"kind": "audio", "seconds": 0.1}), 5),
        (json!({"kind": "bytes", "count": 1281}), 3),
        (json!({"kind": "chunks", "count": 4}), 4),
        (json!({"kind": "new_chunks", "count": 6}), 6),
        (json!({"kind": "new_audio", "seconds": 0.08}), 4),
    ];
    for (when, expected) in cases {
        let server = start(json!({"faults": [fault(end.clone(), when.clone())]}));
        let mut leg = listen(&server).await;
        for number in 0..10 {
            leg.audio(chunk(number)).await;
        }
        assert_eq!(leg.next().await, Said::End, "{when}");
        let facts = facts(&server, 1, |facts| facts.closed.is_some()).await;
        assert_eq!(facts.messages_in, expected, "{when}");
    }
}

#[tokio::test]
async fn triggers_on_controls_replies_and_time() {
    let end = json!({"kind": "end_early"});
    let server = start(
        json!({"faults": [fault(end.clone(), json!({"kind": "control", "name": "CloseStream"}))]}),
    );
    let mut leg = listen(&server).await;
    leg.audio(chunk(0)).await;
    leg.control("CloseStream").await;
    assert_eq!(leg.next().await, Said::End, "before the last result");

    let server =
        start(json!({"faults": [fault(end.clone(), json!({"kind": "replies", "count": 2}))]}));
    let mut leg = listen(&server).await;
    for number in 0..60 {
        leg.audio(chunk(number)).await;
        tokio::task::yield_now().await;
    }
    let said = leg.rest().await;
    assert!((2..=6).contains(&said.len()), "{said:?}");

    let server = start(json!({"faults": [fault(end, json!({"kind": "elapsed", "seconds": 0.2}))]}));
    let began = Instant::now();
    let mut leg = listen(&server).await;
    assert_eq!(leg.next().await, Said::End);
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn the_next_leg_can_strike_the_one_before() {
    let server = start(
        json!({"faults": [fault(json!({"kind": "reset", "code": 2}), json!({"kind": "next_open"}))]}),
    );
    let client = connect(&server).await;
    let mut first = open(&client, &Call::listen(LINEAR16)).await.unwrap();
    // Another conversation does not count.
    let mut other = open(&client, &Call::listen("encoding=mulaw"))
        .await
        .unwrap();
    let mut second = open(&client, &Call::listen(LINEAR16)).await.unwrap();
    assert_eq!(first.next().await, Said::Reset(h2::Reason::INTERNAL_ERROR));
    for leg in [&mut other, &mut second] {
        leg.control("CloseStream").await;
        assert_eq!(leg.rest().await.len(), 1);
    }
}

#[tokio::test]
async fn conversations_are_counted_apart() {
    let second = json!({
        "action": {"kind": "answer", "status": 503, "error_type": "ServiceUnavailableError", "message": "later"},
        "when": opening(), "legs": [2, 2, 1], "times": 1, "scope": "conversation",
    });
    let server = start(json!({"faults": [second]}));
    let client = connect(&server).await;
    for query in ["tag=a", "tag=b"] {
        let call = Call::listen(query);
        assert!(open(&client, &call).await.is_ok());
        assert_eq!(open(&client, &call).await.err().unwrap().status, 503);
        assert!(open(&client, &call).await.is_ok());
    }
}

#[tokio::test]
async fn an_outage_refuses_connections_and_ends() {
    let (server, mut leg) = third(json!({"kind": "outage", "seconds": 0.4})).await;
    let began = Instant::now();
    assert_eq!(leg.next().await, Said::Lost);
    let refused = TcpStream::connect(server.address()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    while TcpStream::connect(server.address()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lasted = began.elapsed();
    assert!(
        lasted > Duration::from_millis(350) && lasted < Duration::from_secs(3),
        "{lasted:?}"
    );
    listen(&server).await;
}

#[tokio::test]
async fn connections_that_never_get_so_far() {
    let on = |kind: &str, number: u64| json!({"action": {"kind": kind}, "connections": [number, number, 1]});
    let slow = json!({"action": {"kind": "slow_tls", "seconds": 0.3}, "connections": [4, null, 1]});
    let faults = [
        on("never_tls", 1),
        on("never_http2", 2),
        on("reset_tcp", 3),
        slow,
    ];
    let server = start(json!({"connection_faults": faults}));
    let soon = Duration::from_millis(300);

    assert!(
        tokio::time::timeout(soon, tls(&server)).await.is_err(),
        "no TLS"
    );

    let mut silent = tls(&server).await.unwrap();
    silent
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    assert!(
        tokio::time::timeout(soon, silent.read_u8()).await.is_err(),
        "no SETTINGS"
    );

    let error = tls(&server).await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::BrokenPipe
                | std::io::ErrorKind::UnexpectedEof
        ),
        "{error:?}"
    );

    for _ in 0..2 {
        let began = Instant::now();
        assert!(tls(&server).await.is_ok());
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
    assert_eq!(counter(&server, "faults"), 5);
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let refused = |changes: Value| {
        let mut settings = json!({
            "host": "127.0.0.1", "port": 0, "certificate_names": [], "regions": ["r"], "endpoint_names": [],
            "variants": [], "credentials": [], "model": {"kind": "external"}, "max_stream_age": null,
            "at_max_age": {"kind": "end_early"}, "unknown_endpoint_status": 400,
            "max_concurrent_streams": 1, "faults": [], "connection_faults": [], "record_arrivals": false,
        });
        assert!(Settings::from_json(&settings.to_string()).is_ok());
        for (key, value) in changes.as_object().unwrap() {
            settings[key] = value.clone();
        }
        Settings::from_json(&settings.to_string())
            .unwrap_err()
            .to_string()
    };
    let late = fault(json!({"kind": "never_answer"}), after(1));
    assert!(refused(json!({"faults": [late]})).contains("NeverAnswer"));
    assert!(refused(json!({"at_max_age": {"kind": "never_answer"}})).contains("maximum age"));
    let unknown = fault(json!({"kind": "explode"}), opening());
    assert!(refused(json!({"faults": [unknown]})).contains("explode"));
    assert!(refused(json!({"surprise": 1})).contains("surprise"));
}
