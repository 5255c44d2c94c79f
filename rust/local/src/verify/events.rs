//! The server's end of the chain of event signatures.

use bytes::Bytes;
use dgsm_wire::eventstream::{HeaderValue, Message};
use dgsm_wire::signing::{Chain, OutOfRange, hex, same};

/// Why an envelope is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The seed is not a signature: 64 lowercase hexadecimal digits.
    #[error("the request's signature is not 64 hexadecimal digits")]
    Seed,
    /// The headers are not exactly a `:date` (timestamp) and a `:chunk-signature` (32 bytes).
    #[error("not a signed envelope: it needs :date and :chunk-signature and nothing else")]
    NotAnEnvelope,
    /// `:date` lies before 1970 or after 9999.
    #[error(":date is before 1970 or after 9999")]
    Date,
    /// The signature is not the chain's next one.
    #[error("the chunk signature does not match")]
    Mismatch,
    /// Something follows the end.
    #[error("an envelope follows the end of the stream")]
    AfterEnd,
}

/// The server's end of the chain.
#[derive(Debug)]
pub struct EventVerifier {
    chain: Chain,
    ended: bool,
}

/// What a verified envelope holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// One encoded event.
    Event(Bytes),
    /// The end of the client's events.
    End,
}

impl EventVerifier {
    /// A chain that starts from `seed`, the request's signature in hexadecimal.
    ///
    /// # Errors
    /// [`SignatureError::Seed`] when `seed` is not a signature.
    pub fn new(
        secret_access_key: &str,
        region: &str,
        service: &str,
        seed: &str,
    ) -> Result<Self, SignatureError> {
        let seed = hex::signature(seed).ok_or(SignatureError::Seed)?;
        Ok(Self {
            chain: Chain::new(secret_access_key, region, service, seed),
            ended: false,
        })
    }

    /// Checks that `envelope` is the chain's next one; returns what it holds.
    ///
    /// # Errors
    /// [`SignatureError`]; the chain does not advance.
    pub fn verify(&mut self, envelope: &Message) -> Result<Envelope, SignatureError> {
        if self.ended {
            return Err(SignatureError::AfterEnd);
        }
        // Exactly two headers, each once, in either order. The signature covers only `:date`: any
        // other header could be forged.
        let (Some(HeaderValue::Timestamp(date)), Some(HeaderValue::Bytes(claimed)), 2) = (
            envelope.header(":date"),
            envelope.header(":chunk-signature"),
            envelope.headers.iter().count(),
        ) else {
            return Err(SignatureError::NotAnEnvelope);
        };
        self.chain.at(date)?;
        let signature = self.chain.signature(&envelope.payload)?;
        if !same(&signature, claimed) {
            return Err(SignatureError::Mismatch);
        }
        self.chain.advance(&signature);
        if envelope.payload.is_empty() {
            self.ended = true;
            return Ok(Envelope::End);
        }
        Ok(Envelope::Event(envelope.payload.clone()))
    }

    /// Returns whether the end has been seen.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }
}

impl From<OutOfRange> for SignatureError {
    fn from(_: OutOfRange) -> Self {
        Self::Date
    }
}
