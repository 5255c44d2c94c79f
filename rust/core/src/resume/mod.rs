//! What a product's messages mean to a session that goes on over another leg.

pub mod scan;

use crate::frame::Frame;
use crate::journal::Control;
use crate::session::Target;
use scan::Node;

/// What an application's frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Audio, or what else fills a stream.
    Media,
    /// A message about the stream.
    Control(Control),
}

/// A Deepgram product: the words it closes with, and whether a session on it can go on.
#[derive(Clone, Debug)]
pub enum Product {
    /// Nova speech to text.
    ListenV1,
    /// One leg, its messages as they come.
    Passthrough {
        /// The `type` of the message after which the service answers what is left, and ends.
        close: Option<&'static str>,
    },
}

impl Product {
    /// The product that answers at a path.
    #[must_use]
    pub fn at(target: &Target<'_>) -> Self {
        match target.path.trim_start_matches('/') {
            "v1/listen" => Self::ListenV1,
            "v2/listen" => Self::Passthrough {
                close: Some("CloseStream"),
            },
            "v1/speak" | "v2/speak" => Self::Passthrough {
                close: Some("Close"),
            },
            _ => Self::Passthrough { close: None },
        }
    }

    /// The message that asks for what is left.
    #[must_use]
    pub fn closing(&self) -> Option<Frame> {
        let word = match self {
            Self::ListenV1 => "CloseStream",
            Self::Passthrough { close } => (*close)?,
        };
        Some(Frame::from(format!(r#"{{"type":"{word}"}}"#)))
    }

    /// What an application's frame is.
    #[must_use]
    pub fn classify(&self, frame: &Frame) -> Input {
        let kind = frame
            .as_str()
            .and_then(Node::root)
            .and_then(|root| root.get("type"));
        let kind = kind.and_then(|kind| kind.raw_str());
        match (self, frame) {
            // An empty message closes a stream to v1/listen, too.
            (Self::ListenV1, Frame::Binary(bytes)) if bytes.is_empty() => {
                Input::Control(Control::Close)
            }
            (_, Frame::Binary(_)) => Input::Media,
            (Self::ListenV1, Frame::Text(_)) => Input::Control(match kind {
                Some("KeepAlive") => Control::KeepAlive,
                Some("Finalize") => Control::Finalize,
                Some("Configure") => Control::Configure,
                Some("CloseStream") => Control::Close,
                _ => Control::Other,
            }),
            (Self::Passthrough { close }, Frame::Text(_)) => {
                Input::Control(if kind.is_some() && kind == *close {
                    Control::Close
                } else {
                    Control::Other
                })
            }
        }
    }
}
