//! One message of the application, shared by reference.

use bytes::Bytes;

/// One WebSocket message, as the application sends or receives it.
///
/// Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Text: valid UTF-8. [`Frame::text`] checks bytes whose source does not guarantee it.
    Text(Bytes),
    /// Binary: usually audio.
    Binary(Bytes),
}

/// The bytes of a text message are not valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text is not valid UTF-8 after byte {valid_up_to}")]
pub struct NotUtf8 {
    /// The length of the valid part at the start, in bytes.
    pub valid_up_to: usize,
}

impl Frame {
    /// Creates a text frame.
    ///
    /// # Errors
    /// [`NotUtf8`] if the bytes are not valid UTF-8.
    pub fn text(bytes: Bytes) -> Result<Self, NotUtf8> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self::Text(bytes)),
            Err(error) => Err(NotUtf8 {
                valid_up_to: error.valid_up_to(),
            }),
        }
    }

    /// Returns the content of either type.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }

    /// Returns the content as text; `None` for binary.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Binary(_) => None,
        }
    }

    /// Returns whether this is text.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Returns the content's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Returns a copy in a buffer that holds nothing else.
    #[must_use]
    pub fn alone(&self) -> Self {
        let copy = Bytes::copy_from_slice(self.bytes());
        match self {
            Self::Text(_) => Self::Text(copy),
            Self::Binary(_) => Self::Binary(copy),
        }
    }

    /// Returns whether the content is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        // Messages may wait for long, and spare capacity would wait with them.
        Self::Text(text.into_boxed_str().into_boxed_bytes().into())
    }
}

impl From<&'static str> for Frame {
    fn from(text: &'static str) -> Self {
        Self::Text(Bytes::from_static(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_checked() {
        let frame = Frame::text(Bytes::from_static("grüezi".as_bytes())).unwrap();
        assert_eq!(frame.as_str(), Some("grüezi"));
        assert_eq!(frame.len(), 7);
        assert_eq!(
            Frame::text(Bytes::from_static(b"ab\xff")),
            Err(NotUtf8 { valid_up_to: 2 })
        );
    }

    #[test]
    fn binary_has_no_text() {
        let frame = Frame::Binary(Bytes::from_static(b"abc"));
        assert_eq!(frame.as_str(), None);
        assert!(!frame.is_text());
        assert!(!frame.is_empty());
    }

    #[test]
    fn alone_it_shares_nothing() {
        let wire = Bytes::from_static(b"before, grapes, after");
        for frame in [
            Frame::Text(wire.slice(8..14)),
            Frame::Binary(wire.slice(8..14)),
        ] {
            let alone = frame.alone();
            assert_eq!(alone, frame);
            assert!(!wire.as_ptr_range().contains(&alone.bytes().as_ptr()));
        }
    }

    #[test]
    fn a_clone_shares_the_bytes() {
        let frame = Frame::Binary(Bytes::from(vec![1, 2, 3]));
        assert_eq!(frame.bytes().as_ptr(), frame.clone().bytes().as_ptr());
    }
}
