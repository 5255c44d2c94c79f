//! When a stream may be opened, and on which connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dgsm_net::dial::Target;
use dgsm_net::failure::FailureKind;
use dgsm_net::pool::{Limits, Pool};
use h2::Reason;
use h2::server::Builder;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;

use crate::client::{
    Conversation, admission, assert_on_time, begin, begin_with, eventually, failure, open,
    open_admitted, soon,
};
use crate::peer::{Event, Events, H2, Peer, accept, limits, server_tls, silent};

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn one_stream_at_a_time() {
    let peer = silent().await;
    let pool = peer.pool_with(|limits| {
        limits.max_concurrency = 1;
        limits.acquire_timeout = SOON;
    });
    let leg = open(&pool).await.unwrap();
    let (failure, took) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::AcquireTimeout);
    assert!(failure.detail.contains("max_concurrency"), "{failure}");
    assert_on_time(took, SOON);
    // A standby belongs to a session that has its permit.
    drop(begin(&pool, false).outcome().await.unwrap());
    drop(leg);
    open(&pool).await.unwrap();
}

#[tokio::test]
async fn first_come_first_served() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let peer = Peer::h2(Builder::new(), move |request, mut respond| {
        let seen = Arc::clone(&seen);
        async move {
            let number = request.uri().query().unwrap().to_owned();
            seen.lock().unwrap().push(number.parse::<usize>().unwrap());
            accept(&mut respond);
        }
    })
    .await;
    let pool = peer.pool_with(|limits| limits.max_concurrency = 1);
    let openings: Vec<_> = (0..20)
        .map(|number| {
            let request = http::Request::post(format!("https://127.0.0.1/?{number}"))
                .body(())
                .unwrap();
            begin_with(&pool, true, request)
        })
        .collect();
    for opening in openings {
        opening.outcome().await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn permits_come_back_after_failures() {
    let peer = Peer::tcp(|_| async {}).await;
    let pool = peer.pool_with(|limits| limits.max_concurrency = 1);
    for _ in 0..5 {
        let (failure, _) = failure(&pool).await;
        assert_eq!(failure.kind, FailureKind::Connect, "{failure}");
    }
}

/// Cancelled while waiting for a permit, dialling, waiting for an answer, and before being taken.
#[tokio::test]
async fn permits_and_streams_come_back_after_cancelling() {
    let (told, mut resets) = mpsc::unbounded_channel();
    let answering = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&answering);
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let peer = Peer::h2(Builder::new(), move |request, mut respond| {
        let told = told.clone();
        let answers = asked.load(Ordering::SeqCst) > 0;
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let _send = answers.then(|| accept(&mut respond));
            let ended = Events::new(request.into_body()).next().await;
            told.send(ended).unwrap();
        }
    })
    .await;
    let pool = peer.pool_with(|limits| limits.max_concurrency = 1);

    let unanswered = begin(&pool, true);
    eventually("the request", || requests.load(Ordering::SeqCst) == 1).await;
    let waiting = begin(&pool, true);
    drop(waiting);
    drop(unanswered);
    assert_eq!(
        soon(resets.recv()).await,
        Some(Event::Broken(Some(Reason::CANCEL)))
    );

    answering.store(1, Ordering::SeqCst);
    let untaken = begin(&pool, true);
    eventually("the request", || requests.load(Ordering::SeqCst) == 2).await;
    // It is up by now, or nearly.
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(untaken);
    assert_eq!(
        soon(resets.recv()).await,
        Some(Event::Broken(Some(Reason::CANCEL)))
    );

    drop(begin(&pool, true));
    open(&pool).await.unwrap();
    eventually("the end of all connections", || peer.live() == 0).await;
}

#[tokio::test]
async fn streams_share_connections_as_far_as_they_may() {
    for (streams, per_connection, connections) in [(4, 1, 4), (7, 3, 3), (6, 6, 1)] {
        let peer = silent().await;
        let pool = peer.pool_with(|limits| limits.max_streams_per_connection = per_connection);
        let pending: Vec<_> = (0..streams).map(|_| begin(&pool, true)).collect();
        let mut legs = Vec::new();
        for pending in pending {
            legs.push(pending.outcome().await.unwrap());
        }
        assert_eq!(peer.accepted(), connections);
        // A free place is taken before another connection is made.
        if per_connection > 1 {
            legs.remove(0);
            legs.push(open(&pool).await.unwrap());
            assert_eq!(peer.accepted(), connections);
        }
        drop(legs);
        eventually("the end of all connections", || peer.live() == 0).await;
    }
}

/// A peer may allow fewer streams than the pool.
#[tokio::test]
async fn the_peers_own_limit_counts() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let peer = Peer::h2(builder, |_, mut respond| async move {
        let _send = accept(&mut respond);
        std::future::pending::<()>().await;
    })
    .await;
    let pool = peer.pool_with(|limits| limits.max_streams_per_connection = 10);
    let mut legs = Vec::new();
    for _ in 0..5 {
        legs.push(open(&pool).await.unwrap());
    }
    assert_eq!(peer.accepted(), 3);
}

/// Openings that wait for the same dial share its outcome and its deadline.
#[tokio::test]
async fn a_failed_dial_fails_everybody_who_waits_for_it() {
    let peer = Peer::tcp(|tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let pool = peer.pool_with(|limits| {
        limits.max_streams_per_connection = 4;
        limits.connection_timeout = SOON;
    });
    let began = Instant::now();
    let pending: Vec<_> = (0..4).map(|_| begin(&pool, true)).collect();
    for pending in pending {
        let failure = pending.outcome().await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::ConnectTimeout);
    }
    assert_on_time(began.elapsed(), SOON);
    assert_eq!(peer.accepted(), 1);
}

#[tokio::test]
async fn a_dial_that_is_cancelled_is_taken_over() {
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dials);
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let peer = Peer::tcp(move |tcp| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let gate = Arc::clone(&gate);
        async move {
            if first {
                gate.notified().await;
                return;
            }
            let tls = TlsAcceptor::from(server_tls(H2)).accept(tcp).await.unwrap();
            let mut connection = h2::server::handshake(tls).await.unwrap();
            let mut held = Vec::new();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                held.push(accept(&mut respond));
            }
        }
    })
    .await;
    let pool = peer.pool_with(|limits| limits.max_streams_per_connection = 2);
    let first = begin(&pool, true);
    let second = begin(&pool, true);
    eventually("the first dial", || dials.load(Ordering::SeqCst) == 1).await;
    drop(first);
    second.outcome().await.unwrap();
    go.notify_one();
}

/// A connection that is going away, or gone, takes no further streams.
#[tokio::test]
async fn no_stream_on_a_connection_that_leaves() {
    let peer = Peer::raw(|mut raw| async move {
        raw.accept().await;
        raw.write(&[crate::peer::goaway(1, 0)]).await;
        raw.drain().await;
    })
    .await;
    let pool = peer.pool_with(|limits| limits.max_streams_per_connection = 10);
    let first = open(&pool).await.unwrap();
    assert_eq!(
        first.exchange.line.leaving().await.kind,
        FailureKind::GoAway
    );
    let _second = open(&pool).await.unwrap();
    assert_eq!(peer.accepted(), 2);
}

/// A peer that counts the handshakes under way: each takes a moment.
struct Paced {
    peer: Peer,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Paced {
    async fn new() -> Self {
        let under_way = Arc::<AtomicUsize>::default();
        let most = Arc::<AtomicUsize>::default();
        let counts = (Arc::clone(&under_way), Arc::clone(&most));
        let peer = Peer::tcp(move |tcp| {
            let (under_way, most) = counts.clone();
            async move {
                let now = under_way.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                // Before the client's handshake can be over.
                under_way.fetch_sub(1, Ordering::SeqCst);
                let tls = TlsAcceptor::from(server_tls(H2)).accept(tcp).await.unwrap();
                let mut connection = h2::server::handshake(tls).await.unwrap();
                let mut held = Vec::new();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    held.push(accept(&mut respond));
                }
            }
        })
        .await;
        Self {
            peer,
            under_way,
            most,
        }
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn handshakes_are_paced() {
    let paced = Paced::new().await;
    let pool = paced.peer.pool_with(|limits| limits.max_handshakes = 3);
    let pending: Vec<_> = (0..20).map(|_| begin(&pool, true)).collect();
    for pending in pending {
        pending.outcome().await.unwrap();
    }
    assert_eq!(paced.most(), 3);
    assert_eq!(paced.peer.accepted(), 20);
}

/// An application may make one pool for each stream: the host sees the same storm.
#[tokio::test]
async fn handshakes_are_paced_across_the_pools_of_a_host() {
    let paced = Paced::new().await;
    let pending: Vec<_> = (0..20)
        .map(|number| {
            let pool = Pool::new(
                Target {
                    // A name is the same host however it is written.
                    host: ["localhost", "LocalHost"][number % 2].into(),
                    ..paced.peer.target()
                },
                Limits {
                    max_handshakes: 3,
                    ..limits()
                },
            );
            begin(&pool, true)
        })
        .collect();
    for pending in pending {
        pending.outcome().await.unwrap();
    }
    assert_eq!(paced.most(), 3);
    assert_eq!(paced.peer.accepted(), 20);
}

#[tokio::test]
async fn hosts_do_not_wait_for_each_other() {
    let hosts = [Paced::new().await, Paced::new().await];
    // Each holds the only pass of its host, and neither connection comes up.
    let stuck = stuck().await;
    let held = stuck.pool_with(|limits| limits.max_handshakes = 1);
    let _held = begin(&held, true);
    eventually("the dial", || stuck.accepted() == 1).await;
    for host in &hosts {
        let pool = host.peer.pool_with(|limits| limits.max_handshakes = 1);
        open(&pool).await.unwrap();
    }
}

/// The first to ask is first, whichever pool it asked.
#[tokio::test]
async fn passes_are_given_in_order_across_pools() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let peer = Peer::h2(Builder::new(), move |request, mut respond| {
        let seen = Arc::clone(&seen);
        async move {
            let number = request.uri().query().unwrap().to_owned();
            seen.lock().unwrap().push(number.parse::<usize>().unwrap());
            accept(&mut respond);
        }
    })
    .await;
    let openings: Vec<_> = (0..20)
        .map(|number| {
            let pool = peer.pool_with(|limits| limits.max_handshakes = 1);
            let request = http::Request::post(format!("https://127.0.0.1/?{number}"))
                .body(())
                .unwrap();
            begin_with(&pool, true, request)
        })
        .collect();
    for opening in openings {
        opening.outcome().await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

/// A pass that is not used, as when its event loop is blocked, goes to the next opening. Its first
/// holder waits for another one.
#[tokio::test]
async fn a_pass_that_is_not_used_goes_to_the_next() {
    let paced = Paced::new().await;
    let pool = || paced.peer.pool_with(|limits| limits.max_handshakes = 1);
    let idle = admission(&pool()).await.unwrap();
    let began = Instant::now();
    open(&pool()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    let busy = admission(&pool()).await.unwrap();
    let late = open_admitted(idle).await;
    let busy = open_admitted(busy).await;
    late.unwrap();
    busy.unwrap();
    assert_eq!(paced.most(), 1);
    assert_eq!(paced.under_way.load(Ordering::SeqCst), 0);
}

/// A peer that takes TCP and says nothing.
async fn stuck() -> Peer {
    Peer::tcp(|tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await
}

/// The wait for another pool's handshakes is the wait of `connection_acquire_timeout`.
#[tokio::test]
async fn a_pass_that_another_pool_has() {
    let peer = stuck().await;
    let pool = || {
        peer.pool_with(|limits| {
            limits.max_handshakes = 1;
            limits.acquire_timeout = SOON;
        })
    };
    let _first = begin(&pool(), true);
    let (failure, took) = failure(&pool()).await;
    assert_eq!(failure.kind, FailureKind::AcquireTimeout);
    assert!(failure.detail.contains("handshakes"), "{failure}");
    assert_on_time(took, SOON);
}

/// Waiting for a pass counts as acquiring.
#[tokio::test]
async fn a_pass_that_does_not_come() {
    let peer = Peer::tcp(|tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let pool = peer.pool_with(|limits| {
        limits.max_handshakes = 1;
        limits.acquire_timeout = SOON;
    });
    let _first = begin(&pool, true);
    let (failure, took) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::AcquireTimeout);
    assert!(failure.detail.contains("handshakes"), "{failure}");
    assert_on_time(took, SOON);
}

/// Opened, opening, sending, half closed: 200 are cancelled at any moment, and nothing is left.
#[tokio::test]
async fn nothing_is_left_after_cancelling() {
    let peer = Peer::h2(Builder::new(), |request, mut respond| async move {
        let Ok(mut send) = respond.send_response(http::Response::new(()), false) else {
            return;
        };
        let mut events = Events::new(request.into_body());
        while let Event::Part(part) = events.next().await {
            let _ = send.send_data(crate::peer::text(&part.data.len().to_string()), false);
        }
    })
    .await;
    let pool = peer.pool_with(|limits| {
        limits.max_concurrency = 7;
        limits.max_handshakes = 3;
        limits.max_streams_per_connection = 2;
    });
    // A generator of its own, so that the moments are the same in every run.
    let mut state = 1_u64;
    let mut micros = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Duration::from_micros((state >> 33) % 12_000)
    };
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (start, patience, life) = (micros() * 20, micros() * 3, micros());
        let pool = Arc::clone(&pool);
        sessions.spawn(async move {
            tokio::time::sleep(start).await;
            let conversation = Conversation::new();
            let opened = tokio::time::timeout(patience, conversation.go_on(&pool)).await;
            if opened.is_ok() {
                conversation.send(vec![0; 640]).await;
                tokio::time::sleep(life).await;
                conversation.send(vec![0; 640]).await;
                if life.as_micros() % 2 == 0 {
                    conversation.finish();
                }
            }
            conversation.abort();
        });
    }
    while let Some(done) = sessions.join_next().await {
        done.unwrap();
    }
    eventually("the end of all connections", || peer.live() == 0).await;
    // Every permit is back.
    let pending: Vec<_> = (0..7).map(|_| begin(&pool, true)).collect();
    let mut legs = Vec::new();
    for pending in pending {
        legs.push(pending.outcome().await.unwrap());
    }
    assert_eq!(legs.len(), 7);
}
