"""Workers that are Ray actors: on this machine, or on all machines of a cluster.

Needs Ray (extra `ray`). Imports `generator`, `spec`, `tally` and `workers`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ray
from ray.exceptions import RayError, RayTaskError

from .generator import Generator
from .tally import Tally
from .workers import WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spec import Spec
    from .workers import Worker

__all__ = ["OnRay"]

# Its types say less than its documentation.
_ray: Any = ray

_PATIENCE: Final = 20.0
"""Seconds for an answer, besides the time that the question itself takes."""
_PREPARING: Final = 180.0
"""Seconds in which an actor is placed, loads what it needs and holds its first stream."""


class OnRay:
    """Several workers, each an actor with a processor of its own.

    Args:
        spec: What the streams are.
        count: How many actors; None: one for each processor of the cluster.
    """

    def __init__(self, spec: Spec, count: int | None) -> None:
        if spec.ca_bundle is not None:
            # Other machines may not have the file.
            spec = dataclasses.replace(spec, authorities=Path(spec.ca_bundle).read_bytes())
        self._spec = spec
        self._count = count
        self._actors: list[Any] = []
        self._is_ours = False

    async def __aenter__(self) -> Sequence[Worker]:
        if not _ray.is_initialized():
            await asyncio.to_thread(_ray.init, log_to_driver=False, configure_logging=False)
            self._is_ours = True
        try:
            count = self._count or int(_ray.cluster_resources().get("CPU", 1))
            spec = _ray.put(self._spec)
            made = _ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(_Actor)
            self._actors = [made.remote(spec, number, count) for number in range(count)]
        except BaseException:
            await self.__aexit__()
            raise
        return [_OnRay(f"actor {at + 1}", actor) for at, actor in enumerate(self._actors)]

    async def __aexit__(self, *_: object) -> None:
        for actor in self._actors:
            _ray.kill(actor)
        self._actors.clear()
        if self._is_ours:
            self._is_ours = False
            await asyncio.to_thread(_ray.shutdown)


class _Actor:
    """Holds a generator on the loop of an actor."""

    def __init__(self, spec: Spec, number: int, workers: int) -> None:
        self._spec = spec
        self._number = number
        self._workers = workers
        self._generator: Generator | None = None

    async def prepare(self) -> None:
        spec = self._spec
        if spec.authorities is not None:
            with tempfile.NamedTemporaryFile("wb", suffix=".pem", delete=False) as file:
                file.write(spec.authorities)
            spec = dataclasses.replace(spec, ca_bundle=file.name)
        try:
            self._generator = Generator(spec, self._number, self._workers)
            await self._generator.prepare()
        finally:
            # It has been read.
            if spec is not self._spec:
                os.unlink(str(spec.ca_bundle))  # noqa: PTH108 - a moment, once

    async def act(self, what: str, *arguments: Any) -> Any:  # noqa: ANN401 - a method's
        return await getattr(self._generator, what)(*arguments)

    async def collect(self) -> list[tuple[int, dict[str, Any]]]:
        assert self._generator is not None  # noqa: S101 - prepared
        return [(number, tally.plain()) for number, tally in await self._generator.collect()]


class _OnRay:
    def __init__(self, name: str, actor: Any) -> None:  # noqa: ANN401 - Ray's handle
        self.name = name
        self._actor = actor

    async def prepare(self) -> None:
        await _answer(self._actor.prepare.remote(), _PREPARING)

    async def begin(self, within: float) -> None:
        await _answer(self._actor.act.remote("begin", within))

    async def want(self, streams: int, within: float) -> None:
        await _answer(self._actor.act.remote("want", streams, within))

    async def collect(self) -> list[tuple[int, Tally]]:
        told = await _answer(self._actor.collect.remote())
        return [(number, Tally.of(plain)) for number, plain in told]

    async def end(self, within: float) -> None:
        await _answer(self._actor.act.remote("end", within), within + _PATIENCE)


async def _answer(asked: Any, within: float = _PATIENCE) -> Any:  # noqa: ANN401 - Ray's
    """Return an actor's answer.

    Raises:
        WorkerLostError: It has died, or does not answer in time.
        Exception: What it raised.
    """
    try:
        async with asyncio.timeout(within):
            return await asked
    except TimeoutError:
        raise WorkerLostError(f"it does not answer for {within:g} s") from None
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise WorkerLostError(str(error).splitlines()[0] if str(error) else "it died") from None
