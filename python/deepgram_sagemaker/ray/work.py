"""A worker: many sessions at once on one event loop, and what becomes of each.

Ray starts a worker, gives it lots of recordings or texts, and starts it again if it is killed. What
had been finished by then is found in the output, and is not done again.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import ray

from deepgram_sagemaker.conversations.caller import Caller
from deepgram_sagemaker.conversations.reasons import ConversationError
from deepgram_sagemaker.errors import (
    AcquireTimeoutError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    CredentialsTimeoutError,
    ModelError,
    RetriesExhaustedError,
    SageMakerError,
    ServiceUnavailableError,
    SessionClosedError,
    SessionLostError,
    SubscriptionTimeoutError,
    ThrottledError,
)

from .permits import BatchStoppedError, OfficeLostError, Permits, PermitsLostError
from .rows import as_table, failure, key_of
from .storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from deepgram_sagemaker.config import SageMakerConfig

    from .output import Output

__all__ = [
    "AudioLostError",
    "Job",
    "Task",
    "Worker",
    "ends_the_batch",
    "is_of_the_service",
    "may_pass",
]

_LONGEST_WAIT: Final = 30.0
# Times that a result is written before the output counts as broken.
_WRITES: Final = 5
# What a file system says of a path, and says again. Some errors have a class only, some a number.
_LASTING: Final = (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EILSEQ)
_LASTING_KINDS: Final = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)

_logger = logging.getLogger("deepgram_sagemaker.ray")


class AudioLostError(ConversationError):
    """Not all of a recording was told exactly once."""


class Task(Protocol):
    """What is done with one item of a batch."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of its rows."""

    async def do(
        self, caller: Caller, storage: Storage, item: dict[str, Any], attempt: int
    ) -> list[dict[str, Any]]:
        """Do it, in one session; return the rows.

        Args:
            caller: Opens sessions.
            storage: Reads and writes files.
            item: The recording or the text: a row of the input.
            attempt: The number of the attempt, from 1.
        """


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a batch gets.

    Attributes:
        config: The endpoint.
        task: What is done with each item.
        output: Where results are kept; None: nowhere.
        run: The id of this run.
        office: The actor that leases permits.
        attempts: The most sessions for one item.
    """

    config: SageMakerConfig
    task: Task
    output: Output | None
    run: str
    office: Any
    attempts: int


class Worker:
    """What Ray Data calls with each lot, several at the same time.

    Args:
        job: The batch.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._caller = Caller(job.config)
        self._storage = Storage()
        self._permits = Permits(job.office, ray.get_runtime_context().get_actor_id() or "driver")
        # Why nothing new begins, as the office knows it, and why it cannot be asked any more.
        self._reason: object = None
        self._lost: OfficeLostError | None = None
        self._has_succeeded = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="deepgram-sagemaker-batch", daemon=True
        )
        self._thread.start()

    def __call__(self, lot: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of a lot."""
        # A generator: Ray's lock around calls is open while it runs.
        work = asyncio.run_coroutine_threadsafe(self._lot(lot.to_pylist()), self._loop)
        yield as_table(work.result(), self._job.task.schema)

    def close(self) -> None:
        """Cancel what is under way, and leave no thread of the loop's."""
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._storage.close()

    async def _lot(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(item)) for item in items]
        if self._reason is not None and self._lost is None:
            # Ray may have started the office again since, and it has forgotten all.
            await self._told("stop", self._reason)
        if self._lost is not None:
            raise self._lost
        return [row for task in tasks for row in task.result()]

    async def _one(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        """Return an item's rows; none if the batch is ending."""
        if self._reason is not None or self._lost is not None:
            return []
        name = item[key_of(self._job.task.schema)]
        try:
            return await self._kept(name) or await self._fresh(item, name)
        except BatchStoppedError as stopped:
            await self._stop(stopped.reason)
        except OfficeLostError as error:
            # Of all that fails for this reason, one error is told.
            self._lost = error
        except OSError as error:
            # The output cannot be read or written: so it would be for all others.
            await self._stop(_bare(error))
        return []

    async def _kept(self, name: str) -> list[dict[str, Any]] | None:
        """Return the rows of an item that was finished before a worker was killed."""
        output = self._job.output
        if output is None:
            return None
        finished = await self._storage.run(output.finished, name)
        if finished is None or (finished.has_failed and finished.run != self._job.run):
            return None
        return finished.rows

    async def _fresh(self, item: dict[str, Any], name: str) -> list[dict[str, Any]]:
        attempt, lost = 0, ""
        while True:
            attempt += 1
            try:
                async with self._permits.permit():
                    rows = await self._job.task.do(self._caller, self._storage, item, attempt)
            except PermitsLostError:
                attempt -= 1
                continue
            except (BatchStoppedError, OfficeLostError):
                raise
            except Exception as error:
                if ends_the_batch(error):
                    raise BatchStoppedError(_bare(error)) from error
                if await self._is_away(error):
                    attempt -= 1
                    continue
                # The same audio twice: that is how the service takes this recording.
                is_same, lost = lost == str(error), str(error)
                is_same = is_same and isinstance(error, AudioLostError)
                if attempt < self._job.attempts and may_pass(error) and not is_same:
                    await asyncio.sleep(random.uniform(0, min(2.0**attempt, _LONGEST_WAIT)))  # noqa: S311 - no secret
                    continue
                key = key_of(self._job.task.schema)
                rows = [{key: name, "attempts": attempt, "error": failure(error)}]
                await self._keep(name, rows)
                if isinstance(error, SageMakerError):
                    await self._told("failed", _bare(error), self._has_succeeded)
            else:
                # First of all: it has been paid for.
                await self._keep(name, rows)
                self._has_succeeded = True
                await self._told("succeeded")
            return rows

    async def _is_away(self, error: Exception) -> bool:
        """Tell the office how a session has failed; return whether the service is away."""
        if not is_of_the_service(error):
            await self._told("undecided")
            return False
        return bool(await self._told("troubled", _bare(error), self._has_succeeded))

    async def _keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        output = self._job.output
        if output is None:
            return
        for again in reversed(range(_WRITES)):
            try:
                await self._storage.run(output.finish, name, self._job.run, rows)
            except OSError:
                if not again:
                    raise
                await asyncio.sleep(random.uniform(0, 2.0 ** (_WRITES - again)))  # noqa: S311 - no secret
            else:
                return

    async def _stop(self, reason: object) -> None:
        if self._reason is None:
            self._reason = reason
            await self._told("stop", reason)

    async def _told(self, what: str, *arguments: object) -> Any:  # noqa: ANN401 - the office's
        """Tell the office; return its answer, None if there is no office any more."""
        try:
            return await self._permits.tell(what, *arguments)
        except OfficeLostError as error:
            # What is finished is returned all the same: the lot says it.
            self._lost = error
            return None


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _bare[E: Exception](error: E) -> E:
    """Return an error without its cause, which may be of a class that cannot be sent."""
    error.__cause__ = error.__context__ = None
    return error


def ends_the_batch(error: Exception) -> bool:
    """Return whether an error is about the endpoint, the caller or the parameters.

    Every other recording would fail in the same way: the endpoint does not exist, the keys are
    missing or not accepted, the permission is missing, the request breaks a rule.
    """
    own = (RetriesExhaustedError, SessionLostError, SessionClosedError, ModelError)
    return isinstance(error, SageMakerError) and not error.retryable and not isinstance(error, own)


def is_of_the_service(error: Exception) -> bool:
    """Return whether a session has failed because the service is away or has too much to do."""
    if isinstance(error, RetriesExhaustedError | SessionLostError):
        cause = error.__cause__
        return isinstance(cause, Exception) and is_of_the_service(cause)
    return isinstance(
        error,
        AcquireTimeoutError
        | ConnectError
        | ConnectionLostError
        | ConnectTimeoutError
        | CredentialsTimeoutError
        | ServiceUnavailableError
        | SubscriptionTimeoutError
        | ThrottledError,
    )


def may_pass(error: Exception) -> bool:
    """Return whether another session for the same recording may succeed."""
    if isinstance(error, SageMakerError):
        return not isinstance(error, SessionClosedError)
    if isinstance(error, OSError):
        return error.errno not in _LASTING and not isinstance(error, _LASTING_KINDS)
    return isinstance(error, ConversationError)
