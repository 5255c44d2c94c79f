//! The service's protocol, as a client sees it.

mod common;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::{
    Call, EMPTY_HASH, LINEAR16, Leg, PATIENCE, Said, chunk, connect, connect_with, counter, facts,
    fault, open, start, transcript,
};
use dgsm_leg::frame::Frame;
use dgsm_local::Server;
use dgsm_local::stats::{InputEnd, LegEnd};
use dgsm_wire::payload_part::encode_signed;
use serde_json::json;

async fn listen(server: &Server) -> Leg {
    let client = connect(server).await;
    open(&client, &Call::listen(LINEAR16)).await.unwrap()
}

#[tokio::test]
async fn a_conversation_from_the_first_chunk_to_the_signed_end() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    assert_eq!(leg.headers["x-amzn-invoked-production-variant"], "blue");
    assert_eq!(
        leg.headers["content-type"],
        "application/vnd.amazon.eventstream"
    );
    for number in 0..25 {
        leg.audio(chunk(number)).await;
    }
    leg.control("CloseStream").await;
    let said = leg.rest().await;
    leg.end().await;
    assert_eq!(transcript(&said), (0..25).collect::<Vec<_>>());
    let times: Vec<_> = said
        .iter()
        .map(|said| (said["start"].clone(), said["duration"].clone()))
        .collect();
    assert_eq!(
        times[..3],
        [
            (json!(0.0), json!(0.2)),
            (json!(0.2), json!(0.2)),
            (json!(0.4), json!(0.1))
        ]
    );
    assert_eq!(said[3]["type"], "Metadata");
    assert_eq!(said[3]["duration"], 0.5);
    let facts = facts(&server, 1, |facts| facts.input_end != InputEnd::Open).await;
    assert_eq!(
        (facts.end, facts.input_end),
        (LegEnd::Model, InputEnd::Signed)
    );
    assert_eq!((facts.messages_in, facts.messages_out), (26, 4));
    assert_eq!(facts.controls, ["CloseStream"]);
    assert_eq!(facts.arrivals.len(), 25);
    for clean in [
        "signature_failures",
        "crc_failures",
        "bad_ends",
        "malformed_events",
        "torn_chunks",
    ] {
        assert_eq!(counter(&server, clean), 0, "{clean}");
    }
}

/// Sends each call and expects its refusal.
async fn refused(server: &Server, cases: Vec<(Call, u16, &str)>) {
    let client = connect(server).await;
    let count = cases.len() as u64;
    for (call, status, error_type) in cases {
        let Err(answer) = open(&client, &call).await else {
            panic!("{error_type} was accepted")
        };
        assert_eq!((answer.status, answer.error_type()), (status, error_type));
        // Errors in the service's model; the others come from its front ends.
        let member = match error_type {
            "InputValidationError" => "Message",
            _ => "message",
        };
        assert!(
            answer.body[member]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{error_type}: {:?}",
            answer.body
        );
        assert_eq!(answer.headers["x-amzn-requestid"].len(), 36);
    }
    assert_eq!(
        (counter(server, "refused"), counter(server, "accepted")),
        (count, 0)
    );
}

fn call() -> Call {
    Call::listen(LINEAR16)
}

#[tokio::test]
async fn requests_that_are_not_signed_well() {
    let server = start(json!({"credentials": [
        {"access_key_id": common::KEY, "secret_access_key": common::SECRET},
        {"access_key_id": "AKIDTOKEN", "secret_access_key": "s", "session_token": "good"},
        {"access_key_id": "AKIDOLD", "secret_access_key": "s", "session_token": "old", "expires_at": 1.5},
    ]}));
    let token = |key, token| Call {
        key,
        secret: "s",
        token,
        ..call()
    };
    let (invalid, unknown) = ("InvalidSignatureException", "UnrecognizedClientException");
    let cases = vec![
        (
            Call {
                signed: false,
                ..call()
            },
            403,
            "MissingAuthenticationTokenException",
        ),
        (
            Call {
                secret: "wrong",
                ..call()
            },
            403,
            invalid,
        ),
        (
            Call {
                key: "AKIDNOBODY",
                ..call()
            },
            403,
            unknown,
        ),
        (
            Call {
                region: "us-east-1",
                ..call()
            },
            403,
            invalid,
        ),
        (
            Call {
                service: "s3",
                ..call()
            },
            403,
            invalid,
        ),
        (
            Call {
                skew_ms: -400_000,
                ..call()
            },
            403,
            invalid,
        ),
        (
            Call {
                skew_ms: 400_000,
                ..call()
            },
            403,
            invalid,
        ),
        (token("AKIDTOKEN", None), 403, unknown),
        (token("AKIDTOKEN", Some("bad")), 403, unknown),
        (token("AKIDOLD", Some("old")), 403, "ExpiredTokenException"),
        (
            Call {
                token: Some("none asked for"),
                ..call()
            },
            403,
            unknown,
        ),
    ];
    refused(&server, cases).await;
    assert!(server.legs().is_empty(), "anybody can send them");
    assert_eq!(counter(&server, "request_signature_failures"), 11);
    assert!(
        open(&connect(&server).await, &token("AKIDTOKEN", Some("good")))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn requests_beyond_the_service_s_patterns_and_limits() {
    let server = start(json!({}));
    let path = |path: String| Call {
        path: Some(path),
        ..call()
    };
    let variant = |variant: &str| Call {
        variant: Some(variant.into()),
        ..call()
    };
    let input = "InputValidationError";
    let cases = vec![
        (
            Call {
                payload_hash: Some("UNSIGNED-PAYLOAD"),
                ..call()
            },
            400,
            input,
        ),
        (Call::endpoint("elsewhere"), 400, "ValidationException"),
        (Call::endpoint("-bad"), 400, input),
        (Call::endpoint(&"a".repeat(64)), 400, input),
        (path("/v1/listen".into()), 400, input),
        (path("a".repeat(101)), 400, input),
        (Call::listen("keyterm=two+cities"), 400, input),
        (Call::listen("keyterm=a,b"), 400, input),
        (Call::listen("keyterm="), 400, input),
        (
            Call::listen(&format!("keyterm={}", "a".repeat(2041))),
            400,
            input,
        ),
        (variant("red"), 400, "ValidationException"),
        (variant("re d"), 400, input),
        (
            Call {
                method: "GET",
                ..call()
            },
            405,
            "MethodNotAllowedException",
        ),
        (
            Call {
                uri_path: "/endpoints/local/invocations".into(),
                ..call()
            },
            404,
            "UnknownOperationException",
        ),
    ];
    refused(&server, cases).await;
    assert_eq!(counter(&server, "request_signature_failures"), 0);
    // Values at the limits are accepted.
    let full = Call {
        path: Some("a".repeat(100)),
        variant: Some("green".into()),
        ..Call::listen(&format!("keyterm={}", "a".repeat(2040)))
    };
    let leg = open(&connect(&server).await, &full).await.unwrap();
    assert_eq!(leg.headers["x-amzn-invoked-production-variant"], "green");
}

/// The AWS SDK for Rust sends no `x-amz-content-sha256` for this operation.
#[tokio::test]
async fn a_request_may_be_signed_with_the_empty_body_s_hash() {
    let server = start(json!({}));
    let client = connect(&server).await;
    for payload_hash in [None, Some(EMPTY_HASH)] {
        let call = Call {
            payload_hash,
            ..call()
        };
        let mut leg = open(&client, &call).await.unwrap();
        leg.audio(chunk(0)).await;
        leg.control("CloseStream").await;
        assert_eq!(transcript(&leg.rest().await), [0]);
        leg.end().await;
    }
    for number in 1..=2 {
        let facts = facts(&server, number, |facts| facts.input_end != InputEnd::Open).await;
        assert_eq!(facts.input_end, InputEnd::Signed);
    }
    // The events are still signed one after the other.
    let call = Call {
        payload_hash: None,
        ..call()
    };
    let mut leg = open(&client, &call).await.unwrap();
    let mut lost = BytesMut::new();
    let frame = Frame::Binary(chunk(0).into());
    encode_signed(&mut leg.signer, common::now_ms(), &frame, 10_000, &mut lost).unwrap();
    leg.audio(chunk(1)).await;
    assert!(matches!(leg.next().await, Said::Exception { kind, .. } if kind.contains("Signature")));
    // Neither is any other signature accepted without the header.
    let call = Call {
        secret: "wrong",
        ..call
    };
    assert_eq!(open(&client, &call).await.err().unwrap().status, 403);
}

#[tokio::test]
async fn errors_have_the_members_of_the_service_s_model() {
    let cases = [
        (400, "InputValidationError", "Message"),
        (424, "ModelError", "Message"),
        (500, "InternalServerError", "Message"),
        (503, "ServiceUnavailableError", "Message"),
        (
            503,
            "com.amazonaws.sagemakerruntimehttp2#ServiceUnavailableError:http://x",
            "Message",
        ),
        (429, "ThrottlingException", "message"),
        (403, "AccessDeniedException", "message"),
        (502, "", "message"),
    ];
    for (status, error_type, member) in cases {
        let action = json!({"kind": "answer", "status": status, "error_type": error_type,
            "message": "so it is"});
        let rule = fault(action, json!({"kind": "opening"}));
        let server = start(json!({"faults": [rule]}));
        let client = connect(&server).await;
        let answer = open(&client, &call()).await.err().unwrap();
        assert_eq!((answer.status, answer.error_type()), (status, error_type));
        let body = answer.body.as_object().unwrap();
        assert_eq!(body[member], "so it is", "{error_type}");
        let log_group = "log-group:/aws/sagemaker/Endpoints/local:log-stream:blue";
        let log_stream = body.get("LogStreamArn").map(|arn| arn.as_str().unwrap());
        assert_eq!(
            log_stream.is_some_and(|arn| arn.contains(log_group)),
            status == 424
        );
    }
}

/// A container that serves `v1/listen` and `v2/listen`.
fn strict() -> serde_json::Value {
    json!({"container": {"paths": ["v1/listen", "v2/listen"], "refuses_after": 0.25}})
}

#[tokio::test]
async fn a_bad_query_is_424_and_the_container_s_words_stay_behind() {
    let server = start(strict());
    let client = connect(&server).await;
    let at = |path: &str, query: &str| Call {
        path: (!path.is_empty()).then(|| path.to_owned()),
        ..Call::listen(query)
    };
    let cases = [
        (
            at("v1/listen", "encoding=linear17"),
            "INVALID_QUERY_PARAMETER: encoding=linear17",
        ),
        (
            at("v1/listen", "encoding=linear16"),
            "INVALID_QUERY_PARAMETER: sample_rate",
        ),
        (
            at("v2/listen", "model=flux-general-en&numerals=true"),
            "INVALID_QUERY_PARAMETER: numer",
        ),
        (at("v9/nothing", ""), "NOT_FOUND: no such path: v9/nothing"),
        (at("v1/speak", ""), "NOT_FOUND: no such path: v1/speak"),
        (at("", ""), "NOT_FOUND: no such path: "),
    ];
    for (number, (call, words)) in cases.into_iter().enumerate() {
        let asked = tokio::time::Instant::now();
        let answer = open(&client, &call).await.err().unwrap();
        assert!(
            asked.elapsed() >= Duration::from_millis(240),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!((answer.status, answer.error_type()), (424, "ModelError"));
        assert_eq!(
            answer.body["Message"],
            "Failed to establish WebSocket connection"
        );
        assert_eq!(answer.body["OriginalStatusCode"], 400);
        assert_eq!(answer.body["OriginalMessage"], "");
        assert!(!answer.body.to_string().contains("linear17"));
        let facts = facts(&server, number + 1, |facts| facts.end != LegEnd::Open).await;
        assert_eq!((facts.end, facts.status), (LegEnd::Refused, 424));
        assert!(facts.refusal.starts_with(words), "{}", facts.refusal);
    }
    assert_eq!(
        (counter(&server, "accepted"), counter(&server, "refused")),
        (0, 6)
    );
    // A good query is taken at once.
    let leg = open(&client, &call()).await;
    assert!(leg.is_ok());
    assert_eq!(
        facts(&server, 7, |facts| facts.status == 200).await.refusal,
        ""
    );
}

#[tokio::test]
async fn the_service_s_own_checks_come_before_the_container_s() {
    let mut settings = strict();
    let throttled = json!({"kind": "answer", "status": 429, "error_type": "ThrottlingException",
        "message": "slow down"});
    settings["faults"] = json!([fault(throttled, json!({"kind": "opening"}))]);
    let server = start(settings);
    let client = connect(&server).await;
    let bad = Call::listen("encoding=linear17");
    let unsigned = Call {
        signed: false,
        ..bad.clone()
    };
    assert_eq!(open(&client, &unsigned).await.err().unwrap().status, 403);
    assert_eq!(open(&client, &bad).await.err().unwrap().status, 429);
    assert_eq!(open(&client, &bad).await.err().unwrap().status, 424);
}

#[tokio::test]
async fn a_client_need_not_wait_for_the_refusal() {
    let server = start(json!({"container": {"paths": ["v1/listen"], "refuses_after": 30.0}}));
    let client = connect(&server).await;
    let (response, mut send, _) = common::begin(&client, &Call::listen("encoding=x")).await;
    facts(&server, 1, |facts| !facts.refusal.is_empty()).await;
    send.send_reset(h2::Reason::CANCEL);
    drop(response);
    let facts = facts(&server, 1, |facts| facts.end != LegEnd::Open).await;
    assert_eq!((facts.end, facts.status), (LegEnd::ClientReset, 0));
}

#[tokio::test]
async fn control_messages_count_wherever_they_come() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    leg.audio(chunk(0)).await;
    for text in [
        "{\"type\":\"KeepAlive\"}",
        " \n{ \"type\" : \"KeepAlive\" }\n",
    ] {
        leg.frame(&Frame::Binary(text.into())).await;
    }
    leg.audio(chunk(1)).await;
    leg.frame(&Frame::Binary("{\"type\":\"CloseStream\"}".into()))
        .await;
    let said = leg.rest().await;
    assert_eq!(transcript(&said), [0, 1]);
    assert_eq!(said[1]["duration"], 0.04);
    let facts = facts(&server, 1, |facts| facts.end != LegEnd::Open).await;
    assert_eq!(facts.controls, ["KeepAlive", "KeepAlive", "CloseStream"]);
    assert!((facts.audio_seconds - 0.04).abs() < 1e-9);
}

#[tokio::test]
async fn what_is_no_control_message_is_audio_whatever_it_begins_with() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    let mut bytes = 0_u32;
    for audio in [
        &b"{\"type\":"[..],
        b"{\"type\":7}",
        b"{\"kind\":\"KeepAlive\"}",
        b"[{\"type\":\"KeepAlive\"}]",
        b"{\"type\":\"KeepAlive\"}{",
        b"{\xff\xfe",
        b"{",
        b"",
    ] {
        bytes += u32::try_from(audio.len()).unwrap();
        leg.frame(&Frame::Binary(Bytes::from_static(audio))).await;
    }
    leg.control("CloseStream").await;
    leg.rest().await;
    let facts = facts(&server, 1, |facts| facts.end != LegEnd::Open).await;
    assert_eq!(facts.controls, ["CloseStream"]);
    let seconds = f64::from(bytes / 2) / 16_000.0;
    assert!(
        (facts.audio_seconds - seconds).abs() < 1e-9,
        "{}",
        facts.audio_seconds
    );
}

#[tokio::test]
async fn unknown_endpoints_may_answer_404() {
    let server = start(json!({"unknown_endpoint_status": 404}));
    let answer = open(&connect(&server).await, &Call::endpoint("x"))
        .await
        .err()
        .unwrap();
    assert_eq!(
        (answer.status, answer.error_type()),
        (404, "ValidationException")
    );
}

#[tokio::test]
async fn a_signature_out_of_the_chain_ends_the_stream() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    leg.audio(chunk(0)).await;
    // One event is signed and not sent.
    let mut lost = BytesMut::new();
    let frame = Frame::Binary(chunk(1).into());
    encode_signed(&mut leg.signer, common::now_ms(), &frame, 10_000, &mut lost).unwrap();
    leg.audio(chunk(2)).await;
    let said = leg.next().await;
    assert!(
        matches!(&said, Said::Exception { kind, .. } if kind == "InvalidSignatureException"),
        "{said:?}"
    );
    assert_eq!(leg.next().await, Said::End);
    assert_eq!(counter(&server, "signature_failures"), 1);
    let facts = facts(&server, 1, |facts| facts.end != LegEnd::Open).await;
    assert_eq!((facts.end, facts.messages_in), (LegEnd::BadInput, 1));
}

#[tokio::test]
async fn a_wrong_crc_ends_the_stream() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    let mut event = BytesMut::new();
    let frame = Frame::Binary(chunk(0).into());
    encode_signed(
        &mut leg.signer,
        common::now_ms(),
        &frame,
        10_000,
        &mut event,
    )
    .unwrap();
    let last = event.len() - 1;
    event[last] ^= 1;
    leg.raw(event.freeze()).await;
    let said = leg.next().await;
    assert!(
        matches!(&said, Said::Exception { kind, .. } if kind == "InputValidationError"),
        "{said:?}"
    );
    assert_eq!(leg.next().await, Said::End);
    assert_eq!(
        (
            counter(&server, "crc_failures"),
            counter(&server, "malformed_events")
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn an_input_that_ends_without_the_signed_event_is_counted() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    leg.audio(chunk(0)).await;
    leg.end_unsigned();
    assert_eq!(leg.next().await, Said::End);
    let facts = facts(&server, 1, |facts| facts.input_end != InputEnd::Open).await;
    assert_eq!(facts.input_end, InputEnd::Unsigned);
    assert_eq!(counter(&server, "bad_ends"), 1);
}

#[tokio::test]
async fn an_input_cut_within_an_event_is_malformed_and_a_bad_end() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    leg.raw(Bytes::from_static(&[0, 0, 1])).await;
    leg.end_unsigned();
    assert!(matches!(leg.next().await, Said::Exception { .. }));
    assert_eq!(leg.next().await, Said::End);
    facts(&server, 1, |facts| facts.input_end == InputEnd::Unsigned).await;
    assert_eq!(
        (
            counter(&server, "malformed_events"),
            counter(&server, "bad_ends")
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn nothing_is_said_after_the_input_has_ended() {
    let server = start(json!({"model": {"kind": "watermark", "settings": {"closing_time": 0.3}}}));
    let mut leg = listen(&server).await;
    leg.audio(chunk(0)).await;
    leg.control("CloseStream").await;
    leg.end().await;
    // The tail (results, Metadata) is cut off, as with the service.
    assert_eq!(leg.next().await, Said::End);
}

#[tokio::test]
async fn fragments_are_joined() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    let audio: Vec<u8> = (0..10).flat_map(chunk).collect();
    leg.frame_in_parts(&Frame::Binary(audio.into()), 1000).await;
    leg.frame_in_parts(&Frame::from(r#"{"type":"CloseStream"}"#), 5)
        .await;
    let said = leg.rest().await;
    assert_eq!(transcript(&said), (0..10).collect::<Vec<_>>());
    let facts = facts(&server, 1, |facts| facts.closed.is_some()).await;
    assert_eq!((facts.messages_in, facts.bytes_in), (2, 6400 + 22));
}

#[tokio::test]
async fn a_small_window_is_respected_and_large_results_get_through() {
    let server = start(json!({"model": {"kind": "watermark", "settings": {"window": 4000}}}));
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(1000)
        .initial_connection_window_size(70_000);
    let client = connect_with(&server, &builder).await;
    let mut leg = open(&client, &Call::listen(LINEAR16)).await.unwrap();
    for number in 0..4000 {
        leg.audio(chunk(number)).await;
    }
    let said = leg.next().await.json();
    assert_eq!(transcript(&[said]), (0..4000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_made_to_wait() {
    let interims = json!({"kind": "watermark", "settings": {"interim_every": 1, "window": 2000}});
    let server = start(json!({"model": interims}));
    let client = connect(&server).await;
    let mut leg = open(
        &client,
        &Call::listen(&format!("{LINEAR16}&interim_results=true")),
    )
    .await
    .unwrap();
    // Each interim is longer than the one before; together they are far more than is queued.
    let sending = async {
        for number in 0..2000 {
            leg.audio(chunk(number)).await;
        }
        leg
    };
    let sending = tokio::spawn(sending);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!sending.is_finished());
    sending.abort();
}

#[tokio::test]
async fn many_streams_on_one_connection_and_on_many() {
    let server = start(json!({}));
    let shared = connect(&server).await;
    let mut sessions = tokio::task::JoinSet::new();
    for index in 0..60 {
        let client = if index % 2 == 0 {
            shared.clone()
        } else {
            connect(&server).await
        };
        sessions.spawn(async move {
            let mut leg = open(&client, &Call::listen(LINEAR16)).await.unwrap();
            for number in 0..40 {
                leg.audio(chunk(index * 1000 + number)).await;
            }
            leg.control("CloseStream").await;
            let said = leg.rest().await;
            leg.end().await;
            assert_eq!(
                transcript(&said),
                (0..40).map(|n| index * 1000 + n).collect::<Vec<_>>()
            );
        });
    }
    tokio::time::timeout(PATIENCE, sessions.join_all())
        .await
        .unwrap();
    assert_eq!(counter(&server, "accepted"), 60);
    assert_eq!(counter(&server, "connections"), 31);
    assert_eq!(counter(&server, "signature_failures"), 0);
    assert!(counter(&server, "most_live_streams") > 1);
}

#[tokio::test]
async fn a_client_that_resets_is_recorded() {
    let server = start(json!({}));
    let mut leg = listen(&server).await;
    leg.audio(chunk(0)).await;
    facts(&server, 1, |facts| facts.messages_in == 1).await;
    leg.reset();
    let facts = facts(&server, 1, |facts| facts.input_end != InputEnd::Open).await;
    assert_eq!(
        (facts.end, facts.input_end),
        (LegEnd::ClientReset, InputEnd::Reset)
    );
}

#[tokio::test]
async fn a_stream_ends_at_its_maximum_age() {
    let server = start(json!({"max_stream_age": 0.2}));
    let mut leg = listen(&server).await;
    assert_eq!(leg.next().await, Said::Reset(h2::Reason::INTERNAL_ERROR));
    let facts = facts(&server, 1, |facts| facts.closed.is_some()).await;
    assert_eq!(facts.end, LegEnd::Age);
    let aged = facts.closed.unwrap().saturating_sub(facts.opened);
    assert!(aged >= Duration::from_millis(200), "{aged:?}");
}

#[tokio::test]
async fn identities_can_be_replaced() {
    let server = start(json!({}));
    let client = connect(&server).await;
    server.set_credentials(
        dgsm_local::settings::credentials_from_json(
            r#"[{"access_key_id": "AKIDNEW", "secret_access_key": "new"}]"#,
        )
        .unwrap(),
    );
    assert!(open(&client, &Call::listen(LINEAR16)).await.is_err());
    let call = Call {
        key: "AKIDNEW",
        secret: "new",
        ..Call::listen(LINEAR16)
    };
    assert!(open(&client, &call).await.is_ok());
}

#[tokio::test]
async fn plain_http_is_not_spoken() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = start(json!({}));
    let mut tcp = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer))
        .await
        .unwrap();
    // A TLS alert at most.
    assert!(!answer.starts_with(b"HTTP"));
    drop(tcp);
    while counter(&server, "tls_failures") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_look_whether_the_port_is_open_is_no_failed_handshake() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = start(json!({}));
    let mut tcp = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    tcp.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer));
    ended.await.unwrap().unwrap();
    // Later than the first connection's end, whose counting may be under way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(counter(&server, "tls_failures"), 0);
}

#[test]
fn a_taken_port_is_an_error() {
    let server = start(json!({}));
    let settings = common::settings(json!({"port": server.address().port()}));
    let error = Server::start(settings, None).unwrap_err();
    assert!(
        error.to_string().contains("can't listen on 127.0.0.1"),
        "{error}"
    );
}

#[test]
fn stopping_is_quick_and_frees_the_port() {
    let mut server = start(json!({}));
    let port = server.address().port();
    let began = std::time::Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(1));
    let again = start(json!({"port": port}));
    assert_eq!(again.address().port(), port);
}
