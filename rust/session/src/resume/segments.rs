//! What points at words or times in a result, apart from the words: entities, hits of a search,
//! paragraphs, topics.
//!
//! Times of a later leg become the session's. In a clipped result, word indices point at the words
//! that remain, and an entry about any dropped word is dropped.

use super::rewrite::{Edits, seconds};
use super::scan::Node;

/// Lists of such entries, and lists of objects that have some.
const LISTS: [&str; 11] = [
    "entities",
    "hits",
    "intents",
    "paragraphs",
    "search",
    "segments",
    "sentences",
    "sentiments",
    "summaries",
    "topics",
    "utterances",
];

/// Returns whether a member of a result, a channel or an alternative is such a list.
#[must_use]
pub fn is_list(key: &str) -> bool {
    LISTS.contains(&key)
}

/// How a result was moved and clipped.
#[derive(Debug)]
pub struct Clip {
    /// The session's time at the leg's start, in microseconds.
    pub offset: i64,
    /// The time before which nothing is delivered.
    pub from: i64,
    /// The dropped words of an alternative; `None` where all remain.
    pub dropped: Option<Dropped>,
}

/// What remains of an alternative.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// The index among the remaining words, for each word.
    pub places: Vec<Option<usize>>,
    /// The text of the remaining words, as it stands in JSON, without quotes.
    pub transcript: String,
}

impl Clip {
    /// Moves and clips a list.
    pub fn place(&self, key: &str, list: Node<'_>, edits: &mut Edits) {
        let text = self.list(key, list);
        if text != list.text() {
            edits.replace(list.span(), text);
        }
    }

    fn list(&self, key: &str, list: Node<'_>) -> String {
        if list.text().starts_with('{') {
            return self
                .object(key, list)
                .unwrap_or_else(|| list.text().to_owned());
        }
        if !list.text().starts_with('[') {
            return list.text().to_owned();
        }
        let (mut kept, mut changed) = (Vec::new(), false);
        for element in list.elements() {
            let text = if element.text().starts_with('{') {
                self.object(key, element)
            } else {
                Some(element.text().to_owned())
            };
            changed |= text.as_deref() != Some(element.text());
            kept.extend(text);
        }
        if changed {
            format!("[{}]", kept.join(","))
        } else {
            list.text().to_owned()
        }
    }

    /// Returns `None` where the object is about dropped words.
    fn object(&self, key: &str, object: Node<'_>) -> Option<String> {
        let base = object.span().start;
        let mut own = Edits::default();
        let mut replace = |node: Node<'_>, with: String| {
            if with != node.text() {
                own.replace(node.span().start - base..node.span().end - base, with);
            }
        };
        let (mut words, mut times, mut transcript) = ([None; 2], [None; 2], None);
        let mut has_lists = false;
        for (name, value) in object.members() {
            match name {
                "start_word" => words[0] = Some(value),
                "end_word" => words[1] = Some(value),
                "start" => times[0] = Some(value),
                "end" => times[1] = Some(value),
                "transcript" => transcript = Some(value),
                _ if is_list(name) || name == "words" => {
                    has_lists |= is_list(name);
                    replace(value, self.list(name, value));
                }
                _ => {}
            }
        }
        if let Some(dropped) = &self.dropped {
            match words {
                [Some(start), Some(end)] => {
                    let place = dropped.place(start.integer()?, end.integer()?)?;
                    for (node, index) in words.into_iter().flatten().zip(place) {
                        replace(node, index.to_string());
                    }
                }
                // An entity without indices may be about dropped words.
                _ if key == "entities" => return None,
                _ => {}
            }
            // The text of a list of lists is that of all its words.
            if let Some(transcript) = transcript.filter(|_| has_lists) {
                replace(transcript, format!("\"{}\"", dropped.transcript));
            }
        }
        if let [Some(start), Some(end)] = times
            && let (Some(start_micros), Some(end_micros)) = (start.micros(), end.micros())
        {
            if self.dropped.is_some() && start_micros + self.offset < self.from {
                return None;
            }
            if self.offset != 0 {
                replace(start, seconds(start_micros + self.offset));
                replace(end, seconds(end_micros + self.offset));
            }
        }
        Some(own.apply(object.text()))
    }
}

impl Dropped {
    /// Returns where words `start..end` are now; `None` where any of them was dropped or never
    /// existed.
    fn place(&self, start: i64, end: i64) -> Option<[usize; 2]> {
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        let all: Option<Vec<usize>> = self.places.get(start..end)?.iter().copied().collect();
        let all = all?;
        Some([*all.first()?, all.last()? + 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(clip: &Clip, key: &str, text: &str) -> String {
        let mut edits = Edits::default();
        clip.place(key, Node::root(text).unwrap(), &mut edits);
        edits.apply(text)
    }

    fn clip() -> Clip {
        Clip {
            offset: 10_000_000,
            from: 11_000_000,
            dropped: Some(Dropped {
                places: vec![None, None, Some(0), Some(1), Some(2)],
                transcript: "c d e".into(),
            }),
        }
    }

    #[test]
    fn word_indices_point_at_the_words_that_remain() {
        let text = r#"[{"label":"A","start_word":0,"end_word":2}, {"label":"B","start_word":1,"end_word":3},{"label":"C","start_word": 2 ,"end_word":4,"x":[1.50]},{"end_word":5,"start_word":4}]"#;
        let expected = r#"[{"label":"C","start_word": 0 ,"end_word":2,"x":[1.50]},{"end_word":3,"start_word":2}]"#;
        assert_eq!(placed(&clip(), "entities", text), expected);
        for lost in [
            r#"[{"label":"A"}]"#,
            r#"[{"start_word":3}]"#,
            r#"[{"start_word":4,"end_word":6}]"#,
            r#"[{"start_word":-1,"end_word":3}]"#,
            r#"[{"start_word":3,"end_word":3}]"#,
            r#"[{"start_word":4,"end_word":3}]"#,
            r#"[{"start_word":"3","end_word":"4"}]"#,
        ] {
            assert_eq!(placed(&clip(), "entities", lost), "[]", "{lost}");
        }
    }

    #[test]
    fn times_are_the_session_s() {
        let hits = r#"[{"query":"q","hits":[{"start":0.5,"end":1.5,"snippet":"b c"},{"start":1.0,"end":1.25}]}]"#;
        assert_eq!(
            placed(&clip(), "search", hits),
            r#"[{"query":"q","hits":[{"start":11.0,"end":11.25}]}]"#
        );
        let whole = Clip {
            dropped: None,
            ..clip()
        };
        assert_eq!(
            placed(&whole, "search", hits),
            r#"[{"query":"q","hits":[{"start":10.5,"end":11.5,"snippet":"b c"},{"start":11.0,"end":11.25}]}]"#
        );
    }

    #[test]
    fn paragraphs_have_the_text_that_remains() {
        let text = r#"{"transcript":"\na b\n\nc d e","paragraphs":[{"sentences":[{"text":"a b","start":0.0,"end":0.9}],"num_words":2,"start":0.0,"end":0.9},{"sentences":[{"text":"c d e","start":1.0,"end":2.0}],"num_words":3,"start":1.0,"end":2.0}]}"#;
        let expected = r#"{"transcript":"c d e","paragraphs":[{"sentences":[{"text":"c d e","start":11.0,"end":12.0}],"num_words":3,"start":11.0,"end":12.0}]}"#;
        assert_eq!(placed(&clip(), "paragraphs", text), expected);
    }

    #[test]
    fn topics_stay_with_their_words() {
        let text = r#"{"segments":[{"text":"c d","start_word":2,"end_word":4,"topics":[{"topic":"x","confidence_score":0.5}]},{"text":"a","start_word":0,"end_word":1,"topics":[]}]}"#;
        let expected = r#"{"segments":[{"text":"c d","start_word":0,"end_word":2,"topics":[{"topic":"x","confidence_score":0.5}]}]}"#;
        assert_eq!(placed(&clip(), "topics", text), expected);
    }

    #[test]
    fn what_is_no_list_is_left_alone() {
        for text in ["null", "1.50", "\"x\"", "[ 1, [2] ]", "[]", "{ }"] {
            assert_eq!(placed(&clip(), "entities", text), text);
        }
    }
}
