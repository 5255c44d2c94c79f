"""Every error of this package, as one tree: `except SageMakerError` catches all of them.

The classes follow what a caller can do about the failure. Time-outs are also the builtin
`TimeoutError`, broken connections also `ConnectionError`, invalid input also `ValueError`, and use
after the end also `RuntimeError`.

    SageMakerError
    ├── ValidationError            a setting, the URL or the request breaks a rule
    ├── AuthenticationError        the service does not accept the caller
    │   └── NoCredentialsError     there is nothing to sign with
    │       └── CredentialsTimeoutError    the look-up took longer than `connection_timeout`
    ├── EndpointNotFoundError      no such endpoint in this account and region
    ├── ThrottledError             too many requests
    ├── ServiceUnavailableError    the service failed, or is not ready
    ├── ModelError                 the container refused or closed the stream
    ├── ConnectError               the host or the proxy could not be reached
    ├── ConnectTimeoutError        `connection_timeout` ran out, or files were not read in time
    ├── AcquireTimeoutError        `connection_acquire_timeout` ran out
    ├── SubscriptionTimeoutError   `subscription_timeout` ran out
    ├── StalledError               `stall_timeout` ran out
    ├── TLSError                   the peer's certificate or the handshake failed
    ├── StreamResetError           the stream was reset
    ├── ConnectionLostError        the connection under the stream broke
    ├── ProtocolError              the peer's bytes cannot be decoded
    ├── SessionLostError           the session cannot continue over another leg
    ├── RetriesExhaustedError      retries or their budget ran out
    └── SessionClosedError         the session is already closed
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AcquireTimeoutError",
    "AuthenticationError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "CredentialsTimeoutError",
    "EndpointNotFoundError",
    "ModelError",
    "NoCredentialsError",
    "ProtocolError",
    "RetriesExhaustedError",
    "SageMakerError",
    "ServiceUnavailableError",
    "SessionClosedError",
    "SessionLostError",
    "StalledError",
    "StreamResetError",
    "SubscriptionTimeoutError",
    "TLSError",
    "ThrottledError",
    "ValidationError",
]


class _Facts(TypedDict, total=False):
    """The arguments that every error takes."""

    status: int | None
    code: str | None
    request_id: str | None
    reason: str | None
    attempts: int
    retryable: bool | None
    retry_limit: int | None


class SageMakerError(Exception):
    """The base of every error that this package raises about a session.

    Attributes:
        message: What happened, and what to do next if that is known.
        status: The HTTP status; None: there was no answer.
        code: The service's or the protocol's name for the error, such as `AccessDeniedException`.
        request_id: The service's id of the request, to quote to AWS support.
        reason: This package's stable name for the failure, such as `throttled`, finer than the
            class; None: the error was found before any request.
        attempts: How many legs were requested without progress, this one included.
        retryable: Whether a retry may work. Retryable failures have already been retried within
            `max_retries` and `retry_budget`.
        retry_limit: Retries without progress, at most, however many `max_retries` allows; None:
            this failure has no limit of its own.
        endpoints: Why each endpoint failed that has failed since the last progress: the `reason` by
            the endpoint's name in `Stats.legs_at`, in order of preference.
    """

    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        attempts: int = 1,
        retryable: bool | None = None,
        retry_limit: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.reason = reason
        self.attempts = attempts
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_limit = retry_limit
        self.endpoints: Mapping[str, str] = {}

    def __str__(self) -> str:
        facts = []
        if self.status is not None:
            facts.append(f"HTTP {self.status}")
        if self.code is not None:
            facts.append(self.code)
        if self.request_id is not None:
            facts.append(f"request id {self.request_id}")
        if self.attempts > 1:
            facts.append(f"{self.attempts} attempts")
        return f"{self.message} ({', '.join(facts)})" if facts else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # The default rebuilds from `args` alone, which loses every keyword argument.
        return (_rebuild, (type(self), self.args), self.__dict__)


def _rebuild(cls: type[SageMakerError], args: tuple[Any, ...]) -> SageMakerError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ValidationError(SageMakerError, ValueError):
    """A setting, the URL or the request breaks a rule; nothing was sent, or the service said so.

    Attributes:
        parameter: The setting or query parameter at fault; None: unknown.
    """

    def __init__(
        self, message: str, *, parameter: str | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.parameter = parameter


class AuthenticationError(SageMakerError):
    """The service does not accept the caller: 401, 403, a bad signature, an expired token.

    Attributes:
        expired: Whether the credentials have expired; fresh ones may be accepted.
    """

    def __init__(self, message: str, *, expired: bool = False, **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.expired = expired


class NoCredentialsError(AuthenticationError):
    """No AWS credentials were found, or looking them up failed."""


class CredentialsTimeoutError(NoCredentialsError, TimeoutError):
    """Looking up AWS credentials took longer than `connection_timeout`."""

    default_retryable = True


class EndpointNotFoundError(SageMakerError):
    """The account has no endpoint of this name in this region."""


class ThrottledError(SageMakerError):
    """The service asks for fewer requests: a 429, or a throttling code with any status."""

    default_retryable = True


class ServiceUnavailableError(SageMakerError):
    """The service failed (5xx, an InternalStreamFailure), or the endpoint is not ready."""

    default_retryable = True


class ModelError(SageMakerError):
    """The container behind the endpoint refused the stream, or closed it.

    Attributes:
        model_status: The container's HTTP status; None: it gave none.
        model_code: The container's code: Deepgram's (`DATA-0000`), or the WebSocket close code in
            decimal; None: it gave none.
        model_message: The container's message; None: it gave none.
    """

    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        model_status: int | None = None,
        model_code: str | None = None,
        model_message: str | None = None,
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.model_status = model_status
        self.model_code = model_code
        self.model_message = model_message


class ConnectError(SageMakerError, ConnectionError):
    """The service, or the proxy on the way to it, could not be reached."""

    default_retryable = True


class ConnectTimeoutError(SageMakerError, TimeoutError):
    """TCP, TLS and HTTP/2 together took longer than `connection_timeout`.

    Also raised if a factory's first stream waited too long for the shared AWS files, the
    certificates or the AWS SDK to be read.
    """

    default_retryable = True


class AcquireTimeoutError(SageMakerError, TimeoutError):
    """No stream or connection became free within `connection_acquire_timeout`."""

    default_retryable = True


class SubscriptionTimeoutError(SageMakerError, TimeoutError):
    """The service did not answer the request within `subscription_timeout`."""

    default_retryable = True


class StalledError(SageMakerError, TimeoutError):
    """An open stream sent nothing for `stall_timeout` while audio waited for its results."""

    default_retryable = True


class TLSError(SageMakerError):
    """TLS failed: the certificate was not accepted, or the handshake failed."""


class _StreamError(SageMakerError):
    """Base of the stream errors.

    Attributes:
        h2_code: The peer's HTTP/2 error code; None: it gave none.
    """

    default_retryable = True

    def __init__(
        self, message: str, *, h2_code: int | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.h2_code = h2_code


class StreamResetError(_StreamError, ConnectionResetError):
    """The peer reset the stream (RST_STREAM).

    Attributes:
        h2_code: The peer's HTTP/2 error code; None: it gave none.
    """


class ConnectionLostError(_StreamError, ConnectionError):
    """The connection under the stream broke, or the peer announced its end (GOAWAY).

    Attributes:
        h2_code: The peer's HTTP/2 error code; None: it gave none.
    """


class ProtocolError(_StreamError):
    """The peer does not speak HTTP/2, or sent a message that cannot be decoded.

    Attributes:
        h2_code: The peer's HTTP/2 error code; None: it gave none.
    """


class SessionLostError(SageMakerError):
    """The session cannot continue over another leg: the input to send again is gone.

    Attributes:
        seconds_unacknowledged: Seconds of audio that were sent and never finalised.
    """

    def __init__(
        self, message: str, *, seconds_unacknowledged: float | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.seconds_unacknowledged = seconds_unacknowledged


class RetriesExhaustedError(SageMakerError):
    """`max_retries` or `retry_budget` ran out; the last failure is the `__cause__`.

    `status`, `code`, `request_id` and `reason` are those of the last failure. `retryable` is False,
    because the settings allow no further retry; the cause's `retryable` says whether the failure
    is transient.

    Attributes:
        elapsed: Seconds from the first failure after progress until giving up.
        seconds_unacknowledged: Seconds of audio that were sent and never finalised; None: the
            audio's rate is unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        elapsed: float,
        seconds_unacknowledged: float | None = None,
        **facts: Unpack[_Facts],
    ) -> None:
        super().__init__(message, **facts)
        self.elapsed = elapsed
        self.seconds_unacknowledged = seconds_unacknowledged


class SessionClosedError(SageMakerError, RuntimeError):
    """Something was sent on a session that is closed, or is being closed.

    Also a `RuntimeError`, as earlier releases raised.
    """
