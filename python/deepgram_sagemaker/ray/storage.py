"""A worker's files: read and written in threads, within a deadline.

The threads are not those of `concurrent.futures`, which the end of a process waits for: a read of a
file system that has gone may never return.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import re
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from pyarrow import fs

from deepgram_sagemaker.conversations.recording import AudioError

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
# Seconds for a piece of a recording: the service ends a stream that is silent for 10.
_PIECE: Final = 8.0
# Of what unpacks `.gz` and the like: such a file is as bad the next time. These have no number.
_DAMAGED: Final = re.compile("inflate failed|decompress failed|Truncated compressed stream")


class Storage:
    """Does what may block in threads of its own. All calls are from one event loop."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    async def run[T, **P](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something in a thread.

        Raises:
            TimeoutError: It takes too long. It is an `OSError`, as all errors of files.
        """
        slow = f"the storage has not answered within {_PATIENCE:g} s"
        return await _within(_PATIENCE, self._begin(lambda: work(*args, **kwargs)), slow)

    @asynccontextmanager
    async def reading(self, place: Place) -> AsyncIterator[Read]:
        """Read a file in pieces, from its beginning.

        Raises:
            AudioError: It is a pipe or a device, or it cannot be unpacked.
            OSError: It cannot be read, or not fast enough for a stream.
        """
        slow = f"the recording is read too slowly: nothing has come for {_PIECE:g} s"
        opening = self._begin(lambda: _opened(place))
        try:
            file = await _within(_PIECE, opening, slow)
        except BaseException:
            opening.add_done_callback(_close_opened)
            raise
        block = memoryview(b"")
        last: Future[bytes] | None = None

        async def read(size: int) -> bytes:
            nonlocal block, last
            if not block:
                last = self._begin(lambda: _read(file))
                piece: bytes = await _within(_PIECE, last, slow)
                block = memoryview(piece)
            data, block = block[:size], block[size:]
            return bytes(data)

        try:
            yield read
        finally:
            if last is None or last.done():
                await self.run(file.close)
            else:
                # Nobody waits for a read that has been given up.
                last.add_done_callback(lambda _: _close(file))

    def close(self) -> None:
        """End the threads, without waiting for what they do."""
        for _ in range(self._threads):
            self._work.put(None)

    def _begin[T](self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whoever waits raises it
                future.set_exception(error)

        self._work.put(do)
        if not self._idle.acquire(blocking=False) and self._threads < _THREADS:
            self._threads += 1
            name = f"deepgram-sagemaker-storage-{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        return future

    def _serve(self) -> None:
        while (do := self._work.get()) is not None:
            do()
            # What was done holds its files and results.
            del do
            self._idle.release()


async def _within[T](seconds: float, future: Future[T], slow: str) -> T:
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await asyncio.wrap_future(future)
    except TimeoutError:
        if deadline.expired():
            raise TimeoutError(slow) from None
        raise


def _opened(place: Place) -> Any:  # noqa: ANN401 - pyarrow's
    system = place.filesystem
    # There are only files in a store of objects, and it would take another request.
    if not place.is_stored_object:
        kind = system.get_file_info(place.path).type
        if kind == fs.FileType.Unknown:
            # It may keep its reader waiting for ever, and cannot be read a second time.
            raise AudioError("it is no regular file, but a pipe or a device")
        if kind == fs.FileType.Directory:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), place.shown)
    return system.open_input_stream(place.path)


def _read(file: Any) -> bytes:  # noqa: ANN401 - pyarrow's
    try:
        return bytes(file.read(_BLOCK))
    except OSError as error:
        if error.errno is None and _DAMAGED.search(str(error)):
            raise AudioError(f"it cannot be unpacked: {error}") from error
        raise


def _close_opened(opening: Future[Any]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _close(opening.result())


def _close(file: Any) -> None:  # noqa: ANN401 - pyarrow's
    with suppress(OSError):
        file.close()
