//! `Waker`: how native objects wake one event loop, and how the loop passes its sends to the engine.

use std::sync::Arc;

use dgsm_net::session::SharedSession;
use dgsm_net::wake::Wake;
use dgsm_net::wake::descriptor::{Descriptor, Handle};
use dgsm_net::wake::mailbox::TokenWake;
use dgsm_net::wake::{mailbox, outbox};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The mailbox of a loop, which a descriptor wakes.
pub(crate) type Mailbox = mailbox::Mailbox<Descriptor>;

/// The outbox of a loop's sessions.
pub(crate) type Outbox = outbox::Outbox<SharedSession>;

/// The wake-ups of one event loop.
#[pyclass(module = "deepgram_sagemaker._native", frozen)]
pub(crate) struct Waker {
    mailbox: Arc<Mailbox>,
    outbox: Arc<Outbox>,
}

impl Waker {
    pub(crate) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    pub(crate) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Returns what posts `token` to the loop.
    pub(crate) fn token(&self, token: u64) -> Arc<dyn Wake> {
        TokenWake::new(self.mailbox(), token)
    }
}

#[pymethods]
impl Waker {
    /// Makes the wake-ups of a loop that watches a descriptor for reading (`"watched"`; `"pair"`: a
    /// socket pair on every system), or that reads from a socket itself (`"far"`).
    #[new]
    #[pyo3(signature = (kind = "watched"))]
    fn new(kind: &str) -> PyResult<Self> {
        let descriptor = match kind {
            "watched" => Descriptor::watched()?,
            "pair" => Descriptor::pair()?,
            "far" => Descriptor::far(),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "no such kind of waker: {kind}"
                )));
            }
        };
        Ok(Self {
            mailbox: Mailbox::new(descriptor),
            outbox: Arc::default(),
        })
    }

    /// Returns the descriptor to watch for reading.
    fn fileno(&self) -> PyResult<Handle> {
        self.mailbox
            .signal()
            .handle()
            .ok_or_else(|| PyValueError::new_err("the loop reads from a socket: see connect()"))
    }

    /// Makes a socket for the loop to read from, in place of an earlier one, and returns its
    /// descriptor, which the caller has to close.
    fn connect(&self) -> PyResult<Handle> {
        self.mailbox
            .signal()
            .connect()?
            .ok_or_else(|| PyValueError::new_err("the loop watches a descriptor: see fileno()"))
    }

    /// Ends the connection to the loop's socket. Call it before the socket is closed.
    fn disconnect(&self) {
        self.mailbox.signal().disconnect();
    }

    /// Takes every token, oldest first. For when the descriptor is readable, or the loop has read
    /// from the socket.
    fn drain(&self) -> Vec<u64> {
        self.mailbox.drain()
    }

    /// Passes the sends of this loop that were held back to the engine, and takes every token,
    /// oldest first: a loop that flushes every few milliseconds is not woken for them.
    fn flush(&self) -> Vec<u64> {
        self.outbox.flush();
        self.mailbox.flush()
    }
}
