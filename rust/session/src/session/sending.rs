//! What is sent on a leg, how fast, and how much of it is kept.

use std::time::Duration;

use super::settings::MIN_UNSENT_BYTES;
use super::state::{LastStep, Role};
use super::step::{LegId, SendStep};
use super::{Notice, Session};
use crate::journal::{Control, Item, Next};
use crate::resume::audio::Audio;
use dgsm_leg::frame::Frame;

/// How often the session sends a KeepAlive of its own, to a standby, and while the application waits
/// for room. The service closes a silent leg after 10 s.
const OWN_KEEPALIVE: Duration = Duration::from_secs(4);

/// After this silence a service has said everything about what it was sent.
const QUIET: Duration = Duration::from_millis(300);

/// The longest frame of live audio, in microseconds.
const LIVE_FRAME: i64 = 1_000_000;

impl Session {
    /// Returns what the leg's pump sends next.
    pub fn poll_send(&mut self, now: Duration, leg: LegId) -> SendStep {
        self.notices.at(now);
        let Some(index) = self.find(leg) else {
            return SendStep::Stop;
        };
        let role = self.legs[index].role();
        match role {
            Role::Ended(rest) => {
                self.legs.remove(index);
                match rest {
                    LastStep::End => SendStep::End,
                    LastStep::Stop => SendStep::Stop,
                }
            }
            Role::Retiring { by } => match self.legs[index].head.pop_front() {
                Some(frame) => SendStep::Frame(frame),
                None if now >= by => {
                    let leg = self.legs.remove(index);
                    self.notices.closed(&leg, role);
                    SendStep::Stop
                }
                None => SendStep::Wait { until: Some(by) },
            },
            Role::Standby { replays } => self.send_standby(now, index, replays),
            Role::Current => self.send_current(now, index),
        }
    }

    /// Returns whether a leg still has something to send, now or later. If it has not, a pump whose
    /// peer takes nothing stops waiting for it, and [`Session::poll_send`] says what is left to do.
    #[must_use]
    pub fn wants_leg(&self, now: Duration, leg: LegId) -> bool {
        self.find(leg)
            .is_some_and(|index| match self.legs[index].role() {
                Role::Standby { .. } | Role::Current => true,
                Role::Retiring { by } => now < by,
                Role::Ended(_) => false,
            })
    }

    fn send_standby(&mut self, now: Duration, index: usize, replays: bool) -> SendStep {
        let interval = self.product.standby_keepalive().map(|_| OWN_KEEPALIVE);
        let leg = &mut self.legs[index];
        let mut until = None;
        if replays {
            leg.head.extend(self.product.catch_up(&leg.view));
        }
        if replays && leg.head.is_empty() && !self.state.is_closing() {
            let next = self.journal.peek(&leg.cursor);
            let due = leg.pace.map(|pace| pace.due()).filter(|due| now < *due);
            let ready = match next {
                // The current leg goes ahead: audio that it was not sent yet is still in the
                // journal.
                Some(Next::Audio { start, .. }) if start < self.journal.sent() => {
                    until = due;
                    due.is_none()
                }
                Some(Next::Control {
                    kind: Control::Other,
                    ..
                }) => true,
                // The current leg is sent it and answers it. What is answered is not sent again.
                Some(Next::Audio { .. } | Next::Control { .. }) | None => false,
            };
            if ready {
                return self
                    .take(now, index)
                    .map_or(SendStep::Wait { until: None }, SendStep::Frame);
            }
        }
        self.keep_alive(now, index, interval, until)
    }

    fn send_current(&mut self, now: Duration, index: usize) -> SendStep {
        let interval = self.keepalive_interval(now);
        let leg = &mut self.legs[index];
        if leg.input_ended {
            return SendStep::Wait { until: None };
        }
        if let Some(frame) = leg.head.pop_front() {
            leg.sends(now);
            return SendStep::Frame(frame);
        }
        match self.journal.peek(&leg.cursor) {
            Some(Next::Audio { .. }) => {
                if let Some(due) = leg.pace.map(|pace| pace.due()).filter(|due| now < *due) {
                    return self.keep_alive(now, index, interval, Some(due));
                }
            }
            Some(Next::Control { number, kind }) => {
                if !self.product.may_send(&leg.view, number) {
                    return SendStep::Wait { until: None };
                }
                // Well before the silence counts as a stall.
                let stall = self.settings.stall_timeout.unwrap_or(Duration::MAX);
                let quiet = leg.received_at.max(leg.sent_at) + QUIET.min(stall / 3);
                if kind == Control::Close && now < quiet && self.product.closes_quietly() {
                    return SendStep::Wait { until: Some(quiet) };
                }
            }
            None if self.state.is_closing() && self.product.closing().is_none() => {
                // Without a closing message, the end of the input closes.
                leg.input_ended = true;
                return SendStep::End;
            }
            None => {
                leg.pace = None;
                return self.keep_alive(now, index, interval, None);
            }
        }
        self.take(now, index)
            .map_or(SendStep::Wait { until: None }, SendStep::Frame)
    }

    /// Takes the next frame from the journal.
    fn take(&mut self, now: Duration, index: usize) -> Option<Frame> {
        let leg = &mut self.legs[index];
        let item = self.journal.take(&mut leg.cursor)?;
        leg.sends(now);
        let keepalive = matches!(
            item,
            Item::Control {
                kind: Control::KeepAlive,
                ..
            }
        );
        if !keepalive {
            leg.input_at = now;
        }
        Some(match item {
            Item::Audio {
                start,
                payload,
                again,
            } => {
                if again > 0 {
                    self.stats.bytes_replayed += again;
                    self.shares.of(leg.endpoint).bytes_replayed += again;
                }
                if let Some(pace) = &mut leg.pace {
                    pace.sent(payload.len() as u64);
                }
                if leg.cursor.byte() >= self.journal.end() {
                    leg.pace = None;
                }
                let payload = self.product.send_audio(&leg.view, start, payload);
                self.keep_within_limits(now);
                Frame::Binary(payload)
            }
            Item::Control {
                number,
                kind,
                frame,
                ..
            } => {
                if kind == Control::Close {
                    leg.view.sends_close();
                }
                let frame = self.product.send(&leg.view, kind, number, frame);
                if self.product.is_single() {
                    self.journal.forget_sent();
                }
                frame
            }
        })
    }

    /// Returns after which time without another message the current leg gets a KeepAlive.
    fn keepalive_interval(&self, now: Duration) -> Option<Duration> {
        let own = (self.speaks_for_application(now) && self.product.standby_keepalive().is_some())
            .then_some(OWN_KEEPALIVE);
        [self.settings.keepalive_interval, own]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns whether the application would send but has to wait. It is not silent then, and the
    /// service must not take it for that.
    fn speaks_for_application(&self, now: Duration) -> bool {
        self.sender.waits_for_room && !self.is_writable(now)
    }

    /// Returns `KeepAlive` when nothing else was sent for this interval.
    fn keep_alive(
        &mut self,
        now: Duration,
        index: usize,
        interval: Option<Duration>,
        until: Option<Duration>,
    ) -> SendStep {
        let speaks = self.speaks_for_application(now);
        let leg = &mut self.legs[index];
        let next = if let Some(frame) = leg.head.pop_front() {
            Some(frame)
        } else {
            let due = interval
                .filter(|_| !self.state.is_closing())
                .map(|interval| leg.sent_at + interval);
            if due.is_none_or(|due| now < due) {
                return SendStep::Wait {
                    until: [due, until].into_iter().flatten().min(),
                };
            }
            if speaks {
                self.sender.latest = now;
            }
            self.product.keepalive()
        };
        leg.sends(now);
        next.map_or(SendStep::Wait { until }, SendStep::Frame)
    }

    /// Returns whether there is room for a frame now.
    #[must_use]
    pub fn is_writable(&self, now: Duration) -> bool {
        if self.is_full() {
            return false;
        }
        // A file waits for its results; live audio cannot wait.
        self.limit_waits_until().is_none_or(|until| now >= until)
    }

    /// Reports that the application has to wait, unless it was said of this backlog.
    pub(super) fn note_unsent(&mut self) {
        if !std::mem::replace(&mut self.reports.unsent, true) {
            let bytes = self.journal.held();
            self.notices.say(Notice::Unsent { bytes });
        }
    }

    /// Returns whether the unsent input is at its limit.
    pub(super) fn is_full(&self) -> bool {
        let limit = self.settings.max_replay_buffer_bytes.max(MIN_UNSENT_BYTES);
        self.journal.unsent() >= limit as u64
    }

    /// Returns until when the audio runs ahead of the wall clock, where more is kept than the limit
    /// allows.
    pub(super) fn limit_waits_until(&self) -> Option<Duration> {
        let limit = self.settings.max_replay_buffer_bytes as u64;
        let audio = self.product.audio()?;
        audio.layout()?;
        if limit == 0 || self.journal.held_unacked() <= limit {
            return None;
        }
        // Live audio is sent once it is recorded, so it is always one frame ahead. A frame longer
        // than this is part of a file.
        let (latest, end) = (
            audio.micros_at(self.latest_frame),
            audio.micros_at(self.journal.end()),
        );
        let recorded = (end - latest).min(LIVE_FRAME);
        let ahead = u64::try_from(end - recorded).unwrap_or(0);
        Some(self.first_audio? + Duration::from_micros(ahead))
    }

    /// Drops what is over the limit, oldest first.
    pub(super) fn keep_within_limits(&mut self, now: Duration) {
        let limit = self.settings.max_replay_buffer_bytes as u64;
        if self.reports.unsent {
            let unsent = self.journal.unsent().max(self.journal.held_unacked());
            self.reports.unsent = unsent > limit.max(MIN_UNSENT_BYTES as u64) / 2;
        }
        match self.product.audio() {
            None if self.product.is_single() => self.journal.forget_sent(),
            // Text is short, and so is a header that does not say yet what the audio is.
            None | Some(Audio::Unknown(_)) => {}
            Some(Audio::Other) => {
                // A frame that is too large by itself is kept beside the others.
                let largest = u64::try_from(self.largest_frame).unwrap_or(u64::MAX);
                let large = if largest > limit && limit > 0 {
                    largest
                } else {
                    0
                };
                if self.outgrown || self.journal.sent().saturating_sub(large) > limit {
                    self.journal.forget_sent();
                    if !std::mem::replace(&mut self.outgrown, true) {
                        let limit = self.settings.max_replay_buffer_bytes;
                        self.notices.say(Notice::NotResumable { limit });
                        self.dismiss_standby(now);
                    }
                }
            }
            Some(Audio::Raw(_) | Audio::Wav(_)) => {
                if self.limit_waits_until().is_some_and(|until| now < until) {
                    return;
                }
                // Audio that the current leg has yet to replay is kept. Between legs nothing is
                // sent, so nothing is dropped.
                let Some(index) = self.current() else {
                    return;
                };
                let before = self.legs[index].cursor.byte();
                // A frame that is over the limit by itself is kept.
                while self.journal.held_unacked() > limit
                    && (limit == 0 || self.journal.holds_several())
                    && let Some(bytes) = self.journal.evict(before)
                {
                    self.stats.bytes_evicted += bytes;
                }
            }
        }
    }
}
