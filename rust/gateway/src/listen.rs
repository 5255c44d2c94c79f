//! The socket, TLS, and one connection's way: HTTP within deadlines, then a WebSocket or the end.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::carry;
use crate::counts::Counts;
use crate::gate::Gate;
use crate::line::Line;
use crate::serve::{Accepted, Visit, serve};

/// Bytes that the system keeps for a client. It says that there is room again once a third of it is
/// free, and by that a client that reads slowly is known to be there. It bounds what is kept, too.
const SEND_BUFFER: usize = 128 << 10;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Beyond `max_connections`, this many are told that there are too many. The rest is closed unheard.
const TOLD: u64 = 64;
/// How long to wait after an accept that failed: the process may be out of descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How long an answer may take to reach the client.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection that ends in HTTP stays readable: closing it with input unread would take
/// back an answer that is on its way.
const LINGER: Duration = Duration::from_secs(1);
/// The answer to a request that takes too long.
const TOO_LATE: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Listens on an address.
pub(crate) fn bind(host: &str, port: u16, reuse_port: bool) -> io::Result<StdListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match bind_to(address, reuse_port) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_to(address: SocketAddr, reuse_port: bool) -> io::Result<StdListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A server that restarts must not wait for old connections. On Windows it does not, and the
    // option would let it take the port of another server.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(unix))]
    if reuse_port {
        let kind = io::ErrorKind::Unsupported;
        return Err(io::Error::new(
            kind,
            "ports cannot be shared on this system",
        ));
    }
    // Accepted sockets have it too.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Returns what shakes hands with a certificate.
pub(crate) fn acceptor(certificate: &[u8], key: &[u8]) -> Result<TlsAcceptor, String> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the chain cannot be read: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in the chain".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| format!("the private key cannot be read: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts connections until the gateway stops, and has every connection's task.
pub(crate) async fn listen(listener: TcpListener, gate: Arc<Gate>) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = accept(listener.as_ref()) => match accepted {
                Ok((stream, peer)) => {
                    if let Some(open) = Open::count(&gate) {
                        let connection = connection(stream, peer, Arc::clone(&gate), open);
                        connections.spawn(connection);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            () = gate.drain.begun() => listener = None,
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A connection that is counted.
struct Open {
    counts: Arc<Counts>,
    /// There are too many: it is told so.
    is_one_too_many: bool,
}

impl Open {
    fn count(gate: &Gate) -> Option<Self> {
        let counts = &gate.counts;
        let open = counts.connections.get();
        let most = gate.max_connections as u64;
        if open >= most.saturating_add(TOLD) {
            counts.connections_dropped.add(1);
            return None;
        }
        counts.connections_accepted.add(1);
        counts.connections.add(1);
        Some(Self {
            counts: Arc::clone(counts),
            is_one_too_many: open >= most,
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counts.connections.take_one();
    }
}

/// One connection, from its acceptance to its end.
async fn connection(stream: TcpStream, peer: SocketAddr, gate: Arc<Gate>, open: Open) {
    // It fails on a socket that is gone, which the first read finds too.
    let _ = stream.set_nodelay(true);
    let limits = gate.limits;
    let head_by = Instant::now() + limits.head_within;
    // Before anything is allocated for it: there may be many that never speak.
    let begun = timeout_at(head_by, stream.readable()).await;
    if !matches!(begun, Ok(Ok(()))) {
        gate.counts.connections_unheard.add(1);
        return;
    }
    // In boxes: a task keeps the size of its largest part, and most of its life is the second.
    let talked = Box::pin(talk_http(stream, peer, gate, open.is_one_too_many, head_by)).await;
    if let Some((line, accepted)) = talked {
        Box::pin(carry::carry(line, accepted, limits)).await;
    }
}

/// Serves HTTP. Returns the line once the client has a WebSocket.
async fn talk_http(
    stream: TcpStream,
    peer: SocketAddr,
    gate: Arc<Gate>,
    is_one_too_many: bool,
    head_by: Instant,
) -> Option<(Line, Accepted)> {
    let limits = gate.limits;
    let counts = Arc::clone(&gate.counts);
    let Some(line) = Line::begin(stream, gate.tls.as_ref(), head_by).await else {
        counts.connections_unheard.add(1);
        return None;
    };
    let visit = Arc::new(Visit::new(gate, peer, is_one_too_many));
    let service = {
        let visit = Arc::clone(&visit);
        service_fn(move |request| Box::pin(serve(Arc::clone(&visit), request)))
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_by.saturating_duration_since(Instant::now()))
        .max_buf_size(MAX_HEAD)
        .keep_alive(!is_one_too_many)
        .serve_connection(TokioIo::new(line), service);
    // The parts have their deadlines; this one is for a client that does not read its answers. It is
    // each request's own.
    let mut latest = visit.heard();
    let served = loop {
        let from = latest.unwrap_or(head_by);
        let by = from + limits.answer_within + WRITTEN_WITHIN;
        let served = timeout_at(by, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
        if served.is_err() && visit.heard() != latest {
            latest = visit.heard();
        } else {
            break served;
        }
    };
    let parts = connection.into_parts();
    let mut line = parts.io.into_inner();
    match served {
        Ok(Ok(())) => {
            if let Some(accepted) = visit.take_accepted() {
                line.put_back(parts.read_buf);
                return Some((line, accepted));
            }
        }
        Ok(Err(error)) => {
            if visit.heard().is_none() {
                counts.connections_unheard.add(1);
            }
            if error.is_timeout() && !parts.read_buf.is_empty() {
                let _ = timeout(LINGER, line.write_all(TOO_LATE)).await;
            }
        }
        Err(_) => return None,
    }
    line.leave(LINGER).await;
    None
}
