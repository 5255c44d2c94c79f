//! Text messages: their types, and those that come as binary ones.

use dgsm_leg::frame::Frame;

/// Returns the `type` of a text message, if it has one.
pub(super) fn control_type(frame: &Frame) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(frame.as_str()?).ok()?;
    message.get("type")?.as_str().map(str::to_owned)
}

/// Turns a control message that came as a binary frame into text, as Deepgram's containers do.
/// Returns every other frame unchanged.
pub(super) fn as_control(frame: Frame) -> Frame {
    let Frame::Binary(bytes) = &frame else {
        return frame;
    };
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return frame;
    }
    match Frame::text(bytes.clone()) {
        Ok(text) if control_type(&text).is_some() => text,
        _ => frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(bytes: &'static [u8]) -> Frame {
        Frame::Binary(bytes.into())
    }

    #[test]
    fn the_type_of_a_text_message() {
        let typed = |text: &'static str| control_type(&Frame::from(text));
        assert_eq!(
            typed(r#"{"type":"KeepAlive"}"#).as_deref(),
            Some("KeepAlive")
        );
        for other in ["", "{", "[]", r#"{"type":7}"#, r#"{"kind":"KeepAlive"}"#] {
            assert_eq!(typed(other), None, "{other}");
        }
        assert_eq!(control_type(&binary(br#"{"type":"KeepAlive"}"#)), None);
    }

    #[test]
    fn a_control_message_in_a_binary_frame_is_text() {
        assert_eq!(
            as_control(binary(b" {\"type\":\"CloseStream\"}")),
            Frame::from(" {\"type\":\"CloseStream\"}")
        );
    }

    #[test]
    fn audio_stays_audio() {
        for audio in [
            &b""[..],
            b"\x00\x01",
            b"{",
            b"{\"type\":1}",
            b"{\"type\":\"\xff\"}",
        ] {
            assert_eq!(as_control(binary(audio)), binary(audio));
        }
        assert_eq!(as_control(Frame::from("{}")), Frame::from("{}"));
    }
}
