//! The engine: one thread with one tokio runtime for all sessions of the process.
//!
//! It exists while it is referenced. Dropping the last reference ends the thread: a process without
//! sessions has no thread of ours, and a fork of it inherits nothing.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

static CURRENT: Mutex<Option<Owned>> = Mutex::new(None);

/// An engine and its process: a forked child has the memory, but not the thread.
struct Owned {
    process: u32,
    engine: Weak<Engine>,
}

/// A running engine. Dropping the last reference stops it.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    /// Dropped with the engine, which tells the thread to end.
    _running: oneshot::Sender<()>,
}

impl Engine {
    /// Returns the process's engine, and starts it if there is none.
    ///
    /// # Errors
    /// When the operating system has no thread or descriptor left.
    pub fn shared() -> std::io::Result<Arc<Self>> {
        let process = std::process::id();
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = current
            .as_ref()
            .filter(|owned| owned.process == process)
            .and_then(|owned| owned.engine.upgrade());
        if let Some(engine) = engine {
            return Ok(engine);
        }
        let engine = Arc::new(Self::start()?);
        *current = Some(Owned {
            process,
            engine: Arc::downgrade(&engine),
        });
        Ok(engine)
    }

    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            // tokio looks host names up in threads of their own.
            .thread_name("deepgram-dns")
            .build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("deepgram-engine".into())
            .spawn(move || {
                // Always an error: the other end is dropped, and nothing is sent.
                let _ = runtime.block_on(ended);
                // A host name look-up that hangs must not keep the engine from ending.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            _running: running,
        })
    }

    /// Returns the runtime's handle.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
