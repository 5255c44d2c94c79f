//! Models: the watermark's results on the wire, and models that live outside.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Call, LINEAR16, PATIENCE, Said, chunk, connect, facts, open, start, start_with};
use dgsm_leg::frame::Frame;
use dgsm_local::bridge::{Bridge, Listener, Received, Sent};
use dgsm_local::model::Reply;
use dgsm_local::stats::{InputEnd, LegEnd};
use serde_json::json;
use tokio::sync::Notify;

#[tokio::test]
async fn silence_fails_with_net_0001() {
    let model = json!({"kind": "watermark", "settings": {"silence_timeout": 0.3}});
    let server = start(json!({"model": model}));
    let client = connect(&server).await;
    let mut silent = open(&client, &Call::listen(LINEAR16)).await.unwrap();
    let mut kept_alive = open(&client, &Call::listen(LINEAR16)).await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        kept_alive.control("KeepAlive").await;
    }
    let said = silent.next().await;
    assert!(
        matches!(&said, Said::Exception { kind, code: Some(code), message }
            if kind == "ModelStreamError" && code == "1011" && message.contains("NET-0001")),
        "{said:?}"
    );
    kept_alive.control("CloseStream").await;
    assert_eq!(kept_alive.rest().await.len(), 1);
    let facts = facts(&server, 1, |facts| facts.closed.is_some()).await;
    assert_eq!(facts.end, LegEnd::ModelFailed);
}

#[tokio::test]
async fn finalize_and_close_stream_are_answered() {
    let server = start(json!({}));
    let client = connect(&server).await;
    let mut leg = open(&client, &Call::listen(LINEAR16)).await.unwrap();
    for number in 0..3 {
        leg.audio(chunk(number)).await;
    }
    leg.control("Finalize").await;
    let said = leg.next().await.json();
    assert_eq!(
        (&said["from_finalize"], &said["duration"]),
        (&json!(true), &json!(0.06))
    );
    leg.control("CloseStream").await;
    assert_eq!(leg.next().await.json()["type"], "Metadata");
    assert_eq!(leg.next().await, Said::End);
}

/// Hands every stream over to the test.
#[derive(Default)]
struct Ears {
    streams: Mutex<Vec<Arc<Bridge>>>,
    news: Notify,
}

impl Listener for Ears {
    fn accepted(&self, stream: Arc<Bridge>) {
        self.streams.lock().unwrap().push(stream);
        self.news.notify_one();
    }

    fn changed(&self, _: u64) {
        self.news.notify_one();
    }
}

impl Ears {
    async fn stream(&self) -> Arc<Bridge> {
        loop {
            if let Some(stream) = self.streams.lock().unwrap().pop() {
                return stream;
            }
            self.news.notified().await;
        }
    }

    async fn receive(&self, stream: &Bridge) -> Option<Frame> {
        let received = async {
            loop {
                match stream.receive() {
                    Received::Message(frame) => return Some(frame),
                    Received::Ended => return None,
                    Received::Nothing => self.news.notified().await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, received).await.unwrap()
    }
}

#[tokio::test]
async fn a_model_outside_converses_and_ends() {
    let ears = Arc::new(Ears::default());
    let server = start_with(json!({}), ears.clone());
    let client = connect(&server).await;
    let mut leg = open(&client, &Call::listen("model=x&keyterm=two%20cities"))
        .await
        .unwrap();
    let stream = ears.stream().await;
    assert_eq!(stream.path(), "v1/listen");
    assert_eq!(
        stream.query()[1],
        ("keyterm".to_owned(), "two cities".to_owned())
    );
    leg.text("hello").await;
    leg.audio(vec![1, 2, 3]).await;
    assert_eq!(ears.receive(&stream).await, Some(Frame::from("hello")));
    assert_eq!(
        ears.receive(&stream).await,
        Some(Frame::Binary(vec![1, 2, 3].into()))
    );
    assert_eq!(stream.send(Frame::from("grüezi")), Sent::Taken);
    assert_eq!(
        stream.send(Frame::Binary(vec![0xFF; 3].into())),
        Sent::Taken
    );
    assert_eq!(leg.next().await, Said::Message(Frame::from("grüezi")));
    assert_eq!(
        leg.next().await,
        Said::Message(Frame::Binary(vec![0xFF; 3].into()))
    );
    leg.end().await;
    assert_eq!(ears.receive(&stream).await, None);
    assert_eq!(stream.send(Frame::from("bye")), Sent::Taken);
    stream.close(Reply::End);
    assert_eq!(leg.next().await, Said::Message(Frame::from("bye")));
    assert_eq!(leg.next().await, Said::End);
    let facts = facts(&server, 1, |facts| facts.closed.is_some()).await;
    assert_eq!(
        (facts.end, facts.input_end),
        (LegEnd::Model, InputEnd::Signed)
    );
}

#[tokio::test]
async fn a_model_outside_fails() {
    let ears = Arc::new(Ears::default());
    let server = start_with(json!({}), ears.clone());
    let mut leg = open(&connect(&server).await, &Call::listen(""))
        .await
        .unwrap();
    let stream = ears.stream().await;
    stream.close(Reply::Fail {
        code: "1008".into(),
        message: "DATA-0000".into(),
    });
    let said = leg.next().await;
    assert!(
        matches!(&said, Said::Exception { code: Some(code), .. } if code == "1008"),
        "{said:?}"
    );
    assert_eq!(leg.next().await, Said::End);
}

#[tokio::test]
async fn a_slow_model_makes_the_client_wait_and_loses_nothing() {
    const MESSAGES: u32 = 400;
    let ears = Arc::new(Ears::default());
    let server = start_with(json!({}), ears.clone());
    let mut leg = open(&connect(&server).await, &Call::listen(""))
        .await
        .unwrap();
    let stream = ears.stream().await;
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let mut message = number.to_be_bytes().to_vec();
            message.resize(20_000, 0);
            leg.audio(message).await;
        }
        leg.end().await;
        leg
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!sending.is_finished(), "8 MB are beyond every buffer");
    let mut expected = 0_u32;
    while let Some(frame) = ears.receive(&stream).await {
        assert_eq!(frame.bytes()[..4], expected.to_be_bytes());
        expected += 1;
    }
    assert_eq!(expected, MESSAGES);
    sending.await.unwrap();
}

#[tokio::test]
async fn a_model_outside_hears_that_the_client_is_gone() {
    let ears = Arc::new(Ears::default());
    let server = start_with(json!({}), ears.clone());
    let mut leg = open(&connect(&server).await, &Call::listen(""))
        .await
        .unwrap();
    let stream = ears.stream().await;
    leg.reset();
    assert_eq!(ears.receive(&stream).await, None);
    assert_eq!(stream.send(Frame::from("anybody?")), Sent::Gone);
    assert!(stream.is_gone());
}

#[tokio::test]
async fn stopping_the_server_ends_the_models_streams() {
    let ears = Arc::new(Ears::default());
    let mut server = start_with(json!({}), ears.clone());
    let _leg = open(&connect(&server).await, &Call::listen(""))
        .await
        .unwrap();
    let stream = ears.stream().await;
    tokio::task::spawn_blocking(move || server.stop())
        .await
        .unwrap();
    assert_eq!(ears.receive(&stream).await, None);
}
