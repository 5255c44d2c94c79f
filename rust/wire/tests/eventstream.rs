//! The event stream codec against the AWS crate's, over arbitrary messages, splits and damage.

use std::collections::BTreeSet;

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream as aws;
use bytes::{Bytes, BytesMut};
use dgsm_wire::eventstream::{
    DecodeError, Decoder, Header, HeaderError, HeaderValue, Limits, Message, decode_exact, encode,
};
use proptest::prelude::*;

/// A header value that owns its content.
#[derive(Clone, Debug)]
enum Value {
    Bool(bool),
    Byte(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Bytes(Vec<u8>),
    String(String),
    Timestamp(i64),
    Uuid([u8; 16]),
}

impl Value {
    fn ours(&self) -> HeaderValue<'_> {
        match self {
            Self::Bool(value) => HeaderValue::Bool(*value),
            Self::Byte(value) => HeaderValue::Byte(*value),
            Self::Int16(value) => HeaderValue::Int16(*value),
            Self::Int32(value) => HeaderValue::Int32(*value),
            Self::Int64(value) => HeaderValue::Int64(*value),
            Self::Bytes(value) => HeaderValue::Bytes(value),
            Self::String(value) => HeaderValue::String(value),
            Self::Timestamp(value) => HeaderValue::Timestamp(*value),
            Self::Uuid(value) => HeaderValue::Uuid(*value),
        }
    }

    fn theirs(&self) -> aws::HeaderValue {
        match self {
            Self::Bool(value) => aws::HeaderValue::Bool(*value),
            Self::Byte(value) => aws::HeaderValue::Byte(*value),
            Self::Int16(value) => aws::HeaderValue::Int16(*value),
            Self::Int32(value) => aws::HeaderValue::Int32(*value),
            Self::Int64(value) => aws::HeaderValue::Int64(*value),
            Self::Bytes(value) => aws::HeaderValue::ByteArray(value.clone().into()),
            Self::String(value) => aws::HeaderValue::String(value.clone().into()),
            Self::Timestamp(value) => aws::HeaderValue::Timestamp(DateTime::from_millis(*value)),
            Self::Uuid(value) => aws::HeaderValue::Uuid(u128::from_be_bytes(*value)),
        }
    }
}

type Parts = (Vec<(String, Value)>, Vec<u8>);

fn ours((headers, payload): &Parts) -> Bytes {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| Header {
            name,
            value: value.ours(),
        })
        .collect();
    let mut out = BytesMut::new();
    encode(&headers, payload, &mut out).unwrap();
    out.freeze()
}

fn theirs((headers, payload): &Parts) -> Bytes {
    let headers = headers
        .iter()
        .map(|(name, value)| aws::Header::new(name.clone(), value.theirs()))
        .collect();
    let message = aws::Message::new_from_parts(headers, payload.clone());
    let mut out = Vec::new();
    write_message_to(&message, &mut out).unwrap();
    out.into()
}

/// Both decoders' results in one form: headers with their values, and the payload.
type Decoded = (Vec<(String, aws::HeaderValue)>, Bytes);

fn decoded_by_us(message: &Message) -> Decoded {
    let value = |value: HeaderValue<'_>| match value {
        HeaderValue::Bool(value) => aws::HeaderValue::Bool(value),
        HeaderValue::Byte(value) => aws::HeaderValue::Byte(value),
        HeaderValue::Int16(value) => aws::HeaderValue::Int16(value),
        HeaderValue::Int32(value) => aws::HeaderValue::Int32(value),
        HeaderValue::Int64(value) => aws::HeaderValue::Int64(value),
        HeaderValue::Bytes(value) => aws::HeaderValue::ByteArray(value.to_vec().into()),
        HeaderValue::String(value) => aws::HeaderValue::String(value.to_owned().into()),
        HeaderValue::Timestamp(value) => aws::HeaderValue::Timestamp(DateTime::from_millis(value)),
        HeaderValue::Uuid(value) => aws::HeaderValue::Uuid(u128::from_be_bytes(value)),
    };
    let headers = message
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), value(header.value)));
    (headers.collect(), message.payload.clone())
}

fn decoded_by_them(message: &aws::Message) -> Decoded {
    let headers = message.headers().iter();
    let headers = headers.map(|header| (header.name().as_str().to_owned(), header.value().clone()));
    (headers.collect(), message.payload().clone())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Int16),
        any::<i32>().prop_map(Value::Int32),
        any::<i64>().prop_map(Value::Int64),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Value::Bytes),
        ".{0,40}".prop_map(Value::String),
        // The AWS crate keeps times as seconds and nanoseconds, which all of these survive.
        (-9_000_000_000_000_000..9_000_000_000_000_000_i64).prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
    ]
}

fn parts() -> impl Strategy<Value = Parts> {
    // A name comes once in a message.
    let headers = prop::collection::btree_map(".{1,40}", value(), 0..8);
    let headers = headers.prop_map(|headers| headers.into_iter().collect());
    (headers, prop::collection::vec(any::<u8>(), 0..600))
}

/// Cuts `wire` where `cuts` say, which are counted from the last cut.
fn pieces(wire: &Bytes, cuts: &[usize]) -> Vec<Bytes> {
    let mut rest = wire.clone();
    let mut pieces: Vec<_> = cuts
        .iter()
        .map(|cut| rest.split_to((*cut).min(rest.len())))
        .collect();
    pieces.push(rest);
    pieces
}

/// A whole message around `headers`, valid but for them.
fn around(headers: &[u8], payload: &[u8]) -> Bytes {
    let total = u32::try_from(headers.len() + payload.len() + 16).unwrap();
    let mut wire = Vec::new();
    wire.extend_from_slice(&total.to_be_bytes());
    wire.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    wire.extend_from_slice(&crc32fast::hash(&wire).to_be_bytes());
    wire.extend_from_slice(headers);
    wire.extend_from_slice(payload);
    wire.extend_from_slice(&crc32fast::hash(&wire).to_be_bytes());
    wire.into()
}

const DUPLICATE: DecodeError = DecodeError::Header(HeaderError::Duplicate);

fn comes_twice(message: &aws::Message) -> bool {
    let names = message
        .headers()
        .iter()
        .map(|header| header.name().as_str());
    let different: BTreeSet<_> = names.collect();
    different.len() < message.headers().len()
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
    fn encodes_as_the_aws_crate_does(parts in parts()) {
        prop_assert_eq!(ours(&parts), theirs(&parts));
    }

    #[test]
    fn decodes_what_the_aws_crate_encodes_in_any_pieces(
        messages in prop::collection::vec(parts(), 0..5),
        cuts in prop::collection::vec(0..200_usize, 0..30),
        reads in prop::collection::vec(any::<bool>(), 31),
    ) {
        let wire: Bytes = messages.iter().flat_map(theirs).collect();
        let mut decoder = Decoder::new(Limits::default());
        let mut decoded = Vec::new();
        for (piece, read) in pieces(&wire, &cuts).into_iter().zip(reads) {
            decoder.push(piece);
            while read && let Some(message) = decoder.next().unwrap() {
                decoded.push(decoded_by_us(&message));
            }
        }
        while let Some(message) = decoder.next().unwrap() {
            decoded.push(decoded_by_us(&message));
        }
        prop_assert_eq!(decoder.finish(), Ok(()));
        let expected: Vec<_> = messages
            .iter()
            .map(|parts| decoded_by_them(&read_message_from(theirs(parts)).unwrap()))
            .collect();
        prop_assert_eq!(decoded, expected);
    }

    /// One changed byte anywhere is noticed, before or at the end of its message.
    #[test]
    fn damage_is_noticed(parts in parts(), at: prop::sample::Index, flip in 1..=255_u8) {
        let mut wire = BytesMut::from(&ours(&parts)[..]);
        let at = at.index(wire.len());
        wire[at] ^= flip;
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(wire.freeze());
        let error = decoder.next().unwrap_err();
        let noticed = matches!(
            error,
            DecodeError::PreludeChecksum { .. } | DecodeError::MessageChecksum { .. }
        );
        prop_assert!(noticed, "{error}");
    }

    #[test]
    fn every_proper_prefix_is_truncated(parts in parts(), at: prop::sample::Index) {
        let wire = ours(&parts);
        let len = at.index(wire.len());
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(wire.slice(..len));
        prop_assert_eq!(decoder.next(), Ok(None));
        prop_assert_eq!(decoder.finish().is_err(), len > 0);
        let exact = decode_exact(wire.slice(..len), Limits::default());
        let truncated = matches!(exact, Err(DecodeError::Truncated { .. }));
        prop_assert!(truncated);
    }

    /// Headers that checksums can't catch: whatever the bytes, both sides read the same or neither
    /// reads anything. Only names that come twice are taken by the AWS crate alone: the AWS SDK for
    /// Python refuses them, as we do.
    #[test]
    fn headers_are_read_as_the_aws_crate_reads_them(
        parts in parts(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, any::<u8>()), 0..4),
        payload in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let wire = ours(&(parts.0, Vec::new()));
        let mut headers = wire[12..wire.len() - 4].to_vec();
        for (index, kind, byte) in edits {
            let at = index.index(headers.len() + 1);
            match kind {
                0 => headers.insert(at, byte),
                1 if at < headers.len() => drop(headers.remove(at)),
                _ if at < headers.len() => headers[at] = byte,
                _ => {}
            }
        }
        let wire = around(&headers, &payload);
        let ours = decode_exact(wire.clone(), Limits::default());
        match read_message_from(wire) {
            Ok(theirs) if comes_twice(&theirs) => prop_assert_eq!(ours, Err(DUPLICATE)),
            Ok(theirs) => prop_assert_eq!(decoded_by_us(&ours.unwrap()), decoded_by_them(&theirs)),
            Err(_) => prop_assert!(ours.is_err()),
        }
    }

    /// Arbitrary input ends in an error or in a wait for more, and holds no more than it was given.
    #[test]
    fn garbage_is_survived(
        input in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
        valid_prelude in any::<Option<(u32, u32)>>(),
    ) {
        let mut decoder = Decoder::new(Limits::default());
        let mut given = 0;
        if let Some((total, headers)) = valid_prelude {
            let mut prelude = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
            given += prelude.len();
            decoder.push(prelude.into());
        }
        for piece in input {
            given += piece.len();
            decoder.push(piece.into());
            // A message has at least 16 bytes, so there can't be more of them than this.
            let most = given / 16;
            let read = (0..=most).take_while(|_| matches!(decoder.next(), Ok(Some(_)))).count();
            prop_assert!(read <= most);
            prop_assert!(decoder.buffered() <= given);
        }
    }
}

#[test]
fn a_header_that_comes_twice_is_no_message() {
    let parts = (vec![("DataType".to_owned(), Value::Byte(1)); 2], Vec::new());
    let wire = theirs(&parts);
    assert_eq!(
        decode_exact(wire.clone(), Limits::default()),
        Err(DUPLICATE)
    );
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(wire);
    assert_eq!(decoder.next(), Err(DUPLICATE));
}

#[test]
fn a_large_message_in_small_pieces() {
    let payload = vec![7; 3 * 1024 * 1024];
    let wire = ours(&(Vec::new(), payload));
    let mut decoder = Decoder::new(Limits::default());
    let mut messages = 0;
    for piece in wire.chunks(1400) {
        decoder.push(wire.slice_ref(piece));
        messages += usize::from(decoder.next().unwrap().is_some());
    }
    assert_eq!(messages, 1);
    assert_eq!(decoder.finish(), Ok(()));
}
