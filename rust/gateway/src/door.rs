//! Who is let in: keys in every form in which clients send them, origins of browsers, and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use ring::hmac;
use ring::rand::SystemRandom;

/// A key that opens the door.
#[derive(Clone)]
pub struct Key {
    /// What its holder is called where the key must not appear.
    pub name: String,
    /// What clients send.
    pub secret: String,
    /// The most connections at a time. `None`: any number.
    pub most: Option<usize>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No key, or one that is not known.
    Key,
    /// A browser's page from an origin that is not allowed.
    Origin,
    /// The connections of the key with this name are all in use.
    Busy(Arc<str>),
}

/// The keys and origins that are let in.
#[derive(Debug)]
pub struct Door {
    /// Under which keys are tagged. It is drawn anew in each process.
    tagging: hmac::Key,
    holders: Vec<Holder>,
    origins: Origins,
}

#[derive(Debug)]
struct Holder {
    name: Arc<str>,
    /// The tag of the key, which is not kept itself.
    tag: hmac::Tag,
    most: usize,
    live: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Origins {
    Any,
    /// Pages of this machine: there are no keys, and any page in a browser here could connect.
    Loopback,
    /// In lower case.
    These(Vec<String>),
}

/// The right to be inside. A connection keeps it.
#[derive(Debug, Default)]
pub struct Pass {
    /// The name of the key.
    pub name: Option<Arc<str>>,
    live: Option<Arc<AtomicUsize>>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Door {
    /// Makes a door. Without keys everybody is let in. `origins`: `None` stands for any, or, without
    /// keys, for pages of this machine; `*` in it stands for any.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn new(keys: &[Key], origins: Option<&[String]>) -> Result<Self, ring::error::Unspecified> {
        let tagging = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        let holders = keys
            .iter()
            .map(|key| Holder {
                name: key.name.as_str().into(),
                tag: hmac::sign(&tagging, key.secret.as_bytes()),
                most: key.most.unwrap_or(usize::MAX),
                live: Arc::default(),
            })
            .collect::<Vec<_>>();
        let origins = match origins {
            None if holders.is_empty() => Origins::Loopback,
            None => Origins::Any,
            Some(origins) if origins.iter().any(|origin| origin == "*") => Origins::Any,
            Some(origins) => Origins::These(
                origins
                    .iter()
                    .map(|origin| origin.trim_end_matches('/').to_ascii_lowercase())
                    .collect(),
            ),
        };
        Ok(Self {
            tagging,
            holders,
            origins,
        })
    }

    /// Lets a connection in, and counts it for its key.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn enter(&self, headers: &HeaderMap) -> Result<Pass, Denied> {
        if !self.allows_origin(headers) {
            return Err(Denied::Origin);
        }
        let Some(holder) = self.holder(headers)? else {
            return Ok(Pass::default());
        };
        let entered = holder
            .live
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |live| {
                (live < holder.most).then_some(live + 1)
            });
        match entered {
            Ok(_) => Ok(Pass {
                name: Some(Arc::clone(&holder.name)),
                live: Some(Arc::clone(&holder.live)),
            }),
            Err(_) => Err(Denied::Busy(Arc::clone(&holder.name))),
        }
    }

    /// Lets a request in that is over at once, and returns the name of its key. `None`: there are
    /// no keys, or, where the door `is_open`, it has none that is known.
    ///
    /// # Errors
    /// Why it is not let in.
    pub fn look_in(&self, headers: &HeaderMap, is_open: bool) -> Result<Option<Arc<str>>, Denied> {
        if !self.allows_origin(headers) {
            return Err(Denied::Origin);
        }
        match self.holder(headers) {
            Err(_) if is_open => Ok(None),
            holder => Ok(holder?.map(|holder| Arc::clone(&holder.name))),
        }
    }

    fn holder(&self, headers: &HeaderMap) -> Result<Option<&Holder>, Denied> {
        if self.holders.is_empty() {
            return Ok(None);
        }
        let presented = presented(headers).ok_or(Denied::Key)?;
        // Tags under a key that nobody else knows are compared, and every holder's: how long it takes
        // says nothing about a key.
        let tag = hmac::sign(&self.tagging, presented);
        let mut found = None;
        for holder in &self.holders {
            let pairs = holder.tag.as_ref().iter().zip(tag.as_ref());
            if pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0 {
                found = Some(holder);
            }
        }
        found.map(Some).ok_or(Denied::Key)
    }

    fn allows_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else {
            // No browser.
            return true;
        };
        match &self.origins {
            Origins::Any => true,
            Origins::Loopback => origin.to_str().is_ok_and(is_loopback),
            Origins::These(allowed) => origin
                .to_str()
                .is_ok_and(|origin| allowed.iter().any(|each| each.eq_ignore_ascii_case(origin))),
        }
    }
}

/// Returns whether an origin is a page that this machine serves.
fn is_loopback(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => authority
            .split_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The schemes of `Authorization`, and the first words of a list of subprotocols.
const SCHEMES: [&str; 2] = ["token", "bearer"];

fn is_scheme(word: &[u8]) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

/// Returns the key that a client sends: `Authorization: Token K` or `Bearer K`, or the subprotocols
/// `token, K` or `bearer, T`.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let authorized = headers.get_all(AUTHORIZATION).iter().find_map(|value| {
        let value = value.as_bytes().trim_ascii();
        let blank = value.iter().position(u8::is_ascii_whitespace)?;
        let (scheme, key) = value.split_at(blank);
        is_scheme(scheme).then(|| key.trim_ascii())
    });
    authorized.or_else(|| {
        let mut words = subprotocols(headers);
        words.next().filter(|word| is_scheme(word))?;
        words.next()
    })
}

/// Returns the subprotocol to answer with: the first one, where it says that a key follows.
#[must_use]
pub fn accepted_subprotocol(headers: &HeaderMap) -> Option<&[u8]> {
    subprotocols(headers).next().filter(|word| is_scheme(word))
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                )
            })
            .collect()
    }

    fn key(name: &str, secret: &str, most: Option<usize>) -> Key {
        Key {
            name: name.into(),
            secret: secret.into(),
            most,
        }
    }

    fn door(origins: Option<&[&str]>) -> Door {
        let origins = origins.map(|each| each.iter().map(ToString::to_string).collect::<Vec<_>>());
        let keys = [key("web", "s3cret", None), key("phone", "other", Some(1))];
        Door::new(&keys, origins.as_deref()).unwrap()
    }

    #[test]
    fn a_key_comes_in_every_form() {
        for pairs in [
            &[("authorization", "Token s3cret")][..],
            &[("authorization", "token s3cret")],
            &[("authorization", "TOKEN   s3cret ")],
            &[("authorization", "Bearer s3cret")],
            &[("authorization", "bearer s3cret")],
            &[("sec-websocket-protocol", "token, s3cret")],
            &[("sec-websocket-protocol", "Token,s3cret")],
            &[("sec-websocket-protocol", "bearer, s3cret, more")],
            &[
                ("sec-websocket-protocol", "token"),
                ("sec-websocket-protocol", "s3cret"),
            ],
            // Another scheme says nothing.
            &[
                ("authorization", "Basic czNjcmV0"),
                ("sec-websocket-protocol", "token, s3cret"),
            ],
        ] {
            let pass = door(None).enter(&headers(pairs)).unwrap();
            assert_eq!(pass.name.as_deref(), Some("web"), "{pairs:?}");
        }
    }

    #[test]
    fn anything_else_is_not_let_in() {
        for pairs in [
            &[][..],
            &[("authorization", "s3cret")],
            &[("authorization", "Token")],
            &[("authorization", "Token ")],
            &[("authorization", "Token wrong")],
            &[("authorization", "Token s3cret more")],
            &[("authorization", "Token s3cre")],
            &[("authorization", "Basic s3cret")],
            &[("sec-websocket-protocol", "token")],
            &[("sec-websocket-protocol", "s3cret, token")],
            &[("sec-websocket-protocol", "chat, s3cret")],
            // A wrong key is not made good by another form.
            &[
                ("authorization", "Token wrong"),
                ("sec-websocket-protocol", "token, s3cret"),
            ],
        ] {
            let denied = door(None).enter(&headers(pairs)).unwrap_err();
            assert_eq!(denied, Denied::Key, "{pairs:?}");
        }
    }

    #[test]
    fn without_keys_everybody_is_let_in() {
        let door = Door::new(&[], None).unwrap();
        let pass = door
            .enter(&headers(&[("authorization", "Token any")]))
            .unwrap();
        assert_eq!(pass.name, None);
        assert!(door.enter(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_key_has_its_limit() {
        let door = door(None);
        let phone = headers(&[("authorization", "Token other")]);
        let first = door.enter(&phone).unwrap();
        assert_eq!(
            door.enter(&phone).unwrap_err(),
            Denied::Busy("phone".into())
        );
        // What is over at once is not counted.
        let name = door.look_in(&phone, false).unwrap();
        assert_eq!(name.as_deref(), Some("phone"));
        assert!(
            door.enter(&headers(&[("authorization", "Token s3cret")]))
                .is_ok()
        );
        drop(first);
        assert!(door.enter(&phone).is_ok());
    }

    #[test]
    fn browsers_come_from_allowed_origins() {
        let from = |origin| headers(&[("authorization", "Token s3cret"), ("origin", origin)]);
        let page = from("https://app.example");
        assert!(door(None).enter(&page).is_ok());
        assert!(door(Some(&["*"])).enter(&page).is_ok());
        assert!(door(Some(&["https://APP.example/"])).enter(&page).is_ok());
        let other = door(Some(&["https://other.example", "https://app.example:8443"]));
        assert_eq!(other.enter(&page).unwrap_err(), Denied::Origin);
        assert_eq!(other.enter(&from("null")).unwrap_err(), Denied::Origin);
        assert!(
            other
                .enter(&headers(&[("authorization", "Token s3cret")]))
                .is_ok()
        );
    }

    #[test]
    fn open_pages_need_no_key_and_an_allowed_origin_all_the_same() {
        let door = door(Some(&["https://app.example"]));
        let nobody = HeaderMap::new();
        assert_eq!(door.look_in(&nobody, false), Err(Denied::Key));
        assert_eq!(door.look_in(&nobody, true), Ok(None));
        let web = headers(&[("authorization", "Token s3cret")]);
        assert_eq!(door.look_in(&web, true).unwrap().as_deref(), Some("web"));
        let evil = headers(&[("origin", "https://evil.example")]);
        assert_eq!(door.look_in(&evil, true), Err(Denied::Origin));
    }

    #[test]
    fn without_keys_only_pages_of_this_machine_connect() {
        let door = Door::new(&[], None).unwrap();
        for origin in [
            "http://localhost:8080",
            "http://LOCALHOST",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
        ] {
            assert!(door.enter(&headers(&[("origin", origin)])).is_ok());
        }
        for origin in [
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "file://",
            "localhost",
        ] {
            let denied = door.enter(&headers(&[("origin", origin)])).unwrap_err();
            assert_eq!(denied, Denied::Origin, "{origin}");
        }
    }

    #[test]
    fn the_word_before_the_key_is_answered_with() {
        let accepted = |value| {
            let headers = headers(&[("sec-websocket-protocol", value)]);
            accepted_subprotocol(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(accepted("Token, s3cret").as_deref(), Some(&b"Token"[..]));
        assert_eq!(accepted("bearer,t").as_deref(), Some(&b"bearer"[..]));
        assert_eq!(accepted("chat, token"), None);
        assert_eq!(accepted_subprotocol(&HeaderMap::new()), None);
    }

    #[test]
    fn keys_are_not_shown() {
        let shown = format!("{:?} {:?}", door(None), key("web", "s3cret", None));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
