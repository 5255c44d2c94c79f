"""Errors of sessions as clients are told: in HTTP before the WebSocket, then as close codes.

A client may be anybody's. So what it is told has the words of the model, and ours about its own
query. It has nothing of the service: no endpoint, no account, no role. The log has all of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from deepgram_sagemaker.errors import (
    ModelError,
    RetriesExhaustedError,
    SageMakerError,
    SessionLostError,
    ThrottledError,
    ValidationError,
)

__all__ = ["CUT", "GOING_AWAY", "NOT_SERVED", "Ending", "Refusal", "ending", "refusal"]


class Refusal(NamedTuple):
    """An answer in HTTP: Deepgram's JSON is made of it.

    Attributes:
        status: The HTTP status.
        code: Deepgram's name for it.
        message: What went wrong, for people.
    """

    status: int
    code: str
    message: str


class Ending(NamedTuple):
    """How a WebSocket is closed.

    Attributes:
        code: The close code.
        reason: For people; at most 123 bytes of it are sent.
    """

    code: int
    reason: str


NOT_SERVED: Final = Refusal(404, "NOT_FOUND", "This product is not served here.")
GOING_AWAY: Final = Ending(1001, "The gateway is shutting down.")

CUT: Final = Ending(1011, "The conversation was interrupted.")

_IN_ORDER: Final = Ending(1000, "")
_SILENT: Final = (
    "NET-0001: Neither audio nor a text message was received within the timeout window."
)
# Close codes that a container may give and that mean a failure. 1000 and 1001 would tell the client
# that nothing is missing.
_FAILURES: Final = {1002, 1003, *range(1007, 1015), *range(3000, 5000)}


def refusal(error: SageMakerError) -> Refusal:
    """Return the answer to a request whose session could not be opened."""
    match _root(error):
        # Without a status it is ours, about the client's own query.
        case ValidationError(status=None) as ours:
            return Refusal(400, "Bad Request", ours.message)
        case ValidationError():
            return Refusal(
                400, "Bad Request", "The service does not accept the query's parameters."
            )
        case ModelError() as model:
            said = model.model_message or "check the query's parameters"
            return Refusal(400, "Bad Request", f"The model refused the connection: {said}")
        case ThrottledError():
            return Refusal(429, "TOO_MANY_REQUESTS", "Too many requests. Please try again later.")
        case _:
            return Refusal(
                503,
                "SERVICE_UNAVAILABLE",
                "The service cannot be reached now. Please try again later.",
            )


def ending(error: SageMakerError | None) -> Ending:
    """Return how the WebSocket of a session is closed that is over.

    Args:
        error: Why it failed; None: it ended in order.
    """
    if error is None:
        return _IN_ORDER
    root = _root(error)
    if isinstance(root, ModelError):
        return _of_model(root)
    why = f" ({root.reason})" if root.reason else ""
    return Ending(1011, f"The conversation cannot go on{why}.")


def _of_model(error: ModelError) -> Ending:
    code, said = error.model_code or "", error.model_message or ""
    if code == "NET-0001" and said in ("", code):
        return Ending(1011, _SILENT)
    if not said:
        said = code or "The model has ended the conversation."
    elif code and not code.isdecimal() and code not in said:
        said = f"{code}: {said}"
    if code.startswith("DATA-"):
        return Ending(1008, said)
    if code.isdecimal() and int(code) in _FAILURES:
        return Ending(int(code), said)
    return Ending(1011, said)


def _root(error: SageMakerError) -> SageMakerError:
    """Return the failure behind an error that says how often it was tried, or what is missing."""
    while isinstance(error, RetriesExhaustedError | SessionLostError) and isinstance(
        error.__cause__, SageMakerError
    ):
        error = error.__cause__
    return error
