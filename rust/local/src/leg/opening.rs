//! From a checked request to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::Response;
use tokio::time::sleep;

use super::fault::{note, order};
use super::stream::{Accepted, Leg};
use crate::checks::Invocation;
use crate::container;
use crate::faults::{Action, Answer, Armed, Conversation, Progress};
use crate::handle::Connection;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::settings::duration;
use crate::shared::Shared;
use crate::stats::{LegEnd, LegRecord, Live, count};

/// Sends an error answer.
pub(super) fn refuse(
    shared: &Shared,
    respond: &mut SendResponse<Bytes>,
    refusal: Refusal,
    request_id: &str,
) {
    count(&shared.counters.refused);
    // Fails if the client has gone already, which does not matter.
    if let Ok(mut stream) = respond.send_response(refusal.head(request_id), false) {
        let _ = stream.send_data(refusal.into_body(), true);
    }
}

/// A request that passed the checks and has not been answered.
pub(super) struct Opening {
    number: u64,
    invocation: Invocation,
    conversation: Arc<Conversation>,
    /// The leg's number in its conversation, from 1.
    ordinal: u64,
    armed: Armed,
}

impl Opening {
    /// Counts the opening in its conversation and arms the rules.
    pub(super) fn new(shared: &Shared, number: u64, invocation: Invocation) -> Self {
        let conversation = shared.conversation(&invocation.path, &invocation.query);
        let mut ordinal = 0;
        conversation.opens.send_modify(|opens| {
            *opens += 1;
            ordinal = *opens;
        });
        let armed = shared.rules.arm(&invocation.path, number, ordinal);
        Self {
            number,
            invocation,
            conversation,
            ordinal,
            armed,
        }
    }

    /// Lets the rules for the opening strike, answers, and serves the stream.
    pub(super) async fn run(
        mut self,
        shared: &Arc<Shared>,
        connection: &Arc<Connection>,
        record: &Arc<LegRecord>,
        body: RecvStream,
        mut respond: SendResponse<Bytes>,
        request_id: String,
    ) -> LegEnd {
        let mut later = Vec::new();
        let opening = Progress {
            opening: true,
            ..Progress::default()
        };
        while let Some(action) = shared
            .rules
            .strike(&mut self.armed, &self.conversation, &opening)
        {
            note(shared, record, &action);
            match action {
                Action::Answer(answer) => {
                    self.answer(shared, record, &mut respond, answer, &request_id);
                    return LegEnd::Fault;
                }
                Action::NeverAnswer => return client_left(&mut respond).await,
                Action::DelayAnswer { seconds } => {
                    tokio::select! {
                        () = sleep(duration(seconds)) => {}
                        left = client_left(&mut respond) => return left,
                    }
                }
                Action::Reset { code } => {
                    respond.send_reset(Reason::from(code));
                    return LegEnd::Fault;
                }
                Action::Drop { .. }
                | Action::Outage { .. }
                | Action::GoAway { covers: false, .. } => {
                    order(shared, connection, &action, 0);
                    client_left(&mut respond).await;
                    return LegEnd::Fault;
                }
                other => later.push(other),
            }
        }
        if let Some(words) = self.refusal(shared) {
            return self
                .refuse(shared, record, &mut respond, words, &request_id)
                .await;
        }
        let Ok(_place) = shared.places.clone().try_acquire_owned() else {
            if let Some(Action::Answer(answer)) = shared.settings.at_max_streams.clone() {
                self.answer(shared, record, &mut respond, answer, &request_id);
                return LegEnd::Refused;
            }
            let words = "every stream that it has room for is taken".to_owned();
            return self
                .refuse(shared, record, &mut respond, words, &request_id)
                .await;
        };
        let head = Response::builder()
            .status(200)
            .header("content-type", "application/vnd.amazon.eventstream")
            .header("x-amzn-requestid", &request_id)
            .header(
                "x-amzn-invoked-production-variant",
                &self.invocation.variant,
            );
        let Ok(head) = head.body(()) else {
            return LegEnd::Gone;
        };
        let stream_id = respond.stream_id().as_u32();
        let Ok(send) = respond.send_response(head, false) else {
            return LegEnd::Gone;
        };
        record.facts().status = 200;
        count(&shared.counters.accepted);
        let _live = Live::new(shared.counters.clone(), |counters| &counters.live_streams);
        let most = shared.counters.live_streams.load(Relaxed);
        shared.counters.most_live_streams.fetch_max(most, Relaxed);
        let accepted = Accepted {
            number: self.number,
            invocation: self.invocation,
            conversation: self.conversation,
            ordinal: self.ordinal,
            armed: self.armed,
            stream_id,
            request_id,
        };
        let Some(mut leg) = Leg::new(accepted, shared, connection, record) else {
            return LegEnd::BadInput;
        };
        for action in later {
            leg.apply(&action);
        }
        leg.run(body, send).await
    }

    /// Answers as the server was told to.
    fn answer(
        &self,
        shared: &Shared,
        record: &LegRecord,
        respond: &mut SendResponse<Bytes>,
        answer: Answer,
        request_id: &str,
    ) {
        let log = self.log_stream();
        let mut refusal =
            Refusal::of_endpoint(answer.status, &answer.error_type, &answer.message, &log);
        refusal.body = answer.body.unwrap_or(refusal.body);
        record.facts().status = answer.status;
        refuse(shared, respond, refusal, request_id);
    }

    /// Returns the container's words if it refuses the stream.
    fn refusal(&self, shared: &Shared) -> Option<String> {
        let container = shared.settings.container.as_ref()?;
        let query = Query::parse(&self.invocation.query);
        container::refusal(&container.paths, &self.invocation.path, &query)
    }

    /// Refuses the stream as the service does: late, and without the container's words.
    async fn refuse(
        self,
        shared: &Shared,
        record: &LegRecord,
        respond: &mut SendResponse<Bytes>,
        words: String,
        request_id: &str,
    ) -> LegEnd {
        if let Some(listener) = &shared.listener {
            listener.refused(self.number, &words);
        }
        record.facts().refusal = words;
        let after = shared.settings.container.as_ref();
        let after = after.map_or(Duration::ZERO, |container| {
            duration(container.refuses_after)
        });
        tokio::select! {
            () = sleep(after) => {}
            left = client_left(respond) => return left,
        }
        let refusal = Refusal::not_taken(&self.log_stream());
        record.facts().status = refusal.status;
        refuse(shared, respond, refusal, request_id);
        LegEnd::Refused
    }

    /// Returns the name of the log that would have the container's words.
    fn log_stream(&self) -> String {
        format!(
            "arn:aws:logs:{}:000000000000:log-group:/aws/sagemaker/Endpoints/{}:log-stream:{}/local",
            self.invocation.signature.region, self.invocation.endpoint, self.invocation.variant
        )
    }
}

/// Waits for the client to give up on an answer.
async fn client_left(respond: &mut SendResponse<Bytes>) -> LegEnd {
    match std::future::poll_fn(|cx| respond.poll_reset(cx)).await {
        Ok(_) => LegEnd::ClientReset,
        Err(_) => LegEnd::Gone,
    }
}
