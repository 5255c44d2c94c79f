//! Changes to a few spans of a message.

use std::ops::Range;

use bytes::Bytes;

use dgsm_leg::frame::Frame;

/// Replacements in a text.
#[derive(Debug, Default)]
pub struct Edits {
    edits: Vec<(Range<usize>, String)>,
}

impl Edits {
    /// Replaces a span. Spans must not overlap.
    pub fn replace(&mut self, span: Range<usize>, with: String) {
        self.edits.push((span, with));
    }

    /// Returns whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Returns the text with its replacements. They may have been added in any order, as an
    /// object's members come in any order.
    #[must_use]
    pub fn apply(mut self, text: &str) -> String {
        self.edits.sort_by_key(|(span, _)| span.start);
        let mut out = String::with_capacity(text.len() + 16 * self.edits.len());
        let mut at = 0;
        for (span, with) in &self.edits {
            out.push_str(text.get(at..span.start).unwrap_or_default());
            out.push_str(with);
            at = span.end;
        }
        out.push_str(text.get(at..).unwrap_or_default());
        out
    }

    /// Returns a frame with its replacements. Without any, the frames share their bytes.
    #[must_use]
    pub fn apply_to(self, frame: &Frame) -> Frame {
        match frame.as_str() {
            Some(text) if !self.is_empty() => Frame::Text(Bytes::from(self.apply(text))),
            _ => frame.clone(),
        }
    }
}

/// Two printed times that differ by at most this many microseconds are the same: each was rounded to
/// six decimals.
pub const ROUNDING: i64 = 2;

/// Prints microseconds as seconds, with at most six decimals.
#[must_use]
pub fn seconds(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let decimals = format!("{:06}", micros % 1_000_000);
    let decimals = match decimals.trim_end_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    format!("{sign}{}.{decimals}", micros / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spans_change() {
        let text = r#"{"b" : 1.50, "a":2e0, "c":[ ] }"#;
        let mut edits = Edits::default();
        edits.replace(17..20, "7.0".into());
        edits.replace(7..11, "2.5".into());
        assert_eq!(edits.apply(text), r#"{"b" : 2.5, "a":7.0, "c":[ ] }"#);
    }

    #[test]
    fn a_frame_without_edits_is_shared() {
        let frame = Frame::from(String::from("{}"));
        let same = Edits::default().apply_to(&frame);
        assert_eq!(same.bytes().as_ptr(), frame.bytes().as_ptr());
    }

    #[test]
    fn times_have_at_most_six_decimals() {
        for (micros, text) in [
            (0, "0.0"),
            (1_500_000, "1.5"),
            (43_200_000_001, "43200.000001"),
            (20, "0.00002"),
            (-1_000_000, "-1.0"),
        ] {
            assert_eq!(seconds(micros), text);
        }
    }
}
