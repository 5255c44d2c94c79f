//! Percent escapes.

use std::fmt::Write as _;

/// Decodes escapes; what is not a valid escape stays as it is.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => digit(*high).zip(digit(*low)).zip(Some(after)),
            _ => None,
        };
        if let Some(((high, low), after)) = escape {
            out.push((high * 16 + low) as u8);
            rest = after;
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

/// Encodes all but letters, digits and `-._~`, and appends the result to `out`.
pub(crate) fn encode(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
