//! Decodes messages from input that arrives in pieces.

use bytes::{Buf, Bytes};

use super::layout::{OVERHEAD, PRELUDE_LEN, TRAILER_LEN};
use super::message::{HeaderError, Headers, Message};

/// Limits above which the input is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole message, in bytes.
    pub max_message: usize,
    /// Its headers, in bytes.
    pub max_headers: usize,
}

/// Why the input can't be decoded. The rest of the stream can't be decoded either, because the
/// framing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The CRC of the prelude is wrong, usually because the input is not an event stream.
    #[error("prelude CRC is {received:#010x}, computed {computed:#010x}")]
    PreludeChecksum {
        /// As received.
        received: u32,
        /// As computed over the prelude.
        computed: u32,
    },
    /// The CRC of the message is wrong.
    #[error("message CRC is {received:#010x}, computed {computed:#010x}")]
    MessageChecksum {
        /// As received.
        received: u32,
        /// As computed over the message.
        computed: u32,
    },
    /// The lengths contradict each other.
    #[error("a message of {total} bytes cannot hold {headers} bytes of headers")]
    Lengths {
        /// The whole message, in bytes.
        total: usize,
        /// Its headers, in bytes.
        headers: usize,
    },
    /// The message is larger than the limit.
    #[error("a message of {length} bytes is larger than the limit of {limit}")]
    MessageTooLarge {
        /// The whole message, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The headers are larger than the limit.
    #[error("headers of {length} bytes are larger than the limit of {limit}")]
    HeadersTooLarge {
        /// The headers, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A header can't be decoded.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The input ended in the middle of a message.
    #[error("the input ends {missing} bytes short of a message")]
    Truncated {
        /// Bytes that are missing, at least.
        missing: usize,
    },
    /// Input follows the single message that was expected.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

/// Incremental decoder: takes bytes in pieces of any size and returns messages.
///
/// A message that lies within one piece is returned as slices of it, and keeps the piece alive. A
/// message that straddles pieces is copied once, into its own buffer of the message's length.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The start of an incomplete message. It precedes `piece`.
    partial: Vec<u8>,
    /// The unread rest of the latest piece.
    piece: Bytes,
    /// The checked prelude of the current message.
    prelude: Option<Prelude>,
    failed: Option<DecodeError>,
}

#[derive(Clone, Copy, Debug)]
struct Prelude {
    total: usize,
    headers: usize,
}

impl Limits {
    /// The format's limits: 16 MiB of payload, 128 KiB of headers.
    pub const PROTOCOL: Self = Self {
        max_message: 16 * 1024 * 1024 + 128 * 1024 + OVERHEAD,
        max_headers: 128 * 1024,
    };

    /// Limits for the service's messages: 16 MiB of payload, 16 KiB of headers. Its known headers
    /// take about 150 bytes; the rest leaves room for padding.
    pub const SERVICE: Self = Self {
        max_message: 16 * 1024 * 1024 + 16 * 1024 + OVERHEAD,
        max_headers: 16 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::PROTOCOL
    }
}

impl Decoder {
    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            partial: Vec::new(),
            piece: Bytes::new(),
            prelude: None,
            failed: None,
        }
    }

    /// Takes the next piece of the input. To avoid copies, call [`Decoder::next`] until it returns
    /// `None` before the next piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.failed.is_some() {
            return;
        }
        if !self.piece.is_empty() {
            self.partial.extend_from_slice(&self.piece);
        }
        self.piece = piece;
    }

    /// Returns the next whole message; `None` if more input is needed.
    ///
    /// # Errors
    /// [`DecodeError`] for malformed input, and the same error from then on.
    // Not an iterator, because an iterator ends at `None` and this continues after a push.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|error| {
            self.failed = Some(*error);
            self.partial = Vec::new();
            self.piece = Bytes::new();
        })
    }

    /// Checks that the input may end here.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] in the middle of a message; otherwise an earlier error again.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let needed = self.prelude.map_or(PRELUDE_LEN, |prelude| prelude.total);
        match self.buffered() {
            0 => Ok(()),
            held => Err(DecodeError::Truncated {
                missing: needed.saturating_sub(held),
            }),
        }
    }

    /// Returns the number of bytes that wait for the rest of a message.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.partial.len() + self.piece.len()
    }

    fn advance(&mut self) -> Result<Option<Message>, DecodeError> {
        let prelude = if let Some(prelude) = self.prelude {
            prelude
        } else {
            let limits = self.limits;
            let Some(head) = self.peek(PRELUDE_LEN) else {
                return Ok(None);
            };
            let prelude = read_prelude(head, limits)?;
            *self.prelude.insert(prelude)
        };
        let message = if self.partial.is_empty() && self.piece.len() >= prelude.total {
            self.piece.split_to(prelude.total)
        } else if self.peek(prelude.total).is_some() {
            self.take_partial(prelude.total)
        } else {
            return Ok(None);
        };
        self.prelude = None;
        read_message(message, prelude).map(Some)
    }

    /// Returns the next `len` bytes as one slice. If they straddle pieces or have not all arrived,
    /// the available ones are moved to `partial`, so that a piece (and the connection's buffer
    /// behind it) is not kept alive for its tail.
    fn peek(&mut self, len: usize) -> Option<&[u8]> {
        if self.partial.is_empty() && self.piece.len() >= len {
            return Some(&self.piece[..len]);
        }
        let held = self.partial.len();
        let wanted = len.saturating_sub(held).min(self.piece.len());
        if self.partial.capacity() - held < wanted {
            // The capacity doubles as input arrives, up to `len`: a declared length whose bytes do
            // not arrive takes no memory.
            let room = len.min((held + wanted).max(2 * held));
            self.partial.reserve_exact(room - held);
        }
        self.partial.extend_from_slice(&self.piece[..wanted]);
        self.piece.advance(wanted);
        if self.piece.is_empty() {
            self.piece = Bytes::new();
        }
        self.partial.get(..len)
    }

    /// Takes the first `len` bytes of `partial`, in a buffer of that length.
    fn take_partial(&mut self, len: usize) -> Bytes {
        // Mostly empty, because `peek` moves only what it is asked for.
        let rest = self.partial.split_off(len);
        let message = std::mem::replace(&mut self.partial, rest);
        message.into_boxed_slice().into()
    }
}

/// Decodes the single message that `input` consists of, as slices of it.
///
/// # Errors
/// [`DecodeError`] if it is malformed, too large, incomplete, or followed by anything.
pub fn decode_exact(mut input: Bytes, limits: Limits) -> Result<Message, DecodeError> {
    let Some(head) = input.get(..PRELUDE_LEN) else {
        return Err(DecodeError::Truncated {
            missing: PRELUDE_LEN - input.len(),
        });
    };
    let prelude = read_prelude(head, limits)?;
    if input.len() < prelude.total {
        return Err(DecodeError::Truncated {
            missing: prelude.total - input.len(),
        });
    }
    let message = input.split_to(prelude.total);
    if !input.is_empty() {
        return Err(DecodeError::Trailing(input.len()));
    }
    read_message(message, prelude)
}

fn read_prelude(head: &[u8], limits: Limits) -> Result<Prelude, DecodeError> {
    let received = read_u32(head, 8);
    let computed = crc32fast::hash(&head[..8]);
    if received != computed {
        return Err(DecodeError::PreludeChecksum { received, computed });
    }
    let total = read_u32(head, 0) as usize;
    let headers = read_u32(head, 4) as usize;
    if total
        .checked_sub(OVERHEAD)
        .is_none_or(|room| headers > room)
    {
        return Err(DecodeError::Lengths { total, headers });
    }
    if headers > limits.max_headers {
        return Err(DecodeError::HeadersTooLarge {
            length: headers,
            limit: limits.max_headers,
        });
    }
    if total > limits.max_message {
        return Err(DecodeError::MessageTooLarge {
            length: total,
            limit: limits.max_message,
        });
    }
    Ok(Prelude { total, headers })
}

/// Decodes `message`, whose length is the one in `prelude`.
fn read_message(mut message: Bytes, prelude: Prelude) -> Result<Message, DecodeError> {
    let trailer = prelude.total - TRAILER_LEN;
    let received = read_u32(&message, trailer);
    let computed = crc32fast::hash(&message[..trailer]);
    if received != computed {
        return Err(DecodeError::MessageChecksum { received, computed });
    }
    message.truncate(trailer);
    message.advance(PRELUDE_LEN);
    let headers = Headers::parse(message.split_to(prelude.headers))?;
    Ok(Message {
        headers,
        payload: message,
    })
}

fn read_u32(input: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([input[at], input[at + 1], input[at + 2], input[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode;
    use super::super::message::{Header, HeaderValue};
    use super::*;
    use bytes::BytesMut;

    fn message(payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        encode(
            &[Header {
                name: "n",
                value: HeaderValue::Int32(7),
            }],
            payload,
            &mut out,
        )
        .unwrap();
        out
    }

    fn decode(input: &[u8], limits: Limits) -> Result<Option<Message>, DecodeError> {
        let mut decoder = Decoder::new(limits);
        decoder.push(Bytes::copy_from_slice(input));
        decoder.next()
    }

    #[test]
    fn whole_messages_are_slices_of_the_piece() {
        let mut wire = message(b"first");
        wire.extend_from_slice(&message(b"second"));
        let wire = wire.freeze();
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(wire.clone());
        let first = decoder.next().unwrap().unwrap();
        let second = decoder.next().unwrap().unwrap();
        assert_eq!(
            (&first.payload[..], &second.payload[..]),
            (&b"first"[..], &b"second"[..])
        );
        assert!(wire.as_ptr_range().contains(&first.payload.as_ptr()));
        assert_eq!(first.header("n"), Some(HeaderValue::Int32(7)));
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn byte_by_byte() {
        let wire = message(b"payload");
        let mut decoder = Decoder::new(Limits::default());
        for (at, byte) in wire.iter().enumerate() {
            assert_eq!(decoder.next(), Ok(None), "before byte {at}");
            decoder.push(Bytes::copy_from_slice(&[*byte]));
        }
        assert_eq!(&decoder.next().unwrap().unwrap().payload[..], b"payload");
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn what_straddles_pieces_is_kept_alone() {
        let mut wire = message(&[7; 5000]);
        wire.extend_from_slice(&message(b"next"));
        let mut decoder = Decoder::new(Limits::default());
        let mut read = Vec::new();
        for piece in wire.chunks(3000) {
            decoder.push(Bytes::copy_from_slice(piece));
            while let Some(message) = decoder.next().unwrap() {
                read.push(message);
            }
            assert!(decoder.partial.capacity() <= 5100);
        }
        assert_eq!(read.len(), 2);
        assert_eq!(
            decoder.partial.capacity(),
            0,
            "the buffer went with its message"
        );
    }

    #[test]
    fn a_length_that_is_claimed_takes_no_memory() {
        let wire = message(&vec![7; 10_000_000]);
        let mut decoder = Decoder::new(Limits::default());
        for piece in wire[..100_000].chunks(1000) {
            decoder.push(Bytes::copy_from_slice(piece));
            assert_eq!(decoder.next(), Ok(None));
        }
        assert!(decoder.partial.capacity() <= 200_000);
    }

    #[test]
    fn pieces_pushed_without_reading_are_kept_in_order() {
        let wire = message(b"payload");
        let mut decoder = Decoder::new(Limits::default());
        for piece in wire.chunks(5).chain(wire.chunks(11)) {
            decoder.push(Bytes::copy_from_slice(piece));
        }
        assert_eq!(&decoder.next().unwrap().unwrap().payload[..], b"payload");
        assert_eq!(&decoder.next().unwrap().unwrap().payload[..], b"payload");
        assert_eq!(decoder.next(), Ok(None));
    }

    #[test]
    fn an_end_within_a_message_is_an_error() {
        let wire = message(b"payload");
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(Bytes::copy_from_slice(&wire[..wire.len() - 3]));
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.finish(), Err(DecodeError::Truncated { missing: 3 }));
    }

    #[test]
    fn wrong_checksums_are_errors_and_stay() {
        let mut wire = message(b"payload");
        wire[3] ^= 1;
        assert!(matches!(
            decode(&wire, Limits::default()),
            Err(DecodeError::PreludeChecksum { .. })
        ));
        wire[3] ^= 1;
        let last = wire.len() - 6;
        wire[last] ^= 1;
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(wire.freeze());
        let error = decoder.next().unwrap_err();
        assert!(matches!(error, DecodeError::MessageChecksum { .. }));
        decoder.push(message(b"good").freeze());
        assert_eq!(decoder.next(), Err(error));
        assert_eq!(decoder.finish(), Err(error));
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn limits_hold_before_the_message_has_arrived() {
        let wire = message(b"payload");
        let limits = Limits {
            max_message: wire.len(),
            max_headers: 7,
        };
        assert!(decode(&wire, limits).unwrap().is_some());
        let tight = Limits {
            max_message: wire.len() - 1,
            ..limits
        };
        let expected = DecodeError::MessageTooLarge {
            length: wire.len(),
            limit: wire.len() - 1,
        };
        assert_eq!(decode(&wire[..PRELUDE_LEN], tight), Err(expected));
        let tight = Limits {
            max_headers: 6,
            ..limits
        };
        assert_eq!(
            decode(&wire[..PRELUDE_LEN], tight),
            Err(DecodeError::HeadersTooLarge {
                length: 7,
                limit: 6
            })
        );
    }

    #[test]
    fn lengths_that_contradict_each_other_are_errors() {
        for (total, headers) in [(15_u32, 0_u32), (0, 0), (16, 1), (u32::MAX, u32::MAX)] {
            let mut wire = Vec::new();
            wire.extend_from_slice(&total.to_be_bytes());
            wire.extend_from_slice(&headers.to_be_bytes());
            wire.extend_from_slice(&crc32fast::hash(&wire).to_be_bytes());
            let expected = DecodeError::Lengths {
                total: total as usize,
                headers: headers as usize,
            };
            assert_eq!(decode(&wire, Limits::default()), Err(expected));
        }
    }

    #[test]
    fn exactly_one_message() {
        let wire = message(b"payload").freeze();
        let limits = Limits::default();
        assert_eq!(
            &decode_exact(wire.clone(), limits).unwrap().payload[..],
            b"payload"
        );
        assert_eq!(
            decode_exact(wire.slice(..5), limits),
            Err(DecodeError::Truncated { missing: 7 })
        );
        assert_eq!(
            decode_exact(wire.slice(..20), limits),
            Err(DecodeError::Truncated {
                missing: wire.len() - 20
            })
        );
        let mut longer = BytesMut::from(&wire[..]);
        longer.extend_from_slice(b"xy");
        assert_eq!(
            decode_exact(longer.freeze(), limits),
            Err(DecodeError::Trailing(2))
        );
    }
}
