"""Errors out of native failures.

The native side says why something failed and whether the same again may work; `advice` has the
class and the words for each reason. Here the two become an error, for an opening and for a whole
session.

Imports `advice`, `errors` and `_native`. Tests: `tests/aws/test_failures.py`, and every failure
through the real SDK in `tests/e2e/test_failures.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker._native import reasons
from deepgram_sagemaker.config import names_of
from deepgram_sagemaker.errors import (
    ConnectionLostError,
    ConnectTimeoutError,
    ModelError,
    NoCredentialsError,
    ProtocolError,
    RetriesExhaustedError,
    SageMakerError,
    SessionLostError,
    StreamResetError,
    TLSError,
    ValidationError,
)

from .advice import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepgram_sagemaker._native import Diagnosis, SessionFailure
    from deepgram_sagemaker.config import SageMakerConfig

__all__ = ["REASONS", "explain", "explain_session", "reason_of"]

REASONS: Final[dict[str, int | None]] = reasons()
"""Every reason by name: retries that it is worth without progress; None: as many as are set."""


def explain(
    diagnosis: Diagnosis, *, endpoint_name: str = "", region: str = "", query: str = ""
) -> SageMakerError:
    """Return the error that a failure is raised as.

    Args:
        diagnosis: The failure, judged.
        endpoint_name: The endpoint asked for.
        region: The region tried.
        query: The query string sent; its parameters' names are mentioned, their values are not.

    Returns:
        The error, not raised.
    """
    row = ROWS[diagnosis.reason]
    message = row.advice.format(
        endpoint=endpoint_name,
        region=region or "unknown",
        parameters=", ".join(_names(query)) or "it is empty",
        log=_log(diagnosis, endpoint_name),
    )
    if diagnosis.said:
        source = "It said" if diagnosis.is_quote else "Detail"
        message = f"{message} {source}: {diagnosis.said}"
    facts: dict[str, Any] = dict(row.extra)
    if issubclass(row.error, ModelError):
        facts.update(
            model_status=diagnosis.model_status,
            model_code=diagnosis.model_code,
            model_message=diagnosis.model_message,
        )
    if issubclass(row.error, StreamResetError | ConnectionLostError | ProtocolError):
        facts["h2_code"] = diagnosis.h2_code
    limit = REASONS[diagnosis.reason]
    return row.error(
        message,
        status=diagnosis.status,
        code=diagnosis.code,
        request_id=diagnosis.request_id,
        reason=diagnosis.reason,
        retryable=limit != 0,
        retry_limit=limit or None,
        **facts,
    )


def explain_session(
    failure: SessionFailure,
    opening: SageMakerError | None,
    endpoints: Sequence[SageMakerConfig],
    query: str,
) -> SageMakerError:
    """Return the error that a session's failure is raised as, in the light of what was tried.

    Args:
        failure: The failure.
        opening: Why the last leg could not be opened, if one could not.
        endpoints: The config of each endpoint, in order of preference.
        query: The query string sent.

    Returns:
        The last error, or one that says how often it was tried, with the last error as its cause.
    """
    if failure.diagnosis is None:
        assert opening is not None  # noqa: S101 - a session fails over an opening only after one
        error = opening
    else:
        error = _leg_error(failure, failure.diagnosis, endpoints[failure.endpoint], query)
    # A stream that ends for good after progress is the first attempt since.
    error.attempts = max(1, failure.attempts)
    names = names_of(endpoints)
    error.endpoints = {names[index]: reason for index, reason in failure.endpoints}
    if len(error.endpoints) > 1:
        each = "; ".join(f"{name}: {reason}" for name, reason in error.endpoints.items())
        error.message = f"{error.message} What failed where: {each}."
        error.args = (error.message,)
    if not error.retryable or failure.attempts <= 1:
        return error
    exhausted = RetriesExhaustedError(
        f"gave up after {failure.attempts} attempts in {failure.elapsed:.1f} s, with "
        f"{_audio(failure)} not acknowledged: {error.message}",
        elapsed=failure.elapsed,
        seconds_unacknowledged=failure.unacknowledged_seconds,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        reason=error.reason,
        attempts=failure.attempts,
    )
    exhausted.endpoints = error.endpoints
    exhausted.__cause__ = error
    return exhausted


def _leg_error(
    failure: SessionFailure, diagnosis: Diagnosis, config: SageMakerConfig, query: str
) -> SageMakerError:
    error = explain(
        diagnosis, endpoint_name=config.endpoint_name, region=config.region, query=query
    )
    if failure.resumable:
        return error
    missing = f": {_audio(failure)} were not acknowledged" if _is_missing(failure) else ""
    lost = SessionLostError(
        f"{error.message} This session cannot go on over another stream{missing}",
        seconds_unacknowledged=failure.unacknowledged_seconds,
        code=error.code,
        reason=error.reason,
    )
    lost.__cause__ = error
    return lost


def _is_missing(failure: SessionFailure) -> bool:
    return failure.unacknowledged_bytes > 0 or failure.unacknowledged_seconds > 0


def _audio(failure: SessionFailure) -> str:
    """Describe how much the service has not acknowledged."""
    seconds, size = failure.unacknowledged_seconds, failure.unacknowledged_bytes
    return f"{seconds:.3f} s of audio ({size} bytes)"


def reason_of(error: SageMakerError) -> str:
    """Return the reason why a leg did not open, also where there is no native failure.

    An error that is raised before the native side is reached has a class, and says whether it may
    pass.
    """
    if error.reason is not None:
        return error.reason
    match error:
        case NoCredentialsError():
            return "credentials_unavailable" if error.retryable else "no_credentials"
        case TLSError():
            return "trust"
        case ConnectTimeoutError():
            return "connect_timeout"
        case ValidationError():
            return "setting"
        case _:
            return "unknown" if error.retryable else "closed"


def _log(diagnosis: Diagnosis, endpoint_name: str) -> str:
    """Where the container's own words are."""
    group = f"the log group /aws/sagemaker/Endpoints/{endpoint_name or 'NAME'}"
    return f"{group}, log stream {diagnosis.log_stream}" if diagnosis.log_stream else group


def _names(query: str) -> list[str]:
    return list(dict.fromkeys(pair.partition("=")[0] for pair in query.split("&") if pair))
