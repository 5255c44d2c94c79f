//! Payload parts: the bytes on the wire, cutting and joining, and the service's events.

/// The server's half, from where it lives: a dependency would bring the whole local endpoint.
#[allow(
    dead_code,
    unused_imports,
    reason = "each test file uses its part of it"
)]
#[path = "../../local/src/verify/mod.rs"]
mod verify;

use bytes::{Bytes, BytesMut};
use dgsm_leg::frame::{Frame, NotUtf8};
use dgsm_wire::eventstream::{Decoder, Header, HeaderValue, Limits, Message, decode_exact, encode};
use dgsm_wire::payload_part::{
    Assembler, AssemblyError, Completion, DataType, EventError, PayloadPart, ServerEvent,
    encode_exception, encode_signed,
};
use dgsm_wire::signing::{EventSigner, SigningError};
use proptest::prelude::*;
use verify::{Envelope, EventVerifier};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// sha256("request"), standing in for a request's signature.
const SEED: &str = "1f58b9145b24d108d7ac38887338b3ea3229833b9c1e418250343f907bfd1047";
const NOW: i64 = 1_770_091_506_789; // 2026-02-03T04:05:06.789Z

fn signer() -> EventSigner {
    EventSigner::new(SECRET, "us-east-1", "sagemaker", SEED).unwrap()
}

/// What the service makes of a client's signed events: the parts, in order.
fn receive(wire: Bytes) -> Vec<PayloadPart> {
    let mut decoder = Decoder::new(Limits::default());
    let mut verifier = EventVerifier::new(SECRET, "us-east-1", "sagemaker", SEED).unwrap();
    decoder.push(wire);
    let mut parts = Vec::new();
    while let Some(envelope) = decoder.next().unwrap() {
        let Envelope::Event(event) = verifier.verify(&envelope).unwrap() else {
            panic!("the end")
        };
        let event = decode_exact(event, Limits::default()).unwrap();
        parts.push(PayloadPart::parse(event).unwrap());
    }
    decoder.finish().unwrap();
    parts
}

fn message(headers: &[(&str, HeaderValue<'_>)], payload: &[u8]) -> Message {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| Header {
            name,
            value: *value,
        })
        .collect();
    let mut out = BytesMut::new();
    encode(&headers, payload, &mut out).unwrap();
    decode_exact(out.freeze(), Limits::default()).unwrap()
}

fn part(data: &'static [u8], data_type: Option<DataType>, completion: Completion) -> PayloadPart {
    PayloadPart {
        data: Bytes::from_static(data),
        data_type,
        completion,
    }
}

/// Two bytes of audio, signed. Lengths, checksums and signature were computed with Python's zlib,
/// hashlib and hmac.
#[test]
#[rustfmt::skip]
fn golden_bytes() {
    let expected: &[u8] = &[
        // The envelope's prelude.
        0x00, 0x00, 0x00, 0xeb,                         // total length: 235
        0x00, 0x00, 0x00, 0x43,                         // headers length: 67
        0xd5, 0xf3, 0x39, 0x8d,                         // CRC of the eight bytes above
        // The envelope's headers.
        0x05, b':', b'd', b'a', b't', b'e',             // name
        0x08,                                           // type: timestamp
        0x00, 0x00, 0x01, 0x9c, 0x21, 0xac, 0xe9, 0x50, // 2026-02-03T04:05:06.000Z, in milliseconds
        0x10, b':', b'c', b'h', b'u', b'n', b'k', b'-', b's', b'i', b'g',
        b'n', b'a', b't', b'u', b'r', b'e',
        0x06, 0x00, 0x20,                               // type: bytes, 32 of them
        0xff, 0x81, 0x47, 0x8e, 0x53, 0x35, 0x5a, 0x8a, // the signature
        0x43, 0xd1, 0xac, 0xe8, 0xdf, 0x48, 0xc0, 0x52,
        0x62, 0x58, 0x91, 0x37, 0x52, 0xe9, 0xf6, 0x1d,
        0xf2, 0x2b, 0x21, 0xb8, 0xaa, 0x40, 0xed, 0x03,
        // The envelope's payload is the event, a message of its own: its prelude.
        0x00, 0x00, 0x00, 0x98,                         // total length: 152
        0x00, 0x00, 0x00, 0x86,                         // headers length: 134
        0x80, 0x8f, 0x95, 0xad,                         // CRC of the eight bytes above
        // The event's headers, all strings (type 7, two bytes of length).
        0x0d, b':', b'm', b'e', b's', b's', b'a', b'g', b'e', b'-', b't', b'y', b'p', b'e',
        0x07, 0x00, 0x05, b'e', b'v', b'e', b'n', b't',
        0x0b, b':', b'e', b'v', b'e', b'n', b't', b'-', b't', b'y', b'p', b'e',
        0x07, 0x00, 0x0b, b'P', b'a', b'y', b'l', b'o', b'a', b'd', b'P', b'a', b'r', b't',
        0x08, b'D', b'a', b't', b'a', b'T', b'y', b'p', b'e',
        0x07, 0x00, 0x06, b'B', b'I', b'N', b'A', b'R', b'Y',
        0x0f, b'C', b'o', b'm', b'p', b'l', b'e', b't', b'i', b'o', b'n',
        b'S', b't', b'a', b't', b'e',
        0x07, 0x00, 0x08, b'C', b'O', b'M', b'P', b'L', b'E', b'T', b'E',
        0x0d, b':', b'c', b'o', b'n', b't', b'e', b'n', b't', b'-', b't', b'y', b'p', b'e',
        0x07, 0x00, 0x18, b'a', b'p', b'p', b'l', b'i', b'c', b'a', b't', b'i', b'o', b'n', b'/',
        b'o', b'c', b't', b'e', b't', b'-', b's', b't', b'r', b'e', b'a', b'm',
        // The event's payload and CRC.
        b'h', b'i',
        0xfb, 0x40, 0x21, 0x7f,
        // The envelope's CRC.
        0x1b, 0xf9, 0x27, 0x8b,
    ];
    let mut out = BytesMut::new();
    let frame = Frame::Binary(Bytes::from_static(b"hi"));
    assert_eq!(encode_signed(&mut signer(), NOW, &frame, 1000, &mut out), Ok(1));
    assert_eq!(&out[..], expected);
}

/// Many cases, for they are cheap; failures are printed, and kept nowhere.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// Any frames, cut to any size, arrive as they were; text is never cut within a character.
    #[test]
    fn frames_arrive(
        contents in prop::collection::vec(
            prop_oneof![
                "\\PC{0,60}".prop_map(Frame::from),
                prop::collection::vec(any::<u8>(), 0..200)
                    .prop_map(|data| Frame::Binary(data.into())),
            ],
            0..5,
        ),
        max_part in 0..70_usize,
    ) {
        let mut signer = signer();
        let mut out = BytesMut::new();
        let mut events = 0;
        for frame in &contents {
            events += encode_signed(&mut signer, NOW, frame, max_part, &mut out).unwrap();
        }
        let parts = receive(out.freeze());
        prop_assert_eq!(parts.len(), events);
        let mut assembler = Assembler::new(1000);
        let mut frames = Vec::new();
        for part in parts {
            prop_assert!(part.data.len() <= max_part.max(4));
            if part.data_type == Some(DataType::Utf8) {
                prop_assert!(std::str::from_utf8(&part.data).is_ok());
            }
            frames.extend(assembler.push(part).unwrap());
        }
        prop_assert_eq!(assembler.finish(), Ok(()));
        prop_assert_eq!(frames, contents);
    }

    /// What the service writes is what the client reads.
    #[test]
    fn parts_of_the_service_are_read_back(
        data in prop::collection::vec(any::<u8>(), 0..100),
        data_type in prop::option::of(prop::sample::select(vec![DataType::Utf8, DataType::Binary])),
        completion in prop::sample::select(vec![Completion::Partial, Completion::Complete]),
    ) {
        let part = PayloadPart { data: data.into(), data_type, completion };
        let mut out = BytesMut::new();
        part.encode(&mut out).unwrap();
        let message = decode_exact(out.freeze(), Limits::default()).unwrap();
        prop_assert_eq!(ServerEvent::parse(message), Ok(ServerEvent::Part(part)));
    }

    #[test]
    fn exceptions_are_read_back(
        kind in "[A-Za-z]{1,20}",
        code in prop::option::of("\\PC{0,20}"),
        text in "\\PC{0,60}",
    ) {
        let mut out = BytesMut::new();
        encode_exception(&kind, code.as_deref(), &text, &mut out).unwrap();
        let message = decode_exact(out.freeze(), Limits::default()).unwrap();
        let expected = ServerEvent::Exception { kind, code, message: text };
        prop_assert_eq!(ServerEvent::parse(message), Ok(expected));
    }

    /// Parts in any order, of any type: an answer each time, and never more held than the limit.
    #[test]
    fn the_assembler_answers_whatever_comes(
        parts in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..40), any::<Option<bool>>(), any::<bool>()),
            0..30,
        ),
    ) {
        let mut assembler = Assembler::new(64);
        for (data, text, partial) in parts {
            let data_type = text.map(|text| if text { DataType::Utf8 } else { DataType::Binary });
            let completion = if partial { Completion::Partial } else { Completion::Complete };
            let data = Bytes::from(data);
            if let Ok(Some(frame)) = assembler.push(PayloadPart { data, data_type, completion }) {
                prop_assert!(frame.len() <= 64);
                prop_assert!(!frame.is_text() || frame.as_str().is_some());
            }
            if let Err(AssemblyError::Unfinished(held)) = assembler.finish() {
                prop_assert!(held <= 64);
            }
        }
    }
}

#[test]
fn an_empty_frame_is_one_event() {
    let mut out = BytesMut::new();
    let frame = Frame::Binary(Bytes::new());
    assert_eq!(
        encode_signed(&mut signer(), NOW, &frame, 1000, &mut out),
        Ok(1)
    );
    assert_eq!(
        receive(out.freeze()),
        [part(b"", Some(DataType::Binary), Completion::Complete)]
    );
}

#[test]
fn large_frames_are_cut() {
    let mut out = BytesMut::new();
    let mut signer = signer();
    encode_signed(
        &mut signer,
        NOW,
        &Frame::Binary(Bytes::from_static(b"0123456789")),
        4,
        &mut out,
    )
    .unwrap();
    // Four bytes would end within the ä.
    encode_signed(&mut signer, NOW, &Frame::from("abcäd"), 4, &mut out).unwrap();
    let binary = Some(DataType::Binary);
    let text = Some(DataType::Utf8);
    assert_eq!(
        receive(out.freeze()),
        [
            part(b"0123", binary, Completion::Partial),
            part(b"4567", binary, Completion::Partial),
            part(b"89", binary, Completion::Complete),
            part(b"abc", text, Completion::Partial),
            part("äd".as_bytes(), text, Completion::Complete),
        ]
    );
}

#[test]
fn nothing_is_written_after_the_end() {
    let mut signer = signer();
    let mut out = BytesMut::new();
    signer.sign_end(NOW, &mut out).unwrap();
    let len = out.len();
    let frame = Frame::Binary(Bytes::from_static(b"late"));
    let result = encode_signed(&mut signer, NOW, &frame, 1000, &mut out);
    assert_eq!((result, out.len()), (Err(SigningError::Ended), len));
}

#[test]
fn a_whole_message_is_not_copied() {
    let data = Bytes::from(vec![1, 2, 3]);
    let part = PayloadPart::whole(&Frame::Binary(data.clone()));
    let frame = Assembler::new(3).push(part).unwrap().unwrap();
    assert_eq!(frame.bytes().as_ptr(), data.as_ptr());
}

#[test]
fn fragments_need_not_repeat_the_type() {
    let mut assembler = Assembler::new(100);
    // The second fragment begins within a character.
    let (text, rest) = "grün".as_bytes().split_at(3);
    let first = part(text, Some(DataType::Utf8), Completion::Partial);
    assert_eq!(assembler.push(first), Ok(None));
    assert_eq!(assembler.finish(), Err(AssemblyError::Unfinished(3)));
    let last = part(rest, None, Completion::Complete);
    assert_eq!(assembler.push(last), Ok(Some(Frame::from("grün"))));
    assert_eq!(assembler.finish(), Ok(()));
    let untyped = part(b"\xff", None, Completion::Complete);
    assert_eq!(
        assembler.push(untyped),
        Ok(Some(Frame::Binary(Bytes::from_static(b"\xff"))))
    );
}

#[test]
fn what_does_not_make_a_message() {
    let text = Some(DataType::Utf8);
    let mut assembler = Assembler::new(5);
    assert_eq!(
        assembler.push(part(b"ab", text, Completion::Partial)),
        Ok(None)
    );
    assert_eq!(
        assembler.push(part(b"cd", Some(DataType::Binary), Completion::Complete)),
        Err(AssemblyError::MixedTypes)
    );
    assert_eq!(
        assembler.push(part(b"abc", text, Completion::Partial)),
        Ok(None)
    );
    assert_eq!(
        assembler.push(part(b"def", text, Completion::Partial)),
        Err(AssemblyError::TooLarge {
            length: 6,
            limit: 5
        })
    );
    assert_eq!(assembler.finish(), Ok(()));
    assert_eq!(
        assembler.push(part(b"a\xff", text, Completion::Complete)),
        Err(AssemblyError::NotUtf8(NotUtf8 { valid_up_to: 1 }))
    );
}

#[test]
fn events_of_the_service() {
    use HeaderValue::String;
    let exception = |kind: &str, code: Option<&str>, message: &str| ServerEvent::Exception {
        kind: kind.into(),
        code: code.map(str::to_owned),
        message: message.into(),
    };
    let kind = |name| {
        [
            (":message-type", String("exception")),
            (":exception-type", String(name)),
        ]
    };
    let body = br#"{"ErrorCode":"1011","Message":"closed"}"#;
    for (headers, payload, expected) in [
        (
            &[
                (":message-type", String("event")),
                (":event-type", String("Tomorrow")),
            ],
            &b"?"[..],
            ServerEvent::Unknown {
                event_type: "Tomorrow".into(),
            },
        ),
        (
            &kind("ModelStreamError"),
            body,
            exception("ModelStreamError", Some("1011"), "closed"),
        ),
        (
            &kind("InternalStreamFailure"),
            br#"{"message":"oops"}"#,
            exception("InternalStreamFailure", None, "oops"),
        ),
        (
            &kind("InternalStreamFailure"),
            b"{}",
            exception("InternalStreamFailure", None, ""),
        ),
        (
            &kind("Teapot"),
            b"short \xff",
            exception("Teapot", None, "short \u{fffd}"),
        ),
        (
            &kind("Teapot"),
            br#"["a list"]"#,
            exception("Teapot", None, r#"["a list"]"#),
        ),
    ] {
        assert_eq!(ServerEvent::parse(message(headers, payload)), Ok(expected));
    }
    let unmodelled = [
        (":message-type", String("error")),
        (":error-code", String("InternalError")),
        (":error-message", String("try again")),
    ];
    assert_eq!(
        ServerEvent::parse(message(&unmodelled, b"")),
        Ok(exception("InternalError", None, "try again"))
    );
}

#[test]
fn events_that_make_no_sense() {
    use HeaderValue::{Int32, String};
    let event = (":message-type", String("event"));
    let payload_part = (":event-type", String("PayloadPart"));
    let value = |name, value: &str| EventError::Value {
        name,
        value: value.into(),
    };
    for (headers, expected) in [
        (&[][..], EventError::Header(":message-type")),
        (
            &[(":message-type", Int32(1))],
            EventError::Header(":message-type"),
        ),
        (
            &[(":message-type", String("rumour"))],
            value(":message-type", "rumour"),
        ),
        (&[event], EventError::Header(":event-type")),
        (
            &[(":message-type", String("exception"))],
            EventError::Header(":exception-type"),
        ),
        (
            &[(":message-type", String("error"))],
            EventError::Header(":error-code"),
        ),
        (
            &[event, payload_part, ("DataType", String("UTF16"))],
            value("DataType", "UTF16"),
        ),
        (
            &[event, payload_part, ("DataType", Int32(8))],
            EventError::Header("DataType"),
        ),
        (
            &[event, payload_part, ("CompletionState", String("ALMOST"))],
            value("CompletionState", "ALMOST"),
        ),
    ] {
        assert_eq!(ServerEvent::parse(message(headers, b"")), Err(expected));
    }
}

#[test]
fn a_client_sends_only_parts() {
    let mut out = BytesMut::new();
    encode_exception("ModelStreamError", None, "", &mut out).unwrap();
    let exception = decode_exact(out.freeze(), Limits::default()).unwrap();
    assert_eq!(
        PayloadPart::parse(exception),
        Err(EventError::NotAPart("ModelStreamError".into()))
    );
    let headers = [
        (":message-type", HeaderValue::String("event")),
        (":event-type", HeaderValue::String("X")),
    ];
    assert_eq!(
        PayloadPart::parse(message(&headers, b"")),
        Err(EventError::NotAPart("X".into()))
    );
}

#[test]
fn padding_is_ignored() {
    let headers = [
        (":message-type", HeaderValue::String("event")),
        (":event-type", HeaderValue::String("PayloadPart")),
        ("P", HeaderValue::String("abcdefgh")),
    ];
    assert_eq!(
        ServerEvent::parse(message(&headers, b"x")),
        Ok(ServerEvent::Part(part(b"x", None, Completion::Complete)))
    );
}
