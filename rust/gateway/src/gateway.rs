//! A running gateway.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dgsm_net::engine::Engine;
use dgsm_net::wake::Wake;
use tokio::task::AbortHandle;

use crate::counts::Counts;
use crate::desk::{Desk, News};
use crate::door::{Door, Key};
use crate::gate::{Drain, Gate, Limits};
use crate::listen;

/// What a gateway is started with.
#[derive(Debug)]
pub struct Settings {
    /// A name or an address.
    pub host: String,
    /// 0: any free one.
    pub port: u16,
    /// Whether other processes may listen on the same port.
    pub reuse_port: bool,
    /// The certificate chain and its key, PEM. `None`: no TLS.
    pub tls: Option<(Vec<u8>, Vec<u8>)>,
    /// Who is let in; empty: everybody.
    pub keys: Vec<Key>,
    /// The origins of pages that may connect.
    pub origins: Option<Vec<String>>,
    /// Paths of pages that Python has.
    pub pages: Vec<String>,
    /// Those of them for which no key is needed.
    pub open_pages: Vec<String>,
    /// The most connections at a time, of any kind.
    pub max_connections: usize,
    /// Times and sizes.
    pub limits: Limits,
}

/// Why a gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("{host}:{port} cannot be listened on: {reason}")]
    Listen {
        /// What was asked for.
        host: String,
        /// What was asked for.
        port: u16,
        /// Why.
        reason: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// The system has no random bytes.
    #[error("the system has no random bytes")]
    Random,
}

/// A running gateway.
pub struct Gateway {
    address: SocketAddr,
    desk: Arc<Desk>,
    counts: Arc<Counts>,
    running: Mutex<Option<Running>>,
}

struct Running {
    gate: Arc<Gate>,
    listening: AbortHandle,
    _engine: Arc<Engine>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts a gateway on the engine's thread. `wake` is called when there is something to take.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the certificate cannot be used.
    pub fn start(
        settings: Settings,
        engine: Arc<Engine>,
        wake: Arc<dyn Wake>,
    ) -> Result<Self, StartError> {
        let Settings {
            host,
            port,
            reuse_port,
            tls,
            keys,
            origins,
            pages,
            open_pages,
            max_connections,
            limits,
        } = settings;
        let door = Door::new(&keys, origins.as_deref()).map_err(|_| StartError::Random)?;
        let tls = tls
            .map(|(certificate, key)| listen::acceptor(&certificate, &key))
            .transpose()
            .map_err(StartError::Certificate)?;
        let listener = listen::bind(&host, port, reuse_port)
            .map_err(|reason| StartError::Listen { host, port, reason })?;
        let unusable = |reason| StartError::Listen {
            host: String::new(),
            port,
            reason,
        };
        let address = listener.local_addr().map_err(unusable)?;
        let desk = Arc::new(Desk::new(wake));
        let counts = Arc::new(Counts::default());
        let gate = Arc::new(Gate {
            door,
            desk: Arc::clone(&desk),
            places: Arc::default(),
            counts: Arc::clone(&counts),
            pages,
            open_pages,
            max_connections,
            limits,
            tls,
            drain: Drain::default(),
        });
        let listener = {
            // A listener belongs to the runtime that it is made in.
            let _inside = engine.handle().enter();
            tokio::net::TcpListener::from_std(listener).map_err(unusable)?
        };
        let task = engine
            .handle()
            .spawn(listen::listen(listener, Arc::clone(&gate)));
        Ok(Self {
            address,
            desk,
            counts,
            running: Mutex::new(Some(Running {
                gate,
                listening: task.abort_handle(),
                _engine: engine,
            })),
        })
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes everything that has happened since the last call, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<News> {
        self.desk.take()
    }

    /// Returns its figures.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Accepts no more connections. Those that are up go on.
    pub fn drain(&self) {
        if let Some(running) = &*self.lock() {
            running.gate.drain.begin();
        }
    }

    /// Ends everything now. [`News::Stopped`] follows.
    pub fn stop(&self) {
        if let Some(Running {
            gate, listening, ..
        }) = self.lock().take()
        {
            listening.abort();
            drop(gate);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}
