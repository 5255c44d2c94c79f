"""What holds a share of the streams: this process, other processes here, or Ray's actors.

The conductor does not know which. Imports `generator`, `spec` and `tally`; `on_ray` and `processes`
have the other two kinds.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from .generator import Generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spec import Spec
    from .tally import Tally

__all__ = ["Crew", "Here", "Worker", "WorkerLostError"]


class WorkerLostError(ConnectionError):
    """A worker has died, or does not answer."""


class Worker(Protocol):
    """Holds a share of the streams: see `Generator`, whose methods these are.

    Each raises `WorkerLostError` if the worker has died or does not answer in time.

    Attributes:
        name: What to call it.
    """

    name: str

    async def prepare(self) -> None:
        """Hold one stream for a second."""

    async def begin(self, within: float) -> None:
        """Begin to count seconds."""

    async def want(self, streams: int, within: float) -> None:
        """Have a number of streams, over all workers."""

    async def collect(self) -> list[tuple[int, Tally]]:
        """Return the figures of the seconds that have ended since the last call."""

    async def end(self, within: float) -> None:
        """End all streams in order; cut off those that take longer."""


class Crew(Protocol):
    """Makes the workers, and ends them with its context, whatever they do."""

    async def __aenter__(self) -> Sequence[Worker]: ...

    async def __aexit__(self, *_: object) -> None: ...


class _Local(Generator):
    name = "this process"


class Here:
    """One worker: this process, on this event loop.

    Args:
        spec: What its streams are.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Sequence[Worker]:
        return [await self._stack.enter_async_context(_Local(self._spec))]

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
