//! Signs events.

use bytes::{BufMut, BytesMut};

use super::chain::{Chain, DATE_HEADER_LEN, OutOfRange};
use super::hex;
use crate::eventstream::{OVERHEAD, PRELUDE_LEN, finish_message, start_message};

/// The start of the encoded `:chunk-signature` header: name, type (bytes), length of the value.
const SIGNATURE_HEADER: &[u8] = b"\x10:chunk-signature\x06\x00\x20";
const SIGNATURE_LEN: usize = 32;
const ENVELOPE_HEADERS: usize = DATE_HEADER_LEN + SIGNATURE_HEADER.len() + SIGNATURE_LEN;
const SIGNATURE_AT: usize = PRELUDE_LEN + ENVELOPE_HEADERS - SIGNATURE_LEN;

/// Bytes that an envelope adds to an event.
pub(crate) const ENVELOPE_LEN: usize = OVERHEAD + ENVELOPE_HEADERS;

/// Why an event can't be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The seed is not a signature: 64 lowercase hexadecimal digits.
    #[error("the request's signature is not 64 hexadecimal digits")]
    Seed,
    /// The end has been signed, and nothing may follow.
    #[error("the event stream has been ended")]
    Ended,
    /// The clock is outside the range of a signature's time.
    #[error("the clock is before 1970 or after 9999")]
    Clock,
    /// The event does not fit the 32-bit length of its envelope.
    #[error("an event of {0} bytes does not fit its envelope")]
    TooLong(usize),
}

/// The client's end of the chain.
///
/// The time is signed in whole seconds, as in the AWS SDKs for Rust and Java: the string to sign is
/// no finer, and everything that depends on the time is computed once a second.
#[derive(Debug)]
pub struct EventSigner {
    chain: Chain,
    ended: bool,
}

impl EventSigner {
    /// Starts a chain from `seed`, the request's signature in hexadecimal.
    ///
    /// # Errors
    /// [`SigningError::Seed`] if `seed` is not a signature.
    pub fn new(
        secret_access_key: &str,
        region: &str,
        service: &str,
        seed: &str,
    ) -> Result<Self, SigningError> {
        let seed = hex::signature(seed).ok_or(SigningError::Seed)?;
        Ok(Self {
            chain: Chain::new(secret_access_key, region, service, seed),
            ended: false,
        })
    }

    /// Signs `event`, one encoded message, at the time `now_ms` (milliseconds since the epoch), and
    /// appends the envelope to `out`.
    ///
    /// # Errors
    /// [`SigningError`]; `out` and the chain are then unchanged.
    pub fn sign_into(
        &mut self,
        event: &[u8],
        now_ms: i64,
        out: &mut BytesMut,
    ) -> Result<(), SigningError> {
        out.reserve(event.len() + ENVELOPE_LEN);
        self.seal(now_ms, out, event.len(), |out| out.put_slice(event))
    }

    /// Appends the signed, empty envelope that ends the stream. Signing anything after it is an
    /// error.
    ///
    /// # Errors
    /// [`SigningError`]; `out` and the chain are then unchanged.
    pub fn sign_end(&mut self, now_ms: i64, out: &mut BytesMut) -> Result<(), SigningError> {
        self.seal(now_ms, out, 0, |_| {})?;
        self.ended = true;
        Ok(())
    }

    /// Returns whether the end has been signed.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Appends an envelope around the event of `len` bytes that `write` appends, so that the event
    /// is written in place.
    pub(crate) fn seal(
        &mut self,
        now_ms: i64,
        out: &mut BytesMut,
        len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(), SigningError> {
        if self.ended {
            return Err(SigningError::Ended);
        }
        if u32::try_from(len.saturating_add(ENVELOPE_LEN)).is_err() {
            return Err(SigningError::TooLong(len));
        }
        let date_header = self
            .chain
            .at(now_ms.saturating_sub(now_ms.rem_euclid(1000)))?;
        let start = start_message(out);
        out.put_slice(&date_header);
        out.put_slice(SIGNATURE_HEADER);
        out.put_bytes(0, SIGNATURE_LEN);
        write(out);
        let signature = self
            .chain
            .signature(&out[start + PRELUDE_LEN + ENVELOPE_HEADERS..])?;
        out[start + SIGNATURE_AT..][..SIGNATURE_LEN].copy_from_slice(&signature);
        finish_message(out, start, ENVELOPE_HEADERS);
        self.chain.advance(&signature);
        Ok(())
    }
}

impl From<OutOfRange> for SigningError {
    fn from(_: OutOfRange) -> Self {
        Self::Clock
    }
}
