//! One stream from the request to its end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::verify::{Envelope, EventVerifier};
use bytes::{Bytes, BytesMut};
use dgsm_leg::frame::Frame;
use dgsm_wire::eventstream::{DecodeError, Decoder, Limits, decode_exact};
use dgsm_wire::payload_part::{Assembler, PayloadPart, encode_exception};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::audio::Clock;
use crate::bridge::Bridge;
use crate::calendar::Moment;
use crate::checks::{self, Invocation};
use crate::container;
use crate::faults::{Action, Armed, Conversation, Progress};
use crate::handle::{Command, Connection};
use crate::malformed;
use crate::model::Reply;
use crate::outbound::{Outbound, Pumped};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::settings::Model;
use crate::shared::Shared;
use crate::stats::{InputEnd, LegEnd, LegFacts, LegRecord, Live, count};
use crate::watermark::{Audio, Mark, Reader, WatermarkModel};

/// The largest message that a client may send.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;
/// How long the rest of the client's input is still read once the response has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Text messages whose types are kept in the record.
const MAX_CONTROLS: usize = 10_000;
/// Headers of the request that are kept in the record. Nothing that is secret.
const KEPT_HEADERS: [&str; 6] = [
    "user-agent",
    "content-type",
    "accept",
    "x-amzn-sagemaker-target-variant",
    "amz-sdk-request",
    "via",
];

/// Serves one request of `connection`.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let request_id = shared.uuid();
    let credentials = shared.credentials();
    // Nothing is kept of a request that nobody known has signed: anybody can send those.
    let (name, signature) = match checks::identify(&parts, &shared.settings, &credentials, now_ms())
    {
        Ok(identified) => identified,
        Err(refusal) => {
            if refusal.status == 403 {
                count(&shared.counters.request_signature_failures);
            }
            refuse(&shared, &mut respond, refusal, &request_id);
            return;
        }
    };
    let (path, query) = checks::target(&parts);
    let kept = |name: &&str| {
        Some((
            (*name).to_owned(),
            parts.headers.get(*name)?.to_str().ok()?.to_owned(),
        ))
    };
    let (number, record) = shared.record(LegFacts {
        connection: connection.number,
        opened: shared.epoch.elapsed(),
        path: path.to_owned(),
        query: query.to_owned(),
        access_key_id: signature.access_key.clone(),
        headers: KEPT_HEADERS.iter().filter_map(kept).collect(),
        ..LegFacts::default()
    });
    let checked = checks::check(&parts, name, signature, &shared.settings, &credentials);
    let end = match checked {
        Err(refusal) => {
            record.facts().status = refusal.status;
            refuse(&shared, &mut respond, refusal, &request_id);
            LegEnd::Refused
        }
        Ok(invocation) => {
            Opening::new(&shared, number, invocation)
                .run(&shared, &connection, &record, body, respond, request_id)
                .await
        }
    };
    record.facts().end(end, shared.epoch);
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Sends an error answer.
fn refuse(shared: &Shared, respond: &mut SendResponse<Bytes>, refusal: Refusal, request_id: &str) {
    count(&shared.counters.refused);
    // The client may have gone already: then nobody misses the answer.
    if let Ok(mut stream) = respond.send_response(refusal.head(request_id), false) {
        let _ = stream.send_data(refusal.into_body(), true);
    }
}

/// A request that passed the checks and has not been answered.
struct Opening {
    number: u64,
    invocation: Invocation,
    conversation: Arc<Conversation>,
    /// How many legs the conversation had opened with this one.
    leg: u64,
    armed: Armed,
}

impl Opening {
    fn new(shared: &Shared, number: u64, invocation: Invocation) -> Self {
        let conversation = shared.conversation(&invocation.path, &invocation.query);
        let mut leg = 0;
        conversation.opens.send_modify(|opens| {
            *opens += 1;
            leg = *opens;
        });
        let armed = shared.rules.arm(&invocation.path, number, leg);
        Self {
            number,
            invocation,
            conversation,
            leg,
            armed,
        }
    }

    /// Lets the rules for the opening strike, answers, and serves the stream.
    async fn run(
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
                Action::Answer {
                    status,
                    error_type,
                    message,
                    body,
                } => {
                    let log = self.log_stream(shared);
                    let mut refusal = Refusal::of_endpoint(status, &error_type, &message, &log);
                    refusal.body = body.unwrap_or(refusal.body);
                    record.facts().status = status;
                    refuse(shared, &mut respond, refusal, &request_id);
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
        let Some(mut leg) = Leg::new(self, shared, connection, record, stream_id, request_id)
        else {
            return LegEnd::BadInput;
        };
        for action in later {
            leg.apply(&action);
        }
        leg.run(body, send).await
    }
}

impl Opening {
    /// What the container says, where it does not take the stream.
    fn refusal(&self, shared: &Shared) -> Option<String> {
        let container = shared.settings.container.as_ref()?;
        let query = Query::parse(&self.invocation.query);
        container::refusal(&container.paths, &self.invocation.path, &query)
    }

    /// Answers as the service does: late, and without the container's words.
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
        let refusal = Refusal::not_taken(&self.log_stream(shared));
        record.facts().status = refusal.status;
        refuse(shared, respond, refusal, request_id);
        LegEnd::Refused
    }

    /// The log that would have the container's words.
    fn log_stream(&self, shared: &Shared) -> String {
        format!(
            "arn:aws:logs:{}:000000000000:log-group:/aws/sagemaker/Endpoints/{}:log-stream:{}/local",
            shared.settings.region, self.invocation.endpoint, self.invocation.variant
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

fn note(shared: &Shared, record: &LegRecord, action: &Action) {
    count(&shared.counters.faults);
    record.facts().faults.push(action.name());
}

/// Passes on an action that is about the connection, or about all.
fn order(shared: &Shared, connection: &Connection, action: &Action, stream_id: u32) {
    match *action {
        Action::Drop { rst } => connection.command(Command::Close { rst }),
        Action::GoAway { code, covers } => {
            let last_stream = if covers { stream_id } else { 0 };
            connection.command(Command::GoAway {
                last_stream,
                code,
                linger: covers,
            });
        }
        Action::Outage { seconds } => shared.outage(duration(seconds)),
        _ => {}
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// The container's side of one leg.
enum Container {
    Watermark(Box<WatermarkModel>),
    External(Arc<Bridge>),
}

/// An accepted stream.
struct Leg {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    record: Arc<LegRecord>,
    conversation: Arc<Conversation>,
    opens: watch::Receiver<u64>,
    ordinal: u64,
    armed: Armed,
    stream_id: u32,
    began: Instant,

    decoder: Decoder,
    verifier: EventVerifier,
    assembler: Assembler,
    clock: Clock,
    reader: Option<Reader>,
    counts_chunks: bool,
    /// A rule wants to know which chunks the conversation has heard.
    remembers_chunks: bool,
    marks: Vec<Mark>,
    chunks: u64,
    audio_seconds: f64,
    bytes_in: u64,
    messages_in: u64,
    messages_out: u64,

    /// What the container makes of a frame.
    read: fn(Frame) -> Frame,
    container: Container,
    replies: Vec<Reply>,
    outbound: Outbound,
    silent: bool,
    /// The response has an end, sent or queued.
    ending: Option<LegEnd>,
    /// The stream is to be reset.
    reset: Option<Reason>,
    max_age: Option<Duration>,
}

impl Leg {
    /// `None` if the request's signature is none: the checks let none of those through.
    fn new(
        opening: Opening,
        shared: &Arc<Shared>,
        connection: &Arc<Connection>,
        record: &Arc<LegRecord>,
        stream_id: u32,
        request_id: String,
    ) -> Option<Self> {
        let Opening {
            number,
            invocation,
            conversation,
            leg,
            armed,
        } = opening;
        let signature = &invocation.signature;
        let verifier = EventVerifier::new(
            &invocation.secret_access_key,
            &signature.region,
            &signature.service,
            &signature.signature,
        );
        let query = Query::parse(&invocation.query);
        let clock = Clock::new(&query);
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
                let created = Moment::of(SystemTime::now()).iso();
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
            ordinal: leg,
            armed,
            stream_id,
            began: Instant::now(),
            decoder: Decoder::new(Limits::PROTOCOL),
            verifier: verifier.ok()?,
            assembler: Assembler::new(MAX_MESSAGE),
            clock,
            reader: None,
            remembers_chunks: shared.rules.count_chunks(),
            counts_chunks: watermarked || shared.rules.count_chunks(),
            marks: Vec::new(),
            chunks: 0,
            audio_seconds: 0.0,
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
    async fn run(mut self, mut body: RecvStream, mut send: SendStream<Bytes>) -> LegEnd {
        let end = self.converse(&mut body, &mut send).await;
        if let Container::External(bridge) = &self.container {
            bridge.leave();
        }
        self.record.facts().end(end, self.shared.epoch);
        let input_end = match end {
            LegEnd::Gone => InputEnd::Gone,
            LegEnd::ClientReset => InputEnd::Reset,
            _ if self.reset.is_some() => InputEnd::Unread,
            _ => {
                // The client ends its input when it sees our end: that end is checked too.
                let last_words = timeout(LAST_WORDS, self.listen_to_the_end(&mut body)).await;
                last_words.unwrap_or(InputEnd::Unread)
            }
        };
        self.input_over(input_end);
        end
    }

    async fn converse(&mut self, body: &mut RecvStream, send: &mut SendStream<Bytes>) -> LegEnd {
        let bridge = match &self.container {
            Container::External(bridge) => Some(bridge.clone()),
            Container::Watermark(_) => None,
        };
        let mut listening = true;
        loop {
            self.settle();
            if let Some(reason) = self.reset {
                send.send_reset(reason);
                return self.ending.unwrap_or(LegEnd::Fault);
            }
            let deadline = self.deadline();
            let takes_input = listening && !self.is_behind();
            let awaits_open = self.shared.rules.wait_for_next_open(&self.armed);
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
                        // Fails only for a stream that is over, and that shows by itself.
                        let _ = body.flow_control().release_capacity(length);
                    }
                    Some(Err(error)) if error.is_reset() => return LegEnd::ClientReset,
                    Some(Err(_)) => return LegEnd::Gone,
                    None => {
                        listening = false;
                        // Once it is over, what has come is looked at for the end it has, later.
                        if !self.is_over() {
                            self.input_closed();
                        }
                    }
                },
                () = changed(bridge.as_deref()) => {}
                opened = self.opens.changed(), if awaits_open => {
                    if opened.is_ok() && *self.opens.borrow_and_update() > self.ordinal {
                        self.strike(&Progress { next_open: true, ..self.progress() });
                    }
                }
                () = until(deadline) => self.tick(),
            }
        }
    }

    /// Whether reading on would only fill memory.
    fn is_behind(&self) -> bool {
        self.outbound.is_full()
            || match &self.container {
                Container::External(bridge) => bridge.is_behind(),
                Container::Watermark(_) => false,
            }
    }

    /// Queues what the container has said.
    fn settle(&mut self) {
        if let Container::External(bridge) = &self.container {
            while !self.outbound.is_full() {
                let Some(reply) = bridge.take() else { break };
                self.replies.push(reply);
            }
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
            audio_seconds: self.audio_seconds,
            bytes: self.bytes_in,
            messages: self.messages_in,
            replies: self.messages_out,
            chunks: self.chunks,
            ..Progress::default()
        }
    }

    /// Lets every rule strike that is due; says whether the leg is over.
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

    fn apply(&mut self, action: &Action) {
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
            // These come before the answer, and settings that say otherwise are refused.
            Action::Answer { .. } | Action::NeverAnswer | Action::DelayAnswer { .. } => {}
        }
    }

    /// Says nothing from now on.
    fn hush(&mut self) {
        self.silent = true;
        self.outbound.clear();
    }

    /// Takes bytes of the client's input.
    fn take(&mut self, data: Bytes) {
        self.decoder.push(data);
        while !self.is_over() {
            match self.decoder.next() {
                Ok(Some(envelope)) => match self.verifier.verify(&envelope) {
                    Ok(Envelope::Event(event)) => self.event(event),
                    Ok(Envelope::End) => self.input_ended(InputEnd::Signed),
                    Err(error) => {
                        count(&self.shared.counters.signature_failures);
                        self.exception(
                            LegEnd::BadInput,
                            "InvalidSignatureException",
                            None,
                            &error.to_string(),
                        );
                    }
                },
                Ok(None) => break,
                Err(error) => self.malformed(&error),
            }
        }
    }

    fn malformed(&mut self, error: &DecodeError) {
        count(match error {
            DecodeError::PreludeChecksum { .. } | DecodeError::MessageChecksum { .. } => {
                &self.shared.counters.crc_failures
            }
            _ => &self.shared.counters.malformed_events,
        });
        self.exception(
            LegEnd::BadInput,
            "InputValidationError",
            None,
            &error.to_string(),
        );
    }

    fn event(&mut self, event: Bytes) {
        let message = match decode_exact(event, Limits::PROTOCOL) {
            Ok(message) => message,
            Err(error) => return self.malformed(&error),
        };
        let part = PayloadPart::parse(message).map_err(|error| error.to_string());
        match part.and_then(|part| self.assembler.push(part).map_err(|error| error.to_string())) {
            Ok(None) => {}
            Ok(Some(frame)) => self.hear(frame),
            Err(error) => {
                count(&self.shared.counters.malformed_events);
                self.exception(LegEnd::BadInput, "InputValidationError", None, &error);
            }
        }
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
        self.marks.clear();
        let mut audio = Bytes::new();
        let mut control = None;
        match &frame {
            Frame::Text(_) => control = control_type(&frame),
            Frame::Binary(bytes) => {
                audio = self.clock.audio(bytes.clone());
                self.listen(&audio);
            }
        }
        self.audio_seconds = self.clock.seconds();
        self.write_record(control.as_deref());
        let progress = Progress {
            control: control.as_deref(),
            ..self.progress()
        };
        if self.strike(&progress) || self.silent {
            return;
        }
        let now = self.since();
        match (&mut self.container, &frame) {
            (Container::Watermark(model), Frame::Binary(_)) => {
                let (format, frames) = (self.clock.format(), self.clock.frames());
                let audio = Audio {
                    bytes: &audio,
                    format,
                    frames,
                    marks: &self.marks,
                };
                model.hear(now, &audio, &mut self.replies);
            }
            (Container::Watermark(model), Frame::Text(_)) => {
                model.read(now, frame.as_str().unwrap_or_default(), &mut self.replies);
            }
            (Container::External(bridge), _) => bridge.deliver(frame),
        }
        self.settle();
    }

    /// Finds watermarks in audio, where anybody counts them.
    fn listen(&mut self, audio: &Bytes) {
        let format = self.clock.format();
        self.armed.hear(&self.conversation, audio, format);
        if !self.counts_chunks || audio.is_empty() {
            return;
        }
        let reader = self.reader.get_or_insert_with(|| Reader::new(format));
        let marks = &mut self.marks;
        reader.read(audio, |mark| marks.push(mark));
        for mark in &self.marks {
            if !mark.intact {
                count(&self.shared.counters.torn_chunks);
            }
            if self.remembers_chunks {
                self.conversation.hear_chunk(mark.number);
            }
        }
        self.chunks += self.marks.iter().filter(|mark| mark.channel == 0).count() as u64;
    }

    fn write_record(&self, control: Option<&str>) {
        let mut facts = self.record.facts();
        facts.messages_in = self.messages_in;
        facts.bytes_in = self.bytes_in;
        facts.audio_seconds = self.audio_seconds;
        facts.chunks = self.chunks;
        if let Some(control) = control
            && facts.controls.len() < MAX_CONTROLS
        {
            facts.controls.push(control.to_owned());
        }
        if self.shared.settings.record_arrivals && !self.marks.is_empty() {
            let now = self.shared.epoch.elapsed();
            facts
                .arrivals
                .extend(self.marks.iter().map(|mark| (mark.number, now)));
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

    /// The HTTP/2 stream of the client's input has ended.
    fn input_closed(&mut self) {
        if let Err(error) = self.decoder.finish() {
            self.malformed(&error);
        }
        self.input_ended(InputEnd::Unsigned);
    }

    /// The input is over for the model. Only the first call counts.
    fn input_ended(&mut self, how: InputEnd) {
        if !self.input_over(how) {
            return;
        }
        match &mut self.container {
            Container::Watermark(model) => model.input_ended(&mut self.replies),
            Container::External(bridge) => bridge.end_input(),
        }
    }

    /// Notes how the input ended, if it had not; says whether this was news.
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

    /// Reads what the client still has to say, for its end only: what has arrived already first.
    async fn listen_to_the_end(&mut self, body: &mut RecvStream) -> InputEnd {
        loop {
            loop {
                match self.decoder.next() {
                    Ok(Some(envelope)) => match self.verifier.verify(&envelope) {
                        Ok(Envelope::Event(_)) => {}
                        Ok(Envelope::End) => return InputEnd::Signed,
                        Err(_) => {
                            // After an end of our making the chain has been seen to be broken already.
                            if self.ending != Some(LegEnd::BadInput) {
                                count(&self.shared.counters.signature_failures);
                            }
                            return InputEnd::Unread;
                        }
                    },
                    Ok(None) => break,
                    Err(_) => return InputEnd::Unread,
                }
            }
            match body.data().await {
                Some(Ok(data)) => {
                    let _ = body.flow_control().release_capacity(data.len());
                    self.decoder.push(data);
                }
                Some(Err(_)) => return InputEnd::Reset,
                None => return InputEnd::Unsigned,
            }
        }
    }

    /// When something happens by itself.
    fn deadline(&self) -> Option<Instant> {
        let model = match &self.container {
            Container::Watermark(model) if !self.silent => model.deadline(),
            Container::Watermark(_) | Container::External(_) => None,
        };
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
        if let Container::Watermark(model) = &mut self.container
            && !self.silent
        {
            model.tick(now, &mut self.replies);
        }
    }
}

impl Drop for Leg {
    /// What holds for a leg that is dropped with its connection, too.
    fn drop(&mut self) {
        if let Container::External(bridge) = &self.container {
            bridge.leave();
        }
        self.record.facts().end(LegEnd::Shutdown, self.shared.epoch);
    }
}

/// The `type` of a text message, if it has one.
fn control_type(frame: &Frame) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(frame.as_str()?).ok()?;
    message.get("type")?.as_str().map(str::to_owned)
}

/// Deepgram's containers read a control message wherever it comes: one in a binary frame counts as
/// text.
fn as_control(frame: Frame) -> Frame {
    let Frame::Binary(bytes) = &frame else {
        return frame;
    };
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return frame;
    }
    match Frame::text(bytes.clone()) {
        Ok(text) if control_type(&text).is_some() => text,
        _ => frame,
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
