//! Lowercase hexadecimal, by table: every event needs it.

/// Length of a SHA-256 or HMAC-SHA-256 value in hexadecimal.
pub const HEX_LEN: usize = 64;

const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Writes `value` into `out`, which must be twice as long.
pub fn write(value: &[u8], out: &mut [u8]) {
    for (byte, pair) in value.iter().zip(out.chunks_exact_mut(2)) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
}

/// Returns `value` as text.
#[must_use]
pub fn encode(value: &[u8]) -> String {
    value
        .iter()
        .flat_map(|byte| PAIRS[usize::from(*byte)])
        .map(char::from)
        .collect()
}

/// Returns the digits of a signature as requests have it; `None` if they are not 64 in lower case.
#[must_use]
pub fn signature(text: &str) -> Option<[u8; HEX_LEN]> {
    let digits: [u8; HEX_LEN] = text.as_bytes().try_into().ok()?;
    digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        .then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte() {
        for byte in 0..=255_u8 {
            assert_eq!(encode(&[byte]), format!("{byte:02x}"));
        }
        let mut out = [0; 6];
        write(&[0x00, 0xab, 0xff], &mut out);
        assert_eq!(&out, b"00abff");
    }

    #[test]
    fn signatures_are_64_lowercase_digits() {
        assert!(signature(&"0a".repeat(32)).is_some());
        assert!(signature(&"0A".repeat(32)).is_none());
        assert!(signature(&"0a".repeat(31)).is_none());
        assert!(signature(&"é".repeat(32)).is_none());
    }
}
