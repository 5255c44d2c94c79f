//! Malformed events.

use bytes::{Bytes, BytesMut};
use dgsm_wire::eventstream::{Header, HeaderValue, encode};
use dgsm_wire::payload_part::{Completion, DataType, PayloadPart};

use crate::faults::Malformation;

/// Returns the bytes of a malformation, and whether the response ends after them.
pub(crate) fn bytes(how: Malformation) -> (Bytes, bool) {
    let part = |data: &'static [u8], data_type, completion| PayloadPart {
        data: Bytes::from_static(data),
        data_type: Some(data_type),
        completion,
    };
    let text = part(
        br#"{"type":"Results"}"#,
        DataType::Utf8,
        Completion::Complete,
    );
    let mut out = BytesMut::new();
    // None of these is too long to encode.
    let encoded = match how {
        Malformation::Truncated | Malformation::WrongCrc => text.encode(&mut out),
        Malformation::Oversized => {
            let lengths = [0x7FFF_FFFF_u32, 16].map(u32::to_be_bytes).concat();
            let crc = crc32fast::hash(&lengths);
            out.extend_from_slice(&lengths);
            out.extend_from_slice(&crc.to_be_bytes());
            out.extend_from_slice(&[0; 256]);
            Ok(())
        }
        Malformation::UnknownEvent => {
            let header = |name, value| Header {
                name,
                value: HeaderValue::String(value),
            };
            let headers = [
                header(":message-type", "event"),
                header(":event-type", "Novelty"),
            ];
            encode(&headers, b"{}", &mut out)
        }
        Malformation::NotUtf8 => {
            part(b"\xC3\x28", DataType::Utf8, Completion::Complete).encode(&mut out)
        }
        Malformation::Garbage => {
            out.extend_from_slice(b"<html><body>upstream connect error</body></html>");
            Ok(())
        }
        Malformation::MixedTypes => part(b"text", DataType::Utf8, Completion::Partial)
            .encode(&mut out)
            .and_then(|()| part(b"bytes", DataType::Binary, Completion::Complete).encode(&mut out)),
    };
    debug_assert!(encoded.is_ok());
    match how {
        Malformation::Truncated => out.truncate(out.len() / 2),
        Malformation::WrongCrc => {
            if let Some(last) = out.last_mut() {
                *last ^= 0xFF;
            }
        }
        _ => {}
    }
    (out.freeze(), how == Malformation::Truncated)
}

#[cfg(test)]
mod tests {
    use dgsm_wire::eventstream::{DecodeError, Decoder, Limits, Message};
    use dgsm_wire::payload_part::{Assembler, AssemblyError, ServerEvent};

    use super::*;

    fn decode(how: Malformation) -> (Vec<Message>, Result<(), DecodeError>) {
        let mut decoder = Decoder::new(Limits::PROTOCOL);
        decoder.push(bytes(how).0);
        let mut messages = Vec::new();
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, decoder.finish()),
                Err(error) => return (messages, Err(error)),
            }
        }
    }

    fn assemble(how: Malformation) -> AssemblyError {
        let mut assembler = Assembler::new(1000);
        let mut parts =
            decode(how)
                .0
                .into_iter()
                .map(|message| match ServerEvent::parse(message).unwrap() {
                    ServerEvent::Part(part) => assembler.push(part),
                    other => panic!("{other:?}"),
                });
        parts.find_map(Result::err).unwrap()
    }

    #[test]
    fn each_is_malformed_in_its_own_way() {
        assert!(matches!(
            decode(Malformation::Truncated).1,
            Err(DecodeError::Truncated { .. })
        ));
        assert!(matches!(
            decode(Malformation::Oversized).1,
            Err(DecodeError::MessageTooLarge { .. })
        ));
        assert!(matches!(
            decode(Malformation::WrongCrc).1,
            Err(DecodeError::MessageChecksum { .. })
        ));
        assert!(matches!(
            decode(Malformation::Garbage).1,
            Err(DecodeError::PreludeChecksum { .. })
        ));
        assert!(matches!(
            assemble(Malformation::NotUtf8),
            AssemblyError::NotUtf8(_)
        ));
        assert_eq!(
            assemble(Malformation::MixedTypes),
            AssemblyError::MixedTypes
        );
        let (messages, end) = decode(Malformation::UnknownEvent);
        assert_eq!(end, Ok(()));
        let event = ServerEvent::parse(messages[0].clone()).unwrap();
        assert_eq!(
            event,
            ServerEvent::Unknown {
                event_type: "Novelty".into()
            }
        );
    }
}
