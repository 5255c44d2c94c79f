//! The signature chain and the request check, against the AWS crate's signer, and against bytes
//! that other implementations made.

/// The server's half, from where it lives: a dependency would bring the whole local endpoint.
#[allow(
    dead_code,
    unused_imports,
    reason = "each test file uses its part of it"
)]
#[path = "../../local/src/verify/mod.rs"]
mod verify;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::event_stream::{sign_empty_message, sign_message};
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream as aws;
use bytes::{Bytes, BytesMut};
use dgsm_wire::eventstream::{Header, HeaderValue, Limits, Message, decode_exact, encode};
use dgsm_wire::signing::{EventSigner, Scope, SigningError, SigningKey};
use proptest::prelude::*;
use verify::{Envelope, EventVerifier, Request, SigV4Error, SignatureError, verify_request};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "us-east-1";
const SERVICE: &str = "sagemaker";
/// sha256("request"), standing in for a request's signature.
const SEED: &str = "1f58b9145b24d108d7ac38887338b3ea3229833b9c1e418250343f907bfd1047";
const PAYLOAD_HASH: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";

fn signer() -> EventSigner {
    EventSigner::new(SECRET, REGION, SERVICE, SEED).unwrap()
}

fn verifier() -> EventVerifier {
    EventVerifier::new(SECRET, REGION, SERVICE, SEED).unwrap()
}

fn credentials(token: Option<String>) -> Credentials {
    Credentials::new("AKIDEXAMPLE", SECRET, token, None, "test")
}

fn time(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap())
}

/// The AWS crate's envelope around `event` (none for the end), and its signature.
fn oracle(event: Option<&aws::Message>, ms: i64, previous: &str) -> (aws::Message, String) {
    let identity = credentials(None).into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(SERVICE)
        .time(time(ms))
        .settings(())
        .build()
        .unwrap();
    let signed = match event {
        Some(event) => sign_message(event, previous, &params),
        None => sign_empty_message(previous, &params),
    };
    signed.unwrap().into_parts()
}

/// Date, signature and payload of an envelope.
fn fields(wire: &[u8]) -> (i64, Vec<u8>, Bytes) {
    let message = decode(wire);
    let Some(HeaderValue::Timestamp(date)) = message.header(":date") else {
        panic!(":date")
    };
    let Some(HeaderValue::Bytes(signature)) = message.header(":chunk-signature") else {
        panic!(":chunk-signature")
    };
    (date, signature.to_vec(), message.payload.clone())
}

fn decode(wire: &[u8]) -> Message {
    decode_exact(Bytes::copy_from_slice(wire), Limits::default()).unwrap()
}

fn encoded(message: &aws::Message) -> Vec<u8> {
    let mut out = Vec::new();
    write_message_to(message, &mut out).unwrap();
    out
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn event(payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&[], payload, &mut out).unwrap();
    out.to_vec()
}

/// Times that stay within a second, move on, cross midnight, and go back (a clock that is set).
fn times() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        0..50_i64,
        900..1100_i64,
        80_000_000..90_000_000_i64,
        -5_000..0_i64
    ];
    (0..4_000_000_000_000_i64, prop::collection::vec(step, 1..12)).prop_map(|(start, steps)| {
        steps
            .iter()
            .scan(start, |now, step| {
                *now = (*now + step).max(0);
                Some(*now)
            })
            .collect()
    })
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

    #[test]
    fn signs_as_the_aws_crate_does(
        times in times(),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 12),
    ) {
        let mut signer = signer();
        let mut verifier = verifier();
        let mut previous = SEED.to_owned();
        let last = times[times.len() - 1];
        for (now, payload) in times.into_iter().zip(payloads) {
            let message = aws::Message::new(payload);
            let (envelope, signature) = oracle(Some(&message), now, &previous);
            let event = encoded(&message);
            let mut out = BytesMut::new();
            signer.sign_into(&event, now, &mut out).unwrap();
            let (date, ours, payload) = fields(&out);
            prop_assert_eq!(hex(&ours), signature.clone());
            prop_assert_eq!(&fields(&encoded(&envelope)), &(date, ours, payload));
            // Theirs and not ours, for the other order of headers.
            prop_assert_eq!(
                verifier.verify(&decode(&encoded(&envelope))),
                Ok(Envelope::Event(event.into()))
            );
            // The AWS crate also reads what we write.
            let read = read_message_from(out.freeze()).unwrap();
            prop_assert_eq!(read.payload(), envelope.payload());
            previous = signature;
        }
        let (envelope, signature) = oracle(None, last, &previous);
        let mut out = BytesMut::new();
        signer.sign_end(last, &mut out).unwrap();
        let (_, ours, payload) = fields(&out);
        prop_assert_eq!(hex(&ours), signature);
        prop_assert!(payload.is_empty());
        prop_assert_eq!(verifier.verify(&decode(&encoded(&envelope))), Ok(Envelope::End));
        prop_assert!(verifier.is_ended());
    }

    /// Any change to an envelope is refused, and does not move the chain.
    #[test]
    fn changes_are_refused(
        payload in prop::collection::vec(any::<u8>(), 1..50),
        at: prop::sample::Index,
        flip in 1..=255_u8,
        now in 0..4_000_000_000_000_i64,
    ) {
        let mut out = BytesMut::new();
        signer().sign_into(&event(&payload), now, &mut out).unwrap();
        let (date, signature, event) = fields(&out);
        let mut changed = [&date.to_be_bytes(), &signature[..], &event[..]].concat();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        let (date, rest) = changed.split_first_chunk().unwrap();
        let (signature, event) = rest.split_at(32);
        let headers = [
            Header { name: ":date", value: HeaderValue::Timestamp(i64::from_be_bytes(*date)) },
            Header { name: ":chunk-signature", value: HeaderValue::Bytes(signature) },
        ];
        let mut tampered = BytesMut::new();
        encode(&headers, event, &mut tampered).unwrap();
        let mut verifier = verifier();
        let error = verifier.verify(&decode(&tampered)).unwrap_err();
        prop_assert!(matches!(error, SignatureError::Mismatch | SignatureError::Date));
        prop_assert!(verifier.verify(&decode(&out)).is_ok());
    }

    #[test]
    fn accepts_requests_that_the_aws_crate_signs(
        path in prop::collection::vec("[a-zA-Z0-9._~-]{0,8}|%2[0-9A-F]|\\.|\\.\\.", 0..5),
        query in prop::collection::vec(
            "[a-z]{1,3}=[a-zA-Z0-9._~+-]{0,6}(%2[0-9A-F]){0,2}|[a-z]{1,3}",
            0..4,
        ),
        values in prop::collection::vec("[ -~]{0,20}", 3),
        token in prop::option::of("[a-zA-Z0-9/+=]{1,40}"),
        now in 0..4_000_000_000_000_i64,
        skew in -200_000..200_000_i64,
    ) {
        let path = format!("/{}", path.join("/"));
        let query = query.join("&");
        let headers = [
            ("host", "localhost:8443"),
            ("content-type", "application/vnd.amazon.eventstream"),
            ("x-amzn-sagemaker-model-invocation-path", &values[0]),
            ("x-amzn-sagemaker-model-query-string", &values[1]),
            ("x-amzn-sagemaker-model-query-string", &values[2]),
        ];
        let signed = sign_request(&path, &query, &headers, token, now);
        let request = Request {
            method: "POST",
            path: &path,
            query: &query,
            headers: &as_bytes(&signed),
            payload_hash: PAYLOAD_HASH,
        };
        let found = verify_request(&request, now + skew, |key| {
            (key == "AKIDEXAMPLE").then_some(SECRET)
        });
        let found = found.unwrap();
        let authorization = &signed.iter().find(|header| header.0 == "authorization").unwrap().1;
        prop_assert_eq!(authorization.rsplit('=').next(), Some(&found.signature[..]));
        prop_assert_eq!((&found.region[..], &found.service[..]), (REGION, SERVICE));
    }

    /// Whatever is in the headers of a request, the check answers.
    #[test]
    fn arbitrary_authorizations_are_survived(
        authorization in "(AWS4-HMAC-SHA256)?[ -~]{0,120}",
        date in "[0-9TZ]{0,20}|\\PC{16}",
        path in "\\PC{0,20}",
        query in "\\PC{0,20}|[%0-9a-fA-F+&=]{0,20}",
    ) {
        let headers = [
            ("host", &b"h"[..]),
            ("x-amz-date", date.as_bytes()),
            ("authorization", authorization.as_bytes()),
        ];
        let request = Request {
            method: "POST",
            path: &path,
            query: &query,
            headers: &headers,
            payload_hash: PAYLOAD_HASH,
        };
        prop_assert!(verify_request(&request, 0, |_| Some(SECRET)).is_err());
    }
}

fn sign_request(
    path: &str,
    query: &str,
    headers: &[(&'static str, &str)],
    token: Option<String>,
    now_ms: i64,
) -> Vec<(String, String)> {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials(token).into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(SERVICE)
        .time(time(now_ms))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let separator = if query.is_empty() { "" } else { "?" };
    let request = SignableRequest::new(
        "POST",
        format!("https://localhost:8443{path}{separator}{query}"),
        headers.iter().copied(),
        SignableBody::Precomputed(PAYLOAD_HASH.to_owned()),
    )
    .unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let mut all: Vec<_> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    all.extend(
        instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    all
}

fn as_bytes(headers: &[(String, String)]) -> Vec<(&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (&name[..], value.as_bytes()))
        .collect()
}

/// A signed request, as the tests below change it.
fn request_headers() -> Vec<(String, String)> {
    sign_request(
        "/endpoints/e/x",
        "",
        &[("host", "h"), ("x-amzn-note", "n")],
        None,
        NOW,
    )
}

const NOW: i64 = 1_770_091_506_789;

fn check(headers: &[(String, String)], now_ms: i64, path: &str) -> Result<String, SigV4Error> {
    let request = Request {
        method: "POST",
        path,
        query: "",
        headers: &as_bytes(headers),
        payload_hash: PAYLOAD_HASH,
    };
    verify_request(&request, now_ms, |key| {
        (key == "AKIDEXAMPLE").then_some(SECRET)
    })
    .map(|found| found.access_key)
}

fn changed(name: &str, change: impl Fn(&str) -> String) -> Vec<(String, String)> {
    let mut headers = request_headers();
    let header = headers.iter_mut().find(|header| header.0 == name).unwrap();
    header.1 = change(&header.1);
    headers
}

#[test]
fn what_is_wrong_with_a_request_is_said() {
    let check_headers = |headers: &[(String, String)]| check(headers, NOW, "/endpoints/e/x");
    let authorization = |change: &dyn Fn(&str) -> String| {
        check_headers(&changed("authorization", change)).unwrap_err()
    };
    let without = |name: &str| {
        let mut headers = request_headers();
        headers.retain(|header| header.0 != name);
        check_headers(&headers).unwrap_err()
    };
    assert_eq!(
        check_headers(&request_headers()),
        Ok("AKIDEXAMPLE".to_owned())
    );

    assert_eq!(
        check(&request_headers(), NOW, "/endpoints/f/x"),
        Err(SigV4Error::Mismatch)
    );
    assert_eq!(
        check_headers(&changed("x-amzn-note", |_| "o".into())),
        Err(SigV4Error::Mismatch)
    );
    assert_eq!(
        check(&request_headers(), NOW + 301_000, "/endpoints/e/x"),
        Err(SigV4Error::Skewed(301))
    );
    assert_eq!(
        check(&request_headers(), NOW - 301_000, "/endpoints/e/x"),
        Err(SigV4Error::Skewed(-300))
    );
    assert_eq!(without("authorization"), SigV4Error::MissingAuthorization);
    assert_eq!(without("x-amz-date"), SigV4Error::Date);
    assert_eq!(
        without("x-amzn-note"),
        SigV4Error::MissingHeader("x-amzn-note".into())
    );
    assert_eq!(without("host"), SigV4Error::MissingHeader("host".into()));

    let mut headers = request_headers();
    headers.push(("x-amz-security-token".into(), "t".into()));
    assert_eq!(
        check_headers(&headers),
        Err(SigV4Error::UnsignedHeader("x-amz-security-token".into()))
    );
    assert_eq!(
        authorization(&|value| value.replace("AKIDEXAMPLE", "AKIDOTHER")),
        SigV4Error::UnknownAccessKey("AKIDOTHER".into())
    );
    assert_eq!(
        authorization(&|value| value.replace("/20260203/", "/20260204/")),
        SigV4Error::ScopeDate
    );
    for change in [
        |value: &str| value.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        |value: &str| value.replace("aws4_request", "aws5_request"),
        |value: &str| value.replace("/us-east-1", ""),
        |value: &str| value.replace("host;", "zoo;host;"),
        |value: &str| value.replace("Signature=", "Signature=x"),
        |value: &str| value.replace("Signature=", "Sign="),
        |value: &str| format!("{value}, Signature=00"),
        |value: &str| value.replace(", Signature=", ";"),
        |_: &str| "AWS4-HMAC-SHA256".into(),
    ] {
        assert!(matches!(authorization(&change), SigV4Error::Malformed(_)));
    }
}

/// What `AsyncEventSigner` of `aws_sdk_signers` 0.4.0 makes of a two-byte event and of the end at
/// 2026-02-03T04:05:06.789Z: it writes milliseconds in `:date` and signs for the second.
#[test]
fn accepts_what_the_aws_sdk_for_python_writes() {
    let event = unhex(
        "000000eb00000043d5f3398d053a64617465080000019c21acec65103a6368756e6b2d7369676e6174757265\
         0600201f068efb2ef5888af08f74e2001e5d3b29c4eecf6323866df78a6d3f5457ef60000000980000008680\
         8f95ad0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d7479706507000b5061796c\
         6f61645061727408446174615479706507000642494e4152590f436f6d706c6574696f6e5374617465070008\
         434f4d504c4554450d3a636f6e74656e742d747970650700186170706c69636174696f6e2f6f637465742d73\
         747265616d6869fb40217ff0b9a2f9",
    );
    let end = unhex(
        "0000005300000043f5447a58053a64617465080000019c21acec65103a6368756e6b2d7369676e6174757265\
         060020af3ec05055dbb2719f35de652aa3a84ebc24c5a493a1c7503ce64320169230a1d9f00934",
    );
    let mut verifier = verifier();
    let Ok(Envelope::Event(inner)) = verifier.verify(&decode(&event)) else {
        panic!("the event is refused")
    };
    assert_eq!(&decode(&inner).payload[..], b"hi");
    assert_eq!(verifier.verify(&decode(&end)), Ok(Envelope::End));
}

/// A stream that runs past midnight (UTC): the scope follows the envelope's date, not the
/// request's, so the key changes with the day while the chain goes on.
#[test]
fn the_scope_follows_the_envelope_past_midnight() {
    const MIDNIGHT: i64 = 1_770_163_200_000; // 2026-02-04T00:00:00Z
    let mut signer = signer();
    let mut verifier = verifier();
    let mut previous = SEED.to_owned();
    for (now, date, clock) in [
        (MIDNIGHT - 1, "20260203", "235959"),
        (MIDNIGHT, "20260204", "000000"),
        (MIDNIGHT + 1500, "20260204", "000001"),
    ] {
        let event = event(b"audio");
        let mut out = BytesMut::new();
        signer.sign_into(&event, now, &mut out).unwrap();
        let (sent, signature, payload) = fields(&out);
        assert_eq!(sent, now.div_euclid(1000) * 1000);
        let header = [&b"\x05:date\x08"[..], &sent.to_be_bytes()].concat();
        let hash = |bytes: &[u8]| hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        let string_to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{date}T{clock}Z\n{date}/us-east-1/sagemaker/aws4_request\n\
             {previous}\n{}\n{}",
            hash(&header),
            hash(&payload),
        );
        let key = SigningKey::derive(
            SECRET,
            Scope {
                date,
                region: REGION,
                service: SERVICE,
            },
        );
        assert_eq!(signature, key.sign(string_to_sign.as_bytes()));
        assert_eq!(
            oracle(Some(&aws::Message::new(&b"audio"[..])), now, &previous).1,
            hex(&signature)
        );
        assert_eq!(
            verifier.verify(&decode(&out)),
            Ok(Envelope::Event(event.into()))
        );
        previous = hex(&signature);
    }
}

#[test]
fn nothing_follows_the_end() {
    let mut signer = signer();
    let mut out = BytesMut::new();
    signer.sign_end(NOW, &mut out).unwrap();
    assert!(signer.is_ended());
    let end = out.clone();
    assert_eq!(
        signer.sign_into(b"x", NOW, &mut out),
        Err(SigningError::Ended)
    );
    assert_eq!(signer.sign_end(NOW, &mut out), Err(SigningError::Ended));
    assert_eq!(out, end);

    let mut verifier = verifier();
    assert_eq!(verifier.verify(&decode(&end)), Ok(Envelope::End));
    assert_eq!(
        verifier.verify(&decode(&end)),
        Err(SignatureError::AfterEnd)
    );
}

#[test]
fn order_matters() {
    let mut signer = signer();
    let (mut first, mut second) = (BytesMut::new(), BytesMut::new());
    signer.sign_into(&event(b"1"), NOW, &mut first).unwrap();
    signer.sign_into(&event(b"2"), NOW, &mut second).unwrap();
    let mut verifier = verifier();
    assert_eq!(
        verifier.verify(&decode(&second)),
        Err(SignatureError::Mismatch)
    );
    assert!(verifier.verify(&decode(&first)).is_ok());
    assert_eq!(
        verifier.verify(&decode(&first)),
        Err(SignatureError::Mismatch)
    );
    assert!(verifier.verify(&decode(&second)).is_ok());
}

#[test]
fn a_clock_out_of_range_is_an_error_and_leaves_the_chain() {
    let mut signer = signer();
    let mut out = BytesMut::new();
    for now in [-1, i64::MIN + 999, 253_402_300_800_000, i64::MAX, i64::MIN] {
        assert_eq!(
            signer.sign_into(b"x", now, &mut out),
            Err(SigningError::Clock),
            "{now}"
        );
    }
    assert!(out.is_empty());
    signer.sign_into(&event(b"1"), NOW, &mut out).unwrap();
    assert!(verifier().verify(&decode(&out)).is_ok());
}

#[test]
fn what_is_not_an_envelope() {
    let date = Header {
        name: ":date",
        value: HeaderValue::Timestamp(NOW),
    };
    let signature = Header {
        name: ":chunk-signature",
        value: HeaderValue::Bytes(&[0; 32]),
    };
    let number = Header {
        name: ":date",
        value: HeaderValue::Int64(NOW),
    };
    let other = Header {
        name: "x",
        value: HeaderValue::Bool(true),
    };
    for headers in [
        &[][..],
        &[date],
        &[signature],
        &[number, signature],
        &[date, signature, other],
    ] {
        let mut out = BytesMut::new();
        encode(headers, b"", &mut out).unwrap();
        assert_eq!(
            verifier().verify(&decode(&out)),
            Err(SignatureError::NotAnEnvelope)
        );
    }
    let short = Header {
        name: ":chunk-signature",
        value: HeaderValue::Bytes(&[0; 31]),
    };
    let mut out = BytesMut::new();
    encode(&[date, short], b"", &mut out).unwrap();
    assert_eq!(
        verifier().verify(&decode(&out)),
        Err(SignatureError::Mismatch)
    );
}

#[test]
fn a_seed_is_a_signature() {
    for seed in ["", "00", &"0G".repeat(32), &"é".repeat(32)] {
        assert_eq!(
            EventSigner::new(SECRET, REGION, SERVICE, seed).unwrap_err(),
            SigningError::Seed
        );
        assert_eq!(
            EventVerifier::new(SECRET, REGION, SERVICE, seed).unwrap_err(),
            SignatureError::Seed
        );
    }
}

#[test]
fn secrets_are_not_printed() {
    assert!(!format!("{:?}{:?}", signer(), verifier()).contains("wJalr"));
}
