"""The driver's side of a batch: what is to be done, in lots, over Ray's workers.

The batch runs when its function is called, and not when its Dataset is used: a Dataset that is used
twice runs twice, and sessions cost money. What is returned reads the output, or is in Ray's memory.
"""

from __future__ import annotations

import inspect
import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from deepgram_sagemaker.config import SageMakerConfig

from .lease import RunLease
from .output import LEASE_FILE, Output, Results
from .permits import Office
from .places import make_folder
from .rows import key_of
from .work import Job, Worker

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from ray.data import Dataset

    from deepgram_sagemaker.conversations.query import Query

    from .places import Places
    from .rows import Format
    from .work import Task

__all__ = ["Batch", "Pool", "checked_query", "run"]

# Recordings of a lot: few, so that a worker's death and the end of the batch cost little; more of a
# large archive, whose lots Ray has to keep track of.
_LOT: Final = 4
_MOST_LOT: Final = 64
_LOTS: Final = 10_000
# Recordings that a worker has beyond those in sessions: some wait for others of their lot.
_AHEAD: Final = 4
_MOST_STREAMS: Final = 100_000
# Calls of the office at once: a worker has at most three.
_MOST_CALLS: Final = 10_000
# Seconds for an answer of the office.
_PATIENCE: Final = 60.0

_logger = logging.getLogger("deepgram_sagemaker.ray")


@dataclass(frozen=True, slots=True)
class Pool:
    """The workers.

    Attributes:
        streams: Sessions at once, over all workers.
        workers: How many workers; or the fewest and the most.
        num_cpus: Processors that Ray reserves for each.
        ray_remote_args: Further options of Ray's for each.
    """

    streams: int
    workers: int | tuple[int, int]
    num_cpus: float
    ray_remote_args: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not _is_count(self.streams) or self.streams > _MOST_STREAMS:
            raise ValueError(f"streams={self.streams!r}: must be from 1 to {_MOST_STREAMS}")
        least, most = self.sizes
        if not (_is_count(least) and _is_count(most) and least <= most):
            raise ValueError(
                f"workers={self.workers!r}: must be a whole number from 1, or the fewest and the "
                "most"
            )

    @property
    def sizes(self) -> tuple[int, int]:
        """The fewest and the most workers."""
        if isinstance(self.workers, tuple):
            least, most = self.workers
            return least, most
        return self.workers, self.workers


@dataclass(frozen=True, slots=True)
class Batch:
    """What a call asks for.

    Attributes:
        kind: The function's name.
        task: What is done with each item.
        facts: What another call for the same output must have, too.
        config: The endpoint.
        pool: The workers.
        attempts: The most sessions for one item.
        output: The folder of the results; None: they are kept nowhere.
        form: The form of its files.
        rows: The folder of its rows, below it.
        retry_failed: Whether what failed earlier is tried again.
        places: Finds the output.
    """

    kind: str
    task: Task
    facts: Mapping[str, Any]
    config: SageMakerConfig
    pool: Pool
    attempts: int
    output: str | os.PathLike[str] | None
    form: Format
    retry_failed: bool
    places: Places
    rows: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.config, SageMakerConfig):
            raise TypeError(f"config= takes a SageMakerConfig, not {type(self.config).__name__}")
        if self.form not in ("parquet", "jsonl"):
            raise ValueError(f"format={self.form!r}: must be 'parquet' or 'jsonl'")
        if not _is_count(self.attempts):
            raise ValueError(f"attempts={self.attempts!r}: must be a whole number from 1")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def checked_query(query: Mapping[str, Any] | None, model: str) -> Query:
    """Return Deepgram's parameters as text.

    Args:
        query: The parameters; None: there are none.
        model: The model if they have none.

    Raises:
        ValueError: The model is no text.
    """
    checked: dict[str, str | list[str]] = {"model": model}
    checked |= {
        name: [_text(each) for each in value] if isinstance(value, list | tuple) else _text(value)
        for name, value in (query or {}).items()
    }
    if not isinstance(checked["model"], str):
        raise ValueError("query= takes one model")  # noqa: TRY004 - of any type
    return checked


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def run(batch: Batch, items: pa.Table | Dataset, names: Sequence[str]) -> Dataset:
    """Run a batch to its end; return its rows.

    Args:
        batch: What is asked for.
        items: What is to be done: rows, or a Dataset whose rows are too large for one machine.
        names: What the rows are called, each once.

    Raises:
        SageMakerError: The endpoint, the caller or the parameters are at fault.
        OutputError: The output belongs to another batch.
        OutputBusyError: Another run writes to the output.
        OSError: The output cannot be read or written.
        TypeError: The config cannot be sent to workers.
    """
    _check_config(batch.config)
    if batch.output is None:
        if not names:
            return ray.data.from_arrow(batch.task.schema.empty_table())
        return _Run(batch, None).collected(items, set(names))
    place = batch.places.place(batch.output)
    output = Output(place, batch.task.schema, batch.form, batch.rows)
    facts = {"kind": batch.kind, "format": batch.form, **batch.facts}
    results = Results(output, facts, retry_failed=batch.retry_failed)
    make_folder(place)
    with ExitStack() as stack:
        under_way: list[_Run] = []

        def give_up(reason: Exception) -> None:
            for each in under_way:
                each.give_up(reason)

        lease = stack.enter_context(RunLease(place.below(LEASE_FILE), give_up))
        results.begin()
        missing = {name for name in names if not results.is_done(name)}
        if len(missing) < len(names):
            _logger.info("%d of %d are done", len(names) - len(missing), len(names))
        if missing:
            current = _Run(batch, output, lease.run, is_proven=results.has_succeeded)
            under_way.append(current)
            current.into(results, items, missing)
        results.finish()
    return results.dataset(names)


def _check_config(config: SageMakerConfig) -> None:
    """Raise an error if the config cannot be sent to workers."""
    sessions = [config.boto3_session, *(each.boto3_session for each in config.fallbacks)]
    if any(session is not None for session in sessions):
        # Some can be pickled, with their keys, and then stop where those run out.
        raise TypeError(
            "a config with a boto3_session cannot be sent to workers: leave it out, and each "
            "worker finds keys with boto3's chain (a role, AWS_PROFILE, variables)"
        )


class _Run:
    """One run over Ray's workers."""

    def __init__(
        self, batch: Batch, output: Output | None, run: str = "", *, is_proven: bool = False
    ) -> None:
        pool = batch.pool
        self._key = key_of(batch.task.schema)
        self._pool = pool
        # The limit is the office's. A worker's own has to leave room for it, and for the streams
        # that replace old ones.
        most = max(batch.config.max_concurrency, 2 * pool.streams)
        options = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": _MOST_CALLS}
        self._office = (
            ray.remote(Office).options(**options).remote(pool.streams, is_proven=is_proven)
        )
        self._job = Job(
            replace(batch.config, max_concurrency=most),
            batch.task,
            output,
            run,
            self._office,
            batch.attempts,
        )

    def give_up(self, reason: Exception) -> None:
        """End the run, because the output is no longer its own. From any thread."""
        self._office.stop.remote(reason)

    def into(self, results: Results, items: pa.Table | Dataset, missing: set[str]) -> None:
        """Do what is missing."""
        try:
            done = self._done(items, missing)
            for table in done.iter_batches(batch_size=None, batch_format="pyarrow"):
                results.add(table)
            self._check(missing - results.told)
        finally:
            ray.kill(self._office)

    def collected(self, items: pa.Table | Dataset, names: set[str]) -> Dataset:
        """Do all of it; return the rows, which are in Ray's memory."""
        try:
            done = self._done(items, names).materialize()
            rows = done.select_columns([self._key]).iter_batches(
                batch_size=None, batch_format="pyarrow"
            )
            self._check(names - {name for table in rows for name in table[self._key].to_pylist()})
        finally:
            ray.kill(self._office)
        return done

    def _done(self, items: pa.Table | Dataset, missing: set[str]) -> Dataset:
        pool, (least, most) = self._pool, self._pool.sizes
        _check_room(pool.num_cpus)
        if isinstance(items, pa.Table):
            wanted = pa.array(list(missing), pa.string())
            rows = items.filter(pc.is_in(items[self._key], wanted)).to_pylist()
            size = min(max(_LOT, len(rows) // _LOTS), _MOST_LOT)
            lots = math.ceil(len(rows) / size)
            source = ray.data.from_items(rows, override_num_blocks=lots)
            least, most = min(least, lots), min(most, lots)
            shares = math.ceil(lots / least)
        else:
            kwargs = {"key": self._key, "wanted": ray.put(missing)}
            source = items.map_batches(_only, batch_format="pyarrow", fn_kwargs=kwargs)
            size, shares = _LOT, pool.streams
        calls = max(2, min(math.ceil(_AHEAD * math.ceil(pool.streams / most) / size), shares))
        done = source.map_batches(
            Worker,
            fn_constructor_kwargs={"job": self._job},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=pool.num_cpus,
            **_at_once(least, most, calls),
            **pool.ray_remote_args,
        )
        # Ray would end a batch in which no lot ends for half an hour. Sessions have deadlines of
        # their own, and a recording may take hours.
        if hasattr(done.context, "execution_no_progress_timeout_s"):
            done.context.execution_no_progress_timeout_s = -1
        return done

    def _check(self, untold: set[str]) -> None:
        """Raise what has ended the run early."""
        reason = ray.get(self._office.stopped.remote(), timeout=_PATIENCE)
        if reason is not None:
            raise cast("Exception", reason)
        if untold:
            raise RuntimeError(
                f"{len(untold)} have no result, such as {min(untold)}. A Dataset is read more than "
                "once: if its rows differ each time, give it as `.materialize()`"
            )


def _check_room(num_cpus: float) -> None:
    """Say so if Ray has no machine for a worker: it would wait for one without a word."""
    most = max(
        (each["Resources"].get("CPU", 0.0) for each in ray.nodes() if each["Alive"]), default=0.0
    )
    if num_cpus > most:
        _logger.warning(
            "a worker needs num_cpus=%g, and no machine of Ray's has more than %g: the batch waits "
            "until there is one",
            num_cpus,
            most,
        )


def _at_once(least: int, most: int, calls: int) -> dict[str, Any]:
    """Return the options of `map_batches` for a pool whose workers have several lots at once."""
    # Ray adds workers when lots queue at those that there are.
    queued = calls if least == most else 2 * calls
    sizes = {"min_size": least, "max_size": most, "max_tasks_in_flight_per_actor": queued}
    pool = ray.data.ActorPoolStrategy
    # Ray 2.59 has a name for it; before, it was an option of the actor.
    name = "max_concurrent_calls_per_actor"
    if name in inspect.signature(pool).parameters:
        return {"compute": pool(**sizes, **{name: calls})}
    return {"compute": pool(**sizes), "max_concurrency": calls}


def _only(batch: pa.Table, key: str, wanted: ray.ObjectRef[set[str]]) -> pa.Table:
    return batch.filter(pc.is_in(batch[key], pa.array(list(ray.get(wanted)), pa.string())))
