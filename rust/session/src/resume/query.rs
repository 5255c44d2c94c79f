//! What a session asks the service for: the path that names the product, and its query.
//!
//! The query is decoded here and nowhere else. Where a key is repeated, its last value counts.

/// The invocation that a session speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The invocation path, such as `v1/listen`. A leading slash is ignored.
    pub path: &'a str,
    /// The query as the service gets it, percent-encoded, without a question mark.
    pub query: &'a str,
}

/// Returns the last value of a key, percent-decoded. Keys are compared as they are written.
#[must_use]
pub fn value(query: &str, key: &str) -> Option<String> {
    let mut found = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name == key {
            found = Some(decode(value));
        }
    }
    found
}

/// Returns the last value of a key as a whole number; `None` where it is not one.
#[must_use]
pub fn number(query: &str, key: &str) -> Option<u32> {
    value(query, key)?.parse().ok()
}

/// Returns whether a switch is on; `default` where the query does not have the key.
#[must_use]
pub fn switch(query: &str, key: &str, default: bool) -> bool {
    value(query, key).map_or(default, |value| !value.eq_ignore_ascii_case("false"))
}

fn decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.get(..2)).flatten();
        let decoded = escaped
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(byte));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_is_decoded() {
        let query = "model=nova-3&encoding=mulaw&encoding=linear%31%36&keyterm=a%20b&bad=%zz%4";
        assert_eq!(value(query, "encoding").as_deref(), Some("linear16"));
        assert_eq!(value(query, "keyterm").as_deref(), Some("a b"));
        assert_eq!(value(query, "bad").as_deref(), Some("%zz%4"));
        assert_eq!(value(query, "language"), None);
    }

    #[test]
    fn numbers_and_switches() {
        let query = "sample_rate=16000&channels=two&multichannel=true&endpointing=False";
        assert_eq!(number(query, "sample_rate"), Some(16000));
        assert_eq!(number(query, "channels"), None);
        assert!(switch(query, "multichannel", false));
        assert!(!switch(query, "endpointing", true));
        assert!(switch(query, "punctuate", true));
    }
}
