//! The `application/vnd.amazon.eventstream` framing.
//!
//! One message on the wire, integers big-endian:
//!
//! ```text
//! total length  u32   the whole message, these four bytes included
//! headers length u32
//! prelude CRC   u32   CRC-32 of the eight bytes before
//! headers             name length u8, name, type u8, value; repeated
//! payload             total - headers - 16 bytes
//! message CRC   u32   CRC-32 of everything before
//! ```
//!
//! [`Decoder`] takes the input in pieces of any size; [`encode()`] writes a message in one pass.
//! Payloads and headers of a decoded [`Message`] are slices of the input.

mod decode;
mod encode;
mod layout;
mod message;

pub use decode::{DecodeError, Decoder, Limits, decode_exact};
pub use encode::{EncodeError, encode};
pub(crate) use encode::{finish_message, start_message};
pub(crate) use layout::{OVERHEAD, PRELUDE_LEN};
pub use message::{Header, HeaderError, HeaderValue, Headers, MAX_HEADERS, Message};
