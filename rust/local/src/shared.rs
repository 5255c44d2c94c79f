//! What every task of a server shares: settings, counters, records, and the way to stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};

use crate::bridge::Listener;
use crate::faults::{Conversation, Rules};
use crate::handle::{Command, Connection};
use crate::settings::{Credential, Settings};
use crate::stats::{Counters, Epoch, LegFacts, LegRecord};

/// The state of a running server.
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

impl Shared {
    /// Returns the state of a server that starts now, and the queue of outages that its listener
    /// reads.
    pub(crate) fn new(
        settings: Settings,
        tls: Arc<ServerConfig>,
        listener: Option<Arc<dyn Listener>>,
    ) -> (Self, mpsc::UnboundedReceiver<Duration>) {
        let (outages, queue) = mpsc::unbounded_channel();
        let shared = Self {
            tls,
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
        };
        (shared, queue)
    }

    pub(crate) fn credentials(&self) -> Vec<Credential> {
        lock(&self.credentials).clone()
    }

    /// Returns the conversation of the legs with this path and query.
    pub(crate) fn conversation(&self, path: &str, query: &str) -> Arc<Conversation> {
        let key = (path.to_owned(), query.to_owned());
        lock(&self.conversations)
            .entry(key)
            .or_insert_with(|| Arc::new(Conversation::new()))
            .clone()
    }

    /// Replaces the identities that are accepted.
    pub(crate) fn set_credentials(&self, credentials: Vec<Credential>) {
        *lock(&self.credentials) = credentials;
    }

    /// Begins the record of a leg; returns its number.
    pub(crate) fn record(&self, facts: LegFacts) -> (u64, Arc<LegRecord>) {
        let mut records = lock(&self.records);
        let number = records.len() as u64 + 1;
        let record = Arc::new(LegRecord::new(LegFacts { number, ..facts }));
        records.push(record.clone());
        (number, record)
    }

    /// Returns every record so far, in the order of the requests.
    pub(crate) fn records(&self) -> Vec<Arc<LegRecord>> {
        lock(&self.records).clone()
    }

    /// Makes a random UUID.
    pub(crate) fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        // Without randomness all identifiers are the same, which does no harm here.
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
        // Fails only once the server has stopped.
        let _ = self.outages.send(length);
    }

    /// Resets every connection.
    pub(crate) fn close_connections(&self) {
        for connection in lock(&self.connections).values().filter_map(Weak::upgrade) {
            connection.command(Command::Close { rst: true });
        }
    }

    /// Stops the server.
    pub(crate) fn stop(&self) {
        self.running.send_replace(false);
    }

    /// Waits until the server stops.
    pub(crate) async fn stopped(&self) {
        let mut running = self.running.subscribe();
        // The sender lives as long as `self`.
        let _ = running.wait_for(|running| !running).await;
    }
}
