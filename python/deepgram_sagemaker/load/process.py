"""A worker's process: reads questions from standard input, and writes answers to standard output.

`processes` starts it. It ends, with all of its streams, when its input ends. Imports `generator`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import pickle
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from .generator import Generator

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


class _Answering:
    def __init__(self) -> None:
        self._generator: Generator | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def read(self) -> None:
        """Read questions, in a thread of its own: not every loop can wait for a standard input."""
        with contextlib.suppress(RuntimeError):
            for line in sys.stdin.buffer:
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
            self._loop.call_soon_threadsafe(self._lines.put_nowait, b"")

    async def run(self) -> None:
        """Answer until the input ends."""
        try:
            while line := await self._lines.get():
                task = asyncio.create_task(self._answer(json.loads(line)))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
        finally:
            for task in self._answering:
                task.cancel()
            await asyncio.gather(*self._answering, return_exceptions=True)
            if self._generator is not None:
                await self._generator.__aexit__()

    async def _answer(self, question: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"number": question["number"]}
        try:
            answer["result"] = await self._act(question["what"], question["arguments"])
        except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
            answer["error"] = base64.b64encode(pickle.dumps(error)).decode()
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()

    async def _act(self, what: str, arguments: Sequence[Any]) -> object:
        if what == "start":
            packed, number, workers = arguments
            # Written by the process that started this one.
            spec = pickle.loads(base64.b64decode(packed))  # noqa: S301
            self._generator = Generator(spec, number, workers)
            return None
        assert self._generator is not None  # noqa: S101 - `start` is asked first
        if what == "collect":
            return [(at, tally.plain()) for at, tally in await self._generator.collect()]
        return await getattr(self._generator, what)(*arguments)


async def main() -> None:
    """Answer questions until there are no more."""
    # Ctrl-C reaches the whole group of processes. The one that asks says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answering = _Answering()
    threading.Thread(target=answering.read, daemon=True).start()
    await answering.run()


if __name__ == "__main__":
    asyncio.run(main())
