//! What every task of a server shares: settings, counters, records, and the way to stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use tokio::sync::{Semaphore, mpsc, watch};

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
    /// One for each stream that there is room for.
    pub(crate) places: Arc<Semaphore>,
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
            places: Arc::new(Semaphore::new(
                settings
                    .max_streams
                    .map_or(Semaphore::MAX_PERMITS, |most| most as usize),
            )),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authority::Authority;

    fn shared() -> (Shared, mpsc::UnboundedReceiver<Duration>) {
        let settings = json!({
            "host": "127.0.0.1",
            "port": 0,
            "certificate_names": ["localhost"],
            "regions": ["eu-west-1"],
            "endpoint_names": ["local"],
            "variants": [],
            "credentials": [{"access_key_id": "first", "secret_access_key": "secret"}],
            "model": {"kind": "external"},
            "max_stream_age": null,
            "at_max_age": {"kind": "end_early"},
            "unknown_endpoint_status": 400,
            "max_concurrent_streams": 10,
            "faults": [],
            "connection_faults": [],
            "record_arrivals": false,
        });
        let settings = Settings::from_json(&settings.to_string()).unwrap();
        let now = std::time::SystemTime::now();
        let authority = Authority::issue(vec!["localhost".to_owned()], now).unwrap();
        Shared::new(settings, authority.tls, None)
    }

    #[test]
    fn legs_of_one_path_and_query_share_a_conversation() {
        let (shared, _) = shared();
        let first = shared.conversation("v1/listen", "a=1");
        assert!(Arc::ptr_eq(
            &first,
            &shared.conversation("v1/listen", "a=1")
        ));
        for (path, query) in [("v2/listen", "a=1"), ("v1/listen", "a=2")] {
            assert!(!Arc::ptr_eq(&first, &shared.conversation(path, query)));
        }
    }

    #[test]
    fn records_are_numbered_from_one() {
        let (shared, _) = shared();
        let numbers = [(), ()].map(|()| shared.record(LegFacts::default()).0);
        assert_eq!(numbers, [1, 2]);
        let kept: Vec<_> = shared
            .records()
            .iter()
            .map(|record| record.facts().number)
            .collect();
        assert_eq!(kept, numbers);
    }

    #[test]
    fn identifiers_are_uuids_of_version_4() {
        let (shared, _) = shared();
        let (one, other) = (shared.uuid(), shared.uuid());
        assert_ne!(one, other);
        let lengths: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
    }

    #[test]
    fn an_outage_is_queued_for_the_listener() {
        let (shared, mut outages) = shared();
        shared.outage(Duration::from_secs(3));
        assert_eq!(outages.try_recv(), Ok(Duration::from_secs(3)));
    }

    #[test]
    fn connections_are_closed_while_they_are_remembered() {
        let (shared, _) = shared();
        let mut queues = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..2 {
            let (connection, queue) = Connection::new(shared.next_connection());
            let connection = Arc::new(connection);
            shared.remember(&connection);
            connections.push(connection);
            queues.push(queue);
        }
        shared.forget(2);
        shared.close_connections();
        assert!(matches!(
            queues[0].try_recv(),
            Ok(Command::Close { rst: true })
        ));
        assert!(queues[1].try_recv().is_err());
    }

    #[tokio::test]
    async fn whoever_waits_for_the_stop_sees_one_that_has_happened() {
        let (shared, _) = shared();
        shared.stop();
        shared.stopped().await;
    }
}
