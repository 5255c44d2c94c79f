//! The outcomes of a request.

use std::time::Duration;

use bytes::Bytes;
use dgsm_net::exchange::MAX_ERROR_BODY;
use dgsm_net::failure::FailureKind;
use h2::server::Builder;
use http::{Response, StatusCode};

use crate::client::{assert_on_time, failure, open};
use crate::peer::{Peer, accept, goaway, reset};

fn refusal(status: u16) -> Response<()> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("X-Amzn-ErrorType", "ModelError")
        .header("x-amzn-RequestId", "c0ffee")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn an_answer_is_a_stream_and_its_headers() {
    let peer = Peer::h2(Builder::new(), |_, mut respond| async move {
        let answer = Response::builder()
            .header("x-amzn-Invoked-Production-Variant", "AllTraffic")
            .body(())
            .unwrap();
        let _send = respond.send_response(answer, false).unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let leg = open(&peer.pool()).await.unwrap();
    let variant = (
        "x-amzn-invoked-production-variant".to_owned(),
        "AllTraffic".to_owned(),
    );
    assert!(leg.exchange.headers.contains(&variant));
}

#[tokio::test]
async fn a_peer_that_takes_the_request_and_never_answers() {
    let peer = Peer::h2(Builder::new(), |request, respond| async move {
        let _held = (request, respond);
        std::future::pending::<()>().await;
    })
    .await;
    let set = Duration::from_millis(300);
    let pool = peer.pool_with(|limits| limits.subscription_timeout = set);
    let (failure, took) = failure(&pool).await;
    assert_eq!(failure.kind, FailureKind::SubscriptionTimeout);
    assert_on_time(took, set);
}

#[tokio::test]
async fn a_refusal_is_kept_whole() {
    let peer = Peer::h2(Builder::new(), |_, mut respond| async move {
        let mut send = respond.send_response(refusal(424), false).unwrap();
        send.send_data(Bytes::from_static(b"{\"OriginalStatusCode\":"), false)
            .unwrap();
        send.send_data(Bytes::from_static(b"503}"), true).unwrap();
    })
    .await;
    let (failure, _) = failure(&peer.pool()).await;
    assert_eq!(failure.kind, FailureKind::HttpStatus);
    let answer = failure.answer.unwrap();
    assert_eq!(answer.status, 424);
    assert_eq!(&answer.body[..], b"{\"OriginalStatusCode\":503}");
    assert!(
        answer
            .headers
            .contains(&("x-amzn-errortype".to_owned(), "ModelError".to_owned()))
    );
}

#[tokio::test]
async fn a_refusal_without_end_is_cut() {
    let peer = Peer::h2(Builder::new(), |_, mut respond| async move {
        let mut send = respond.send_response(refusal(500), false).unwrap();
        send.send_data(Bytes::from(vec![b'x'; MAX_ERROR_BODY + 100_000]), false)
            .unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let (failure, _) = failure(&peer.pool()).await;
    let answer = failure.answer.unwrap();
    assert_eq!((answer.status, answer.body.len()), (500, MAX_ERROR_BODY));
}

/// Half an explanation is better than none, and its other half is not waited for.
#[tokio::test]
async fn a_refusal_that_stops_half_way() {
    let peer = Peer::h2(Builder::new(), |_, mut respond| async move {
        let mut send = respond.send_response(refusal(400), false).unwrap();
        send.send_data(Bytes::from_static(b"{\"Message\":"), false)
            .unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let (failure, took) = failure(&peer.pool()).await;
    assert_eq!(&failure.answer.unwrap().body[..], b"{\"Message\":");
    assert_on_time(took, Duration::from_secs(2));
}

#[tokio::test]
async fn a_request_that_is_reset() {
    for (code, kind) in [
        (0, FailureKind::Reset),
        (2, FailureKind::Reset),
        (7, FailureKind::RefusedStream),
        (8, FailureKind::Reset),
        (11, FailureKind::Reset),
    ] {
        let peer = Peer::raw(move |mut raw| async move {
            raw.write(&[reset(code)]).await;
            raw.drain().await;
        })
        .await;
        let (failure, _) = failure(&peer.pool()).await;
        assert_eq!((failure.kind, failure.h2_code), (kind, Some(code)));
    }
}

/// A GOAWAY that does not cover the request fails it at once; one that does, when the connection
/// ends: the connection says more than the stream.
#[tokio::test]
async fn a_connection_that_is_closed_in_order() {
    for (last_stream, code) in [(0, 0), (0, 11), (1, 0), (1, 2)] {
        let peer = Peer::raw(move |mut raw| async move {
            raw.write(&[goaway(last_stream, code)]).await;
            raw.leave().await;
        })
        .await;
        let (failure, _) = failure(&peer.pool()).await;
        assert_eq!(
            (failure.kind, failure.h2_code),
            (FailureKind::GoAway, Some(code)),
            "{last_stream}: {failure}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_breaks() {
    let peer = Peer::raw(|raw| async move {
        raw.tls.get_ref().0.set_zero_linger().unwrap();
    })
    .await;
    let (failure, _) = failure(&peer.pool()).await;
    assert_eq!(failure.kind, FailureKind::Dropped, "{failure}");
}

#[tokio::test]
async fn a_peer_that_talks_nonsense() {
    let peer = Peer::raw(|mut raw| async move {
        raw.write(&[b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()])
            .await;
        raw.drain().await;
    })
    .await;
    let (failure, _) = failure(&peer.pool()).await;
    assert_eq!(failure.kind, FailureKind::Protocol, "{failure}");
}

/// Dropped without being taken: the peer learns of it.
#[tokio::test]
async fn a_refused_request_leaves_no_stream() {
    let peer = Peer::h2(Builder::new(), |request, mut respond| async move {
        let _send = respond.send_response(refusal(400), true).unwrap();
        let mut recv = request.into_body();
        while let Some(Ok(_)) = recv.data().await {}
    })
    .await;
    let (_, _) = failure(&peer.pool()).await;
    crate::client::eventually("the connection's end", || peer.live() == 0).await;
}

#[tokio::test]
async fn accepting_late_is_accepting() {
    let peer = Peer::h2(Builder::new(), |_, mut respond| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _send = accept(&mut respond);
        std::future::pending::<()>().await;
    })
    .await;
    open(&peer.pool()).await.unwrap();
}
