//! What Python has yet to take: requests to decide on, and what has ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dgsm_net::wake::Wake;

use crate::request::Request;

/// The most refusals that wait to be taken. More are counted and not told: a flood of them must not
/// fill the memory.
const MOST_REFUSED: usize = 4096;

/// Something to take.
#[derive(Debug)]
pub enum News {
    /// A request to decide on.
    Request(Arc<Request>),
    /// A request that was refused without Python.
    Refused(Refused),
    /// A conversation has ended: once for each request for one.
    Ended(Ended),
    /// The gateway has stopped: every connection is closed.
    Stopped,
}

/// A request that was refused without Python.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The request's id.
    pub id: String,
    /// Its path, as it came.
    pub path: String,
    /// The product's path; `None` for anything else.
    pub route: Option<&'static str>,
    /// The name of its key; `None`: it has none that is known, or was refused before that mattered.
    pub key: Option<Arc<str>>,
    /// The client's address.
    pub peer: String,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// Deepgram's name for it.
    pub code: String,
}

/// Who ended a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The client, with a close frame.
    Client,
    /// This side, with a close frame.
    Gateway,
    /// The connection broke, or the client no longer answered.
    Lost,
    /// It was refused.
    Refused,
}

impl By {
    /// Returns its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Lost => "lost",
            Self::Refused => "refused",
        }
    }
}

/// The end of a conversation.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The request's id.
    pub id: String,
    /// The close code, or the status of the refusal. `None`: there was neither.
    pub code: Option<u16>,
    /// Who ended it.
    pub by: By,
    /// Messages from the client.
    pub messages_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Messages to the client.
    pub messages_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Seconds since the request.
    pub seconds: f64,
}

/// What waits to be taken, and who is woken for it.
pub(crate) struct Desk {
    news: Mutex<Vec<News>>,
    wake: Arc<dyn Wake>,
}

impl Desk {
    pub(crate) fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            news: Mutex::default(),
            wake,
        }
    }

    /// Leaves something to be taken. Returns whether there was room for it.
    pub(crate) fn tell(&self, news: News) -> bool {
        let mut all = self.lock();
        if matches!(news, News::Refused(_)) && all.len() >= MOST_REFUSED {
            return false;
        }
        let first = all.is_empty();
        all.push(news);
        drop(all);
        if first {
            self.wake.wake();
        }
        true
    }

    /// Takes everything, oldest first.
    pub(crate) fn take(&self) -> Vec<News> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn refused() -> News {
        News::Refused(Refused {
            id: String::new(),
            path: String::new(),
            route: None,
            key: None,
            peer: String::new(),
            user_agent: None,
            status: 401,
            code: String::new(),
        })
    }

    #[test]
    fn one_wake_up_serves_all_that_waits() {
        let counted = Arc::new(Counted::default());
        let desk = Desk::new(counted.clone());
        for times in 1..=2 {
            desk.tell(refused());
            desk.tell(News::Stopped);
            assert_eq!(counted.0.load(Ordering::SeqCst), times);
            assert_eq!(desk.take().len(), 2);
        }
        assert!(desk.take().is_empty());
    }

    #[test]
    fn a_flood_of_refusals_is_bounded_and_ends_are_told_all_the_same() {
        let desk = Desk::new(Arc::new(Counted::default()));
        let told = (0..2 * MOST_REFUSED)
            .filter(|_| desk.tell(refused()))
            .count();
        assert_eq!(told, MOST_REFUSED);
        assert!(desk.tell(News::Stopped));
        assert_eq!(desk.take().len(), MOST_REFUSED + 1);
    }
}
