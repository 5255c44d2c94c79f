//! One leg, in motion: what the session has to send goes out, what the service answers comes in.
//!
//! ```text
//! session ─ poll_send ─▶ encode + sign ─▶ one DATA frame ─▶ TLS ─▶ socket
//! session ◀─ receive ── assemble ◀── decode ◀── DATA frames ◀── TLS ◀── socket
//! ```
//! The pump decides nothing: it carries frames, keeps flow control both ways, and reports how the
//! leg ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use dgsm_core::eventstream::{Decoder, Limits};
use dgsm_core::payload_part::{Assembler, ServerEvent, encode_signed};
use dgsm_core::session::{LegEnd, LegId, SendStep};
use dgsm_core::signing::EventSigner;
use h2::{Reason, RecvStream, SendStream};
use tokio::time::{sleep_until, timeout};

use crate::engine::Engine;
use crate::exchange::Exchange;
use crate::failure::{Failure, FailureKind};
use crate::pool::OpenLeg;
use crate::session::SharedSession;

/// Frames that are ready together are written together, up to one DATA frame of the default size.
const WRITE: usize = 16 << 10;
/// A message of the service, joined from its parts, may be so large.
const MAX_MESSAGE: usize = 16 << 20;
/// How long a part may be on the way out: the service's frames are WebSocket frames at the
/// container.
pub const MAX_PART: usize = 128 << 10;

/// How long the signed empty event may wait for a service that has already ended its side.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Pumps a leg to its end, on the engine.
pub fn spawn(
    engine: &Arc<Engine>,
    session: Arc<SharedSession>,
    id: LegId,
    leg: OpenLeg,
    signer: EventSigner,
) {
    let held = Arc::clone(engine);
    engine.handle().spawn(async move {
        pump(&session, id, leg, signer).await;
        drop(held);
    });
}

async fn pump(session: &SharedSession, id: LegId, leg: OpenLeg, signer: EventSigner) {
    let OpenLeg { exchange, lease } = leg;
    let Exchange {
        send,
        recv,
        headers: _,
    } = exchange;
    let mut outbound = Outbound {
        session,
        id,
        send,
        signer,
        buffer: BytesMut::new(),
    };
    let end = {
        let inbound = receive(session, id, recv);
        let sending = outbound.run();
        tokio::pin!(inbound, sending);
        tokio::select! {
            // What the service said explains more than that it no longer listens.
            biased;
            end = &mut inbound => Some(end),
            sent = &mut sending => match sent {
                Ok(Sent::End) => Some(inbound.await),
                Ok(Sent::Stopped) => None,
                Err(failure) => Some(explained(inbound, failure).await),
            },
        }
    };
    if let Some(end) = end {
        let now = session.now();
        session.lock().leg_ended(now, id, end);
        session.tell();
        // Another leg of the session may have something to do now.
        session.ring();
    }
    outbound.finish().await;
    drop(lease);
}

/// The way out is broken: what comes in says why, if it says it soon.
async fn explained(inbound: impl Future<Output = LegEnd>, failure: Failure) -> LegEnd {
    const SOON: Duration = Duration::from_millis(500);
    match timeout(SOON, inbound).await {
        Ok(end) => end,
        Err(_) => ended_by(&failure),
    }
}

fn ended_by(failure: &Failure) -> LegEnd {
    match failure.kind {
        FailureKind::Reset | FailureKind::RefusedStream => LegEnd::Reset {
            code: failure.h2_code,
        },
        FailureKind::GoAway => LegEnd::GoAway,
        FailureKind::Protocol => LegEnd::Protocol {
            detail: failure.detail.clone(),
        },
        _ => LegEnd::Dropped {
            detail: failure.detail.clone(),
        },
    }
}

/// How the way out ended.
enum Sent {
    /// With the signed empty event.
    End,
    /// The session wants the leg gone.
    Stopped,
}

struct Outbound<'a> {
    session: &'a SharedSession,
    id: LegId,
    send: SendStream<Bytes>,
    signer: EventSigner,
    buffer: BytesMut,
}

impl Outbound<'_> {
    async fn run(&mut self) -> Result<Sent, Failure> {
        let bell = self.session.bell(self.id);
        loop {
            let step = self.fill()?;
            if !self.buffer.is_empty() {
                let last = matches!(step, SendStep::End);
                self.write(last).await?;
                if last {
                    return Ok(Sent::End);
                }
                continue;
            }
            match step {
                // Only with something to write.
                SendStep::Frame(_) => {}
                SendStep::Wait { until } => {
                    let deadline = self.session.lock().deadline();
                    let due = [until, deadline].into_iter().flatten().min();
                    let Some(due) = due else {
                        bell.notified().await;
                        continue;
                    };
                    tokio::select! {
                        () = bell.notified() => {}
                        () = sleep_until(self.session.instant(due)) => self.tick(),
                    }
                }
                SendStep::End => return Ok(Sent::End),
                SendStep::Stop => return Ok(Sent::Stopped),
            }
        }
    }

    /// Signs what is ready into the buffer, up to one write. Returns what comes after it.
    fn fill(&mut self) -> Result<SendStep, Failure> {
        let now = self.session.now();
        let mut roomier = false;
        let mut session = self.session.lock();
        let step = loop {
            let step = session.poll_send(now, self.id);
            match &step {
                SendStep::Frame(frame) => {
                    encode_signed(
                        &mut self.signer,
                        unix_millis(),
                        frame,
                        MAX_PART,
                        &mut self.buffer,
                    )
                    .map_err(|error| unsignable(&error))?;
                    roomier = true;
                    if self.buffer.len() >= WRITE {
                        break step;
                    }
                }
                SendStep::End => {
                    self.signer
                        .sign_end(unix_millis(), &mut self.buffer)
                        .map_err(|error| unsignable(&error))?;
                    break step;
                }
                SendStep::Wait { .. } | SendStep::Stop => break step,
            }
        };
        drop(session);
        if roomier {
            self.session.tell();
        }
        Ok(step)
    }

    /// Writes the buffer within the service's flow control.
    async fn write(&mut self, last: bool) -> Result<(), Failure> {
        let mut rest = self.buffer.split().freeze();
        self.send.reserve_capacity(rest.len());
        while !rest.is_empty() {
            if self.send.capacity() == 0 {
                match std::future::poll_fn(|cx| self.send.poll_capacity(cx)).await {
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => return Err(Failure::from_h2(&error)),
                    None => {
                        return Err(Failure::new(
                            FailureKind::Reset,
                            "the service no longer takes input",
                        ));
                    }
                }
            }
            let part = rest.split_to(rest.len().min(self.send.capacity()));
            let ends = last && rest.is_empty();
            self.send
                .send_data(part, ends)
                .map_err(|error| Failure::from_h2(&error))?;
        }
        Ok(())
    }

    fn tick(&self) {
        let now = self.session.now();
        self.session.lock().tick(now);
        self.session.tell();
    }

    /// The leg has ended. What is left of its input: the signed empty event after the service's
    /// own end, or a reset, so that nothing of it lingers.
    async fn finish(mut self) {
        if !self.signer.is_ended() {
            self.buffer.clear();
            if matches!(self.fill(), Ok(SendStep::End)) {
                // A service that is done need not give credit for this any more.
                let _ = timeout(LAST_WRITE, self.write(true)).await;
                return;
            }
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

/// Takes what the service sends until it ends.
async fn receive(session: &SharedSession, id: LegId, mut recv: RecvStream) -> LegEnd {
    let mut decoder = Decoder::new(Limits::default());
    let mut assembler = Assembler::new(MAX_MESSAGE);
    loop {
        let data = match recv.data().await {
            Some(Ok(data)) => data,
            Some(Err(error)) => return ended_by(&Failure::from_h2(&error)),
            None => {
                return match (decoder.finish(), assembler.finish()) {
                    (Err(error), _) => LegEnd::Protocol {
                        detail: error.to_string(),
                    },
                    (_, Err(error)) => LegEnd::Protocol {
                        detail: error.to_string(),
                    },
                    (Ok(()), Ok(())) => LegEnd::Clean,
                };
            }
        };
        let length = data.len();
        decoder.push(data);
        if let Err(end) = events(session, id, &mut decoder, &mut assembler) {
            return end;
        }
        // Credit is given back when the application has room for what it would bring.
        session.wants_messages().await;
        if let Err(error) = recv.flow_control().release_capacity(length) {
            return ended_by(&Failure::from_h2(&error));
        }
    }
}

/// Everything that the decoder has whole.
fn events(
    session: &SharedSession,
    id: LegId,
    decoder: &mut Decoder,
    assembler: &mut Assembler,
) -> Result<(), LegEnd> {
    let broken = |error: &dyn std::fmt::Display| LegEnd::Protocol {
        detail: error.to_string(),
    };
    while let Some(message) = decoder.next().map_err(|error| broken(&error))? {
        match ServerEvent::parse(message).map_err(|error| broken(&error))? {
            ServerEvent::Part(part) => {
                if let Some(frame) = assembler.push(part).map_err(|error| broken(&error))? {
                    let now = session.now();
                    session.lock().receive(now, id, frame);
                    session.tell();
                }
            }
            ServerEvent::Exception {
                kind,
                code,
                message,
            } => {
                return Err(in_band(kind, code, message));
            }
            ServerEvent::Unknown { event_type } => session.skip(event_type),
        }
    }
    Ok(())
}

fn in_band(kind: String, code: Option<String>, message: String) -> LegEnd {
    match kind.as_str() {
        "ModelStreamError" => LegEnd::ModelStreamError {
            code: code.unwrap_or_default(),
            message,
        },
        "InternalStreamFailure" => LegEnd::InternalStreamFailure { message },
        _ => LegEnd::Exception { kind, message },
    }
}

fn unsignable(error: &dgsm_core::signing::SigningError) -> Failure {
    Failure::new(
        FailureKind::Protocol,
        format!("an event could not be signed: {error}"),
    )
}

fn unix_millis() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
