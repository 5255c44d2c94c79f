//! How far a dial has come.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use dgsm_leg::reason::Reason;

use crate::failure::{Failure, FailureKind};

/// How far a dial has come: a dial that takes too long says where.
#[derive(Debug, Default)]
pub struct Stage(AtomicU8);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Tcp,
    ProxyTcp,
    ProxyTls,
    Connect,
    Tls,
}

impl Stage {
    pub(crate) fn at(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    /// Returns the failure of a dial that did not end within `limit`.
    #[must_use]
    pub fn too_late(&self, host: &str, port: u16, limit: Duration) -> Failure {
        let at = self.0.load(Ordering::Relaxed);
        let is = |step: Step| at == step as u8;
        let (reason, what) = if is(Step::ProxyTcp) {
            (
                Reason::ProxyTimeout,
                "no connection to the proxy".to_owned(),
            )
        } else if is(Step::ProxyTls) {
            let what = "the proxy does not take part in a TLS handshake, which https:// in its \
                        URL asks for";
            (Reason::ProxyTimeout, what.to_owned())
        } else if is(Step::Connect) {
            let what = format!("the proxy did not answer CONNECT {host}:{port}");
            (Reason::ProxyTimeout, what)
        } else if is(Step::Tls) {
            let what = format!("TCP to {host}:{port} came up, TLS did not");
            (Reason::ConnectTimeout, what)
        } else {
            (
                Reason::ConnectTimeout,
                format!("no connection to {host}:{port}"),
            )
        };
        let detail = format!("{what} within connection_timeout ({limit:?})");
        Failure::new(FailureKind::ConnectTimeout, detail).because(reason)
    }
}
