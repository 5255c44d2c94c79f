//! One `TurnInfo` message: read on the session's clock, and put into the session's words.

use std::ops::Range;

use super::results::SLACK;
use super::rewrite::{Edits, ROUNDING, seconds};
use super::scan::Node;
use super::turns::{Event, News, Report};

/// The counts that are believed. Beyond them a 64-bit float, which is what JSON numbers are to many
/// clients, is not exact.
pub const COUNTS: Range<i64> = 0..1 << 53;

/// A `TurnInfo` message as a leg sent it.
#[derive(Debug)]
pub struct TurnInfo<'a> {
    /// What it reports.
    pub event: Event,
    /// Why the turn ended, where it says so.
    pub trigger: Option<&'a str>,
    /// The leg's start on the session's clock.
    offset: i64,
    /// What remains of it.
    kept: Kept<'a>,
    index: i64,
    start: i64,
    end: i64,
    /// Both, as printed.
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
    /// From the word with this number on; the transcript is theirs.
    From(usize, String),
}

/// A word's times, on the session's clock; a model may not say them.
fn times(word: &Node<'_>, offset: i64) -> Option<(i64, i64)> {
    let start = word.get("start")?.micros()? + offset;
    Some((start, word.get("end")?.micros()? + offset))
}

impl<'a> TurnInfo<'a> {
    /// Reads a message of a leg that starts at `offset`, without what was said before `ended`:
    /// earlier turns have that. `None` where a field is missing that every one has.
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
            // One that is not known yet changes nothing that is known.
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

    /// Takes back what it says of audio that the leg was not sent: it was sent `sent`, and windows
    /// had come up to `known`. Nobody can have heard that, so where its window ends is not known:
    /// not before the last of its words that can be true. What it claimed, if it did.
    pub fn cut(&mut self, sent: i64, known: i64) -> Option<i64> {
        let claimed = self.end;
        if claimed <= sent.saturating_add(SLACK) {
            // What is rounded up ends where the audio does.
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
            // Without a word at all.
            None if self.nodes.transcript.raw_str() == Some("") => self.start,
            // Without a word that has a time, and without a window before it.
            None => sent,
        };
        Some(claimed)
    }

    /// What turns need to know of it.
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

    /// What has to change in its text for it to say this. One that is made reports an event that
    /// the leg did not, about the same audio.
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
        // Only the end of a turn has one.
        if let Some(trigger) = self.nodes.trigger.filter(|_| event != Event::EndOfTurn) {
            match self.member_before(trigger) {
                Some(start) => edits.replace(start..trigger.span().end, String::new()),
                None => edits.replace(trigger.span(), "null".into()),
            }
        }
        edits
    }

    /// Where the member with this value starts, with the comma in front of it.
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

/// What remains behind the last turn's end: the words whose midpoint does not lie before it; where
/// words have no times, all or nothing.
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
        // "hi" has its midpoint exactly on the edge: it stays.
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
