//! Control messages that came as bytes.
//!
//! Old clients send them so, and the containers accept them. A binary message is control if all of it
//! is one JSON object whose `type` the product knows; anything else is audio. The first byte tells
//! audio in almost all cases.

use serde_json::Value;

use super::scan::Node;
use dgsm_leg::frame::Frame;

/// The longest control message, in bytes.
const MAX_CONTROL: usize = 1024 * 1024;

/// Returns a frame as what it is: bytes that are one of the `known` messages become text.
#[must_use]
pub fn recognised(frame: Frame, known: &[&str]) -> Frame {
    match frame {
        Frame::Binary(bytes) if is_control(&bytes, known) => Frame::Text(bytes),
        Frame::Binary(_) | Frame::Text(_) => frame,
    }
}

fn is_control(bytes: &[u8], known: &[&str]) -> bool {
    if bytes.len() > MAX_CONTROL {
        return false;
    }
    let in_braces = bytes.iter().find(|byte| !is_space(**byte)) == Some(&b'{')
        && bytes.iter().rfind(|byte| !is_space(**byte)) == Some(&b'}');
    if !in_braces {
        return false;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let kind = Node::root(text).and_then(|root| root.get("type"));
    kind.and_then(|kind| kind.raw_str())
        .is_some_and(|kind| known.contains(&kind))
        && serde_json::from_str::<Value>(text).is_ok()
}

/// JSON's white space.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::listen_v1::VOCABULARY;
    use super::*;

    fn is_text(bytes: &[u8]) -> bool {
        recognised(Frame::Binary(Bytes::copy_from_slice(bytes)), VOCABULARY).is_text()
    }

    #[test]
    fn one_whole_message_is_control() {
        for bytes in [
            &br#"{"type": "CloseStream"}"#[..],
            b"\n\t {\"type\":\"KeepAlive\"}\r\n",
            br#"{"features":{"numerals":true},"type":"Configure"}"#,
        ] {
            assert!(is_text(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn everything_else_is_audio() {
        let long = format!(r#"{{"type":"Finalize","x":"{}"}}"#, "x".repeat(MAX_CONTROL));
        for bytes in [
            &b""[..],
            b"{",
            b"{}",
            b"   ",
            b"{\"type\":\"CloseStream\"",
            b"{\"type\":\"CloseStream\"}\0",
            b"{\"type\":\"CloseStream\"} {}",
            b"{\"type\":\"CloseStream\",}",
            b"{\"type\":\"CloseStream\" \"x\":1}",
            b"{\"type\":\"CloseStream\",\"x\":[tru]}",
            b"{\"type\":\"CloseStream\",\"x\":\"\xff\"}",
            b"{\"type\":\"Speak\",\"text\":\"another product's\"}",
            b"{\"type\":[\"CloseStream\"]}",
            b"{\"x\":{\"type\":\"CloseStream\"}}",
            b"[{\"type\":\"CloseStream\"}]",
            b"\"CloseStream\"",
            b"RIFF\x24\0\0\0WAVEfmt {\"type\":\"CloseStream\"}",
            b"OggS\0\x02{\"type\":\"CloseStream\"}",
            long.as_bytes(),
        ] {
            assert!(
                !is_text(bytes),
                "{}",
                bytes[..bytes.len().min(80)].escape_ascii()
            );
        }
    }
}
