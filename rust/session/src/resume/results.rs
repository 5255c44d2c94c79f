//! One `Results` message: read, shifted to the session's clock, and clipped to what is new.

use super::rewrite::{Edits, ROUNDING, seconds};
use super::scan::{Node, to_micros};
use super::segments::{Clip, Dropped, is_list};
use super::utterance::Spoken;

/// The most channels that an announcement is believed for.
const MAX_CHANNELS: usize = 256;

/// How far behind the audio that was sent a message may end, in microseconds: a service may round
/// up to a frame of its own.
pub const SLACK: i64 = 100_000;

/// A time before all audio, small enough that sums do not overflow.
const NOWHERE: i64 = i64::MIN / 4;

/// Returns the channel and the number of channels, from a list such as `[0, 2]`; `(0, 1)` where it
/// is not one.
#[must_use]
pub fn channel_of(node: Option<Node<'_>>) -> (usize, usize) {
    let mut numbers = node
        .into_iter()
        .flat_map(|node| node.elements())
        .map(|node| usize::try_from(node.integer()?).ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(channel), Some(channels)) if channel < channels && channels <= MAX_CHANNELS => {
            (channel, channels)
        }
        _ => (0, 1),
    }
}

/// A `Results` message as the leg sent it; times in microseconds on the leg's clock.
#[derive(Debug)]
pub struct Results<'a> {
    /// The channel.
    pub channel: usize,
    /// The number of channels.
    pub channels: usize,
    /// The start of its audio.
    pub start: i64,
    /// The end of its audio.
    pub end: i64,
    /// It is final.
    pub is_final: bool,
    /// It answers a `Finalize`.
    pub from_finalize: bool,
    /// Whether the utterance is over; `None` where the message does not say.
    pub speech_final: Option<bool>,
    /// Its start and length, as printed.
    printed: (i64, i64),
    /// The end of what the leg was sent, where the message makes a false claim.
    cut: Option<i64>,
    /// It ended behind what the leg was sent, by no more than a rounding.
    rounded: bool,
    nodes: Nodes<'a>,
}

#[derive(Debug)]
struct Nodes<'a> {
    start: Node<'a>,
    duration: Node<'a>,
    speech_final: Option<Node<'a>>,
    channel: Option<Node<'a>>,
    /// Lists that point at words or times.
    lists: Vec<(&'a str, Node<'a>)>,
}

/// A word's times, in microseconds on the leg's clock plus the reader's offset.
#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    node: Node<'a>,
    start: Node<'a>,
    end: Node<'a>,
    start_micros: i64,
    end_micros: i64,
}

/// A result on the session's clock, clipped.
#[derive(Debug)]
pub struct Placed {
    /// The end of its audio.
    pub end: i64,
    /// The words that remain.
    pub spoken: Option<Spoken>,
    /// The changes to its text.
    pub edits: Edits,
}

impl<'a> Results<'a> {
    /// Reads a message; `None` where it lacks a field that every result has.
    #[must_use]
    pub fn read(root: Node<'a>) -> Option<Self> {
        let (mut start, mut duration, mut is_final) = (None, None, None);
        let (mut speech_final, mut from_finalize) = (None, None);
        let (mut channel, mut channel_index) = (None, None);
        let mut pointers = Vec::new();
        for (key, value) in root.members() {
            match key {
                "start" => start = Some(value),
                "duration" => duration = Some(value),
                "is_final" => is_final = value.bool(),
                "speech_final" => speech_final = Some(value),
                "from_finalize" => from_finalize = value.bool(),
                "channel" => channel = Some(value),
                "channel_index" => channel_index = Some(value),
                _ if is_list(key) => pointers.push((key, value)),
                _ => {}
            }
        }
        let (start, duration) = (start?, duration?);
        let (index, channels) = channel_of(channel_index);
        let (from, lasts) = (start.seconds()?, duration.seconds()?.max(0.0));
        let start_micros = to_micros(from)?;
        Some(Self {
            channel: index,
            channels,
            start: start_micros,
            // Rounded once: two roundings could add up to a sample.
            end: to_micros(from + lasts)?.max(start_micros),
            printed: (start_micros, to_micros(lasts)?),
            cut: None,
            rounded: false,
            is_final: is_final?,
            from_finalize: from_finalize.unwrap_or(false),
            speech_final: speech_final.and_then(|node| node.bool()),
            nodes: Nodes {
                start,
                duration,
                speech_final,
                channel,
                lists: pointers,
            },
        })
    }

    /// Takes back a claim about audio behind `sent`, the end of what the leg was sent. The true end
    /// is unknown; it is not before the last word that can be true. A result that starts behind
    /// `sent` says nothing about the audio behind `known`. A rounded end is cut to `sent`. Returns
    /// whether the claim was false. Times are the leg's.
    pub fn cut(&mut self, sent: i64, known: i64) -> bool {
        if self.end <= sent.saturating_add(ROUNDING) {
            return false;
        }
        if self.end <= sent.saturating_add(SLACK) {
            (self.start, self.end) = (self.start.min(sent), sent);
            self.rounded = true;
            return false;
        }
        if self.start > sent {
            self.start = known.min(sent);
        }
        let words = self
            .alternatives()
            .next()
            .and_then(|first| first.get("words"));
        let ends = words.into_iter().flat_map(|words| words.elements());
        let ends = ends.filter_map(|word| word.get("end")?.micros());
        let last = ends.filter(|end| *end <= sent + ROUNDING).max();
        self.end = last.map_or(self.start, |last| last.min(sent).max(self.start));
        self.cut = Some(sent);
        true
    }

    /// Returns whether it made a false claim.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Returns whether its times were changed.
    #[must_use]
    pub const fn is_changed(&self) -> bool {
        self.cut.is_some() || self.rounded
    }

    fn alternatives(&self) -> impl Iterator<Item = Node<'a>> + use<'a> {
        let list = self
            .nodes
            .channel
            .and_then(|channel| channel.get("alternatives"));
        list.into_iter().flat_map(|list| list.elements())
    }

    /// Returns the words of the first alternative, on the leg's clock.
    #[must_use]
    pub fn spoken(&self) -> Option<Spoken> {
        let words = self.alternatives().next()?.get("words")?;
        spoken(
            words
                .elements()
                .filter_map(|node| Word::read(node, 0, self.cut)),
        )
    }

    /// Returns the whole message on the session's clock.
    #[must_use]
    pub fn moved(&self, offset: i64) -> Placed {
        self.place(offset, NOWHERE)
    }

    /// Returns the message on the session's clock, which is `offset` ahead of the leg's, without
    /// what lies before `from`: its channel's last delivered end.
    #[must_use]
    pub fn place(&self, offset: i64, from: i64) -> Placed {
        let (start, end) = (self.start + offset, self.end + offset);
        // A final that starts up to a rounding late starts where the one before ended.
        let snapped = start < from || (self.is_final && start - from <= ROUNDING);
        let placed_start = if snapped { from } else { start };
        let placed_end = end.max(placed_start);
        let mut edits = Edits::default();
        let (printed_start, printed_duration) = self.printed;
        if placed_start != printed_start {
            edits.replace(self.nodes.start.span(), seconds(placed_start));
        }
        if placed_end - placed_start != printed_duration {
            edits.replace(
                self.nodes.duration.span(),
                seconds(placed_end - placed_start),
            );
        }
        let mut first = None;
        let mut clip = Clip {
            offset,
            from,
            dropped: None,
        };
        for (at, alternative) in self.alternatives().enumerate() {
            let at_most = self.cut;
            let (spoken, dropped) =
                place_alternative(&alternative, (offset, at_most), from, &mut edits);
            let own = Clip { dropped, ..clip };
            place_lists(alternative.members(), &own, &mut edits);
            if at == 0 {
                first = spoken;
                clip = own;
            }
        }
        // Lists outside the alternatives are about the first one's words.
        let channel = self.nodes.channel.into_iter();
        place_lists(channel.flat_map(|node| node.members()), &clip, &mut edits);
        place_lists(self.nodes.lists.iter().copied(), &clip, &mut edits);
        Placed {
            end: placed_end,
            spoken: first,
            edits,
        }
    }

    /// Sets `speech_final`, where the message has it.
    pub fn set_speech_final(&self, edits: &mut Edits) {
        if let (Some(node), Some(false)) = (self.nodes.speech_final, self.speech_final) {
            edits.replace(node.span(), "true".into());
        }
    }
}

impl<'a> Word<'a> {
    /// Reads a word. `at_most` bounds its times on the leg's clock.
    fn read(node: Node<'a>, offset: i64, at_most: Option<i64>) -> Option<Self> {
        let (start, end) = (node.get("start")?, node.get("end")?);
        let at_most = at_most.unwrap_or(i64::MAX);
        let start_micros = start.micros()?.min(at_most) + offset;
        let end_micros = end.micros()?.min(at_most) + offset;
        Some(Self {
            node,
            start,
            end,
            start_micros,
            end_micros,
        })
    }

    /// Returns whether its midpoint does not lie before `from`.
    fn is_new(&self, from: i64) -> bool {
        self.start_micros + self.end_micros >= 2 * from
    }

    fn shift(&self, edits: &mut Edits) {
        edits.replace(self.start.span(), seconds(self.start_micros));
        edits.replace(self.end.span(), seconds(self.end_micros));
    }

    /// Returns its text, with escapes.
    fn written(&self) -> &'a str {
        let field = |name| self.node.get(name).and_then(|node| node.raw_str());
        field("punctuated_word")
            .or_else(|| field("word"))
            .unwrap_or_default()
    }
}

fn spoken<'a>(words: impl Iterator<Item = Word<'a>>) -> Option<Spoken> {
    words.fold(None, |spoken: Option<Spoken>, word| {
        let first_start = spoken.map_or(word.start_micros, |spoken| spoken.first_start);
        let (last_start, last_end) = (word.start_micros, word.end_micros);
        Some(Spoken {
            first_start,
            last_start,
            last_end,
        })
    })
}

/// Moves what points at words and times.
fn place_lists<'a>(
    members: impl Iterator<Item = (&'a str, Node<'a>)>,
    clip: &Clip,
    edits: &mut Edits,
) {
    if clip.offset == 0 && clip.dropped.is_none() {
        return;
    }
    for (key, list) in members.filter(|(key, _)| is_list(key)) {
        clip.place(key, list, edits);
    }
}

/// Moves an alternative's words. Drops those that are not new, with their text.
fn place_alternative(
    alternative: &Node<'_>,
    (offset, at_most): (i64, Option<i64>),
    from: i64,
    edits: &mut Edits,
) -> (Option<Spoken>, Option<Dropped>) {
    let Some(list) = alternative.get("words") else {
        return (None, None);
    };
    let words: Vec<Word<'_>> = list
        .elements()
        .filter_map(|node| Word::read(node, offset, at_most))
        .collect();
    let kept: Vec<Word<'_>> = words
        .iter()
        .copied()
        .filter(|word| word.is_new(from))
        .collect();
    if kept.len() == words.len() {
        if offset != 0 || at_most.is_some() {
            for word in &words {
                word.shift(edits);
            }
        }
        return (spoken(words.into_iter()), None);
    }
    let texts: Vec<String> = kept
        .iter()
        .map(|word| {
            let mut own = Edits::default();
            let base = word.node.span().start;
            let within = |node: &Node<'_>| node.span().start - base..node.span().end - base;
            own.replace(within(&word.start), seconds(word.start_micros));
            own.replace(within(&word.end), seconds(word.end_micros));
            own.apply(word.node.text())
        })
        .collect();
    edits.replace(list.span(), format!("[{}]", texts.join(",")));
    let written: Vec<&str> = kept.iter().map(Word::written).collect();
    let transcript = written.join(" ");
    if let Some(node) = alternative.get("transcript") {
        edits.replace(node.span(), format!("\"{transcript}\""));
    }
    if let Some(languages) = alternative.get("languages") {
        place_languages(languages, &kept, edits);
    }
    let mut next = 0..;
    let places = list
        .elements()
        .map(|node| Word::read(node, offset, at_most).filter(|word| word.is_new(from)))
        .map(|word| word.and_then(|_| next.next()))
        .collect();
    let dropped = Dropped { places, transcript };
    (spoken(kept.into_iter()), Some(dropped))
}

/// Drops languages that no remaining word has, where words name their language.
fn place_languages(languages: Node<'_>, kept: &[Word<'_>], edits: &mut Edits) {
    let still: Option<Vec<&str>> = kept
        .iter()
        .map(|word| Some(word.node.get("language")?.text()))
        .collect();
    let Some(still) = still else { return };
    let spoken: Vec<&str> = languages
        .elements()
        .map(|language| language.text())
        .filter(|language| still.contains(language))
        .collect();
    edits.replace(languages.span(), format!("[{}]", spoken.join(",")));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"type":"Results","channel_index":[1,2],"duration":2.0,"start":1.00,"is_final":true,"speech_final":false,"channel":{"alternatives":[{"transcript":"Say \"hi\" now.","confidence":0.99,"words":[{"word":"say","start":1.1,"end":1.3,"punctuated_word":"Say"}, {"word":"\"hi\"","start":1.9,"end":2.1,"x":{"start":5}},{"word":"now","start":2.5,"end":2.75,"punctuated_word":"now."}]}]},"new":[1e-7]}"#;

    fn place(offset: i64, from: i64) -> (Placed, String) {
        let results = Results::read(Node::root(MESSAGE).unwrap()).unwrap();
        let mut placed = results.place(offset, from);
        let text = std::mem::take(&mut placed.edits).apply(MESSAGE);
        (placed, text)
    }

    /// Returns a message's `start`, in microseconds.
    fn start(text: &str) -> i64 {
        let root = Node::root(text).unwrap();
        root.get("start").unwrap().micros().unwrap()
    }

    #[test]
    fn a_message_is_read() {
        let results = Results::read(Node::root(MESSAGE).unwrap()).unwrap();
        assert_eq!((results.channel, results.channels), (1, 2));
        assert_eq!((results.start, results.end), (1_000_000, 3_000_000));
        assert!(results.is_final && !results.from_finalize);
        assert_eq!(results.speech_final, Some(false));
        let spoken = Spoken {
            first_start: 1_100_000,
            last_start: 2_500_000,
            last_end: 2_750_000,
        };
        assert_eq!(results.spoken(), Some(spoken));
    }

    #[test]
    fn in_its_place_nothing_changes() {
        let (_, text) = place(0, 1_000_000);
        assert_eq!(text, MESSAGE);
    }

    #[test]
    fn a_later_leg_s_times_are_shifted_and_nothing_else() {
        let (placed, text) = place(10_250_000, 11_250_000);
        assert_eq!((start(&text), placed.end), (11_250_000, 13_250_000));
        let expected = MESSAGE
            .replace(r#""start":1.00"#, r#""start":11.25"#)
            .replace(r#""start":1.1,"end":1.3"#, r#""start":11.35,"end":11.55"#)
            .replace(r#""start":1.9,"end":2.1"#, r#""start":12.15,"end":12.35"#)
            .replace(r#""start":2.5,"end":2.75"#, r#""start":12.75,"end":13.0"#);
        assert_eq!(text, expected);
    }

    #[test]
    fn what_straddles_is_clipped() {
        // The midpoint of "hi" is exactly on the edge, so it stays.
        let (placed, text) = place(1_000_000, 3_000_000);
        assert_eq!((start(&text), placed.end), (3_000_000, 4_000_000));
        assert_eq!(placed.spoken.unwrap().first_start, 2_900_000);
        let root = Node::root(&text).unwrap();
        assert_eq!(root.get("start").unwrap().text(), "3.0");
        assert_eq!(root.get("duration").unwrap().text(), "1.0");
        let channel = root.get("channel").unwrap();
        let alternative = channel
            .get("alternatives")
            .unwrap()
            .elements()
            .next()
            .unwrap();
        assert_eq!(
            alternative.get("transcript").unwrap().text(),
            r#""\"hi\" now.""#
        );
        assert_eq!(
            alternative.get("words").unwrap().text(),
            r#"[{"word":"\"hi\"","start":2.9,"end":3.1,"x":{"start":5}},{"word":"now","start":3.5,"end":3.75,"punctuated_word":"now."}]"#
        );
        assert_eq!(root.get("new").unwrap().text(), "[1e-7]");
    }

    #[test]
    fn without_words_left_the_transcript_is_empty() {
        let (placed, text) = place(0, 2_900_000);
        assert_eq!(placed.spoken, None);
        assert!(
            text.contains(r#""transcript":"","#) && text.contains(r#""words":[]"#),
            "{text}"
        );
    }

    #[test]
    fn what_points_at_words_points_at_those_that_remain() {
        let message = MESSAGE
            .replace(
                r#""new":[1e-7]"#,
                r#""entities":[{"value":"Say","start_word":0,"end_word":1},{"value":"now","start_word":2,"end_word":3}]"#,
            )
            .replace(
                r#""confidence":0.99,"#,
                r#""confidence":0.99,"entities":[{"start_word":1,"end_word":3}],"languages":["en","de"],"#,
            )
            .replace(r#""word":"say","#, r#""word":"say","language":"de","#)
            .replace(r#""word":"\"hi\"","#, r#""word":"\"hi\"","language":"en","#)
            .replace(r#""word":"now","#, r#""word":"now","language":"en","#)
            .replace(
                r#"{"alternatives""#,
                r#"{"search":[{"query":"now","hits":[{"start":2.5,"end":2.75}]}],"alternatives""#,
            );
        let results = Results::read(Node::root(&message).unwrap()).unwrap();
        let text = results.place(1_000_000, 3_000_000).edits.apply(&message);
        for (part, there) in [
            (
                r#""entities":[{"value":"now","start_word":1,"end_word":2}]"#,
                true,
            ),
            (r#""entities":[{"start_word":0,"end_word":2}]"#, true),
            (r#""languages":["en"]"#, true),
            (r#""hits":[{"start":3.5,"end":3.75}]"#, true),
            (r#""value":"Say""#, false),
        ] {
            assert_eq!(text.contains(part), there, "{part} in {text}");
        }
        // Without a clip the indices stay.
        let text = results.place(1_000_000, 2_000_000).edits.apply(&message);
        assert!(
            text.contains(r#"{"value":"Say","start_word":0,"end_word":1}"#),
            "{text}"
        );
        assert!(
            text.contains(r#""hits":[{"start":3.5,"end":3.75}]"#),
            "{text}"
        );
    }

    #[test]
    fn a_sample_s_difference_goes_into_the_duration() {
        let (placed, text) = place(10_000_000, 11_000_001);
        assert_eq!((start(&text), placed.end), (11_000_001, 13_000_000));
        assert!(
            text.contains(r#""duration":1.999999,"start":11.000001"#),
            "{text}"
        );
        let (placed, text) = place(10_000_000, 10_999_999);
        assert_eq!(
            (start(&text), placed.end),
            (10_999_999, 13_000_000),
            "a rounding late"
        );
        let (_, text) = place(10_000_000, 10_900_000);
        assert_eq!(start(&text), 11_000_000, "a gap stays one");
    }

    #[test]
    fn a_result_says_nothing_of_what_was_not_sent() {
        // 0.65 s of its 2 s were sent, and two of its words with them.
        for (sent, known, ends) in [
            (1_650_000, 0, (1_000_000, 1_300_000)),
            (1_200_000, 0, (1_000_000, 1_000_000)),
            (500_000, 200_000, (200_000, 200_000)),
            (2_200_000, 0, (1_000_000, 2_100_000)),
        ] {
            let mut results = Results::read(Node::root(MESSAGE).unwrap()).unwrap();
            assert!(results.cut(sent, known) && results.is_cut());
            assert_eq!((results.start, results.end), ends, "{sent}");
            let placed = results.moved(10_000_000);
            let latest = placed.spoken.unwrap().last_end;
            assert!(latest <= sent + 10_000_000);
            let text = placed.edits.apply(MESSAGE);
            let root = Node::root(&text).unwrap();
            let micros = |key| root.get(key).unwrap().micros().unwrap();
            assert_eq!(micros("start"), ends.0 + 10_000_000);
            assert_eq!(micros("duration"), ends.1 - ends.0);
        }
        for sent in [2_900_000, 3_000_000, 9_000_000] {
            let mut results = Results::read(Node::root(MESSAGE).unwrap()).unwrap();
            assert!(!results.cut(sent, 0), "rounded up");
            assert_eq!(results.end, sent.min(3_000_000));
            assert_eq!(results.is_changed(), sent < 3_000_000);
        }
    }

    #[test]
    fn speech_final_is_set_where_it_stands() {
        let results = Results::read(Node::root(MESSAGE).unwrap()).unwrap();
        let mut edits = Edits::default();
        results.set_speech_final(&mut edits);
        let text = edits.apply(MESSAGE);
        assert_eq!(
            text,
            MESSAGE.replace("\"speech_final\":false", "\"speech_final\":true")
        );
    }

    #[test]
    fn channels_nobody_has_are_not_believed() {
        for (text, expected) in [
            ("[1,2]", (1, 2)),
            ("[2,2]", (0, 1)),
            ("[-1,2]", (0, 1)),
            ("[0,4000000000]", (0, 1)),
            ("[0]", (0, 1)),
            ("null", (0, 1)),
        ] {
            assert_eq!(channel_of(Node::root(text)), expected, "{text}");
        }
    }
}
