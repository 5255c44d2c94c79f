//! The server: its thread and its listener.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::authority::{Authority, AuthorityError};
use crate::bridge::Listener;
use crate::connection;
use crate::settings::{Credential, Settings};
use crate::shared::Shared;
use crate::stats::{Counters, LegRecord};

/// The most connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The host is not an IP address.
    #[error("{host:?} is not an IP address")]
    Host {
        /// The host in the settings.
        host: String,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}: {}", said(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The certificates could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The thread or its event loop could not be started.
    #[error("the server's thread did not start: {0}")]
    Thread(io::Error),
}

/// Returns what the system says of an address; of the commonest error in the same words everywhere.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "Address already in use".into(),
        _ => error.to_string(),
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    ca_pem: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a thread of its own. `listener` serves the streams of external models.
    ///
    /// # Errors
    /// [`StartError`] when the address is taken or is not one, or the system lacks resources.
    pub fn start(
        settings: Settings,
        listener: Option<Arc<dyn Listener>>,
    ) -> Result<Self, StartError> {
        let host: IpAddr = settings.host.parse().map_err(|_| StartError::Host {
            host: settings.host.clone(),
        })?;
        let authority = Authority::issue(settings.certificate_names.clone(), SystemTime::now())?;
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
        let (shared, outages) = Shared::new(settings, authority.tls, listener);
        let shared = Arc::new(shared);
        let thread = std::thread::Builder::new()
            .name("sagemaker-local".to_owned())
            .spawn({
                let shared = shared.clone();
                move || {
                    runtime.block_on(accept(shared, address, tcp, outages));
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

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate of the authority that signed the server's, in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Returns the records of all legs so far, in the order of their requests. A request without a
    /// valid signature has no record.
    #[must_use]
    pub fn legs(&self) -> Vec<Arc<LegRecord>> {
        self.shared.records()
    }

    /// Returns the time since the server's start, on the clock of its records.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.epoch.elapsed()
    }

    /// Replaces the identities that are accepted. Open streams go on.
    pub fn set_credentials(&self, credentials: Vec<Credential>) {
        self.shared.set_credentials(credentials);
    }

    /// Resets all connections, and refuses new ones for `length`.
    pub fn outage(&self, length: Duration) {
        self.shared.outage(length);
    }

    /// Stops the server and waits for its thread.
    pub fn stop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // The thread has reported a panic itself.
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
    // A server that restarts on its port must not wait for old connections to time out. On Windows
    // it does not, and the option would let it take a port that another server has.
    #[cfg(unix)]
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
                // Out of descriptors, for example: try again a little later.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            Some(length) = outages.recv() => {
                drop(tcp);
                shared.close_connections();
                // Bound but not listening: the port stays reserved, and connecting is refused.
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
