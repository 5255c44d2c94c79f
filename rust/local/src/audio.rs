//! Where in the audio a leg is: formats whose clock is known, and the header of a WAV file.

use bytes::{Buf, Bytes, BytesMut};

use crate::query::Query;

/// Audio whose clock is known: each frame (one sample of every channel) has the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Frames a second.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// Bytes of one sample.
    pub width: u16,
    /// What silence consists of.
    pub silence: u8,
}

/// How the clock of audio is found that is neither raw nor WAV: as many bytes are one second.
pub const OTHER_BYTES_PER_SECOND: u32 = 32_000;

impl Format {
    /// Audio whose format nobody told: one "sample" is one byte.
    pub const OTHER: Self = Self {
        rate: OTHER_BYTES_PER_SECOND,
        channels: 1,
        width: 1,
        silence: 0,
    };

    /// Bytes of one frame.
    #[must_use]
    pub fn frame(self) -> usize {
        usize::from(self.channels) * usize::from(self.width)
    }

    /// Seconds that `frames` last.
    #[must_use]
    pub fn seconds(self, frames: u64) -> f64 {
        // Exact below 2^53 frames.
        #[allow(clippy::cast_precision_loss)]
        let frames = frames as f64;
        frames / f64::from(self.rate)
    }

    /// How many frames `seconds` hold, rounded down.
    #[must_use]
    pub fn frames(self, seconds: f64) -> u64 {
        // Half a microsecond up: 0.57 s times 16000 is 9119.999 in binary.
        #[allow(clippy::cast_sign_loss)]
        let frames = ((seconds + 5e-7) * f64::from(self.rate)).max(0.0) as u64;
        frames
    }

    /// `frames` as microseconds, rounded to the nearest.
    #[must_use]
    pub fn micros(self, frames: u64) -> u64 {
        let rate = u128::from(self.rate);
        ((u128::from(frames) * 1_000_000 + rate / 2) / rate) as u64
    }

    /// The format that a query declares with `encoding`; `None` if its clock is not known from it.
    #[must_use]
    pub fn declared(query: &Query) -> Option<Self> {
        let (width, silence, default_rate) = match query.get("encoding")? {
            "linear16" => (2, 0, 16_000),
            "linear32" => (4, 0, 16_000),
            "mulaw" => (1, 0xFF, 8_000),
            "alaw" => (1, 0xD5, 8_000),
            _ => return None,
        };
        let rate = query
            .number("sample_rate")
            .filter(|rate| *rate > 0)
            .unwrap_or(default_rate);
        let channels = query
            .number("channels")
            .filter(|channels| *channels > 0)
            .unwrap_or(1);
        Some(Self {
            rate,
            channels,
            width,
            silence,
        })
    }
}

/// Strips what is not audio off a leg's binary messages and counts what is.
#[derive(Debug)]
pub struct Clock {
    state: State,
    /// Bytes of audio seen.
    bytes: u64,
}

#[derive(Debug)]
enum State {
    /// No `encoding`: the first bytes tell, and have not all arrived.
    Unknown(BytesMut),
    /// Raw, or behind a WAV header: `left` bytes are audio, all if `None`.
    Known { format: Format, left: Option<u64> },
    /// A container of another kind: its clock is nominal.
    Other,
}

impl Clock {
    /// The clock of a leg with this query.
    #[must_use]
    pub fn new(query: &Query) -> Self {
        let state = match (Format::declared(query), query.get("encoding")) {
            (Some(format), _) => State::Known { format, left: None },
            (None, Some(_)) => State::Other,
            (None, None) => State::Unknown(BytesMut::new()),
        };
        Self { state, bytes: 0 }
    }

    /// The audio in the next binary message, without header or trailer.
    pub fn audio(&mut self, mut message: Bytes) -> Bytes {
        if let State::Unknown(head) = &mut self.state {
            head.extend_from_slice(&message);
            match Wav::read(head) {
                Header::Incomplete => return Bytes::new(),
                Header::NotWav => {
                    message = std::mem::take(head).freeze();
                    self.state = State::Other;
                }
                Header::Wav(wav) => {
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
            // Beyond the data chunk come tags and cue points.
            let audio = (*left).min(message.len() as u64);
            message.truncate(audio as usize);
            *left -= audio;
        }
        self.bytes += message.len() as u64;
        message
    }

    /// The format as far as it is known; until then, and for other containers, the nominal one.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.state {
            State::Known { format, .. } => format,
            State::Unknown(_) | State::Other => Format::OTHER,
        }
    }

    /// Whole frames of audio seen.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.bytes / self.format().frame() as u64
    }

    /// Seconds of audio seen.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.format().seconds(self.frames())
    }
}

/// The parts of a WAV header that matter for the clock.
#[derive(Debug, PartialEq, Eq)]
struct Wav {
    format: Format,
    data_at: usize,
    /// `None`: not known, as in a stream.
    data_len: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Header {
    Incomplete,
    NotWav,
    Wav(Wav),
}

impl Wav {
    /// Reads the header at the front of `head`.
    fn read(head: &[u8]) -> Header {
        const RIFF: &[u8] = b"RIFF";
        let seen = head.len().min(4);
        if head[..seen] != RIFF[..seen] {
            return Header::NotWav;
        }
        if head.len() < 12 {
            return Header::Incomplete;
        }
        if &head[8..12] != b"WAVE" {
            return Header::NotWav;
        }
        let mut at = 12;
        let mut format = None;
        loop {
            let Some(chunk) = head.get(at..at + 8) else {
                return Header::Incomplete;
            };
            let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
            at += 8;
            match &chunk[..4] {
                b"fmt " => {
                    let Some(fields) = head.get(at..at + 16) else {
                        return Header::Incomplete;
                    };
                    format = Self::format(fields);
                    if format.is_none() {
                        return Header::NotWav;
                    }
                }
                b"data" => {
                    let Some(format) = format else {
                        return Header::NotWav;
                    };
                    let data_len = Some(u64::from(size)).filter(|_| !matches!(size, 0 | u32::MAX));
                    return Header::Wav(Self {
                        format,
                        data_at: at,
                        data_len,
                    });
                }
                _ => {}
            }
            // Chunks are padded to an even size.
            at += size as usize + (size % 2) as usize;
        }
    }

    /// The `fmt ` chunk; `None` if its samples have no fixed size.
    fn format(fields: &[u8]) -> Option<Format> {
        let u16_at = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
        let rate = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
        let (tag, channels, bits) = (u16_at(0), u16_at(2), u16_at(14));
        let silence = match tag {
            // PCM, IEEE float, and the extensible form of either.
            1 | 3 | 0xFFFE => 0,
            6 => 0xD5,
            7 => 0xFF,
            _ => return None,
        };
        let valid = rate > 0 && channels > 0 && bits > 0 && bits % 8 == 0;
        valid.then_some(Format {
            rate,
            channels,
            width: bits / 8,
            silence,
        })
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

    #[test]
    fn micros_round_to_the_nearest() {
        let format = Format {
            rate: 44_100,
            ..Format::OTHER
        };
        assert_eq!(format.micros(1), 23);
        assert_eq!(format.micros(44_100 * 3), 3_000_000);
        assert_eq!(
            Format {
                rate: 16_000,
                ..format
            }
            .frames(0.57),
            9120
        );
    }
}
