//! Counters and records of a server, readable while it runs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Defines the counters and their names in one place.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters over the server's life.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }

        impl Counters {
            /// Returns every counter by name.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// TCP connections accepted.
    connections,
    /// Of these, now open.
    live_connections,
    /// TLS handshakes that failed.
    tls_failures,
    /// Requests received.
    opens,
    /// Of these, answered with 200.
    accepted,
    /// Of these, answered with an error.
    refused,
    /// Accepted streams, now open.
    live_streams,
    /// The most of them at once.
    most_live_streams,
    /// Requests whose signature, key or token was not accepted.
    request_signature_failures,
    /// Events whose signature was not the chain's next one.
    signature_failures,
    /// Events with a wrong CRC.
    crc_failures,
    /// Events that could not be read for another reason.
    malformed_events,
    /// Inputs that ended without the signed empty event.
    bad_ends,
    /// Watermarked chunks that ended with a piece missing.
    torn_chunks,
    /// Messages from clients.
    messages_in,
    /// Their bytes.
    bytes_in,
    /// Messages to clients.
    messages_out,
    /// Their bytes.
    bytes_out,
    /// Faults that struck.
    faults,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Counts as live as long as it exists.
#[derive(Debug)]
pub(crate) struct Live<F: Fn(&Counters) -> &AtomicU64> {
    counters: Arc<Counters>,
    field: F,
}

impl<F: Fn(&Counters) -> &AtomicU64> Live<F> {
    pub(crate) fn new(counters: Arc<Counters>, field: F) -> Self {
        count(field(&counters));
        Self { counters, field }
    }
}

impl<F: Fn(&Counters) -> &AtomicU64> Drop for Live<F> {
    fn drop(&mut self) {
        (self.field)(&self.counters).fetch_sub(1, Relaxed);
    }
}

/// How the client's input ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputEnd {
    /// It has not ended.
    #[default]
    Open,
    /// With the signed empty event.
    Signed,
    /// With the end of the HTTP/2 stream alone.
    Unsigned,
    /// The client reset the stream.
    Reset,
    /// The connection went away.
    Gone,
    /// The server stopped reading first.
    Unread,
}

impl InputEnd {
    /// Returns its name in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Signed => "signed",
            Self::Unsigned => "unsigned",
            Self::Reset => "reset",
            Self::Gone => "gone",
            Self::Unread => "unread",
        }
    }
}

/// How a leg ended, from the server's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LegEnd {
    /// It has not ended.
    #[default]
    Open,
    /// The request was answered with an error.
    Refused,
    /// The model ended the conversation.
    Model,
    /// The model failed.
    ModelFailed,
    /// A fault ended it.
    Fault,
    /// The stream reached its maximum age.
    Age,
    /// The client's input broke the protocol.
    BadInput,
    /// The client reset the stream.
    ClientReset,
    /// The connection went away.
    Gone,
    /// The server stopped.
    Shutdown,
}

impl LegEnd {
    /// Returns its name in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Model => "model",
            Self::ModelFailed => "model_failed",
            Self::Fault => "fault",
            Self::Age => "age",
            Self::BadInput => "bad_input",
            Self::ClientReset => "client_reset",
            Self::Gone => "gone",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The facts of one leg. Times are since the server's start.
#[derive(Clone, Debug, Default)]
pub struct LegFacts {
    /// From 1, in the order of the signed requests.
    pub number: u64,
    /// The connection's number, from 1.
    pub connection: u64,
    /// When the request arrived.
    pub opened: Duration,
    /// When the response ended.
    pub closed: Option<Duration>,
    /// The status of the answer; 0: none so far.
    pub status: u16,
    /// The invocation's path.
    pub path: String,
    /// The invocation's query, as it came.
    pub query: String,
    /// The access key that signed the request.
    pub access_key_id: String,
    /// Headers of the request that describe the client; nothing secret.
    pub headers: Vec<(String, String)>,
    /// Messages from the client.
    pub messages_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Messages to the client.
    pub messages_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Seconds of audio heard.
    pub audio_seconds: f64,
    /// Types of the text messages heard, in their order.
    pub controls: Vec<String>,
    /// Watermarked chunks heard to their end.
    pub chunks: u64,
    /// Each of these chunks with its arrival, if the settings ask for it.
    pub arrivals: Vec<(u32, Duration)>,
    /// How the client's input ended.
    pub input_end: InputEnd,
    /// How the leg ended.
    pub end: LegEnd,
    /// Names of the faults that struck.
    pub faults: Vec<&'static str>,
    /// The container's words when it refused the stream; empty: it did not refuse.
    pub refusal: String,
}

impl LegFacts {
    /// Notes how the leg ended. Only the first call counts.
    pub(crate) fn end(&mut self, end: LegEnd, epoch: Epoch) {
        if self.end == LegEnd::Open {
            self.end = end;
            self.closed = Some(epoch.elapsed());
        }
    }
}

/// The facts of one leg, shared with their readers.
#[derive(Debug, Default)]
pub struct LegRecord(Mutex<LegFacts>);

impl LegRecord {
    pub(crate) fn new(facts: LegFacts) -> Self {
        Self(Mutex::new(facts))
    }

    /// Returns the facts, locked.
    pub fn facts(&self) -> MutexGuard<'_, LegFacts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's start, on its own clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(Instant);

impl Epoch {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
