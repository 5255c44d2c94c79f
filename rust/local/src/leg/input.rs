//! The client's input: bytes in, verified messages out.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use dgsm_leg::frame::Frame;
use dgsm_wire::eventstream::{DecodeError, Decoder, Limits, decode_exact};
use dgsm_wire::payload_part::{Assembler, PayloadPart};

use crate::stats::Counters;
use crate::verify::{Envelope, EventVerifier, SignatureError};

/// The largest message that a client may send, in bytes.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;

/// One leg's input.
#[derive(Debug)]
pub(super) struct Input {
    decoder: Decoder,
    verifier: EventVerifier,
    assembler: Assembler,
}

/// What has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// One whole message.
    Message(Frame),
    /// The signed empty event that ends the input.
    End,
}

/// Why the input is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InputError {
    /// An envelope breaks the chain of signatures.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The bytes are no event stream.
    #[error(transparent)]
    Event(#[from] DecodeError),
    /// An event is no payload part, or does not continue its message.
    #[error("{0}")]
    Part(String),
}

impl InputError {
    /// Returns the exception that tells the client.
    pub(super) fn exception(&self) -> &'static str {
        match self {
            Self::Signature(_) => "InvalidSignatureException",
            Self::Event(_) | Self::Part(_) => "InputValidationError",
        }
    }

    /// Returns the counter that it adds to.
    pub(super) fn counter<'a>(&self, counters: &'a Counters) -> &'a AtomicU64 {
        match self {
            Self::Signature(_) => &counters.signature_failures,
            Self::Event(
                DecodeError::PreludeChecksum { .. } | DecodeError::MessageChecksum { .. },
            ) => &counters.crc_failures,
            Self::Event(_) | Self::Part(_) => &counters.malformed_events,
        }
    }
}

impl Input {
    /// Creates an input whose events `verifier` checks.
    pub(super) fn new(verifier: EventVerifier) -> Self {
        Self {
            decoder: Decoder::new(Limits::PROTOCOL),
            verifier,
            assembler: Assembler::new(MAX_MESSAGE),
        }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, data: Bytes) {
        self.decoder.push(data);
    }

    /// Returns the next message or the end; `None`: the bytes so far hold no more.
    ///
    /// # Errors
    /// [`InputError`] for what breaks the protocol.
    pub(super) fn next(&mut self) -> Result<Option<Arrival>, InputError> {
        while let Some(envelope) = self.verified()? {
            let Envelope::Event(event) = envelope else {
                return Ok(Some(Arrival::End));
            };
            let message = decode_exact(event, Limits::PROTOCOL)?;
            let part =
                PayloadPart::parse(message).map_err(|error| InputError::Part(error.to_string()))?;
            let frame = self
                .assembler
                .push(part)
                .map_err(|error| InputError::Part(error.to_string()))?;
            if let Some(frame) = frame {
                return Ok(Some(Arrival::Message(frame)));
            }
        }
        Ok(None)
    }

    /// Verifies the bytes so far and drops what they hold. Returns whether the end was among them.
    ///
    /// # Errors
    /// [`InputError`] for what breaks the protocol; events are not decoded.
    pub(super) fn skip_to_end(&mut self) -> Result<bool, InputError> {
        while let Some(envelope) = self.verified()? {
            if envelope == Envelope::End {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks that the bytes so far end where an event ends.
    ///
    /// # Errors
    /// [`InputError::Event`] when they do not.
    pub(super) fn finish(&self) -> Result<(), InputError> {
        Ok(self.decoder.finish()?)
    }

    fn verified(&mut self) -> Result<Option<Envelope>, InputError> {
        match self.decoder.next()? {
            Some(envelope) => Ok(Some(self.verifier.verify(&envelope)?)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use dgsm_wire::eventstream::{Header, HeaderValue, encode};
    use dgsm_wire::payload_part::encode_signed;
    use dgsm_wire::signing::EventSigner;

    use super::*;

    const CHAIN: [&str; 3] = ["secret", "eu-west-1", "sagemaker"];
    const NOW_MS: i64 = 1_700_000_000_000;

    struct Client(EventSigner);

    impl Client {
        fn new() -> (Self, Input) {
            let ([secret, region, service], seed) = (CHAIN, "5".repeat(64));
            let signer = EventSigner::new(secret, region, service, &seed).unwrap();
            let verifier = EventVerifier::new(secret, region, service, &seed).unwrap();
            (Self(signer), Input::new(verifier))
        }

        fn message(&mut self, frame: &Frame, part: usize) -> Bytes {
            let mut out = BytesMut::new();
            encode_signed(&mut self.0, NOW_MS, frame, part, &mut out).unwrap();
            out.freeze()
        }

        fn end(&mut self) -> Bytes {
            let mut out = BytesMut::new();
            self.0.sign_end(NOW_MS, &mut out).unwrap();
            out.freeze()
        }

        fn event(&mut self, event: &[u8]) -> Bytes {
            let mut out = BytesMut::new();
            self.0.sign_into(event, NOW_MS, &mut out).unwrap();
            out.freeze()
        }
    }

    fn failure(input: &mut Input) -> (&'static str, Vec<&'static str>) {
        let error = input.next().unwrap_err();
        let counters = Counters::default();
        crate::stats::count(error.counter(&counters));
        let counted = counters.snapshot().into_iter().filter(|(_, n)| *n > 0);
        (error.exception(), counted.map(|(name, _)| name).collect())
    }

    #[test]
    fn messages_come_out_whole_whatever_the_pieces() {
        let (mut client, mut input) = Client::new();
        let audio = Frame::Binary((0..=255).collect::<Vec<u8>>().into());
        let text = Frame::from("{\"type\":\"KeepAlive\"}");
        let sent = [
            client.message(&audio, 100),
            client.message(&text, 1000),
            client.end(),
        ];
        let mut arrived = Vec::new();
        for piece in sent.concat().chunks(7) {
            input.push(Bytes::copy_from_slice(piece));
            while let Some(arrival) = input.next().unwrap() {
                arrived.push(arrival);
            }
        }
        let expected = [
            Arrival::Message(audio),
            Arrival::Message(text),
            Arrival::End,
        ];
        assert_eq!(arrived, expected);
        assert_eq!(input.finish(), Ok(()));
    }

    #[test]
    fn a_broken_chain_is_a_wrong_signature() {
        let (mut client, mut input) = Client::new();
        client.message(&Frame::from("lost"), 100);
        input.push(client.message(&Frame::from("next"), 100));
        let counted = vec!["signature_failures"];
        assert_eq!(failure(&mut input), ("InvalidSignatureException", counted));
    }

    #[test]
    fn a_flipped_bit_is_a_wrong_checksum() {
        let (mut client, mut input) = Client::new();
        let mut bytes = client.message(&Frame::from("text"), 100).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        input.push(bytes.into());
        let counted = vec!["crc_failures"];
        assert_eq!(failure(&mut input), ("InputValidationError", counted));
    }

    #[test]
    fn a_signed_event_that_is_no_payload_part_is_malformed() {
        let header = |name, value| Header {
            name,
            value: HeaderValue::String(value),
        };
        let headers = [
            header(":message-type", "event"),
            header(":event-type", "Novelty"),
        ];
        let mut event = BytesMut::new();
        encode(&headers, b"{}", &mut event).unwrap();
        for event in [&event[..], b"no event"] {
            let (mut client, mut input) = Client::new();
            input.push(client.event(event));
            let counted = vec!["malformed_events"];
            assert_eq!(failure(&mut input), ("InputValidationError", counted));
        }
    }

    #[test]
    fn half_an_event_is_no_end() {
        let (mut client, mut input) = Client::new();
        let bytes = client.message(&Frame::from("text"), 100);
        input.push(bytes.slice(..bytes.len() / 2));
        assert_eq!(input.next(), Ok(None));
        assert!(matches!(input.finish(), Err(InputError::Event(_))));
    }

    #[test]
    fn the_rest_is_verified_and_not_read() {
        let (mut client, mut input) = Client::new();
        input.push(client.event(b"no event"));
        assert_eq!(input.skip_to_end(), Ok(false));
        input.push(client.end());
        assert_eq!(input.skip_to_end(), Ok(true));
    }
}
