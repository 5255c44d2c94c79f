//! An accepted stream: its loop, its faults, and its end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use dgsm_leg::frame::Frame;
use dgsm_wire::payload_part::encode_exception;
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::container::Container;
use super::control::{as_control, control_type};
use super::fault::{note, order};
use super::hearing::Hearing;
use super::input::{Arrival, Input, InputError};
use crate::bridge::Bridge;
use crate::checks::Invocation;
use crate::container;
use crate::faults::{Action, Armed, Conversation, Progress};
use crate::handle::Connection;
use crate::malformed;
use crate::model::Reply;
use crate::outbound::{Outbound, Pumped};
use crate::query::Query;
use crate::settings::{Model, duration};
use crate::shared::Shared;
use crate::stats::{InputEnd, LegEnd, LegRecord, count};
use crate::verify::EventVerifier;
use crate::watermark::{WatermarkModel, timestamp};

/// How long the rest of the client's input is read once the response has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The most text messages whose types the record keeps.
const MAX_CONTROLS: usize = 10_000;

/// A request that has been answered with 200.
pub(super) struct Accepted {
    /// The leg's number over the whole endpoint, from 1.
    pub(super) number: u64,
    pub(super) invocation: Invocation,
    pub(super) conversation: Arc<Conversation>,
    /// The leg's number in its conversation, from 1.
    pub(super) ordinal: u64,
    pub(super) armed: Armed,
    pub(super) stream_id: u32,
    pub(super) request_id: String,
}

/// An accepted stream.
pub(super) struct Leg {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    record: Arc<LegRecord>,
    conversation: Arc<Conversation>,
    opens: watch::Receiver<u64>,
    ordinal: u64,
    armed: Armed,
    stream_id: u32,
    began: Instant,

    input: Input,
    hearing: Hearing,
    bytes_in: u64,
    messages_in: u64,
    messages_out: u64,

    /// How the container reads a frame.
    read: fn(Frame) -> Frame,
    container: Container,
    replies: Vec<Reply>,
    outbound: Outbound,
    silent: bool,
    /// How the response ends, once its end is sent or queued.
    ending: Option<LegEnd>,
    /// The stream is to be reset.
    reset: Option<Reason>,
    max_age: Option<Duration>,
}

impl Leg {
    /// Returns `None` where no leg is possible: the signature is not one, or no model serves the
    /// path. The checks and the settings rule both out.
    pub(super) fn new(
        accepted: Accepted,
        shared: &Arc<Shared>,
        connection: &Arc<Connection>,
        record: &Arc<LegRecord>,
    ) -> Option<Self> {
        let Accepted {
            number,
            invocation,
            conversation,
            ordinal,
            armed,
            stream_id,
            request_id,
        } = accepted;
        let signature = &invocation.signature;
        let verifier = EventVerifier::new(
            &invocation.secret_access_key,
            &signature.region,
            &signature.service,
            &signature.signature,
        );
        let query = Query::parse(&invocation.query);
        let read = if container::is_known(&invocation.path) {
            as_control
        } else {
            std::convert::identity
        };
        let (container, watermarked) = match (&shared.settings.model, &shared.listener) {
            (
                Model::Watermark {
                    settings,
                    elsewhere,
                },
                _,
            ) if !elsewhere.contains(&invocation.path) => {
                let created = timestamp(SystemTime::now());
                let model = WatermarkModel::new(*settings, &query, request_id, created);
                (Container::Watermark(Box::new(model)), true)
            }
            (_, Some(listener)) => {
                let query = query.pairs().to_vec();
                let bridge = Arc::new(Bridge::new(
                    number,
                    invocation.path,
                    query,
                    listener.clone(),
                ));
                listener.accepted(bridge.clone());
                (Container::External(bridge), false)
            }
            (_, None) => return None,
        };
        Some(Self {
            opens: conversation.opens.subscribe(),
            shared: shared.clone(),
            connection: connection.clone(),
            record: record.clone(),
            conversation,
            ordinal,
            armed,
            stream_id,
            began: Instant::now(),
            input: Input::new(verifier.ok()?),
            hearing: Hearing::new(&query, watermarked || shared.rules.counts_chunks()),
            bytes_in: 0,
            messages_in: 0,
            messages_out: 0,
            read,
            container,
            replies: Vec::new(),
            outbound: Outbound::default(),
            silent: false,
            ending: None,
            reset: None,
            max_age: shared.settings.max_stream_age.map(duration),
        })
    }

    /// Serves the stream; returns how it ended.
    pub(super) async fn run(mut self, mut body: RecvStream, mut send: SendStream<Bytes>) -> LegEnd {
        let end = self.converse(&mut body, &mut send).await;
        self.container.leave();
        self.record.facts().end(end, self.shared.epoch);
        let input_end = match end {
            LegEnd::Gone => InputEnd::Gone,
            LegEnd::ClientReset => InputEnd::Reset,
            _ if self.reset.is_some() => InputEnd::Unread,
            _ => {
                // The client ends its input when the response ends: that end is checked too.
                let last_words = timeout(LAST_WORDS, self.listen_to_the_end(&mut body)).await;
                last_words.unwrap_or(InputEnd::Unread)
            }
        };
        self.input_over(input_end);
        end
    }

    async fn converse(&mut self, body: &mut RecvStream, send: &mut SendStream<Bytes>) -> LegEnd {
        let mut listening = true;
        loop {
            self.settle();
            if let Some(reason) = self.reset {
                send.send_reset(reason);
                return self.ending.unwrap_or(LegEnd::Fault);
            }
            let deadline = self.deadline();
            let takes_input = listening && !self.is_behind();
            let awaits_open = self.shared.rules.awaits_next_open(&self.armed);
            tokio::select! {
                pumped = self.outbound.pump(send) => match pumped {
                    Pumped::Message(length) => self.replied(length),
                    Pumped::Ended => return self.ending.unwrap_or(LegEnd::Model),
                    Pumped::Reset(_) => return LegEnd::ClientReset,
                    Pumped::Gone => return LegEnd::Gone,
                },
                data = body.data(), if takes_input => match data {
                    Some(Ok(data)) => {
                        let length = data.len();
                        self.take(data);
                        // Fails only for a stream that is over, which the next read shows.
                        let _ = body.flow_control().release_capacity(length);
                    }
                    Some(Err(error)) if error.is_reset() => return LegEnd::ClientReset,
                    Some(Err(_)) => return LegEnd::Gone,
                    None => {
                        listening = false;
                        // Once the leg is over, `listen_to_the_end` looks for the input's end.
                        if !self.is_over() {
                            self.input_closed();
                        }
                    }
                },
                () = changed(self.container.bridge()) => {}
                opened = self.opens.changed(), if awaits_open => {
                    if opened.is_ok() && *self.opens.borrow_and_update() > self.ordinal {
                        self.strike(&Progress { next_open: true, ..self.progress() });
                    }
                }
                () = until(deadline) => self.tick(),
            }
        }
    }

    /// Returns whether further input would only fill memory.
    fn is_behind(&self) -> bool {
        self.outbound.is_full() || self.container.is_behind()
    }

    /// Queues the container's replies.
    fn settle(&mut self) {
        while !self.outbound.is_full() {
            let Some(reply) = self.container.reply() else {
                break;
            };
            self.replies.push(reply);
        }
        for reply in std::mem::take(&mut self.replies) {
            if self.silent || self.ending.is_some() {
                break;
            }
            match reply {
                Reply::Message(frame) => self.outbound.message(&frame),
                Reply::End => self.end(LegEnd::Model),
                Reply::Fail { code, message } => {
                    self.exception(
                        LegEnd::ModelFailed,
                        "ModelStreamError",
                        Some(&code),
                        &message,
                    );
                }
            }
        }
    }

    fn end(&mut self, end: LegEnd) {
        self.ending.get_or_insert(end);
        self.outbound.end();
    }

    fn exception(&mut self, end: LegEnd, kind: &str, code: Option<&str>, message: &str) {
        let mut event = BytesMut::new();
        if encode_exception(kind, code, message, &mut event).is_ok() {
            self.outbound.raw(event);
        }
        self.end(end);
    }

    fn since(&self) -> Duration {
        self.began.elapsed()
    }

    fn progress(&self) -> Progress<'static> {
        Progress {
            elapsed: self.since(),
            audio_seconds: self.hearing.seconds(),
            bytes: self.bytes_in,
            messages: self.messages_in,
            replies: self.messages_out,
            chunks: self.hearing.chunks(),
            ..Progress::default()
        }
    }

    /// Lets every due rule strike; returns whether the leg is over.
    fn strike(&mut self, progress: &Progress<'_>) -> bool {
        while let Some(action) =
            self.shared
                .rules
                .strike(&mut self.armed, &self.conversation, progress)
        {
            note(&self.shared, &self.record, &action);
            self.apply(&action);
        }
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.ending.is_some() || self.reset.is_some()
    }

    /// Does what a fault says.
    pub(super) fn apply(&mut self, action: &Action) {
        match action {
            Action::Reset { code } => {
                self.ending = Some(LegEnd::Fault);
                self.reset = Some(Reason::from(*code));
            }
            Action::Drop { .. } | Action::Outage { .. } => {
                self.hush();
                order(&self.shared, &self.connection, action, self.stream_id);
            }
            Action::GoAway { covers, .. } => {
                if !covers {
                    self.hush();
                }
                order(&self.shared, &self.connection, action, self.stream_id);
            }
            Action::EndEarly => {
                self.outbound.skip();
                self.end(LegEnd::Fault);
            }
            Action::ModelStreamError { code, message } => {
                self.outbound.skip();
                self.exception(LegEnd::Fault, "ModelStreamError", Some(code), message);
            }
            Action::Exception { name, message } => {
                self.outbound.skip();
                self.exception(LegEnd::Fault, name, None, message);
            }
            Action::GoSilent => self.hush(),
            Action::Split { size } => self.outbound.part_size = Some(*size),
            Action::Late { seconds } => self.outbound.late = duration(*seconds),
            Action::Malform { how } => {
                let (bytes, ends) = malformed::bytes(*how);
                self.outbound.raw(bytes);
                if ends {
                    self.end(LegEnd::Fault);
                }
            }
            // These strike before the answer; settings that say otherwise are refused.
            Action::Answer(_) | Action::NeverAnswer | Action::DelayAnswer { .. } => {}
        }
    }

    /// Sends nothing from now on.
    fn hush(&mut self) {
        self.silent = true;
        self.outbound.clear();
    }

    /// Takes bytes of the client's input.
    fn take(&mut self, data: Bytes) {
        self.input.push(data);
        while !self.is_over() {
            match self.input.next() {
                Ok(Some(Arrival::Message(frame))) => self.hear(frame),
                Ok(Some(Arrival::End)) => self.input_ended(InputEnd::Signed),
                Ok(None) => break,
                Err(error) => self.bad_input(&error),
            }
        }
    }

    fn bad_input(&mut self, error: &InputError) {
        count(error.counter(&self.shared.counters));
        let words = error.to_string();
        self.exception(LegEnd::BadInput, error.exception(), None, &words);
    }

    /// Takes one whole message.
    fn hear(&mut self, frame: Frame) {
        let frame = (self.read)(frame);
        self.messages_in += 1;
        self.bytes_in += frame.len() as u64;
        count(&self.shared.counters.messages_in);
        self.shared
            .counters
            .bytes_in
            .fetch_add(frame.len() as u64, Relaxed);
        let audio = self.hearing.take(&frame);
        self.remember(&audio);
        let control = control_type(&frame);
        self.write_record(control.as_deref());
        let progress = Progress {
            control: control.as_deref(),
            ..self.progress()
        };
        if self.strike(&progress) || self.silent {
            return;
        }
        let now = self.since();
        self.container
            .take(now, frame, &audio, &self.hearing, &mut self.replies);
        self.settle();
    }

    /// Tells the rules what the conversation has heard.
    fn remember(&mut self, audio: &Bytes) {
        self.armed
            .hear(&self.conversation, audio, self.hearing.format());
        let remembers = self.shared.rules.counts_chunks();
        for mark in self.hearing.marks() {
            if !mark.intact {
                count(&self.shared.counters.torn_chunks);
            }
            if remembers {
                self.conversation.hear_chunk(mark.number);
            }
        }
    }

    fn write_record(&self, control: Option<&str>) {
        let mut facts = self.record.facts();
        facts.messages_in = self.messages_in;
        facts.bytes_in = self.bytes_in;
        facts.audio_seconds = self.hearing.seconds();
        facts.chunks = self.hearing.chunks();
        if let Some(control) = control
            && facts.controls.len() < MAX_CONTROLS
        {
            facts.controls.push(control.to_owned());
        }
        if self.shared.settings.record_arrivals && !self.hearing.marks().is_empty() {
            let now = self.shared.epoch.elapsed();
            let marks = self.hearing.marks().iter();
            facts.arrivals.extend(marks.map(|mark| (mark.number, now)));
        }
    }

    fn replied(&mut self, length: usize) {
        self.messages_out += 1;
        count(&self.shared.counters.messages_out);
        self.shared
            .counters
            .bytes_out
            .fetch_add(length as u64, Relaxed);
        let mut facts = self.record.facts();
        facts.messages_out = self.messages_out;
        facts.bytes_out += length as u64;
        drop(facts);
        self.strike(&self.progress());
    }

    /// Notes that the HTTP/2 stream of the client's input has ended.
    fn input_closed(&mut self) {
        if let Err(error) = self.input.finish() {
            self.bad_input(&error);
        }
        self.input_ended(InputEnd::Unsigned);
    }

    /// Ends the input for the model. Only the first call counts.
    fn input_ended(&mut self, how: InputEnd) {
        if !self.input_over(how) {
            return;
        }
        self.container.input_ended(&mut self.replies);
    }

    /// Notes how the input ended; returns whether it had not ended before.
    fn input_over(&mut self, how: InputEnd) -> bool {
        let mut facts = self.record.facts();
        if facts.input_end != InputEnd::Open {
            return false;
        }
        facts.input_end = how;
        if how == InputEnd::Unsigned {
            count(&self.shared.counters.bad_ends);
        }
        true
    }

    /// Reads the rest of the client's input, only to see how it ends.
    async fn listen_to_the_end(&mut self, body: &mut RecvStream) -> InputEnd {
        loop {
            match self.input.skip_to_end() {
                Ok(true) => return InputEnd::Signed,
                Ok(false) => {}
                Err(error) => {
                    // After an exception of ours the chain is known to be broken.
                    if matches!(error, InputError::Signature(_))
                        && self.ending != Some(LegEnd::BadInput)
                    {
                        count(&self.shared.counters.signature_failures);
                    }
                    return InputEnd::Unread;
                }
            }
            match body.data().await {
                Some(Ok(data)) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    self.input.push(data);
                }
                Some(Err(_)) => return InputEnd::Reset,
                None => return InputEnd::Unsigned,
            }
        }
    }

    /// Returns when the next timed event is due.
    fn deadline(&self) -> Option<Instant> {
        let model = self.container.deadline().filter(|_| !self.silent);
        let rules = self.shared.rules.deadline(&self.armed);
        let nearest = [model, rules, self.max_age].into_iter().flatten().min()?;
        (!self.is_over()).then(|| self.began + nearest)
    }

    fn tick(&mut self) {
        if self.strike(&self.progress()) {
            return;
        }
        let now = self.since();
        if self.max_age.is_some_and(|age| age <= now) {
            self.max_age = None;
            let action = self.shared.settings.at_max_age.clone();
            self.apply(&action);
            self.ending = self.ending.map(|_| LegEnd::Age);
            return;
        }
        if !self.silent {
            self.container.tick(now, &mut self.replies);
        }
    }
}

impl Drop for Leg {
    /// A leg that is dropped with its connection ends too.
    fn drop(&mut self) {
        self.container.leave();
        self.record.facts().end(LegEnd::Shutdown, self.shared.epoch);
    }
}

async fn changed(bridge: Option<&Bridge>) {
    match bridge {
        Some(bridge) => bridge.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
