//! The clock of a leg's audio.

use bytes::{Buf, Bytes, BytesMut};

use super::format::Format;
use super::wav::{self, Header};
use crate::query::Query;

/// Counts the audio in a leg's binary messages, without headers and trailers.
#[derive(Debug)]
pub struct Clock {
    state: State,
    /// Bytes of audio seen.
    bytes: u64,
}

#[derive(Debug)]
enum State {
    /// No `encoding`, and the header in the first bytes is not complete.
    Unknown(BytesMut),
    /// Raw, or behind a WAV header. `left` bytes are audio; `None`: all.
    Known { format: Format, left: Option<u64> },
    /// Another container: its clock is nominal.
    Other,
}

impl Clock {
    /// Creates the clock of a leg with this query.
    #[must_use]
    pub fn new(query: &Query) -> Self {
        let state = match (Format::declared(query), query.get("encoding")) {
            (Some(format), _) => State::Known { format, left: None },
            (None, Some(_)) => State::Other,
            (None, None) => State::Unknown(BytesMut::new()),
        };
        Self { state, bytes: 0 }
    }

    /// Takes the next binary message; returns the audio in it, without header or trailer.
    pub fn audio(&mut self, mut message: Bytes) -> Bytes {
        if let State::Unknown(head) = &mut self.state {
            head.extend_from_slice(&message);
            match wav::read(head) {
                Header::Incomplete if head.len() < wav::MAX_HEADER => return Bytes::new(),
                Header::Incomplete | Header::NotWav => {
                    message = std::mem::take(head).freeze();
                    self.state = State::Other;
                }
                Header::Complete(wav) => {
                    message = std::mem::take(head).freeze();
                    message.advance(wav.data_at);
                    self.state = State::Known {
                        format: wav.format,
                        left: wav.data_len,
                    };
                }
            }
        }
        if let State::Known {
            left: Some(left), ..
        } = &mut self.state
        {
            // Tags and cue points may follow the data chunk.
            let audio = (*left).min(message.len() as u64);
            message.truncate(audio as usize);
            *left -= audio;
        }
        self.bytes += message.len() as u64;
        message
    }

    /// Returns the format; the nominal one for other containers, and while it is unknown.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.state {
            State::Known { format, .. } => format,
            State::Unknown(_) | State::Other => Format::OTHER,
        }
    }

    /// Returns the whole frames of audio seen.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.bytes / self.format().frame() as u64
    }

    /// Returns the seconds of audio seen.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.format().seconds(self.frames())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(data_len: u32, extra: &[u8]) -> Vec<u8> {
        let mut head = b"RIFF\xFF\xFF\xFF\xFFWAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
        head.extend_from_slice(&8000u32.to_le_bytes());
        head.extend_from_slice(&32_000u32.to_le_bytes());
        head.extend_from_slice(b"\x04\0\x10\0");
        head.extend_from_slice(extra);
        head.extend_from_slice(b"data");
        head.extend_from_slice(&data_len.to_le_bytes());
        head
    }

    #[test]
    fn raw_audio_is_counted_from_the_query() {
        let mut clock = Clock::new(&Query::parse("encoding=mulaw&sample_rate=8000&channels=2"));
        assert_eq!(clock.audio(Bytes::from(vec![0; 1600])).len(), 1600);
        assert_eq!(clock.frames(), 800);
        assert!((clock.seconds() - 0.1).abs() < 1e-12);
        assert_eq!(clock.format().silence, 0xFF);
    }

    #[test]
    fn a_wav_header_in_pieces_carries_no_time() {
        let mut clock = Clock::new(&Query::parse("model=nova-3"));
        let mut file = wav(400, b"LIST\x03\0\0\0abc\0");
        file.extend_from_slice(&[7; 400]);
        file.extend_from_slice(b"LIST and whatever follows");
        let audio: usize = file
            .chunks(7)
            .map(|piece| clock.audio(Bytes::copy_from_slice(piece)).len())
            .sum();
        assert_eq!(audio, 400);
        assert_eq!(
            clock.format(),
            Format {
                rate: 8000,
                channels: 2,
                width: 2,
                silence: 0
            }
        );
        assert_eq!(clock.frames(), 100);
    }

    #[test]
    fn unknown_sizes_have_no_end() {
        for size in [0, u32::MAX] {
            let mut clock = Clock::new(&Query::default());
            clock.audio(Bytes::from(wav(size, b"")));
            assert_eq!(clock.audio(Bytes::from(vec![0; 100_000])).len(), 100_000);
        }
    }

    #[test]
    fn other_containers_are_taken_whole() {
        let mut clock = Clock::new(&Query::parse("model=nova-3"));
        assert_eq!(
            &clock.audio(Bytes::from_static(b"OggS...."))[..],
            b"OggS...."
        );
        assert_eq!(clock.format(), Format::OTHER);
        let mut clock = Clock::new(&Query::parse("encoding=opus"));
        assert_eq!(&clock.audio(Bytes::from_static(b"RIFF"))[..], b"RIFF");
    }
}
