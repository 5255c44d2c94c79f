//! The engine's thread exists while it is referenced. Alone in its process: it counts threads.

#![cfg(target_os = "linux")]

#[path = "net/client.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod client;
#[path = "net/peer.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod peer;

use std::sync::Arc;

use dgsm_net::engine::Engine;

use client::{Conversation, eventually};

/// The names of this process's threads that are ours.
fn threads() -> Vec<String> {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| name.starts_with("deepgram"))
        .collect()
}

#[tokio::test]
async fn the_thread_comes_and_goes_with_its_users() {
    assert!(threads().is_empty());
    for _ in 0..3 {
        let peer = peer::silent().await;
        let pool = peer.pool();
        assert!(threads().is_empty(), "a pool needs none");
        let conversation = Conversation::over(&pool).await;
        assert_eq!(threads(), ["deepgram-engine"]);
        let engine = Engine::shared().unwrap();
        assert!(Arc::ptr_eq(&engine, &Engine::shared().unwrap()));
        conversation.send(vec![0; 640]).await;
        conversation.abort();
        eventually("the connection's end", || peer.live() == 0).await;
        assert_eq!(threads(), ["deepgram-engine"], "somebody holds it");
        drop(engine);
        eventually("the thread's end", || threads().is_empty()).await;
    }
    // A host name is looked up in a thread of its own, which also ends.
    let mut target = peer::silent().await.target();
    target.host = "no-such-host.invalid".into();
    let pool = dgsm_net::pool::Pool::new(target, peer::limits());
    client::failure(&pool).await;
    eventually("the threads' end", || threads().is_empty()).await;
}
