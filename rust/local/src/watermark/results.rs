//! The messages of `v1/listen`.

use std::fmt::Write as _;
use std::time::SystemTime;

use time::OffsetDateTime;

use super::layout::Mark;
use crate::audio::Format;

/// The model's id.
const MODEL_UUID: &str = "5761746d-6172-4b00-8000-000000000001";
const MODEL_INFO: &str = r#"{"name":"watermark","version":"1","arch":"counter"}"#;

/// A time or duration in seconds with at most six decimals.
pub(super) struct Seconds {
    pub(super) micros: u64,
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        let decimals = format!("{micros:06}");
        let decimals = decimals.trim_end_matches('0');
        write!(
            out,
            "{whole}.{}",
            if decimals.is_empty() { "0" } else { decimals }
        )
    }
}

/// One `Results` message.
pub(super) struct Results<'a> {
    pub(super) request_id: &'a str,
    pub(super) format: Format,
    /// The channel, and the number of channels.
    pub(super) channel_index: [u16; 2],
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) words: &'a [Mark],
    /// How many words are listed with their times; the transcript has all.
    pub(super) listed: usize,
    pub(super) is_final: bool,
    pub(super) speech_final: bool,
    pub(super) from_finalize: bool,
}

impl Results<'_> {
    pub(super) fn json(&self) -> String {
        let micros = |frames| Seconds {
            micros: self.format.micros(frames),
        };
        let [channel, channels] = self.channel_index;
        // From rounded times, so that start + duration is the next start in decimals too.
        let duration = Seconds {
            micros: micros(self.end).micros - micros(self.start).micros,
        };
        let confidence = if self.words.is_empty() { "0.0" } else { "1.0" };
        let mut json = String::with_capacity(400 + 90 * self.words.len().min(self.listed));
        let _ = write!(
            json,
            r#"{{"type":"Results","channel_index":[{channel},{channels}],"duration":{duration},"start":{},"is_final":{},"speech_final":{},"channel":{{"alternatives":[{{"transcript":""#,
            micros(self.start),
            self.is_final,
            self.speech_final,
        );
        for (at, word) in self.words.iter().enumerate() {
            let _ = write!(json, "{}{}", if at == 0 { "" } else { " " }, word.number);
        }
        let _ = write!(json, r#"","confidence":{confidence},"words":["#);
        for (at, word) in self.words.iter().take(self.listed).enumerate() {
            let _ = write!(
                json,
                r#"{}{{"word":"{number}","start":{},"end":{},"confidence":1.0,"punctuated_word":"{number}"}}"#,
                if at == 0 { "" } else { "," },
                micros(word.start),
                micros(word.end),
                number = word.number,
            );
        }
        let _ = write!(
            json,
            r#"]}}]}},"metadata":{{"request_id":"{}","model_info":{MODEL_INFO},"model_uuid":"{MODEL_UUID}"}},"from_finalize":{}}}"#,
            self.request_id, self.from_finalize,
        );
        json
    }
}

/// Returns the closing `Metadata`.
pub(super) fn metadata(
    request_id: &str,
    created: &str,
    sha256: &str,
    duration: &Seconds,
    channels: u16,
) -> String {
    format!(
        r#"{{"type":"Metadata","transaction_key":"deprecated","request_id":"{request_id}","sha256":"{sha256}","created":"{created}","duration":{duration},"channels":{channels},"models":["{MODEL_UUID}"],"model_info":{{"{MODEL_UUID}":{MODEL_INFO}}}}}"#
    )
}

/// Writes a time as `Metadata` has it, UTC: `2026-11-22T08:05:46.123Z`.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millis) = time.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

pub(super) fn speech_started(channel_index: [u16; 2], at: &Seconds) -> String {
    let [channel, channels] = channel_index;
    format!(r#"{{"type":"SpeechStarted","channel":[{channel},{channels}],"timestamp":{at}}}"#)
}

pub(super) fn utterance_end(channel_index: [u16; 2], last_word_end: &Seconds) -> String {
    let [channel, channels] = channel_index;
    format!(
        r#"{{"type":"UtteranceEnd","channel":[{channel},{channels}],"last_word_end":{last_word_end}}}"#
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_at_most_six_decimals() {
        let text = |micros| Seconds { micros }.to_string();
        assert_eq!(text(0), "0.0");
        assert_eq!(text(1_980_000), "1.98");
        assert_eq!(text(61_000_023), "61.000023");
    }

    #[test]
    fn known_moments() {
        let iso = |seconds| timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(iso(1_735_689_599), "2024-12-31T23:59:59.000Z");
        assert_eq!(iso(4_107_542_400), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn a_result_is_json_of_the_documented_shape() {
        let mark = |number: u32| Mark {
            channel: 0,
            number,
            start: u64::from(number) * 320,
            end: u64::from(number + 1) * 320,
            intact: true,
        };
        let words = [mark(4), mark(5)];
        let format = Format {
            rate: 16_000,
            channels: 1,
            width: 2,
            silence: 0,
        };
        let results = Results {
            request_id: "r",
            format,
            channel_index: [0, 1],
            start: 1280,
            end: 1920,
            words: &words,
            listed: 1,
            is_final: true,
            speech_final: false,
            from_finalize: false,
        };
        let json: serde_json::Value = serde_json::from_str(&results.json()).unwrap();
        assert_eq!(json["start"], 0.08);
        assert_eq!(json["duration"], 0.04);
        let best = &json["channel"]["alternatives"][0];
        assert_eq!(best["transcript"], "4 5");
        assert_eq!(best["words"][0]["end"], 0.1);
        assert_eq!(best["words"][1], serde_json::Value::Null);
        assert_eq!(json["metadata"]["model_info"]["name"], "watermark");
        let closing = metadata("r", "now", "00", &Seconds { micros: 100_000 }, 1);
        let json: serde_json::Value = serde_json::from_str(&closing).unwrap();
        assert_eq!(json["duration"], 0.1);
    }
}
