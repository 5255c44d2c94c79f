//! A connection, as its streams see it: they can close it or send its `GOAWAY`.

use tokio::sync::mpsc;

/// What a stream may ask of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Close now: with a TCP RST, or with FIN and without a TLS `close_notify`.
    Close { rst: bool },
    /// Send `GOAWAY`.
    GoAway {
        last_stream: u32,
        code: u32,
        /// Stay until the streams have ended.
        linger: bool,
    },
}

/// The streams' end of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    /// From 1.
    pub(crate) number: u64,
    commands: mpsc::UnboundedSender<Command>,
}

impl Connection {
    /// Returns the handle, and the queue that the connection's task reads.
    pub(crate) fn new(number: u64) -> (Self, mpsc::UnboundedReceiver<Command>) {
        let (commands, queue) = mpsc::unbounded_channel();
        (Self { number, commands }, queue)
    }

    /// Queues a command. A closed connection ignores it.
    pub(crate) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}
