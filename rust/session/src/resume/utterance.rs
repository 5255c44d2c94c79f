//! Utterances that were open when a leg ended: each is closed once, on the next leg.
//!
//! A leg does not know the words that an earlier leg has finalised, so it reports neither the end
//! nor the start of their utterance. An open utterance is carried over, per channel, and closed
//! when the new leg's results show that it is over.

use super::rewrite::ROUNDING;

/// The signs of an utterance's end that the application asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closers {
    /// `speech_final`: `endpointing` is not off.
    pub speech_final: bool,
    /// `UtteranceEnd` after this many microseconds without words.
    pub utterance_end: Option<i64>,
    /// The pause after which speech belongs to another utterance, in microseconds.
    pub pause: i64,
}

/// The words of one result, in microseconds on the session's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The start of the first one.
    pub first_start: i64,
    /// The start of the last one.
    pub last_start: i64,
    /// The end of the last one.
    pub last_end: i64,
}

/// What utterances need to know of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its words; `None` where it has none.
    pub spoken: Option<Spoken>,
    /// The end of its audio, in microseconds.
    pub end: i64,
    /// It is final.
    pub is_final: bool,
    /// It says that the utterance is over.
    pub speech_final: bool,
}

/// What closes an utterance around a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Close {
    /// An `UtteranceEnd` with this `last_word_end` comes before it.
    pub end_before: Option<i64>,
    /// An `UtteranceEnd` with this `last_word_end` comes after it.
    pub end_after: Option<i64>,
    /// Its `speech_final` is set.
    pub speech_final: bool,
}

/// What a new leg does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Carried {
    /// Finalised words have had no `speech_final`.
    words: bool,
    /// The end of the last of them, where no `UtteranceEnd` came after it.
    last_word: Option<i64>,
    /// Speech that starts before this time belongs to the open utterance.
    open_until: Option<i64>,
}

/// One channel's utterance.
///
/// ```text
///            SpeechStarted, words in a final
///   closed ──────────────────────────────────▶ open ──┐ a new leg: carried
///      ▲                                        │  ◀──┘
///      └────────────────────────────────────────┘
///            speech_final, UtteranceEnd: the service's own, or made here
/// ```
#[derive(Clone, Debug, Default)]
pub struct Utterance {
    words: bool,
    last_word: Option<i64>,
    open: bool,
    /// The end of the last word while open.
    last_open: Option<i64>,
    /// The latest `SpeechStarted` that was delivered.
    started: Option<i64>,
    /// The `last_word_end` of the latest `UtteranceEnd` that was delivered.
    ended: Option<i64>,
    /// A word came behind that end.
    heard_behind: bool,
    carried: Carried,
}

impl Utterance {
    /// Another leg begins. `from_start`: it hears everything again, so it closes what it opens.
    pub fn carry(&mut self, closers: Closers, from_start: bool) {
        self.carried = Carried {
            words: self.words && closers.speech_final && !from_start,
            last_word: self
                .last_word
                .filter(|_| closers.utterance_end.is_some() && !from_start),
            open_until: self
                .last_open
                .max(self.started)
                .filter(|_| self.open)
                .map(|at| at + closers.pause),
        };
    }

    /// Returns what a result of a later leg closes. Comes before [`Utterance::results`].
    pub fn close(&mut self, closers: Closers, observed: &Observed) -> Close {
        let mut close = Close::default();
        if let (Some(last), Some(pause)) = (self.carried.last_word, closers.utterance_end) {
            match observed.spoken {
                Some(spoken) if spoken.first_start - last >= pause => close.end_before = Some(last),
                // The utterance goes on, and the leg will close it.
                Some(_) if observed.is_final => self.carried.last_word = None,
                None if observed.end - last >= pause => close.end_after = Some(last),
                Some(_) | None => {}
            }
        }
        if self.carried.words && observed.is_final {
            self.carried.words = false;
            close.speech_final = observed.spoken.is_none();
        }
        close
    }

    /// A result was delivered.
    pub fn results(&mut self, observed: &Observed) {
        let ended = self.ended.unwrap_or(i64::MIN);
        if let Some(spoken) = observed.spoken {
            self.heard_behind |= spoken.last_start >= ended;
            if observed.is_final {
                self.words = true;
                self.open = true;
                self.last_open = Some(spoken.last_end);
                if spoken.last_start >= ended {
                    self.last_word = Some(spoken.last_end);
                }
            }
        }
        if observed.is_final && observed.speech_final {
            self.words = false;
            self.carried.words = false;
            self.shut(observed.end);
        }
    }

    /// A leg sends an `UtteranceEnd`, or one was made. Returns whether it is news. Without a time
    /// the service did not know the last word (-1).
    pub fn end(&mut self, last_word_end: Option<i64>, first_leg: bool) -> bool {
        let repeated = match (last_word_end, self.ended) {
            (Some(now), Some(before)) => now <= before || !self.heard_behind,
            (None, _) | (_, None) => false,
        };
        if repeated && !first_leg {
            return false;
        }
        self.ended = last_word_end.or(self.last_word).or(self.ended);
        self.last_word = None;
        self.heard_behind = false;
        self.carried.last_word = None;
        self.shut(last_word_end.unwrap_or(i64::MAX));
        true
    }

    /// A leg sends a `SpeechStarted`. Returns whether it is news.
    pub fn start(&mut self, at: i64, first_leg: bool) -> bool {
        let repeated = self.carried.open_until.is_some_and(|until| at <= until)
            || self.started.is_some_and(|started| at <= started + ROUNDING);
        if repeated && !first_leg {
            return false;
        }
        self.started = Some(self.started.map_or(at, |started| started.max(at)));
        self.open = true;
        true
    }

    /// Closes the utterance at `end`, unless speech has started behind it.
    fn shut(&mut self, end: i64) {
        // Each of the two times was rounded.
        let next = self
            .started
            .is_some_and(|started| started + ROUNDING >= end);
        if !next {
            self.open = false;
            self.last_open = None;
            self.carried.open_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Closers = Closers {
        speech_final: true,
        utterance_end: Some(1_000),
        pause: 1_000,
    };

    fn words(first_start: i64, last_end: i64) -> Observed {
        let spoken = Spoken {
            first_start,
            last_start: last_end - 100,
            last_end,
        };
        Observed {
            spoken: Some(spoken),
            end: last_end + 50,
            is_final: true,
            speech_final: false,
        }
    }

    fn nothing(end: i64) -> Observed {
        Observed {
            spoken: None,
            end,
            is_final: true,
            speech_final: false,
        }
    }

    fn open_at_a_reset() -> Utterance {
        let mut utterance = Utterance::default();
        assert!(utterance.start(100, true));
        utterance.results(&words(200, 2_000));
        utterance.carry(BOTH, false);
        utterance
    }

    #[test]
    fn the_first_empty_final_is_the_end_of_speech() {
        let mut utterance = open_at_a_reset();
        let observed = nothing(2_400);
        let close = utterance.close(BOTH, &observed);
        assert_eq!(
            close,
            Close {
                speech_final: true,
                ..Close::default()
            }
        );
        utterance.results(&Observed {
            speech_final: true,
            ..observed
        });
        assert_eq!(utterance.close(BOTH, &nothing(2_800)), Close::default());
        utterance.carry(BOTH, false);
        assert!(
            !utterance.close(BOTH, &nothing(2_900)).speech_final,
            "it was closed"
        );
    }

    #[test]
    fn an_utterance_that_goes_on_is_closed_by_its_leg() {
        let mut utterance = open_at_a_reset();
        let observed = words(2_300, 2_700);
        assert_eq!(utterance.close(BOTH, &observed), Close::default());
        utterance.results(&observed);
        assert_eq!(utterance.close(BOTH, &nothing(9_000)), Close::default());
    }

    #[test]
    fn a_pause_makes_an_utterance_end_once() {
        let mut utterance = open_at_a_reset();
        assert_eq!(utterance.close(BOTH, &nothing(2_900)).end_after, None);
        assert_eq!(
            utterance.close(BOTH, &nothing(3_000)).end_after,
            Some(2_000)
        );
        assert!(utterance.end(Some(2_000), false));
        assert_eq!(utterance.close(BOTH, &nothing(4_000)).end_after, None);
    }

    #[test]
    fn a_pause_before_words_ends_the_one_before() {
        let mut utterance = open_at_a_reset();
        assert_eq!(
            utterance.close(BOTH, &words(3_000, 3_500)).end_before,
            Some(2_000)
        );
    }

    #[test]
    fn interim_words_hold_the_end_back_but_do_not_decide() {
        let mut utterance = open_at_a_reset();
        let interim = Observed {
            is_final: false,
            ..words(2_500, 3_500)
        };
        assert_eq!(utterance.close(BOTH, &interim), Close::default());
        assert_eq!(
            utterance.close(BOTH, &nothing(3_500)).end_after,
            Some(2_000)
        );
    }

    #[test]
    fn what_was_not_asked_for_is_not_made() {
        let neither = Closers {
            speech_final: false,
            utterance_end: None,
            pause: 300,
        };
        let mut utterance = open_at_a_reset();
        utterance.carry(neither, false);
        assert_eq!(utterance.close(neither, &nothing(9_000)), Close::default());
        assert!(!utterance.start(2_300, false));
        assert!(utterance.start(2_301, false), "nothing would ever close it");
    }

    #[test]
    fn a_leg_that_hears_everything_again_closes_by_itself() {
        let mut utterance = open_at_a_reset();
        utterance.carry(BOTH, true);
        assert_eq!(utterance.close(BOTH, &nothing(9_000)), Close::default());
    }

    #[test]
    fn speech_starts_once() {
        let mut utterance = open_at_a_reset();
        assert!(!utterance.start(90, false));
        assert!(!utterance.start(2_100, false), "inside the open utterance");
        assert!(utterance.end(Some(2_000), false));
        assert!(!utterance.start(100, false), "not after the latest");
        assert!(utterance.start(3_000, false));
    }

    #[test]
    fn speech_that_started_behind_an_end_stays_open() {
        let mut utterance = open_at_a_reset();
        // Announced by the leg before, ahead of the results.
        assert!(utterance.start(5_000, true));
        utterance.carry(BOTH, false);
        utterance.results(&Observed {
            speech_final: true,
            ..nothing(2_400)
        });
        assert!(
            !utterance.start(5_040, false),
            "the same speech, heard a little later"
        );
        utterance.results(&Observed {
            speech_final: true,
            ..words(5_100, 6_000)
        });
        assert!(utterance.start(9_000, false));
    }

    #[test]
    fn an_utterance_end_is_said_once() {
        let mut utterance = Utterance::default();
        // From interim words that the next leg hears again, a little differently.
        assert!(utterance.end(Some(2_000), true));
        utterance.carry(BOTH, false);
        utterance.results(&words(1_500, 2_010));
        assert!(!utterance.end(Some(2_010), false));
        utterance.results(&words(2_500, 3_000));
        assert!(utterance.end(Some(3_000), false));
        assert!(utterance.end(None, false), "-1 says nothing to compare");
    }
}
