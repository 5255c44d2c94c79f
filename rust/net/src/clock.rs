//! Deadlines from settings of any size, and a timer that is seldom armed.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The deadline's distance where a setting is too large for the clock: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Returns `from + by`, or a moment that never comes where the clock cannot hold it.
pub(crate) fn later(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or_else(|| from + FAR)
}

/// A timer for a deadline that moves away with every chunk. It is armed again only where the
/// deadline comes sooner than the timer, or the timer has elapsed.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Returns at `due` or sooner: the caller checks again. Without a time it never returns.
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
