//! Through an HTTP proxy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dgsm_leg::reason::Reason;
use dgsm_net::dial::Target;
use dgsm_net::failure::{Failure, FailureKind};
use dgsm_net::pool::Pool;
use dgsm_net::tunnel::Proxy;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;

use crate::client::{assert_on_time, failure, open};
use crate::peer::{Authority, Peer, limits, server_tls, silent};

fn through(proxy: &Peer, target: &Peer, tls: bool, authorization: Option<&str>) -> Target {
    Target {
        proxy: Some(Proxy {
            host: "127.0.0.1".into(),
            port: proxy.port,
            tls,
            authorization: authorization.map(str::to_owned),
        }),
        ..target.target()
    }
}

/// Reads a CONNECT, line by line, and does it.
async fn connect<T: AsyncRead + AsyncWrite + Unpin>(client: T, seen: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let mut target = String::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("CONNECT ") {
            rest.split(' ').next().unwrap().clone_into(&mut target);
        }
        seen.lock().unwrap().push(line);
    }
    let mut upstream = TcpStream::connect(target).await.unwrap();
    // More than a status line, and in two pieces.
    client.write_all(b"HTTP/1.1 200 OK\r\nVia: ").await.unwrap();
    client.flush().await.unwrap();
    client.write_all(b"test\r\n\r\n").await.unwrap();
    client.flush().await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
}

#[tokio::test]
async fn a_proxy_connects() {
    let target = silent().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let proxy = Peer::tcp(move |tcp| connect(tcp, Arc::clone(&log))).await;
    let pool = Pool::new(through(&proxy, &target, false, None), limits());
    open(&pool).await.unwrap();
    let address = format!("127.0.0.1:{}", target.port);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            format!("CONNECT {address} HTTP/1.1"),
            format!("Host: {address}")
        ]
    );
}

#[tokio::test]
async fn a_proxy_is_told_who_asks_and_over_tls_if_it_wants_to() {
    let target = silent().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let proxy = Peer::tls(server_tls(&[b"h2", b"http/1.1"]), move |tls| {
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        connect(tls, Arc::clone(&log))
    })
    .await;
    let pool = Pool::new(through(&proxy, &target, true, Some("Basic dTpw")), limits());
    open(&pool).await.unwrap();
    assert_eq!(
        seen.lock().unwrap()[2..],
        ["Proxy-Authorization: Basic dTpw"]
    );
}

/// The failure of an opening whose proxy answers this.
async fn answered(answer: &'static [u8]) -> Failure {
    answered_to(answer, Some("Basic c2VjcmV0")).await
}

async fn answered_to(answer: &'static [u8], authorization: Option<&str>) -> Failure {
    let target = silent().await;
    let proxy = Peer::tcp(move |mut tcp| async move {
        let _ = tcp.read(&mut [0; 1024]).await;
        let _ = tcp.write_all(answer).await;
        let _ = tcp.read(&mut [0; 1024]).await;
    })
    .await;
    let pool = Pool::new(through(&proxy, &target, false, authorization), limits());
    let (failure, _) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::Proxy, "{failure}");
    assert!(!format!("{failure:?}").contains("c2VjcmV0"));
    failure
}

#[tokio::test]
async fn a_proxy_that_refuses() {
    let failure = answered(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    assert!(failure.detail.contains("407"), "{failure}");
}

#[tokio::test]
async fn what_a_proxy_s_answer_means() {
    for (answer, reason) in [
        ("HTTP/1.1 400 Bad Request", Reason::ProxyRefused),
        ("HTTP/1.1 302 Found", Reason::ProxyRefused),
        ("HTTP/1.1 401 Unauthorized", Reason::ProxyPassword),
        ("HTTP/1.1 403 Forbidden", Reason::ProxyDenied),
        ("HTTP/1.1 404 Not Found", Reason::ProxyRefused),
        ("HTTP/1.1 405 Method Not Allowed", Reason::ProxyRefused),
        ("HTTP/1.1 407 Authenticate", Reason::ProxyPassword),
        ("HTTP/1.1 408 Timeout", Reason::ProxyFailed),
        ("HTTP/1.1 429 Too Many", Reason::ProxyFailed),
        ("HTTP/1.1 500 Oops", Reason::ProxyFailed),
        ("HTTP/1.1 501 Not Implemented", Reason::ProxyRefused),
        ("HTTP/1.0 502 Bad Gateway", Reason::ProxyFailed),
        ("HTTP/1.1 503 Busy", Reason::ProxyFailed),
        ("HTTP/1.1 504 Timeout", Reason::ProxyFailed),
        ("HTTP/1.1 511 Log In", Reason::ProxyDenied),
    ] {
        let answer = Box::leak(format!("{answer}\r\n\r\n").into_boxed_str());
        assert_eq!(
            answered(answer.as_bytes()).await.reason(),
            reason,
            "{answer}"
        );
    }
    let failure = answered_to(
        b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Negotiate x\r\n\r\n",
        None,
    )
    .await;
    assert_eq!(failure.reason(), Reason::ProxyWantsPassword);
    assert!(
        failure.detail.ends_with("offers NTLM, Negotiate"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_proxy_that_talks_nonsense() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        assert_eq!(answered(answer).await.reason(), Reason::ProxyNonsense);
    }
}

/// `https://` before a proxy that does not speak TLS.
#[tokio::test]
async fn a_proxy_without_tls_of_its_own() {
    let target = silent().await;
    let proxy = Peer::tcp(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 1024]).await;
        let _ = tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = tcp.read(&mut [0; 1024]).await;
    })
    .await;
    let (refused, _) = failure(&Pool::new(through(&proxy, &target, true, None), limits())).await;
    assert_eq!(refused.reason(), Reason::ProxyTls, "{refused}");
    let proxy = Peer::tcp(|tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let mut limits = limits();
    limits.connection_timeout = Duration::from_millis(300);
    let (late, _) = failure(&Pool::new(through(&proxy, &target, true, None), limits)).await;
    assert_eq!(late.reason(), Reason::ProxyTimeout, "{late}");
    assert!(late.detail.contains("https://"), "{late}");
}

/// A proxy's certificate is checked like any other.
#[tokio::test]
async fn a_proxy_that_is_not_trusted() {
    let target = silent().await;
    let stranger = Authority::new("strange-proxy");
    let proxy = Peer::tls(stranger.server("127.0.0.1", &[]), |_| async {}).await;
    let (failure, _) = failure(&Pool::new(through(&proxy, &target, true, None), limits())).await;
    assert_eq!(failure.reason(), Reason::ProxyCertificate, "{failure}");
}

#[tokio::test]
async fn a_proxy_whose_answer_has_no_end() {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(20_000));
    let failure = answered(endless.leak().as_bytes()).await;
    assert!(failure.detail.contains("no end"), "{failure}");
}

#[tokio::test]
async fn a_proxy_that_hangs_up() {
    let target = silent().await;
    let proxy = Peer::tcp(|_| async {}).await;
    let pool = Pool::new(through(&proxy, &target, false, None), limits());
    let (failure, _) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::Proxy, "{failure}");
}

#[tokio::test]
async fn a_proxy_that_never_answers() {
    let target = silent().await;
    let proxy = Peer::tcp(|tcp| async move {
        let _held = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let mut limits = limits();
    limits.connection_timeout = Duration::from_millis(300);
    let pool = Pool::new(through(&proxy, &target, false, None), limits);
    let (failure, took) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::ConnectTimeout, "{failure}");
    assert_eq!(failure.reason(), Reason::ProxyTimeout, "{failure}");
    assert_on_time(took, Duration::from_millis(300));
}
