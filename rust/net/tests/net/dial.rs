//! Peers that stop on the way to HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use dgsm_leg::reason::Reason;
use dgsm_net::dial::Target;
use dgsm_net::failure::FailureKind;
use dgsm_net::pool::Pool;
use h2::server::Builder;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{assert_on_time, failure, open};
use crate::peer::{Authority, H2, Peer, limits, server_tls, silent, trusting};

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

/// Whatever the other deadline is, the connection is late.
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
    assert_eq!(failure.reason(), Reason::NotTls, "{failure}");
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
        assert_eq!(failure.reason(), Reason::HandshakeCut, "{failure}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority() {
    let stranger = Authority::new("stranger");
    let peer = Peer::tls(stranger.server("127.0.0.1", H2), |_| async {}).await;
    let (refused, _) = failure(&peer.pool()).await;
    assert_eq!(refused.kind, FailureKind::TlsVerify, "{refused}");
    assert_eq!(refused.reason(), Reason::TlsIssuer, "{refused}");
    // The error names the file that a client trusts.
    let mut target = peer.target();
    target.bundle = Some("/etc/ours.pem".into());
    let (refused, _) = failure(&Pool::new(target, limits())).await;
    assert_eq!(refused.reason(), Reason::TlsIssuerOfBundle, "{refused}");
    assert!(
        refused.detail.ends_with("trusted is /etc/ours.pem"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_host() {
    let config = Authority::ours().server("elsewhere.example", H2);
    let peer = Peer::tls(config, |_| async {}).await;
    let (failure, _) = failure(&peer.pool()).await;
    assert_eq!(failure.kind, FailureKind::TlsVerify, "{failure}");
    assert_eq!(failure.reason(), Reason::TlsName, "{failure}");
}

/// A certificate as `openssl req -x509` makes it: OpenSSL accepts it, we do not, and the advice
/// works.
#[tokio::test]
async fn a_certificate_that_is_its_own_authority() {
    for (is_ca, reason) in [
        (
            IsCa::Ca(BasicConstraints::Unconstrained),
            Some(Reason::TlsOwnAuthority),
        ),
        (IsCa::ExplicitNoCa, None),
        (IsCa::NoCa, None),
    ] {
        let (server, target) = self_made(is_ca, |_| {});
        let peer = Peer::tls(server, |mut tls| async move {
            let _ = tls.read(&mut [0; 1024]).await;
        })
        .await;
        let (failure, _) = failure(&Pool::new(target(&peer), limits())).await;
        match reason {
            Some(reason) => assert_eq!(failure.reason(), reason, "{failure}"),
            None => assert_eq!(failure.kind, FailureKind::Dropped, "TLS is up: {failure}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_out_of_its_time() {
    for years in [(2001, 2002), (4000, 4001)] {
        let (server, target) = self_made(IsCa::ExplicitNoCa, |params| {
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        });
        let peer = Peer::tls(server, |_| async {}).await;
        let (failure, _) = failure(&Pool::new(target(&peer), limits())).await;
        assert_eq!(failure.reason(), Reason::TlsExpired, "{failure}");
    }
}

/// A server with a self-signed certificate, and a client that trusts only that.
fn self_made(
    is_ca: IsCa,
    change: impl FnOnce(&mut CertificateParams),
) -> (Arc<ServerConfig>, impl Fn(&Peer) -> Target) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = is_ca;
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap();
    let (client, server) = trusting(&certificate, &key);
    let target = move |peer: &Peer| Target {
        tls: Arc::clone(&client),
        ..peer.target()
    };
    (server, target)
}

/// A server without a TLS version in common says so, and would say so again.
#[tokio::test]
async fn a_server_that_refuses_the_handshake() {
    // Alerts of level fatal: handshake_failure, protocol_version, unknown_ca, internal_error.
    for (alert, reason) in [
        (40, Reason::TlsRefused),
        (70, Reason::TlsRefused),
        (48, Reason::TlsRefused),
        (120, Reason::NoHttp2),
        (80, Reason::Tls),
    ] {
        let peer = Peer::tcp(move |mut tcp| async move {
            let _ = tcp.read(&mut [0; 4096]).await;
            let _ = tcp.write_all(&[21, 3, 3, 0, 2, 2, alert]).await;
            let _ = tcp.read(&mut [0; 16]).await;
        })
        .await;
        let (failure, _) = failure(&peer.pool()).await;
        assert_eq!(failure.reason(), reason, "{alert}: {failure}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let mut target = silent().await.target();
    // Bound and freed: the system gives the port to no other process that soon.
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
