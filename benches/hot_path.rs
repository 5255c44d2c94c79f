//! The work of `wire` and `session` for live audio and nothing else: the guards count it.
//!
//! `hot_path CHUNKS` carries this number of chunks through a session, from the application's frame to
//! the signed bytes and from a final result to the acknowledged journal. Counts are taken from
//! two lengths, and their difference has no start in it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use dgsm_leg::frame::Frame;
use dgsm_session::{SendStep, Session, Settings, Step, Target};
use dgsm_wire::payload_part::{MAX_PART, encode_signed};
use dgsm_wire::signing::EventSigner;

const SEED: &str = "1f58b9145b24d108d7ac38887338b3ea3229833b9c1e418250343f907bfd1047";
const START_MS: u64 = 1_770_091_506_789;
const CHUNK: usize = 640;
const CHUNK_MS: u64 = 20;
/// The number of chunks that a final result covers.
const WINDOW: u64 = 10;

fn main() {
    let chunks: u64 = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .expect("usage: hot_path CHUNKS");
    let target = Target {
        path: "v1/listen",
        query: "model=nova-3&encoding=linear16&sample_rate=16000",
    };
    let mut session = Session::new(Settings::default(), &target, 1);
    let mut signer = EventSigner::new("secret", "us-east-1", "sagemaker", SEED).unwrap();
    let audio = Bytes::from(vec![1; CHUNK]);
    let mut wire = BytesMut::with_capacity(2048);
    let mut now = Duration::ZERO;
    session.push(now, Frame::Binary(audio.clone())).unwrap();
    assert!(matches!(session.step(now), Step::Open { .. }));
    let leg = session.leg_opened(now);
    let mut bytes = 0;
    let mut messages = 0;
    for number in 1..=chunks {
        while let SendStep::Frame(frame) = session.poll_send(now, leg) {
            wire.clear();
            let unix = (START_MS + number * CHUNK_MS).cast_signed();
            encode_signed(&mut signer, unix, &frame, MAX_PART, &mut wire).unwrap();
            bytes += wire.len();
        }
        if number % WINDOW == 0 {
            session.receive(now, leg, result(number / WINDOW - 1));
            messages += usize::from(session.pop().is_some());
        }
        now += Duration::from_millis(CHUNK_MS);
        session.push(now, Frame::Binary(audio.clone())).unwrap();
    }
    println!("{bytes} bytes out, {messages} messages in");
}

/// A final result for the window of that number.
fn result(window: u64) -> Frame {
    let hundredths = window * WINDOW * CHUNK_MS / 10;
    let text = format!(
        r#"{{"type":"Results","channel_index":[0,1],"duration":0.2,"start":{}.{:02},"is_final":true,"speech_final":false,"channel":{{"alternatives":[{{"transcript":"twenty words a second","confidence":0.99,"words":[]}}]}},"metadata":{{"request_id":"r"}},"from_finalize":false}}"#,
        hundredths / 100,
        hundredths % 100
    );
    Frame::text(Bytes::from(text)).unwrap()
}
