//! One `TurnInfo` message: read on the session's clock, and changed into the session's.

use std::ops::Range;

use super::results::SLACK;
use super::rewrite::{Edits, ROUNDING, seconds};
use super::scan::Node;
use super::turns::{Event, News, Report};

/// The counts that are believed. JSON numbers are 64-bit floats to many clients, and those are not
/// exact beyond.
pub const COUNTS: Range<i64> = 0..1 << 53;

/// A `TurnInfo` message as a leg sent it.
#[derive(Debug)]
pub struct TurnInfo<'a> {
    /// What it reports.
    pub event: Event,
    /// Why the turn ended; `None` where the message does not say.
    pub trigger: Option<&'a str>,
    /// The leg's start on the session's clock, in microseconds.
    offset: i64,
    /// The words that remain.
    kept: Kept<'a>,
    index: i64,
    start: i64,
    end: i64,
    /// Start and end, as printed.
    printed: (i64, i64),
    root: Node<'a>,
    nodes: Nodes<'a>,
}

#[derive(Debug)]
struct Nodes<'a> {
    event: Node<'a>,
    index: Node<'a>,
    start: Node<'a>,
    end: Node<'a>,
    transcript: Node<'a>,
    words: Option<Node<'a>>,
    trigger: Option<Node<'a>>,
}

/// The words that no earlier turn has.
#[derive(Debug)]
enum Kept<'a> {
    /// All of them.
    All(&'a str),
    /// From the word with this index on, with their transcript.
    From(usize, String),
}

/// Returns a word's times in microseconds of the session; `None` where the model does not give
/// them.
fn times(word: &Node<'_>, offset: i64) -> Option<(i64, i64)> {
    let start = word.get("start")?.micros()? + offset;
    Some((start, word.get("end")?.micros()? + offset))
}

impl<'a> TurnInfo<'a> {
    /// Reads a message of a leg that starts at `offset`, without the words before `ended`, which
    /// earlier turns have. `None` where it lacks a field that every one has.
    #[must_use]
    pub fn read(root: Node<'a>, offset: i64, ended: i64) -> Option<Self> {
        let (mut event, mut index, mut start, mut end) = (None, None, None, None);
        let (mut transcript, mut words, mut trigger) = (None, None, None);
        for (key, value) in root.members() {
            match key {
                "event" => event = Some(value),
                "turn_index" => index = Some(value),
                "audio_window_start" => start = Some(value),
                "audio_window_end" => end = Some(value),
                "transcript" => transcript = Some(value),
                "words" => words = Some(value),
                "trigger" => trigger = Some(value),
                _ => {}
            }
        }
        let nodes = Nodes {
            event: event?,
            index: index?,
            start: start?,
            end: end?,
            transcript: transcript?,
            words,
            trigger,
        };
        let printed = (nodes.start.micros()?, nodes.end.micros()?);
        let (start, end) = (printed.0 + offset, printed.1 + offset);
        let text = nodes.transcript.raw_str()?;
        let kept = if start < ended {
            clip(&nodes, offset, ended, end)
        } else {
            None
        };
        Some(Self {
            // An unknown event changes no known state.
            event: Event::named(nodes.event.raw_str()?).unwrap_or(Event::Update),
            trigger: trigger.and_then(|node| node.raw_str()),
            offset,
            kept: kept.unwrap_or(Kept::All(text)),
            index: nodes
                .index
                .integer()
                .filter(|index| COUNTS.contains(index))?,
            start,
            end,
            printed,
            root,
            nodes,
        })
    }

    /// Takes back a claim about audio behind `sent`, the end of what the leg was sent; windows had
    /// come up to `known`. The true end of the window is unknown; it is not before the last word
    /// that can be true. Returns the claimed end, if it was false.
    pub fn cut(&mut self, sent: i64, known: i64) -> Option<i64> {
        let claimed = self.end;
        if claimed <= sent.saturating_add(SLACK) {
            // A rounded end is cut to the end of the audio.
            if claimed > sent.saturating_add(ROUNDING) {
                (self.start, self.end) = (self.start.min(sent), sent);
            }
            return None;
        }
        let known = known.min(sent);
        if self.start > sent {
            self.start = known;
        }
        let words = self.nodes.words.into_iter();
        let ends = words.flat_map(|words| words.elements());
        let ends = ends.filter_map(|word| times(&word, self.offset));
        let ends = ends.map(|(_, end)| end);
        let last = ends.filter(|end| *end <= sent + ROUNDING).max();
        self.end = match last {
            Some(last) => last.min(sent).max(known).max(self.start),
            None if known > self.start => known,
            // There are no words.
            None if self.nodes.transcript.raw_str() == Some("") => self.start,
            // No word has a time, and there was no window before.
            None => sent,
        };
        Some(claimed)
    }

    /// Returns it as turns need it.
    #[must_use]
    pub fn report(&self) -> Report<'_> {
        let (transcript, clipped) = match &self.kept {
            Kept::All(text) => (*text, false),
            Kept::From(_, text) => (text.as_str(), true),
        };
        Report {
            event: self.event,
            index: self.index,
            start: self.start,
            end: self.end,
            transcript,
            clipped,
        }
    }

    /// Returns the changes that make it report an `event` of this news. A made event is one that
    /// the leg did not report, about the same audio.
    #[must_use]
    pub fn edits(&self, news: &News, event: Event) -> Edits {
        let mut edits = Edits::default();
        if event != self.event {
            edits.replace(self.nodes.event.span(), format!("\"{}\"", event.name()));
        }
        if news.index != self.index {
            edits.replace(self.nodes.index.span(), news.index.to_string());
        }
        for (node, printed, is) in [
            (self.nodes.start, self.printed.0, news.start),
            (self.nodes.end, self.printed.1, news.end),
        ] {
            if is != printed {
                edits.replace(node.span(), seconds(is));
            }
        }
        self.edit_words(&mut edits);
        // Only the end of a turn has a trigger.
        if let Some(trigger) = self.nodes.trigger.filter(|_| event != Event::EndOfTurn) {
            match self.member_before(trigger) {
                Some(start) => edits.replace(start..trigger.span().end, String::new()),
                None => edits.replace(trigger.span(), "null".into()),
            }
        }
        edits
    }

    /// Returns where the member with this value starts, with the comma before it.
    fn member_before(&self, value: Node<'a>) -> Option<usize> {
        let base = self.root.span().start;
        let before = self.root.text().get(..value.span().start - base)?;
        let key = before
            .trim_end()
            .strip_suffix(':')?
            .trim_end()
            .strip_suffix('"')?;
        let before = &key[..key.rfind('"')?];
        Some(base + before.trim_end().strip_suffix(',')?.len())
    }

    fn edit_words(&self, edits: &mut Edits) {
        let words = self
            .nodes
            .words
            .into_iter()
            .flat_map(|words| words.elements());
        match &self.kept {
            Kept::All(_) if self.offset == 0 => {}
            Kept::All(_) => {
                for word in words {
                    shift(&word, 0, self.offset, edits);
                }
            }
            Kept::From(first, transcript) => {
                let texts: Vec<String> = words
                    .skip(*first)
                    .map(|word| {
                        let mut own = Edits::default();
                        shift(&word, word.span().start, self.offset, &mut own);
                        own.apply(word.text())
                    })
                    .collect();
                if let Some(words) = self.nodes.words {
                    edits.replace(words.span(), format!("[{}]", texts.join(",")));
                }
                edits.replace(self.nodes.transcript.span(), format!("\"{transcript}\""));
            }
        }
    }
}

/// Moves a word's times, where it has any. Spans count from `base`.
fn shift(word: &Node<'_>, base: usize, offset: i64, edits: &mut Edits) {
    for key in ["start", "end"] {
        if let Some(node) = word.get(key).filter(|_| offset != 0)
            && let Some(micros) = node.micros()
        {
            let span = node.span();
            edits.replace(span.start - base..span.end - base, seconds(micros + offset));
        }
    }
}

/// Returns the words behind the last turn's end, by their midpoints; without times all or none
/// remain. `None` where all remain.
fn clip<'a>(nodes: &Nodes<'a>, offset: i64, ended: i64, end: i64) -> Option<Kept<'a>> {
    let words: Vec<Node<'a>> = nodes
        .words
        .into_iter()
        .flat_map(|words| words.elements())
        .collect();
    let timed: Option<Vec<(i64, i64)>> = words.iter().map(|word| times(word, offset)).collect();
    let first = match timed {
        Some(timed) => timed
            .iter()
            .take_while(|(start, end)| start + end < 2 * ended)
            .count(),
        None if nodes.start.micros()? + offset + end < 2 * ended => words.len(),
        None => 0,
    };
    if first == 0 {
        return None;
    }
    let written = words.iter().skip(first).filter_map(|word| word.get("word"));
    let written: Vec<&str> = written.filter_map(|word| word.raw_str()).collect();
    Some(Kept::From(first, written.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"type":"TurnInfo","request_id":"r","sequence_id":7,"event":"EndOfTurn","turn_index":1,"audio_window_start":2.00,"audio_window_end":4.5,"transcript":"Say \"hi\" now.","words":[{"word":"Say","confidence":1.0,"start":2.1,"end":2.3}, {"word":"\"hi\"","start":2.9,"end":3.1,"x":{"start":5}},{"word":"now.","start":3.5,"end":3.75}],"end_of_turn_confidence":0.85,"trigger":"model","new":[1e-7]}"#;

    fn read(text: &str, offset: i64, ended: i64) -> TurnInfo<'_> {
        TurnInfo::read(Node::root(text).unwrap(), offset, ended).unwrap()
    }

    fn news(event: Event, index: i64, start: i64, end: i64) -> News {
        News {
            made: None,
            event,
            index,
            start,
            end,
        }
    }

    #[test]
    fn in_its_place_nothing_changes() {
        let info = read(MESSAGE, 0, 2_000_000);
        let edits = info.edits(&news(Event::EndOfTurn, 1, 2_000_000, 4_500_000), info.event);
        assert!(edits.is_empty());
        assert_eq!(info.trigger, Some("model"));
        assert_eq!(info.report().transcript, r#"Say \"hi\" now."#);
    }

    #[test]
    fn a_later_leg_s_fields_move_and_nothing_else() {
        let info = read(MESSAGE, 10_250_000, 12_250_000);
        assert_eq!(
            (info.report().start, info.report().end),
            (12_250_000, 14_750_000)
        );
        let news = news(Event::EndOfTurn, 5, 12_000_000, 14_750_000);
        let text = info.edits(&news, Event::EndOfTurn).apply(MESSAGE);
        let expected = MESSAGE
            .replace(r#""turn_index":1"#, r#""turn_index":5"#)
            .replace(
                r#""audio_window_start":2.00"#,
                r#""audio_window_start":12.0"#,
            )
            .replace(r#""audio_window_end":4.5"#, r#""audio_window_end":14.75"#)
            .replace(r#""start":2.1,"end":2.3"#, r#""start":12.35,"end":12.55"#)
            .replace(r#""start":2.9,"end":3.1"#, r#""start":13.15,"end":13.35"#)
            .replace(r#""start":3.5,"end":3.75"#, r#""start":13.75,"end":14.0"#);
        assert_eq!(text, expected);
    }

    #[test]
    fn one_that_is_made_has_no_trigger() {
        let info = read(MESSAGE, 0, 0);
        let news = news(Event::EndOfTurn, 1, 2_000_000, 4_500_000);
        let text = info.edits(&news, Event::TurnResumed).apply(MESSAGE);
        let expected = MESSAGE
            .replace("\"EndOfTurn\"", "\"TurnResumed\"")
            .replace(r#","trigger":"model""#, "");
        assert_eq!(text, expected);
    }

    #[test]
    fn what_an_earlier_turn_has_is_clipped() {
        // The midpoint of "hi" is exactly on the edge, so it stays.
        let info = read(MESSAGE, 1_000_000, 4_000_000);
        assert_eq!(info.report().transcript, r#"\"hi\" now."#);
        assert!(info.report().clipped);
        let text = info.edits(&news(Event::EndOfTurn, 1, 4_000_000, 5_500_000), info.event);
        let text = text.apply(MESSAGE);
        let root = Node::root(&text).unwrap();
        assert_eq!(root.get("transcript").unwrap().text(), r#""\"hi\" now.""#);
        assert_eq!(
            root.get("words").unwrap().text(),
            r#"[{"word":"\"hi\"","start":3.9,"end":4.1,"x":{"start":5}},{"word":"now.","start":4.5,"end":4.75}]"#
        );
        assert_eq!(root.get("new").unwrap().text(), "[1e-7]");
    }

    #[test]
    fn words_without_times_go_together() {
        let text = MESSAGE.replace(r#""start":2.1,"#, "");
        assert!(!read(&text, 0, 3_200_000).report().clipped);
        let old = read(&text, 0, 3_300_000);
        assert!(old.report().clipped && old.report().transcript.is_empty());
    }

    #[test]
    fn what_lacks_a_field_is_no_turn_info() {
        for field in ["event", "turn_index", "audio_window_end", "transcript"] {
            let text = MESSAGE.replace(field, "other");
            assert!(
                TurnInfo::read(Node::root(&text).unwrap(), 0, 0).is_none(),
                "{field}"
            );
        }
    }

    #[test]
    fn an_event_that_is_not_known_keeps_its_name() {
        let text = MESSAGE
            .replace("\"EndOfTurn\"", "\"NewEvent\"")
            .replace("trigger", "cause");
        let info = read(&text, 1_000_000, 0);
        let news = news(Event::Update, 1, 3_000_000, 5_500_000);
        let moved = info.edits(&news, news.event).apply(&text);
        assert!(moved.contains("\"NewEvent\"") && moved.contains("\"audio_window_end\":5.5"));
    }
}
