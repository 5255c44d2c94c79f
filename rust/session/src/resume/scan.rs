//! JSON by spans: where a value stands in a message.
//!
//! Most messages are read for a few fields and changed in fewer, so only what is asked for is
//! decoded. Malformed JSON reads as absent: a message that is not understood is passed on as it
//! came.

use dgsm_leg::frame::Frame;

/// Returns a message's `type`; `None` for binary messages, and for text without one.
#[must_use]
pub fn type_of(frame: &Frame) -> Option<&str> {
    frame.as_str().and_then(Node::root)?.get("type")?.raw_str()
}

/// A value in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    document: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Node<'a> {
    /// Returns the document's value; `None` where it is not exactly one well-formed value.
    #[must_use]
    pub fn root(document: &'a str) -> Option<Self> {
        let start = skip_space(document.as_bytes(), 0);
        let end = value_end(document.as_bytes(), start)?;
        (skip_space(document.as_bytes(), end) == document.len()).then_some(Self {
            document,
            start,
            end,
        })
    }

    /// Returns the value's text, with quotes.
    #[must_use]
    pub fn text(&self) -> &'a str {
        &self.document[self.start..self.end]
    }

    /// Returns the value's byte range in the document.
    #[must_use]
    pub const fn span(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// Returns an object's members in order; none for another value.
    #[must_use]
    pub fn members(&self) -> Members<'a> {
        let open = self.document.as_bytes().get(self.start) == Some(&b'{');
        Members {
            document: self.document,
            at: if open { self.start + 1 } else { self.end },
        }
    }

    /// Returns the value of an object's member.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Self> {
        self.members()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// Returns an array's elements in order; none for another value.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        let open = self.document.as_bytes().get(self.start) == Some(&b'[');
        Elements {
            document: self.document,
            at: if open { self.start + 1 } else { self.end },
        }
    }

    /// Returns a string without its quotes, with escapes.
    #[must_use]
    pub fn raw_str(&self) -> Option<&'a str> {
        self.text().strip_prefix('"')?.strip_suffix('"')
    }

    /// Returns `true` or `false`; `None` for another value.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        match self.text() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Returns a whole number; `None` for another value.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        self.text().parse().ok()
    }

    /// Returns a number of seconds in microseconds, rounded; `None` for another value.
    #[must_use]
    pub fn micros(&self) -> Option<i64> {
        to_micros(self.seconds()?)
    }

    /// Returns a number of seconds; `None` for another value.
    #[must_use]
    pub fn seconds(&self) -> Option<f64> {
        let digits = self.text().strip_prefix('-').unwrap_or(self.text());
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        self.text().parse().ok()
    }
}

/// Converts seconds to microseconds, rounded and limited to 285 years, so that sums stay in range.
/// `None` for NaN.
#[must_use]
pub fn to_micros(seconds: f64) -> Option<i64> {
    let micros = (seconds * 1e6).round();
    (!micros.is_nan()).then_some(micros.clamp(-MOST_MICROS, MOST_MICROS) as i64)
}

/// The limit of any clock.
const MOST_MICROS: f64 = 9e15;

/// An object's members.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    document: &'a str,
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    /// The key, without quotes and with escapes, and its value.
    type Item = (&'a str, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.document.as_bytes();
        let key = skip_space(bytes, self.at);
        if bytes.get(key) != Some(&b'"') {
            self.at = bytes.len();
            return None;
        }
        let key_end = string_end(bytes, key)?;
        let colon = skip_space(bytes, key_end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let start = skip_space(bytes, colon + 1);
        let end = value_end(bytes, start)?;
        self.at = after_comma(bytes, end);
        let value = Node {
            document: self.document,
            start,
            end,
        };
        Some((&self.document[key + 1..key_end - 1], value))
    }
}

/// An array's elements.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    document: &'a str,
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Node<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.document.as_bytes();
        let start = skip_space(bytes, self.at);
        if matches!(bytes.get(start), None | Some(b']' | b'}')) {
            self.at = bytes.len();
            return None;
        }
        let end = value_end(bytes, start)?;
        self.at = after_comma(bytes, end);
        Some(Node {
            document: self.document,
            start,
            end,
        })
    }
}

/// Returns the position after a value and its comma, or of what ends the array or object.
fn after_comma(bytes: &[u8], end: usize) -> usize {
    let at = skip_space(bytes, end);
    if bytes.get(at) == Some(&b',') {
        at + 1
    } else {
        at
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Returns the position after the string that starts at `at`. Strings are mostly short, so a plain
/// loop is fastest.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Returns the position after the value that starts at `at`. Brackets have to match; the rest is
/// not checked.
fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at),
        b'{' | b'[' => nested_end(bytes, at),
        b',' | b':' | b'}' | b']' => None,
        _ => {
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            let length = bytes[at..].iter().position(ends);
            Some(length.map_or(bytes.len(), |length| at + length))
        }
    }
}

fn nested_end(bytes: &[u8], start: usize) -> Option<usize> {
    // One bit a level: whether it is an object. No message is deeper than 64 levels.
    let (mut levels, mut depth) = (0_u64, 0_u32);
    let mut at = start;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            &open @ (b'{' | b'[') => {
                depth += 1;
                if depth > u64::BITS {
                    return None;
                }
                levels = levels << 1 | u64::from(open == b'{');
            }
            &close @ (b'}' | b']') => {
                if (levels & 1 == 1) != (close == b'}') {
                    return None;
                }
                levels >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MESSAGE: &str = r#" {"type":"Results","channel_index":[0,2], "duration" : 1.5,
        "is_final":true,"channel":{"alternatives":[{"transcript":"a \"b\\","words":[]}]},"x":null} "#;

    #[test]
    fn values_are_found_by_name() {
        let root = Node::root(MESSAGE).unwrap();
        assert_eq!(root.get("type").unwrap().raw_str(), Some("Results"));
        assert_eq!(root.get("duration").unwrap().micros(), Some(1_500_000));
        assert_eq!(root.get("is_final").unwrap().bool(), Some(true));
        assert_eq!(root.get("x").unwrap().text(), "null");
        assert_eq!(root.get("y"), None);
        let channels: Vec<_> = root
            .get("channel_index")
            .unwrap()
            .elements()
            .filter_map(|node| node.integer())
            .collect();
        assert_eq!(channels, [0, 2]);
        let alternative = root
            .get("channel")
            .unwrap()
            .get("alternatives")
            .unwrap()
            .elements()
            .next()
            .unwrap();
        assert_eq!(
            alternative.get("transcript").unwrap().raw_str(),
            Some(r#"a \"b\\"#)
        );
        assert_eq!(alternative.get("words").unwrap().elements().count(), 0);
    }

    #[test]
    fn a_span_is_where_the_value_stands() {
        let node = Node::root(MESSAGE).unwrap().get("duration").unwrap();
        assert_eq!(&MESSAGE[node.span()], "1.5");
    }

    #[test]
    fn numbers_in_every_notation_are_seconds() {
        for (text, micros) in [
            ("0", 0),
            ("1.2000000000000002", 1_200_000),
            ("2.3e-05", 23),
            ("-1", -1_000_000),
            ("43199.999999", 43_199_999_999),
            // Limited to the clock.
            ("1e300", 9_000_000_000_000_000),
            ("-1e999", -9_000_000_000_000_000),
        ] {
            assert_eq!(Node::root(text).unwrap().micros(), Some(micros), "{text}");
        }
        for text in ["null", "\"1\"", "nan", "inf", "-inf", "-", "[]"] {
            assert_eq!(Node::root(text).unwrap().micros(), None, "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_no_document() {
        for text in [
            "",
            "{",
            "{]",
            "[}",
            "\"",
            "\"\\",
            "{}x",
            "{} {}",
            "[1",
            ",",
            "{\"a\":[}",
            "[\"a]",
        ] {
            assert_eq!(Node::root(text), None, "{text}");
        }
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Node::root(&deep(64)).is_some());
        assert_eq!(Node::root(&deep(65)), None);
    }

    #[test]
    fn malformed_members_end_the_list() {
        for text in ["{1}", "{\"a\"}", "{\"a\":}", "{\"a\":,}", "{a:1}"] {
            let root = Node::root(text).unwrap();
            assert_eq!(root.members().count(), 0, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in r#"[\[\]{}",:\\ a1\n\u{e9}]{0,40}"#) {
            if let Some(root) = Node::root(&text) {
                for (_, value) in root.members() {
                    let _ = (value.micros(), value.raw_str(), value.elements().count());
                }
                let _ = root.elements().count();
            }
        }
    }
}
