//! The audio that a leg has heard, and the chunks that it carries.

use bytes::Bytes;
use dgsm_leg::frame::Frame;

use crate::audio::{Clock, Format};
use crate::query::Query;
use crate::watermark::{Mark, Reader};

/// The audio of one leg.
#[derive(Debug)]
pub(super) struct Hearing {
    clock: Clock,
    finds_marks: bool,
    /// Starts with the first audio: until then the format may be unknown.
    reader: Option<Reader>,
    marks: Vec<Mark>,
    chunks: u64,
}

impl Hearing {
    /// A leg that has heard nothing. `finds_marks` says whether to look for chunks.
    pub(super) fn new(query: &Query, finds_marks: bool) -> Self {
        Self {
            clock: Clock::new(query),
            finds_marks,
            reader: None,
            marks: Vec::new(),
            chunks: 0,
        }
    }

    /// Takes a message; returns its audio, without header or trailer. A text message has none.
    pub(super) fn take(&mut self, message: &Frame) -> Bytes {
        self.marks.clear();
        let Frame::Binary(bytes) = message else {
            return Bytes::new();
        };
        let audio = self.clock.audio(bytes.clone());
        if self.finds_marks && !audio.is_empty() {
            let format = self.clock.format();
            let reader = self.reader.get_or_insert_with(|| Reader::new(format));
            let marks = &mut self.marks;
            reader.read(&audio, |mark| marks.push(mark));
            self.chunks += self.marks.iter().filter(|mark| mark.channel == 0).count() as u64;
        }
        audio
    }

    /// Returns the chunks that ended in the last message taken.
    pub(super) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Returns how many chunks have ended in the first channel.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Returns the format as far as it is known.
    pub(super) fn format(&self) -> Format {
        self.clock.format()
    }

    /// Returns the whole frames of audio heard.
    pub(super) fn frames(&self) -> u64 {
        self.clock.frames()
    }

    /// Returns the seconds of audio heard.
    pub(super) fn seconds(&self) -> f64 {
        self.clock.seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::mark;

    const STEREO: &str = "encoding=mulaw&sample_rate=8000&channels=2";

    fn hearing(finds_marks: bool) -> Hearing {
        Hearing::new(&Query::parse(STEREO), finds_marks)
    }

    fn chunk(number: u32) -> Frame {
        let format = hearing(false).format();
        Frame::Binary(mark(number, 320, format).unwrap().into())
    }

    #[test]
    fn chunks_count_once_though_each_channel_has_them() {
        let mut hearing = hearing(true);
        assert_eq!(hearing.take(&chunk(7)).len(), 320);
        hearing.take(&chunk(8));
        let marks: Vec<_> = hearing
            .marks()
            .iter()
            .map(|mark| (mark.channel, mark.number))
            .collect();
        assert_eq!(marks, [(0, 8), (1, 8)]);
        assert_eq!((hearing.chunks(), hearing.frames()), (2, 320));
        assert!((hearing.seconds() - 0.04).abs() < 1e-12);
    }

    #[test]
    fn a_text_message_has_neither_audio_nor_marks() {
        let mut hearing = hearing(true);
        hearing.take(&chunk(7));
        assert_eq!(hearing.take(&Frame::from("{}")), Bytes::new());
        assert_eq!(hearing.marks(), []);
        assert_eq!((hearing.chunks(), hearing.frames()), (1, 160));
    }

    #[test]
    fn marks_are_found_only_where_they_are_wanted() {
        let mut hearing = hearing(false);
        hearing.take(&chunk(7));
        assert_eq!(hearing.marks(), []);
        assert_eq!((hearing.chunks(), hearing.frames()), (0, 160));
    }
}
