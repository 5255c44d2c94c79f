"""A bidirectional stream as a model sees it.

A model is the container's side of the conversation: it reads the client's messages, each of them
whole, and answers. The server deals with HTTP/2, signatures, events and fragments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

__all__ = ["DEEPGRAM_PATHS", "Model", "ModelStream"]

DEEPGRAM_PATHS: Final = ("v1/listen", "v2/listen", "v1/speak", "v2/speak", "v1/agent/converse")
"""The paths of Deepgram's products."""


class ModelStream(Protocol):
    """One accepted stream, as the container behind the endpoint sees it.

    Iterating yields the client's messages in order, `str` for text and `bytes` for binary ones,
    and ends with the client's input. Once the client is gone (reset, dropped connection),
    iterating ends too, and sending raises `ConnectionError`.
    """

    @property
    def path(self) -> str:
        """The invocation path without its leading slash, `v1/listen` for example."""

    @property
    def query(self) -> Mapping[str, Sequence[str]]:
        """The invocation's query, percent-decoded: each key with all its values, in order."""

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the client's messages until its input ends."""

    async def send(self, message: str | bytes) -> None:
        """Send one message to the client, waiting while its flow-control window is closed.

        Raises:
            ConnectionError: the stream has ended.
        """

    async def fail(self, code: str, message: str) -> None:
        """End the stream with a `ModelStreamError`, as a container that closes with a code.

        Args:
            code: the `ErrorCode`, for example a WebSocket close code such as `"1011"`.
            message: the `Message`, for example the close reason.
        """


type Model = Callable[[ModelStream], Awaitable[None]]
"""Serves one stream; returning ends the response cleanly, raising fails it.

A model with the attribute `paths` stands for a container of Deepgram's that serves these: the
endpoint refuses other paths, and queries that such a container refuses, before the model sees the
stream.
"""
