"""Runs a plan over workers, second by second, and judges each step.

Imports `plan`, `step`, `tally`, `verdict` and `workers`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from .tally import Tally
from .verdict import Conclusion, Judged, Limits, baseline, conclude, judge
from .workers import WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .plan import Plan
    from .step import Step
    from .workers import Crew, Worker

__all__ = ["Conductor", "Course", "Watcher"]

_LEAD: Final = 0.2
"""Seconds from the last worker's start to the first second."""
_GRACE: Final = 0.05
"""Seconds after which a second's figures are asked for."""
_PATIENCE: Final = 5.0
"""Seconds for which figures are waited for."""
_CLOSING: Final = 15.0
"""Seconds in which streams may end in order."""


@dataclass(slots=True)
class Course:
    """What has happened so far, or in all.

    Attributes:
        seconds: The figures of each second, over all workers.
        judged: The steps that are over.
        ending: The figures of the streams that were given up: at the end, and in a search before.
        lost_workers: Workers that died.
        conclusion: What was found; None: the test goes on.
        is_stopped: Whether it was stopped before its end.
    """

    seconds: list[Tally] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    ending: Tally = field(default_factory=Tally)
    lost_workers: list[str] = field(default_factory=list)
    conclusion: Conclusion | None = None
    is_stopped: bool = False


class Watcher(Protocol):
    """Is told how a test goes."""

    def began(self, step: Step) -> None:
        """Take the step that begins."""

    def second(self, step: Step, number: int, tally: Tally) -> None:
        """Take the figures of a second of a step, with its number in the test."""

    def ended(self, judged: Judged) -> None:
        """Take what came of a step."""

    def closing(self) -> None:
        """Take that the streams are being closed."""


class Conductor:
    """Runs one test.

    Args:
        plan: How many streams there are to be, and when.
        limits: What a step may not exceed.
        crew: What holds the streams.
        watcher: Is told how it goes.
    """

    def __init__(self, plan: Plan, limits: Limits, crew: Crew, watcher: Watcher) -> None:
        self._plan = plan
        self._limits = limits
        self._crew = crew
        self._watcher = watcher
        self._stop = asyncio.Event()
        self._workers: list[Worker] = []
        # The figures of seconds that not all workers have told yet.
        self._early: dict[int, Tally] = {}
        # The second up to which each worker has told its figures, by its identity.
        self._reached: dict[int, int] = {}
        self._begins = 0.0
        self.course = Course()

    def stop(self) -> None:
        """Have the test end now, in order."""
        self._stop.set()

    async def run(self) -> Course:
        """Run the plan to its end, or until `stop`.

        Raises:
            SageMakerError: The endpoint cannot be used at all.
            WorkerLostError: No worker is left, or none could be started.
        """
        async with self._crew as workers:
            self._workers = list(workers)
            await self._prepare()
            if not self._stop.is_set():
                await self._steps()
            await self._close()
        course = self.course
        course.is_stopped = self._stop.is_set()
        course.conclusion = conclude(
            course.judged,
            self._plan.streams,
            course.ending,
            limits=self._limits,
            stopped=course.is_stopped,
        )
        return course

    async def _prepare(self) -> None:
        preparing = asyncio.create_task(self._each(lambda worker: worker.prepare()))
        stopping = asyncio.create_task(self._stop.wait())
        both: set[asyncio.Task[Any]] = {preparing, stopping}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if preparing.done():
                await preparing
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        if not self._workers:
            raise WorkerLostError(f"no worker is left: {', '.join(self.course.lost_workers)}")
        await self._each(lambda worker: worker.begin(_LEAD))
        self._begins = asyncio.get_running_loop().time() + _LEAD

    async def _steps(self) -> None:
        while (step := self._plan.next(self.course.judged)) is not None and self._workers:
            judged = await self._step(step)
            self.course.judged.append(judged)
            self._watcher.ended(judged)
            if self._stop.is_set():
                return

    async def _step(self, step: Step) -> Judged:
        self._watcher.began(step)
        seconds, begins = self.course.seconds, len(self.course.seconds)
        await self._each(lambda worker: worker.want(step.streams, step.opening))
        while len(seconds) < begins + step.seconds and self._workers:
            if await self._wait_for(len(seconds) + 1):
                break
            for tally in await self._gather(len(seconds) + 1):
                seconds.append(tally)
                self._watcher.second(step, len(seconds) - 1, tally)
            if any(tally.permanent for tally in seconds[begins:]):
                break
        return judge(
            step,
            begins,
            seconds[begins : begins + step.seconds],
            self._limits,
            baseline(self.course.judged),
            # Their share is missing in every later step, too.
            dead=self.course.lost_workers,
            stopped=self._stop.is_set(),
        )

    async def _wait_for(self, second: int) -> bool:
        """Wait until a second has ended; return whether the test is to stop."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, self._begins + second + _GRACE - loop.time())):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    async def _gather(self, until: int) -> list[Tally]:
        """Return the figures of the seconds up to a number, of which none has been returned yet."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        begun = len(self.course.seconds)
        while waiting := [each for each in self._workers if self._reached.get(id(each), 0) < until]:
            if loop.time() > deadline:
                for worker in waiting:
                    self._lose(worker, "it does not answer")
                break
            for worker, tallies in await self._each(lambda worker: worker.collect(), waiting):
                for number, tally in tallies:
                    self._early.setdefault(number, Tally()).merge(tally)
                    self._reached[id(worker)] = number + 1
            if any(self._reached.get(id(each), 0) < until for each in self._workers):
                await asyncio.sleep(_GRACE)
        return [self._early.pop(number, Tally()) for number in range(begun, until)]

    async def _close(self) -> None:
        self._watcher.closing()
        await self._each(lambda worker: worker.end(_CLOSING))
        ending = self.course.ending
        for _, tallies in await self._each(lambda worker: worker.collect()):
            for _, tally in tallies:
                ending.merge(tally)
        for tally in self._early.values():
            ending.merge(tally)

    async def _each[T](
        self, ask: Callable[[Worker], Awaitable[T]], workers: Sequence[Worker] | None = None
    ) -> list[tuple[Worker, T]]:
        """Ask all workers at once, and return what those say that live."""
        asked = list(self._workers if workers is None else workers)
        answers = await asyncio.gather(*(ask(each) for each in asked), return_exceptions=True)
        found: list[tuple[Worker, T]] = []
        for worker, answer in zip(asked, answers, strict=True):
            if isinstance(answer, WorkerLostError):
                self._lose(worker, str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append((worker, answer))
        return found

    def _lose(self, worker: Worker, why: str) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            self.course.lost_workers.append(f"{worker.name}: {why}" if why else worker.name)
