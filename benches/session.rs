//! The session's hot paths: what a chunk and a result cost besides the wire.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_session::backoff::{Attempts, Patience, Schedule};
use dgsm_session::journal::Journal;
use dgsm_session::{LegId, SendStep, Session, Settings, Step, Target};

/// 20 ms of 16 kHz linear16.
const CHUNK: usize = 640;
const TARGET: Target<'_> = Target {
    path: "v1/listen",
    query: "encoding=linear16&sample_rate=16000",
};

fn audio() -> Bytes {
    Bytes::from(vec![1; CHUNK])
}

/// A result with ten words, as Nova writes it, on the leg's clock.
fn results(start: f64) -> Frame {
    let mut words = String::new();
    for word in 0..10 {
        let at = start + 0.2 * f64::from(word);
        let _ = write!(
            words,
            r#"{}{{"word":"word","start":{at:.3},"end":{:.3},"confidence":0.998,"punctuated_word":"Word"}}"#,
            if word == 0 { "" } else { "," },
            at + 0.15,
        );
    }
    Frame::from(format!(
        r#"{{"type":"Results","channel_index":[0,1],"duration":2.0,"start":{start:.1},"is_final":true,"speech_final":true,"channel":{{"alternatives":[{{"transcript":"Word word word word word word word word word word","confidence":0.99,"words":[{words}]}}]}},"metadata":{{"request_id":"b1","model_info":{{"name":"general","version":"1","arch":"nova-3"}},"model_uuid":"m"}},"from_finalize":false}}"#
    ))
}

fn journal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push, take and ack a chunk", |bencher| {
        let payload = audio();
        let mut journal = Journal::new();
        // Five seconds on their way.
        for _ in 0..250 {
            journal.push_audio(payload.clone());
        }
        let mut cursor = journal.cursor(0);
        while journal.take(&mut cursor).is_some() {}
        let mut acked = 0;
        bencher.iter(|| {
            journal.push_audio(black_box(&payload).clone());
            black_box(journal.take(&mut cursor));
            acked += CHUNK as u64;
            journal.ack(acked);
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("journal, replay");
    group.throughput(Throughput::Elements(250));
    group.bench_function("5 s", |bencher| {
        let mut journal = Journal::new();
        for _ in 0..250 {
            journal.push_audio(audio());
        }
        bencher.iter(|| {
            let mut cursor = journal.cursor(black_box(100));
            while let Some(item) = journal.take(&mut cursor) {
                black_box(item);
            }
        });
    });
    group.finish();
}

fn backoff(criterion: &mut Criterion) {
    let schedule = Schedule {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(5),
        multiplier: 2.0,
    };
    let patience = Patience {
        max_retries: u32::MAX,
        budget: Duration::from_secs(30),
    };
    criterion.bench_function("a failure and its delay", |bencher| {
        let mut attempts = Attempts::default();
        bencher
            .iter(|| attempts.failure(Duration::ZERO, &schedule, &patience, None, black_box(0.5)));
    });
}

/// A session on a leg of its own, with audio on its way.
fn session(legs: u64) -> (Session, LegId) {
    let settings = Settings {
        initial_backoff: Duration::ZERO,
        max_backoff: Duration::ZERO,
        replay_speed: None,
        ..Settings::default()
    };
    let mut session = Session::new(settings, &TARGET, 1);
    let now = Duration::ZERO;
    for leg in 0.. {
        assert!(matches!(session.step(now), Step::Open { .. }));
        let id = session.leg_opened(now);
        for _ in 0..200 {
            session.push(now, Frame::Binary(audio())).unwrap();
        }
        while let SendStep::Frame(_) = session.poll_send(now, id) {}
        if leg == legs {
            return (session, id);
        }
        session.receive(now, id, results(0.0));
        session.leg_ended(now, id, LegEnd::Reset { code: None });
    }
    unreachable!("the range has no end")
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push and send a chunk", |bencher| {
        let (mut session, leg) = session(0);
        let payload = audio();
        let mut now = Duration::ZERO;
        let mut end = 0.0;
        bencher.iter(|| {
            now += Duration::from_millis(20);
            session
                .push(now, Frame::Binary(black_box(&payload).clone()))
                .unwrap();
            black_box(session.poll_send(now, leg));
            // A result every two seconds keeps the journal at a realistic size.
            if now.subsec_millis() == 0 && now.as_secs().is_multiple_of(2) {
                session.receive(now, leg, results(end));
                end += 2.0;
                session.pop();
            }
        });
    });
    for (name, legs) in [
        ("a result of the first leg", 0),
        ("a result of a later leg", 1),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || (session(legs), results(0.0)),
                |((session, leg), frame)| {
                    session.receive(Duration::ZERO, *leg, frame.clone());
                    black_box(session.pop())
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, journal, backoff, messages);
criterion_main!(benches);
