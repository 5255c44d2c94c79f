//! Handshakes under way at a host, across all pools of the process.
//!
//! A service's front drops connections that come in a storm, and it cannot tell whether one pool
//! makes the storm or one pool for each stream. So the limit belongs to the host: its name and
//! port, whatever proxy leads there.
//!
//! A host's gate exists while an opening waits at it or holds a pass. Its width is what the first
//! opening asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::dial::Target;

/// How long a pass may stay unused. Between admission and dial the request is signed on the
/// application's event loop. A blocked loop must not keep all others from the host.
const UNUSED: Duration = Duration::from_secs(1);

static GATES: Mutex<Gates> = Mutex::new(Gates {
    process: 0,
    of: BTreeMap::new(),
});

/// The gates of one process: a forked child has its parent's memory, but not its handshakes.
#[derive(Debug)]
struct Gates {
    process: u32,
    of: BTreeMap<(String, u16), Weak<Semaphore>>,
}

impl Gates {
    fn gate(&mut self, process: u32, target: &Target, width: usize) -> Arc<Semaphore> {
        if self.process != process {
            self.process = process;
            self.of.clear();
        }
        let host = target.host.trim_end_matches('.').to_ascii_lowercase();
        let key = (host, target.port);
        if let Some(gate) = self.of.get(&key).and_then(Weak::upgrade) {
            return gate;
        }
        self.of.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Semaphore::new(width.min(Semaphore::MAX_PERMITS)));
        self.of.insert(key, Arc::downgrade(&gate));
        gate
    }
}

/// Returns the gate of a target's host, `width` wide if it is new. It is first come, first served.
pub(crate) fn gate(target: &Target, width: usize) -> Arc<Semaphore> {
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    gates.gate(std::process::id(), target, width)
}

/// The right to shake hands with a host, soon: it lapses when it is not used.
#[derive(Debug)]
pub(crate) struct Pass {
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    lapse: AbortHandle,
}

impl Pass {
    /// Begins the time in which it can be used. Must be called on a runtime.
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self::lasting(permit, UNUSED)
    }

    fn lasting(permit: OwnedSemaphorePermit, unused: Duration) -> Self {
        let permit = Arc::new(Mutex::new(Some(permit)));
        let held = Arc::downgrade(&permit);
        let lapse = tokio::spawn(async move {
            sleep(unused).await;
            if let Some(permit) = held.upgrade() {
                drop(take(&permit));
            }
        });
        Self {
            permit,
            lapse: lapse.abort_handle(),
        }
    }

    /// Returns the permit; `None` if the pass has lapsed.
    pub(crate) fn claim(self) -> Option<OwnedSemaphorePermit> {
        take(&self.permit)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.lapse.abort();
    }
}

fn take(permit: &Mutex<Option<OwnedSemaphorePermit>>) -> Option<OwnedSemaphorePermit> {
    permit.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Ping;
    use crate::tls::client_config;
    use crate::tunnel::Proxy;

    fn target(host: &str, port: u16) -> Target {
        Target {
            host: host.into(),
            port,
            proxy: None,
            bundle: None,
            tls: client_config(None).unwrap(),
            ping: Ping {
                after: Duration::MAX,
                within: Duration::MAX,
            },
        }
    }

    fn gates() -> Gates {
        Gates {
            process: 1,
            of: BTreeMap::new(),
        }
    }

    #[test]
    fn a_host_has_one_gate_while_it_is_used() {
        let mut gates = gates();
        let host = target("runtime.example", 8443);
        let gate = gates.gate(1, &host, 3);
        let proxied = Target {
            proxy: Some(Proxy {
                host: "proxy".into(),
                port: 3128,
                tls: false,
                authorization: None,
            }),
            ..target("Runtime.Example.", 8443)
        };
        assert!(Arc::ptr_eq(&gate, &gates.gate(1, &proxied, 5)));
        assert_eq!(gate.available_permits(), 3);
        let others = [
            target("runtime.example", 443),
            target("other.example", 8443),
        ];
        for other in &others {
            assert!(!Arc::ptr_eq(&gate, &gates.gate(1, other, 3)));
        }
        drop(gate);
        assert_eq!(gates.gate(1, &host, 5).available_permits(), 5);
        assert_eq!(gates.of.len(), 1, "gates of unused hosts are forgotten");
    }

    #[test]
    fn a_forked_child_has_gates_of_its_own() {
        let mut gates = gates();
        let host = target("runtime.example", 8443);
        let parents = gates.gate(1, &host, 1);
        let _under_way = Arc::clone(&parents).try_acquire_owned().unwrap();
        assert_eq!(gates.gate(2, &host, 1).available_permits(), 1);
    }

    #[tokio::test]
    async fn a_pass_lapses() {
        let gate = Arc::new(Semaphore::new(1));
        let permit = || Arc::clone(&gate).try_acquire_owned().unwrap();
        assert!(Pass::new(permit()).claim().is_some());
        drop(Pass::new(permit()));
        let idle = Pass::lasting(permit(), Duration::from_millis(1));
        // It waits for no clock: the permit comes back when the pass lapses.
        let _given_back = gate.acquire().await.unwrap();
        assert!(idle.claim().is_none());
    }
}
