//! The content of the events: payload parts, their assembly to frames, and the service's in-band
//! exceptions.
//!
//! Names and types of the headers are those of the service's model: `:message-type`, `:event-type`
//! or `:exception-type`, `:content-type`, and for payload parts `DataType`, `CompletionState` and
//! `P` (padding, ignored), all strings. The payload of a part is the message itself, or a fragment
//! of it; that of an exception is JSON.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::eventstream::{
    EncodeError, Header, HeaderValue, Message, OVERHEAD, encode, finish_message, start_message,
};
use crate::signing::{ENVELOPE_LEN, EventSigner, SigningError};
use dgsm_leg::frame::{Frame, NotUtf8};

const PAYLOAD_PART: &str = "PayloadPart";
const OCTETS: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// The most bytes that one part may carry: the format's 16 MiB of payload, less the wrapping of an
/// event.
pub const MAX_PART: usize = 16 * 1024 * 1024 - 1024;
/// The smallest part size of [`encode_signed`]: the longest character.
const MIN_PART: usize = 4;

/// Whether a part carries text or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// `UTF8`: text.
    Utf8,
    /// `BINARY`: bytes, in practice audio.
    Binary,
}

/// Whether a part ends its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// `PARTIAL`: more follows.
    Partial,
    /// `COMPLETE`, or no such header: the message ends here.
    Complete,
}

/// One `PayloadPart` event: a message, or a fragment of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadPart {
    /// The message or fragment.
    pub data: Bytes,
    /// Text or bytes. `None`: the sender does not say; it is what the message's first part says,
    /// else bytes.
    pub data_type: Option<DataType>,
    /// Whether the message ends here.
    pub completion: Completion,
}

/// An event of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// A part of a message.
    Part(PayloadPart),
    /// An in-band exception: the stream fails.
    Exception {
        /// The model's name for it, such as `ModelStreamError` or `InternalStreamFailure`.
        kind: String,
        /// The `ErrorCode`, if the kind has one.
        code: Option<String>,
        /// The service's message; empty if there is none.
        message: String,
    },
    /// An event of an unknown type, to be skipped with a warning.
    Unknown {
        /// Its `:event-type`.
        event_type: String,
    },
}

/// Why an event can't be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A header that the event needs is missing, or not a string.
    #[error("the header {0} is missing or not a string")]
    Header(&'static str),
    /// A header has a value that it can't have.
    #[error("the header {name} says {value:?}")]
    Value {
        /// The header's name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// A client sent an event that is not a payload part.
    #[error("not a PayloadPart event: {0}")]
    NotAPart(String),
}

/// Why parts do not form a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// The parts of one message disagree about text or bytes.
    #[error("a message begins as one data type and goes on as the other")]
    MixedTypes,
    /// The message is larger than the limit.
    #[error("a message of at least {length} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The bytes received so far.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The text is not UTF-8.
    #[error(transparent)]
    NotUtf8(#[from] NotUtf8),
    /// The stream ended before the message did.
    #[error("the stream ended after {0} bytes of an unfinished message")]
    Unfinished(usize),
}

/// Joins parts to frames. A message of one part is passed on without a copy; a message of several
/// parts gets a buffer of its length.
#[derive(Debug)]
pub struct Assembler {
    limit: usize,
    /// Type and content so far of the current message.
    open: Option<(DataType, Vec<u8>)>,
}

impl DataType {
    fn wire_name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF8",
            Self::Binary => "BINARY",
        }
    }
}

impl Completion {
    fn wire_name(self) -> &'static str {
        match self {
            Self::Partial => "PARTIAL",
            Self::Complete => "COMPLETE",
        }
    }
}

impl PayloadPart {
    /// Returns the whole of `frame` as one part.
    #[must_use]
    pub fn whole(frame: &Frame) -> Self {
        Self {
            data: frame.bytes().clone(),
            data_type: Some(data_type(frame)),
            completion: Completion::Complete,
        }
    }

    /// Reads a client's event, which can only be a payload part.
    ///
    /// # Errors
    /// [`EventError`] if it is another event, or malformed.
    pub fn parse(message: Message) -> Result<Self, EventError> {
        match ServerEvent::parse(message)? {
            ServerEvent::Part(part) => Ok(part),
            ServerEvent::Exception { kind, .. } => Err(EventError::NotAPart(kind)),
            ServerEvent::Unknown { event_type } => Err(EventError::NotAPart(event_type)),
        }
    }

    /// Appends this part to `out` as an unsigned event, as the service sends it.
    ///
    /// # Errors
    /// [`EncodeError::MessageTooLong`] for more data than a message can hold.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut headers = vec![
            string(":message-type", "event"),
            string(":event-type", PAYLOAD_PART),
            string(":content-type", OCTETS),
        ];
        headers.extend(
            self.data_type
                .map(|data_type| string("DataType", data_type.wire_name())),
        );
        headers.push(string("CompletionState", self.completion.wire_name()));
        encode(&headers, &self.data, out)
    }
}

impl ServerEvent {
    /// Reads an event of the service.
    ///
    /// # Errors
    /// [`EventError`] if it is malformed.
    pub fn parse(message: Message) -> Result<Self, EventError> {
        match text(&message, ":message-type")? {
            "event" => match text(&message, ":event-type")? {
                PAYLOAD_PART => Ok(Self::Part(PayloadPart {
                    data_type: parse_data_type(&message)?,
                    completion: parse_completion(&message)?,
                    data: message.payload,
                })),
                other => Ok(Self::Unknown {
                    event_type: other.to_owned(),
                }),
            },
            "exception" => {
                let kind = text(&message, ":exception-type")?.to_owned();
                let (code, message) = parse_exception(&message.payload);
                Ok(Self::Exception {
                    kind,
                    code,
                    message,
                })
            }
            // Exceptions outside the service's model have their text in the headers.
            "error" => Ok(Self::Exception {
                kind: text(&message, ":error-code")?.to_owned(),
                code: None,
                message: text(&message, ":error-message")?.to_owned(),
            }),
            other => Err(EventError::Value {
                name: ":message-type",
                value: other.to_owned(),
            }),
        }
    }
}

impl Assembler {
    /// Creates an assembler for messages of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, open: None }
    }

    /// Takes the next part; returns the message that it completes.
    ///
    /// # Errors
    /// [`AssemblyError`]; the current message is then dropped.
    pub fn push(&mut self, part: PayloadPart) -> Result<Option<Frame>, AssemblyError> {
        let open = self.open.take();
        let held = open.as_ref().map_or(0, |(_, joined)| joined.len());
        let length = held.saturating_add(part.data.len());
        if length > self.limit {
            return Err(AssemblyError::TooLarge {
                length,
                limit: self.limit,
            });
        }
        let (data_type, data) = match open {
            None if part.completion == Completion::Complete => {
                return frame(part.data_type.unwrap_or(DataType::Binary), part.data).map(Some);
            }
            None => (
                part.data_type.unwrap_or(DataType::Binary),
                part.data.to_vec(),
            ),
            Some((data_type, _)) if part.data_type.is_some_and(|this| this != data_type) => {
                return Err(AssemblyError::MixedTypes);
            }
            Some((data_type, mut joined)) => {
                joined.extend_from_slice(&part.data);
                (data_type, joined)
            }
        };
        match part.completion {
            Completion::Complete => frame(data_type, data.into_boxed_slice().into()).map(Some),
            Completion::Partial => {
                self.open = Some((data_type, data));
                Ok(None)
            }
        }
    }

    /// Checks that the parts may end here.
    ///
    /// # Errors
    /// [`AssemblyError::Unfinished`] if a message has begun and not ended.
    pub fn finish(&self) -> Result<(), AssemblyError> {
        match &self.open {
            None => Ok(()),
            Some((_, joined)) => Err(AssemblyError::Unfinished(joined.len())),
        }
    }
}

/// Appends `frame` to `out` as signed events at the time `now_ms` (milliseconds since the epoch).
/// This is one event, or several `PARTIAL` events and a `COMPLETE` one if the frame is larger than
/// `max_part` bytes. Text is cut between characters. `max_part` is clamped to 4 up to [`MAX_PART`].
/// Returns the number of events.
///
/// # Errors
/// [`SigningError`] after the end, or if the clock is out of range; `out` is then unchanged.
pub fn encode_signed(
    signer: &mut EventSigner,
    now_ms: i64,
    frame: &Frame,
    max_part: usize,
    out: &mut BytesMut,
) -> Result<usize, SigningError> {
    let max_part = max_part.clamp(MIN_PART, MAX_PART);
    let data_type = data_type(frame);
    let mut rest = &frame.bytes()[..];
    let mut events = 0;
    loop {
        events += 1;
        if rest.len() <= max_part {
            sign_part(signer, now_ms, data_type, Completion::Complete, rest, out)?;
            return Ok(events);
        }
        let (part, tail) = rest.split_at(match data_type {
            DataType::Binary => max_part,
            DataType::Utf8 => cut(rest, max_part),
        });
        sign_part(signer, now_ms, data_type, Completion::Partial, part, out)?;
        rest = tail;
    }
}

/// Appends an in-band exception to `out`, as the service sends it. `code` is the `ErrorCode` of a
/// `ModelStreamError`.
///
/// # Errors
/// [`EncodeError`] if `kind` or `message` is too long for its field.
pub fn encode_exception(
    kind: &str,
    code: Option<&str>,
    message: &str,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut body = Map::new();
    body.insert("Message".to_owned(), Value::from(message));
    if let Some(code) = code {
        body.insert("ErrorCode".to_owned(), Value::from(code));
    }
    let headers = [
        string(":message-type", "exception"),
        string(":exception-type", kind),
        string(":content-type", JSON),
    ];
    encode(&headers, Value::Object(body).to_string().as_bytes(), out)
}

fn sign_part(
    signer: &mut EventSigner,
    now_ms: i64,
    data_type: DataType,
    completion: Completion,
    data: &[u8],
    out: &mut BytesMut,
) -> Result<(), SigningError> {
    let headers = client_headers(data_type, completion);
    let len = OVERHEAD + headers.len() + data.len();
    out.reserve(ENVELOPE_LEN + len);
    signer.seal(now_ms, out, len, |out| {
        let start = start_message(out);
        out.put_slice(headers);
        out.put_slice(data);
        finish_message(out, start, headers.len());
    })
}

/// Returns the encoded headers of a client's part. There are only four, so they are written out
/// here.
fn client_headers(data_type: DataType, completion: Completion) -> &'static [u8] {
    macro_rules! headers {
        ($data_type:literal, $completion:literal) => {
            concat!(
                "\x0d:message-type\x07\x00\x05event",
                "\x0b:event-type\x07\x00\x0bPayloadPart",
                "\x08DataType\x07\x00",
                $data_type,
                "\x0fCompletionState\x07\x00",
                $completion,
                "\x0d:content-type\x07\x00\x18application/octet-stream",
            )
            .as_bytes()
        };
    }
    match (data_type, completion) {
        (DataType::Utf8, Completion::Complete) => headers!("\x04UTF8", "\x08COMPLETE"),
        (DataType::Utf8, Completion::Partial) => headers!("\x04UTF8", "\x07PARTIAL"),
        (DataType::Binary, Completion::Complete) => headers!("\x06BINARY", "\x08COMPLETE"),
        (DataType::Binary, Completion::Partial) => headers!("\x06BINARY", "\x07PARTIAL"),
    }
}

/// Returns where to cut text of more than `max` bytes: where a character begins, at `max` or up to
/// three bytes before.
fn cut(text: &[u8], max: usize) -> usize {
    let begins_character = |at: &usize| text[*at] & 0b1100_0000 != 0b1000_0000;
    (max - (MIN_PART - 1)..=max)
        .rev()
        .find(begins_character)
        .unwrap_or(max)
}

fn data_type(frame: &Frame) -> DataType {
    match frame {
        Frame::Text(_) => DataType::Utf8,
        Frame::Binary(_) => DataType::Binary,
    }
}

fn frame(data_type: DataType, data: Bytes) -> Result<Frame, AssemblyError> {
    match data_type {
        DataType::Utf8 => Ok(Frame::text(data)?),
        DataType::Binary => Ok(Frame::Binary(data)),
    }
}

fn string<'a>(name: &'a str, value: &'a str) -> Header<'a> {
    Header {
        name,
        value: HeaderValue::String(value),
    }
}

fn text<'a>(message: &'a Message, name: &'static str) -> Result<&'a str, EventError> {
    optional_text(message, name)?.ok_or(EventError::Header(name))
}

fn optional_text<'a>(
    message: &'a Message,
    name: &'static str,
) -> Result<Option<&'a str>, EventError> {
    match message.header(name) {
        None => Ok(None),
        Some(HeaderValue::String(value)) => Ok(Some(value)),
        Some(_) => Err(EventError::Header(name)),
    }
}

fn parse_data_type(message: &Message) -> Result<Option<DataType>, EventError> {
    match optional_text(message, "DataType")? {
        None => Ok(None),
        Some("UTF8") => Ok(Some(DataType::Utf8)),
        Some("BINARY") => Ok(Some(DataType::Binary)),
        Some(other) => Err(EventError::Value {
            name: "DataType",
            value: other.to_owned(),
        }),
    }
}

fn parse_completion(message: &Message) -> Result<Completion, EventError> {
    match optional_text(message, "CompletionState")? {
        None | Some("COMPLETE") => Ok(Completion::Complete),
        Some("PARTIAL") => Ok(Completion::Partial),
        Some(other) => Err(EventError::Value {
            name: "CompletionState",
            value: other.to_owned(),
        }),
    }
}

/// The relevant fields of an exception's body. The others are skipped in place, because as values
/// they would take many times their room.
#[derive(Deserialize)]
struct ExceptionBody<'a> {
    #[serde(borrow, rename = "ErrorCode")]
    code: Option<&'a RawValue>,
    #[serde(borrow, rename = "Message")]
    message: Option<&'a RawValue>,
    #[serde(borrow, rename = "message")]
    plain: Option<&'a RawValue>,
}

/// Returns code and message of an exception's body. A body that is not the expected JSON is itself
/// the message.
fn parse_exception(body: &[u8]) -> (Option<String>, String) {
    match serde_json::from_slice::<ExceptionBody<'_>>(body) {
        Ok(fields) => {
            let text = |field: &RawValue| serde_json::from_str(field.get()).ok();
            (
                fields.code.and_then(text),
                fields
                    .message
                    .and_then(text)
                    .or_else(|| fields.plain.and_then(text))
                    .unwrap_or_default(),
            )
        }
        Err(_) => (None, String::from_utf8_lossy(body).into_owned()),
    }
}
