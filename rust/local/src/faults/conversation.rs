//! What the legs of one conversation have heard together.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::audio::Format;

/// How often each rule has struck, by the rule's index.
#[derive(Debug, Default)]
pub(super) struct Strikes(Mutex<HashMap<usize, u64>>);

impl Strikes {
    /// Counts a strike of `rule`, unless it has struck `limit` times. Returns whether it counted.
    pub(super) fn count(&self, rule: usize, limit: Option<u64>) -> bool {
        let mut strikes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = strikes.entry(rule).or_default();
        let strikes = limit.is_none_or(|limit| *times < limit);
        *times += u64::from(strikes);
        strikes
    }
}

/// The legs with the same path and query: they count as one session.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// How many legs have opened.
    pub(crate) opens: watch::Sender<u64>,
    /// The strikes of rules that count by conversation.
    pub(super) strikes: Strikes,
    history: Mutex<History>,
}

/// Everything that any leg has heard, once.
#[derive(Debug, Default)]
struct History {
    chunks: BTreeSet<u32>,
    audio: Vec<u8>,
    /// The next threshold of each rule about new audio, in chunks or bytes.
    thresholds: HashMap<usize, u64>,
}

impl Conversation {
    /// Creates a conversation without legs.
    pub(crate) fn new() -> Self {
        Self {
            opens: watch::Sender::new(0),
            strikes: Strikes::default(),
            history: Mutex::default(),
        }
    }

    /// Notes a chunk that a leg has heard to its end.
    pub(crate) fn hear_chunk(&self, number: u32) {
        self.history().chunks.insert(number);
    }

    /// Notes audio of the leg that `locator` follows.
    pub(super) fn hear_audio(&self, audio: &[u8], locator: &mut Locator) {
        locator.hear(audio, &mut self.history().audio);
    }

    /// Returns whether the chunks heard reach the next threshold of `rule`, a multiple of `step`.
    /// Moves the threshold on.
    pub(super) fn passes_chunks(&self, rule: usize, step: u64) -> bool {
        let mut history = self.history();
        let total = history.chunks.len() as u64;
        history.passes(rule, step, total)
    }

    /// Like [`Self::passes_chunks`], for bytes of audio.
    pub(super) fn passes_audio(&self, rule: usize, step: u64) -> bool {
        let mut history = self.history();
        let total = history.audio.len() as u64;
        history.passes(rule, step, total)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl History {
    fn passes(&mut self, rule: usize, step: u64, total: u64) -> bool {
        let step = step.max(1);
        let threshold = self.thresholds.entry(rule).or_insert(step);
        let passed = total >= *threshold;
        if passed {
            *threshold = (total / step + 1) * step;
        }
        passed
    }
}

/// Finds where in a conversation's audio a leg begins.
#[derive(Debug)]
pub(super) struct Locator {
    /// The format of the leg's audio as far as it is known.
    pub(super) format: Format,
    /// The leg's first bytes, until it is located.
    head: Vec<u8>,
    /// Where the leg's next byte lies in the conversation's audio.
    at: Option<usize>,
}

impl Default for Locator {
    fn default() -> Self {
        Self {
            format: Format::OTHER,
            head: Vec::new(),
            at: None,
        }
    }
}

impl Locator {
    /// The bytes that locate a leg.
    const NEEDLE: usize = 1024;

    fn hear(&mut self, audio: &[u8], heard: &mut Vec<u8>) {
        match self.at {
            Some(at) => self.at = Some(Self::append(at, audio, heard)),
            None if heard.is_empty() => self.at = Some(Self::append(0, audio, heard)),
            None => {
                self.head.extend_from_slice(audio);
                if let Some(needle) = self.head.get(..Self::NEEDLE) {
                    // The last match counts: a cut never lies far back. Without a match all of it
                    // is new.
                    let at = memchr::memmem::rfind(heard, needle).unwrap_or(heard.len());
                    self.at = Some(Self::append(at, &std::mem::take(&mut self.head), heard));
                }
            }
        }
    }

    fn append(at: usize, audio: &[u8], heard: &mut Vec<u8>) -> usize {
        let known = heard.len().saturating_sub(at).min(audio.len());
        heard.extend_from_slice(&audio[known..]);
        at + audio.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: u32) -> Vec<u8> {
        (0..length)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect()
    }

    #[test]
    fn a_limit_is_kept_for_each_rule() {
        let strikes = Strikes::default();
        assert!(strikes.count(0, Some(1)));
        assert!(!strikes.count(0, Some(1)));
        assert!(strikes.count(1, Some(1)));
        assert!(strikes.count(0, None));
    }

    #[test]
    fn replayed_audio_is_not_heard_twice() {
        let (mut heard, audio) = (Vec::new(), noise(20_000));
        Locator::default().hear(&audio[..12_000], &mut heard);
        let mut later = Locator::default();
        for piece in audio[8_000..].chunks(640) {
            later.hear(piece, &mut heard);
        }
        assert_eq!(heard, audio);
    }

    #[test]
    fn audio_that_is_found_nowhere_is_new() {
        let (mut heard, audio) = (Vec::new(), noise(4_000));
        Locator::default().hear(&audio[..2_000], &mut heard);
        Locator::default().hear(&audio[2_000..], &mut heard);
        assert_eq!(heard, audio);
    }
}
