//! Which rules strike a leg, and when.

use std::time::Duration;

use super::conversation::{Conversation, Locator, Strikes};
use super::vocabulary::{Action, Fault, Scope, Trigger, covers};
use crate::audio::Format;

/// All rules of an endpoint.
#[derive(Debug)]
pub(crate) struct Rules {
    faults: Vec<Fault>,
    strikes: Strikes,
}

/// How far a leg has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress<'a> {
    pub(crate) opening: bool,
    pub(crate) elapsed: Duration,
    pub(crate) audio_seconds: f64,
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    pub(crate) replies: u64,
    pub(crate) chunks: u64,
    /// The type of the text message that has just arrived.
    pub(crate) control: Option<&'a str>,
    pub(crate) next_open: bool,
}

/// The rules that may still strike on one leg.
#[derive(Debug)]
pub(crate) struct Armed {
    /// Index of the rule, and whether it has struck.
    rules: Vec<(usize, bool)>,
    locator: Option<Locator>,
}

impl Rules {
    /// Rules of which none has struck.
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self {
            faults,
            strikes: Strikes::default(),
        }
    }

    /// Returns the rules for the endpoint's `open`-th leg, which is its conversation's `leg`-th.
    pub(crate) fn arm(&self, path: &str, open: u64, leg: u64) -> Armed {
        let matches = |fault: &Fault| {
            let ordinal = match fault.scope {
                Scope::Endpoint => open,
                Scope::Conversation => leg,
            };
            covers(fault.legs, ordinal) && fault.path.as_deref().is_none_or(|only| only == path)
        };
        let armed: Vec<_> = self
            .faults
            .iter()
            .enumerate()
            .filter(|(_, fault)| matches(fault))
            .collect();
        let locates = armed
            .iter()
            .any(|(_, fault)| matches!(fault.when, Trigger::NewAudio { .. }));
        Armed {
            rules: armed.into_iter().map(|(index, _)| (index, false)).collect(),
            locator: locates.then(Locator::default),
        }
    }

    /// Returns whether any rule counts watermarked chunks.
    pub(crate) fn counts_chunks(&self) -> bool {
        let counts = |fault: &Fault| {
            matches!(
                fault.when,
                Trigger::Chunks { .. } | Trigger::NewChunks { .. }
            )
        };
        self.faults.iter().any(counts)
    }

    /// Returns the action of the first rule of `armed` that strikes now. Several may strike: call
    /// again until there is none.
    pub(crate) fn strike(
        &self,
        armed: &mut Armed,
        at: &Conversation,
        progress: &Progress<'_>,
    ) -> Option<Action> {
        for (index, done) in &mut armed.rules {
            if *done {
                continue;
            }
            let fault = &self.faults[*index];
            let reached = |count: u64, so_far: u64| so_far >= count;
            let due = match &fault.when {
                Trigger::Opening => progress.opening,
                Trigger::Audio { seconds } => progress.audio_seconds + 1e-9 >= *seconds,
                Trigger::Bytes { count } => reached(*count, progress.bytes),
                Trigger::Messages { count } => reached(*count, progress.messages),
                Trigger::Replies { count } => reached(*count, progress.replies),
                Trigger::Chunks { count } => reached(*count, progress.chunks),
                Trigger::Control { name } => progress.control == Some(name),
                Trigger::Elapsed { seconds } => {
                    !progress.opening && progress.elapsed.as_secs_f64() >= *seconds
                }
                Trigger::NextOpen => progress.next_open,
                Trigger::NewChunks { count } => at.passes_chunks(*index, *count),
                Trigger::NewAudio { seconds } => {
                    let format = armed
                        .locator
                        .as_ref()
                        .map_or(Format::OTHER, |locator| locator.format);
                    let bytes = format.frames(*seconds) * format.frame() as u64;
                    at.passes_audio(*index, bytes)
                }
            };
            if !due {
                continue;
            }
            *done = !matches!(
                fault.when,
                Trigger::NewChunks { .. } | Trigger::NewAudio { .. }
            );
            let strikes = match fault.scope {
                Scope::Endpoint => &self.strikes,
                Scope::Conversation => &at.strikes,
            };
            if strikes.count(*index, fault.times) {
                return Some(fault.action.clone());
            }
        }
        None
    }

    /// Returns when the next rule on time strikes, counted from the answer.
    pub(crate) fn deadline(&self, armed: &Armed) -> Option<Duration> {
        let waiting = armed.rules.iter().filter(|(_, done)| !done);
        let times = waiting.filter_map(|(index, _)| match self.faults[*index].when {
            Trigger::Elapsed { seconds } => Duration::try_from_secs_f64(seconds).ok(),
            _ => None,
        });
        times.min()
    }

    /// Returns whether any rule waits for the conversation's next leg.
    pub(crate) fn awaits_next_open(&self, armed: &Armed) -> bool {
        let waits = |(index, done): &(usize, bool)| {
            !done && matches!(self.faults[*index].when, Trigger::NextOpen)
        };
        armed.rules.iter().any(waits)
    }
}

impl Armed {
    /// Takes audio of the leg. Rules on new audio compare it with the conversation's.
    pub(crate) fn hear(&mut self, at: &Conversation, audio: &[u8], format: Format) {
        if let Some(locator) = &mut self.locator {
            locator.format = format;
            at.hear_audio(audio, locator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::Ordinals;
    use super::*;

    fn fault(when: Trigger) -> Fault {
        Fault {
            action: Action::EndEarly,
            when,
            legs: None,
            times: None,
            scope: Scope::Endpoint,
            path: None,
        }
    }

    fn strikes(
        rules: &Rules,
        armed: &mut Armed,
        at: &Conversation,
        progress: Progress<'_>,
    ) -> bool {
        rules.strike(armed, at, &progress).is_some()
    }

    #[test]
    fn a_rule_strikes_once_a_leg_and_as_often_as_it_may() {
        let once = Fault {
            times: Some(2),
            ..fault(Trigger::Messages { count: 3 })
        };
        let (rules, at) = (Rules::new(vec![once]), Conversation::new());
        let three = Progress {
            messages: 3,
            ..Progress::default()
        };
        for leg in 1..=3 {
            let mut armed = rules.arm("v1/listen", leg, leg);
            assert!(!strikes(
                &rules,
                &mut armed,
                &at,
                Progress {
                    messages: 2,
                    ..Progress::default()
                }
            ));
            assert_eq!(strikes(&rules, &mut armed, &at, three), leg < 3);
            assert!(!strikes(&rules, &mut armed, &at, three));
        }
    }

    #[test]
    fn opens_are_counted_in_the_scope() {
        let second_leg = Fault {
            legs: Some(Ordinals(2, Some(2), 1)),
            scope: Scope::Conversation,
            ..fault(Trigger::Opening)
        };
        let rules = Rules::new(vec![second_leg]);
        let (at, opening) = (
            Conversation::new(),
            Progress {
                opening: true,
                ..Progress::default()
            },
        );
        assert!(!strikes(
            &rules,
            &mut rules.arm("v1/listen", 2, 1),
            &at,
            opening
        ));
        assert!(strikes(
            &rules,
            &mut rules.arm("v1/listen", 9, 2),
            &at,
            opening
        ));
    }

    #[test]
    fn only_new_chunks_count_as_new() {
        let rules = Rules::new(vec![fault(Trigger::NewChunks { count: 50 })]);
        let at = Conversation::new();
        let mut struck = Vec::new();
        for leg in 0..3_u32 {
            let mut armed = rules.arm("v1/listen", 1, 1);
            // Each leg hears twenty chunks again.
            for number in (leg * 50).saturating_sub(20)..leg * 50 + 50 {
                at.hear_chunk(number);
                if strikes(&rules, &mut armed, &at, Progress::default()) {
                    struck.push(number);
                }
            }
        }
        assert_eq!(struck, [49, 99, 149]);
    }

    #[test]
    fn only_new_audio_counts_as_new() {
        let rules = Rules::new(vec![fault(Trigger::NewAudio { seconds: 1.0 })]);
        let at = Conversation::new();
        let audio: Vec<u8> = (0..400_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let second = usize::try_from(Format::OTHER.rate).unwrap();
        let mut armed = rules.arm("v1/listen", 1, 1);
        armed.hear(&at, &audio[..second - 1], Format::OTHER);
        assert!(!strikes(&rules, &mut armed, &at, Progress::default()));
        armed.hear(&at, &audio[second - 1..second], Format::OTHER);
        assert!(strikes(&rules, &mut armed, &at, Progress::default()));
        let mut armed = rules.arm("v1/listen", 2, 2);
        for piece in audio[second / 2..2 * second].chunks(640) {
            assert!(!strikes(&rules, &mut armed, &at, Progress::default()));
            armed.hear(&at, piece, Format::OTHER);
        }
        assert!(strikes(&rules, &mut armed, &at, Progress::default()));
    }

    #[test]
    fn only_the_path_asked_for() {
        let rules = Rules::new(vec![Fault {
            path: Some("v2/listen".into()),
            ..fault(Trigger::Opening)
        }]);
        let (at, opening) = (
            Conversation::new(),
            Progress {
                opening: true,
                ..Progress::default()
            },
        );
        assert!(!strikes(
            &rules,
            &mut rules.arm("v1/listen", 1, 1),
            &at,
            opening
        ));
        assert!(strikes(
            &rules,
            &mut rules.arm("v2/listen", 1, 1),
            &at,
            opening
        ));
    }
}
