//! Wake-ups from the engine's threads into an asyncio event loop.
//!
//! A thread of ours never takes the GIL and never calls into asyncio: it posts a token to the
//! loop's mailbox and rings a file descriptor that the loop watches with `add_reader`. One ring
//! covers everything posted until the loop drains, so a burst costs one wake-up.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::outbox::Outbox;

/// What a thread needs to post tokens; shared by everything that belongs to one event loop.
#[derive(Debug)]
pub(crate) struct Mailbox {
    tokens: Mutex<Vec<u64>>,
    bell: Bell,
}

impl Mailbox {
    /// Posts a token, and rings if the mailbox was empty: otherwise a ring is already on its way.
    pub(crate) fn post(&self, token: u64) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let first = tokens.is_empty();
        tokens.push(token);
        drop(tokens);
        if first {
            self.bell.ring();
        }
    }

    /// Takes every token. The bell is silenced first: a token posted after that rings again.
    fn drain(&self) -> Vec<u64> {
        self.bell.silence();
        std::mem::take(&mut *self.tokens.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The mailbox of one event loop.
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
}

#[pymethods]
impl Waker {
    #[new]
    fn new() -> PyResult<Self> {
        let mailbox = Mailbox {
            tokens: Mutex::default(),
            bell: Bell::new()?,
        };
        Ok(Self {
            mailbox: Arc::new(mailbox),
            outbox: Arc::default(),
        })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> RawFd {
        self.mailbox.bell.fileno()
    }

    /// Every token posted since the last call, oldest first.
    fn drain(&self) -> Vec<u64> {
        self.mailbox.drain()
    }

    /// Tells the engine of everything that was sent on this loop and held back.
    fn flush(&self) {
        self.outbox.flush();
    }
}

/// An eventfd: a third of a pipe's cost.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Bell(std::fs::File);

#[cfg(target_os = "linux")]
impl Bell {
    fn new() -> std::io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(std::fs::File::from(fd)))
    }

    fn ring(&self) {
        use std::io::Write as _;
        // It fails only when 2^64 - 2 rings are pending, and then the loop is awake anyway.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    fn silence(&self) {
        use std::io::Read as _;
        // Nothing to read means that nobody rang: also fine.
        let _ = (&self.0).read(&mut [0; 8]);
    }

    fn fileno(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A socket pair where there is no eventfd.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Bell {
    ringer: std::os::unix::net::UnixStream,
    listener: std::os::unix::net::UnixStream,
}

#[cfg(not(target_os = "linux"))]
impl Bell {
    fn new() -> std::io::Result<Self> {
        let (ringer, listener) = std::os::unix::net::UnixStream::pair()?;
        ringer.set_nonblocking(true)?;
        listener.set_nonblocking(true)?;
        Ok(Self { ringer, listener })
    }

    fn ring(&self) {
        use std::io::Write as _;
        // A full buffer means that rings are pending already.
        let _ = (&self.ringer).write(&[1]);
    }

    fn silence(&self) {
        use std::io::Read as _;
        while matches!((&self.listener).read(&mut [0; 64]), Ok(64)) {}
    }

    fn fileno(&self) -> RawFd {
        self.listener.as_fd().as_raw_fd()
    }
}
