"""The driver's own cost: a transport that carries nothing and answers as often as the endpoint."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

CHUNKS_A_REPLY = 10
"""Chunks that a final result of the endpoint covers."""


class Floor:
    """Makes transports that answer with given messages, the same for each.

    Args:
        replies: What the endpoint was seen to answer: one message for every ten chunks.
    """

    def __init__(self, replies: list[str]) -> None:
        self._replies = replies

    def __call__(self, url: str, headers: dict[str, str]) -> "FloorTransport":
        return FloorTransport(self._replies)


class FloorTransport:
    """The least that an `AsyncTransport` can do."""

    def __init__(self, replies: list[str]) -> None:
        self._replies = iter(replies)
        self._ready: deque[str | None] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._chunks = 0

    async def send(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self._answer(None)
            return
        self._chunks += 1
        if self._chunks % CHUNKS_A_REPLY == 0:
            self._answer(next(self._replies))

    def _answer(self, message: str | None) -> None:
        self._ready.append(message)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def recv(self) -> str | None:
        while not self._ready:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._ready.popleft()

    async def __aiter__(self) -> AsyncIterator[str]:
        while (message := await self.recv()) is not None:
            yield message

    async def close(self) -> None:
        self._answer(None)
