//! What the service checks before it accepts a stream.

use crate::verify::{Request as Signed, RequestSignature, SigV4Error, verify_request};
use http::request::Parts;

use crate::refusal::Refusal;
use crate::settings::{Credential, Settings};

const SERVICE: &str = "sagemaker";
const PREFIX: &str = "/endpoints/";
const SUFFIX: &str = "/invocations-bidirectional-stream";
const PAYLOAD_HASH: &str = "STREAMING-AWS4-HMAC-SHA256-EVENTS";
/// The hash of an empty body. The AWS SDK for Rust signs it for this operation and sends no header.
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HASH_HEADER: &str = "x-amz-content-sha256";
const PATH_HEADER: &str = "x-amzn-sagemaker-model-invocation-path";
const QUERY_HEADER: &str = "x-amzn-sagemaker-model-query-string";
const VARIANT_HEADER: &str = "x-amzn-sagemaker-target-variant";

const MAX_NAME: usize = 63;
const MAX_PATH: usize = 100;
const MAX_QUERY: usize = 2048;
const NAME_PATTERN: &str = "satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*$";
const PATH_PATTERN: &str =
    r"satisfy regular expression pattern: ^[A-Za-z0-9\-._]+(?:/[A-Za-z0-9\-._]+)*$";
const QUERY_PATTERN: &str = r"satisfy regular expression pattern: ^[a-zA-Z0-9][A-Za-z0-9_-]*=(?:[A-Za-z0-9._~\-]|%[0-9A-Fa-f]{2})+(?:&[a-zA-Z0-9][A-Za-z0-9_-]*=(?:[A-Za-z0-9._~\-]|%[0-9A-Fa-f]{2})+)*$";

/// A request that passed the checks.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The endpoint's name.
    pub(crate) endpoint: String,
    /// The model's path, without a leading slash; empty if the request has none.
    pub(crate) path: String,
    /// The model's query, as it came.
    pub(crate) query: String,
    pub(crate) variant: String,
    pub(crate) signature: RequestSignature,
    pub(crate) secret_access_key: String,
}

/// Returns the invocation's path and query, empty where the request has none. Records of refused
/// requests have them too.
pub(crate) fn target(parts: &Parts) -> (&str, &str) {
    (
        header(parts, PATH_HEADER).unwrap_or(""),
        header(parts, QUERY_HEADER).unwrap_or(""),
    )
}

/// Returns the endpoint that a request names, and its signature. Nothing is recorded of a request
/// that fails here. The order of all checks is the service's: route, signature, constraints,
/// endpoint.
pub(crate) fn identify<'a>(
    parts: &'a Parts,
    settings: &Settings,
    credentials: &[Credential],
    now_ms: i64,
) -> Result<(&'a str, RequestSignature), Refusal> {
    let name = route(parts)?;
    Ok((name, authenticate(parts, settings, credentials, now_ms)?))
}

/// Checks what a signed request asks for.
pub(crate) fn check(
    parts: &Parts,
    name: &str,
    signature: RequestSignature,
    settings: &Settings,
    credentials: &[Credential],
) -> Result<Invocation, Refusal> {
    let payload_hash = header(parts, HASH_HEADER).unwrap_or(EMPTY_HASH);
    if ![PAYLOAD_HASH, EMPTY_HASH].contains(&payload_hash) {
        return Err(Refusal::constraint(
            HASH_HEADER,
            payload_hash,
            &format!("be {PAYLOAD_HASH}"),
        ));
    }
    let (path, query) = target(parts);
    let variant = header(parts, VARIANT_HEADER);
    constrain("endpointName", name, MAX_NAME, NAME_PATTERN, is_name)?;
    if let Some(variant) = variant {
        constrain("targetVariant", variant, MAX_NAME, NAME_PATTERN, is_name)?;
    }
    if !path.is_empty() {
        constrain("modelInvocationPath", path, MAX_PATH, PATH_PATTERN, is_path)?;
    }
    if !query.is_empty() {
        constrain(
            "modelQueryString",
            query,
            MAX_QUERY,
            QUERY_PATTERN,
            is_query,
        )?;
    }
    if !settings.endpoint_names.iter().any(|known| known == name) {
        let message = format!("Endpoint {name} of account 000000000000 not found.");
        return Err(Refusal::new(
            settings.unknown_endpoint_status,
            "ValidationException",
            message,
        ));
    }
    let default = settings
        .variants
        .first()
        .map_or("AllTraffic", String::as_str);
    let variant = variant.unwrap_or(default);
    if !settings.variants.is_empty() && !settings.variants.iter().any(|known| known == variant) {
        let message = format!("Variant {variant} of endpoint {name} not found.");
        return Err(Refusal::new(400, "ValidationException", message));
    }
    let secret = credentials
        .iter()
        .find(|known| known.access_key_id == signature.access_key);
    Ok(Invocation {
        endpoint: name.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        variant: variant.to_owned(),
        secret_access_key: secret
            .map(|known| known.secret_access_key.clone())
            .unwrap_or_default(),
        signature,
    })
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// Returns the endpoint's name in the path.
fn route(parts: &Parts) -> Result<&str, Refusal> {
    let name = parts
        .uri
        .path()
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    match name {
        Some(name) if !name.contains('/') && parts.method == http::Method::POST => Ok(name),
        Some(name) if !name.contains('/') => Err(Refusal::new(
            405,
            "MethodNotAllowedException",
            "The method has to be POST.",
        )),
        _ => Err(Refusal::new(
            404,
            "UnknownOperationException",
            "No operation has this path.",
        )),
    }
}

fn authenticate(
    parts: &Parts,
    settings: &Settings,
    credentials: &[Credential],
    now_ms: i64,
) -> Result<RequestSignature, Refusal> {
    let mut headers: Vec<(&str, &[u8])> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    // In HTTP/2 the host is a pseudo-header; SigV4 signs it as `host`.
    if let (None, Some(authority)) = (parts.headers.get("host"), parts.uri.authority()) {
        headers.push(("host", authority.as_str().as_bytes()));
    }
    let request = Signed {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or(""),
        headers: &headers,
        payload_hash: header(parts, HASH_HEADER).unwrap_or(EMPTY_HASH),
    };
    let known = |access_key: &str| {
        credentials
            .iter()
            .find(|known| known.access_key_id == access_key)
    };
    let signature = verify_request(&request, now_ms, |access_key| {
        known(access_key).map(|known| known.secret_access_key.as_str())
    })
    .map_err(|error| refuse(&error))?;
    let in_region = settings.regions.contains(&signature.region);
    if !in_region || signature.service != SERVICE {
        let message = if in_region {
            format!("Credential should be scoped to correct service: '{SERVICE}'.")
        } else {
            format!(
                "Credential should be scoped to a valid region, not '{}'.",
                signature.region
            )
        };
        return Err(Refusal::new(403, "InvalidSignatureException", message));
    }
    if let Some(known) = known(&signature.access_key) {
        let token = header(parts, "x-amz-security-token");
        if known.session_token.as_deref() != token {
            let message = "The security token included in the request is invalid.";
            return Err(Refusal::new(403, "UnrecognizedClientException", message));
        }
        #[allow(clippy::cast_precision_loss)]
        if known.expires_at.is_some_and(|at| at * 1e3 <= now_ms as f64) {
            let message = "The security token included in the request is expired";
            return Err(Refusal::new(403, "ExpiredTokenException", message));
        }
    }
    Ok(signature)
}

fn refuse(error: &SigV4Error) -> Refusal {
    let (error_type, message) = match error {
        SigV4Error::MissingAuthorization => (
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        SigV4Error::UnknownAccessKey(_) => (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        SigV4Error::Malformed(_)
        | SigV4Error::MissingHeader(_)
        | SigV4Error::UnsignedHeader(_)
        | SigV4Error::Date => {
            return Refusal::new(403, "IncompleteSignatureException", format!("{error}."));
        }
        SigV4Error::Skewed(_) | SigV4Error::ScopeDate => {
            return Refusal::new(
                403,
                "InvalidSignatureException",
                format!("Signature expired: {error}."),
            );
        }
        SigV4Error::Mismatch => (
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        ),
    };
    Refusal::new(403, error_type, message)
}

fn constrain(
    member: &str,
    value: &str,
    max: usize,
    pattern: &str,
    matches: impl FnOnce(&str) -> bool,
) -> Result<(), Refusal> {
    if value.len() > max {
        return Err(Refusal::constraint(
            member,
            value,
            &format!("have length less than or equal to {max}"),
        ));
    }
    if matches(value) {
        Ok(())
    } else {
        Err(Refusal::constraint(member, value, pattern))
    }
}

fn is_name(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    path.split('/')
        .all(|segment| !segment.is_empty() && segment.bytes().all(plain))
}

fn is_query(query: &str) -> bool {
    query.split('&').all(|pair| {
        pair.split_once('=')
            .is_some_and(|(key, value)| is_key(key) && is_value(value))
    })
}

fn is_key(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphanumeric())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn is_value(value: &str) -> bool {
    let mut bytes = value.bytes();
    let mut any = false;
    while let Some(byte) = bytes.next() {
        let escape = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
        let valid = match byte {
            b'%' => escape(bytes.next()) && escape(bytes.next()),
            _ => byte.is_ascii_alphanumeric() || b"._~-".contains(&byte),
        };
        if !valid {
            return false;
        }
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "my-endpoint", "a--b", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a_b", "a.b", "ä"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn paths() {
        for good in ["v1/listen", "v1/agent/converse", "x"] {
            assert!(is_path(good), "{good}");
        }
        for bad in [
            "/v1/listen",
            "v1//listen",
            "v1/listen/",
            "v1/listen?x=1",
            "v1 listen",
        ] {
            assert!(!is_path(bad), "{bad}");
        }
    }

    #[test]
    fn queries() {
        for good in [
            "model=nova-3",
            "keyterm=two%20cities&keyterm=b",
            "a_b-c=~._-",
        ] {
            assert!(is_query(good), "{good}");
        }
        for bad in [
            "", "model", "model=", "a=b+c", "a=b,c", "a=%2", "a=%zz", "a=b&&c=d", "&a=b", "_a=b",
            "a=b=c",
        ] {
            assert!(!is_query(bad), "{bad}");
        }
    }

    #[test]
    fn routes() {
        let refused = |method: &str, path: &str| {
            let request = http::Request::builder()
                .method(method)
                .uri(format!("https://localhost{path}"));
            let (parts, ()) = request.body(()).unwrap().into_parts();
            route(&parts)
                .map(str::to_owned)
                .map_err(|refusal| refusal.status)
        };
        let path = "/endpoints/local/invocations-bidirectional-stream";
        assert_eq!(refused("POST", path), Ok("local".to_owned()));
        assert_eq!(refused("GET", path), Err(405));
        assert_eq!(refused("POST", "/endpoints/local/invocations"), Err(404));
        assert_eq!(
            refused("POST", "/endpoints/a/b/invocations-bidirectional-stream"),
            Err(404)
        );
    }
}
