//! The invocation's query string, decoded.

/// The pairs of a query, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `text`: pairs between `&`, percent escapes in keys and values.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key), unescape(value))
        };
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(pair)
                .collect(),
        )
    }

    /// The first value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The first value of `key` as a number; `None` if there is none or it is not one.
    #[must_use]
    pub fn number<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        self.get(key)?.parse().ok()
    }

    /// Whether `key` is `true`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("true")
    }

    /// All pairs, in their order.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

/// Decodes percent escapes; what is not a valid escape stays as it is.
fn unescape(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = match bytes.get(at + 1..at + 3) {
            Some(&[high, low]) if byte == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        if let Some((high, low)) = escape {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_and_escapes() {
        let query =
            Query::parse("model=nova-3&keyterm=two%20cities&keyterm=caf%C3%A9&channels=2&x=%zz%4");
        assert_eq!(query.get("keyterm"), Some("two cities"));
        assert_eq!(query.pairs()[2], ("keyterm".to_owned(), "café".to_owned()));
        assert_eq!(query.number::<u32>("channels"), Some(2));
        assert_eq!(query.number::<u32>("model"), None);
        assert_eq!(query.get("x"), Some("%zz%4"));
        assert!(!query.flag("multichannel"));
    }

    #[test]
    fn an_empty_query_has_no_pairs() {
        assert_eq!(Query::parse("").pairs(), &[]);
    }
}
