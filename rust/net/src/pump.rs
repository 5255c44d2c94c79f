//! One leg: carries what the session has to send out, and what the service answers in.
//!
//! ```text
//! session ─ poll_send ─▶ encode + sign ─▶ one DATA frame ─▶ TLS ─▶ socket
//! session ◀─ receive ── assemble ◀── decode ◀── DATA frames ◀── TLS ◀── socket
//! ```
//! The pump decides nothing. It carries frames, keeps flow control both ways and the session's
//! clock, and reports how the leg ended.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use dgsm_leg::end::LegEnd;
use dgsm_leg::frame::Frame;
use dgsm_leg::quote::bounded;
use dgsm_session::{LegId, SendStep, Session};
use dgsm_wire::eventstream::{Decoder, Limits as EventLimits};
use dgsm_wire::payload_part::{Assembler, ServerEvent, encode_signed};
use dgsm_wire::refusals;
use dgsm_wire::signing::{EventSigner, SigningError};
use h2::{Reason, RecvStream, SendStream};
use tokio::time::{Instant, timeout};

use crate::clock::Alarm;
use crate::connection::Line;
use crate::engine::Engine;
use crate::exchange::Exchange;
use crate::failure::{Failure, FailureKind};
use crate::pool::OpenLeg;
use crate::session::SharedSession;
use crate::wake::outbox::Pumped as _;

/// Frames that are ready together are written together, up to one DATA frame of the default size.
const WRITE: usize = 16 << 10;
/// About the number of bytes that an event adds to its frame.
const EVENT: usize = 256;
/// Room for a chunk; the buffer is reused.
const BUFFER: usize = 1 << 10;
/// The usual number of frames at a time.
const FRAMES: usize = 2;
/// The largest message of the service, joined from its parts.
const MAX_MESSAGE: usize = 16 << 20;
/// A shorter message is copied out of the frame that it came in: a frame has up to 16 KiB, and a
/// message that waits would keep all of it. A longer message came in several frames and has a
/// buffer of its own.
const LARGE: usize = 16 << 10;
/// The most messages given to the session at a time: few of them exceed its limit.
const BATCH: usize = 64;
/// The most events in a row without a whole message: parts of one, or unknown ones.
const MAX_FRUITLESS: usize = 1 << 16;
/// What arrives while the application does not read is kept in pieces of this size: a message keeps
/// one piece at most.
const PIECE: usize = 16 << 10;
/// The largest part on the way out. Each becomes one WebSocket frame at the container.
pub const MAX_PART: usize = 128 << 10;

/// How long the signed empty event waits for a service that has ended its side.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// How long the input may take to explain why the output is broken.
const EXPLANATION: Duration = Duration::from_millis(500);

/// Gives the session the leg that it wanted, and pumps it. Returns its number.
pub fn attach(
    engine: &Arc<Engine>,
    session: Arc<SharedSession>,
    leg: OpenLeg,
    signer: EventSigner,
) -> LegId {
    let id = session.update(Session::leg_opened);
    // It may take over at once from one that waits.
    session.notify_pumps();
    spawn(engine, session, id, leg, signer);
    id
}

/// Pumps a leg to its end, on the engine.
fn spawn(
    engine: &Arc<Engine>,
    session: Arc<SharedSession>,
    id: LegId,
    leg: OpenLeg,
    signer: EventSigner,
) {
    let OpenLeg {
        exchange,
        lease,
        permit,
    } = leg;
    let Exchange {
        send,
        mut recv,
        headers: _,
        line,
    } = exchange;
    // Before anything else: the leg before this one may be leaving.
    session.join(permit);
    let held = Arc::clone(engine);
    let mut outbound = Outbound {
        session,
        id,
        send,
        signer,
        frames: Vec::new(),
        buffer: BytesMut::with_capacity(BUFFER),
        unsent: Bytes::new(),
        alarm: Alarm::default(),
    };
    // By reference: a task holds twice the size of what it is given by value.
    engine.handle().spawn(async move {
        pump(&mut outbound, &mut recv, &line).await;
        drop(lease);
        outbound.session.leave();
        drop(held);
    });
}

async fn pump(outbound: &mut Outbound, recv: &mut RecvStream, line: &Line) {
    let id = outbound.id;
    let shared = Arc::clone(&outbound.session);
    let session = &*shared;
    let end = {
        let mut inbound = pin!(receive(session, id, recv, line));
        let mut sending = pin!(outbound.run());
        let mut going_away = pin!(going_away(session, id, line));
        tokio::select! {
            // What the service sent explains more than a broken output.
            biased;
            end = &mut inbound => Some(end),
            sent = &mut sending => match sent {
                Ok(()) => None,
                Err(failure) => explained(session, id, inbound, line.explain(failure)).await,
            },
            never = &mut going_away => match never {},
        }
    };
    if let Some(end) = end {
        session.update(|session, now| session.leg_ended(now, id, end));
        // Another leg of the session may have something to do now. The driver waited for this leg's
        // end without a time, and has a time to wait for now.
        session.notify_pumps();
        session.call_driver();
    }
    outbound.finish().await;
}

/// Tells the session when its peer is about to close the connection while the stream still works.
async fn going_away(session: &SharedSession, id: LegId, line: &Line) -> Infallible {
    if line.leaving().await.kind == FailureKind::GoAway {
        session.update(|session, now| session.leg_going_away(now, id));
        session.notify_pumps();
    }
    std::future::pending().await
}

/// Returns why the output is broken: what the input says soon, or `failure`. `None`: the session no
/// longer wants the leg.
async fn explained(
    session: &SharedSession,
    id: LegId,
    inbound: impl Future<Output = LegEnd>,
    failure: Failure,
) -> Option<LegEnd> {
    let mut alarm = Alarm::default();
    tokio::select! {
        end = timeout(EXPLANATION, inbound) => Some(end.unwrap_or_else(|_| ended_by(failure))),
        () = dismissed(session, id, &mut alarm) => None,
    }
}

/// Keeps the session's clock until the session is over, or no longer wants the leg.
async fn dismissed(session: &SharedSession, id: LegId, alarm: &mut Alarm) {
    loop {
        let notified = session.notified();
        let ControlFlow::Continue(due) = session.due(id) else {
            return;
        };
        tick_or(notified, session, alarm, due).await;
    }
}

/// Returns when `notified` does, or after a tick.
async fn tick_or(
    notified: impl Future<Output = ()>,
    session: &SharedSession,
    alarm: &mut Alarm,
    due: Option<Instant>,
) {
    tokio::select! {
        biased;
        () = notified => {}
        () = alarm.wait(due) => session.tick(),
    }
}

fn ended_by(failure: Failure) -> LegEnd {
    match failure.kind {
        FailureKind::Reset | FailureKind::RefusedStream => LegEnd::Reset {
            code: failure.h2_code,
        },
        FailureKind::GoAway => LegEnd::GoAway {
            code: failure.h2_code,
        },
        FailureKind::Protocol => LegEnd::Protocol {
            detail: bounded(failure.detail),
        },
        _ => LegEnd::Dropped {
            detail: bounded(failure.detail),
        },
    }
}

struct Outbound {
    session: Arc<SharedSession>,
    id: LegId,
    send: SendStream<Bytes>,
    signer: EventSigner,
    /// Taken from the session, not yet signed; empty between calls.
    frames: Vec<Frame>,
    /// Signed, to be written.
    buffer: BytesMut,
    /// The rest of the write under way.
    unsent: Bytes,
    alarm: Alarm,
}

/// What follows once everything taken is written.
enum Next {
    /// Fill again: there may be more.
    More,
    /// Nothing, until the session notifies its pumps, or this time.
    Wait(Option<Instant>),
    /// The input has ended.
    End,
    /// The session wants the leg gone.
    Stop,
}

impl Outbound {
    /// Sends until the session no longer wants the leg.
    async fn run(&mut self) -> Result<(), Failure> {
        let session = Arc::clone(&self.session);
        loop {
            let notified = session.notified();
            let next = self.fill()?;
            if !self.buffer.is_empty() {
                let last = matches!(next, Next::End);
                let written = write(&mut self.send, &mut self.unsent, &mut self.buffer, last);
                tokio::select! {
                    biased;
                    written = written => written?,
                    // No credit comes, and the leg is not wanted any more.
                    () = dismissed(&session, self.id, &mut self.alarm) => return Ok(()),
                }
            }
            match next {
                Next::More | Next::End => {}
                Next::Wait(due) => tick_or(notified, &session, &mut self.alarm, due).await,
                Next::Stop => return Ok(()),
            }
        }
    }

    /// Signs what is ready into the buffer, at most one write.
    fn fill(&mut self) -> Result<Next, Failure> {
        let Self {
            session: shared,
            id,
            frames,
            ..
        } = self;
        let next = shared.update(|session, now| {
            let mut size = 0;
            loop {
                match session.poll_send(now, *id) {
                    SendStep::Frame(frame) => {
                        let length = frame.len() + EVENT;
                        size += length;
                        frames.push(frame);
                        // Another one of this size would not fit.
                        if size + length > WRITE {
                            break Next::More;
                        }
                    }
                    SendStep::Wait { until } => {
                        let due = [until, session.deadline()].into_iter().flatten().min();
                        break Next::Wait(due.map(|due| shared.instant(due)));
                    }
                    SendStep::End => break Next::End,
                    SendStep::Stop => break Next::Stop,
                }
            }
        });
        self.sign(matches!(next, Next::End)).map_err(|error| {
            Failure::new(
                FailureKind::Protocol,
                format!("an event could not be signed: {error}"),
            )
        })?;
        Ok(next)
    }

    fn sign(&mut self, last: bool) -> Result<(), SigningError> {
        if self.frames.is_empty() && !last {
            return Ok(());
        }
        let now = unix_millis();
        for frame in self.frames.drain(..) {
            encode_signed(&mut self.signer, now, &frame, MAX_PART, &mut self.buffer)?;
        }
        self.frames.shrink_to(FRAMES);
        if last {
            self.signer.sign_end(now, &mut self.buffer)?;
        }
        Ok(())
    }

    /// Ends the leg's output: with the signed empty event after the service's own end, or with a
    /// reset, so that no stream is left behind.
    async fn finish(&mut self) {
        if self.signer.is_ended() {
            return;
        }
        if matches!(self.fill(), Ok(Next::End)) {
            // What was signed before is part of the chain, so it goes first. A service that has
            // ended may give no credit for it.
            let written = write(&mut self.send, &mut self.unsent, &mut self.buffer, true);
            if let Ok(Ok(())) = timeout(LAST_WRITE, written).await {
                return;
            }
        }
        self.send.send_reset(Reason::CANCEL);
    }
}

/// Hands `unsent`, then `buffer`, to HTTP/2 within the service's flow control. Cancelling it loses
/// nothing.
async fn write(
    send: &mut SendStream<Bytes>,
    unsent: &mut Bytes,
    buffer: &mut BytesMut,
    last: bool,
) -> Result<(), Failure> {
    loop {
        if unsent.is_empty() {
            if buffer.is_empty() {
                return Ok(());
            }
            let burst = buffer.len() > BUFFER;
            *unsent = buffer.split().freeze();
            if burst {
                // A burst's memory is freed once it is written.
                *buffer = BytesMut::with_capacity(BUFFER);
            }
        }
        send.reserve_capacity(unsent.len());
        let mut room = send.capacity();
        while room == 0 {
            room = match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
                Some(Ok(room)) => room,
                Some(Err(error)) => return Err(Failure::from_h2(&error)),
                None => {
                    return Err(Failure::new(
                        FailureKind::Reset,
                        "the service no longer takes input",
                    ));
                }
            };
        }
        let part = unsent.split_to(unsent.len().min(room));
        let ends = last && unsent.is_empty() && buffer.is_empty();
        send.send_data(part, ends)
            .map_err(|error| Failure::from_h2(&error))?;
    }
}

/// Takes what the service sends until the leg ends.
async fn receive(session: &SharedSession, id: LegId, recv: &mut RecvStream, line: &Line) -> LegEnd {
    let mut inbound = Inbound {
        decoder: Decoder::new(EventLimits::SERVICE),
        assembler: Assembler::new(MAX_MESSAGE),
        frames: Vec::new(),
        fruitless: 0,
    };
    let mut ahead = Ahead::default();
    loop {
        let data = match ahead.next(recv).await {
            Ok(Some(data)) => data,
            Ok(None) => return inbound.end(),
            Err(error) => return ended_by(line.explain(Failure::from_h2(&error))),
        };
        let length = data.len();
        inbound.decoder.push(data);
        loop {
            let read = inbound.read(session);
            if !inbound.frames.is_empty() {
                let wants = session.update(|session, now| {
                    for frame in inbound.frames.drain(..) {
                        session.receive(now, id, frame);
                    }
                    session.wants_messages()
                });
                // A message may be what this leg or its successor waits for.
                session.notify_pumps();
                if let (Ok(_), false) = (&read, wants) {
                    // Credit is given back once the application has room for what it brings.
                    ahead.wait(session, recv).await;
                }
            }
            match read {
                Ok(Read::More) => {}
                Ok(Read::All) => break,
                Err(end) => return end,
            }
        }
        // It fails when the stream has ended, and the next read says how.
        let _ = recv.flow_control().release_capacity(length);
    }
}

/// What has arrived while the application did not read: at most the stream's window, because no
/// credit is given.
///
/// It is not left in h2, where each frame, however small, keeps the buffer that it was read into,
/// and where many small frames end the connection.
#[derive(Default)]
struct Ahead {
    pieces: VecDeque<BytesMut>,
    /// How the stream ended after them.
    end: Option<Result<(), h2::Error>>,
}

impl Ahead {
    /// Returns the next piece of the service's output; `None` at its end.
    async fn next(&mut self, recv: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
        if let Some(piece) = self.pieces.pop_front() {
            return Ok(Some(piece.freeze()));
        }
        match self.end.take() {
            Some(end) => end.map(|()| None),
            None => recv.data().await.transpose(),
        }
    }

    /// Returns when the session takes messages again.
    async fn wait(&mut self, session: &SharedSession, recv: &mut RecvStream) {
        let mut wanted = pin!(session.wants_messages());
        loop {
            tokio::select! {
                biased;
                () = &mut wanted => return,
                data = recv.data(), if self.end.is_none() => match data {
                    Some(Ok(data)) => self.keep(&data),
                    Some(Err(error)) => self.end = Some(Err(error)),
                    None => self.end = Some(Ok(())),
                }
            }
        }
    }

    fn keep(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let room = self.pieces.back().map_or(0, |piece| PIECE - piece.len());
            if room == 0 {
                self.pieces.push_back(BytesMut::new());
                continue;
            }
            let (now, later) = data.split_at(data.len().min(room));
            if let Some(piece) = self.pieces.back_mut() {
                piece.extend_from_slice(now);
            }
            data = later;
        }
    }
}

/// Whether all of the input was read.
enum Read {
    /// Not all: there may be more messages in it.
    More,
    /// All of it.
    All,
}

struct Inbound {
    decoder: Decoder,
    assembler: Assembler,
    /// Whole, not yet given to the session.
    frames: Vec<Frame>,
    /// Events since the last whole message.
    fruitless: usize,
}

impl Inbound {
    /// Reads events until there is a batch of messages. Messages before an error are kept.
    fn read(&mut self, session: &SharedSession) -> Result<Read, LegEnd> {
        while self.frames.len() < BATCH {
            let Some(message) = self.decoder.next().map_err(broken)? else {
                return Ok(Read::All);
            };
            self.fruitless += 1;
            match ServerEvent::parse(message).map_err(broken)? {
                ServerEvent::Part(part) => {
                    if let Some(frame) = self.assembler.push(part).map_err(broken)? {
                        self.fruitless = 0;
                        let small = frame.len() < LARGE;
                        self.frames.push(if small { frame.alone() } else { frame });
                    }
                }
                ServerEvent::Exception {
                    kind,
                    code,
                    message,
                } => return Err(refusals::ended(&kind, code, message)),
                ServerEvent::Unknown { event_type } => session.skip(&event_type),
            }
            if self.fruitless == MAX_FRUITLESS {
                return Err(broken(format_args!(
                    "{MAX_FRUITLESS} events in a row brought no message"
                )));
            }
        }
        Ok(Read::More)
    }

    /// Returns how the leg ended where the service has ended its side: in the middle of a message
    /// it broke the protocol.
    fn end(&self) -> LegEnd {
        let whole = self.decoder.finish().map_err(broken);
        match whole.and_then(|()| self.assembler.finish().map_err(broken)) {
            Ok(()) => LegEnd::Clean,
            Err(end) => end,
        }
    }
}

fn broken(error: impl std::fmt::Display) -> LegEnd {
    LegEnd::Protocol {
        detail: bounded(error.to_string()),
    }
}

fn unix_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
