//! Maps AWS's refusals to reasons: the names of its errors, in all their forms, and the bodies of
//! its answers.
//!
//! HTTP answers and exceptions in an open stream share one table, because a name means the same in
//! both.

use serde_json::{Map, Value};

use dgsm_leg::deepgram;
use dgsm_leg::diagnosis::{Diagnosis, named};
use dgsm_leg::end::LegEnd;
use dgsm_leg::quote;
use dgsm_leg::reason::Reason;

/// Diagnoses an HTTP answer that is not a stream. Header names are in lower case.
#[must_use]
pub fn diagnose(status: u16, headers: &[(String, String)], body: &[u8]) -> Diagnosis {
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, value)| name == wanted && !value.is_empty())
            .map(|(_, value)| value.as_str())
    };
    let parsed = serde_json::from_slice::<Value>(body).ok();
    let nothing = Map::new();
    let body_fields = parsed
        .as_ref()
        .and_then(Value::as_object)
        .unwrap_or(&nothing);
    // Some of AWS's front ends wrap the body in another object.
    let wrapped = body_fields
        .get("Error")
        .or_else(|| body_fields.get("error"))
        .and_then(Value::as_object)
        .unwrap_or(&nothing);
    let field = |names: &[&str]| {
        names
            .iter()
            .flat_map(|name| [body_fields.get(*name), wrapped.get(*name)])
            .flatten()
            .filter_map(Value::as_str)
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let page = if parsed.is_some() {
        String::new()
    } else {
        quote::bounded_bytes(body)
    };
    let code = header("x-amzn-errortype")
        .or_else(|| header("x-amz-error-code"))
        .or_else(|| Some(field(&["__type", "code", "Code"])).filter(|code| !code.is_empty()))
        .or_else(|| element(&page, "Code"))
        .unwrap_or_default();
    let message = match field(&["message", "Message", "errorMessage"]) {
        "" => element(&page, "Message").map_or_else(|| without_markup(&page), str::to_owned),
        message => message.to_owned(),
    };
    let (model_code, model_message) = deepgram::error(field(&["OriginalMessage"]));
    let said = [message.as_str(), &model_message]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    Diagnosis {
        reason: of_answer(status, code, &said),
        said: quote::text(&said),
        is_quote: true,
        status: Some(status),
        h2_code: None,
        code: named(bare(code)),
        request_id: ["x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id"]
            .into_iter()
            .find_map(header)
            .map(quote::name),
        model_status: body_fields
            .get("OriginalStatusCode")
            .and_then(Value::as_i64),
        model_code: named(&model_code),
        model_message: Some(quote::text(&model_message)).filter(|said| !said.is_empty()),
        log_stream: named(field(&["LogStreamArn"])),
    }
}

/// Returns the error's name in `namespace#Name` or `Name:http://…`.
fn bare(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().trim()
}

/// Returns the reason of an HTTP answer other than 200.
#[must_use]
pub fn of_answer(status: u16, code: &str, said: &str) -> Reason {
    let lower = said.to_lowercase();
    if let Some(reason) = of_name(code, &lower) {
        return match reason {
            // With a 404, the model, the variant or the endpoint does not exist.
            Reason::InvalidRequest if status == 404 => Reason::NoEndpoint,
            reason => reason,
        };
    }
    match status {
        401 | 403 if says_expired(&lower) => Reason::KeysExpired,
        401 => Reason::Unauthorized,
        403 => Reason::AccessDenied,
        404 => Reason::NoEndpoint,
        408 => Reason::RequestTimeout,
        424 => container(&lower),
        429 => Reason::Throttled,
        400..=499 => Reason::RequestRefused,
        500..=599 => Reason::ServiceFailed,
        _ => Reason::NotSageMaker,
    }
}

/// Returns the reason of an exception in an open stream.
#[must_use]
pub fn of_exception(kind: &str, message: &str) -> Reason {
    match of_name(kind, &message.to_lowercase()) {
        // The request was valid, because it opened the stream; so an event is invalid.
        Some(Reason::InvalidRequest) => Reason::InvalidEvent,
        Some(reason) => reason,
        None => Reason::UnknownException,
    }
}

/// Returns the end of a leg whose stream had an exception.
#[must_use]
pub fn ended(kind: &str, code: Option<String>, message: String) -> LegEnd {
    if is_named(kind, "ModelStreamError") {
        LegEnd::Closed {
            code: quote::bounded(code.unwrap_or_default()),
            text: quote::bounded(message),
        }
    } else if is_named(kind, "InternalStreamFailure") {
        LegEnd::Failed {
            text: quote::bounded(message),
        }
    } else {
        LegEnd::Refused {
            reason: of_exception(kind, &message),
            name: quote::bounded(bare(kind).to_owned()),
            text: quote::bounded(message),
        }
    }
}

/// Returns whether a name is `wanted`, in any case, with or without a namespace before it and an
/// address after it.
fn is_named(name: &str, wanted: &str) -> bool {
    let bare = bare(name);
    let bare = bare.rsplit('.').next().unwrap_or_default();
    bare.eq_ignore_ascii_case(wanted)
}

const THROTTLED: [&str; 8] = [
    "throttl",
    "toomanyrequests",
    "limitexceeded",
    "slowdown",
    "throughputexceeded",
    "quotaexceeded",
    "priorrequestnotcomplete",
    "transactioninprogress",
];

const INVALID: [&str; 10] = [
    "validation",
    "invalidparameter",
    "invalidquery",
    "invalidaction",
    "invalidinput",
    "invalidrequest",
    "missingparameter",
    "missingaction",
    "malformed",
    "toolarge",
];

/// The table of names. Names are compared in lower case, without a final `Exception`, `Error` or
/// `Fault`. Whole names come first, then parts of names, because new errors are named like old
/// ones.
fn of_name(code: &str, said: &str) -> Option<Reason> {
    let bare = bare(code);
    let lower = bare
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let stem = ["exception", "error", "fault"]
        .iter()
        .find_map(|end| lower.strip_suffix(end))
        .unwrap_or(&lower);
    let has = |parts: &[&str]| parts.iter().any(|part| stem.contains(part));
    Some(match stem {
        "" => return None,
        "model" => container(said),
        "modelstream" => Reason::ContainerClosed,
        "internalstreamfailure" => Reason::StreamFailed,
        "authfailure" => Reason::UnknownKey,
        "optinrequired" | "forbidden" => Reason::AccessDenied,
        "notfound" | "resourcenotfound" | "endpointnotfound" | "nosuchendpoint" => {
            Reason::NoEndpoint
        }
        "badrequest" | "serialization" | "unknownoperation" => Reason::InvalidRequest,
        "tokenrefreshrequired" => Reason::KeysExpired,
        _ if has(&["requesttimeout"]) => Reason::RequestTimeout,
        _ if has(&["modelnotready", "notready"]) => Reason::NotReady,
        _ if has(&THROTTLED) => Reason::Throttled,
        _ if stem.starts_with("kms") && !has(&["internal", "unavailable"]) => Reason::EncryptionKey,
        _ if has(&[
            "requesttimetooskewed",
            "requestinthefuture",
            "signatureexpired",
        ]) =>
        {
            Reason::ClockSkew
        }
        _ if has(&[
            "expiredtoken",
            "tokenexpired",
            "expiredcredential",
            "credentialexpired",
        ]) =>
        {
            Reason::KeysExpired
        }
        _ if has(&["expired"]) => Reason::RequestExpired,
        _ if has(&["signature"]) => {
            if said.contains("expired") || said.contains("not yet current") {
                Reason::ClockSkew
            } else if said.contains("valid region") {
                Reason::WrongRegion
            } else {
                Reason::BadSignature
            }
        }
        _ if has(&[
            "unrecognizedclient",
            "invalidclienttoken",
            "invalidaccesskey",
            "invalidtoken",
            "invalididentitytoken",
            "invalidsecurity",
        ]) =>
        {
            if says_expired(said) {
                Reason::KeysExpired
            } else {
                Reason::UnknownKey
            }
        }
        _ if has(&["missingauthentication"]) => Reason::Unsigned,
        _ if has(&["accessdenied", "notauthorized", "unauthorized"]) => {
            if says_expired(said) {
                Reason::KeysExpired
            } else {
                Reason::AccessDenied
            }
        }
        _ if has(&INVALID) => {
            if is_no_endpoint(said) {
                Reason::NoEndpoint
            } else if is_not_in_service(said) {
                Reason::NotInService
            } else {
                Reason::InvalidRequest
            }
        }
        _ if has(&["unavailable", "internal"]) => Reason::ServiceFailed,
        _ => return None,
    })
}

/// Returns the reason of a `ModelError`. SageMaker has one sentence for two causes: the container
/// is full, or it refuses the query.
fn container(said: &str) -> Reason {
    if said.contains("failed to establish websocket") {
        Reason::ContainerUnavailable
    } else {
        Reason::ContainerRefused
    }
}

fn says_expired(said: &str) -> bool {
    said.contains("token") && said.contains("expired")
}

fn is_no_endpoint(said: &str) -> bool {
    let missing = said
        .split_once("endpoint ")
        .is_some_and(|(_, rest)| rest.contains("not found") || rest.contains("does not exist"));
    missing || said.contains("could not find endpoint")
}

fn is_not_in_service(said: &str) -> bool {
    [
        "not in service",
        "not inservice",
        "notinservice",
        "is not ready",
        "is not yet ready",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// Returns the text of an XML element; some of AWS's front ends answer in XML.
fn element<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.is_empty() && !text.contains('<'))
}

/// Returns a page without its tags, and without its scripts, styles and title.
fn without_markup(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let name: String = tag
            .chars()
            .take_while(char::is_ascii_alphabetic)
            .collect::<String>()
            .to_ascii_lowercase();
        let hidden = matches!(name.as_str(), "script" | "style" | "title");
        let end = format!("</{name}");
        let skipped = hidden
            .then(|| tag.to_ascii_lowercase().find(&end))
            .flatten()
            .unwrap_or(0);
        rest = match tag[skipped..].split_once('>') {
            // The end tag of a hidden element, or the tag itself.
            Some((_, after)) => after,
            None => "",
        };
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, with what is said beside them.
    const NAMES: &[(&str, &str, Reason)] = &[
        ("ThrottlingException", "", Reason::Throttled),
        ("Throttling", "", Reason::Throttled),
        ("ThrottledException", "", Reason::Throttled),
        ("TooManyRequestsException", "", Reason::Throttled),
        ("RequestThrottledException", "", Reason::Throttled),
        ("RequestLimitExceeded", "", Reason::Throttled),
        ("BandwidthLimitExceeded", "", Reason::Throttled),
        ("KMSThrottlingException", "", Reason::Throttled),
        ("SlowDown", "", Reason::Throttled),
        ("PriorRequestNotComplete", "", Reason::Throttled),
        ("TransactionInProgressException", "", Reason::Throttled),
        ("ServiceQuotaExceededException", "", Reason::Throttled),
        ("RequestTimeout", "", Reason::RequestTimeout),
        ("RequestTimeoutException", "", Reason::RequestTimeout),
        ("NotFoundException", "", Reason::NoEndpoint),
        ("NoSuchEndpoint", "", Reason::NoEndpoint),
        ("InvalidSecurityToken", "", Reason::UnknownKey),
        (
            "InvalidSecurityTokenException",
            "the token has expired",
            Reason::KeysExpired,
        ),
        ("TokenRefreshRequired", "", Reason::KeysExpired),
        ("ModelNotReadyException", "", Reason::NotReady),
        ("ExpiredTokenException", "", Reason::KeysExpired),
        ("ExpiredToken", "", Reason::KeysExpired),
        ("TokenExpired", "", Reason::KeysExpired),
        ("RequestExpired", "", Reason::RequestExpired),
        ("RequestTimeTooSkewed", "", Reason::ClockSkew),
        (
            "InvalidSignatureException",
            "Signature expired: 2020",
            Reason::ClockSkew,
        ),
        (
            "InvalidSignatureException",
            "Signature not yet current: 2020",
            Reason::ClockSkew,
        ),
        (
            "InvalidSignatureException",
            "Credential should be scoped to a valid region",
            Reason::WrongRegion,
        ),
        ("InvalidSignatureException", "", Reason::BadSignature),
        ("SignatureDoesNotMatch", "", Reason::BadSignature),
        ("IncompleteSignature", "", Reason::BadSignature),
        ("UnrecognizedClientException", "", Reason::UnknownKey),
        (
            "UnrecognizedClientException",
            "The security token is expired",
            Reason::KeysExpired,
        ),
        ("InvalidClientTokenId", "", Reason::UnknownKey),
        ("InvalidAccessKeyId", "", Reason::UnknownKey),
        ("AccessDeniedException", "", Reason::AccessDenied),
        ("AccessDenied", "", Reason::AccessDenied),
        ("NotAuthorized", "", Reason::AccessDenied),
        ("NotAuthorizedException", "", Reason::AccessDenied),
        ("UnauthorizedOperation", "", Reason::AccessDenied),
        ("KMSAccessDeniedException", "", Reason::EncryptionKey),
        ("KMSDisabledException", "", Reason::EncryptionKey),
        ("KMSNotFoundException", "", Reason::EncryptionKey),
        ("KMSInvalidStateException", "", Reason::EncryptionKey),
        ("MissingAuthenticationTokenException", "", Reason::Unsigned),
        (
            "ValidationException",
            "Endpoint x of account 1 not found.",
            Reason::NoEndpoint,
        ),
        (
            "ValidationError",
            "Could not find endpoint",
            Reason::NoEndpoint,
        ),
        (
            "ValidationException",
            "Endpoint x is not InService",
            Reason::NotInService,
        ),
        ("ServiceUnavailable", "", Reason::ServiceFailed),
        ("ServiceUnavailableError", "", Reason::ServiceFailed),
        ("InternalServerException", "", Reason::ServiceFailed),
        ("InternalFailure", "", Reason::ServiceFailed),
        ("InternalDependencyException", "", Reason::ServiceFailed),
        ("InternalStreamFailure", "", Reason::StreamFailed),
        ("ModelError", "", Reason::ContainerRefused),
        (
            "ModelError",
            "Failed to establish WebSocket connection",
            Reason::ContainerUnavailable,
        ),
    ];

    /// As an answer with a status of its own and as an exception in an open stream.
    #[test]
    fn a_name_means_the_same_in_both_dresses() {
        use Reason as R;
        for &(name, said, reason) in NAMES {
            for name in [
                name.to_owned(),
                name.to_lowercase(),
                name.to_uppercase(),
                format!("com.amazonaws.sagemaker#{name}"),
                format!("com.amazonaws.sagemaker.{name}"),
                format!("{name}:http://internal.amazon.com/coral/x/"),
                format!(" aws#{name}:"),
            ] {
                assert_eq!(of_exception(&name, said), reason, "in band: {name}");
                for status in [400, 403, 424, 429, 500, 503] {
                    assert_eq!(of_answer(status, &name, said), reason, "{status}: {name}");
                }
            }
        }
        for name in [
            "ValidationException",
            "InputValidationError",
            "MissingParameter",
            "MissingAction",
            "InvalidInputException",
            "InvalidRequestException",
            "MalformedHttpRequestException",
            "UnknownOperationException",
            "RequestEntityTooLargeException",
            "PayloadTooLargeException",
        ] {
            assert_eq!(of_answer(400, name, "bad"), R::InvalidRequest);
            assert_eq!(of_exception(name, "bad"), R::InvalidEvent);
        }
        assert_eq!(of_exception("NovelException", ""), R::UnknownException);
        assert_eq!(of_exception("", ""), R::UnknownException);
    }

    #[test]
    fn a_status_speaks_where_there_is_no_name() {
        use Reason as R;
        for (status, said, reason) in [
            (204, "", R::NotSageMaker),
            (301, "", R::NotSageMaker),
            (400, "", R::RequestRefused),
            (401, "", R::Unauthorized),
            (403, "", R::AccessDenied),
            (
                403,
                "The security token included in the request is expired",
                R::KeysExpired,
            ),
            (404, "", R::NoEndpoint),
            (408, "", R::RequestTimeout),
            (413, "", R::RequestRefused),
            (424, "", R::ContainerRefused),
            (
                424,
                "Failed to establish WebSocket connection",
                R::ContainerUnavailable,
            ),
            (429, "", R::Throttled),
            (500, "", R::ServiceFailed),
            (502, "", R::ServiceFailed),
            (504, "", R::ServiceFailed),
        ] {
            assert_eq!(of_answer(status, "", said), reason, "{status}");
            assert_eq!(
                of_answer(status, "NovelException", said),
                reason,
                "{status}"
            );
        }
        assert_eq!(of_answer(404, "ValidationException", ""), R::NoEndpoint);
    }

    #[test]
    fn an_answer_says_its_name_in_many_places() {
        for body in [
            r#"{"__type": "com.aws#ExpiredTokenException", "message": "m"}"#,
            r#"{"code": "ExpiredToken", "Message": "m"}"#,
            r#"{"Error": {"Code": "ExpiredToken", "Message": "m"}}"#,
            "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>m</Message></Error></ErrorResponse>",
        ] {
            let told = diagnose(400, &[], body.as_bytes());
            assert_eq!(told.reason, Reason::KeysExpired, "{body}");
            assert_eq!(told.said, "m", "{body}");
            assert!(told.code.unwrap().starts_with("ExpiredToken"), "{body}");
        }
    }

    #[test]
    fn a_secret_at_the_end_of_what_is_read_of_a_page_is_not_shown_in_part() {
        let key = "AKIAIOSFODNN7EXAMPLE";
        for cut in 1..key.len() {
            let tags = "<p></p>".repeat(quote::MAX_READ / 7);
            let words = "x ".repeat(quote::MAX_READ);
            let before = &format!("{tags}{words}")[..quote::MAX_READ - cut];
            let page = format!("{before}{key} and so on");
            let told = diagnose(502, &[], page.as_bytes());
            assert!(!told.said.contains("AK"), "{cut}: {}", told.said);
        }
    }

    #[test]
    fn hostile_answers_are_quoted() {
        let evil = format!("\u{1b}[2J{}", "AKIAIOSFODNN7EXAMPLE ".repeat(100_000));
        let body = serde_json::json!({
            "message": evil, "OriginalMessage": evil, "LogStreamArn": evil,
        })
        .to_string();
        let headers = [
            ("x-amzn-errortype".to_owned(), evil.clone()),
            ("x-amzn-requestid".to_owned(), evil.clone()),
        ];
        let told = diagnose(424, &headers, body.as_bytes());
        for said in [
            Some(told.said),
            told.code,
            told.request_id,
            told.model_message,
            told.log_stream,
        ] {
            let said = said.unwrap();
            assert!(said.chars().count() <= quote::MAX_TEXT, "{said}");
            assert!(!said.contains('\u{1b}') && !said.contains("AKIA"), "{said}");
        }
    }
}
