//! A request that Python decides on.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use dgsm_net::session::SharedSession;
use tokio::sync::oneshot;

use crate::answer::Refusal;
use crate::close::Ending;
use crate::places::Place;

/// What Python answers.
pub(crate) enum Answer {
    /// A page.
    Page {
        status: u16,
        content_type: String,
        body: Bytes,
    },
    /// No.
    Refuse(Refusal),
    /// A WebSocket, carried over this session.
    Carry(Arc<SharedSession>),
}

/// A request that Python decides on.
pub struct Request {
    /// Its id, which the client is told too.
    pub id: String,
    /// The method.
    pub method: String,
    /// The path, as it came.
    pub path: String,
    /// The query, as it came; empty if there is none.
    pub query: String,
    /// The client's address and port.
    pub peer: String,
    /// The name of its key; `None` where there are no keys, or none is asked for.
    pub key: Option<Arc<str>>,
    /// The product's path; `None` for a page.
    pub route: Option<&'static str>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// The body of a request for a page.
    pub body: Bytes,
    /// Where the answer goes, and the place among those that wait for one.
    answer: Mutex<Option<(oneshot::Sender<Answer>, Place)>>,
    session: OnceLock<Arc<SharedSession>>,
    ending: OnceLock<Ending>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the query: clients may have put anything in it.
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What is known of a request before it is asked about.
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) peer: String,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) route: Option<&'static str>,
    pub(crate) user_agent: Option<String>,
    pub(crate) body: Bytes,
}

impl Request {
    /// Makes a request, and what its answer arrives at.
    pub(crate) fn new(facts: Facts, place: Place) -> (Arc<Self>, oneshot::Receiver<Answer>) {
        let (sender, answer) = oneshot::channel();
        let Facts {
            id,
            method,
            path,
            query,
            peer,
            key,
            route,
            user_agent,
            body,
        } = facts;
        let request = Arc::new(Self {
            id,
            method,
            path,
            query,
            peer,
            key,
            route,
            user_agent,
            body,
            answer: Mutex::new(Some((sender, place))),
            session: OnceLock::new(),
            ending: OnceLock::new(),
        });
        (request, answer)
    }

    /// Answers with a page. Returns whether the client was still there, and had no answer yet.
    pub fn respond(&self, status: u16, content_type: String, body: Bytes) -> bool {
        self.decide(Answer::Page {
            status,
            content_type,
            body,
        })
    }

    /// Refuses. Returns whether the client was still there, and had no answer yet.
    pub fn refuse(&self, refusal: Refusal) -> bool {
        self.decide(Answer::Refuse(refusal))
    }

    /// Makes it a WebSocket that is carried over a session. Returns whether the client was still
    /// there, and had no answer yet.
    pub fn accept(&self, session: Arc<SharedSession>) -> bool {
        // Set first: the session may be over before the client has its answer.
        let session = self.session.get_or_init(|| session);
        self.decide(Answer::Carry(Arc::clone(session)))
    }

    /// Says how the connection is closed, once what is left for the client is sent. Only the first
    /// word counts.
    pub fn end(&self, ending: Ending) {
        let _ = self.ending.set(ending);
        if let Some(session) = self.session.get() {
            session.call_carrier();
        }
    }

    /// Returns how the connection is to be closed.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    fn decide(&self, answer: Answer) -> bool {
        let waiting = self
            .answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        waiting.is_some_and(|(sender, _)| sender.send(answer).is_ok())
    }
}
