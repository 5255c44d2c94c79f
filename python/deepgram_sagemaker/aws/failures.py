"""What a failure means: one table, from what was seen on the wire to the error that is raised.

Whoever sees a failure describes it neutrally, as a `Failure`. The first row of `RULES` that fits
it says which error it becomes, whether the same again may work, and what to tell people.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.errors import (
    AcquireTimeoutError,
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    EndpointNotFoundError,
    ModelError,
    ProtocolError,
    SageMakerError,
    ServiceUnavailableError,
    SessionClosedError,
    StalledError,
    StreamResetError,
    SubscriptionTimeoutError,
    ThrottledError,
    TLSError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RULES", "Failure", "Retry", "Rule", "classify"]

IAM_ACTION: Final = "sagemaker:InvokeEndpointWithBidirectionalStream"

RETRY_FEW: Final = 3
"""Retries without progress of what is probably not going to pass."""

_MAX_QUOTE: Final = 300
"""Characters of somebody else's text that a message quotes."""

_MAX_READ: Final = 4096
"""Characters of it that are looked at: the rest could only cost time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What was seen, without a judgement.

    Attributes:
        kind: Where it failed: `dns`, `connect`, `connect_timeout`, `tls`, `tls_verify`, `proxy`,
            `http2`, `acquire_timeout`, `subscription_timeout`, `refused_stream`, `goaway`,
            `reset`, `dropped`, `http_status`, `protocol`, `closed`, or, in an open stream,
            `model_stream_error`, `internal_stream_failure`, `exception`, `stalled`,
            `close_timeout`, `early_end`.
        detail: What the transport has to say of it, for people; no secret and no payload.
        status: The HTTP status, where there was an answer.
        headers: The answer's headers, by lower-case name.
        body: The answer's body, as far as it was kept.
        code: The code of an in-band error: a container's close code or an exception's name.
        message: The message of an in-band error.
        h2_code: The HTTP/2 error code of a RST_STREAM or GOAWAY.
        silent: The application had sent nothing for as long as the container waits.
    """

    kind: str
    detail: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    code: str | None = None
    message: str | None = None
    h2_code: int | None = None
    silent: bool = False


class Retry(Enum):
    """Whether the same again may work."""

    NEVER = auto()
    FEW = auto()  # at most RETRY_FEW times without progress
    MANY = auto()  # as often as the settings allow


NEVER, FEW, MANY = Retry


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: what it fits, and what then. An empty condition fits anything.

    Attributes:
        kinds: The failures' kinds, separated by spaces; `answer` is short for an HTTP answer or
            an in-band exception, which name their errors alike.
        error: What it becomes.
        retry: Whether the same again may work.
        advice: What happened and what to do. May use `{endpoint}`, `{region}`, `{said}` (what the
            other side or the transport said, cut short and without secrets) and `{parameters}`
            (the query's names).
        status: The HTTP statuses, first and last.
        codes: The error codes.
        says: A pattern that the code or the message must contain, whatever its case.
        h2: The HTTP/2 error codes.
        silent: Whether the application was silent.
        extra: More arguments for the error.
    """

    kinds: str
    error: type[SageMakerError]
    retry: Retry
    advice: str
    status: tuple[int, int] | None = field(default=None, kw_only=True)
    codes: tuple[str, ...] = field(default=(), kw_only=True)
    says: str = field(default="", kw_only=True)
    h2: tuple[int, ...] = field(default=(), kw_only=True)
    silent: bool | None = field(default=None, kw_only=True)
    extra: Mapping[str, Any] = field(default_factory=dict, kw_only=True)


_THROTTLING = (
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "TooManyRequestsException",
    "TooManyRequests",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "BandwidthLimitExceeded",
    "SlowDown",
)
_EXPIRED = ("ExpiredTokenException", "ExpiredToken", "RequestExpired")
_BAD_KEYS = ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId")
_BAD_SIGNATURE = ("InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature")
_UNAVAILABLE = (
    "ServiceUnavailable",
    "ServiceUnavailableError",
    "ServiceUnavailableException",
    "InternalServerError",
    "InternalServerException",
    "InternalFailure",
    "InternalDependencyException",
    "ModelNotReadyException",
)
_INVALID = ("InputValidationError", "ValidationException", "ValidationError")
_NO_ENDPOINT = r"endpoint .*(not found|does not exist)|could not find endpoint"
_NOT_IN_SERVICE = r"not in ?service|is not (yet )?ready"

# HTTP/2 error codes.
_NO_ERROR, _REFUSED, _CALM, _WEAK_TLS, _USE_HTTP1 = 0, 7, 11, 12, 13
_H2_NONSENSE = (1, 3, 6, 9)  # protocol, flow control, frame size, compression

# fmt: off
RULES: Final[tuple[Rule, ...]] = (
    # On the way to the service.
    Rule("dns", ConnectError, MANY,
         "the host's name was not found: check region ({region}), endpoint_uri and DNS. {said}"),
    Rule("connect", ConnectError, MANY,
         "could not connect: is the host, with its port, reachable from here? {said}"),
    Rule("proxy", ConnectError, MANY,
         "the proxy did not make the connection: check proxy, HTTPS_PROXY and NO_PROXY. {said}"),
    Rule("connect_timeout", ConnectTimeoutError, MANY,
         "TCP, TLS and HTTP/2 did not come up within connection_timeout. {said}"),
    Rule("tls_verify", TLSError, NEVER,
         "the server's certificate was not accepted: for a private authority set ca_bundle or "
         "AWS_CA_BUNDLE, and check that the host's name is the certificate's. {said}"),
    Rule("tls", TLSError, FEW,
         "the TLS handshake failed: does this port speak TLS? {said}"),
    Rule("http2", ProtocolError, NEVER,
         "the peer does not speak HTTP/2: check the host and its port, 8443 on AWS. {said}"),

    # Waiting.
    Rule("acquire_timeout", AcquireTimeoutError, MANY,
         "no stream came free within connection_acquire_timeout: close sessions, or raise "
         "max_concurrency. {said}"),
    Rule("subscription_timeout", SubscriptionTimeoutError, MANY,
         "the service took the request and did not answer within subscription_timeout: the "
         "endpoint may be scaling, or the port may be other than 8443. {said}"),
    Rule("stalled", StalledError, MANY,
         "nothing came from the service for stall_timeout, with audio waiting for its results. "
         "{said}"),
    Rule("close_timeout", StalledError, MANY,
         "the service did not end the stream within close_timeout."),
    Rule("early_end", ConnectionLostError, MANY,
         "the service ended the stream early, in order, before everything that was sent had its "
         "answer."),

    # Throttling, in any dress.
    Rule("answer", ServiceUnavailableError, MANY,
         "endpoint {endpoint!r} is still getting ready. {said}",
         codes=("ModelNotReadyException",)),
    Rule("answer", ThrottledError, MANY,
         "the service asks for fewer requests: slow down, or scale the endpoint out. {said}",
         codes=_THROTTLING),
    Rule("answer", ThrottledError, MANY,
         "the service asks for fewer requests: slow down, or scale the endpoint out. {said}",
         status=(429, 429)),
    Rule("reset goaway", ThrottledError, MANY,
         "the service asks for fewer requests (ENHANCE_YOUR_CALM): open streams more slowly. "
         "{said}",
         h2=(_CALM,)),

    # Who is asking.
    Rule("answer", AuthenticationError, NEVER,
         "the credentials have expired: renew them (aws sso login, or a new assumed role). {said}",
         codes=_EXPIRED, extra={"expired": True}),
    Rule("answer", AuthenticationError, NEVER,
         "the request counts as signed at another time: set this machine's clock. {said}",
         codes=_BAD_SIGNATURE, says=r"expired|not yet current", status=(400, 403)),
    Rule("answer", AuthenticationError, NEVER,
         "the request was signed for {region}, and the endpoint is in another region: check region "
         "and endpoint_uri. {said}",
         codes=_BAD_SIGNATURE, says=r"valid region"),
    Rule("answer", AuthenticationError, NEVER,
         "the signature was not accepted: check the secret key, and that no proxy changes the "
         "request. {said}",
         codes=_BAD_SIGNATURE),
    Rule("answer", AuthenticationError, NEVER,
         "the access key is not known in region {region}: check which credentials are in use "
         "(aws sts get-caller-identity). {said}",
         codes=_BAD_KEYS),
    Rule("answer", AuthenticationError, NEVER,
         f"access denied: the caller needs the IAM action {IAM_ACTION} on endpoint "
         "{endpoint!r} in {region}; sagemaker:InvokeEndpoint alone is not enough. {said}",
         codes=("AccessDeniedException", "AccessDenied", "NotAuthorized")),
    Rule("answer", AuthenticationError, NEVER,
         "the service wants a signed request and saw none: is a proxy removing headers? {said}",
         codes=("MissingAuthenticationTokenException", "MissingAuthenticationToken")),

    # The endpoint and the request.
    Rule("answer", EndpointNotFoundError, NEVER,
         "no endpoint {endpoint!r} in region {region} of this account: check both, and the "
         "account (aws sagemaker list-endpoints --region {region}). {said}",
         codes=_INVALID, says=_NO_ENDPOINT),
    Rule("answer", ServiceUnavailableError, MANY,
         "endpoint {endpoint!r} is not in service: look at its state (aws sagemaker "
         "describe-endpoint --endpoint-name {endpoint} --region {region}). {said}",
         codes=_INVALID, says=_NOT_IN_SERVICE),
    Rule("answer", ValidationError, NEVER,
         "the service refused the request as invalid. {said}",
         codes=_INVALID, status=(400, 400)),
    Rule("exception", ValidationError, NEVER,
         "the service refused an event of the stream as invalid. {said}",
         codes=_INVALID),

    # The container, before the stream is open. The first row is SageMaker's one sentence for two
    # things: a container that is full, and one that refuses the query.
    Rule("answer", ModelError, FEW,
         "the container did not take the stream: it is overloaded, or refuses the query "
         "({parameters}). {said}",
         codes=("ModelError",), says="failed to establish websocket"),
    Rule("answer", ModelError, FEW,
         "the container refused the stream: check the query ({parameters}), the model and its "
         "licence. {said}",
         codes=("ModelError",)),
    Rule("http_status", ModelError, FEW,
         "the container refused the stream: check the query ({parameters}), the model and its "
         "licence. {said}",
         status=(424, 424)),

    # The container, in the open stream.
    Rule("model_stream_error", ModelError, MANY,
         "the container ended the stream in order, before all input was answered. {said}",
         codes=("1000",)),
    Rule("model_stream_error", ModelError, NEVER,
         "the container closed the stream: neither audio nor KeepAlive reached it for ten "
         "seconds; set keepalive_interval. {said}",
         says=r"\bNET-0001\b", silent=True),
    Rule("model_stream_error", ModelError, FEW,
         "the container closed the stream: it says that no audio reached it. {said}",
         says=r"\bNET-0001\b"),
    Rule("model_stream_error", ModelError, NEVER,
         "the container cannot read the audio: check encoding, sample_rate and channels against "
         "what is sent. {said}",
         says=r"\bDATA-\d+\b"),
    Rule("model_stream_error", ModelError, NEVER,
         "the container refused what it was sent: check the query ({parameters}) and the "
         "messages. {said}",
         codes=("1008",)),
    Rule("model_stream_error", ModelError, FEW,
         "the container closed the stream. {said}"),
    Rule("internal_stream_failure", ServiceUnavailableError, MANY,
         "the service failed in mid-stream (InternalStreamFailure). {said}"),

    # Any other answer, by its status.
    Rule("answer", ServiceUnavailableError, MANY,
         "the service failed, or has no room. {said}",
         codes=_UNAVAILABLE),
    Rule("http_status", AuthenticationError, NEVER,
         f"the service refused the caller: check the credentials, and the IAM action {IAM_ACTION} "
         "on endpoint {endpoint!r} in {region}. {said}",
         status=(401, 401)),
    Rule("http_status", AuthenticationError, NEVER,
         f"access denied: the caller needs the IAM action {IAM_ACTION} on endpoint "
         "{endpoint!r} in {region}; sagemaker:InvokeEndpoint alone is not enough. {said}",
         status=(403, 403)),
    Rule("http_status", EndpointNotFoundError, NEVER,
         "no endpoint {endpoint!r} in region {region} of this account: check both, and the "
         "account (aws sagemaker list-endpoints --region {region}). {said}",
         status=(404, 404)),
    Rule("http_status", ServiceUnavailableError, MANY,
         "the service gave up waiting for the request. {said}",
         status=(408, 408)),
    Rule("http_status", ValidationError, NEVER,
         "the service refused the request. {said}",
         status=(400, 499)),
    Rule("http_status", ServiceUnavailableError, MANY,
         "the service failed, or has no room. {said}",
         status=(500, 599)),
    Rule("http_status", ProtocolError, NEVER,
         "the answer is none that SageMaker gives: does endpoint_uri lead to SageMaker? {said}"),
    Rule("exception", ServiceUnavailableError, FEW,
         "the service ended the stream with an exception. {said}"),

    # Streams and connections that break.
    Rule("goaway", TLSError, NEVER,
         "the server does not accept this TLS (INADEQUATE_SECURITY). {said}",
         h2=(_WEAK_TLS,)),
    Rule("reset goaway", ProtocolError, NEVER,
         "the peer wants HTTP/1.1, which cannot carry this: is a proxy in between? {said}",
         h2=(_USE_HTTP1,)),
    Rule("reset goaway", ProtocolError, FEW,
         "the peer could not make sense of what it received. {said}",
         h2=_H2_NONSENSE),
    Rule("goaway", ConnectionLostError, MANY,
         "the service closed the connection (GOAWAY). {said}"),
    Rule("dropped", ConnectionLostError, MANY,
         "the connection to the service was lost. {said}"),
    Rule("refused_stream", StreamResetError, MANY,
         "the service refused the stream before looking at it (REFUSED_STREAM). {said}"),
    Rule("reset", StreamResetError, MANY,
         "the service reset the stream. {said}"),
    Rule("protocol", ProtocolError, FEW,
         "what came from the service makes no sense. {said}"),
    Rule("closed", SessionClosedError, NEVER,
         "closed from this side. {said}"),
)
# fmt: on

_ANSWERS: Final = ("http_status", "exception")
_REMOTE: Final = (*_ANSWERS, "model_stream_error", "internal_stream_failure")


def classify(
    failure: Failure, *, endpoint_name: str = "", region: str = "", query: str = ""
) -> SageMakerError:
    """The error that a failure is raised as.

    Args:
        failure: What was seen.
        endpoint_name: The endpoint asked for.
        region: The region tried.
        query: The query string sent; its parameters' names are mentioned, their values are not.

    Returns:
        The error, not raised. One whose kind is unknown is a `ProtocolError`.
    """
    answer = _read(failure)
    rule = _matching(failure, answer)
    source = "It said" if failure.kind in _REMOTE else "Detail"
    said = f"{source}: {answer.said}" if answer.said else ""
    message = rule.advice.format(
        endpoint=endpoint_name,
        region=region or "unknown",
        said=said,
        parameters=", ".join(_names(query)) or "it is empty",
    ).strip()
    facts: dict[str, Any] = dict(rule.extra)
    if issubclass(rule.error, ModelError):
        facts.update(
            model_status=answer.model_status,
            model_code=answer.model_code,
            model_message=answer.model_message,
        )
    if issubclass(rule.error, StreamResetError | ConnectionLostError | ProtocolError):
        facts["h2_code"] = failure.h2_code
    return rule.error(
        message,
        status=failure.status,
        code=answer.code,
        request_id=answer.request_id,
        retryable=rule.retry is not NEVER,
        retry_limit=RETRY_FEW if rule.retry is FEW else None,
        **facts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What the other side said, read out of headers, body or exception."""

    code: str | None = None
    said: str = ""
    request_id: str | None = None
    model_status: int | None = None
    model_code: str | None = None
    model_message: str | None = None

    @property
    def heard(self) -> str:
        """Code and message together: Deepgram's own codes turn up as either."""
        return f"{self.code or ''} {self.said}"


def _matching(failure: Failure, answer: _Answer) -> Rule:
    return next((rule for rule in RULES if _fits(rule, failure, answer)), _UNKNOWN)


_UNKNOWN: Final = Rule("", ProtocolError, FEW, "the transport failed in an unknown way. {said}")


def _fits(rule: Rule, failure: Failure, answer: _Answer) -> bool:
    kinds = rule.kinds.split()
    return (
        (failure.kind in kinds or ("answer" in kinds and failure.kind in _ANSWERS))
        and (
            rule.status is None
            or (failure.status is not None and rule.status[0] <= failure.status <= rule.status[1])
        )
        and (not rule.codes or answer.code in rule.codes)
        and (not rule.says or re.search(rule.says, answer.heard, re.IGNORECASE) is not None)
        and (not rule.h2 or failure.h2_code in rule.h2)
        and (rule.silent is None or rule.silent is failure.silent)
    )


def _read(failure: Failure) -> _Answer:
    match failure.kind:
        case "http_status":
            return _read_http(failure)
        case "model_stream_error":
            said = _quote(failure.message or "")
            own = re.match(r"[A-Z]+-\d+\b", said)
            return _Answer(
                # A close code is a code of the container's, and so is Deepgram's own.
                code=failure.code,
                model_code=own[0] if own else failure.code,
                model_message=said or None,
                said=said,
            )
        case "exception" | "internal_stream_failure":
            return _Answer(
                code=_bare(failure.code) or None, said=_quote(failure.message or failure.detail)
            )
        case _:
            return _Answer(
                code=_h2_name(failure.h2_code), said=_quote(failure.message or failure.detail)
            )


def _read_http(failure: Failure) -> _Answer:
    """Reads an AWS error answer: JSON as a rule, but nothing at all, or a proxy's page, too."""
    try:
        parsed = json.loads(failure.body)
    except (ValueError, RecursionError):
        parsed = None
    body: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
    code = _bare(
        failure.headers.get("x-amzn-errortype")
        or _text(body, "__type")
        or _text(body, "code")
        or _text(body, "Code")
    )
    said = (
        _text(body, "message") or _text(body, "Message") or _text(body, "errorMessage")
        # Pages and plain text are worth quoting only where there is nothing better.
        or ("" if parsed is not None else _plain(failure))
    )  # fmt: skip
    model_status = body.get("OriginalStatusCode")
    original = _text(body, "OriginalMessage")
    model_code, model_message = _deepgram_error(original)
    return _Answer(
        code=code or None,
        said=_quote(" ".join(part for part in (said, model_message) if part)),
        request_id=next(
            (
                failure.headers[name]
                for name in ("x-amzn-requestid", "x-amz-request-id", "x-amzn-request-id")
                if failure.headers.get(name)
            ),
            None,
        ),
        model_status=model_status if isinstance(model_status, int) else None,
        model_code=model_code,
        model_message=_quote(model_message) or None,
    )


def _deepgram_error(original: str) -> tuple[str | None, str]:
    """Code and message of the container's answer, which is JSON when it is Deepgram's own."""
    try:
        parsed = json.loads(original)
    except (ValueError, RecursionError):
        return None, original
    if not isinstance(parsed, dict):
        return None, original
    code = _text(parsed, "err_code") or _text(parsed, "category") or None
    message = _text(parsed, "err_msg") or _text(parsed, "message") or _text(parsed, "details")
    return code, " ".join(part for part in (code, message) if part)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _plain(failure: Failure) -> str:
    text = failure.body[:_MAX_READ].decode("utf-8", "replace")
    return re.sub(
        r"<(style|script|title).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE
    )


def _bare(code: str | None) -> str:
    """An error's name, out of `namespace#Name` or `Name:http://…`."""
    return (code or "").partition(":")[0].rpartition("#")[2].strip()


def _names(query: str) -> list[str]:
    return list(dict.fromkeys(pair.partition("=")[0] for pair in query.split("&") if pair))


_H2_NAMES: Final = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
    "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
    "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip


def _h2_name(code: int | None) -> str | None:
    if code is None:
        return None
    return _H2_NAMES[code] if 0 <= code < len(_H2_NAMES) else f"0x{code:x}"


# Access keys, signatures and session tokens, as they turn up in the service's explanations of a
# refused signature, which repeat the request.
_SECRET: Final = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b|\b[0-9a-fA-F]{64}\b|[A-Za-z0-9+/=_-]{100,}"
    r"|(?<=[Tt]oken )\S{20,}|(?<=[Bb]earer )\S+"
)


def _quote(text: str) -> str:
    """Somebody else's text, fit for a message: its first paragraph, short, without secrets."""
    paragraph = re.split(r"\n\s*\n", text.strip()[:_MAX_READ], maxsplit=1)[0]
    line = " ".join(_SECRET.sub("***", paragraph).split())
    printable = "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line
    )
    return printable if len(printable) <= _MAX_QUOTE else printable[: _MAX_QUOTE - 1] + "…"
