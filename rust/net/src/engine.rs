//! The engine: one thread with one tokio runtime for all sessions of the process.
//!
//! It exists while somebody holds it. The last one out ends the thread, so a process without
//! sessions has no thread of ours, and a fork without sessions has nothing to inherit.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

static CURRENT: Mutex<Option<Owned>> = Mutex::new(None);

/// The engine of the process that started it: a forked child has the memory, but not the thread.
struct Owned {
    process: u32,
    engine: Weak<Engine>,
}

/// A running engine. Dropping the last reference stops it.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    /// Dropped with the engine: the thread takes that as the order to end.
    _running: oneshot::Sender<()>,
}

impl Engine {
    /// The process's engine, started if there is none.
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
            // Names are looked up in threads of their own.
            .thread_name("deepgram-dns")
            .build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("deepgram-engine".into())
            .spawn(move || {
                // Only ever an error: the other end is dropped, never sent on.
                let _ = runtime.block_on(ended);
                // A name look-up that hangs in its thread must not keep the engine from ending.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            _running: running,
        })
    }

    /// Where to spawn.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
