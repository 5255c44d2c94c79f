//! The model's settings, as they come in JSON.

use serde::Deserialize;

/// How the model answers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WatermarkSettings {
    /// Chunks in a final result.
    pub window: u32,
    /// Seconds in a final result instead, wherever chunks end. A chunk belongs to the result that
    /// covers its end.
    pub window_seconds: Option<f64>,
    /// Further chunks that finals wait for.
    pub late_chunks: u32,
    /// Further seconds of audio that finals wait for.
    pub late_seconds: f64,
    /// Chunks from one interim result to the next, if the query asks for them; 0: none.
    pub interim_every: u32,
    /// The most words that a result lists with times; `None`: all. The transcript has all.
    pub listed_words: Option<usize>,
    /// Chunks by which each channel's first window is shorter than the previous channel's, so that
    /// the channels' results end at different times.
    pub channel_skew: u32,
    /// Whether Finalize is answered when there is nothing new to say.
    pub answer_empty_finalize: bool,
    /// Seconds of audio without chunks that get one empty final.
    pub silence_window: f64,
    /// Seconds between `CloseStream` and its answer. A client that ends its input earlier loses the
    /// tail, as with the service.
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
