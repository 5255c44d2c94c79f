//! The invocation's query, decoded.

use crate::verify::percent;

/// The pairs of a query, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `text`: pairs between `&`, percent escapes in keys and values.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text_of =
            |escaped: &str| String::from_utf8_lossy(&percent::decode(escaped)).into_owned();
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (text_of(key), text_of(value))
        };
        Self(
            text.split('&')
                .filter(|pair| !pair.is_empty())
                .map(pair)
                .collect(),
        )
    }

    /// Returns the value of `key`; the last one if it is repeated.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut from_last = self.0.iter().rev();
        let (_, value) = from_last.find(|(name, _)| name == key)?;
        Some(value)
    }

    /// Returns the value of `key` as a number; `None` if it is missing or no number.
    #[must_use]
    pub fn number<N: std::str::FromStr>(&self, key: &str) -> Option<N> {
        self.get(key)?.parse().ok()
    }

    /// Returns whether `key` is `true`.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("true")
    }

    /// Returns all pairs, in their order.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_and_escapes() {
        let query =
            Query::parse("model=nova-3&keyterm=two%20cities&keyterm=caf%C3%A9&channels=2&x=%zz%4");
        assert_eq!(query.get("keyterm"), Some("café"));
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
