//! The audio's own clock: the time of a byte, and the byte of a time.
//!
//! Raw audio has a clock: its layout is in the query, or in the header of a WAV file. Other audio
//! (containers, packet codecs) has none: it can only be sent again from its start.

use bytes::{Bytes, BytesMut};

use super::query;
use super::rewrite::ROUNDING;

/// The longest WAV header that is read, in bytes.
const MAX_WAV_HEADER: usize = 64 * 1024;

/// The layout of raw audio. A *block* is one sample of every channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Blocks per second.
    pub rate: u32,
    /// Samples per block.
    pub channels: u16,
    /// Bytes per sample.
    pub sample_bytes: u16,
    /// The byte of silence.
    pub silence: u8,
}

impl Layout {
    /// Returns the bytes per block.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        u64::from(self.channels) * u64::from(self.sample_bytes)
    }

    /// Returns the bytes per second.
    #[must_use]
    pub fn byte_rate(&self) -> u64 {
        self.block_bytes() * u64::from(self.rate)
    }

    /// Returns a block's time, in microseconds, rounded.
    #[must_use]
    pub fn micros(&self, block: u64) -> i64 {
        let rate = u128::from(self.rate);
        let micros = (u128::from(block) * 1_000_000 + rate / 2) / rate;
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    /// Returns the last block that starts at or before a time in microseconds. Printed times have
    /// six decimals and are rounded at most twice, so a block that starts a microsecond later still
    /// counts.
    #[must_use]
    pub fn block_at(&self, micros: i64) -> u64 {
        let micros = u128::try_from(micros.saturating_add(1)).unwrap_or(0);
        u64::try_from(micros * u128::from(self.rate) / 1_000_000).unwrap_or(u64::MAX)
    }

    /// Returns the layout of a raw encoding, by its name in the query; `None` for other encodings,
    /// and where a number is missing or 0.
    fn of(encoding: &str, rate: Option<u32>, channels: u32) -> Option<Self> {
        let (sample_bytes, silence) = match encoding {
            "linear16" => (2, 0),
            "linear32" => (4, 0),
            "mulaw" => (1, 0xFF),
            "alaw" => (1, 0xD5),
            _ => return None,
        };
        let rate = rate.filter(|rate| *rate > 0)?;
        let channels = u16::try_from(channels)
            .ok()
            .filter(|channels| *channels > 0)?;
        Some(Self {
            rate,
            channels,
            sample_bytes,
            silence,
        })
    }
}

/// A WAV file's header, up to its first audio byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WavHeader {
    bytes: Bytes,
    layout: Layout,
    /// The size of the audio behind it, in bytes; `None` where the header does not say.
    data_bytes: Option<u32>,
}

/// What is known about the audio.
///
/// ```text
///                  the header is whole
///   Unknown ──────────────────────────────▶ Wav
///      │                                            Raw (from the query, for good)
///      └──────────────────────────────────▶ Other
///         not a WAV file, or one of another kind
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audio {
    /// Raw, as the query says.
    Raw(Layout),
    /// Undecided. Holds the first bytes so far.
    Unknown(BytesMut),
    /// Raw, behind a header.
    Wav(WavHeader),
    /// Without a clock.
    Other,
}

impl Audio {
    /// Returns the audio that a query describes.
    #[must_use]
    pub fn from_query(text: &str) -> Self {
        let Some(encoding) = query::value(text, "encoding") else {
            return Self::Unknown(BytesMut::new());
        };
        let channels = query::number(text, "channels").unwrap_or(1);
        Self::encoded(&encoding, query::number(text, "sample_rate"), channels)
    }

    /// Returns audio in an encoding that is named. `rate` is in samples a second.
    #[must_use]
    pub fn encoded(encoding: &str, rate: Option<u32>, channels: u32) -> Self {
        Layout::of(encoding, rate, channels).map_or(Self::Other, Self::Raw)
    }

    /// Reads the next bytes, as long as the kind of audio is undecided.
    pub fn feed(&mut self, payload: &[u8]) {
        let Self::Unknown(head) = self else { return };
        head.extend_from_slice(payload);
        match parse_wav(head) {
            Wav::Header(header) => *self = Self::Wav(header),
            Wav::Incomplete if head.len() < MAX_WAV_HEADER => {}
            Wav::Incomplete | Wav::No => *self = Self::Other,
        }
    }

    /// Returns the layout; `None` without a clock.
    #[must_use]
    pub const fn layout(&self) -> Option<Layout> {
        match self {
            Self::Raw(layout) => Some(*layout),
            Self::Wav(header) => Some(header.layout),
            Self::Unknown(_) | Self::Other => None,
        }
    }

    /// Returns the bytes before the audio.
    #[must_use]
    pub fn header_bytes(&self) -> u64 {
        match self {
            Self::Wav(header) => header.bytes.len() as u64,
            Self::Raw(_) | Self::Unknown(_) | Self::Other => 0,
        }
    }

    /// Returns the whole blocks before a position. What follows a WAV file's audio has no time.
    #[must_use]
    pub fn blocks_before(&self, byte: u64) -> u64 {
        let Some(layout) = self.layout() else {
            return 0;
        };
        let bytes = byte.saturating_sub(self.header_bytes());
        bytes.min(self.declared()) / layout.block_bytes()
    }

    /// Returns the size of the audio behind the header, in bytes; the maximum where it is unknown.
    fn declared(&self) -> u64 {
        match self {
            Self::Wav(header) => header.data_bytes.map_or(u64::MAX, u64::from),
            Self::Raw(_) | Self::Unknown(_) | Self::Other => u64::MAX,
        }
    }

    /// The service has heard audio up to a time, in microseconds. If that lies behind the end that
    /// a WAV header declares, the service reads on: the header was written too early, and the size
    /// of the audio is unknown.
    pub fn reaches(&mut self, micros: i64) {
        let declared = self.micros_before(self.header_bytes().saturating_add(self.declared()));
        if let Self::Wav(header) = self
            && header.data_bytes.is_some()
            && micros > declared.saturating_add(ROUNDING)
        {
            header.data_bytes = None;
            // A later leg is not sent the wrong end.
            let mut bytes = header.bytes.to_vec();
            let at = bytes.len() - 4;
            bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
            bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
            header.bytes = bytes.into();
        }
    }

    /// Returns the whole blocks before a position, whatever a header declares.
    #[must_use]
    pub fn blocks_at(&self, byte: u64) -> u64 {
        let bytes = byte.saturating_sub(self.header_bytes());
        self.layout()
            .map_or(0, |layout| bytes / layout.block_bytes())
    }

    /// Returns the first block that starts at or after a position, whatever a header declares.
    #[must_use]
    pub fn block_from(&self, byte: u64) -> u64 {
        let block = self.blocks_at(byte);
        if self.position(block) < byte {
            block + 1
        } else {
            block
        }
    }

    /// Returns the position of a block's first byte.
    #[must_use]
    pub fn position(&self, block: u64) -> u64 {
        let Some(layout) = self.layout() else {
            return 0;
        };
        self.header_bytes() + block * layout.block_bytes()
    }

    /// Returns the duration of the bytes before a position, in microseconds.
    #[must_use]
    pub fn micros_before(&self, byte: u64) -> i64 {
        self.layout()
            .map_or(0, |layout| layout.micros(self.blocks_before(byte)))
    }

    /// Returns the duration of the bytes before a position, in microseconds, whatever a header
    /// declares; 0 without a clock.
    #[must_use]
    pub fn micros_at(&self, byte: u64) -> i64 {
        self.clock_at(byte).unwrap_or(0)
    }

    /// Returns the time of a position in microseconds, whatever a header declares; `None` without a
    /// clock.
    #[must_use]
    pub fn clock_at(&self, byte: u64) -> Option<i64> {
        self.layout()
            .map(|layout| layout.micros(self.blocks_at(byte)))
    }

    /// Returns what a leg that starts at this block is sent first: the WAV header, its sizes
    /// reduced by what is left out.
    #[must_use]
    pub fn header_from(&self, block: u64) -> Option<Bytes> {
        let Self::Wav(header) = self else { return None };
        let Some(data) = header.data_bytes else {
            return Some(header.bytes.clone());
        };
        let left_out = (block * header.layout.block_bytes()).min(u64::from(data)) as u32;
        let mut bytes = header.bytes.to_vec();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&(data - left_out).to_le_bytes());
        let whole = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        if whole != 0 && whole != u32::MAX {
            bytes[4..8].copy_from_slice(&whole.saturating_sub(left_out).to_le_bytes());
        }
        Some(bytes.into())
    }

    /// Silences each channel of a payload before a block of its own. `start` is the payload's
    /// position. Returns the payload itself where nothing is to be silenced.
    #[must_use]
    pub fn silenced(&self, start: u64, payload: Bytes, until: &[u64]) -> Bytes {
        let Some(layout) = self.layout() else {
            return payload;
        };
        let last = until.iter().copied().max().unwrap_or(0);
        if until.len() != usize::from(layout.channels) || start >= self.position(last) {
            return payload;
        }
        let header = self.header_bytes();
        let (block_bytes, sample_bytes) = (layout.block_bytes(), u64::from(layout.sample_bytes));
        let mut bytes = payload.to_vec();
        for (position, byte) in (start..).zip(&mut bytes) {
            let Some(offset) = position.checked_sub(header) else {
                continue;
            };
            let channel = (offset % block_bytes / sample_bytes) as usize;
            if offset / block_bytes < until[channel] {
                *byte = layout.silence;
            }
        }
        bytes.into()
    }
}

enum Wav {
    Header(WavHeader),
    Incomplete,
    No,
}

/// Reads a WAV header: chunks up to `data`, with `fmt ` among them.
fn parse_wav(head: &[u8]) -> Wav {
    let magic = |at: usize, magic: &[u8; 4]| {
        let there = head.get(at..).unwrap_or_default();
        there.iter().zip(magic).all(|(a, b)| a == b)
    };
    if !magic(0, b"RIFF") || !magic(8, b"WAVE") {
        return Wav::No;
    }
    let mut at = 12;
    let mut layout = None;
    loop {
        let Some(chunk) = head.get(at..at + 8) else {
            return Wav::Incomplete;
        };
        let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        let body = at + 8;
        if &chunk[..4] == b"data" {
            let Some(layout) = layout else { return Wav::No };
            return Wav::Header(WavHeader {
                bytes: Bytes::copy_from_slice(&head[..body]),
                layout,
                data_bytes: (size != 0 && size != u32::MAX).then_some(size),
            });
        }
        // Chunks are padded to an even size.
        let next = body + (size as usize).min(MAX_WAV_HEADER) + (size & 1) as usize;
        if &chunk[..4] == b"fmt " {
            let Some(format) = head.get(body..next) else {
                return Wav::Incomplete;
            };
            layout = parse_format(format);
            if layout.is_none() {
                return Wav::No;
            }
        }
        at = next;
    }
}

/// Reads the layout in a `fmt ` chunk; `None` where it is not of raw samples.
fn parse_format(chunk: &[u8]) -> Option<Layout> {
    let short = |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
    let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
    let (channels, block_align, bits) = (short(2)?, short(12)?, short(14)?);
    // WAVE_FORMAT_EXTENSIBLE has the kind in the first half of its GUID.
    let kind = if short(0)? == 0xFFFE {
        short(24)?
    } else {
        short(0)?
    };
    let sample_bytes = bits.div_ceil(8);
    let silence = match (kind, bits) {
        (1, 8) => 0x80,
        (1 | 3, _) => 0,
        (6, 8) => 0xD5,
        (7, 8) => 0xFF,
        _ => return None,
    };
    let layout = Layout {
        rate,
        channels,
        sample_bytes,
        silence,
    };
    let plausible = rate > 0
        && sample_bytes > 0
        && channels > 0
        && layout.block_bytes() == u64::from(block_align);
    plausible.then_some(layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAR16: Layout = Layout {
        rate: 16000,
        channels: 1,
        sample_bytes: 2,
        silence: 0,
    };

    fn wav(data_bytes: u32, extra: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF".to_vec();
        let whole = match data_bytes {
            0 | u32::MAX => data_bytes,
            known => 36 + extra.len() as u32 + known,
        };
        bytes.extend(whole.to_le_bytes());
        bytes.extend(b"WAVEfmt ");
        bytes.extend(16_u32.to_le_bytes());
        bytes.extend([1, 0, 2, 0]); // PCM, two channels
        bytes.extend(8000_u32.to_le_bytes());
        bytes.extend(32000_u32.to_le_bytes());
        bytes.extend([4, 0, 16, 0]); // block of 4 bytes, 16 bits
        bytes.extend(extra);
        bytes.extend(b"data");
        bytes.extend(data_bytes.to_le_bytes());
        bytes
    }

    #[test]
    fn the_query_names_raw_audio() {
        let audio = |query| Audio::from_query(query);
        assert_eq!(
            audio("encoding=linear16&sample_rate=16000"),
            Audio::Raw(LINEAR16)
        );
        assert_eq!(
            audio("encoding=mulaw&sample_rate=8000&channels=2"),
            Audio::Raw(Layout {
                rate: 8000,
                channels: 2,
                sample_bytes: 1,
                silence: 0xFF
            })
        );
        assert_eq!(audio("encoding=opus&sample_rate=48000"), Audio::Other);
        assert_eq!(audio("encoding=linear16"), Audio::Other, "an unknown rate");
        assert_eq!(audio("encoding=linear16&sample_rate=0"), Audio::Other);
        assert_eq!(
            audio("encoding=alaw&sample_rate=8000&channels=0"),
            Audio::Other
        );
        assert_eq!(audio("model=nova-3"), Audio::Unknown(BytesMut::new()));
    }

    #[test]
    fn a_wav_header_is_found_in_pieces() {
        let file = wav(400, b"LIST\x03\0\0\0abc\0");
        for piece in [1, 7, 44, 1000] {
            let mut audio = Audio::from_query("model=nova-3");
            for bytes in [file.as_slice(), &[1; 100]].concat().chunks(piece) {
                audio.feed(bytes);
            }
            assert_eq!(audio.header_bytes(), 56, "{piece}");
            let layout = Layout {
                rate: 8000,
                channels: 2,
                sample_bytes: 2,
                silence: 0,
            };
            assert_eq!(audio.layout(), Some(layout));
        }
    }

    #[test]
    fn what_is_not_wav_is_other_audio() {
        for head in [&b"OggS...."[..], b"RIFF1234AVI ", b"\x1aE\xdf\xa3", b"RIFX"] {
            let mut audio = Audio::from_query("model=nova-3");
            audio.feed(head);
            assert_eq!(audio, Audio::Other, "{head:?}");
        }
        let mut adpcm = wav(400, b"");
        adpcm[20] = 2;
        let mut audio = Audio::from_query("");
        audio.feed(&adpcm);
        assert_eq!(audio, Audio::Other);
    }

    #[test]
    fn a_header_without_end_is_given_up() {
        let mut audio = Audio::from_query("");
        audio.feed(b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff");
        assert!(matches!(audio, Audio::Unknown(_)));
        for _ in 0..70 {
            audio.feed(&[0; 1024]);
        }
        assert_eq!(audio, Audio::Other);
    }

    #[test]
    fn audio_ends_with_its_data_chunk() {
        let mut audio = Audio::from_query("");
        audio.feed(&wav(400, b""));
        assert_eq!(audio.blocks_before(44), 0);
        assert_eq!(audio.blocks_before(44 + 399), 99);
        assert_eq!(audio.blocks_before(44 + 1000), 100);
        for unknown in [0, u32::MAX] {
            let mut audio = Audio::from_query("");
            audio.feed(&wav(unknown, b""));
            assert_eq!(audio.blocks_before(44 + 1000), 250);
        }
    }

    #[test]
    fn a_header_that_declares_too_little_is_not_believed() {
        for declared in [4, 400, 401] {
            let mut audio = Audio::from_query("");
            audio.feed(&wav(declared, b"LIST\x03\0\0\0abc\0"));
            let header = audio.header_bytes();
            let end = i64::from(declared / 4) * 125;
            audio.reaches(end + ROUNDING);
            assert_eq!(audio.blocks_before(header + 4000), u64::from(declared) / 4);
            assert_eq!(audio.micros_at(header + 4000), 125_000, "all that is there");
            audio.reaches(end + ROUNDING + 1);
            assert_eq!(audio.blocks_before(header + 4000), 1000);
            assert_eq!(audio.header_bytes(), header);
            let unknown = wav(u32::MAX, b"LIST\x03\0\0\0abc\0");
            assert_eq!(audio.header_from(30).unwrap(), unknown);
        }
        // Raw audio declares no end.
        let mut audio = Audio::Raw(LINEAR16);
        audio.reaches(1);
        assert_eq!(audio, Audio::Raw(LINEAR16));
    }

    #[test]
    fn a_later_leg_gets_a_header_of_what_it_gets() {
        let mut audio = Audio::from_query("");
        audio.feed(&wav(400, b""));
        assert_eq!(audio.header_from(0).unwrap(), wav(400, b""));
        assert_eq!(audio.header_from(30).unwrap(), wav(280, b""));
        let mut audio = Audio::from_query("");
        audio.feed(&wav(u32::MAX, b""));
        assert_eq!(audio.header_from(30).unwrap(), wav(u32::MAX, b""));
        assert_eq!(Audio::Raw(LINEAR16).header_from(30), None);
    }

    #[test]
    fn times_and_blocks_agree_at_every_rate() {
        for rate in [8000, 11025, 16000, 22050, 44100, 48000, 96000] {
            let layout = Layout { rate, ..LINEAR16 };
            for block in
                (0..200_000).chain(43_200 * u64::from(rate)..43_200 * u64::from(rate) + 999)
            {
                assert_eq!(layout.block_at(layout.micros(block)), block, "{rate}");
            }
        }
        assert_eq!(LINEAR16.block_at(1_000_050), 16000);
        assert_eq!(LINEAR16.block_at(-5), 0);
    }

    #[test]
    fn a_block_from_a_position_is_whole() {
        let audio = Audio::Raw(LINEAR16);
        assert_eq!(audio.block_from(0), 0);
        assert_eq!(audio.block_from(1), 1);
        assert_eq!(audio.block_from(2), 1);
    }

    #[test]
    fn channels_are_silenced_up_to_their_own_block() {
        let audio = Audio::from_query("encoding=alaw&sample_rate=8000&channels=2");
        let payload = Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7]);
        // From the second sample of block 3 on.
        let silenced = audio.silenced(7, payload.clone(), &[5, 4]);
        assert_eq!(silenced, [0xD5, 0xD5, 3, 4, 5, 6, 7].as_slice());
        let untouched = audio.silenced(10, payload.clone(), &[5, 4]);
        assert_eq!(untouched.as_ptr(), payload.as_ptr());
        let other_count = audio.silenced(7, payload.clone(), &[5]);
        assert_eq!(other_count.as_ptr(), payload.as_ptr());
    }
}
