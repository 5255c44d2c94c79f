//! The model's settings, as they come in JSON.

use serde::Deserialize;

/// How the model answers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WatermarkSettings {
    /// A final result for so many chunks.
    pub window: u32,
    /// A final result for so many seconds instead, wherever chunks end. A chunk is said by the result that covers its end.
    pub window_seconds: Option<f64>,
    /// Finals wait until so many further chunks were heard.
    pub late_chunks: u32,
    /// Finals wait until so many further seconds of audio were heard.
    pub late_seconds: f64,
    /// An interim result for so many chunks, where the query asks for them; 0: none.
    pub interim_every: u32,
    /// Results list so many of their words with times; `None`: all. The transcript has all of them.
    pub listed_words: Option<usize>,
    /// Each channel's first window is so many chunks shorter than the previous one's, so that channels' results end at
    /// different times.
    pub channel_skew: u32,
    /// Whether Finalize is answered when there is nothing new to say.
    pub answer_empty_finalize: bool,
    /// Audio without chunks gets an empty final for so many seconds.
    pub silence_window: f64,
    /// Seconds between `CloseStream` and its answer. A client that ends its input before loses the tail, as with the
    /// service.
    pub closing_time: f64,
    /// Seconds without any message until the stream fails with NET-0001; `None`: never.
    pub silence_timeout: Option<f64>,
}

impl Default for WatermarkSettings {
    fn default() -> Self {
        Self {
            window: 10,
            window_seconds: None,
            late_chunks: 0,
            late_seconds: 0.0,
            interim_every: 5,
            listed_words: None,
            channel_skew: 0,
            answer_empty_finalize: true,
            silence_window: 3.0,
            closing_time: 0.02,
            silence_timeout: Some(10.0),
        }
    }
}
