//! The check of a request's `Authorization`.

use dgsm_wire::signing::time::{self, DATE_LEN};
use dgsm_wire::signing::{Scope, SigningKey, hex, same};
use ring::digest;

use super::percent;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The largest difference between the request's date and the server's clock.
const MAX_SKEW_MS: u64 = 5 * 60 * 1000;

/// A request as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path as on the wire, percent-encoding included.
    pub path: &'a str,
    /// The query as on the wire, without the question mark; empty when there is none.
    pub query: &'a str,
    /// Every header, names in lower case, with `host` (which HTTP/2 calls `:authority`).
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The hash of the body in the canonical request: the value of `x-amz-content-sha256`.
    pub payload_hash: &'a str,
}

/// The signature of a request, and its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSignature {
    /// The access key's id.
    pub access_key: String,
    /// The scope's UTC day, `YYYYMMDD`.
    pub date: String,
    /// The scope's region.
    pub region: String,
    /// The scope's service.
    pub service: String,
    /// The signature in hexadecimal: the seed of the event chain.
    pub signature: String,
}

/// Why a request's signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigV4Error {
    /// No `authorization` header.
    #[error("the request has no Authorization header")]
    MissingAuthorization,
    /// `authorization` does not have the form of Signature Version 4.
    #[error("the Authorization header is malformed: {0}")]
    Malformed(&'static str),
    /// `x-amz-date` is missing or not a time.
    #[error("X-Amz-Date is missing or not a time")]
    Date,
    /// The scope is for another day than `x-amz-date`.
    #[error("the credential's scope is for another day than X-Amz-Date")]
    ScopeDate,
    /// The request's date is too far from the server's clock.
    #[error("the signature is {0} s away from the server's clock")]
    Skewed(i64),
    /// A signed header is missing.
    #[error("the signed header {0} is missing")]
    MissingHeader(String),
    /// A header is not signed that has to be.
    #[error("the header {0} has to be signed")]
    UnsignedHeader(String),
    /// The access key is unknown.
    #[error("the access key {0} is unknown")]
    UnknownAccessKey(String),
    /// The secret gives another signature.
    #[error("the request signature does not match")]
    Mismatch,
}

/// Checks a request's Signature Version 4 against the secret that `secret_of` finds for its access
/// key.
///
/// Region and service are those that the client signed for. The caller checks that they are right.
///
/// # Errors
/// [`SigV4Error`] when the signature is missing, wrong, or too old.
pub fn verify_request<Secret: AsRef<str>>(
    request: &Request<'_>,
    now_ms: i64,
    secret_of: impl FnOnce(&str) -> Option<Secret>,
) -> Result<RequestSignature, SigV4Error> {
    let authorization = Authorization::find(request)?;
    let date = single(request, "x-amz-date").ok_or(SigV4Error::Date)?;
    let second = time::parse(date).ok_or(SigV4Error::Date)?;
    if date[..DATE_LEN] != *authorization.scope.date {
        return Err(SigV4Error::ScopeDate);
    }
    let skew = now_ms.saturating_sub(second * 1000);
    if skew.unsigned_abs() > MAX_SKEW_MS {
        return Err(SigV4Error::Skewed(skew / 1000));
    }
    let canonical = canonical_request(request, authorization.signed_headers)?;
    let hash = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let string_to_sign = format!("{ALGORITHM}\n{date}\n{}\n{hash}", authorization.scope);
    let Some(secret) = secret_of(authorization.access_key) else {
        return Err(SigV4Error::UnknownAccessKey(
            authorization.access_key.to_owned(),
        ));
    };
    let signature = hex::encode(
        &SigningKey::derive(secret.as_ref(), authorization.scope).sign(string_to_sign.as_bytes()),
    );
    if !same(signature.as_bytes(), authorization.signature.as_bytes()) {
        return Err(SigV4Error::Mismatch);
    }
    Ok(RequestSignature {
        access_key: authorization.access_key.to_owned(),
        date: authorization.scope.date.to_owned(),
        region: authorization.scope.region.to_owned(),
        service: authorization.scope.service.to_owned(),
        signature,
    })
}

struct Authorization<'a> {
    access_key: &'a str,
    scope: Scope<'a>,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn find(request: &Request<'a>) -> Result<Self, SigV4Error> {
        let value = single(request, "authorization").ok_or(SigV4Error::MissingAuthorization)?;
        let fields = value
            .strip_prefix(ALGORITHM)
            .ok_or(SigV4Error::Malformed("another algorithm"))?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field
                .trim()
                .split_once('=')
                .ok_or(SigV4Error::Malformed("a field without a value"))?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(SigV4Error::Malformed("an unknown field")),
            };
            if place.replace(value).is_some() {
                return Err(SigV4Error::Malformed("a field twice"));
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) =
            (credential, signed_headers, signature)
        else {
            return Err(SigV4Error::Malformed("a field is missing"));
        };
        // Split from the right: an access key may contain slashes, the scope cannot.
        let parts: Vec<&str> = credential.rsplitn(5, '/').collect();
        let [terminator, service, region, date, access_key] = parts[..] else {
            return Err(SigV4Error::Malformed("the credential's scope"));
        };
        if terminator != "aws4_request" {
            return Err(SigV4Error::Malformed("the credential's scope"));
        }
        if hex::signature(signature).is_none() {
            return Err(SigV4Error::Malformed("the signature"));
        }
        Ok(Self {
            access_key,
            scope: Scope {
                date,
                region,
                service,
            },
            signed_headers,
            signature,
        })
    }
}

fn canonical_request(request: &Request<'_>, signed_headers: &str) -> Result<String, SigV4Error> {
    let names: Vec<&str> = signed_headers.split(';').collect();
    if !names.is_sorted_by(|a, b| a < b) {
        return Err(SigV4Error::Malformed("the signed headers are not sorted"));
    }
    let required = |name: &str| name == "host" || name.starts_with("x-amz-");
    if let Some((name, _)) = request
        .headers
        .iter()
        .find(|(name, _)| required(name) && !names.contains(name))
    {
        return Err(SigV4Error::UnsignedHeader((*name).to_owned()));
    }
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        canonical_path(request.path),
        canonical_query(request.query)
    );
    for name in names {
        let mut values = request
            .headers
            .iter()
            .filter(|header| header.0 == name)
            .peekable();
        if values.peek().is_none() {
            return Err(SigV4Error::MissingHeader(name.to_owned()));
        }
        canonical.push_str(name);
        let mut separator = ':';
        for (_, value) in values {
            canonical.push(separator);
            separator = ',';
            // Outer blanks are no part of a value, and a run of inner ones counts as one.
            for (at, word) in String::from_utf8_lossy(value)
                .split_ascii_whitespace()
                .enumerate()
            {
                if at > 0 {
                    canonical.push(' ');
                }
                canonical.push_str(word);
            }
        }
        canonical.push('\n');
    }
    canonical.push('\n');
    canonical.push_str(signed_headers);
    canonical.push('\n');
    canonical.push_str(request.payload_hash);
    Ok(canonical)
}

/// Removes dot segments and repeated slashes, then encodes every segment once more, as every
/// service except S3 requires.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut canonical = String::with_capacity(path.len() + 1);
    for segment in &segments {
        canonical.push('/');
        percent::encode(segment.as_bytes(), &mut canonical);
    }
    let directory = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    if segments.is_empty() || directory {
        canonical.push('/');
    }
    canonical
}

/// Decodes the parameters, encodes them in the canonical way, and sorts them.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (reencode(name), reencode(value))
        })
        .collect();
    parameters.sort_unstable();
    let written: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    written.join("&")
}

/// Decodes `text`, in which a plus sign is a space, and encodes it in the canonical way.
fn reencode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    percent::encode(&percent::decode(&text.replace('+', " ")), &mut out);
    out
}

/// Returns the value of a header that occurs exactly once and is text.
fn single<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    let mut values = request.headers.iter().filter(|header| header.0 == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => std::str::from_utf8(value).ok(),
        _ => None,
    }
}
