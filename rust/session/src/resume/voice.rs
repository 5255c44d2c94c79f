//! Speech in bytes: samples and durations.

use super::query;

/// The format of a sample. All are mono.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 16 bits, little endian.
    Linear16,
    /// G.711 µ-law.
    Mulaw,
    /// G.711 A-law.
    Alaw,
}

/// Raw speech, as the query asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    encoding: Encoding,
    rate: u32,
}

impl Voice {
    /// Returns what the service sends for this query; `None` where its encoding is not understood.
    /// The defaults are 16 bits at 24 kHz, and 8 kHz for G.711.
    #[must_use]
    pub fn from_query(text: &str) -> Option<Self> {
        if let Some(container) = query::value(text, "container")
            && !matches!(container.as_str(), "none" | "wav")
        {
            return None;
        }
        let (encoding, rate) = match query::value(text, "encoding").as_deref() {
            None | Some("linear16") => (Encoding::Linear16, 24_000),
            Some("mulaw") => (Encoding::Mulaw, 8_000),
            Some("alaw") => (Encoding::Alaw, 8_000),
            Some(_) => return None,
        };
        let rate = query::number(text, "sample_rate")
            .filter(|rate| *rate > 0)
            .unwrap_or(rate);
        Some(Self { encoding, rate })
    }

    /// Returns the bytes per sample.
    #[must_use]
    pub const fn sample_bytes(self) -> usize {
        match self.encoding {
            Encoding::Linear16 => 2,
            Encoding::Mulaw | Encoding::Alaw => 1,
        }
    }

    /// Returns the samples in some milliseconds, at least one.
    #[must_use]
    pub fn samples(self, millis: u32) -> usize {
        (u64::from(self.rate) * u64::from(millis) / 1000).max(1) as usize
    }

    /// Returns the duration of some bytes in microseconds, rounded.
    #[must_use]
    pub fn micros(self, bytes: u64) -> i64 {
        let a_second = u128::from(self.rate) * self.sample_bytes() as u128;
        let micros = (u128::from(bytes) * 1_000_000 + a_second / 2) / a_second;
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    /// Returns the bytes of a duration in microseconds, rounded down to a whole sample.
    #[must_use]
    pub fn bytes(self, micros: i64) -> u64 {
        let micros = u128::try_from(micros).unwrap_or(0);
        let samples = micros * u128::from(self.rate) / 1_000_000;
        u64::try_from(samples * self.sample_bytes() as u128).unwrap_or(u64::MAX)
    }

    /// Returns a sample's value on the scale of 16 bits. `bytes` are one sample.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> i32 {
        match (self.encoding, bytes) {
            (Encoding::Linear16, [low, high]) => i32::from(i16::from_le_bytes([*low, *high])),
            (Encoding::Mulaw, [byte]) => decode_mulaw(*byte),
            (Encoding::Alaw, [byte]) => decode_alaw(*byte),
            (Encoding::Linear16 | Encoding::Mulaw | Encoding::Alaw, _) => 0,
        }
    }

    /// Writes the sample nearest to a value over `bytes`, which are one sample.
    pub fn encode(self, value: i32, bytes: &mut [u8]) {
        let value = value.clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        match (self.encoding, bytes) {
            (Encoding::Linear16, [low, high]) => [*low, *high] = (value as i16).to_le_bytes(),
            (Encoding::Mulaw, [byte]) => *byte = encode_mulaw(value),
            (Encoding::Alaw, [byte]) => *byte = encode_alaw(value),
            (Encoding::Linear16 | Encoding::Mulaw | Encoding::Alaw, _) => {}
        }
    }
}

/// The offset of µ-law, with which every segment starts at a power of two.
const MULAW_BIAS: i32 = 0x84;
const MULAW_MAX: u32 = 0x7FFF - MULAW_BIAS.unsigned_abs();

fn decode_mulaw(byte: u8) -> i32 {
    let code = !byte;
    let segment = (code >> 4) & 7;
    let step = i32::from(code & 15);
    let size = ((step * 8 + MULAW_BIAS) << segment) - MULAW_BIAS;
    if code & 0x80 == 0 { size } else { -size }
}

fn encode_mulaw(value: i32) -> u8 {
    let size = value.unsigned_abs().min(MULAW_MAX) + MULAW_BIAS.unsigned_abs();
    let segment = (size.ilog2() - 7) as u8;
    let step = ((size >> (segment + 3)) & 15) as u8;
    let sign = if value < 0 { 0x80 } else { 0 };
    !(sign | segment << 4 | step)
}

fn decode_alaw(byte: u8) -> i32 {
    let code = byte ^ 0x55;
    let segment = (code >> 4) & 7;
    let step = i32::from(code & 15);
    let size = match segment {
        0 => step * 16 + 8,
        _ => (step * 16 + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -size } else { size }
}

fn encode_alaw(value: i32) -> u8 {
    let size = value.unsigned_abs().min(0x7FFF);
    let segment = if size < 0x100 {
        0
    } else {
        (size.ilog2() - 7) as u8
    };
    let step = ((size >> segment.max(1) >> 3) & 15) as u8;
    let sign = if value < 0 { 0 } else { 0x80 };
    (sign | segment << 4 | step) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(query: &str) -> Voice {
        Voice::from_query(query).unwrap()
    }

    #[test]
    fn the_query_says_what_comes() {
        let linear = voice("model=aura-2-thalia-en");
        assert_eq!((linear.encoding, linear.rate), (Encoding::Linear16, 24_000));
        let mulaw = voice("encoding=mulaw");
        assert_eq!((mulaw.encoding, mulaw.rate), (Encoding::Mulaw, 8_000));
        let alaw = voice("encoding=alaw&sample_rate=16000&container=none");
        assert_eq!((alaw.encoding, alaw.rate), (Encoding::Alaw, 16_000));
        assert_eq!(Voice::from_query("encoding=mp3"), None);
        assert_eq!(Voice::from_query("encoding=linear16&container=ogg"), None);
    }

    #[test]
    fn bytes_and_time() {
        let linear = voice("encoding=linear16&sample_rate=44100");
        assert_eq!(linear.micros(88_200), 1_000_000);
        assert_eq!(linear.bytes(1_000_000), 88_200);
        assert_eq!(linear.bytes(30), 2, "one sample, not half of the next");
        assert_eq!(linear.bytes(-30), 0);
        assert_eq!(linear.samples(10), 441);
        assert_eq!(voice("encoding=mulaw").micros(8_000), 1_000_000);
    }

    #[test]
    fn known_g711_codes() {
        for (byte, value) in [
            (0xFF, 0),
            (0x80, 32_124),
            (0x00, -32_124),
            (0xF0, 120),
            (0x70, -120),
        ] {
            assert_eq!(decode_mulaw(byte), value, "{byte:#x}");
        }
        for (byte, value) in [(0xD5, 8), (0x55, -8), (0xAA, 32_256), (0x2A, -32_256)] {
            assert_eq!(decode_alaw(byte), value, "{byte:#x}");
        }
    }

    #[test]
    fn every_code_is_its_own_nearest() {
        for byte in 0..=u8::MAX {
            assert_eq!(encode_alaw(decode_alaw(byte)), byte);
            // The only value with two codes is zero.
            if byte != 0x7F {
                assert_eq!(encode_mulaw(decode_mulaw(byte)), byte);
            }
        }
        for value in (i32::from(i16::MIN)..=i32::from(i16::MAX)).step_by(7) {
            let step = 8 + value.abs() / 16;
            assert!(
                (decode_alaw(encode_alaw(value)) - value).abs() <= step,
                "{value}"
            );
            let clipped = value.clamp(-32_635, 32_635);
            assert!(
                (decode_mulaw(encode_mulaw(value)) - clipped).abs() <= step,
                "{value}"
            );
        }
    }

    #[test]
    fn a_sample_is_clipped_not_wrapped() {
        let mut bytes = [0; 2];
        let linear = voice("");
        linear.encode(40_000, &mut bytes);
        assert_eq!(linear.decode(&bytes), 32_767);
    }
}
