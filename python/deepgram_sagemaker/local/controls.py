"""Text messages of every product, and how a container ends a stream."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .stream import ModelStream

__all__ = ["Message", "Refused", "SchemaError", "read_control", "refusals", "to_json"]

type Message = dict[str, Any]


class SchemaError(ValueError):
    """A text message does not belong to the protocol."""


class Refused(Exception):  # noqa: N818 - it ends a stream as asked, which is no error of ours
    """The container ends the stream, with a reason for the client.

    Attributes:
        code: the close code of the container's WebSocket.
        parting: a message to send first, or None.
    """

    def __init__(self, code: str, reason: str, parting: Message | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.parting = parting


@contextlib.asynccontextmanager
async def refusals(stream: ModelStream) -> AsyncIterator[None]:
    """End the stream as a `Refused` raised inside says. A client that is gone is no error."""
    try:
        yield
    except Refused as refusal:
        with contextlib.suppress(ConnectionError):
            if refusal.parting is not None:
                await stream.send(to_json(refusal.parting))
            await stream.fail(refusal.code, str(refusal))
    except ConnectionError:
        # The client is gone.
        return


def read_control(text: str, known: frozenset[str]) -> Message:
    """Read a text message of the client.

    Args:
        text: the message.
        known: the types that it may have.

    Raises:
        SchemaError: it is not JSON, not an object, or of no known type.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise SchemaError(f"Could not deserialize last text message: {error}") from None
    kind = body.get("type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or kind not in known:
        raise SchemaError(
            f"Could not deserialize last text message: type {kind!r} is none of "
            + ", ".join(sorted(known))
        )
    message: Message = body
    return message


def to_json(message: Message) -> str:
    """Encode a message as it is sent."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
