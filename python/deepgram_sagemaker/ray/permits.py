"""One limit of sessions over all workers: permits, which a small actor leases to the workers.

- `Ledger` is the book of the leases: who has how many. It has no clock.
- `Office` is the actor around it: workers ask it for permits and renew their leases.
- `Permits` is a worker's side: each session takes one, and one request at a time asks for them.

A worker renews its leases every few seconds. If it has not for `LEASE` seconds, they are given to
others. The worker knows this too, by its own clock and somewhat earlier, and ends its sessions. The
leases of a worker that was killed are free sooner: when Ray has started it again. If the actor
itself is lost, Ray starts it again, and it grants nothing until the workers have had the time to
report what they hold.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
import warnings
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import ray
from ray.exceptions import ActorDiedError, RayError

from .breaker import AWAY, Breaker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = [
    "HOPELESS",
    "LEASE",
    "BatchStoppedError",
    "Ledger",
    "Office",
    "OfficeLostError",
    "Permits",
    "PermitsLostError",
]

LEASE: Final = 30.0
"""Seconds for which a lease holds without being renewed."""

HOPELESS: Final = 10
"""Recordings that fail through the service, with none that succeeds, after which a batch ends."""

_RENEWAL: Final = 3.0
# A worker ends its sessions this much earlier than the office gives their permits away.
_MARGIN: Final = 10.0
# Seconds for which the office keeps a request that it cannot meet.
_PATIENCE: Final = 5.0
# Seconds for which a worker waits for the answer to a request, and to the news of a lease.
_ANSWER: Final = 15.0
_CONFIRMED: Final = 5.0
# Seconds without the office after which a worker gives up.
_GIVES_UP: Final = 300.0

_logger = logging.getLogger("deepgram_sagemaker.ray")


class BatchStoppedError(Exception):
    """The batch is ending early, so nothing new begins.

    Args:
        reason: Why it ends.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason


class OfficeLostError(RuntimeError):
    """The actor that leases permits does not come back, so no batch can go on."""


class PermitsLostError(Exception):
    """The worker's leases have run out, so its sessions had to end."""


@dataclass(slots=True)
class _Lease:
    life: str
    held: int
    renewed: float


@dataclass(slots=True)
class Ledger:
    """Who has how many permits.

    A worker keeps its name when Ray starts it again, and gets another life.

    Attributes:
        limit: Permits in all.
        closed_until: The time before which none are granted.
    """

    limit: int
    closed_until: float
    _leases: dict[str, _Lease] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """Permits that workers have."""
        return sum(lease.held for lease in self._leases.values())

    def renew(self, worker: str, life: str, held: int | None, now: float) -> bool:
        """Renew a worker's lease; return whether it keeps the permits that it says it has.

        Args:
            worker: Its name.
            life: Its life. The permits of an earlier one are free again.
            held: The permits that it has; None: it does not know, because it is being granted some.
            now: The time.
        """
        lease = self._leases.get(worker)
        if lease is not None and lease.life == life:
            lease.renewed = now
            if held is not None:
                lease.held = held
            return True
        # What an unknown life says it has may have been given to others, except in the beginning,
        # when nothing has been.
        keeps = not held or now < self.closed_until
        self._leases[worker] = _Lease(life, (held or 0) if keeps else 0, now)
        return keeps

    def grant(self, worker: str, life: str, wanted: int, now: float) -> int:
        """Lease up to `wanted` permits to a worker that is known; return how many."""
        lease = self._leases.get(worker)
        if lease is None or lease.life != life or now < self.closed_until:
            return 0
        granted = max(0, min(wanted, self.limit - self.held))
        lease.held += granted
        return granted

    def release(self, worker: str, life: str, count: int) -> None:
        """Take permits back from a worker."""
        lease = self._leases.get(worker)
        if lease is not None and lease.life == life:
            lease.held = max(0, lease.held - count)

    def expire(self, now: float) -> None:
        """Take all permits of the workers that have not renewed their leases in time."""
        for worker, lease in list(self._leases.items()):
            if now - lease.renewed > LEASE:
                del self._leases[worker]

    def forgive(self, now: float) -> None:
        """Renew every lease."""
        for lease in self._leases.values():
            lease.renewed = now


class Office:
    """The actor that leases permits, and that knows whether the batch goes on.

    Args:
        limit: Sessions at once, over all workers.
        is_proven: Whether sessions of this batch have succeeded before.
        away: Seconds for which a service that has been there may stay away.
    """

    def __init__(self, limit: int, *, is_proven: bool, away: float = AWAY) -> None:
        self._is_proven = is_proven
        self._breaker = Breaker(random.random, away)
        self._failures = 0
        now = time.monotonic()
        with warnings.catch_warnings():
            # It reads another property, which is deprecated.
            warnings.simplefilter("ignore")
            again = ray.get_runtime_context().was_current_actor_reconstructed
        self._ledger = Ledger(limit, now + LEASE if again else now)
        self._waiting: deque[asyncio.Event] = deque()
        self._stopped: object = None
        self._looked = now

    async def acquire(self, worker: str, life: str, wanted: int) -> int | BatchStoppedError:
        """Lease up to `wanted` permits, or none after a while; an error: the batch is ending.

        Those who wait are served in turn, one permit each, so that workers share the work.
        """
        end = time.monotonic() + _PATIENCE
        is_first = not self._waiting
        while self._stopped is None:
            now = self._look()
            # One who had to wait leaves some for those behind.
            most = self._breaker.most(wanted if is_first else 1, now)
            granted = self._ledger.grant(worker, life, most, now)
            if granted:
                self._breaker.began(now)
            if granted or now >= end:
                self._wake()
                return granted
            is_first = False
            turn = asyncio.Event()
            self._waiting.append(turn)
            try:
                # Leases also run out, which nobody tells.
                await asyncio.wait_for(turn.wait(), min(1.0, end - now))
            except TimeoutError:
                self._waiting.remove(turn)
        # With the reason, so that workers can say it again to an office that was started again.
        return BatchStoppedError(self._stopped)

    async def release(self, worker: str, life: str, count: int) -> None:
        """Take permits back."""
        self._ledger.release(worker, life, count)
        self._wake()

    async def renew(self, worker: str, life: str, held: int | None) -> bool:
        """Renew a worker's lease; return whether it keeps the permits that it says it has."""
        kept = self._ledger.renew(worker, life, held, self._look())
        self._wake()
        return kept

    async def succeeded(self) -> None:
        """Note that a session has succeeded."""
        self._is_proven = True
        if self._breaker.is_open:
            _logger.warning("the service is back: sessions begin again")
        self._breaker.succeeded()

    async def undecided(self) -> None:
        """Note that a session has ended for a reason of its own."""
        self._breaker.undecided()

    async def troubled(self, error: Exception, has_succeeded: bool) -> bool:
        """Note that a session has failed because the service is away or has too much to do.

        Args:
            error: Its error.
            has_succeeded: Whether the worker knows of a success, which a new office has not heard.

        Returns:
            Whether sessions are held back: then it was none of an item's attempts.
        """
        self._is_proven = self._is_proven or has_succeeded
        # A service that has never been there is not waited for.
        if not self._is_proven:
            return False
        was_open, now = self._breaker.is_open, time.monotonic()
        if self._breaker.failed(now):
            error.add_note(
                f"nothing has succeeded for more than {self._breaker.away:g} s: the batch ends, "
                "and the same call goes on with it"
            )
            await self.stop(error)
        if self._breaker.is_open and not was_open:
            _logger.warning("the service fails, and sessions wait until it is back: %s", error)
        return self._breaker.is_open

    async def failed(self, error: Exception, has_succeeded: bool = False) -> None:
        """Count an item that failed; end the batch if there has been nothing else."""
        self._is_proven = self._is_proven or has_succeeded
        self._failures += 1
        if not self._is_proven and self._failures >= HOPELESS:
            error.add_note(f"the first {self._failures} failed with errors of the service")
            await self.stop(error)

    async def stop(self, reason: object) -> None:
        """End the batch: nothing new begins. The first reason counts."""
        if self._stopped is None:
            self._stopped = reason
        while self._waiting:
            self._waiting.popleft().set()

    async def stopped(self) -> object:
        """Return why the batch ends; None: it goes on."""
        return self._stopped

    def _look(self) -> float:
        """Return the time, and let leases run out."""
        now = time.monotonic()
        # If this process has stood still, it has not heard the workers: they get their time again.
        if now - self._looked < LEASE / 3:
            self._ledger.expire(now)
        else:
            self._ledger.forgive(now)
        self._looked = now
        return now

    def _wake(self) -> None:
        """Let the one who has waited longest look again."""
        if self._waiting:
            self._waiting.popleft().set()


class Permits:
    """A worker's permits. Everything happens on one event loop.

    Args:
        office: The actor's handle.
        worker: The worker's name.
    """

    def __init__(self, office: Any, worker: str) -> None:  # noqa: ANN401 - Ray's handle
        self._office = office
        self._worker = worker
        self._life = uuid.uuid4().hex
        self._held = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._in_use: set[asyncio.Timeout] = set()
        self._is_known = False
        self._asking: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._renewed = time.monotonic()

    @asynccontextmanager
    async def permit(self) -> AsyncIterator[None]:
        """Hold one permit. What is within is cancelled if the permit is lost.

        Raises:
            BatchStoppedError: The batch is ending.
            PermitsLostError: The permit was lost.
            OfficeLostError: There is no office any more.
        """
        await self._take()
        fence = asyncio.timeout(None)
        try:
            async with fence:
                self._in_use.add(fence)
                try:
                    yield
                finally:
                    if fence in self._in_use:
                        self._in_use.remove(fence)
                        self._give_back(1)
        except TimeoutError:
            if fence.expired():
                raise PermitsLostError("the lease of this session has run out") from None
            raise

    async def tell(self, what: str, *arguments: object) -> Any:  # noqa: ANN401 - the method's
        """Tell the office something, again while Ray starts it again; return its answer.

        Args:
            what: The office's method.
            arguments: What it takes.

        Raises:
            OfficeLostError: There is no office any more.
        """
        began = time.monotonic()
        while True:
            told = getattr(self._office, what).remote(*arguments)
            try:
                return await asyncio.wait_for(asyncio.wrap_future(told.future()), _ANSWER)
            except (RayError, TimeoutError) as error:
                if isinstance(error, ActorDiedError) or time.monotonic() - began > _GIVES_UP:
                    raise _lost(error) from None
            await asyncio.sleep(1)

    async def _take(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(1)
            raise

    def _give_back(self, count: int) -> None:
        self._held -= count
        self._office.release.remote(self._worker, self._life, count)

    async def _ask(self) -> None:
        """Ask for as many permits as are waited for, until nobody waits."""
        failing_since: float | None = None
        while self._wanted():
            try:
                if not self._is_known:
                    await self._report(self._held)
                    continue
                life = self._life
                granted = await self._call("acquire", len(self._queue), within=_ANSWER)
                failing_since = None
            except (RayError, TimeoutError) as error:
                # It may still grant what nobody waits for any more: the next report says so.
                self._is_known = False
                now = time.monotonic()
                failing_since = failing_since or now
                if isinstance(error, ActorDiedError) or now - failing_since > _GIVES_UP:
                    self._refuse(_lost(error))
                else:
                    await asyncio.sleep(1)
                continue
            if isinstance(granted, BatchStoppedError):
                self._refuse(granted)
            elif life == self._life:
                self._held += granted
                self._hand_out(granted)

    def _wanted(self) -> bool:
        """Return whether somebody waits, without those who do not any more."""
        while self._queue and self._queue[0].done():
            self._queue.popleft()
        return bool(self._queue)

    def _hand_out(self, count: int) -> None:
        while count and self._wanted():
            self._queue.popleft().set_result(None)
            count -= 1
        if count:
            self._give_back(count)

    def _refuse(self, error: Exception) -> None:
        while self._wanted():
            self._queue.popleft().set_exception(error)

    async def _renew(self) -> None:
        """Renew the leases while any are held or asked for."""
        while True:
            await asyncio.sleep(_RENEWAL)
            is_asking = self._asking is not None and not self._asking.done()
            if not self._held and not is_asking:
                # The lease runs out, so the next request begins with a report.
                self._is_known = False
                return
            with suppress(RayError, TimeoutError):
                await self._report(None if is_asking else self._held)
            if self._held and time.monotonic() - self._renewed > LEASE - _MARGIN:
                self._lose()

    async def _report(self, held: int | None) -> None:
        began = time.monotonic()
        if await self._call("renew", held, within=_CONFIRMED):
            self._renewed = began
            self._is_known = True
        else:
            self._lose()

    def _lose(self) -> None:
        """End the sessions, whose permits others may have by now."""
        now = asyncio.get_running_loop().time()
        fences, self._in_use = self._in_use, set()
        for fence in fences:
            fence.reschedule(now)
        self._held = 0
        self._life = uuid.uuid4().hex
        self._is_known = False
        self._renewed = time.monotonic()

    async def _call(self, method: str, argument: int | None, *, within: float) -> Any:  # noqa: ANN401 - the method's
        answer = getattr(self._office, method).remote(self._worker, self._life, argument)
        return await asyncio.wait_for(asyncio.wrap_future(answer.future()), within)


def _lost(error: Exception) -> OfficeLostError:
    said = str(error).strip().splitlines()
    return OfficeLostError(
        "Ray has lost the actor that leases permits, so the batch cannot go on; the same call does "
        f"what is missing ({type(error).__name__}{f': {said[0]}' if said else ''})"
    )
