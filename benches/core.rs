//! The hot paths of the crates `wire` and `session`, each beside the AWS crates' way.

use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::event_stream::sign_message;
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder, write_message_to};
use aws_smithy_types::event_stream as aws;
use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dgsm_leg::frame::Frame;
use dgsm_wire::eventstream::{Decoder, Limits};
use dgsm_wire::payload_part::{
    Assembler, Completion, DataType, MAX_PART, PayloadPart, ServerEvent, encode_signed,
};
use dgsm_wire::signing::EventSigner;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SEED: &str = "1f58b9145b24d108d7ac38887338b3ea3229833b9c1e418250343f907bfd1047";
const START: i64 = 1_770_091_506_789;
/// 20 ms of 16 kHz linear16.
const CHUNK: usize = 640;
/// How far the clock moves from one chunk to the next, in milliseconds.
const CHUNK_MS: i64 = 20;

fn audio() -> Bytes {
    (0..CHUNK).map(|at| at as u8).collect()
}

fn string_header(name: &'static str, value: &'static str) -> aws::Header {
    aws::Header::new(name, aws::HeaderValue::String(value.into()))
}

/// One chunk of live audio, from the frame to the signed bytes for the connection.
fn encode_and_sign(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode and sign 640 B");
    group.throughput(Throughput::Elements(1));
    group.bench_function("ours", |bencher| {
        let mut signer = EventSigner::new(SECRET, "us-east-1", "sagemaker", SEED).unwrap();
        let frame = Frame::Binary(audio());
        let mut out = BytesMut::with_capacity(2048);
        let mut now = START;
        bencher.iter(|| {
            out.clear();
            now += CHUNK_MS;
            encode_signed(&mut signer, now, black_box(&frame), MAX_PART, &mut out).unwrap()
        });
    });
    group.bench_function("aws-sigv4 and aws-smithy-eventstream", |bencher| {
        let identity = Credentials::new("AKIDEXAMPLE", SECRET, None, None, "bench").into();
        let payload = audio();
        let mut previous = SEED.to_owned();
        let mut now = UNIX_EPOCH + Duration::from_millis(START as u64);
        let mut out = Vec::with_capacity(2048);
        bencher.iter(|| {
            out.clear();
            now += Duration::from_millis(CHUNK_MS as u64);
            let message = aws::Message::new(black_box(payload.clone()))
                .add_header(string_header(":message-type", "event"))
                .add_header(string_header(":event-type", "PayloadPart"))
                .add_header(string_header("DataType", "BINARY"))
                .add_header(string_header("CompletionState", "COMPLETE"))
                .add_header(string_header(":content-type", "application/octet-stream"));
            let params = SigningParams::builder()
                .identity(&identity)
                .region("us-east-1")
                .name("sagemaker")
                .time(now)
                .settings(())
                .build()
                .unwrap();
            let (signed, signature) = sign_message(&message, &previous, &params)
                .unwrap()
                .into_parts();
            previous = signature;
            write_message_to(&signed, &mut out).unwrap();
        });
    });
    group.finish();
}

/// One result of about 1 KB, from the connection's bytes to the application's message.
fn decode(criterion: &mut Criterion) {
    let text: String = "Results ".repeat(128);
    let part = PayloadPart {
        data: text.into(),
        data_type: Some(DataType::Utf8),
        completion: Completion::Complete,
    };
    let mut wire = BytesMut::new();
    part.encode(&mut wire).unwrap();
    let wire = wire.freeze();

    let mut group = criterion.benchmark_group("decode 1 KB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("ours", |bencher| {
        let mut decoder = Decoder::new(Limits::default());
        bencher.iter(|| {
            decoder.push(black_box(wire.clone()));
            decoder.next().unwrap().unwrap()
        });
    });
    group.bench_function("ours, to the frame", |bencher| {
        let mut decoder = Decoder::new(Limits::default());
        let mut assembler = Assembler::new(MAX_PART);
        bencher.iter(|| {
            decoder.push(black_box(wire.clone()));
            let message = decoder.next().unwrap().unwrap();
            let ServerEvent::Part(part) = ServerEvent::parse(message).unwrap() else {
                unreachable!("a part was encoded")
            };
            assembler.push(part).unwrap().unwrap()
        });
    });
    group.bench_function("aws-smithy-eventstream", |bencher| {
        let mut decoder = MessageFrameDecoder::new();
        bencher.iter(|| {
            let mut piece = black_box(wire.clone());
            match decoder.decode_frame(&mut piece).unwrap() {
                DecodedFrame::Complete(message) => message,
                DecodedFrame::Incomplete => unreachable!("the whole message is there"),
            }
        });
    });
    group.finish();
}

criterion_group!(core, encode_and_sign, decode);
criterion_main!(core);
