"""Reads standard input, pipes and devices without keeping the event loop from running."""

from __future__ import annotations

import asyncio
import os
import queue
import stat
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from io import FileIO
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Read", "by_loop", "by_thread", "reading", "standard_input"]

type Read = Callable[[int], Awaitable[bytes]]
"""Takes the most bytes to return; returns at least one of them, and none at the end."""

_LOOPS_READ: Final = sys.platform != "win32"
"""Whether a loop can wait for any pipe. On Windows that takes a pipe made for it, which standard
input is not."""


def standard_input() -> FileIO:
    """Return standard input without a buffer. Closing the file leaves standard input open."""
    return FileIO(sys.stdin.fileno(), closefd=False)


@asynccontextmanager
async def reading(file: FileIO) -> AsyncIterator[Read]:
    """Read a file that may keep its reader waiting, and close it.

    A loop that is kept waiting could not be interrupted. A regular file is read directly. Devices
    are read in a thread, because there is none for which every system's loop can wait.
    """
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):

        async def read(size: int) -> bytes:
            return file.read(size)

        with file:
            yield read
        return
    waits = _LOOPS_READ and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))
    async with (by_loop if waits else by_thread)(file) as waiting:
        yield waiting


@asynccontextmanager
async def by_loop(file: FileIO) -> AsyncIterator[Read]:
    """Have the loop wait for a pipe or a socket, and close it in the end."""
    reader = asyncio.StreamReader()
    # The transport closes what it is given; that is not to be standard input itself.
    own = os.fdopen(os.dup(file.fileno()), "rb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), own
    )
    try:
        yield reader.read
    finally:
        transport.close()
        with file:
            # Other processes may share it, and expect that reading waits.
            os.set_blocking(file.fileno(), True)


@asynccontextmanager
async def by_thread(file: FileIO) -> AsyncIterator[Read]:
    """Have a thread wait for any kind of file, and close it when it has been read.

    A read cannot be interrupted. The thread is a daemon, so one that still waits in the end, for
    example for a person to type, keeps neither the loop nor the process.
    """
    loop = asyncio.get_running_loop()
    wanted: queue.SimpleQueue[tuple[int, asyncio.Future[bytes]] | None] = queue.SimpleQueue()

    async def read(size: int) -> bytes:
        outcome: asyncio.Future[bytes] = loop.create_future()
        wanted.put((size, outcome))
        return await outcome

    thread = threading.Thread(
        target=_read, args=(file, wanted, loop), name="deepgram-sagemaker-input", daemon=True
    )
    thread.start()
    try:
        yield read
    finally:
        wanted.put(None)


def _read(
    file: FileIO,
    wanted: queue.SimpleQueue[tuple[int, asyncio.Future[bytes]] | None],
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Read what is wanted, in the thread, until nothing more is."""
    with file:
        while (each := wanted.get()) is not None:
            size, outcome = each
            data, error = b"", None
            try:
                data = file.read(size)
            except OSError as failed:
                error = failed
            # The loop may be closed by now.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, outcome, data, error)


def _settle(outcome: asyncio.Future[bytes], data: bytes, error: OSError | None) -> None:
    if outcome.done():
        # Cancelled: there is no reader any more.
        return
    if error is None:
        outcome.set_result(data)
    else:
        outcome.set_exception(error)
