//! The header of a WAV file.

use super::format::Format;

/// The longest header, in bytes. A file with a longer one counts as no WAV file.
pub(super) const MAX_HEADER: usize = 64 * 1024;

/// What a header says about the audio behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wav {
    pub(super) format: Format,
    /// Where the audio begins.
    pub(super) data_at: usize,
    /// Bytes of audio; `None`: unknown, as in a stream.
    pub(super) data_len: Option<u64>,
}

/// What the first bytes of a stream are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The beginning of a header.
    Incomplete,
    /// Not a WAV file, or one whose samples have no fixed size.
    NotWav,
    /// A whole header.
    Complete(Wav),
}

/// Reads the header at the front of `head`.
pub(super) fn read(head: &[u8]) -> Header {
    let has = |at: usize, magic: &[u8; 4]| {
        let there = head.get(at..).unwrap_or_default();
        there.iter().zip(magic).all(|(byte, wanted)| byte == wanted)
    };
    if !has(0, b"RIFF") || !has(8, b"WAVE") {
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
        // Chunks are padded to an even size.
        let next = at + (size as usize).min(MAX_HEADER) + (size % 2) as usize;
        match &chunk[..4] {
            b"fmt " => {
                let Some(fields) = head.get(at..next) else {
                    return Header::Incomplete;
                };
                format = read_format(fields);
                if format.is_none() {
                    return Header::NotWav;
                }
            }
            b"data" => {
                let Some(format) = format else {
                    return Header::NotWav;
                };
                let data_len = Some(u64::from(size)).filter(|_| !matches!(size, 0 | u32::MAX));
                return Header::Complete(Wav {
                    format,
                    data_at: at,
                    data_len,
                });
            }
            _ => {}
        }
        at = next;
    }
}

/// Reads a `fmt ` chunk; `None` if its samples have no fixed size.
fn read_format(fields: &[u8]) -> Option<Format> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(fields.get(at..at + 2)?.try_into().ok()?));
    let rate = u32::from_le_bytes(fields.get(4..8)?.try_into().ok()?);
    let (channels, frame, bits) = (u16_at(2)?, u16_at(12)?, u16_at(14)?);
    // The extensible form has the tag in the first half of its GUID.
    let tag = match u16_at(0)? {
        0xFFFE => u16_at(24)?,
        tag => tag,
    };
    // 1: PCM; 3: IEEE float; 6: A-law; 7: mu-law. Only PCM of eight bits is unsigned.
    let silence = match (tag, bits) {
        (1, 8) => 0x80,
        (1 | 3, _) => 0,
        (6, 8) => 0xD5,
        (7, 8) => 0xFF,
        _ => return None,
    };
    let format = Format {
        rate,
        channels,
        width: bits.div_ceil(8),
        silence,
    };
    let valid = rate > 0 && format.frame() > 0 && format.frame() == usize::from(frame);
    valid.then_some(format)
}
