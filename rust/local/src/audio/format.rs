//! How audio lies in memory, and the times that follow from it.

use crate::query::Query;

/// A format whose frames (one sample of every channel) all have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Frames a second.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// Bytes of one sample.
    pub width: u16,
    /// The byte that silence consists of.
    pub silence: u8,
}

/// The nominal byte rate of audio that is neither raw nor WAV.
pub const OTHER_BYTES_PER_SECOND: u32 = 32_000;

impl Format {
    /// The nominal format of other audio: one "sample" is one byte.
    pub const OTHER: Self = Self {
        rate: OTHER_BYTES_PER_SECOND,
        channels: 1,
        width: 1,
        silence: 0,
    };

    /// Returns the bytes of one frame.
    #[must_use]
    pub fn frame(self) -> usize {
        usize::from(self.channels) * usize::from(self.width)
    }

    /// Returns how many seconds `frames` last.
    #[must_use]
    pub fn seconds(self, frames: u64) -> f64 {
        // Exact below 2^53 frames.
        #[allow(clippy::cast_precision_loss)]
        let frames = frames as f64;
        frames / f64::from(self.rate)
    }

    /// Returns the whole frames in `seconds`.
    #[must_use]
    pub fn frames(self, seconds: f64) -> u64 {
        // Half a microsecond is added: in binary 0.57 s times 16000 is 9119.999.
        #[allow(clippy::cast_sign_loss)]
        let frames = ((seconds + 5e-7) * f64::from(self.rate)).max(0.0) as u64;
        frames
    }

    /// Returns how many microseconds `frames` last, rounded to the nearest.
    #[must_use]
    pub fn micros(self, frames: u64) -> u64 {
        let rate = u128::from(self.rate);
        ((u128::from(frames) * 1_000_000 + rate / 2) / rate) as u64
    }

    /// Returns the format that a query declares; `None` without an `encoding` of fixed frames.
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

#[cfg(test)]
mod tests {
    use super::*;

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
