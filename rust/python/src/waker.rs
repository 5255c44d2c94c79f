//! `Waker`: how native objects wake one event loop, and how the loop passes its sends to the engine.

use std::os::fd::RawFd;
use std::sync::Arc;

use dgsm_net::session::SharedSession;
use dgsm_net::wake::Wake;
use dgsm_net::wake::descriptor::Descriptor;
use dgsm_net::wake::mailbox::TokenWake;
use dgsm_net::wake::{mailbox, outbox};
use pyo3::prelude::*;

/// The mailbox of a loop that watches a descriptor.
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
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self {
            mailbox: Mailbox::new(Descriptor::new()?),
            outbox: Arc::default(),
        })
    }

    /// Returns the descriptor to watch for reading.
    fn fileno(&self) -> RawFd {
        self.mailbox.signal().fileno()
    }

    /// Takes every token, oldest first. For when the descriptor is readable.
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
