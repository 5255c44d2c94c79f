//! A message and its headers, as views of the received bytes.

use std::collections::HashSet;

use bytes::Bytes;

/// The most headers that a message may have. The service's messages have at most six.
pub const MAX_HEADERS: usize = 128;

/// One header: a name of up to 255 bytes and a typed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; the protocol's own begin with a colon.
    pub name: &'a str,
    /// The value.
    pub value: HeaderValue<'a>,
}

/// The value of a header, in the ten types of the wire (two of them make up `Bool`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// Types 0 (true) and 1 (false), without further bytes.
    Bool(bool),
    /// Type 2.
    Byte(i8),
    /// Type 3.
    Int16(i16),
    /// Type 4.
    Int32(i32),
    /// Type 5.
    Int64(i64),
    /// Type 6: at most 32767 bytes.
    Bytes(&'a [u8]),
    /// Type 7: at most 32767 bytes of UTF-8.
    String(&'a str),
    /// Type 8: milliseconds since the epoch.
    Timestamp(i64),
    /// Type 9.
    Uuid([u8; 16]),
}

/// Why a block of headers can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The block ends in the middle of a header.
    #[error("a header is cut short")]
    Truncated,
    /// A type that the protocol does not define.
    #[error("header type {0} is not defined")]
    UnknownType(u8),
    /// A name or a string value is not UTF-8.
    #[error("a header's name or text is not valid UTF-8")]
    NotUtf8,
    /// A name that an earlier header of the message has.
    #[error("two headers have the same name")]
    Duplicate,
    /// More headers than [`MAX_HEADERS`].
    #[error("a message has more than {MAX_HEADERS} headers")]
    TooMany,
}

/// The headers of one message, checked once when decoded and then read in place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    block: Bytes,
}

/// One message: headers and payload, both slices of the received bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The headers, in the order of the wire.
    pub headers: Headers,
    /// The payload; empty for messages without one.
    pub payload: Bytes,
}

impl Headers {
    /// Takes an encoded block of headers and checks every header.
    pub(crate) fn parse(block: Bytes) -> Result<Self, HeaderError> {
        let mut rest = &block[..];
        let mut names = Names::default();
        let mut count = 0;
        while !rest.is_empty() {
            if count == MAX_HEADERS {
                return Err(HeaderError::TooMany);
            }
            let (header, tail) = split_header(rest)?;
            header.read()?;
            if !names.add(header.name) {
                return Err(HeaderError::Duplicate);
            }
            rest = tail;
            count += 1;
        }
        Ok(Self { block })
    }

    /// Returns the headers in the order of the wire.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.encoded().filter_map(|header| header.read().ok())
    }

    /// Returns the header called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<HeaderValue<'_>> {
        let found = self
            .encoded()
            .find(|header| header.name == name.as_bytes())?;
        found.read().ok().map(|header| header.value)
    }

    /// Returns the headers, still encoded. `parse` has read the whole block, so no error is
    /// possible.
    fn encoded(&self) -> impl Iterator<Item = EncodedHeader<'_>> {
        let mut rest = &self.block[..];
        std::iter::from_fn(move || {
            let (header, tail) = split_header(rest).ok()?;
            rest = tail;
            Some(header)
        })
    }
}

/// The names of one message's headers. An event of the service has few; only a block with many
/// allocates.
#[derive(Default)]
pub(super) struct Names<'a> {
    few: [&'a [u8]; FEW],
    count: usize,
    many: HashSet<&'a [u8]>,
}

/// Up to this number, names are compared one by one.
const FEW: usize = 16;

impl<'a> Names<'a> {
    /// Adds a name; returns whether it is new.
    pub(super) fn add(&mut self, name: &'a [u8]) -> bool {
        let known = &self.few[..self.count];
        if known.contains(&name) {
            return false;
        }
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = name;
                self.count += 1;
                true
            }
            None => self.many.insert(name),
        }
    }
}

impl Message {
    /// Returns the header called `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<HeaderValue<'_>> {
        self.headers.get(name)
    }
}

impl HeaderValue<'_> {
    /// Returns the type's number on the wire.
    pub(super) fn wire_type(self) -> u8 {
        match self {
            Self::Bool(true) => 0,
            Self::Bool(false) => 1,
            Self::Byte(_) => 2,
            Self::Int16(_) => 3,
            Self::Int32(_) => 4,
            Self::Int64(_) => 5,
            Self::Bytes(_) => 6,
            Self::String(_) => 7,
            Self::Timestamp(_) => 8,
            Self::Uuid(_) => 9,
        }
    }
}

/// A header whose extent is known and whose content has not been read.
struct EncodedHeader<'a> {
    name: &'a [u8],
    wire_type: u8,
    /// The value without its length.
    value: &'a [u8],
}

/// Splits off the header at the front of `input`; returns it and the rest.
fn split_header(input: &[u8]) -> Result<(EncodedHeader<'_>, &[u8]), HeaderError> {
    let (&[name_len], rest) = split_array::<1>(input)?;
    let (name, rest) = split(rest, usize::from(name_len))?;
    let (&[wire_type], rest) = split_array::<1>(rest)?;
    let (len, rest) = match wire_type {
        0 | 1 => (0, rest),
        2 => (1, rest),
        3 => (2, rest),
        4 => (4, rest),
        5 | 8 => (8, rest),
        6 | 7 => {
            let (len, rest) = split_array::<2>(rest)?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        9 => (16, rest),
        unknown => return Err(HeaderError::UnknownType(unknown)),
    };
    let (value, rest) = split(rest, len)?;
    Ok((
        EncodedHeader {
            name,
            wire_type,
            value,
        },
        rest,
    ))
}

impl<'a> EncodedHeader<'a> {
    fn read(&self) -> Result<Header<'a>, HeaderError> {
        let value = match self.wire_type {
            0 => HeaderValue::Bool(true),
            1 => HeaderValue::Bool(false),
            2 => HeaderValue::Byte(i8::from_be_bytes(self.fixed()?)),
            3 => HeaderValue::Int16(i16::from_be_bytes(self.fixed()?)),
            4 => HeaderValue::Int32(i32::from_be_bytes(self.fixed()?)),
            5 => HeaderValue::Int64(i64::from_be_bytes(self.fixed()?)),
            6 => HeaderValue::Bytes(self.value),
            7 => HeaderValue::String(utf8(self.value)?),
            8 => HeaderValue::Timestamp(i64::from_be_bytes(self.fixed()?)),
            9 => HeaderValue::Uuid(self.fixed()?),
            unknown => return Err(HeaderError::UnknownType(unknown)),
        };
        Ok(Header {
            name: utf8(self.name)?,
            value,
        })
    }

    fn fixed<const N: usize>(&self) -> Result<[u8; N], HeaderError> {
        self.value.try_into().map_err(|_| HeaderError::Truncated)
    }
}

fn split_array<const N: usize>(input: &[u8]) -> Result<(&[u8; N], &[u8]), HeaderError> {
    input.split_first_chunk().ok_or(HeaderError::Truncated)
}

fn split(input: &[u8], len: usize) -> Result<(&[u8], &[u8]), HeaderError> {
    input.split_at_checked(len).ok_or(HeaderError::Truncated)
}

fn utf8(bytes: &[u8]) -> Result<&str, HeaderError> {
    std::str::from_utf8(bytes).map_err(|_| HeaderError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(block: &'static [u8]) -> Result<Headers, HeaderError> {
        Headers::parse(Bytes::from_static(block))
    }

    #[test]
    fn every_type_is_read() {
        let headers = parse(
            b"\x01a\x00\x01b\x01\x01c\x02\xff\x01d\x03\x01\x02\x01e\x04\x00\x00\x00\x05\
              \x01f\x05\0\0\0\0\0\0\x01\x00\x01g\x06\x00\x02hi\x01h\x07\x00\x02yo\
              \x01i\x08\0\0\0\0\0\0\0\x09\x01j\x090123456789abcdef",
        )
        .unwrap();
        let values: Vec<_> = headers
            .iter()
            .map(|header| (header.name, header.value))
            .collect();
        assert_eq!(
            values,
            [
                ("a", HeaderValue::Bool(true)),
                ("b", HeaderValue::Bool(false)),
                ("c", HeaderValue::Byte(-1)),
                ("d", HeaderValue::Int16(0x0102)),
                ("e", HeaderValue::Int32(5)),
                ("f", HeaderValue::Int64(256)),
                ("g", HeaderValue::Bytes(b"hi")),
                ("h", HeaderValue::String("yo")),
                ("i", HeaderValue::Timestamp(9)),
                ("j", HeaderValue::Uuid(*b"0123456789abcdef")),
            ]
        );
    }

    #[test]
    fn a_header_is_found_by_its_name() {
        let headers = parse(b"\x01a\x00\x01A\x01").unwrap();
        assert_eq!(headers.get("a"), Some(HeaderValue::Bool(true)));
        assert_eq!(headers.get("A"), Some(HeaderValue::Bool(false)));
        assert_eq!(headers.get("b"), None);
    }

    #[test]
    fn a_name_comes_once() {
        assert_eq!(parse(b"\x01a\x00\x01a\x01"), Err(HeaderError::Duplicate));
        // Whatever the values' types are, and wherever the two stand.
        assert_eq!(
            parse(b"\x01a\x00\x01b\x00\x01a\x02\x07"),
            Err(HeaderError::Duplicate)
        );
        for count in [1, FEW, FEW + 1, MAX_HEADERS - 1] {
            let names = (0..count).map(|n| n as u8);
            let block = |names: &mut dyn Iterator<Item = u8>| {
                names
                    .flat_map(|n| [3, b'n', b'0' + n / 100, n % 100, 0])
                    .collect::<Vec<_>>()
            };
            let once = block(&mut names.clone());
            assert!(Headers::parse(once.into()).is_ok(), "{count}");
            for again in [0, count / 2, count - 1] {
                let twice = block(&mut names.clone().chain([again as u8]));
                let parsed = Headers::parse(twice.into());
                assert_eq!(parsed, Err(HeaderError::Duplicate), "{again} of {count}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert_eq!(parse(b"\x02a"), Err(HeaderError::Truncated));
        assert_eq!(parse(b"\x01a"), Err(HeaderError::Truncated));
        assert_eq!(parse(b"\x01a\x04\x00"), Err(HeaderError::Truncated));
        assert_eq!(parse(b"\x01a\x06\x00\x02x"), Err(HeaderError::Truncated));
        assert_eq!(parse(b"\x01a\x0a"), Err(HeaderError::UnknownType(10)));
        assert_eq!(parse(b"\x01\xff\x00"), Err(HeaderError::NotUtf8));
        assert_eq!(parse(b"\x01a\x07\x00\x01\xff"), Err(HeaderError::NotUtf8));
    }

    #[test]
    fn headers_are_counted() {
        let headers = |count: usize| {
            let block = (0..count).flat_map(|n| [1, n as u8, 0]);
            Headers::parse(block.collect::<Vec<_>>().into())
        };
        assert_eq!(headers(MAX_HEADERS).unwrap().iter().count(), MAX_HEADERS);
        assert_eq!(headers(MAX_HEADERS + 1), Err(HeaderError::TooMany));
    }
}
