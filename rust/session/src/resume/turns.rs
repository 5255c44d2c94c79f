//! Flux's turns over several legs: which event of a later leg is news, and as which event.
//!
//! ```text
//!              StartOfTurn              EagerEndOfTurn
//!   Between ───────────────▶ Ongoing ──────────────────▶ Awaiting
//!      ▲                     │     ▲                     │     │
//!      │      EndOfTurn      │     └─────────────────────┘     │
//!      └─────────────────────┤           TurnResumed           │
//!      └─────────────────────┴─────────────────────────────────┘
//!                             EndOfTurn
//! ```
//!
//! The application sees this machine, and each leg runs through it from its own start. A later leg
//! hears the audio behind the last end of a turn again, so its machine runs behind the
//! application's. What it reports about audio that was reported is dropped. What it reports behind
//! that becomes the event that follows from the application's state.
//!
//! The end of a turn is never dropped: each one behind the last delivered end is new, and has words
//! that no other turn has. It may come earlier than before, as a forced end hears less in a replay,
//! which runs faster. Then windows of its turn were delivered beyond it. They belong to the next
//! turn now, and are reported again as such.

use super::rewrite::ROUNDING;

/// How long before its end an Update without words acknowledges, in microseconds: a word may still
/// be on its way.
const WORD_UNDER_WAY: i64 = 2_000_000;

/// The audio between two Updates, in microseconds, roughly. The rest at the end is not reported.
const WINDOW: i64 = 250_000;

/// What a `TurnInfo` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// More audio; the state is the same.
    Update,
    /// Speech has started.
    StartOfTurn,
    /// The turn may be over.
    EagerEndOfTurn,
    /// It was not over.
    TurnResumed,
    /// The turn is over.
    EndOfTurn,
}

impl Event {
    /// Returns the event of this name; `None` where it is unknown.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "Update" => Self::Update,
            "StartOfTurn" => Self::StartOfTurn,
            "EagerEndOfTurn" => Self::EagerEndOfTurn,
            "TurnResumed" => Self::TurnResumed,
            "EndOfTurn" => Self::EndOfTurn,
            _ => return None,
        })
    }

    /// Returns its name in a message.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Update => "Update",
            Self::StartOfTurn => "StartOfTurn",
            Self::EagerEndOfTurn => "EagerEndOfTurn",
            Self::TurnResumed => "TurnResumed",
            Self::EndOfTurn => "EndOfTurn",
        }
    }
}

/// A `TurnInfo` of a leg; times in microseconds on the session's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// What it reports.
    pub event: Event,
    /// The turn's number on its leg.
    pub index: i64,
    /// The start of its window.
    pub start: i64,
    /// The end of its window.
    pub end: i64,
    /// The turn's transcript so far, as it stands in JSON, without the words that an earlier turn
    /// has.
    pub transcript: &'a str,
    /// An earlier turn has some of its words.
    pub clipped: bool,
}

/// A `TurnInfo` for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// An event that comes first. The leg did not report it, but the application needs it.
    pub made: Option<Event>,
    /// The event.
    pub event: Event,
    /// The turn's number.
    pub index: i64,
    /// The start of the window.
    pub start: i64,
    /// The end of the window.
    pub end: i64,
}

/// Where a leg's own turns stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegTurns {
    /// It is the session's first: its reports are passed on unchanged.
    first_leg: bool,
    /// The end of the last window of the open turn that an earlier leg reported.
    from: i64,
    /// It has reported the start of a turn and not its end.
    started: bool,
    /// The transcript of an eager end that it has not taken back.
    eager: Option<String>,
    /// A turn has ended on it, so it knows where the next one starts.
    ended: bool,
}

impl LegTurns {
    /// The leg was a standby: what it reported of its turn still holds.
    pub fn go_on(&mut self, before: Self) {
        self.started = before.started;
        self.eager = before.eager;
    }

    fn follow(&mut self, report: &Report<'_>) {
        match report.event {
            Event::Update => {}
            Event::StartOfTurn => self.started = true,
            Event::EagerEndOfTurn => {
                self.started = true;
                self.eager = Some(report.transcript.to_owned());
            }
            Event::TurnResumed => self.eager = None,
            Event::EndOfTurn => {
                self.started = false;
                self.eager = None;
            }
        }
    }
}

/// Where the session's turns stand for the application; times in microseconds.
#[derive(Debug, Default)]
pub struct Turns {
    /// The turn that is open, or comes next.
    index: i64,
    /// The start of its window, once it was delivered.
    start: Option<i64>,
    /// Its `StartOfTurn` was delivered.
    started: bool,
    /// The transcript of a delivered eager end that was not taken back.
    eager: Option<String>,
    /// The end of the last turn.
    ended: i64,
    /// The end of the last delivered window.
    reached: i64,
    /// The audio before it is not heard again.
    acked: i64,
    /// The time before which nothing is open; `None` inside a turn.
    quiet: Option<i64>,
}

impl Turns {
    /// Returns the time before which audio is not heard again.
    #[must_use]
    pub const fn acked(&self) -> i64 {
        self.acked
    }

    /// Returns the end of the last turn.
    #[must_use]
    pub const fn ended(&self) -> i64 {
        self.ended
    }

    /// Returns the end of the last delivered window.
    #[must_use]
    pub const fn reached(&self) -> i64 {
        self.reached
    }

    /// Returns whether no speech before this time is open, but for what is too short for a window.
    #[must_use]
    pub fn quiet_until(&self, time: i64) -> bool {
        self.acked >= time || self.quiet.is_some_and(|quiet| quiet + WINDOW > time)
    }

    /// Returns whether windows have come up to this time, but for what is too short for one.
    #[must_use]
    pub const fn reported_until(&self, time: i64) -> bool {
        self.reached + WINDOW > time
    }

    /// Returns whether windows have come up to this very time.
    #[must_use]
    pub const fn all_reported_until(&self, time: i64) -> bool {
        self.reached + ROUNDING >= time
    }

    /// The audio before this time is lost: no leg will report it.
    pub fn skip_to(&mut self, time: i64) {
        self.acked = self.acked.max(time);
    }

    /// A leg begins to speak for the session.
    pub fn begin_leg(&mut self, first_leg: bool) -> LegTurns {
        if !first_leg {
            self.start.get_or_insert(self.ended);
        }
        LegTurns {
            first_leg,
            from: self.reached,
            ..LegTurns::default()
        }
    }

    /// A standby reports. Returns whether that would be news: it reaches as far as what was
    /// delivered, or is the end of a turn that was not delivered.
    pub fn overhear(&self, leg: &mut LegTurns, report: &Report<'_>) -> bool {
        let ends = report.event == Event::EndOfTurn && report.end > self.ended + ROUNDING;
        if ends || report.end + ROUNDING >= self.reached {
            return true;
        }
        leg.follow(report);
        false
    }

    /// The current leg reports. Returns what is delivered, if it is news.
    pub fn hear(&mut self, leg: &mut LegTurns, report: &Report<'_>) -> Option<News> {
        leg.follow(report);
        self.settle(leg, report);
        let news = if leg.first_leg {
            Some(Self::unchanged(report))
        } else {
            self.news(leg, report)
        };
        let news = news?;
        self.start = Some(news.start);
        self.index = news.index;
        self.reached = news.end;
        for event in news.made.into_iter().chain([news.event]) {
            match event {
                Event::Update => {}
                Event::StartOfTurn => self.started = true,
                Event::EagerEndOfTurn => self.eager = Some(report.transcript.to_owned()),
                Event::TurnResumed => self.eager = None,
                Event::EndOfTurn => self.turn_ended(leg, news.end),
            }
        }
        Some(news)
    }

    /// Acknowledges what an event makes final, whether or not it is news.
    fn settle(&mut self, leg: &LegTurns, report: &Report<'_>) {
        match report.event {
            Event::Update if !leg.started && report.transcript.is_empty() => {
                self.acked = self.acked.max(report.end - WORD_UNDER_WAY);
                self.quiet = self.quiet.max(Some(report.end));
            }
            Event::Update if !leg.started => {}
            Event::Update | Event::StartOfTurn | Event::EagerEndOfTurn | Event::TurnResumed => {
                self.quiet = None;
            }
            Event::EndOfTurn => {
                self.acked = self.acked.max(report.end);
                self.quiet = self.quiet.max(Some(report.end));
            }
        }
    }

    fn turn_ended(&mut self, leg: &mut LegTurns, end: i64) {
        leg.ended = true;
        leg.from = end;
        self.ended = end;
        self.index += 1;
        self.start = None;
        self.started = false;
        self.eager = None;
    }

    const fn unchanged(report: &Report<'_>) -> News {
        News {
            made: None,
            event: report.event,
            index: report.index,
            start: report.start,
            end: report.end,
        }
    }

    /// Returns a later leg's report as it follows from the application's state.
    fn news(&self, leg: &LegTurns, report: &Report<'_>) -> Option<News> {
        let (made, event) = match report.event {
            Event::EndOfTurn => self.end_of_turn(leg, report)?,
            _ if report.end <= leg.from + ROUNDING => return None,
            event if self.started => self.within_a_turn(leg, event),
            event => between_turns(leg, event, report),
        };
        // The leg does not know the start of a turn that was open before it.
        let start = match self.start {
            Some(start) if !leg.ended => start,
            Some(_) | None => report.start.max(self.ended),
        };
        let end = report.end.max(start);
        Some(News {
            made,
            event,
            index: self.index,
            start,
            end,
        })
    }

    fn end_of_turn(&self, leg: &LegTurns, report: &Report<'_>) -> Option<(Option<Event>, Event)> {
        if report.end <= self.ended + ROUNDING {
            return None;
        }
        if report.clipped && report.transcript.is_empty() {
            // All its words are an earlier turn's, so the rest is silence.
            let news = !self.started && report.end > leg.from + ROUNDING;
            return news.then_some((None, Event::Update));
        }
        let made = match &self.eager {
            _ if !self.started => Some(Event::StartOfTurn),
            Some(eager) if eager != report.transcript => Some(Event::TurnResumed),
            Some(_) | None => None,
        };
        Some((made, Event::EndOfTurn))
    }

    fn within_a_turn(&self, leg: &LegTurns, event: Event) -> (Option<Event>, Event) {
        match event {
            // The leg may have come to the same eager end, without taking it back.
            Event::Update | Event::StartOfTurn if self.eager.is_some() => {
                let confirmed = self.eager == leg.eager;
                (
                    None,
                    if confirmed {
                        Event::Update
                    } else {
                        Event::TurnResumed
                    },
                )
            }
            Event::TurnResumed if self.eager.is_some() => (None, Event::TurnResumed),
            Event::Update | Event::StartOfTurn | Event::TurnResumed => (None, Event::Update),
            Event::EagerEndOfTurn | Event::EndOfTurn => {
                (self.eager.as_ref().map(|_| Event::TurnResumed), event)
            }
        }
    }
}

/// Returns the event where the application has had no `StartOfTurn`. The leg may have reported it
/// about audio that was delivered without words.
fn between_turns(leg: &LegTurns, event: Event, report: &Report<'_>) -> (Option<Event>, Event) {
    match event {
        Event::Update if leg.started && !report.transcript.is_empty() => (None, Event::StartOfTurn),
        Event::Update => (None, Event::Update),
        Event::StartOfTurn | Event::TurnResumed => (None, Event::StartOfTurn),
        Event::EagerEndOfTurn | Event::EndOfTurn => (Some(Event::StartOfTurn), event),
    }
}

#[cfg(test)]
mod tests {
    use Event::{EagerEndOfTurn, EndOfTurn, StartOfTurn, TurnResumed, Update};

    use super::*;

    /// An event of the leg: what it is, where its window ends, its transcript.
    type Given<'a> = (Event, i64, &'a str);
    /// An event of the session: what comes before it, what it is, where its window ends.
    type Expected = (Option<Event>, Event, i64);

    const fn report(event: Event, start: i64, end: i64, transcript: &str) -> Report<'_> {
        Report {
            event,
            index: 0,
            start,
            end,
            transcript,
            clipped: false,
        }
    }

    const fn news(made: Option<Event>, event: Event, index: i64, start: i64, end: i64) -> News {
        News {
            made,
            event,
            index,
            start,
            end,
        }
    }

    /// A first leg has ended in the middle of turn 0, after these events; seconds.
    fn after(events: &[(Event, i64, &str)]) -> (Turns, LegTurns) {
        let mut turns = Turns::default();
        let mut leg = turns.begin_leg(true);
        for (event, end, transcript) in events {
            let report = report(*event, 0, end * 1_000_000, transcript);
            assert_eq!(
                turns.hear(&mut leg, &report),
                Some(news(None, *event, 0, 0, end * 1_000_000))
            );
        }
        let leg = turns.begin_leg(false);
        (turns, leg)
    }

    /// What a later leg's events become: `made`, event, end in seconds.
    fn then(
        (turns, leg): &mut (Turns, LegTurns),
        events: &[(Event, i64, &str)],
    ) -> Vec<(Option<Event>, Event, i64)> {
        let mut told = Vec::new();
        for (event, end, transcript) in events {
            let report = report(*event, 0, end * 1_000_000, transcript);
            if let Some(news) = turns.hear(leg, &report) {
                told.push((news.made, news.event, news.end / 1_000_000));
            }
        }
        told
    }

    #[test]
    fn what_was_reported_is_not_said_again() {
        let mut state = after(&[(StartOfTurn, 1, "a"), (Update, 3, "a b")]);
        let told = then(
            &mut state,
            &[
                (StartOfTurn, 1, "a"),
                (Update, 3, "a b"),
                (Update, 4, "a b"),
            ],
        );
        assert_eq!(told, [(None, Update, 4)]);
    }

    #[test]
    fn a_turn_starts_once_even_if_late() {
        let mut state = after(&[(Update, 5, "")]);
        // It was reported without words; the leg finds some before its end.
        let told = then(
            &mut state,
            &[
                (StartOfTurn, 4, "a"),
                (Update, 5, "a"),
                (Update, 6, "a b"),
                (Update, 7, "a b"),
            ],
        );
        assert_eq!(told, [(None, StartOfTurn, 6), (None, Update, 7)]);
        let mut state = after(&[(Update, 5, "")]);
        let told = then(&mut state, &[(StartOfTurn, 4, "a"), (EndOfTurn, 6, "a")]);
        assert_eq!(told, [(Some(StartOfTurn), EndOfTurn, 6)]);
        let mut state = after(&[(StartOfTurn, 1, "a")]);
        let told = then(&mut state, &[(StartOfTurn, 2, "a")]);
        assert_eq!(told, [(None, Update, 2)]);
    }

    #[test]
    fn an_eager_end_is_confirmed_or_taken_back() {
        let events = [(StartOfTurn, 1, "a"), (EagerEndOfTurn, 3, "a")];
        let cases: [(&[Given<'_>], &[Expected]); 7] = [
            (&[(EndOfTurn, 4, "a")], &[(None, EndOfTurn, 4)]),
            (
                &[(EndOfTurn, 4, "a b")],
                &[(Some(TurnResumed), EndOfTurn, 4)],
            ),
            (&[(Update, 4, "a")], &[(None, TurnResumed, 4)]),
            (
                &[(Update, 4, "a b"), (Update, 5, "a b")],
                &[(None, TurnResumed, 4), (None, Update, 5)],
            ),
            (
                &[(EagerEndOfTurn, 4, "a")],
                &[(Some(TurnResumed), EagerEndOfTurn, 4)],
            ),
            // The leg has come to the same end, before or where the application knows it.
            (
                &[
                    (EagerEndOfTurn, 3, "a"),
                    (Update, 4, "a"),
                    (EndOfTurn, 5, "a"),
                ],
                &[(None, Update, 4), (None, EndOfTurn, 5)],
            ),
            (
                &[(EagerEndOfTurn, 3, "a"), (TurnResumed, 4, "a b")],
                &[(None, TurnResumed, 4)],
            ),
        ];
        for (told, expected) in cases {
            assert_eq!(then(&mut after(&events), told), expected, "{told:?}");
        }
    }

    #[test]
    fn what_the_application_never_saw_is_not_taken_back() {
        let mut state = after(&[(StartOfTurn, 1, "a"), (Update, 4, "a")]);
        let told = then(
            &mut state,
            &[
                (EagerEndOfTurn, 3, "a"),
                (TurnResumed, 5, "a b"),
                (EagerEndOfTurn, 6, "a b"),
            ],
        );
        assert_eq!(told, [(None, Update, 5), (None, EagerEndOfTurn, 6)]);
    }

    #[test]
    fn windows_and_numbers_go_on() {
        let mut turns = Turns::default();
        let mut leg = turns.begin_leg(true);
        turns.hear(&mut leg, &report(EndOfTurn, 0, 5_000_000, "a"));
        let update = Report {
            index: 1,
            ..report(Update, 5_000_000, 6_000_000, "")
        };
        turns.hear(&mut leg, &update);
        // It starts a little later than the turn that is open.
        let mut leg = turns.begin_leg(false);
        let first = turns.hear(&mut leg, &report(StartOfTurn, 5_500_000, 7_000_000, "b"));
        assert_eq!(
            first,
            Some(news(None, StartOfTurn, 1, 5_000_000, 7_000_000))
        );
        let end = turns.hear(&mut leg, &report(EndOfTurn, 5_500_000, 8_000_000, "b"));
        assert_eq!(end, Some(news(None, EndOfTurn, 1, 5_000_000, 8_000_000)));
        let next = turns.hear(&mut leg, &report(StartOfTurn, 8_000_000, 9_000_000, "c"));
        assert_eq!(next, Some(news(None, StartOfTurn, 2, 8_000_000, 9_000_000)));
    }

    #[test]
    fn an_end_that_comes_earlier_in_a_replay_ends_the_turn_there() {
        let mut state = after(&[(StartOfTurn, 1, "a"), (Update, 9, "a b c")]);
        let told = then(&mut state, &[(EndOfTurn, 6, "a b"), (StartOfTurn, 7, "c")]);
        assert_eq!(told, [(None, EndOfTurn, 6), (None, StartOfTurn, 7)]);
    }

    #[test]
    fn a_turn_that_is_heard_from_the_start_again_is_not_ended_again() {
        let mut state = after(&[(StartOfTurn, 1, "a"), (EndOfTurn, 4, "a")]);
        assert_eq!(
            then(&mut state, &[(StartOfTurn, 1, ""), (EndOfTurn, 4, "")]),
            []
        );
        let (mut turns, mut leg) = after(&[(StartOfTurn, 1, "a"), (EndOfTurn, 4, "a")]);
        let nothing_new = Report {
            clipped: true,
            ..report(EndOfTurn, 0, 5_000_000, "")
        };
        let silence = Some(news(None, Update, 1, 4_000_000, 5_000_000));
        assert_eq!(turns.hear(&mut leg, &nothing_new), silence);
        let next = turns.hear(&mut leg, &report(StartOfTurn, 5_000_000, 6_000_000, "b"));
        assert_eq!(next, Some(news(None, StartOfTurn, 1, 4_000_000, 6_000_000)));
    }

    #[test]
    fn a_turn_without_words_of_its_own_ends_nothing() {
        let mut state = after(&[(StartOfTurn, 1, "a"), (EndOfTurn, 4, "a"), (Update, 7, "")]);
        let (turns, leg) = &mut state;
        let nothing_new = Report {
            clipped: true,
            ..report(EndOfTurn, 0, 6_000_000, "")
        };
        assert_eq!(turns.hear(leg, &nothing_new), None, "it was reported");
    }

    #[test]
    fn silence_acknowledges_all_but_two_seconds() {
        let mut turns = Turns::default();
        let mut leg = turns.begin_leg(true);
        turns.hear(&mut leg, &report(Update, 0, 5_000_000, ""));
        assert_eq!(turns.acked(), 3_000_000);
        assert!(turns.quiet_until(5_200_000) && !turns.quiet_until(5_300_000));
        assert!(turns.reported_until(5_200_000) && !turns.reported_until(5_300_000));
        turns.hear(&mut leg, &report(StartOfTurn, 0, 6_000_000, "a"));
        turns.hear(&mut leg, &report(Update, 0, 9_000_000, "a"));
        assert_eq!(turns.acked(), 3_000_000, "a turn is open");
        assert!(!turns.quiet_until(5_200_000));
        turns.hear(&mut leg, &report(EndOfTurn, 0, 10_000_000, "a"));
        assert_eq!(turns.acked(), 10_000_000);
        assert!(turns.quiet_until(10_000_000));
    }
}
