//! How the session's speech relates to the leg's: in time, and in characters.
//!
//! A leg counts from its own start. The session counts from the first leg's start, without the speech
//! that was synthesised again.

use crate::resume::rewrite::Edits;
use crate::resume::scan::Node;

/// What the service counts, and the sums of it: characters as they came, and billed ones.
pub(super) const CHARACTER_COUNTS: [(&str, &str); 2] = [
    ("input_character_count", "total_input_character_count"),
    ("billable_character_count", "total_billable_character_count"),
];

/// The latest time that is believed, in milliseconds: thirty years.
pub(super) const MAX_MILLIS: i64 = 1_000_000_000_000;

/// The session's time and the leg's, in microseconds of speech.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The session's speech before the first turn that is not acknowledged.
    turn_start: i64,
    /// The leg's speech before that turn.
    leg_turn_start: i64,
    /// How far the session's clock is ahead of the leg's.
    shift: i64,
}

impl Clock {
    /// Another leg begins, with the first turn that is not acknowledged.
    pub(super) const fn begin_leg(&mut self) {
        self.leg_turn_start = 0;
        self.shift = self.turn_start;
    }

    /// Returns the session's speech before the first turn that is not acknowledged.
    pub(super) const fn turn_start(&self) -> i64 {
        self.turn_start
    }

    /// Two syntheses of the turn were joined: the leg is `moved` behind in what follows.
    pub(super) const fn join(&mut self, moved: i64) {
        self.shift = self.turn_start - self.leg_turn_start + moved;
    }

    /// A turn is over: this much of it was delivered, and this much came on the leg.
    pub(super) const fn next_turn(&mut self, delivered: i64, on_leg: i64) {
        self.turn_start += delivered;
        self.leg_turn_start += on_leg;
        self.shift = self.turn_start - self.leg_turn_start;
    }

    /// A turn was interrupted: both clocks go on from what was played.
    pub(super) const fn interrupt(&mut self, session: i64, leg: i64) {
        (self.turn_start, self.leg_turn_start) = (session, leg);
        self.shift = session - leg;
    }

    /// Returns how far the session's clock is ahead of the leg's, in milliseconds.
    pub(super) const fn shift_millis(&self) -> i64 {
        millis(self.shift)
    }
}

/// The characters of all turns so far, by [`CHARACTER_COUNTS`].
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Of the acknowledged turns.
    acknowledged: [i64; 2],
    /// Of those before this leg.
    before_leg: [i64; 2],
}

impl Totals {
    /// Another leg begins.
    pub(super) const fn begin_leg(&mut self) {
        self.before_leg = self.acknowledged;
    }

    /// A turn is acknowledged.
    pub(super) fn add(&mut self, counts: [i64; 2]) {
        for (sum, count) in self.acknowledged.iter_mut().zip(counts) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Changes a leg's sums into the session's.
    pub(super) fn shift(&self, root: Node<'_>, edits: &mut Edits) {
        for ((_, key), before) in CHARACTER_COUNTS.iter().zip(self.before_leg) {
            shift(edits, root.get(key), before);
        }
    }
}

/// Returns a message's own counts, by [`CHARACTER_COUNTS`].
pub(super) fn character_counts(message: Option<Node<'_>>) -> [i64; 2] {
    CHARACTER_COUNTS.map(|(key, _)| {
        let node = message.and_then(|message| message.get(key));
        node.and_then(|node| node.integer()).unwrap_or(0)
    })
}

/// Moves a whole number of a message.
pub(super) fn shift(edits: &mut Edits, node: Option<Node<'_>>, by: i64) {
    if by != 0
        && let Some(node) = node
        && let Some(given) = node.integer()
    {
        edits.replace(node.span(), given.saturating_add(by).to_string());
    }
}

/// Rounds microseconds to milliseconds.
pub(super) const fn millis(micros: i64) -> i64 {
    (micros + 500).div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_goes_on_where_a_leg_starts_anew() {
        let mut clock = Clock::default();
        clock.next_turn(1_000_000, 1_000_000);
        assert_eq!(clock.shift_millis(), 0, "one leg");
        clock.begin_leg();
        assert_eq!(
            (clock.turn_start(), clock.shift_millis()),
            (1_000_000, 1000)
        );
        clock.join(20_000);
        assert_eq!(clock.shift_millis(), 1020, "the join was later");
        clock.next_turn(500_000, 480_000);
        assert_eq!(
            (clock.turn_start(), clock.shift_millis()),
            (1_500_000, 1020)
        );
        clock.interrupt(1_600_000, 600_000);
        assert_eq!(
            (clock.turn_start(), clock.shift_millis()),
            (1_600_000, 1000)
        );
    }

    #[test]
    fn sums_include_earlier_legs() {
        let mut totals = Totals::default();
        totals.add([5, 4]);
        totals.begin_leg();
        totals.add([i64::MAX, 1]);
        let text = r#"{"total_input_character_count":1,"total_billable_character_count":2}"#;
        let mut edits = Edits::default();
        totals.shift(Node::root(text).unwrap(), &mut edits);
        let expected = r#"{"total_input_character_count":6,"total_billable_character_count":6}"#;
        assert_eq!(edits.apply(text), expected);
    }
}
