"""A running server, and the tasks of the models behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepgram_sagemaker.wakeups import Hub

from .native import LocalServer, LocalStream
from .query import grouped
from .records import record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from .query import Query
    from .records import LegRecord
    from .stream import Model

__all__ = ["Running"]

# Documented under this name.
_logger = logging.getLogger("deepgram_sagemaker.local.endpoint")

# WebSocket close codes of a container that goes away, and of one that breaks.
_GOING_AWAY = "1001"
_INTERNAL_ERROR = "1011"


class Running:
    """A native server, and the tasks of its models."""

    def __init__(self, settings: Mapping[str, Any], model: Model, ca_bundle: Path | None) -> None:
        self._model = model
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hub = Hub.running()
        self._token = self._hub.register(self._news)
        self._cleanup = contextlib.ExitStack()
        self._cleanup.callback(self._hub.unregister, self._token)
        try:
            self.native = LocalServer(json.dumps(settings), self._hub.waker, self._token)
            self._cleanup.callback(self.native.stop)
            # Both clocks are read once, in a row: time spent between them would make every record
            # look late.
            self._began = time.monotonic() - self.native.elapsed()
            if ca_bundle is None:
                directory = tempfile.TemporaryDirectory(prefix="deepgram-sagemaker-")
                ca_bundle = Path(self._cleanup.enter_context(directory), "ca.pem")
            # As it is: on Windows its lines end with CR LF, and in text each would get another CR.
            ca_bundle.write_bytes(self.native.ca_pem.encode())
        except BaseException:
            self._cleanup.close()
            raise
        self.ca_bundle = ca_bundle

    async def stop(self) -> None:
        """Cancel the models, stop the server and remove what it wrote."""
        try:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._cleanup.close()

    def legs(self) -> list[LegRecord]:
        """Return every leg's record, with times on the clock of `time.monotonic()`."""
        return [record(leg, self._began) for leg in self.native.legs()]

    def _news(self) -> None:
        accepted, changed, refused = self.native.news()
        for leg, words in refused:
            _logger.warning("the container refused leg %d: %s", leg, words)
        for native in accepted:
            stream = self._streams[native.leg] = _Stream(native)
            task = asyncio.create_task(self._serve(stream), name=f"model of leg {native.leg}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for leg in changed:
            stream_or_none = self._streams.get(leg)
            if stream_or_none is not None:
                stream_or_none.changed.set()

    async def _serve(self, stream: _Stream) -> None:
        native = stream.native
        try:
            await self._model(stream)
            native.close()
        except asyncio.CancelledError:
            native.fail(_GOING_AWAY, "the local endpoint is stopping")
            raise
        except Exception as error:
            if isinstance(error, ConnectionError) and native.is_gone:
                return
            _logger.exception("the model of leg %d failed", native.leg)
            native.fail(_INTERNAL_ERROR, f"the model failed: {type(error).__name__}")
        finally:
            self._streams.pop(native.leg, None)


class _Stream:
    """A `ModelStream` over a native one."""

    def __init__(self, native: LocalStream) -> None:
        self.native = native
        self.changed = asyncio.Event()
        self._query = grouped(native.query)

    @property
    def path(self) -> str:
        return self.native.path

    @property
    def query(self) -> Query:
        return self._query

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while True:
            self.changed.clear()
            try:
                message = self.native.receive()
            except EOFError:
                return
            if message is None:
                await self.changed.wait()
            else:
                yield message

    async def send(self, message: str | bytes) -> None:
        send = self.native.send_text if isinstance(message, str) else self.native.send_bytes
        while True:
            self.changed.clear()
            if send(message):  # type: ignore[arg-type]  # the type has chosen the function
                return
            await self.changed.wait()

    async def fail(self, code: str, message: str) -> None:
        self.native.fail(code, message)
