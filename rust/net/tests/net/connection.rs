//! Connections that end, each in its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dgsm_leg::end::LegEnd;
use dgsm_net::connection::Ping;
use dgsm_net::failure::FailureKind;
use dgsm_net::pool::Pool;
use tokio::io::AsyncWriteExt as _;

use crate::client::{Conversation, assert_on_time, open};
use crate::peer::{
    ACK, DATA, END_STREAM, PING, Peer, Raw, STREAM, accepted, frame, goaway, limits, reset, text,
};

/// How a leg ends with a peer that accepts it and then does this.
async fn ended<F, S>(then: F) -> LegEnd
where
    F: Fn(Raw) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let peer = Peer::raw(move |mut raw| {
        let then = then.clone();
        async move {
            raw.accept().await;
            // The client's first event: from here on a failure is the leg's, not the opening's.
            while raw.read().await.unwrap().0 != DATA {}
            then(raw).await;
        }
    })
    .await;
    let conversation = Conversation::over(&peer.pool()).await;
    conversation.send(vec![0; 640]).await;
    conversation.end().await
}

#[tokio::test]
async fn a_reset_stream() {
    for code in [0, 1, 2, 7, 8, 11] {
        let end = ended(move |mut raw| async move {
            raw.write(&[reset(code)]).await;
            raw.drain().await;
        });
        assert_eq!(end.await, LegEnd::Reset { code: Some(code) });
    }
}

#[tokio::test]
async fn a_goaway_that_does_not_cover_the_stream() {
    for code in [0, 2, 11] {
        let end = ended(move |mut raw| async move {
            raw.write(&[goaway(0, code)]).await;
            raw.drain().await;
        });
        assert_eq!(end.await, LegEnd::GoAway { code: Some(code) });
    }
}

/// The stream works on until the connection closes under it.
#[tokio::test]
async fn a_goaway_that_covers_the_stream_and_then_the_end() {
    for code in [0, 11] {
        let end = ended(move |mut raw| async move {
            raw.write(&[goaway(STREAM, code)]).await;
            raw.leave().await;
        });
        assert_eq!(end.await, LegEnd::GoAway { code: Some(code) });
    }
}

fn dropped(end: LegEnd) -> String {
    match end {
        LegEnd::Dropped { detail } => detail,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tcp_reset() {
    let end = ended(|raw| async move {
        raw.tls.get_ref().0.set_zero_linger().unwrap();
    });
    dropped(end.await);
}

#[tokio::test]
async fn tcp_ends_and_tls_does_not() {
    let end = ended(|mut raw| async move {
        raw.tls.get_mut().0.shutdown().await.unwrap();
        raw.drain().await;
    });
    dropped(end.await);
}

#[tokio::test]
async fn tls_ends_in_order_and_the_stream_does_not() {
    let end = ended(|raw| async move {
        raw.leave().await;
    });
    dropped(end.await);
}

/// Bytes that are no TLS record, in the middle of the stream.
#[tokio::test]
async fn tls_breaks() {
    let end = ended(|mut raw| async move {
        raw.tls
            .get_mut()
            .0
            .write_all(b"\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
            .await
            .unwrap();
        raw.drain().await;
    });
    dropped(end.await);
}

#[tokio::test]
async fn http2_breaks() {
    let end = ended(|mut raw| async move {
        // Data for a stream that was never opened.
        raw.write(&[frame(DATA, 0, 99, b"x")]).await;
        raw.drain().await;
    });
    assert!(matches!(end.await, LegEnd::Protocol { .. }));
}

/// The peer ends the stream in order, and closes the connection in the same write.
#[tokio::test]
async fn a_clean_end_and_the_connections_at_once() {
    for round in 0..20 {
        let end = ended(move |mut raw| async move {
            let last = frame(DATA, END_STREAM, STREAM, &text("last"));
            if round % 2 == 0 {
                raw.write(&[last]).await;
            } else {
                raw.write(&[last, goaway(STREAM, 0)]).await;
            }
            raw.leave().await;
        });
        assert_eq!(end.await, LegEnd::Clean);
    }
}

#[tokio::test]
async fn a_clean_end_and_then_a_reset() {
    let end = ended(|mut raw| async move {
        raw.write(&[frame(DATA, END_STREAM, STREAM, &text("last")), reset(0)])
            .await;
        raw.drain().await;
    });
    assert_eq!(end.await, LegEnd::Clean);
}

fn watched(peer: &Peer, after: u64, within: u64) -> Arc<Pool> {
    let mut target = peer.target();
    target.ping = Ping {
        after: Duration::from_millis(after),
        within: Duration::from_millis(within),
    };
    Pool::new(target, limits())
}

#[tokio::test]
async fn a_dead_peer_is_found() {
    let peer = Peer::raw(|mut raw| async move {
        raw.accept().await;
        raw.drain().await;
    })
    .await;
    let leg = open(&watched(&peer, 300, 200)).await.unwrap();
    let began = Instant::now();
    let farewell = leg.exchange.line.leaving().await;
    assert_eq!(farewell.kind, FailureKind::Dropped);
    assert!(farewell.detail.contains("PING"), "{farewell}");
    // The clock began at the peer's last bytes, a moment before the leg was taken.
    let took = began.elapsed() + Duration::from_millis(50);
    assert_on_time(took, Duration::from_millis(500));
}

/// Just before the PING it sends something, and nothing after that.
#[tokio::test]
async fn a_peer_that_dies_is_found_as_soon() {
    let peer = Peer::raw(|mut raw| async move {
        raw.accept().await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        raw.write(&[frame(DATA, 0, STREAM, &text("alive"))]).await;
        raw.drain().await;
    })
    .await;
    let conversation = Conversation::over(&watched(&peer, 400, 200)).await;
    conversation.message().await.unwrap();
    let began = Instant::now();
    assert!(dropped(conversation.end().await).contains("PING"));
    let took = began.elapsed() + Duration::from_millis(50);
    assert_on_time(took, Duration::from_millis(600));
}

/// How many pings a peer gets in 800 ms that answers them, and sends messages this often.
async fn pings(every: Duration) -> usize {
    let pings = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pings);
    let peer = Peer::raw(move |mut raw| {
        let counted = Arc::clone(&counted);
        async move {
            raw.write(&[accepted()]).await;
            let mut speaking = tokio::time::interval(every);
            loop {
                // Dropping the read may lose bytes: only where none are expected.
                tokio::select! {
                    _ = speaking.tick() => {
                        raw.write(&[frame(DATA, 0, STREAM, &text("busy"))]).await;
                    }
                    frame_read = raw.read() => {
                        let Ok((kind, flags, payload)) = frame_read else { return };
                        if kind == PING && flags & ACK == 0 {
                            counted.fetch_add(1, Ordering::SeqCst);
                            raw.write(&[frame(PING, ACK, 0, &payload)]).await;
                        }
                    }
                }
            }
        }
    })
    .await;
    let conversation = Conversation::over(&watched(&peer, 200, 200)).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(
        conversation.shared.lock().outcome(),
        dgsm_session::Outcome::Open
    );
    conversation.abort();
    pings.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_busy_peer_is_never_pinged() {
    assert_eq!(pings(Duration::from_millis(40)).await, 0);
}

#[tokio::test]
async fn a_quiet_peer_that_answers_pings_lives() {
    let pings = pings(Duration::from_secs(60)).await;
    assert!((2..=4).contains(&pings), "{pings}");
}
