"""Workers that are other processes of this machine, one for each of its processors.

Each runs `process` and is asked over its standard input and output, a line for each question and
answer. It ends when its input does, whatever happened to this process. Imports `process`, `spec`,
`tally` and `workers`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import pickle
import sys
from typing import TYPE_CHECKING, Any, Final

from .tally import Tally
from .workers import WorkerLostError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

    from .spec import Spec
    from .workers import Worker

__all__ = ["Processes"]

_LONGEST_LINE: Final = 1 << 26
_PATIENCE: Final = 20.0
"""Seconds for an answer, besides the time that the question itself takes."""
_PREPARING: Final = 60.0
"""Seconds in which a worker loads what it needs and holds its first stream."""
_ENDING: Final = 5.0
"""Seconds in which a process ends that is told to."""


class Processes:
    """Several workers, each a process of this machine.

    Args:
        spec: What the streams are.
        count: How many processes.
    """

    def __init__(self, spec: Spec, count: int) -> None:
        self._spec = spec
        self._count = count
        self._workers: list[_Process] = []

    async def __aenter__(self) -> Sequence[Worker]:
        try:
            for number in range(self._count):
                worker = await _Process.start(f"process {number + 1}")
                self._workers.append(worker)
                packed = base64.b64encode(pickle.dumps(self._spec)).decode()
                await worker.ask("start", packed, number, self._count, within=_PREPARING)
        except BaseException:
            await self.__aexit__()
            raise
        return self._workers

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(worker.close() for worker in self._workers))


class _Process:
    """One process, and the questions that it has not answered yet."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str) -> _Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deepgram_sagemaker.load.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        return cls(name, process)

    async def prepare(self) -> None:
        await self.ask("prepare", within=_PREPARING)

    async def begin(self, within: float) -> None:
        await self.ask("begin", within)

    async def want(self, streams: int, within: float) -> None:
        await self.ask("want", streams, within)

    async def collect(self) -> list[tuple[int, Tally]]:
        return [(number, Tally.of(plain)) for number, plain in await self.ask("collect")]

    async def end(self, within: float) -> None:
        await self.ask("end", within, within=within + _PATIENCE)

    async def ask(self, what: str, *arguments: object, within: float = _PATIENCE) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to a question.

        Raises:
            WorkerLostError: The process has ended, or does not answer in time.
            Exception: What the question raised there.
        """
        assert self._process.stdin is not None  # noqa: S101 - asked for
        if self._reading.done():
            raise WorkerLostError(self._end())
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            line = json.dumps({"number": number, "what": what, "arguments": arguments})
            async with asyncio.timeout(within):
                # If it has ended, so does the answer.
                with contextlib.suppress(OSError):
                    self._process.stdin.write(f"{line}\n".encode())
                    await self._process.stdin.drain()
                await asyncio.wait({answer})
        except TimeoutError:
            raise WorkerLostError(f"it does not answer for {within:g} s") from None
        else:
            # What it raised there may be a time-out, too.
            return answer.result()
        finally:
            del self._asked[number]

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - asked for
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            asked = self._asked.get(answer["number"])
            if asked is None or asked.done():
                continue
            if "error" in answer:
                # Made by our own process a moment ago.
                asked.set_exception(pickle.loads(base64.b64decode(answer["error"])))  # noqa: S301
            else:
                asked.set_result(answer["result"])
        await self._process.wait()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(WorkerLostError(self._end()))

    def _end(self) -> str:
        return f"it ended with status {self._process.returncode}"

    async def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None  # noqa: S101 - asked for
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_ENDING):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._reading
