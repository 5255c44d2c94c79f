//! The mailbox of one event loop: any thread posts a token, the loop takes all of them.
//!
//! A posting thread takes no lock of the loop's and calls nothing of it. One raised signal covers
//! everything posted until the loop drains, so a burst costs one wake-up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::summons::{AfterPost, Posted};
use super::{Signal, Wake};

/// The tokens posted to one event loop.
#[derive(Debug)]
pub struct Mailbox<S> {
    posted: Mutex<Posted>,
    signal: S,
}

impl<S: Signal> Mailbox<S> {
    /// Creates the empty mailbox of a loop that `signal` wakes.
    #[must_use]
    pub fn new(signal: S) -> Arc<Self> {
        Arc::new(Self {
            posted: Mutex::default(),
            signal,
        })
    }

    /// Returns what wakes the loop.
    #[must_use]
    pub fn signal(&self) -> &S {
        &self.signal
    }

    /// Posts a token, and raises the signal unless the loop learns of the token anyway.
    pub fn post(self: &Arc<Self>, token: u64) {
        let mut posted = self.lock();
        match posted.post(token, Instant::now) {
            AfterPost::Nothing => {}
            AfterPost::Raise => self.signal.raise(),
            AfterPost::Watch { until } => {
                drop(posted);
                let watch = Watch(Arc::clone(self));
                // On the posting thread's runtime. Without one the watch ends here, and raises.
                if let Ok(runtime) = Handle::try_current() {
                    runtime.spawn(watch.keep(until));
                }
            }
        }
    }

    /// Takes every token, oldest first, for a loop that was woken. The signal is cleared first: a
    /// token posted later raises it again.
    pub fn drain(&self) -> Vec<u64> {
        self.signal.clear();
        self.lock().drain()
    }

    /// Takes every token, oldest first, for a loop that flushes. A loop that does so every few
    /// milliseconds is not woken.
    pub fn flush(&self) -> Vec<u64> {
        self.lock().flush(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a loop that is expected to flush. However it ends, it raises the signal for the tokens
/// that are left.
struct Watch<S: Signal>(Arc<Mailbox<S>>);

impl<S: Signal> Watch<S> {
    async fn keep(self, mut until: Instant) {
        loop {
            sleep_until(until).await;
            match self.0.lock().watch_again(Instant::now()) {
                Some(next) => until = next,
                None => return,
            }
        }
    }
}

impl<S: Signal> Drop for Watch<S> {
    fn drop(&mut self) {
        let mut posted = self.0.lock();
        if posted.end_watch() {
            self.0.signal.raise();
        }
    }
}

/// Wakes a loop by posting one token to its mailbox.
#[derive(Debug)]
pub struct TokenWake<S> {
    mailbox: Arc<Mailbox<S>>,
    token: u64,
}

impl<S: Signal> TokenWake<S> {
    /// Creates a wake that posts `token` to `mailbox` each time.
    #[must_use]
    pub fn new(mailbox: Arc<Mailbox<S>>, token: u64) -> Arc<Self> {
        Arc::new(Self { mailbox, token })
    }
}

impl<S: Signal> Wake for TokenWake<S> {
    fn wake(&self) {
        self.mailbox.post(self.token);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// Counts how often it was raised and cleared.
    #[derive(Debug, Default)]
    struct Counted {
        raised: AtomicUsize,
        cleared: AtomicUsize,
    }

    impl Signal for Counted {
        fn raise(&self) {
            self.raised.fetch_add(1, Ordering::SeqCst);
        }

        fn clear(&self) {
            self.cleared.fetch_add(1, Ordering::SeqCst);
        }
    }

    type Counting = Mailbox<Counted>;

    fn raised(mailbox: &Counting) -> usize {
        mailbox.signal().raised.load(Ordering::SeqCst)
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// Until a post finds the loop expected: a moment in which this thread does not run may lie
    /// between.
    fn watched(runtime: &Runtime) -> Arc<Counting> {
        loop {
            let mailbox = Counting::new(Counted::default());
            mailbox.flush();
            mailbox.flush();
            runtime.block_on(async { mailbox.post(1) });
            if raised(&mailbox) == 0 {
                return mailbox;
            }
        }
    }

    #[test]
    fn a_burst_raises_once() {
        let mailbox = Counting::new(Counted::default());
        let wake = TokenWake::new(Arc::clone(&mailbox), 7);
        wake.wake();
        mailbox.post(8);
        wake.wake();
        assert_eq!(raised(&mailbox), 1);
        assert_eq!(mailbox.drain(), [7, 8, 7]);
        assert_eq!(mailbox.signal().cleared.load(Ordering::SeqCst), 1);
        mailbox.post(9);
        assert_eq!(raised(&mailbox), 2);
    }

    #[test]
    fn without_a_runtime_there_is_no_watch() {
        let mailbox = Counting::new(Counted::default());
        mailbox.flush();
        mailbox.flush();
        mailbox.post(1);
        assert_eq!(raised(&mailbox), 1);
        assert_eq!(mailbox.drain(), [1]);
    }

    #[test]
    fn a_watch_raises_for_a_loop_that_stays_away() {
        let runtime = runtime();
        let mailbox = watched(&runtime);
        runtime.block_on(async {
            while raised(&mailbox) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(mailbox.drain(), [1]);
    }

    #[test]
    fn a_loop_that_flushes_is_not_woken() {
        let runtime = runtime();
        let mailbox = watched(&runtime);
        assert_eq!(mailbox.flush(), [1]);
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            // On a slow machine it takes longer.
            let mut patience = 5000;
            while Arc::strong_count(&mailbox) > 1 && patience > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                patience -= 1;
            }
        });
        assert_eq!(raised(&mailbox), 0);
        assert_eq!(Arc::strong_count(&mailbox), 1, "the watch is over");
    }

    #[test]
    fn a_watch_whose_runtime_ends_raises() {
        let runtime = runtime();
        let mailbox = watched(&runtime);
        drop(runtime);
        assert_eq!(raised(&mailbox), 1);
        assert_eq!(mailbox.drain(), [1]);
    }

    #[test]
    fn every_token_arrives_once_whatever_threads_post() {
        let mailbox = Counting::new(Counted::default());
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let mailbox = &mailbox;
                scope.spawn(move || (0..1000).for_each(|n| mailbox.post(thread * 1000 + n)));
            }
            let mut seen = 0;
            while taken.len() < 4000 {
                // The loop sleeps until it is woken, as with a descriptor.
                while raised(&mailbox) == seen {
                    std::thread::yield_now();
                }
                seen = raised(&mailbox);
                taken.extend(mailbox.drain());
            }
        });
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..4000));
    }
}
