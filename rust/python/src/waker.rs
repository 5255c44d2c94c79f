//! Wake-ups from the engine's threads into an asyncio event loop.
//!
//! A thread of ours never takes the GIL and never calls into asyncio: it posts a token to the
//! loop's mailbox and rings a file descriptor that the loop watches with `add_reader`. One ring
//! covers everything posted until the loop drains, so a burst costs one wake-up.
//!
//! To wake a loop costs more than most of what it is woken for. One that sends all the time, as with
//! many live streams, comes by by itself every moment: it takes what was posted when it flushes what
//! it has sent, and is rung only if it stays away.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::outbox::Outbox;

/// A loop that comes by by itself so soon after the last time is expected to do so again.
const SOON: Duration = Duration::from_millis(5);

/// What a thread needs to post tokens; shared by everything that belongs to one event loop.
#[derive(Debug)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct State {
    tokens: Vec<u64>,
    summons: Summons,
    /// When the loop came by last without having been rung for.
    came_by: Option<Instant>,
    /// That was soon after the time before.
    comes_often: bool,
}

/// How the loop is to learn of a token. There is a way while there are tokens.
///
/// ```text
///           post: the loop is expected
///   None ──────────────────────────────▶ Watched
///    ▲ │                                  │   │ the watch ends:
///    │ │ post: it is not                  │   │ tokens are left
///    │ └──────────────▶ Rung ◀────────────│───┘
///    │ drain             │                │
///    └───────────────────┴────────────────┘ the watch ends: none is left
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Summons {
    #[default]
    None,
    /// The bell has been rung, and not been silenced.
    Rung,
    /// Somebody waits for the loop to come by, and rings if it does not.
    Watched,
}

impl Mailbox {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            bell: Bell::new()?,
        })
    }

    /// Posts a token, and rings, unless a ring is already on its way or the loop is expected.
    pub(crate) fn post(self: &Arc<Self>, token: u64) {
        let mut state = self.lock();
        state.tokens.push(token);
        match state.summons {
            Summons::Rung | Summons::Watched => {}
            Summons::None => match (state.expected(), Handle::try_current()) {
                // On the posting thread's runtime: the watch ends with whoever posts.
                (Some(until), Ok(runtime)) => {
                    state.summons = Summons::Watched;
                    drop(state);
                    runtime.spawn(Watch(Arc::clone(self)).keep(until));
                }
                _ => self.ring(&mut state),
            },
        }
    }

    /// Takes every token, of a loop that was rung for. The bell is silenced first: a token posted
    /// after that rings again.
    fn drain(&self) -> Vec<u64> {
        self.bell.silence();
        let mut state = self.lock();
        if state.summons == Summons::Rung {
            state.summons = Summons::None;
        }
        std::mem::take(&mut state.tokens)
    }

    /// Takes every token, of a loop that comes by by itself.
    fn come_by(&self) -> Vec<u64> {
        let mut state = self.lock();
        let now = Instant::now();
        let last = state.came_by.replace(now);
        state.comes_often = last.is_some_and(|last| now - last <= SOON);
        std::mem::take(&mut state.tokens)
    }

    fn ring(&self, state: &mut State) {
        state.summons = Summons::Rung;
        self.bell.ring();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Until when the loop is expected to come by; `None`: it is not.
    fn expected(&self) -> Option<Instant> {
        let until = self.came_by? + SOON;
        (self.comes_often && Instant::now() < until).then_some(until)
    }
}

/// The watch for a loop that is expected. When it ends, in whatever way, it rings for what is left.
struct Watch(Arc<Mailbox>);

impl Watch {
    async fn keep(self, mut until: Instant) {
        loop {
            sleep_until(until).await;
            let state = self.0.lock();
            match state.expected() {
                Some(next) if !state.tokens.is_empty() => until = next,
                _ => return,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.tokens.is_empty() {
            state.summons = Summons::None;
        } else {
            self.0.ring(&mut state);
        }
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
        Ok(Self {
            mailbox: Arc::new(Mailbox::new()?),
            outbox: Arc::default(),
        })
    }

    /// The descriptor to watch for reading.
    fn fileno(&self) -> RawFd {
        self.mailbox.bell.fileno()
    }

    /// Every token not yet taken, oldest first: the descriptor is readable.
    fn drain(&self) -> Vec<u64> {
        self.mailbox.drain()
    }

    /// Tells the engine of everything that was sent on this loop and held back. Every token not yet
    /// taken, oldest first: a loop that flushes every few milliseconds is not rung for them.
    fn flush(&self) -> Vec<u64> {
        self.outbox.flush();
        self.mailbox.come_by()
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
