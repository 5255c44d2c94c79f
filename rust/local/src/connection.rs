//! One TCP connection: TLS, HTTP/2, and a task for each of its streams.

use std::sync::Arc;
use std::time::Duration;

use h2::server;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::faults::{ConnectionAction, covers};
use crate::handle::{Command, Connection};
use crate::leg;
use crate::settings::duration;
use crate::shared::Shared;
use crate::stats::{Live, count};
use crate::tap::{Orders, Tap};

/// The longest that a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection stays after a `GOAWAY` that covers none of its streams.
const FAREWELL: Duration = Duration::from_millis(100);
/// Several times what the service's constraints allow.
const MAX_HEADERS: u32 = 64 * 1024;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// Load tests cancel hundreds of streams at once, which h2 would take for an attack.
const RESET_STREAMS: usize = 10_000;

/// Serves a connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, tcp: TcpStream) {
    let number = shared.next_connection();
    count(&shared.counters.connections);
    let _live = Live::new(shared.counters.clone(), |counters| {
        &counters.live_connections
    });
    let (connection, mut received) = Connection::new(number);
    let connection = Arc::new(connection);
    shared.remember(&connection);
    // Without it the connection works, only slower.
    let _ = tcp.set_nodelay(true);
    tokio::select! {
        () = speak(&shared, &connection, tcp, &mut received) => {}
        () = shared.stopped() => {}
    }
    shared.forget(number);
}

async fn speak(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    tcp: TcpStream,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) {
    let fault = shared
        .settings
        .connection_faults
        .iter()
        .find(|fault| covers(fault.connections, connection.number));
    match fault.map(|fault| fault.action) {
        Some(ConnectionAction::NeverTls) => {
            count(&shared.counters.faults);
            return closed_by(&tcp, commands).await;
        }
        Some(ConnectionAction::ResetTcp) => {
            count(&shared.counters.faults);
            let _ = tcp.set_zero_linger();
            return;
        }
        Some(ConnectionAction::SlowTls { seconds }) => {
            count(&shared.counters.faults);
            tokio::select! {
                () = sleep(duration(seconds)) => {}
                _ = commands.recv() => return,
            }
        }
        Some(ConnectionAction::NeverHttp2) | None => {}
    }
    let acceptor = TlsAcceptor::from(shared.tls.clone());
    let handshake = async {
        // A client that leaves without a byte only asked whether the port is open.
        if tcp.peek(&mut [0]).await? == 0 {
            return Ok(None);
        }
        acceptor.accept(tcp).await.map(Some)
    };
    let tls = tokio::select! {
        tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => tls,
        _ = commands.recv() => return,
    };
    let tls = match tls {
        Ok(Ok(Some(tls))) => tls,
        Ok(Ok(None)) => return,
        Ok(Err(_)) | Err(_) => {
            count(&shared.counters.tls_failures);
            return;
        }
    };
    if fault.is_some_and(|fault| fault.action == ConnectionAction::NeverHttp2) {
        count(&shared.counters.faults);
        return closed_by(tls.get_ref().0, commands).await;
    }
    let orders = Arc::new(Orders::default());
    let handshake = server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(shared.settings.max_concurrent_streams)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(None)
        .handshake(Tap::new(tls, orders.clone()));
    let http2 = tokio::select! {
        http2 = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => http2,
        command = commands.recv() => {
            if let Some(Command::Close { rst: true }) = command {
                orders.reset_on_close();
            }
            return;
        }
    };
    if let Ok(Ok(http2)) = http2 {
        streams(shared, connection, http2, &orders, commands).await;
    }
}

/// Serves the streams of a connection.
async fn streams(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    mut http2: server::Connection<Tap, bytes::Bytes>,
    orders: &Orders,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) {
    let mut pings = http2.ping_pong();
    // Dropped with the connection: no stream outlives it.
    let mut legs = JoinSet::new();
    let mut leaving = false;
    loop {
        if leaving && legs.is_empty() {
            // The client knows which streams are served. A second `GOAWAY`, from h2, would name
            // more of them, which is an error to the client.
            let closed = std::future::poll_fn(|cx| http2.poll_closed(cx));
            let _ = tokio::time::timeout(FAREWELL, closed).await;
            break;
        }
        tokio::select! {
            accepted = http2.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    count(&shared.counters.opens);
                    legs.spawn(leg::serve(shared.clone(), connection.clone(), request, respond));
                }
                Some(Err(_)) | None => break,
            },
            Some(_) = legs.join_next() => {}
            command = commands.recv() => match command {
                Some(Command::Close { rst }) => {
                    if rst {
                        orders.reset_on_close();
                    }
                    break;
                }
                Some(Command::GoAway { last_stream, code, linger }) => {
                    orders.go_away(last_stream, code);
                    // Ours goes out in front of the next frame that h2 writes: make it write one.
                    if let Some(pings) = &mut pings {
                        let _ = pings.send_ping(h2::Ping::opaque());
                    }
                    if linger {
                        leaving = true;
                    } else {
                        let _ = tokio::time::timeout(FAREWELL, std::future::poll_fn(|cx| http2.poll_closed(cx))).await;
                        break;
                    }
                }
                None => break,
            },
        }
    }
    drop(http2);
    // The legs see that the connection is gone and write their records.
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(1), legs.join_next()).await {}
}

/// Discards input and writes nothing until the client goes away.
async fn closed_by(tcp: &TcpStream, commands: &mut mpsc::UnboundedReceiver<Command>) {
    let silence = async {
        let mut waste = [0; 4096];
        while tcp.readable().await.is_ok() {
            match tcp.try_read(&mut waste) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    tokio::select! {
        () = silence => {}
        _ = commands.recv() => {}
    }
}
