"""Several processes behind one port: the parent starts them, says when one dies, and ends them.

The kernel spreads connections over the workers, which all listen on the port (`SO_REUSEPORT`). The
parent holds the port, and serves nothing itself. It gives each worker its settings over the
worker's standard input, a socket; when that socket ends, the parent is gone, and the worker drains.

Tests: tests/cli/test_gateway_workers.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.conversations.reasons import ConversationError

from .gateway_log import session_log
from .gateway_metrics import SharedFigures
from .gateway_serving import ADVICE, Asked, serve
from .gateway_settings import GatewaySettings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMMAND", "supervise", "work"]

COMMAND: Final = "gateway-worker"
"""The hidden command that a worker is."""

_MOST_TOLD: Final = 2**24
"""Bytes of what a worker is told, with all keys."""
_READY_WITHIN: Final = 120.0
"""Seconds in which a worker has to listen."""
_GONE_WITHIN: Final = 10.0
"""Seconds that a worker has beyond the time for draining."""
_STEADY: Final = 60.0
"""Seconds after which a worker that dies is no sign that the next one dies as well."""
_MOST_PAUSE: Final = 30.0
"""The most seconds before a dead worker is replaced. The first is replaced at once."""

_logger = logging.getLogger("deepgram_sagemaker.gateway")


@dataclass(slots=True)
class _Worker:
    """A worker process.

    Attributes:
        number: Its place, from 1.
        name: The name of its figures.
        process: The process.
        line: The parent's end of its standard input. It ends with the parent.
        began: When it was started, by `time.monotonic`.
    """

    number: int
    name: str
    process: asyncio.subprocess.Process
    line: socket.socket
    began: float


class _Parent:
    """Keeps workers running."""

    def __init__(self, settings: GatewaySettings, folder: Path, asked: Asked) -> None:
        self._settings = settings
        self._folder = folder
        self._shared = SharedFigures(folder)
        self._asked = asked
        self.workers: dict[int, _Worker] = {}

    async def start(self, number: int) -> None:
        """Start a worker, and return once it listens.

        Raises:
            ConversationError: It does not.
        """
        name = f"{number}-{os.urandom(4).hex()}"
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "deepgram_sagemaker.cli", COMMAND),
                    stdin=theirs.fileno(),
                    # Ctrl-C in a terminal reaches a whole group; workers get it from here alone.
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise ConversationError(f"worker {number} did not start: {error}") from None
        ours.setblocking(False)
        worker = self.workers[number] = _Worker(number, name, process, ours, time.monotonic())
        told = {"settings": self._settings.to_json(), "folder": str(self._folder), "name": name}
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_READY_WITHIN):
                await loop.sock_sendall(ours, json.dumps(told).encode() + b"\n")
                is_ready = await loop.sock_recv(ours, 1)
        except (OSError, TimeoutError):
            is_ready = b""
        if not is_ready:
            raise ConversationError(f"worker {number} (process {worker.process.pid}) did not start")

    async def keep(self, number: int) -> None:
        """Replace a worker whenever it dies, until the gateway is to end."""
        failures = 0
        while True:
            worker = self.workers[number]
            status = await worker.process.wait()
            worker.line.close()
            try:
                self._shared.end(worker.name)
            except OSError as error:
                _logger.error("what worker %d has counted is lost: %s", number, error)  # noqa: TRY400
            if self._asked.drain.is_set():
                return
            lived = time.monotonic() - worker.began
            failures = 0 if lived >= _STEADY else failures + 1
            pause = 0.0 if failures <= 1 else min(2.0 ** (failures - 2), _MOST_PAUSE)
            _logger.error(
                "worker %d (process %d) %s after %.0f s, and its conversations are lost; another "
                "one starts%s",
                number,
                worker.process.pid,
                _ended(status),
                lived,
                f" in {pause:g} s" if pause else "",
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked.drain.wait()
            if self._asked.drain.is_set():
                return
            try:
                await self.start(number)
            except ConversationError as error:
                _logger.error("%s", error)  # noqa: TRY400 - it is the reason, in words
                # Its end is seen at once, and the pause before the next one is longer.
                failed = self.workers[number]
                await self._kill(failed)
                failed.began = time.monotonic()
            else:
                _logger.info(
                    "worker %d is process %d now", number, self.workers[number].process.pid
                )

    @staticmethod
    async def _kill(worker: _Worker) -> None:
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()
        await worker.process.wait()

    def tell(self, number: signal.Signals) -> None:
        """Send every worker a signal."""
        for worker in self.workers.values():
            if worker.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.send_signal(number)

    async def end(self) -> None:
        """End every worker that has not ended, at once."""
        for worker in self.workers.values():
            await self._kill(worker)
            worker.line.close()


def _ended(status: int) -> str:
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}"


async def supervise(
    settings: GatewaySettings, count: int, *, ready: Callable[[str, int], object]
) -> None:
    """Run so many workers until this process is asked to stop, then let them drain.

    Args:
        settings: What each worker is told.
        count: How many.
        ready: Called with the address and the port once all of them listen.

    Raises:
        ConversationError: A worker does not start; it has said why.
        OSError: The port cannot be had.
    """
    asked = Asked()
    async with contextlib.AsyncExitStack() as stack:
        asked.listen(stack)
        stack.enter_context(session_log(settings.log_format))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="deepgram-gateway-"))
        held = stack.enter_context(_held(settings.host, settings.port))
        host, port = held.getsockname()[:2]
        told = dataclasses.replace(settings, port=port, reuse_port=True)
        parent = _Parent(told, Path(folder), asked)
        stack.push_async_callback(parent.end)
        starts = [asyncio.create_task(parent.start(number)) for number in range(1, count + 1)]
        await _unless_asked(starts, asked)
        if asked.drain.is_set():
            return
        keeps = [asyncio.create_task(parent.keep(number)) for number in range(1, count + 1)]
        stack.push_async_callback(_cancelled, keeps)
        ready(host, port)
        drain = asyncio.create_task(asked.drain.wait())
        stack.push_async_callback(_cancelled, [drain])
        done, _ = await asyncio.wait({drain, *keeps}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            # A place that nobody keeps any more is an error of ours, which must not stay unseen.
            task.result()
        parent.tell(signal.SIGTERM)
        ends = asyncio.create_task(asked.end.wait())
        stack.push_async_callback(_cancelled, [ends])
        patience = settings.drain_timeout + _GONE_WITHIN
        all_gone = asyncio.create_task(_ended_all(keeps))
        await asyncio.wait({all_gone, ends}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not all_gone.done():
            parent.tell(signal.SIGTERM)
            await asyncio.wait({all_gone}, timeout=_GONE_WITHIN)


async def _unless_asked(starts: list[asyncio.Task[None]], asked: Asked) -> None:
    """Wait until all have started, or one has not, or the gateway is to end before that."""
    stop = asyncio.create_task(asked.drain.wait())
    pending = set(starts)
    try:
        while pending and not stop.done():
            done, _ = await asyncio.wait({*pending, stop}, return_when=asyncio.FIRST_COMPLETED)
            for start in pending & done:
                start.result()
            pending -= done
    finally:
        await _cancelled([stop, *starts])


async def _ended_all(tasks: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _held(host: str, port: int) -> socket.socket:
    """Return a socket that holds the port for the workers, and does not listen.

    Raises:
        OSError: The port cannot be had; the message says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Shared ports can be shared with another gateway by mistake. A port of one's own cannot.
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        # Both: connections of a gateway before may still be ending.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise OSError(f"{host}:{port} cannot be listened on: {error.strerror}; {ADVICE}") from None
    return held


async def work() -> None:
    """Be a worker: serve as the line on standard input says, until it ends or a signal comes."""
    line = socket.socket(fileno=os.dup(0))
    reader, writer = await asyncio.open_connection(sock=line, limit=_MOST_TOLD)
    asked = Asked()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(writer.close)
        asked.listen(stack)
        told = json.loads(await reader.readline() or b"null")
        if told is None:
            return
        settings = GatewaySettings.from_json(told["settings"])

        async def parent_is_gone() -> None:
            await reader.read()
            asked.drain.set()

        stack.push_async_callback(_cancelled, [asyncio.create_task(parent_is_gone())])
        await serve(
            settings,
            settings.configs(),
            asked,
            ready=lambda _: writer.write(b"+"),
            shared=SharedFigures(Path(told["folder"])),
            worker=told["name"],
        )
