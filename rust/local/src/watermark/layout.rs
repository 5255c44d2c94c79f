//! The layout of a chunk that carries its number.
//!
//! Each channel's bytes are a run of eight-byte cells, then up to seven bytes 0x7F if the length is
//! not a multiple of eight. A channel's bytes are its samples; where the format is unknown, all
//! bytes are one channel.
//!
//! | byte | content |
//! | --- | --- |
//! | 0 | 0x80 + a check of the other seven, 7 bits |
//! | 1 to 4 | the chunk's number, seven bits each, lowest first |
//! | 5, 6 | how many cells of the chunk follow, seven bits each, lowest first |
//! | 7 | how many filler bytes follow the last cell (bits 0 to 2), the channel modulo 16 (bits 3 to 6) |
//!
//! Only the first byte of a cell has its top bit set. So a reader that starts at any sample, as a
//! leg may, finds the next cell, and every cell says where its chunk ends. Silence (0x00, 0xD5 or
//! 0xFF) never reads as a cell.

use std::collections::VecDeque;

use crate::audio::Format;

/// Bytes of one cell: the least that a chunk has for each channel.
pub const CELL: usize = 8;
const FILLER: u8 = 0x7F;
const NUMBERS: u32 = 1 << 28;
const MAX_CELLS: usize = 1 << 14;

/// Why a chunk can't be marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// The number does not fit 28 bits.
    #[error("a chunk's number is below {NUMBERS}, not {0}")]
    Number(u32),
    /// Too short for a cell, too long for the cells' count, or not whole frames.
    #[error(
        "a chunk has whole frames and 8 to 131079 bytes for each channel, not {0} bytes in all"
    )]
    Size(usize),
}

/// Makes a chunk of `size` bytes in all that carries `number` in each channel of `format`.
///
/// # Errors
/// [`MarkError`] when number or size do not fit the layout.
pub fn mark(number: u32, size: usize, format: Format) -> Result<Vec<u8>, MarkError> {
    let channels = usize::from(format.channels);
    let share = size / channels;
    let fits = size.is_multiple_of(format.frame())
        && (CELL..=MAX_CELLS * CELL + CELL - 1).contains(&share);
    if !fits {
        return Err(MarkError::Size(size));
    }
    if number >= NUMBERS {
        return Err(MarkError::Number(number));
    }
    let width = usize::from(format.width);
    let mut chunk = vec![0; size];
    for channel in 0..channels {
        for (at, byte) in channel_bytes(number, share, channel).enumerate() {
            chunk[at / width * format.frame() + channel * width + at % width] = byte;
        }
    }
    Ok(chunk)
}

fn channel_bytes(number: u32, share: usize, channel: usize) -> impl Iterator<Item = u8> {
    let (cells, filler) = (share / CELL, share % CELL);
    (0..cells)
        .flat_map(move |cell| encode(number, cells - 1 - cell, filler, channel))
        .chain(std::iter::repeat_n(FILLER, filler))
}

fn encode(number: u32, following: usize, filler: usize, channel: usize) -> [u8; CELL] {
    let seven = |value: usize, group: usize| (value >> (7 * group) & 0x7F) as u8;
    let number = number as usize;
    let mut cell = [
        0,
        seven(number, 0),
        seven(number, 1),
        seven(number, 2),
        seven(number, 3),
        seven(following, 0),
        seven(following, 1),
        (filler | (channel % 16) << 3) as u8,
    ];
    cell[0] = 0x80 | check(cell);
    cell
}

/// Computes seven check bits over bytes 1 to 7.
fn check(cell: [u8; CELL]) -> u8 {
    let sum = cell[1..]
        .iter()
        .fold(0x55_u64, |sum, byte| sum * 37 + u64::from(*byte));
    ((sum ^ (sum >> 7) ^ (sum >> 14)) & 0x7F) as u8
}

/// The content of one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    number: u32,
    following: usize,
    filler: usize,
}

impl Cell {
    fn read(cell: [u8; CELL]) -> Option<Self> {
        let plain = cell[1..].iter().fold(0, |bits, byte| bits | byte) < 0x80;
        if !plain || cell[0] != 0x80 | check(cell) {
            return None;
        }
        let number = (1..5)
            .rev()
            .fold(0, |number, at| number << 7 | u32::from(cell[at]));
        let following = usize::from(cell[6]) << 7 | usize::from(cell[5]);
        Some(Self {
            number,
            following,
            filler: usize::from(cell[7] & 7),
        })
    }
}

/// A chunk that was heard to its end, in one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The channel, from 0.
    pub channel: u16,
    /// The chunk's number.
    pub number: u32,
    /// The frame in which the first cell that was heard begins.
    pub start: u64,
    /// The frame after the chunk's last.
    pub end: u64,
    /// Whether no cell is missing between the first one heard and the last.
    pub intact: bool,
}

/// Finds marks in audio that comes in pieces of any size.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    channels: Vec<Channel>,
    /// Bytes of audio seen before the next piece.
    at: u64,
}

impl Reader {
    /// Creates a reader at the start of a leg's audio.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let channels = (0..format.channels).map(|_| Channel::default()).collect();
        Self {
            format,
            channels,
            at: 0,
        }
    }

    /// Takes the next piece of audio and reports the chunks that end in it: channel by channel, in
    /// the order of their ends.
    pub fn read(&mut self, audio: &[u8], mut report: impl FnMut(Mark)) {
        let (frame, width) = (self.format.frame(), usize::from(self.format.width));
        if let [channel] = self.channels.as_mut_slice() {
            channel.push(audio);
        } else {
            for (offset, byte) in audio.iter().enumerate() {
                let within = ((self.at + offset as u64) % frame as u64) as usize;
                self.channels[within / width].push(std::slice::from_ref(byte));
            }
        }
        self.at += audio.len() as u64;
        for (index, channel) in (0u16..).zip(&mut self.channels) {
            channel.scan(|number, start, end, intact| {
                let frames = |bytes: u64| bytes / width as u64;
                report(Mark {
                    channel: index,
                    number,
                    start: frames(start),
                    end: frames(end),
                    intact,
                });
            });
        }
    }
}

/// The bytes of one channel that have not been read as cells.
#[derive(Debug, Default)]
struct Channel {
    pending: VecDeque<u8>,
    /// Where `pending` begins, in this channel's bytes.
    at: u64,
    chunk: Option<Partial>,
}

/// A chunk of which at least one cell was heard.
#[derive(Clone, Copy, Debug)]
struct Partial {
    cell: Cell,
    start: u64,
    /// Where the next cell has to begin.
    next: u64,
    intact: bool,
}

impl Channel {
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    fn scan(&mut self, mut report: impl FnMut(u32, u64, u64, bool)) {
        let Self { pending, at, chunk } = self;
        let bytes = pending.make_contiguous();
        let mut seen = 0;
        while let Some(window) = bytes[seen..].first_chunk::<CELL>() {
            let Some(cell) = (window[0] >= 0x80).then(|| Cell::read(*window)).flatten() else {
                seen += 1;
                continue;
            };
            let begin = *at + seen as u64;
            let after = begin + CELL as u64;
            let partial = match *chunk {
                Some(partial) if partial.cell.number == cell.number => {
                    let next =
                        partial.next == begin && partial.cell.following == cell.following + 1;
                    Partial {
                        cell,
                        next: after,
                        intact: partial.intact && next,
                        ..partial
                    }
                }
                _ => Partial {
                    cell,
                    start: begin,
                    next: after,
                    intact: true,
                },
            };
            seen += CELL;
            *chunk = if cell.following == 0 {
                report(
                    cell.number,
                    partial.start,
                    after + cell.filler as u64,
                    partial.intact,
                );
                None
            } else {
                Some(partial)
            };
        }
        *at += seen as u64;
        pending.drain(..seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAR16: Format = Format {
        rate: 16_000,
        channels: 1,
        width: 2,
        silence: 0,
    };
    const STEREO: Format = Format {
        channels: 2,
        ..LINEAR16
    };

    fn heard(format: Format, pieces: &[&[u8]]) -> Vec<Mark> {
        let (mut reader, mut marks) = (Reader::new(format), Vec::new());
        for piece in pieces {
            reader.read(piece, |mark| marks.push(mark));
        }
        marks
    }

    #[test]
    fn the_layout_is_as_documented() {
        let chunk = mark(300, 19, Format::OTHER).unwrap();
        // 300 = 2 * 128 + 44; one more cell follows, then three bytes of filler.
        assert_eq!(chunk[1..8], [44, 2, 0, 0, 1, 0, 3]);
        assert_eq!(chunk[9..16], [44, 2, 0, 0, 0, 0, 3]);
        assert_eq!(chunk[16..], [0x7F; 3]);
        assert!(chunk[0] >= 0x80 && chunk[8] >= 0x80);
    }

    #[test]
    fn numbers_come_back_whatever_the_pieces() {
        let audio: Vec<u8> = (0..50)
            .flat_map(|n| mark(n, 640, LINEAR16).unwrap())
            .collect();
        for size in [1, 7, 640, 1000, 32_000] {
            let marks = heard(LINEAR16, &audio.chunks(size).collect::<Vec<_>>());
            let numbers: Vec<u32> = marks.iter().map(|mark| mark.number).collect();
            assert_eq!(numbers, (0..50).collect::<Vec<_>>());
            assert_eq!((marks[3].start, marks[3].end), (960, 1280));
            assert!(marks.iter().all(|mark| mark.intact));
        }
    }

    #[test]
    fn channels_are_told_apart() {
        let mut audio = mark(7, 640, STEREO).unwrap();
        audio.extend(mark(8, 640, STEREO).unwrap());
        // A replay silences the samples that a channel has finalised.
        for frame in audio[..640].chunks_mut(4) {
            frame[..2].fill(0);
        }
        let marks = heard(STEREO, &[&audio[..333], &audio[333..]]);
        let seen: Vec<_> = marks
            .iter()
            .map(|mark| (mark.channel, mark.number, mark.start, mark.end))
            .collect();
        // Channel by channel, in the order of the ends within each.
        assert_eq!(seen, [(0, 8, 160, 320), (1, 7, 0, 160), (1, 8, 160, 320)]);
    }

    #[test]
    fn a_leg_may_begin_within_a_chunk() {
        let chunk = mark(12, 643, Format::OTHER).unwrap();
        let marks = heard(Format::OTHER, &[&chunk[101..]]);
        assert_eq!(
            marks,
            [Mark {
                channel: 0,
                number: 12,
                start: 3,
                end: 542,
                intact: true
            }]
        );
    }

    #[test]
    fn a_hole_is_seen() {
        let mut chunk = mark(5, 640, LINEAR16).unwrap();
        chunk.drain(100..103);
        let marks = heard(LINEAR16, &[&chunk]);
        assert_eq!(marks.len(), 1);
        assert!(!marks[0].intact);
    }

    #[test]
    fn silence_and_noise_are_not_chunks() {
        let mut audio: Vec<u8> = [0x00, 0xFF, 0xD5]
            .iter()
            .flat_map(|byte| [*byte; 4000])
            .collect();
        audio.extend((0..4000_u32).map(|n| 0x80 | ((n * 7919) >> 3) as u8));
        assert_eq!(heard(Format::OTHER, &[&audio]), []);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(mark(0, 7, Format::OTHER), Err(MarkError::Size(7)));
        assert_eq!(mark(0, 641, LINEAR16), Err(MarkError::Size(641)));
        assert_eq!(
            mark(1 << 28, 640, LINEAR16),
            Err(MarkError::Number(1 << 28))
        );
        assert!(mark((1 << 28) - 1, 131_072, Format::OTHER).is_ok());
    }
}
