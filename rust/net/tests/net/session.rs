//! What passes between a session and its legs, and who holds the permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_net::failure::FailureKind;
use dgsm_net::session::SharedSession;
use dgsm_net::wake::Wake;
use dgsm_net::wake::interest;
use dgsm_net::wake::outbox::Pumped as _;
use dgsm_session::{Session, Settings, Step, Target};

use crate::client::{begin, eventually, failure, open};
use crate::peer::silent;

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn session() -> (Arc<SharedSession>, Arc<Count>) {
    let count = Arc::new(Count::default());
    let target = Target {
        path: "v9/echo",
        query: "",
    };
    let mut session = Session::new(Settings::default(), &target, 1);
    // From here on the driver has nothing to do.
    session.step(Duration::ZERO);
    session.leg_opened(Duration::ZERO);
    (SharedSession::new(session, count.clone()), count)
}

/// A burst of messages is one wake-up, or none without a waiter.
#[test]
fn wake_ups_are_for_who_waits() {
    let (shared, count) = session();
    let leg = {
        let mut session = shared.lock();
        session.abort(Duration::ZERO);
        *session = Session::new(
            Settings::default(),
            &Target {
                path: "v9/echo",
                query: "",
            },
            1,
        );
        session.step(Duration::ZERO);
        session.leg_opened(Duration::ZERO)
    };
    let message = |text: &str| {
        let frame = Frame::from(text.to_owned());
        shared.update(|session, now| session.receive(now, leg, frame));
    };
    message("nobody waits");
    assert_eq!(
        (count.0.load(Ordering::SeqCst), shared.take_happened()),
        (0, 0)
    );
    shared.arm(interest::READABLE);
    message("one");
    message("two");
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(shared.take_happened(), interest::READABLE);
    message("three");
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "it did not ask again");
    shared.update(Session::abort);
    assert_eq!(count.0.load(Ordering::SeqCst), 2, "the driver always asks");
    assert_eq!(shared.take_happened(), interest::DRIVER);
}

/// The service ended the stream and nothing was open: the next message wants another one.
#[test]
fn a_session_without_a_leg_calls_its_driver_for_what_is_sent() {
    let count = Arc::new(Count::default());
    let target = Target {
        path: "v1/listen",
        query: "encoding=linear16&sample_rate=16000",
    };
    let mut session = Session::new(Settings::default(), &target, 1);
    session.step(Duration::ZERO);
    let leg = session.leg_opened(Duration::ZERO);
    let audio = || Frame::Binary(Bytes::from_static(&[0; 640]));
    session.push(Duration::ZERO, audio()).unwrap();
    session.poll_send(Duration::ZERO, leg);
    let results = r#"{"type":"Results","channel_index":[0,1],"start":0.0,"duration":0.02,"is_final":true,"channel":{"alternatives":[{"transcript":"","words":[]}]}}"#;
    session.receive(Duration::ZERO, leg, Frame::from(results));
    let shared = SharedSession::new(session, count.clone());
    shared.update(|session, now| session.leg_ended(now, leg, LegEnd::Clean));
    shared.lock().step(shared.now());
    shared.take_happened();
    let before = count.0.load(Ordering::SeqCst);
    shared.push(audio()).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), before + 1);
    assert_eq!(shared.take_happened(), interest::DRIVER);
    let step = shared.lock().step(shared.now());
    assert!(
        matches!(
            step,
            Step::Open {
                standby: false,
                renew: false
            }
        ),
        "{step:?}"
    );
    shared.lock().leg_opened(shared.now());
    shared.lock().step(shared.now());
    let before = count.0.load(Ordering::SeqCst);
    shared.push(audio()).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), before, "the leg is there");
}

#[tokio::test]
async fn a_ring_between_the_look_and_the_wait_is_heard() {
    let (shared, _) = session();
    let first = shared.notified();
    let second = shared.notified();
    shared.notify_pumps();
    first.await;
    second.await;
    let late = shared.notified();
    let waited = tokio::time::timeout(Duration::from_millis(20), late).await;
    assert!(waited.is_err(), "an old ring is not heard again");
}

/// A permit passes from one leg to the next, and is given back with the last.
#[tokio::test]
async fn the_permit_is_the_sessions() {
    let peer = silent().await;
    let pool = peer.pool_with(|limits| {
        limits.max_concurrency = 1;
        limits.acquire_timeout = Duration::from_millis(100);
    });
    let conversation = crate::client::Conversation::over(&pool).await;
    let shared = &conversation.shared;
    let standby = begin(&pool, false).outcome().await.unwrap();
    shared.join(standby.permit);
    conversation.abort();
    drop((standby.exchange, standby.lease));
    eventually("the first leg's end", || peer.live() == 0).await;
    let (failure, _) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::AcquireTimeout);
    shared.leave();
    open(&pool).await.unwrap();
}

/// Names are kept for the log, each once, and at most a few.
#[test]
fn skipped_names_are_bounded() {
    let (shared, _) = session();
    for number in 0..1000 {
        shared.skip(&format!("Event{number}"));
        shared.skip("Event0");
    }
    let skipped = shared.take_skipped();
    assert_eq!(skipped.len(), 16);
    assert_eq!(skipped[0].1, "Event0");
    assert_eq!(Bytes::from(skipped[15].1.clone()), "Event15");
    // They are the service's words: quoted.
    let words = format!("\u{1b}[2J\nAKIAIOSFODNN7EXAMPLE {}", "x ".repeat(1 << 20));
    shared.skip(&words);
    assert!(shared.take_skipped().is_empty(), "ever");
    let (shared, _) = session();
    shared.skip(&words);
    let (_, skipped) = shared.take_skipped().remove(0);
    assert!(skipped.starts_with("\\u{1b}[2J *** x x"), "{skipped}");
    assert_eq!(skipped.chars().count(), 100);
}
