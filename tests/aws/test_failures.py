"""The errors that people get: at least one case for each reason of the native side."""

import dataclasses
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from deepgram_sagemaker import SageMakerConfig, errors
from deepgram_sagemaker._native import Diagnosis, judge
from deepgram_sagemaker.aws.advice import ROWS
from deepgram_sagemaker.aws.failures import REASONS, explain, explain_session, reason_of

ACTION = "sagemaker:InvokeEndpointWithBidirectionalStream"
WEBSOCKET = "Failed to establish WebSocket connection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An observed failure, without a judgement: the arguments of `judge`."""

    kind: str
    detail: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    code: str | None = None
    message: str | None = None
    h2_code: int | None = None
    silent: bool = False
    closing: bool = False


def answer(status, code=None, message=None, /, **body):
    """An HTTP answer as restJson1 has it: the error's name in a header, the rest in JSON."""
    headers = {"x-amzn-requestid": "rid-1"}
    if code:
        headers["x-amzn-errortype"] = f"{code}:http://internal.amazon.com/coral/x/"
    if message:
        body["message"] = message
    return Failure(
        kind="http_status", status=status, headers=headers, body=json.dumps(body).encode()
    )


def closed(code, message="", **more):
    """A container's close, in band."""
    return Failure(kind="model_stream_error", code=code, message=message, **more)


def exception(kind, message=""):
    return Failure(kind="exception", code=kind, message=message)


NOT_FOUND = "Endpoint ep of account 123456789012 not found."
NEVER, FEW, MANY = "never", "few", "many"

# The failure, its error, how often it may be retried, and a part of the message.
CASES = [
    # Before there is an answer.
    (Failure(kind="dns", detail="no such name"), "ConnectError", MANY, r"region \(us-east-1\)"),
    (Failure(kind="connect", detail="refused"), "ConnectError", MANY, "8443.*refused"),
    (Failure(kind="handshake_cut"), "ConnectError", MANY, "firewall"),
    (Failure(kind="connect_timeout"), "ConnectTimeoutError", MANY, "connection_timeout"),
    (Failure(kind="proxy_unreachable", detail="refused"), "ConnectError", MANY, "HTTPS_PROXY"),
    (Failure(kind="proxy_timeout"), "ConnectTimeoutError", MANY, "http://"),
    (Failure(kind="proxy_failed", detail="502"), "ConnectError", MANY, "502"),
    (Failure(kind="proxy_wants_password"), "ConnectError", NEVER, "user:password@"),
    (Failure(kind="proxy_password"), "ConnectError", NEVER, "password.*percent-encoded"),
    (Failure(kind="proxy_denied"), "ConnectError", NEVER, "allow CONNECT"),
    (Failure(kind="proxy_refused"), "ConnectError", NEVER, "forward proxy"),
    (Failure(kind="proxy_nonsense"), "ConnectError", FEW, "SOCKS"),
    (Failure(kind="proxy_certificate"), "TLSError", NEVER, "proxy's own certificate.*ca_bundle"),
    (Failure(kind="proxy_tls"), "TLSError", FEW, "http://"),
    (Failure(kind="tls_issuer", detail="UnknownIssuer"), "TLSError", NEVER, "set ca_bundle"),
    (Failure(kind="tls_issuer_of_bundle"), "TLSError", NEVER, "add that authority's"),
    (Failure(kind="tls_own_authority"), "TLSError", NEVER, "CA:FALSE"),
    (Failure(kind="tls_expired"), "TLSError", NEVER, "clock"),
    (Failure(kind="tls_name"), "TLSError", NEVER, "subjectAltName"),
    (Failure(kind="tls_certificate"), "TLSError", NEVER, "showcerts"),
    (Failure(kind="tls_refused"), "TLSError", NEVER, "TLS 1.2 or 1.3"),
    (Failure(kind="not_tls"), "TLSError", FEW, "speak TLS"),
    (Failure(kind="tls", detail="odd"), "TLSError", FEW, "handshake failed.*odd"),
    (Failure(kind="trust"), "TLSError", NEVER, "CERTIFICATE"),
    (Failure(kind="no_http2"), "ProtocolError", NEVER, "8443"),
    (Failure(kind="acquire_timeout"), "AcquireTimeoutError", MANY, "max_concurrency"),
    (Failure(kind="subscription_timeout"), "SubscriptionTimeoutError", MANY, "did not answer"),
    (Failure(kind="stalled"), "StalledError", MANY, "stall_timeout"),
    (Failure(kind="close_timeout"), "StalledError", NEVER, "close_timeout"),
    (Failure(kind="no_credentials"), "NoCredentialsError", NEVER, "credentials"),
    (Failure(kind="credentials_unavailable"), "NoCredentialsError", MANY, "credentials"),
    (Failure(kind="setting"), "ValidationError", NEVER, "rule"),
    # Throttling, under every name.
    (answer(429), "ThrottledError", MANY, "slow down"),
    (answer(429, "ThrottlingException", "Rate exceeded"), "ThrottledError", MANY, "Rate exceeded"),
    (answer(400, "ThrottlingException", "Rate exceeded"), "ThrottledError", MANY, "Rate exceeded"),
    (answer(400, "TooManyRequestsException"), "ThrottledError", MANY, "scale the endpoint"),
    (answer(503, "SlowDown"), "ThrottledError", MANY, "slow down"),
    (answer(400, None, None, __type="com.aws#ThrottlingException"), "ThrottledError", MANY, ""),
    (answer(400, None, None, code="Throttling"), "ThrottledError", MANY, ""),
    (exception("ThrottlingException", "Rate exceeded"), "ThrottledError", MANY, "Rate exceeded"),
    (Failure(kind="goaway", h2_code=11), "ThrottledError", MANY, "ENHANCE_YOUR_CALM"),
    (Failure(kind="reset", h2_code=11), "ThrottledError", MANY, "ENHANCE_YOUR_CALM"),
    (answer(429, "ModelNotReadyException"), "ServiceUnavailableError", MANY, "getting ready"),
    # Credentials.
    (answer(403), "AuthenticationError", NEVER, ACTION),
    (answer(403, "AccessDeniedException", "User: arn is not authorized"),
     "AuthenticationError", NEVER, f"{ACTION} on endpoint 'ep' in us-east-1.*User: arn"),
    (answer(400, "AccessDeniedException"), "AuthenticationError", NEVER, ACTION),
    (answer(401), "AuthenticationError", NEVER, "credentials"),
    (answer(403, "ExpiredTokenException", "The security token is expired"),
     "AuthenticationError", NEVER, "expired"),
    (answer(400, "ExpiredToken"), "AuthenticationError", NEVER, "expired"),
    (exception("ExpiredTokenException"), "AuthenticationError", NEVER, "expired"),
    (answer(403, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier"),
     "AuthenticationError", NEVER, "clock"),
    (answer(403, "InvalidSignatureException", "Credential should be scoped to a valid region."),
     "AuthenticationError", NEVER, "signed for us-east-1"),
    (answer(403, "InvalidSignatureException", "The request signature we calculated does not match"),
     "AuthenticationError", NEVER, "secret key"),
    (exception("InvalidSignatureException"), "AuthenticationError", NEVER, "secret key"),
    (answer(403, "UnrecognizedClientException", "The security token is invalid"),
     "AuthenticationError", NEVER, "get-caller-identity"),
    (answer(403, "MissingAuthenticationTokenException"), "AuthenticationError", NEVER, "proxy"),
    (answer(400, "RequestExpired"), "AuthenticationError", NEVER, "clock"),
    (answer(403, None, "The security token included in the request is expired"),
     "AuthenticationError", NEVER, "renew"),
    (exception("InvalidAccessKeyId"), "AuthenticationError", NEVER, "get-caller-identity"),
    (exception("com.amazonaws#expiredtoken:http://x"), "AuthenticationError", NEVER, "renew"),
    (answer(400, "KMSAccessDeniedException"), "AuthenticationError", NEVER, "kms:Decrypt"),
    (exception("KMSAccessDeniedException", "no"), "AuthenticationError", NEVER, "kms:Decrypt.*no"),
    # The endpoint and the request.
    (answer(400, "ValidationException", NOT_FOUND), "EndpointNotFoundError", NEVER,
     "no endpoint 'ep' in region us-east-1"),
    (answer(404, "ValidationException", NOT_FOUND), "EndpointNotFoundError", NEVER, "us-east-1"),
    (answer(404), "EndpointNotFoundError", NEVER, "no endpoint 'ep'"),
    (answer(400, "ValidationException", "Endpoint ep is not InService"),
     "ServiceUnavailableError", MANY, "describe-endpoint --endpoint-name ep --region us-east-1"),
    (answer(400, "InputValidationError", "ModelQueryString failed to satisfy constraint"),
     "ValidationError", NEVER, "ModelQueryString"),
    (answer(400, "ValidationException", "1 validation error"), "ValidationError", NEVER, "1 vali"),
    (exception("ValidationException", "bad event"), "ValidationError", NEVER, "bad event"),
    (answer(400), "ValidationError", NEVER, "refused the request"),
    (answer(413), "ValidationError", NEVER, "refused the request"),
    # The container, before the stream is open.
    (answer(424, "ModelError", WEBSOCKET, OriginalStatusCode=503), "ModelError", FEW,
     r"overloaded, or refuses the query \(model, keyterm\)"),
    (answer(424, "ModelError", "Received client error (400)", OriginalStatusCode=400,
            OriginalMessage='{"err_code":"INVALID_QUERY_PARAMETER","err_msg":"no such model"}'),
     "ModelError", FEW, "check the query.*INVALID_QUERY_PARAMETER no such model"),
    (answer(424), "ModelError", FEW, "model, keyterm"),
    # The container, in the open stream.
    (closed("1000"), "ModelError", MANY, "in order"),
    (Failure(kind="early_end"), "ServiceUnavailableError", MANY, "ended the stream early"),
    (Failure(kind="early_end", closing=True), "ServiceUnavailableError", MANY, "closing message"),
    (closed("1008", "policy"), "ModelError", NEVER, "policy"),
    (closed("1011", "DATA-0000: cannot decode"), "ModelError", NEVER, "sample_rate"),
    (closed("DATA-0001"), "ModelError", NEVER, "sample_rate"),
    (closed("1011", "NET-0001: no audio", silent=True), "ModelError", NEVER, "keepalive_interval"),
    (closed("1011", "NET-0001: no audio"), "ModelError", FEW, "no audio reached it"),
    (closed("1011", "internal"), "ModelError", FEW, "internal"),
    (closed("1013"), "ModelError", FEW, "closed the stream"),
    (closed(None), "ModelError", FEW, "closed the stream"),
    (Failure(kind="internal_stream_failure", message="oops"),
     "ServiceUnavailableError", MANY, "oops"),
    # Any other answer.
    (answer(500, "InternalServerError"), "ServiceUnavailableError", MANY, "failed"),
    (answer(500), "ServiceUnavailableError", MANY, "failed"),
    (answer(502), "ServiceUnavailableError", MANY, "failed"),
    (answer(503, "ServiceUnavailableError"), "ServiceUnavailableError", MANY, "no room"),
    (answer(503), "ServiceUnavailableError", MANY, "no room"),
    (answer(408), "ServiceUnavailableError", MANY, "waiting"),
    (answer(204), "ProtocolError", NEVER, "endpoint_uri"),
    (answer(301), "ProtocolError", NEVER, "endpoint_uri"),
    (exception("InternalServerException"), "ServiceUnavailableError", MANY, "failed"),
    (exception("SomethingNew", "what"), "ServiceUnavailableError", FEW, "what"),
    # Streams and connections that break.
    (Failure(kind="goaway", h2_code=0), "ConnectionLostError", MANY, "GOAWAY"),
    (Failure(kind="goaway", h2_code=2), "ConnectionLostError", MANY, "GOAWAY"),
    (Failure(kind="goaway"), "ConnectionLostError", MANY, "GOAWAY"),
    (Failure(kind="goaway", h2_code=12), "TLSError", NEVER, "INADEQUATE_SECURITY"),
    (Failure(kind="reset", h2_code=12), "TLSError", NEVER, "INADEQUATE_SECURITY"),
    (Failure(kind="goaway", h2_code=13), "ProtocolError", NEVER, "HTTP/1.1"),
    (Failure(kind="goaway", h2_code=1), "ProtocolError", FEW, "make sense"),
    (Failure(kind="reset", h2_code=3), "ProtocolError", FEW, "make sense"),
    (Failure(kind="reset", h2_code=8, detail="by peer"), "StreamResetError", MANY, "by peer"),
    (Failure(kind="reset", h2_code=0x99), "StreamResetError", MANY, "reset"),
    (Failure(kind="refused_stream", h2_code=7), "StreamResetError", MANY, "REFUSED_STREAM"),
    (Failure(kind="dropped", detail="broken pipe"), "ConnectionLostError", MANY, "broken pipe"),
    (Failure(kind="protocol", detail="bad CRC"), "ProtocolError", FEW, "bad CRC"),
    (Failure(kind="closed"), "SessionClosedError", NEVER, "this side"),
    (Failure(kind="unknown"), "ProtocolError", FEW, "report it"),
]  # fmt: skip


def classified(failure):
    return explain(
        judged(failure),
        endpoint_name="ep",
        region="us-east-1",
        query="model=nova-3&keyterm=Codename",
    )


@pytest.mark.parametrize(("failure", "name", "retry", "says"), CASES)
def test_each_failure_becomes_its_error(failure, name, retry, says):
    error = classified(failure)
    assert type(error) is getattr(errors, name)
    assert error.retryable is (retry is not NEVER)
    assert error.retry_limit == (3 if retry is FEW else None)
    assert re.search(says, str(error)), str(error)
    assert error.status == failure.status
    assert "Codename" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def judged(failure):
    return judge(**{name: getattr(failure, name) for name in Failure.__slots__})


def test_every_native_reason_has_its_row_and_every_row_a_reason():
    assert set(ROWS) == set(REASONS)


def test_there_is_a_case_for_every_reason():
    assert {judged(failure).reason for failure, *_ in CASES} == set(REASONS)


def test_an_error_tells_its_reason_and_the_native_verdict_on_it():
    for failure, *_ in CASES:
        error = classified(failure)
        assert error.reason == judged(failure).reason == reason_of(error)
        assert error.retryable is (REASONS[error.reason] != 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.NoCredentialsError("none"), "no_credentials"),
        (errors.NoCredentialsError("late", retryable=True), "credentials_unavailable"),
        (errors.TLSError("the CA bundle /x could not be read"), "trust"),
        (errors.ConnectTimeoutError("the files took longer than 30 s"), "connect_timeout"),
        (errors.ValidationError("region"), "setting"),
        (errors.ProtocolError("the SDK"), "unknown"),
        (errors.SessionClosedError("over"), "closed"),
    ],
)
def test_what_python_finds_out_itself_has_a_reason_too(error, reason):
    assert reason_of(error) == reason
    assert (REASONS[reason] != 0) is error.retryable


def test_no_message_has_an_open_place():
    for failure, *_ in CASES:
        assert not re.search(r"\{\w*\}|  ", classified(failure).message)


def test_an_expired_token_is_told_from_other_refusals():
    assert classified(answer(403, "ExpiredTokenException")).expired
    assert not classified(answer(403, "AccessDeniedException")).expired


def test_what_the_container_said_is_kept():
    error = classified(
        answer(
            424, "ModelError", "Received client error (402)",
            OriginalStatusCode=402,
            OriginalMessage='{"category":"NO_LICENSE","message":"expired"}',
        )
    )  # fmt: skip
    assert (error.status, error.code, error.request_id) == (424, "ModelError", "rid-1")
    assert (error.model_status, error.model_code) == (402, "NO_LICENSE")
    assert error.model_message == "NO_LICENSE expired"


def test_a_container_that_does_not_speak_json_is_quoted():
    error = classified(answer(424, "ModelError", None, OriginalMessage="plain words"))
    assert (error.model_code, error.model_message) == (None, "plain words")
    assert "plain words" in str(error)


def test_deepgrams_own_code_is_found_in_a_close():
    error = classified(closed("1011", "DATA-0000: cannot decode"))
    assert (error.code, error.model_code) == ("1011", "DATA-0000")
    assert classified(closed("1008", "policy")).model_code == "1008"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"text"', b"{}", b'{"message": 5, "OriginalStatusCode": "x"}',
     b"\xff\xfe", b"[" * 100_000],
)  # fmt: skip
@pytest.mark.parametrize("status", [403, 424, 503])
def test_any_body_is_survived(status, body):
    error = classified(Failure(kind="http_status", status=status, body=body))
    assert error.status == status
    assert len(str(error)) < 800


def test_a_proxys_page_is_quoted_without_its_markup():
    page = b"<html><title>502</title><body><h1>Bad Gateway</h1>\n<style>x{}</style></body></html>"
    message = str(classified(Failure(kind="http_status", status=502, body=page)))
    assert message.endswith("It said: Bad Gateway (HTTP 502)")


def test_an_http2_code_has_its_name():
    assert classified(Failure(kind="reset", h2_code=8)).code == "CANCEL"
    assert classified(Failure(kind="reset", h2_code=8)).h2_code == 8
    assert classified(Failure(kind="reset", h2_code=0x99)).code == "0x99"
    assert classified(Failure(kind="dropped")).code is None


def test_an_unknown_kind_is_an_error_too():
    error = classified(Failure(kind="new kind", detail="what"))
    assert type(error) is errors.ProtocolError
    assert "what" in str(error)


def test_the_canonical_request_is_not_quoted():
    # The answer to a refused signature repeats the request, with its token.
    message = (
        "The request signature we calculated does not match the signature you provided.\n\n"
        "The Canonical String for this request should have been\n'POST\n/endpoints/ep\n"
        "x-amz-security-token:FwoGZXIvYXdzEXAMPLE\n'"
    )
    shown = str(classified(answer(403, "InvalidSignatureException", message)))
    assert "does not match" in shown
    assert "FwoG" not in shown


@pytest.mark.parametrize(
    "secret",
    ["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "ab" * 32, "Fw" * 60 + "==",
     "token eyJhbGciOiJIUzI1NiIsInR5cCI6", "Bearer abcdef"],
)  # fmt: skip
def test_secrets_are_masked_wherever_they_come_from(secret):
    for failure in (
        answer(403, None, f"refused {secret} indeed"),
        closed("1011", f"refused {secret} indeed"),
        Failure(kind="proxy_failed", detail=f"refused {secret} indeed"),
    ):
        shown = str(classified(failure))
        assert secret.split()[-1] not in shown
        assert "refused" in shown
        assert "indeed" in shown


def test_quotes_are_short_and_printable():
    shown = str(classified(closed("1011", "bell \a and escape \x1b[31m " + "x " * 500)))
    assert r"bell \u{7} and escape \u{1b}[31m x" in shown
    assert shown.isprintable()
    assert "…" in shown
    assert len(shown) < 600


@pytest.mark.parametrize("failure", [
    Failure(kind="http_status", status=424, headers={"x-amzn-errortype": "ModelError",
            "x-amzn-requestid": "EVIL"}, body=b'{"message": "EVIL", "OriginalMessage": "EVIL",'
            b' "LogStreamArn": "EVIL"}'),
    Failure(kind="http_status", status=403, headers={"x-amzn-errortype": "EVIL"}, body=b"EVIL"),
    Failure(kind="exception", code="EVIL", message="EVIL"),
    Failure(kind="model_stream_error", code="EVIL", message="EVIL"),
    Failure(kind="internal_stream_failure", message="EVIL"),
    Failure(kind="dropped", detail="EVIL"),
])  # fmt: skip
def test_every_word_of_a_hostile_server_is_bounded_and_harmless(failure):
    evil = (
        "\x1b[2J\r\n\u202e AKIAIOSFODNN7EXAMPLE " + "ab" * 32 + " Basic c2VjcmV0 " + "x" * 2_000_000
    )
    quoted = json.dumps(evil)[1:-1]
    change = {
        "headers": {key: value.replace("EVIL", evil) for key, value in failure.headers.items()},
        "body": failure.body.replace(b"EVIL", quoted.encode()),
        "code": (failure.code or "").replace("EVIL", evil),
        "message": (failure.message or "").replace("EVIL", evil),
        "detail": failure.detail.replace("EVIL", evil),
    }
    error = classified(dataclasses.replace(failure, **change))
    told = [value for value in vars(error).values() if isinstance(value, str)] + [str(error)]
    assert len(told) > 2
    for each in told:
        assert len(each) < 1500
        assert each.isprintable()
        for secret in ("AKIA", "abab", "c2VjcmV0"):
            assert secret not in each


def test_the_containers_log_is_named():
    for failure in (answer(424, "ModelError", WEBSOCKET), answer(424)):
        assert "/aws/sagemaker/Endpoints/ep" in classified(failure).message
    arn = "arn:aws:logs:us-east-1:1:log-group:/aws/sagemaker/Endpoints/ep:log-stream:AllTraffic/i-0"
    assert arn in classified(answer(424, "ModelError", "closed", LogStreamArn=arn)).message


def test_nothing_about_the_caller_is_needed():
    assert "unknown" in str(explain(judge("dns")))
    assert "it is empty" in str(explain(judged(answer(424))))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a session failed: the fields of the native `SessionFailure`."""

    diagnosis: Diagnosis | None
    resumable: bool = True
    attempts: int = 0
    elapsed: float = 12.34
    unacknowledged_bytes: int = 32_000
    unacknowledged_seconds: float = 1.0
    endpoint: int = 0
    endpoints: tuple[tuple[int, str], ...] = ()


ENDPOINTS = [SageMakerConfig("ep", "us-east-1"), SageMakerConfig("other", "us-west-2")]


def session_error(failure, opening=None):
    return explain_session(failure, opening, ENDPOINTS, "model=nova-3")


def test_an_error_is_about_the_endpoint_that_failed_and_names_the_others():
    both = ((0, "throttled"), (1, "container_policy"))
    failure = Ended(diagnosis=judged(closed("1011", "no")), attempts=2, endpoint=1, endpoints=both)
    error = session_error(failure)
    named = {"ep (us-east-1)": "throttled", "other (us-west-2)": "container_policy"}
    assert error.endpoints == error.__cause__.endpoints == named
    assert "/aws/sagemaker/Endpoints/other" in error.message
    said = "What failed where: ep (us-east-1): throttled; other (us-west-2): container_policy."
    assert said in str(error)
    assert said in error.__cause__.args[0]


def test_with_one_endpoint_the_message_is_that_of_its_failure():
    failure = Ended(
        diagnosis=judged(closed("1008", "policy")), endpoints=((0, "container_policy"),)
    )
    error = session_error(failure)
    assert "failed where" not in error.message
    assert error.endpoints == {"ep (us-east-1)": "container_policy"}


def test_a_leg_that_ends_for_good_is_the_sessions_error():
    error = session_error(Ended(diagnosis=judged(closed("1008", "policy"))))
    assert type(error) is errors.ModelError
    assert (error.attempts, error.reason) == (1, "container_policy")
    assert "model" in str(error)


def test_a_session_that_was_tried_again_says_how_often_and_why():
    error = session_error(Ended(diagnosis=judge("reset", h2_code=8, detail="by peer"), attempts=6))
    assert type(error) is errors.RetriesExhaustedError
    assert "gave up after 6 attempts in 12.3 s" in str(error)
    assert "with 1.000 s of audio (32000 bytes) not acknowledged" in str(error)
    assert (error.attempts, error.elapsed, error.seconds_unacknowledged) == (6, 12.34, 1.0)
    assert (error.reason, error.code) == ("reset", "CANCEL")
    assert type(error.__cause__) is errors.StreamResetError
    assert (error.__cause__.h2_code, error.__cause__.attempts) == (8, 6)


def test_a_session_that_cannot_be_resumed_is_lost():
    error = session_error(Ended(diagnosis=judge("dropped"), resumable=False))
    assert type(error) is errors.SessionLostError
    assert "cannot go on over another stream: 1.000 s of audio (32000 bytes) were not" in str(error)
    assert type(error.__cause__) is errors.ConnectionLostError
    nothing = {"unacknowledged_bytes": 0, "unacknowledged_seconds": 0.0}
    error = session_error(Ended(diagnosis=judge("dropped"), resumable=False, **nothing))
    assert str(error).endswith("This session cannot go on over another stream")


def test_a_session_without_a_leg_has_the_last_openings_error():
    opening = explain(judge("access_denied"))
    assert session_error(Ended(diagnosis=None, attempts=1), opening) is opening
    transient = explain(judge("connect", detail="refused"))
    error = session_error(Ended(diagnosis=None, attempts=3), transient)
    assert type(error) is errors.RetriesExhaustedError
    assert error.__cause__ is transient
    assert transient.attempts == 3
