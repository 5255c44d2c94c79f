"""A worker's files: read and written in threads, within a deadline."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from deepgram_sagemaker.conversations.pipes import Read

    from .places import Place

__all__ = ["Storage"]

_THREADS: Final = 32
# Bytes that are read at once: seconds of audio.
_BLOCK: Final = 256 * 1024
# Seconds for one request to a file system.
_PATIENCE: Final = 120.0


class Storage:
    """Does what may block in threads of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="deepgram-sagemaker-storage")

    async def run[T, **P](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something in a thread.

        Raises:
            TimeoutError: It takes too long. It is an `OSError`, as all errors of files.
        """
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))
        async with asyncio.timeout(_PATIENCE):
            return await done

    @asynccontextmanager
    async def reading(self, place: Place) -> AsyncIterator[Read]:
        """Read a file in pieces, from its beginning.

        Raises:
            OSError: It cannot be read.
        """
        file: Any = await self.run(place.filesystem.open_input_stream, place.path)
        block = memoryview(b"")

        async def read(size: int) -> bytes:
            nonlocal block
            if not block:
                block = memoryview(await self.run(file.read, _BLOCK))
            data, block = block[:size], block[size:]
            return bytes(data)

        try:
            yield read
        finally:
            await self.run(file.close)
