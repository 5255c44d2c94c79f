//! The chain of signatures, which both ends compute.

use std::fmt;

use ring::{digest, hmac};

use super::hex::{self, HEX_LEN};
use super::key::{RootKey, Scope, SigningKey, tag_bytes};
use super::time::{self, DATE_LEN};

/// Length of the encoded `:date` header, in bytes.
pub const DATE_HEADER_LEN: usize = 15;

/// Positions in the part of the string to sign that changes with every event.
const PREVIOUS: std::ops::Range<usize> = 0..HEX_LEN;
const DATE_HASH: std::ops::Range<usize> = HEX_LEN + 1..2 * HEX_LEN + 1;
const EVENT_HASH: std::ops::Range<usize> = 2 * HEX_LEN + 2..3 * HEX_LEN + 2;

/// The state of a chain: the previous signature, and all that can be reused from one event to the
/// next.
///
/// The string to sign has six lines: algorithm, time, scope, previous signature, hash of the
/// encoded `:date` header, hash of the event. The first three change once a second, the header's
/// hash with the header, and the key once a day. The scope's date is the envelope's, not the
/// request's, so a stream that runs past midnight (UTC) continues with the new day's key.
pub struct Chain {
    root: RootKey,
    region: String,
    service: String,
    day: Option<Day>,
    second: Option<Second>,
    date: Option<Date>,
    /// The last three lines.
    tail: [u8; EVENT_HASH.end],
}

struct Day {
    date: [u8; DATE_LEN],
    key: SigningKey,
}

struct Second {
    second: i64,
    /// The state after the first three lines.
    context: hmac::Context,
}

#[derive(Clone, Copy)]
struct Date {
    ms: i64,
    header: [u8; DATE_HEADER_LEN],
}

/// The time lies before 1970 or after 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

impl Chain {
    /// Starts a chain from `seed`, the signature of the request.
    #[must_use]
    pub fn new(secret_access_key: &str, region: &str, service: &str, seed: [u8; HEX_LEN]) -> Self {
        let mut tail = [b'\n'; EVENT_HASH.end];
        tail[PREVIOUS].copy_from_slice(&seed);
        Self {
            root: RootKey::new(secret_access_key),
            region: region.to_owned(),
            service: service.to_owned(),
            day: None,
            second: None,
            date: None,
            tail,
        }
    }

    /// Prepares for an envelope at the time `ms` (milliseconds since the epoch); returns its
    /// encoded `:date` header.
    ///
    /// # Errors
    /// [`OutOfRange`]; the chain is then unchanged.
    pub fn at(&mut self, ms: i64) -> Result<[u8; DATE_HEADER_LEN], OutOfRange> {
        if let Some(date) = self.date
            && date.ms == ms
        {
            return Ok(date.header);
        }
        let second = ms.div_euclid(1000);
        if self
            .second
            .as_ref()
            .is_none_or(|cached| cached.second != second)
        {
            let context = self.first_lines(second)?;
            self.second = Some(Second { second, context });
        }
        let header = date_header(ms);
        hex::write(
            digest::digest(&digest::SHA256, &header).as_ref(),
            &mut self.tail[DATE_HASH],
        );
        self.date = Some(Date { ms, header });
        Ok(header)
    }

    /// Returns the signature of `event` (empty, for the end) at the time given to [`Chain::at`].
    ///
    /// # Errors
    /// [`OutOfRange`] before the first [`Chain::at`].
    pub fn signature(&mut self, event: &[u8]) -> Result<[u8; 32], OutOfRange> {
        let Some(second) = &self.second else {
            return Err(OutOfRange);
        };
        hex::write(
            digest::digest(&digest::SHA256, event).as_ref(),
            &mut self.tail[EVENT_HASH],
        );
        let mut context = second.context.clone();
        context.update(&self.tail);
        Ok(tag_bytes(context.sign()))
    }

    /// Makes `signature` the previous signature of the next event.
    pub fn advance(&mut self, signature: &[u8; 32]) {
        hex::write(signature, &mut self.tail[PREVIOUS]);
    }

    fn first_lines(&mut self, second: i64) -> Result<hmac::Context, OutOfRange> {
        let time = time::format(second).ok_or(OutOfRange)?;
        let mut date = [0; DATE_LEN];
        date.copy_from_slice(&time[..DATE_LEN]);
        if self.day.as_ref().is_none_or(|cached| cached.date != date) {
            let key = self.root.derive(scope(&date, &self.region, &self.service));
            self.day = Some(Day { date, key });
        }
        let Some(day) = &self.day else {
            return Err(OutOfRange);
        };
        let mut context = hmac::Context::with_key(&day.key.0);
        context.update(b"AWS4-HMAC-SHA256-PAYLOAD\n");
        context.update(&time);
        context.update(format!("\n{}\n", scope(&date, &self.region, &self.service)).as_bytes());
        Ok(context)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Chain(..)")
    }
}

fn scope<'a>(date: &'a [u8; DATE_LEN], region: &'a str, service: &'a str) -> Scope<'a> {
    // Digits, as `time::format` wrote them.
    Scope {
        date: std::str::from_utf8(date).unwrap_or_default(),
        region,
        service,
    }
}

/// Returns the `:date` header as it is encoded in the envelope and hashed.
fn date_header(ms: i64) -> [u8; DATE_HEADER_LEN] {
    let mut header = *b"\x05:date\x0800000000";
    header[7..].copy_from_slice(&ms.to_be_bytes());
    header
}
