//! What the connections of a gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::counts::Counts;
use crate::desk::{Desk, News};
use crate::door::Door;
use crate::places::Places;

/// Times and sizes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take from the connection to the end of its request's head.
    pub head_within: Duration,
    /// How long Python may take to answer.
    pub answer_within: Duration,
    /// The silence of a client after which it is pinged.
    pub ping_interval: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
    /// How long the closing handshake may take.
    pub close_within: Duration,
    /// The largest message of a client, in bytes.
    pub max_message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_within: Duration::from_secs(10),
            answer_within: Duration::from_secs(60),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(20),
            close_within: Duration::from_secs(5),
            max_message: 16 << 20,
        }
    }
}

/// What connections share. It lasts as long as any of them.
pub(crate) struct Gate {
    pub(crate) door: Door,
    pub(crate) desk: Arc<Desk>,
    pub(crate) places: Arc<Places>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) pages: Vec<String>,
    pub(crate) open_pages: Vec<String>,
    pub(crate) max_connections: usize,
    pub(crate) limits: Limits,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) drain: Drain,
}

impl Drop for Gate {
    fn drop(&mut self) {
        // The listener and every connection held it: they are gone.
        self.desk.tell(News::Stopped);
    }
}

/// Whether the gateway accepts no more connections.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    is_on: AtomicBool,
    begun: Notify,
}

impl Drain {
    /// Begins to drain.
    pub(crate) fn begin(&self) {
        self.is_on.store(true, Ordering::Release);
        self.begun.notify_one();
    }

    /// Returns whether it has begun.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Returns when it has begun, once: the listener waits for it.
    pub(crate) async fn begun(&self) {
        self.begun.notified().await;
    }
}
