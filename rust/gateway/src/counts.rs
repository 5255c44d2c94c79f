//! Figures of the whole gateway. Any thread may read them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the gateway has counted since it began.
        #[derive(Debug, Default)]
        pub struct Counts {
            $($(#[$doc])* pub(crate) $name: Count,)*
        }

        impl Counts {
            /// Returns every figure by name.
            #[must_use]
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counts! {
    /// Connections that are open now, of any kind.
    connections,
    /// Connections that were accepted.
    connections_accepted,
    /// Connections that were closed unheard: there were too many.
    connections_dropped,
    /// Connections on which no whole request came in time, or no HTTP.
    connections_unheard,
    /// Requests that were answered in HTTP with success.
    requests_answered,
    /// Requests that were refused, by status.
    refused_400,
    /// A wrong or missing key.
    refused_401,
    /// A page's origin.
    refused_403,
    /// Nothing there.
    refused_404,
    /// Another method.
    refused_405,
    /// A body that is too large.
    refused_413,
    /// No WebSocket.
    refused_426,
    /// Over a limit.
    refused_429,
    /// Not now.
    refused_503,
    /// Any other status.
    refused_others,
    /// Refusals and ends that were not told: nobody took them.
    untold,
    /// Conversations that go on now, those being opened included.
    conversations,
    /// Conversations that were begun.
    conversations_begun,
    /// Messages from clients.
    messages_in,
    /// Their bytes.
    bytes_in,
    /// Messages to clients.
    messages_out,
    /// Their bytes.
    bytes_out,
}

impl Counts {
    /// Counts a refusal.
    pub(crate) fn refuse(&self, status: u16) {
        let count = match status {
            400 => &self.refused_400,
            401 => &self.refused_401,
            403 => &self.refused_403,
            404 => &self.refused_404,
            405 => &self.refused_405,
            413 => &self.refused_413,
            426 => &self.refused_426,
            429 => &self.refused_429,
            503 => &self.refused_503,
            _ => &self.refused_others,
        };
        count.add(1);
    }
}

/// One figure.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    pub(crate) fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// Takes one away. What is added first never goes below zero.
    pub(crate) fn take_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns it.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
