"""One real session: the permission to open it, its opening, and an answer."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker._native import quote
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.transport import SageMakerTransport

from .case import Opening
from .findings import FailedError, SkippedError, Told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .case import Case

__all__ = ["answer", "opening", "permission"]

ACTION: Final = "sagemaker:InvokeEndpointWithBidirectionalStream"

# The answer was waited for before: nothing is expected of the close.
_CLOSE_WITHIN: Final = 1.0
# The reasons that a missing IAM action has.
_DENIED: Final = {"access_denied", "unauthorized"}
# What stands before the words of others in a message.
_QUOTES: Final = ("It said", "Detail")


async def permission(case: Case) -> Told:
    """Open a session and see whether the caller may."""
    error = (await _opened(case)).error
    if error is None:
        return Told(f"{ACTION} is allowed", {"action": ACTION})
    if error.reason in _DENIED:
        raise _failed(error, action=ACTION)
    raise SkippedError("the session did not open for another reason: see the next line")


async def opening(case: Case) -> Told:
    """Say how the session opened."""
    opened = await _opened(case)
    if opened.error is not None:
        raise _failed(opened.error)
    return Told(
        f"a session on {case.product.path} opened in {opened.seconds * 1_000:.0f} ms (connection, "
        "request and answer)",
        {"open_seconds": opened.seconds, "path": case.product.path},
    )


async def answer(case: Case) -> Told:
    """Send a second of audio and read what comes back."""
    assert case.transport is not None  # noqa: S101 - the opening has passed
    product, transport = case.product, case.transport
    kinds: Counter[str] = Counter()
    began = time.monotonic()
    first: float | None = None
    try:
        async with asyncio.timeout(case.within):
            for message in product.messages:
                await transport.send(message)
            while (received := await transport.recv()) is not None:
                first = time.monotonic() - began if first is None else first
                kind, words = _kind(received)
                kinds[kind] += 1
                if kind == "Error":
                    raise FailedError(f"the container answered with an error: {quote(words)}")
    except TimeoutError:
        raise FailedError(
            f"{product.sent} was not answered to the end within {case.within:g} s; {_came(kinds)}"
        ) from None
    except SageMakerError as error:
        raise _failed(error) from None
    if first is None or not product.expected & kinds.keys():
        raise FailedError(f"{product.sent} has no answer; {_came(kinds)}", messages=dict(kinds))
    seconds = time.monotonic() - began
    return Told(
        f"{product.sent} was answered in {seconds * 1_000:.0f} ms, the first message after "
        f"{first * 1_000:.0f} ms; {_came(kinds)}",
        {"first_seconds": first, "seconds": seconds, "messages": dict(kinds)},
    )


async def _opened(case: Case) -> Opening:
    """Open the session, once."""
    if case.opening is not None:
        return case.opening
    # One attempt, and no longer than a person waits.
    config = dataclasses.replace(
        case.config,
        max_retries=0,
        connection_timeout=min(case.config.connection_timeout, case.within),
        subscription_timeout=min(case.config.subscription_timeout, case.within),
        close_timeout=min(case.config.close_timeout, _CLOSE_WITHIN),
    )
    # Loading the AWS SDK takes longer than all the rest, and belongs to no endpoint.
    await case.in_thread(
        lambda: importlib.import_module("deepgram_sagemaker.aws.operation"), "loading the AWS SDK"
    )
    query = f"model={case.product.model}&{case.product.query}"
    case.transport = SageMakerTransport(config, case.product.path, query)
    began = time.monotonic()
    error = None
    try:
        await case.transport.open()
    except SageMakerError as refused:
        error = refused
    case.opening = Opening(error, time.monotonic() - began)
    return case.opening


def _failed(error: SageMakerError, **facts: str) -> FailedError:
    """Return an error as what happened, and what to do.

    An error's message has both, with a colon in between, and then the service's own words.
    """
    what, colon, advice = error.message.partition(": ")
    if not colon or what.endswith(_QUOTES):
        what, advice = error.message, ""
    met = str(error).removeprefix(error.message)
    return FailedError(f"{what}{met}", advice or None, **facts, **_facts(error))


def _facts(error: SageMakerError) -> dict[str, Any]:
    facts = {
        "error": type(error).__name__,
        "reason": error.reason,
        "status": error.status,
        "code": error.code,
        "request_id": error.request_id,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _kind(message: str | bytes) -> tuple[str, str]:
    """Return a message's type, and its words."""
    if isinstance(message, bytes):
        return "audio", ""
    try:
        content = json.loads(message)
    except ValueError:
        return "text", message
    if not isinstance(content, dict):
        return "text", message
    words = content.get("description") or content.get("message") or message
    return str(content.get("type", "text")), str(words)


def _came(kinds: Mapping[str, int]) -> str:
    if not kinds:
        return "nothing came"
    return "received: " + ", ".join(f"{count} {quote(kind)}" for kind, count in kinds.items())
