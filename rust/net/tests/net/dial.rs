//! Peers that stop on the way to HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use dgsm_net::failure::FailureKind;
use dgsm_net::pool::Pool;
use h2::server::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{assert_on_time, failure, open};
use crate::peer::{Authority, H2, Peer, limits, server_tls, silent};

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_peer_that_never_speaks_tls() {
    let peer = Peer::tcp(|tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let pool = peer.pool_with(|limits| limits.connection_timeout = SOON);
    let (failure, took) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::ConnectTimeout);
    assert_on_time(took, SOON);
}

/// Whatever the other deadline is: it is the connection that is late.
#[tokio::test]
async fn a_peer_that_speaks_tls_and_never_http2() {
    let peer = Peer::tls(server_tls(H2), |tls| async move {
        let _held = tls;
        std::future::pending::<()>().await;
    })
    .await;
    for subscription_timeout in [Duration::from_millis(50), Duration::from_secs(20)] {
        let pool = peer.pool_with(|limits| {
            limits.connection_timeout = SOON;
            limits.subscription_timeout = subscription_timeout;
        });
        let (failure, took) = failure(&pool).await;
        assert_eq!(failure.kind, FailureKind::ConnectTimeout);
        assert_on_time(took, SOON);
    }
}

#[tokio::test]
async fn a_peer_without_http2() {
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let peer = Peer::tls(server_tls(alpn), |mut tls| async move {
            let _ = tls.read(&mut [0; 1024]).await;
        })
        .await;
        let (failure, _) = failure(&peer.pool()).await;
        assert_eq!(failure.kind, FailureKind::Http2, "{alpn:?}: {failure}");
    }
}

#[tokio::test]
async fn a_plain_http_port() {
    let peer = Peer::tcp(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 1024]).await;
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let (failure, _) = failure(&peer.pool()).await;
    assert_eq!(failure.kind, FailureKind::Tls, "{failure}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_during_the_handshake() {
    for hard in [false, true] {
        let peer = Peer::tcp(move |mut tcp| async move {
            let _ = tcp.read(&mut [0; 16]).await;
            if hard {
                let _ = tcp.set_zero_linger();
            }
        })
        .await;
        let (failure, _) = failure(&peer.pool()).await;
        assert_eq!(failure.kind, FailureKind::Connect, "{failure}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority() {
    let stranger = Authority::new("stranger");
    let peer = Peer::tls(stranger.server("127.0.0.1", H2), |_| async {}).await;
    let (failure, _) = failure(&peer.pool()).await;
    assert_eq!(failure.kind, FailureKind::TlsVerify, "{failure}");
}

#[tokio::test]
async fn a_certificate_for_another_host() {
    let config = Authority::ours().server("elsewhere.example", H2);
    let peer = Peer::tls(config, |_| async {}).await;
    let (failure, _) = failure(&peer.pool()).await;
    assert_eq!(failure.kind, FailureKind::TlsVerify, "{failure}");
}

#[tokio::test]
async fn nobody_listens() {
    let mut target = silent().await.target();
    // Bound, and given back: nobody else is given it that soon.
    target.port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let (failure, _) = failure(&Pool::new(target, limits())).await;
    assert_eq!(failure.kind, FailureKind::Connect, "{failure}");
}

#[tokio::test]
async fn a_host_without_an_address() {
    let mut target = silent().await.target();
    target.host = "no-such-host.invalid".into();
    let (failure, _) = failure(&Pool::new(target, limits())).await;
    assert_eq!(failure.kind, FailureKind::Dns, "{failure}");
    assert!(failure.detail.contains("no-such-host.invalid"));
}

/// `localhost` is often two addresses, of which one listens.
#[tokio::test]
async fn the_address_that_answers() {
    let peer = silent().await;
    let mut target = peer.target();
    target.host = "localhost".into();
    open(&Pool::new(target, limits())).await.unwrap();
    assert_eq!(peer.accepted(), 1);
}

/// Deadlines that no clock can hold are no deadlines.
#[tokio::test]
async fn settings_without_end() {
    let peer = Peer::h2(Builder::new(), |_, mut respond| async move {
        respond
            .send_response(http::Response::new(()), true)
            .unwrap();
    })
    .await;
    let mut target = peer.target();
    target.ping.after = Duration::MAX;
    target.ping.within = Duration::MAX;
    let mut limits = limits();
    limits.acquire_timeout = Duration::MAX;
    limits.connection_timeout = Duration::MAX;
    limits.subscription_timeout = Duration::MAX;
    limits.max_concurrency = usize::MAX;
    let pool: Arc<Pool> = Pool::new(target, limits);
    open(&pool).await.unwrap();
}
