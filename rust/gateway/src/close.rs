//! Close codes: what a client is told when its connection ends.

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The longest reason, in bytes: a control frame has at most 125, and the code takes two.
const LONGEST: usize = 123;

/// How a conversation is closed from this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The close code.
    pub code: u16,
    /// The reason, for people; at most 123 bytes of it are sent.
    pub reason: String,
}

impl Ending {
    /// Makes an ending.
    #[must_use]
    pub fn new(code: u16, reason: &str) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
        }
    }

    /// The session is over, and nobody said how.
    pub(crate) fn unexplained() -> Self {
        Self::new(1011, "the session ended without a word")
    }

    /// Returns the frame that is sent.
    #[must_use]
    pub fn frame(&self) -> CloseFrame {
        let code = CloseCode::from(self.code);
        // Codes that must not be sent would break the connection in place of ending it.
        let code = if code.is_allowed() {
            code
        } else {
            CloseCode::Error
        };
        CloseFrame {
            code,
            reason: cut(&self.reason).into(),
        }
    }
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(LONGEST);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// How a WebSocket stopped working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection is gone: there is nobody to tell.
    Lost,
    /// The client broke the protocol, and is told so.
    Violation(Ending),
}

/// Judges an error of the WebSocket.
pub(crate) fn judge(error: &Error) -> Broken {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    match error {
        Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::SendAfterClosing
            | ProtocolError::ReceivedAfterClosing,
        ) => Broken::Lost,
        // Its words are about bytes on the wire, and have none of the content.
        Error::Protocol(violation) => Broken::Violation(Ending::new(1002, &violation.to_string())),
        Error::Utf8(_) => Broken::Violation(Ending::new(1007, "text is not valid UTF-8")),
        Error::Capacity(_) => Broken::Violation(Ending::new(1009, "a message is too long")),
        _ => Broken::Lost,
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

    use super::*;

    #[test]
    fn a_reason_is_cut_between_letters() {
        let frame = Ending::new(1008, &"ü".repeat(62)).frame();
        assert_eq!(u16::from(frame.code), 1008);
        assert_eq!(frame.reason.as_str(), "ü".repeat(61));
        let whole = "x".repeat(123);
        assert_eq!(Ending::new(1000, &whole).frame().reason.as_str(), whole);
    }

    #[test]
    fn codes_that_must_not_be_sent_become_1011() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert_eq!(
                u16::from(Ending::new(code, "").frame().code),
                1011,
                "{code}"
            );
        }
        for code in [1000, 1001, 1008, 1011, 3000, 4999] {
            assert_eq!(u16::from(Ending::new(code, "").frame().code), code);
        }
    }

    #[test]
    fn violations_have_their_codes() {
        let code = |error: Error| match judge(&error) {
            Broken::Violation(ending) => Some(ending.code),
            Broken::Lost => None,
        };
        let reserved = ProtocolError::NonZeroReservedBits;
        assert_eq!(code(Error::Protocol(reserved)), Some(1002));
        assert_eq!(code(Error::Utf8("secret".into())), Some(1007));
        let long = CapacityError::MessageTooLong {
            size: 2,
            max_size: 1,
        };
        assert_eq!(code(Error::Capacity(long)), Some(1009));
        let reset = ProtocolError::ResetWithoutClosingHandshake;
        assert_eq!(code(Error::Protocol(reset)), None);
        assert_eq!(code(Error::ConnectionClosed), None);
        assert_eq!(code(std::io::Error::other("reset").into()), None);
    }

    #[test]
    fn a_violation_does_not_quote_the_client() {
        let Broken::Violation(ending) = judge(&Error::Utf8("secret".into())) else {
            panic!("text that is not UTF-8 is a violation");
        };
        assert!(!ending.reason.contains("secret"));
    }
}
