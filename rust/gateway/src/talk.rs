//! One conversation, from the request to the end: its figures, and that the end is told once.

use std::sync::Arc;

use dgsm_net::session::SharedSession;
use tokio::time::Instant;

use crate::desk::{By, Ended, News};
use crate::door::Pass;
use crate::gate::Gate;
use crate::request::Request;

/// A conversation. However it is dropped, its end is told and its session is over.
pub(crate) struct Talk {
    pub(crate) request: Arc<Request>,
    pub(crate) tally: Tally,
    session: Option<Arc<SharedSession>>,
    gate: Arc<Gate>,
    began: Instant,
    end: Option<(By, Option<u16>)>,
    /// Given back with the conversation.
    _pass: Pass,
}

/// What has passed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) bytes_out: u64,
}

impl Talk {
    /// Begins a conversation.
    pub(crate) fn new(request: Arc<Request>, gate: Arc<Gate>, began: Instant, pass: Pass) -> Self {
        gate.counts.conversations_begun.add(1);
        gate.counts.conversations.add(1);
        Self {
            request,
            tally: Tally::default(),
            session: None,
            gate,
            began,
            end: None,
            _pass: pass,
        }
    }

    /// Sets the session, which ends with the conversation.
    pub(crate) fn carry(&mut self, session: Arc<SharedSession>) {
        self.session = Some(session);
    }

    /// Says how it ends. The first word counts.
    pub(crate) fn ends(&mut self, by: By, code: Option<u16>) {
        self.end.get_or_insert((by, code));
    }

    /// Counts a message from the client.
    pub(crate) fn heard(&mut self, bytes: usize) {
        self.tally.messages_in += 1;
        self.tally.bytes_in += bytes as u64;
        self.gate.counts.messages_in.add(1);
        self.gate.counts.bytes_in.add(bytes as u64);
    }

    /// Counts a message to the client.
    pub(crate) fn said(&mut self, bytes: usize) {
        self.tally.messages_out += 1;
        self.tally.bytes_out += bytes as u64;
        self.gate.counts.messages_out.add(1);
        self.gate.counts.bytes_out.add(bytes as u64);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.gate.counts.conversations.take_one();
        let (by, code) = self.end.unwrap_or((By::Lost, None));
        let Tally {
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
        } = self.tally;
        // Told first: the driver has to know that nobody listens before it finds its session over.
        self.gate.desk.tell(News::Ended(Ended {
            id: self.request.id.clone(),
            code,
            by,
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            seconds: self.began.elapsed().as_secs_f64(),
        }));
        if let Some(session) = &self.session {
            session.abort();
        }
    }
}
