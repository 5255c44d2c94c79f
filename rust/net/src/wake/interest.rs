//! What an application waits for, and what has happened since it asked last.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use atomic_waker::AtomicWaker;

use super::Wake;

/// A message, or the end of them.
pub const READABLE: u8 = 1;
/// Room for another frame.
pub const WRITABLE: u8 = 2;
/// Another step for the driver: a leg ended, one is wanted, or the session is over.
pub const DRIVER: u8 = 4;

/// The application's side of a session: woken only for what it waits for, and once until it asks.
///
/// No wake-up is lost because `arm` is called under the lock under which the state changes, after a
/// look that found nothing, and `notify` after the change.
pub(crate) struct Waiter {
    /// What the application waits for.
    armed: AtomicU8,
    /// What has happened since it asked last.
    happened: AtomicU8,
    wake: Arc<dyn Wake>,
    /// The task that reads and writes in the application's place, where one does.
    carrier: Option<AtomicWaker>,
}

impl Waiter {
    /// Creates the waiter of an application that waits for nothing but the driver's steps.
    pub(crate) fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            armed: AtomicU8::new(0),
            happened: AtomicU8::new(0),
            wake,
            carrier: None,
        }
    }

    /// Creates the waiter of a driver that does not read or write itself: a task does, which says
    /// so by `listen`.
    pub(crate) fn carried(wake: Arc<dyn Wake>) -> Self {
        Self {
            carrier: Some(AtomicWaker::new()),
            ..Self::new(wake)
        }
    }

    /// Returns whether a task reads and writes.
    pub(crate) fn is_carried(&self) -> bool {
        self.carrier.is_some()
    }

    /// Has a task woken for what is armed besides the driver's steps. It listens before it looks.
    pub(crate) fn listen(&self, waker: &Waker) {
        if let Some(carrier) = &self.carrier {
            carrier.register(waker);
        }
    }

    /// Wakes the task that reads and writes.
    pub(crate) fn call_carrier(&self) {
        if let Some(carrier) = &self.carrier {
            carrier.wake();
        }
    }

    /// Notes what the application waits for, until it happens.
    pub(crate) fn arm(&self, interests: u8) {
        self.armed.fetch_or(interests, Ordering::AcqRel);
    }

    /// Wakes the application if it waits for any of this, and has not been woken since it asked.
    pub(crate) fn notify(&self, news: u8) {
        // The driver always waits. A reader or writer says so each time.
        let wanted = self.armed.fetch_and(!news, Ordering::AcqRel) | DRIVER;
        let mut news = news & wanted;
        if let Some(carrier) = &self.carrier {
            if news & !DRIVER != 0 {
                carrier.wake();
            }
            news &= DRIVER;
        }
        if news != 0 && self.happened.fetch_or(news, Ordering::AcqRel) == 0 {
            self.wake.wake();
        }
    }

    /// Takes what has happened since the last call.
    pub(crate) fn take_happened(&self) -> u8 {
        self.happened.swap(0, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waiter() -> (Waiter, Arc<Counted>) {
        let counted = Arc::new(Counted::default());
        (Waiter::new(counted.clone()), counted)
    }

    fn woken(counted: &Counted) -> usize {
        counted.0.load(Ordering::SeqCst)
    }

    #[test]
    fn what_is_not_waited_for_wakes_nothing() {
        let (waiter, counted) = waiter();
        waiter.notify(READABLE | WRITABLE);
        assert_eq!((woken(&counted), waiter.take_happened()), (0, 0));
        waiter.arm(WRITABLE);
        waiter.notify(READABLE);
        assert_eq!((woken(&counted), waiter.take_happened()), (0, 0));
        waiter.notify(0);
        assert_eq!(woken(&counted), 0);
    }

    #[test]
    fn the_driver_always_waits() {
        let (waiter, counted) = waiter();
        for times in 1..=3 {
            waiter.notify(DRIVER);
            assert_eq!((woken(&counted), waiter.take_happened()), (times, DRIVER));
        }
    }

    #[test]
    fn a_burst_wakes_once_until_the_application_asks() {
        let (waiter, counted) = waiter();
        waiter.arm(READABLE | WRITABLE);
        waiter.notify(READABLE);
        waiter.notify(WRITABLE);
        waiter.notify(DRIVER);
        assert_eq!(woken(&counted), 1);
        assert_eq!(waiter.take_happened(), READABLE | WRITABLE | DRIVER);
        assert_eq!(waiter.take_happened(), 0);
    }

    #[test]
    fn what_has_happened_is_waited_for_no_more() {
        let (waiter, counted) = waiter();
        waiter.arm(READABLE | WRITABLE);
        waiter.notify(READABLE);
        waiter.take_happened();
        waiter.notify(READABLE);
        assert_eq!(woken(&counted), 1);
        waiter.notify(WRITABLE);
        assert_eq!((woken(&counted), waiter.take_happened()), (2, WRITABLE));
    }

    #[test]
    fn a_carrier_is_woken_in_the_applications_place() {
        #[derive(Default)]
        struct Task(AtomicUsize);
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let counted = Arc::new(Counted::default());
        let waiter = Waiter::carried(counted.clone());
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let runs = || task.0.load(Ordering::SeqCst);

        waiter.listen(&waker);
        waiter.arm(READABLE);
        waiter.notify(WRITABLE);
        assert_eq!(
            (runs(), woken(&counted)),
            (0, 0),
            "it does not wait for that"
        );
        waiter.notify(READABLE | DRIVER);
        assert_eq!((runs(), woken(&counted)), (1, 1));
        assert_eq!(waiter.take_happened(), DRIVER);
        waiter.listen(&waker);
        waiter.notify(READABLE);
        assert_eq!(runs(), 1, "it has not armed again");
        waiter.call_carrier();
        assert_eq!((runs(), woken(&counted)), (2, 1));
    }

    #[test]
    fn a_reader_misses_no_message_of_another_thread() {
        let (waiter, counted) = waiter();
        let messages = Mutex::new(VecDeque::new());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..10_000 {
                    messages.lock().unwrap().push_back(number);
                    waiter.notify(READABLE);
                }
            });
            let mut seen = 0;
            for expected in 0..10_000 {
                loop {
                    let mut messages = messages.lock().unwrap();
                    if let Some(number) = messages.pop_front() {
                        assert_eq!(number, expected);
                        break;
                    }
                    waiter.arm(READABLE);
                    drop(messages);
                    // It sleeps until it is woken.
                    while woken(&counted) == seen {
                        std::thread::yield_now();
                    }
                    seen = woken(&counted);
                    assert_eq!(waiter.take_happened(), READABLE);
                }
            }
        });
    }
}
