//! Twelve hours of audio with a reset a minute, and what the session holds meanwhile.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::{LegId, Outcome, SendStep, Session, Settings, Step, Target};

/// A rate whose samples are no whole microseconds.
const RATE: u64 = 11_025;
const HOURS: u64 = 12;
/// Blocks a chunk (a little over 100 ms) and blocks a final.
const CHUNK: u64 = 1_103;
const FINAL: u64 = 30_000;

/// A chunk whose first sample says where it is.
fn chunk(at: u64) -> Bytes {
    let mut bytes = BytesMut::zeroed(CHUNK as usize * 4);
    bytes[..4].as_mut().put_u32_le(at as u32);
    bytes.freeze()
}

fn seconds(blocks: u64) -> String {
    let micros = (blocks * 1_000_000 + RATE / 2) / RATE;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn micros(text: &str, key: &str) -> u64 {
    let root = dgsm_session::resume::scan::Node::root(text).unwrap();
    u64::try_from(root.get(key).unwrap().micros().unwrap()).unwrap()
}

struct Service {
    leg: LegId,
    heard: u64,
    done: u64,
}

impl Service {
    fn results(&self, end: u64) -> Frame {
        let micros = |blocks: u64| (blocks * 1_000_000 + RATE / 2) / RATE;
        let duration = micros(end) - micros(self.done);
        Frame::from(format!(
            r#"{{"type":"Results","channel_index":[0,1],"duration":{}.{:06},"start":{},"is_final":true,"channel":{{"alternatives":[{{"transcript":"","words":[]}}]}}}}"#,
            duration / 1_000_000,
            duration % 1_000_000,
            seconds(self.done),
        ))
    }
}

#[test]
fn twelve_hours_with_a_reset_a_minute() {
    let chunks = HOURS * 3600 * RATE / CHUNK;
    let query = format!("encoding=linear32&sample_rate={RATE}");
    let target = Target {
        path: "v1/listen",
        query: &query,
    };
    let settings = Settings {
        max_leg_age: None,
        max_replay_buffer_bytes: 1 << 20,
        ..Settings::default()
    };
    let mut session = Session::new(settings, &target, 1);
    let mut service: Option<Service> = None;
    let mut now = Duration::ZERO;
    let mut end = 0;
    let mut finals = 0_u64;
    let (mut resets, mut held) = (0_u64, 0);
    let mut next_reset = Duration::from_secs(60);
    let mut pushed = 0;
    while session.outcome() == Outcome::Open {
        now += Duration::from_micros(CHUNK * 1_000_000 / RATE);
        if pushed < chunks {
            session
                .push(now, Frame::Binary(chunk(pushed * CHUNK)))
                .unwrap();
            pushed += 1;
        } else {
            session.finish(now);
        }
        session.tick(now);
        if matches!(session.step(now), Step::Open { .. }) {
            service = Some(Service {
                leg: session.leg_opened(now),
                heard: 0,
                done: 0,
            });
        }
        let Some(leg) = &mut service else { continue };
        while let SendStep::Frame(frame) = session.poll_send(now, leg.leg) {
            if frame.is_text() {
                // The last final, and the end.
                session.receive(now, leg.leg, leg.results(leg.heard));
                let metadata =
                    format!(r#"{{"type":"Metadata","duration":{}}}"#, seconds(leg.heard));
                session.receive(now, leg.leg, Frame::from(metadata));
                session.leg_ended(now, leg.leg, LegEnd::Clean);
                break;
            }
            leg.heard += frame.len() as u64 / 4;
            while leg.heard > leg.done + FINAL + CHUNK {
                session.receive(now, leg.leg, leg.results(leg.done + FINAL));
                leg.done += FINAL;
            }
        }
        if now >= next_reset && session.outcome() == Outcome::Open && pushed < chunks {
            next_reset += Duration::from_secs(60);
            session.leg_ended(now, leg.leg, LegEnd::Reset { code: None });
            resets += 1;
            service = None;
        }
        held = held.max(session.stats().journal_bytes);
        while let Some(message) = session.pop() {
            let text = message.as_str().unwrap();
            if text.contains("Metadata") {
                let all = chunks * CHUNK;
                assert!(
                    micros(text, "duration")
                        .abs_diff(micros(&format!(r#"{{"d":{}}}"#, seconds(all)), "d"))
                        <= 1
                );
                continue;
            }
            assert_eq!(micros(text, "start"), end, "after {finals} finals");
            end += micros(text, "duration");
            finals += 1;
        }
        while session.pop_notice().is_some() {}
    }
    assert_eq!(session.outcome(), Outcome::Clean);
    assert_eq!(resets, HOURS * 60 - 1);
    let total = (chunks * CHUNK * 1_000_000 + RATE / 2) / RATE;
    assert!(end.abs_diff(total) <= 1, "{end} of {total}");
    let stats = session.stats();
    assert_eq!(stats.bytes_lost, 0);
    assert_eq!(stats.bytes_sent, chunks * CHUNK * 4);
    // Audio that a leg has heard and not finalised, and audio pushed while there was no leg.
    assert!(held < 400_000, "{held} bytes were held");
}
