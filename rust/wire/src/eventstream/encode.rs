//! Encodes messages in one pass; lengths and checksums are filled in afterwards.

use bytes::{BufMut, BytesMut};

use super::layout::{OVERHEAD, PRELUDE_LEN};
use super::message::{Header, HeaderValue, Names};

/// The protocol gives lengths of names one byte.
const MAX_NAME: usize = u8::MAX as usize;
/// The protocol reads lengths of values as a signed 16-bit number.
const MAX_VALUE: usize = i16::MAX as usize;

/// Why a message can't be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A header's name is longer than 255 bytes.
    #[error("a header's name has {0} bytes, more than {MAX_NAME}")]
    NameTooLong(usize),
    /// A header's value is longer than 32767 bytes.
    #[error("a header's value has {0} bytes, more than {MAX_VALUE}")]
    ValueTooLong(usize),
    /// The length of the message does not fit its 32-bit field.
    #[error("a message of {0} bytes does not fit its 32-bit length")]
    MessageTooLong(usize),
    /// Two headers have the same name, which no decoder accepts.
    #[error("two headers have the same name")]
    DuplicateHeader,
}

/// Appends one message to `out`.
///
/// # Errors
/// [`EncodeError`] if a length does not fit the format, or a header is repeated; `out` is then
/// unchanged.
pub fn encode(
    headers: &[Header<'_>],
    payload: &[u8],
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut headers_len = 0;
    let mut names = Names::default();
    for header in headers {
        headers_len += header_len(header)?;
        if !names.add(header.name.as_bytes()) {
            return Err(EncodeError::DuplicateHeader);
        }
    }
    let total = headers_len
        .saturating_add(payload.len())
        .saturating_add(OVERHEAD);
    if u32::try_from(total).is_err() {
        return Err(EncodeError::MessageTooLong(total));
    }
    out.reserve(total);
    let start = start_message(out);
    for header in headers {
        put_header(header, out);
    }
    out.put_slice(payload);
    finish_message(out, start, headers_len);
    Ok(())
}

/// Reserves room for the prelude; returns where the message starts.
pub(crate) fn start_message(out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_bytes(0, PRELUDE_LEN);
    start
}

/// Fills in the prelude of the message that began at `start` and whose headers and payload have
/// been written, and appends the message's CRC. The caller ensures that the length fits 32 bits.
pub(crate) fn finish_message(out: &mut BytesMut, start: usize, headers_len: usize) {
    let total = out.len() - start + size_of::<u32>();
    let message = &mut out[start..];
    message[0..4].copy_from_slice(&(total as u32).to_be_bytes());
    message[4..8].copy_from_slice(&(headers_len as u32).to_be_bytes());
    let prelude_crc = crc32fast::hash(&message[0..8]);
    message[8..12].copy_from_slice(&prelude_crc.to_be_bytes());
    let message_crc = crc32fast::hash(message);
    out.put_u32(message_crc);
}

/// Checks that the parts of `header` fit, and returns its encoded length in bytes.
fn header_len(header: &Header<'_>) -> Result<usize, EncodeError> {
    let name = header.name.len();
    if name > MAX_NAME {
        return Err(EncodeError::NameTooLong(name));
    }
    let sized = |len: usize| {
        if len > MAX_VALUE {
            Err(EncodeError::ValueTooLong(len))
        } else {
            Ok(2 + len)
        }
    };
    let value = match header.value {
        HeaderValue::Bool(_) => 0,
        HeaderValue::Byte(_) => 1,
        HeaderValue::Int16(_) => 2,
        HeaderValue::Int32(_) => 4,
        HeaderValue::Int64(_) | HeaderValue::Timestamp(_) => 8,
        HeaderValue::Bytes(bytes) => sized(bytes.len())?,
        HeaderValue::String(text) => sized(text.len())?,
        HeaderValue::Uuid(_) => 16,
    };
    Ok(1 + name + 1 + value)
}

fn put_header(header: &Header<'_>, out: &mut BytesMut) {
    out.put_u8(header.name.len() as u8);
    out.put_slice(header.name.as_bytes());
    out.put_u8(header.value.wire_type());
    match header.value {
        HeaderValue::Bool(_) => {}
        HeaderValue::Byte(value) => out.put_i8(value),
        HeaderValue::Int16(value) => out.put_i16(value),
        HeaderValue::Int32(value) => out.put_i32(value),
        HeaderValue::Int64(value) | HeaderValue::Timestamp(value) => out.put_i64(value),
        HeaderValue::Bytes(value) => put_sized(value, out),
        HeaderValue::String(value) => put_sized(value.as_bytes(), out),
        HeaderValue::Uuid(value) => out.put_slice(&value),
    }
}

fn put_sized(value: &[u8], out: &mut BytesMut) {
    out.put_u16(value.len() as u16);
    out.put_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut out = BytesMut::new();
        encode(
            &[Header {
                name: "a",
                value: HeaderValue::String("bc"),
            }],
            b"payload",
            &mut out,
        )
        .unwrap();
        #[rustfmt::skip]
        let expected: &[u8] = &[
            0x00, 0x00, 0x00, 0x1e,                     // total length: 12 + 7 + 7 + 4 = 30
            0x00, 0x00, 0x00, 0x07,                     // headers length
            0x24, 0x96, 0x63, 0x29,                     // CRC-32 of the eight bytes above
            0x01, b'a',                                 // name length, name
            0x07,                                       // type: string
            0x00, 0x02, b'b', b'c',                     // value length, value
            b'p', b'a', b'y', b'l', b'o', b'a', b'd',   // payload
            0x76, 0x5c, 0x78, 0x48,                     // CRC-32 of everything above
        ];
        assert_eq!(&out[..], expected);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_is_written() {
        let mut out = BytesMut::from(&b"before"[..]);
        let name = "n".repeat(256);
        let value = vec![0; 32768];
        let long_name = Header {
            name: &name,
            value: HeaderValue::Bool(true),
        };
        let long_value = Header {
            name: "v",
            value: HeaderValue::Bytes(&value),
        };
        assert_eq!(
            encode(&[long_name], b"", &mut out),
            Err(EncodeError::NameTooLong(256))
        );
        assert_eq!(
            encode(&[long_value], b"", &mut out),
            Err(EncodeError::ValueTooLong(32768))
        );
        let (twice, between) = (
            Header {
                name: "t",
                value: HeaderValue::Bool(true),
            },
            Header {
                name: "T",
                value: HeaderValue::Bool(true),
            },
        );
        assert_eq!(
            encode(&[twice, between, twice], b"", &mut out),
            Err(EncodeError::DuplicateHeader)
        );
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn messages_follow_each_other() {
        let mut one = BytesMut::new();
        encode(&[], b"x", &mut one).unwrap();
        let mut two = one.clone();
        encode(&[], b"x", &mut two).unwrap();
        assert_eq!(two.len(), 2 * one.len());
        assert_eq!(two[one.len()..], one[..]);
    }
}
