//! The speech of one turn, delivered once although it may be synthesised several times.
//!
//! ```text
//!   Fresh ──▶ everything is new: passed on, and a trace of it kept
//!     │ another leg repeats the turn from its start
//!     ▼
//!   Same ───▶ delivered speech comes again: dropped, and compared
//!     │  └──▶ Fresh, at exactly the byte where the last leg stopped
//!     │ it differs
//!     ▼
//!   Other ──▶ kept until the place is known that was delivered last
//!        └──▶ Fresh, joined at the quietest point near that place
//! ```
//! Speech in an encoding that is not understood is always cut at the byte.

use bytes::{Bytes, BytesMut};

use super::audio::Audio;
use super::inbox::Inbox;
use super::join::{Ramp, Trace, counterpart, frames_needed, frames_possible, quietest};
use super::voice::Voice;
use dgsm_leg::frame::Frame;

/// How much new speech is progress, in microseconds.
const PROGRESS: i64 = 1_000_000;

/// Two syntheses were joined; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Join {
    /// The place of the join in what was delivered, from the turn's start.
    pub at: i64,
    /// How much earlier it is in the second synthesis.
    pub moved: i64,
}

/// What happens to the speech that comes.
#[derive(Debug)]
enum State {
    Fresh {
        ramp: Option<Ramp>,
    },
    Same {
        heard: Trace,
        kept: BytesMut,
    },
    Other {
        heard: Trace,
        kept: BytesMut,
        kept_from: u64,
        differs: usize,
    },
}

/// The start of a turn's audio, which may be the header of a WAV file.
#[derive(Debug)]
enum Head {
    Unknown { seen: Audio, held: BytesMut },
    Past,
}

impl Head {
    fn new() -> Self {
        Self::Unknown {
            seen: Audio::Unknown(BytesMut::new()),
            held: BytesMut::new(),
        }
    }
}

/// A turn's speech.
#[derive(Debug)]
pub struct Speech {
    voice: Option<Voice>,
    /// What was delivered of the turn.
    said: Trace,
    state: State,
    head: Head,
    /// A header was delivered in this turn.
    header_said: bool,
    /// A header was delivered in any turn.
    header_ever: bool,
    /// Nothing has come on this leg.
    leg_is_new: bool,
    /// The turn's speech on this leg, in bytes.
    heard: u64,
    /// What had been delivered of the turn when the leg began, or at the last progress, in bytes.
    progress: u64,
}

impl Speech {
    /// Returns a turn of which nothing was delivered.
    #[must_use]
    pub fn new(voice: Option<Voice>) -> Self {
        Self {
            voice,
            said: Trace::new(voice),
            state: State::Fresh { ramp: None },
            head: Head::new(),
            header_said: false,
            header_ever: false,
            leg_is_new: false,
            heard: 0,
            progress: 0,
        }
    }

    /// Returns how much of the turn was delivered, in bytes.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.said.bytes()
    }

    /// Returns how much of the turn came on this leg, in bytes.
    #[must_use]
    pub const fn on_leg(&self) -> u64 {
        self.heard
    }

    /// Another leg repeats the turn from its start. Speech that was not delivered is dropped.
    pub fn again(&mut self) {
        self.state = if self.said.bytes() == 0 {
            State::Fresh { ramp: None }
        } else {
            State::Same {
                heard: Trace::new(self.voice),
                kept: BytesMut::new(),
            }
        };
        self.head = Head::new();
        self.leg_is_new = true;
        self.heard = 0;
        self.progress = self.said.bytes();
    }

    /// The turn is over, and another one begins. Speech that was not delivered is dropped.
    pub fn next_turn(&mut self) {
        self.said = Trace::new(self.voice);
        self.state = State::Fresh { ramp: None };
        self.head = Head::new();
        self.header_said = false;
        self.heard = 0;
        self.progress = 0;
    }

    /// Returns whether a second of the turn was delivered since the last progress. That is progress,
    /// too: a long turn may need many legs, and text that kills its leg does not get that far.
    pub fn has_progressed(&mut self) -> bool {
        let new = self.said.bytes().saturating_sub(self.progress);
        let progressed = self
            .voice
            .is_some_and(|voice| voice.micros(new) >= PROGRESS);
        if progressed {
            self.progress = self.said.bytes();
        }
        progressed
    }

    /// Speech comes. Returns the join, if two syntheses were joined.
    pub fn receive(&mut self, payload: Bytes, inbox: &mut Inbox) -> Option<Join> {
        let Head::Unknown { seen, held } = &mut self.head else {
            return self.speech(payload, inbox);
        };
        seen.feed(&payload);
        if matches!(seen, Audio::Unknown(_)) {
            held.extend_from_slice(&payload);
            return None;
        }
        let header = seen.header_bytes() as usize;
        let mut speech = payload;
        if !held.is_empty() {
            held.extend_from_slice(&speech);
            speech = std::mem::take(held).freeze();
        }
        self.head = Head::Past;
        let repeated = self.header_said || (self.leg_is_new && self.header_ever);
        self.leg_is_new = false;
        if header > 0 && !repeated {
            self.header_said = true;
            self.header_ever = true;
            // The header and the speech behind it came together, and stay together.
            if let State::Fresh { ramp: None } = self.state {
                let after = speech.slice(header.min(speech.len())..);
                self.heard += after.len() as u64;
                self.said.feed(&after);
                inbox.push(Frame::Binary(speech));
                return None;
            }
            inbox.push(Frame::Binary(speech.slice(..header)));
        }
        self.speech(speech.slice(header.min(speech.len())..), inbox)
    }

    /// The turn ends on this leg: delivers what was kept. Returns the join, if two syntheses were
    /// joined.
    pub fn end(&mut self, inbox: &mut Inbox) -> Option<Join> {
        let mut join = None;
        if let Head::Unknown { held, .. } = &mut self.head
            && !held.is_empty()
        {
            let held = std::mem::take(held).freeze();
            self.head = Head::Past;
            join = self.speech(held, inbox);
        }
        let join = join.or(self.join(inbox));
        if let State::Fresh { ramp } = &mut self.state
            && let Some(ramp) = ramp.take()
        {
            self.deliver(ramp.end().into(), inbox);
        }
        join
    }

    fn speech(&mut self, payload: Bytes, inbox: &mut Inbox) -> Option<Join> {
        self.heard += payload.len() as u64;
        let mut payload = payload;
        if let State::Same { heard, kept } = &mut self.state {
            let left = self.said.bytes() - heard.bytes();
            let before = heard.frames();
            let again = payload.split_to(
                payload
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX)),
            );
            heard.feed(&again);
            if self.voice.is_some() {
                kept.extend_from_slice(&again);
            }
            let whole = heard.bytes() == self.said.bytes();
            let differs = match self.said.same(heard, before) {
                Err(frame) => Some(frame),
                Ok(frame) if whole && self.said.checksum() != heard.checksum() => Some(frame),
                Ok(_) => None,
            };
            match (differs, self.voice) {
                (None, _) if whole => self.state = State::Fresh { ramp: None },
                (None, _) => {
                    // Only the incomplete frame may still differ.
                    let within = heard.bytes() % heard.frame_bytes() as u64;
                    let same = kept.len().saturating_sub(within as usize);
                    let _ = kept.split_to(same);
                    return None;
                }
                (Some(_), None) if whole => {
                    self.state = State::Fresh { ramp: None };
                    self.deliver(payload, inbox);
                    return Some(Join { at: 0, moved: 0 });
                }
                // The encoding is not understood: cut at the byte.
                (Some(_), None) => return None,
                (Some(differs), Some(_)) => {
                    let heard = std::mem::replace(heard, Trace::new(None));
                    let kept = std::mem::take(kept);
                    let kept_from = heard.bytes() - kept.len() as u64;
                    self.state = State::Other {
                        heard,
                        kept,
                        kept_from,
                        differs,
                    };
                }
            }
        }
        match &mut self.state {
            State::Other {
                heard,
                kept,
                kept_from,
                differs,
            } => {
                heard.feed(&payload);
                kept.extend_from_slice(&payload);
                let frames = self.said.frames() - *differs;
                let earliest = (*differs + frames_possible(frames)) * heard.frame_bytes();
                let useless = (earliest as u64).saturating_sub(*kept_from);
                let useless = kept.len().min(useless as usize);
                let _ = kept.split_to(useless);
                *kept_from += useless as u64;
                if heard.frames() - *differs >= frames_needed(frames) {
                    return self.join(inbox);
                }
            }
            State::Fresh { ramp } => {
                let payload = match ramp {
                    Some(going) => {
                        let led = going.apply(&payload).into();
                        if going.is_over() {
                            *ramp = None;
                        }
                        led
                    }
                    None => payload,
                };
                self.deliver(payload, inbox);
            }
            State::Same { .. } => {}
        }
        None
    }

    /// Goes on in the other synthesis.
    fn join(&mut self, inbox: &mut Inbox) -> Option<Join> {
        let State::Other {
            heard,
            kept,
            kept_from,
            differs,
        } = &mut self.state
        else {
            return None;
        };
        let voice = self.voice?;
        let place = counterpart(&self.said, heard, *differs);
        let near = usize::try_from(place.saturating_sub(*kept_from)).unwrap_or(usize::MAX);
        let kept = std::mem::take(kept).freeze();
        // Places are at whole samples of the leg's speech.
        let odd = (*kept_from % voice.sample_bytes() as u64) as usize;
        let kept_from = *kept_from + odd as u64;
        let kept = kept.slice(odd.min(kept.len())..);
        let point = quietest(voice, &kept, near.min(kept.len()));
        // Half a sample was delivered: the last whole sample completes it.
        if !self
            .said
            .bytes()
            .is_multiple_of(voice.sample_bytes() as u64)
        {
            let high = self.said.last().to_le_bytes()[1];
            self.deliver(Bytes::copy_from_slice(&[high]), inbox);
        }
        let at = self.said.bytes();
        let taken = kept_from + point as u64;
        let mut ramp = Ramp::new(voice, self.said.last());
        let led = ramp.apply(&kept[point..]);
        self.state = State::Fresh {
            ramp: (!ramp.is_over()).then_some(ramp),
        };
        self.deliver(led.into(), inbox);
        Some(Join {
            at: voice.micros(at),
            moved: voice.micros(at) - voice.micros(taken),
        })
    }

    fn deliver(&mut self, speech: Bytes, inbox: &mut Inbox) {
        if !speech.is_empty() {
            self.said.feed(&speech);
            inbox.push(Frame::Binary(speech));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAR: &str = "encoding=linear16&sample_rate=8000";

    fn speech(query: &str) -> Speech {
        Speech::new(Voice::from_query(query))
    }

    /// Different bytes for every seed.
    fn bytes(count: usize, seed: usize) -> Vec<u8> {
        (0..count)
            .map(|at| ((at + seed) * 37 % 251) as u8)
            .collect()
    }

    fn hear(speech: &mut Speech, audio: &[u8], piece: usize) -> (Vec<u8>, Option<Join>) {
        let (mut inbox, mut join) = (Inbox::default(), None);
        for chunk in audio.chunks(piece) {
            join = join.or(speech.receive(Bytes::copy_from_slice(chunk), &mut inbox));
        }
        (heard(&mut inbox), join)
    }

    fn heard(inbox: &mut Inbox) -> Vec<u8> {
        let frames = std::iter::from_fn(|| inbox.pop());
        frames.flat_map(|frame| frame.bytes().to_vec()).collect()
    }

    #[test]
    fn the_same_again_goes_on_at_the_byte() {
        let audio = bytes(3001, 0);
        for cut in [1, 159, 160, 1600, 2999, 3001] {
            for piece in [1, 160, 333, 5000] {
                let mut speech = speech(LINEAR);
                let (first, _) = hear(&mut speech, &audio[..cut], 77);
                speech.again();
                let (second, join) = hear(&mut speech, &audio, piece);
                assert_eq!([first, second].concat(), audio, "{cut}, {piece}");
                assert_eq!(join, None);
            }
        }
    }

    #[test]
    fn a_message_is_passed_on_as_it_is() {
        let mut speech = speech(LINEAR);
        let mut inbox = Inbox::default();
        let payload = Bytes::from(bytes(640, 0));
        speech.receive(payload.clone(), &mut inbox);
        let passed = inbox.pop().unwrap();
        assert_eq!(passed.bytes().as_ptr(), payload.as_ptr());
    }

    #[test]
    fn a_turn_that_was_not_heard_needs_no_comparison() {
        let mut speech = speech(LINEAR);
        speech.again();
        let audio = bytes(1000, 0);
        assert_eq!(hear(&mut speech, &audio, 300), (audio, None));
    }

    #[test]
    fn another_one_is_joined_when_its_turn_ends() {
        let mut speech = speech(LINEAR);
        // Half a sample more than 100 ms was delivered.
        hear(&mut speech, &bytes(1601, 0), 160);
        speech.again();
        let (early, join) = hear(&mut speech, &bytes(1900, 5), 160);
        assert_eq!((early.len(), join), (0, None), "more may come");
        let mut inbox = Inbox::default();
        let join = speech.end(&mut inbox).unwrap();
        let rest = heard(&mut inbox);
        assert!(
            join.at >= 100_000 && join.moved.abs() <= 100_000,
            "{join:?}"
        );
        assert_eq!((1601 + rest.len()) % 2, 0, "whole samples");
    }

    #[test]
    fn a_difference_in_the_last_bytes_is_noticed() {
        let mut other = bytes(4000, 0);
        other[1597] ^= 1;
        let mut speech = speech(LINEAR);
        hear(&mut speech, &bytes(1598, 0), 160);
        speech.again();
        let (_, join) = hear(&mut speech, &other, 160);
        assert!(join.is_some());
    }

    #[test]
    fn an_unknown_codec_is_cut_at_the_byte() {
        let mut speech = speech("encoding=opus");
        hear(&mut speech, &bytes(3000, 0), 160);
        speech.again();
        let other = bytes(5000, 9);
        let (rest, join) = hear(&mut speech, &other, 160);
        assert_eq!(rest, other[3000..]);
        assert_eq!(join, Some(Join { at: 0, moved: 0 }));
    }

    #[test]
    fn what_could_be_a_header_waits_until_it_is_clear() {
        let mut speech = speech(LINEAR);
        let (nothing, _) = hear(&mut speech, b"RI", 2);
        assert_eq!(nothing, b"");
        let (all, _) = hear(&mut speech, b"ng", 2);
        assert_eq!(all, b"RIng");
        speech.next_turn();
        hear(&mut speech, b"RIFF", 4);
        let mut inbox = Inbox::default();
        speech.end(&mut inbox);
        assert_eq!(heard(&mut inbox), b"RIFF", "short speech");
    }
}
