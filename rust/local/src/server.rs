//! The server: its thread, its listener, and what all its streams share.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::authority::{Authority, AuthorityError};
use crate::bridge::Listener;
use crate::connection::{self, Command, Connection};
use crate::faults::{Conversation, Rules};
use crate::settings::{Credential, Settings};
use crate::stats::{Counters, Epoch, LegFacts, LegRecord};

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 1024;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is none.
    #[error("{host:?} is not an IP address")]
    Host {
        /// What was given.
        host: String,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// No certificates.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// No thread, or no event loop in it.
    #[error("the server's thread did not start: {0}")]
    Thread(io::Error),
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    ca_pem: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What all streams of a server share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) listener: Option<Arc<dyn Listener>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) rules: Rules,
    pub(crate) epoch: Epoch,
    credentials: Mutex<Vec<Credential>>,
    conversations: Mutex<HashMap<(String, String), Arc<Conversation>>>,
    records: Mutex<Vec<Arc<LegRecord>>>,
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
    connection_numbers: AtomicU64,
    outages: mpsc::UnboundedSender<Duration>,
    running: watch::Sender<bool>,
    random: SystemRandom,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let elapsed = wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

impl Shared {
    pub(crate) fn credentials(&self) -> Vec<Credential> {
        lock(&self.credentials).clone()
    }

    /// The conversation that legs with this path and query belong to.
    pub(crate) fn conversation(&self, path: &str, query: &str) -> Arc<Conversation> {
        let key = (path.to_owned(), query.to_owned());
        lock(&self.conversations)
            .entry(key)
            .or_insert_with(|| Arc::new(Conversation::new()))
            .clone()
    }

    /// Begins the record of a leg; returns its number.
    pub(crate) fn record(&self, facts: LegFacts) -> (u64, Arc<LegRecord>) {
        let mut records = lock(&self.records);
        let number = records.len() as u64 + 1;
        let record = Arc::new(LegRecord::new(LegFacts { number, ..facts }));
        records.push(record.clone());
        (number, record)
    }

    /// A random identifier in the form of a UUID.
    pub(crate) fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        // Without randomness the identifiers are all the same, which harms nobody here.
        let _ = self.random.fill(&mut bytes);
        let random = u128::from_be_bytes(bytes);
        let value = random & !(0xF << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{value:032x}");
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connection_numbers.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn remember(&self, connection: &Arc<Connection>) {
        lock(&self.connections).insert(connection.number, Arc::downgrade(connection));
    }

    pub(crate) fn forget(&self, number: u64) {
        lock(&self.connections).remove(&number);
    }

    /// Closes all connections and refuses new ones for `length`.
    pub(crate) fn outage(&self, length: Duration) {
        // Fails only when the server has stopped.
        let _ = self.outages.send(length);
    }

    fn close_connections(&self) {
        for connection in lock(&self.connections).values().filter_map(Weak::upgrade) {
            connection.command(Command::Close { rst: true });
        }
    }

    /// Waits until the server stops.
    pub(crate) async fn stopped(&self) {
        let mut running = self.running.subscribe();
        // The sender lives as long as `self`.
        let _ = running.wait_for(|running| !running).await;
    }
}

impl Server {
    /// Starts a server on a thread of its own. `listener` serves its streams where the settings say that the model is
    /// external.
    ///
    /// # Errors
    /// [`StartError`] when the address is taken or makes no sense, or the system has no resources.
    pub fn start(
        settings: Settings,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<Self, StartError> {
        let host: IpAddr = settings.host.parse().map_err(|_| StartError::Host {
            host: settings.host.clone(),
        })?;
        let authority = Authority::issue(settings.certificate_names.clone(), wall_clock())?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let wanted = SocketAddr::new(host, settings.port);
        let guard = runtime.enter();
        let bound = bind(wanted)
            .and_then(|socket| socket.listen(BACKLOG))
            .and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, tcp) = bound.map_err(|error| StartError::Listen {
            address: wanted,
            error,
        })?;
        drop(guard);
        let (outages, outages_due) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            tls: authority.tls,
            listener,
            counters: Arc::default(),
            rules: Rules::new(settings.faults.clone()),
            epoch: Epoch::now(),
            credentials: Mutex::new(settings.credentials.clone()),
            conversations: Mutex::default(),
            records: Mutex::default(),
            connections: Mutex::default(),
            connection_numbers: AtomicU64::new(0),
            outages,
            running: watch::Sender::new(true),
            random: SystemRandom::new(),
            settings,
        });
        let thread = std::thread::Builder::new()
            .name("sagemaker-local".to_owned())
            .spawn({
                let shared = shared.clone();
                move || {
                    runtime.block_on(accept(shared, address, tcp, outages_due));
                    // A task that does not end must not keep the caller waiting.
                    runtime.shutdown_timeout(Duration::from_secs(1));
                }
            });
        let thread = thread.map_err(StartError::Thread)?;
        Ok(Self {
            address,
            ca_pem: authority.ca_pem,
            shared,
            thread: Some(thread),
        })
    }

    /// Where the server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the authority that signed the server's, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The records of all legs so far, in the order of their requests. Those that nobody known has
    /// signed have none.
    #[must_use]
    pub fn legs(&self) -> Vec<Arc<LegRecord>> {
        lock(&self.shared.records).clone()
    }

    /// Time since the server's start, on the clock of its records.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.epoch.elapsed()
    }

    /// Replaces the identities that are accepted. Streams under way go on.
    pub fn set_credentials(&self, credentials: Vec<Credential>) {
        *lock(&self.shared.credentials) = credentials;
    }

    /// Resets all connections, and refuses new ones for `length`.
    pub fn outage(&self, length: Duration) {
        self.shared.outage(length);
    }

    /// Stops the server and waits for its thread.
    pub fn stop(&mut self) {
        self.shared.running.send_replace(false);
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A server that starts again on its port must not wait for old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts connections until the server stops.
async fn accept(
    shared: Arc<Shared>,
    address: SocketAddr,
    mut tcp: TcpListener,
    mut outages: mpsc::UnboundedReceiver<Duration>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(shared.clone(), stream));
                }
                // Out of descriptors, for example: the next one may be luckier.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            Some(length) = outages.recv() => {
                drop(tcp);
                shared.close_connections();
                // Bound and not listening: the port stays ours, and connecting is refused.
                let Some(socket) = rebind(&shared, address).await else { break };
                tokio::select! {
                    () = sleep_until(Instant::now() + length) => {}
                    () = shared.stopped() => break,
                }
                match socket.listen(BACKLOG) {
                    Ok(listener) => tcp = listener,
                    Err(_) => break,
                }
            }
            () = shared.stopped() => break,
        }
    }
    let last_words = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), last_words).await;
}

async fn rebind(shared: &Shared, address: SocketAddr) -> Option<TcpSocket> {
    loop {
        if let Ok(socket) = bind(address) {
            return Some(socket);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
            () = shared.stopped() => return None,
        }
    }
}
