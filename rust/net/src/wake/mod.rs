//! Wake-ups: from the engine's threads to an event loop, and from an event loop to the engine.
//!
//! Both directions cost system calls, so both are saved up. Each has a state machine without a
//! lock, a clock or a thread (`summons`, `batch`), and a shell that has these (`mailbox`,
//! `outbox`).
//!
//! ```text
//! session ─ Waiter::notify (interest) ─▶ Wake ─▶ one token of one session
//! engine's threads ─ post(token) ─▶ mailbox ─ Signal::raise ─▶ event loop ─ drain, flush
//! engine's threads ◀─ Pumped::notify_pumps ── outbox ◀─ note(session), flush ─ event loop
//! ```
//!
//! Imports `engine` alone. Tests: in each module, and every interleaving of the two state machines
//! in `interleavings`.

mod batch;
pub mod descriptor;
pub mod interest;
#[cfg(test)]
mod interleavings;
pub mod mailbox;
pub mod outbox;
mod summons;

/// Wakes the application's thread: something that it waits for may have happened.
pub trait Wake: Send + Sync + 'static {
    /// Wakes it. It is called from the engine's thread or the application's own, and must be cheap
    /// and not block.
    fn wake(&self);
}

/// How an event loop is woken: raised by any thread, cleared by the loop.
pub trait Signal: Send + Sync + 'static {
    /// Wakes the loop, now or as soon as it waits.
    fn raise(&self);

    /// Takes back what was raised, if anything was.
    fn clear(&self);
}
