"""What can go wrong, as one tree: `except SageMakerError` catches all of it.

The classes follow what a caller may do about the failure. Time-outs are also the builtin
`TimeoutError`, broken connections also `ConnectionError`, bad input also `ValueError`, and use
after the end also `RuntimeError`.

    SageMakerError
    ├── ValidationError            a setting, the URL or the request breaks a rule
    ├── AuthenticationError        the service does not accept the caller
    │   └── NoCredentialsError     there is nothing to sign with
    │       └── CredentialsTimeoutError    looking it up took longer than `connection_timeout`
    ├── EndpointNotFoundError      no such endpoint in this account and region
    ├── ThrottledError             too many requests
    ├── ServiceUnavailableError    the service failed, or is not ready
    ├── ModelError                 the container refused or closed the stream
    ├── ConnectError               name, address or proxy could not be reached
    ├── ConnectTimeoutError        `connection_timeout` ran out, or files were not read in time
    ├── AcquireTimeoutError        `connection_acquire_timeout` ran out
    ├── SubscriptionTimeoutError   `subscription_timeout` ran out
    ├── StalledError               `stall_timeout` ran out
    ├── TLSError                   the peer's certificate, or the handshake
    ├── StreamResetError           the stream was reset
    ├── ConnectionLostError        the connection under the stream went away
    ├── ProtocolError              the peer's bytes make no sense
    ├── SessionLostError           the session cannot go on over another leg
    ├── RetriesExhaustedError      retries or their budget ran out
    └── SessionClosedError         the session is already closed
"""

from __future__ import annotations

from typing import Any, ClassVar, TypedDict, Unpack

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
        message: What happened, and what to do next where that is known.
        status: The HTTP status, where there was an answer.
        code: The service's or the protocol's own name for the error, such as
            `AccessDeniedException`.
        request_id: The service's name for the request, to quote to its support.
        reason: The package's own stable name for what went wrong, such as `throttled`, finer than
            the class; None where the error was found before anything was asked for.
        attempts: How many times a leg was opened without progress, this time included.
        retryable: Whether the same again may work. Those that may have been tried again already,
            within `max_retries` and `retry_budget`.
        retry_limit: At most so many retries without progress, however many `max_retries` allows;
            None: no limit of its own.
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
        parameter: The setting or query parameter at fault, where it is known.
    """

    def __init__(
        self, message: str, *, parameter: str | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.parameter = parameter


class AuthenticationError(SageMakerError):
    """The service does not accept the caller: 401, 403, a bad signature, an expired token.

    Attributes:
        expired: The credentials ran out; with fresh ones the same request may be accepted.
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
    """The service asks for fewer requests, in any of its ways of saying so."""

    default_retryable = True


class ServiceUnavailableError(SageMakerError):
    """The service failed (5xx, an InternalStreamFailure), or the endpoint is not ready."""

    default_retryable = True


class ModelError(SageMakerError):
    """The container behind the endpoint refused the stream, or closed it.

    Attributes:
        model_status: The HTTP status that the container answered with, where it did.
        model_code: The container's own code: Deepgram's (`DATA-0000`), or the WebSocket close
            code in decimal.
        model_message: What the container said.
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

    Or what a factory's first stream needs before that did not come in time: the shared AWS files,
    the certificates, the AWS SDK.
    """

    default_retryable = True


class AcquireTimeoutError(SageMakerError, TimeoutError):
    """No stream or connection came free within `connection_acquire_timeout`."""

    default_retryable = True


class SubscriptionTimeoutError(SageMakerError, TimeoutError):
    """The service did not answer the request within `subscription_timeout`."""

    default_retryable = True


class StalledError(SageMakerError, TimeoutError):
    """An open stream sent nothing for `stall_timeout` while audio waited for its results."""

    default_retryable = True


class TLSError(SageMakerError):
    """TLS failed: the certificate was not accepted, or the handshake went wrong."""


class _StreamError(SageMakerError):
    """What the stream errors have in common.

    Attributes:
        h2_code: The HTTP/2 error code that the peer gave, where it did.
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
        h2_code: The HTTP/2 error code that the peer gave, where it did.
    """


class ConnectionLostError(_StreamError, ConnectionError):
    """The connection under the stream broke, or the peer said that it goes away (GOAWAY).

    Attributes:
        h2_code: The HTTP/2 error code that the peer gave, where it did.
    """


class ProtocolError(_StreamError):
    """The peer does not speak HTTP/2, or sent a message that makes no sense.

    Attributes:
        h2_code: The HTTP/2 error code that the peer gave, where it did.
    """


class SessionLostError(SageMakerError):
    """The session cannot go on over another leg: what it would have to resend is gone.

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
    since it was tried as often as the settings allow; the cause's says whether it may pass.

    Attributes:
        elapsed: Seconds from the first failure after progress until giving up.
        seconds_unacknowledged: Seconds of audio that were sent and never finalised; None where
            the session's audio has no known clock.
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
