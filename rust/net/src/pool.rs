//! The pool: when a stream may be opened, and on which connection.
//!
//! ```text
//! acquire ─▶ permit (max_concurrency, first come first served) ─▶ a pass to shake hands
//!         └───────────────────── connection_acquire_timeout ────────────────────────┘
//! open ─▶ a connection with room, or a new one ─▶ request ─▶ response headers
//!         └──────── connection_timeout ────────┘  └─ subscription_timeout ─┘
//! ```
//! These are two steps, so that a burst's requests are made and signed only once they can be sent:
//! signatures do not grow old while they wait, and there are not hundreds of requests in memory at
//! once. Permits belong to the pool; passes to the host, which all pools of the process share (see
//! `handshakes`).
//!
//! A connection closes when its last stream ends. Idle connections are not kept: the service ends
//! every connection after 30 minutes, so an old one would cut its next leg short.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::later;
use crate::connection::Connection;
use crate::dial::{Target, dial};
use crate::engine::Engine;
use crate::exchange::{Deadlines, Exchange, exchange};
use crate::failure::{Failure, FailureKind};
use crate::handshakes;
use crate::stage::Stage;
use crate::wake::Wake;

/// A connection older than this takes no further streams: its age must not cut a leg short.
const SHARED_FOR: Duration = Duration::from_secs(60);

/// What a pass at the host's gate is called in an error.
const HANDSHAKES: &str = "handshakes under way at the host";

/// A pool's limits; all of them hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// TCP, TLS and HTTP/2 together.
    pub connection_timeout: Duration,
    /// Waiting for a permit and for a pass to shake hands.
    pub acquire_timeout: Duration,
    /// From the request to the response headers.
    pub subscription_timeout: Duration,
    /// Streams open, or being opened, at the same time.
    pub max_concurrency: usize,
    /// Streams that share one connection.
    pub max_streams_per_connection: usize,
    /// Handshakes under way at the host at the same time, those of other pools included. Pools that
    /// are used together should have the same limit: the first one's counts.
    pub max_handshakes: usize,
}

/// `max_concurrency`, for one pool or for several together.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Semaphore>);

impl Permits {
    /// Makes this number of permits.
    #[must_use]
    pub fn new(max_concurrency: usize) -> Self {
        let most = max_concurrency.min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(most)))
    }
}

/// The streams and connections of one endpoint.
#[derive(Debug)]
pub struct Pool {
    target: Target,
    limits: Limits,
    permits: Permits,
    /// Openings that wait for a permit.
    waiting: AtomicUsize,
    /// Connections that may have room. Empty when each stream has its own.
    shared: Mutex<Vec<Arc<Slot>>>,
}

/// A connection, being dialled or up, and the number of its leases.
#[derive(Debug, Default)]
struct Slot {
    /// The dial's outcome. Openings that wait for the same dial share its failure, too.
    connection: OnceCell<Result<Connection, Failure>>,
    leases: AtomicUsize,
}

impl Slot {
    fn has_room(&self, most: usize) -> bool {
        let leases = self.leases.load(Ordering::Acquire);
        match self.connection.get() {
            None => leases < most,
            // The peer's own limit counts too: beyond it h2 lets a request wait without end.
            Some(Ok(up)) => {
                leases < most.min(up.max_streams())
                    && up.dialled().elapsed() < SHARED_FOR
                    && !up.line().is_leaving()
            }
            Some(Err(_)) => false,
        }
    }
}

/// A place on a connection. Given back when dropped.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    slot: Arc<Slot>,
}

/// One of `max_concurrency`. Given back when dropped.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// The right to open one stream. Given back when dropped.
#[derive(Debug)]
pub struct Admission {
    pool: Arc<Pool>,
    permit: Option<Permit>,
    gate: Arc<Semaphore>,
    /// One of `max_handshakes`, until the connection is up.
    handshake: handshakes::Pass,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut shared = self
            .pool
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Counted under the lock: a slot that is being removed cannot be leased.
        if self.slot.leases.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        }
    }
}

/// A stream with its place in the pool, ready to be pumped.
#[derive(Debug)]
pub struct OpenLeg {
    /// Both directions.
    pub exchange: Exchange,
    /// The place; the connection closes when the last one goes.
    pub lease: Lease,
    /// The permit, where one was asked for. It outlives the leg if its session goes on over
    /// another.
    pub permit: Option<Permit>,
}

impl Pool {
    /// Makes a pool without connections.
    #[must_use]
    pub fn new(target: Target, limits: Limits) -> Arc<Self> {
        let permits = Permits::new(limits.max_concurrency);
        Self::with_permits(target, limits, permits)
    }

    /// Makes a pool that shares `max_concurrency` with others.
    #[must_use]
    pub fn with_permits(target: Target, limits: Limits, permits: Permits) -> Arc<Self> {
        Arc::new(Self {
            permits,
            waiting: AtomicUsize::new(0),
            shared: Mutex::default(),
            target,
            limits,
        })
    }

    /// Returns the number of openings that wait for one of `max_concurrency`.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits on the engine for the right to open a stream. `with_permit` is false for a standby
    /// leg, whose session has a permit already.
    pub fn acquire(
        self: &Arc<Self>,
        engine: &Engine,
        with_permit: bool,
        waiter: Arc<dyn Wake>,
    ) -> Pending<Admission> {
        let pool = Arc::clone(self);
        // On the caller's thread: a fork must not find the engine's thread holding the gates' lock.
        let gate = handshakes::gate(&self.target, self.limits.max_handshakes);
        Pending::spawn(engine, waiter, async move {
            pool.acquired(with_permit, gate).await
        })
    }

    async fn acquired(
        self: Arc<Self>,
        with_permit: bool,
        gate: Arc<Semaphore>,
    ) -> Result<Admission, Failure> {
        let by = later(Instant::now(), self.limits.acquire_timeout);
        let permit = if with_permit {
            let waiting = Waiting::begin(&self.waiting);
            let permit = self
                .permitted(&self.permits.0, by, "max_concurrency")
                .await?;
            drop(waiting);
            Some(Permit(permit))
        } else {
            None
        };
        let handshake = self.permitted(&gate, by, HANDSHAKES).await?;
        Ok(Admission {
            pool: self,
            permit,
            gate,
            handshake: handshakes::Pass::new(handshake),
        })
    }

    /// Returns a place on a connection with room, or on one that is yet to be dialled.
    fn lease(self: &Arc<Self>) -> Lease {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let most = self.limits.max_streams_per_connection;
        let slot = if let Some(slot) = shared.iter().find(|slot| slot.has_room(most)) {
            Arc::clone(slot)
        } else {
            let slot = Arc::new(Slot::default());
            if most > 1 {
                shared.push(Arc::clone(&slot));
            }
            slot
        };
        slot.leases.fetch_add(1, Ordering::AcqRel);
        Lease {
            pool: Arc::clone(self),
            slot,
        }
    }

    /// Opens no further streams on a connection.
    fn forget(&self, unwanted: &Arc<Slot>) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|slot| !Arc::ptr_eq(slot, unwanted));
    }

    async fn dialled(&self, engine: &Arc<Engine>) -> Result<Connection, Failure> {
        let limit = self.limits.connection_timeout;
        let streams = self.limits.max_streams_per_connection;
        let stage = Stage::default();
        timeout(limit, dial(&self.target, streams, engine, &stage))
            .await
            .unwrap_or_else(|_| Err(stage.too_late(&self.target.host, self.target.port, limit)))
    }

    async fn permitted(
        &self,
        semaphore: &Arc<Semaphore>,
        by: Instant,
        of: &str,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        match timeout_at(by, Arc::clone(semaphore).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Never closed.
            Ok(Err(error)) => Err(Failure::new(FailureKind::Cancelled, error.to_string())),
            Err(_) => Err(Failure::new(
                FailureKind::AcquireTimeout,
                format!(
                    "waited connection_acquire_timeout ({:?}) for a turn: {of}",
                    self.limits.acquire_timeout
                ),
            )),
        }
    }
}

/// Counts one that waits, for as long as it exists.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    /// Opens a stream on the engine.
    pub fn open(
        self,
        engine: &Arc<Engine>,
        request: Request<()>,
        waiter: Arc<dyn Wake>,
    ) -> Pending<OpenLeg> {
        let held = Arc::clone(engine);
        Pending::spawn(
            engine,
            waiter,
            async move { self.opened(&held, request).await },
        )
    }

    async fn opened(self, engine: &Arc<Engine>, request: Request<()>) -> Result<OpenLeg, Failure> {
        let Self {
            pool,
            permit,
            gate,
            handshake,
        } = self;
        let handshake = if let Some(handshake) = handshake.claim() {
            handshake
        } else {
            let by = later(Instant::now(), pool.limits.acquire_timeout);
            pool.permitted(&gate, by, HANDSHAKES).await?
        };
        let lease = pool.lease();
        let dial = || pool.dialled(engine);
        let connection = lease.slot.connection.get_or_init(dial).await;
        drop(handshake);
        let exchanged = match connection {
            Ok(connection) => {
                let deadlines = Deadlines {
                    heard_by: later(connection.dialled(), pool.limits.connection_timeout),
                    connection_timeout: pool.limits.connection_timeout,
                    subscription_timeout: pool.limits.subscription_timeout,
                };
                exchange(connection, request, deadlines).await
            }
            Err(failure) => Err(failure.clone()),
        };
        let exchange = exchanged.inspect_err(|failure| {
            // An HTTP answer shows that the connection works. Any other failure casts doubt on it.
            if failure.kind != FailureKind::HttpStatus {
                pool.forget(&lease.slot);
            }
        })?;
        Ok(OpenLeg {
            exchange,
            lease,
            permit,
        })
    }
}

/// Work of the engine's, on its way. Dropping it cancels the work.
#[derive(Debug)]
pub struct Pending<T> {
    outcome: Arc<Mutex<Option<Result<T, Failure>>>>,
    task: AbortHandle,
}

impl<T: Send + 'static> Pending<T> {
    fn spawn(
        engine: &Engine,
        waiter: Arc<dyn Wake>,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Self {
        let outcome = Arc::new(Mutex::new(None));
        let told = Arc::clone(&outcome);
        let task = engine.handle().spawn(async move {
            let result = work.await;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            waiter.wake();
        });
        Self {
            outcome,
            task: task.abort_handle(),
        }
    }

    /// Returns the outcome, once; `None` while there is none.
    pub fn take(&self) -> Option<Result<T, Failure>> {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Line, Ping};
    use crate::dial::http2;

    /// A connection without a peer, dialled `age` ago.
    async fn up(age: Duration, engine: &Arc<Engine>) -> Slot {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let line = Arc::new(Line::default());
        let (requests, connection) = http2(ours, 1, &line).await.unwrap();
        let ping = Ping {
            after: Duration::MAX,
            within: Duration::MAX,
        };
        let dialled = Instant::now().checked_sub(age).unwrap();
        let connection = Connection::spawn(requests, connection, line, ping, dialled, engine);
        // It lives as long as the other end exists.
        std::mem::forget(theirs);
        Slot {
            connection: OnceCell::new_with(Some(Ok(connection))),
            leases: AtomicUsize::new(1),
        }
    }

    #[tokio::test]
    async fn an_old_connection_takes_no_further_streams() {
        let engine = Engine::shared().unwrap();
        let young = up(Duration::ZERO, &engine).await;
        assert!(young.has_room(2));
        assert!(!young.has_room(1));
        assert!(!up(SHARED_FOR, &engine).await.has_room(2));
    }

    #[test]
    fn only_what_may_be_up_has_room() {
        let dialling = Slot::default();
        assert!(dialling.has_room(1));
        let failed = Slot {
            connection: OnceCell::new_with(Some(Err(Failure::new(FailureKind::Dns, "")))),
            ..Slot::default()
        };
        assert!(!failed.has_room(1));
    }
}
