//! Times that settings make, and a timer that is seldom armed.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What stands for "never" where a setting is too large for the clock.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// `from` and so much later, however large the setting.
pub(crate) fn later(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or_else(|| from + FAR)
}

/// A timer for a deadline that moves away with every chunk: it is armed again only when it has to
/// ring sooner than it was going to, or has rung.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Returns at `due` at the latest, maybe sooner: the caller looks again. Never without a time.
    pub(crate) async fn wait(&mut self, due: Option<Instant>) {
        let Some(due) = due else {
            return std::future::pending().await;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(due);
        }
        timer.as_mut().await;
    }
}
