"""Holds the streams of one process: as many as are wanted, each replaced when it ends.

Imports `descriptors`, `histogram`, `metronome`, `spec`, `stream` and `tally`, and `errors`,
`events` and `factory`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Self

from deepgram import AsyncDeepgramClient

from deepgram_sagemaker import events
from deepgram_sagemaker.errors import ServiceUnavailableError
from deepgram_sagemaker.factory import SageMakerTransportFactory

from .audio import PERIOD
from .descriptors import allow
from .histogram import Histogram
from .metronome import Metronome
from .stream import Stream, is_permanent, kind_of, said_by
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deepgram_sagemaker.transport import SageMakerTransport

    from .spec import Spec

__all__ = ["Generator"]

_PAUSES: Final = (5.0, 10.0, 20.0, 30.0)
"""Seconds until a place whose stream has failed opens another, after each failure in a row."""
_NO_ROOM: Final = {"throttled", "not_ready", "container_unavailable", "container_refused"}
"""Why a stream is refused where there is no room for it, as `LegOpenFailed.reason`."""
_FAILED: Final = "service_failed"
_NO_CAPACITY: Final = 503
"""The status with which `service_failed` says the same. Other failures say nothing about room."""
_PROBE: Final = 1.0
"""Seconds of audio of the stream that is held before the test begins."""
_CUTTING: Final = 0.5
"""Seconds in which a session that is cut off may close."""
_APART: Final = 0.618
"""The part of a piece that a stream begins later than the one before: never the same twice."""

_opening: ContextVar[list[SageMakerTransport]] = ContextVar("opening")


class _Place:
    """Where one stream is held after the other."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.is_over = False
        self.holding: asyncio.Task[None] | None = None
        # Ends a pause.
        self.awake = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether it has a stream that goes on."""
        return self.stream is not None and self.stream.is_open

    def end(self) -> None:
        """Give it up: end its stream in order, or the attempt to open one at once."""
        self.is_over = True
        if self.stream is not None and self.stream.is_open:
            self.stream.end()
        elif self.holding is not None:
            self.holding.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait for a time, or until it is woken."""
        self.awake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.awake.wait()


class Generator:
    """The streams of one worker.

    Args:
        spec: What they are.
        number: The worker's number, from 0.
        workers: How many workers there are.
    """

    def __init__(self, spec: Spec, number: int = 0, workers: int = 1) -> None:
        self._spec = spec
        self._number = number
        self._workers = workers
        self._factory = SageMakerTransportFactory(
            config=spec.config(), on_event=self._told, telemetry=False
        )
        # The SDK compares factories by identity, and a bound method is a new object every time.
        self._make = self._made
        self._client = AsyncDeepgramClient(api_key="unused", transport_factory=self._make)
        self._loop = asyncio.get_running_loop()
        self._tally = Tally()
        # How much audio a result reports on.
        self._strides = Histogram()
        self._metronome = Metronome(PERIOD, lambda late: self._tally.lateness.add(late))
        self._ticking: asyncio.Task[None] | None = None
        self._places: list[_Place] = []
        self._holding: set[asyncio.Task[None]] = set()
        # How many streams have been made.
        self._made_streams = 0
        # Where each session is held, until its last event.
        self._held_at: dict[str, _Place] = {}
        # The open legs of each session.
        self._legs: dict[str, set[int]] = {}
        # What is counted of streams that have been given up. It says nothing about those that go
        # on, and so about no later step; it belongs to the time in which streams are closed.
        self._leaving = Tally()
        self._begins: float | None = None
        self._second = 0
        self._done: list[tuple[int, Tally]] = []
        self._used = (0.0, 0.0, 0.0)
        self._turning: asyncio.TimerHandle | None = None

    def _made(self, url: str, headers: Mapping[str, str] | None = None) -> SageMakerTransport:
        transport = self._factory(url, headers)
        _opening.get().append(transport)
        return transport

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._cut()

    async def prepare(self) -> None:
        """Hold one stream for a second, so that what is loaded once is loaded.

        Raises:
            SageMakerError: The endpoint cannot be used.
            TooFewDescriptorsError: This process may not have enough connections.
        """
        allow(-(-self._spec.streams // self._workers))
        self._ticking = asyncio.create_task(self._metronome.run())
        place = _Place()
        await self._run(place, self._stream(place), _PROBE)
        self._tally = Tally()

    async def begin(self, within: float) -> None:
        """Begin to count seconds.

        Args:
            within: Seconds until the first of them begins.
        """
        self._begins = self._loop.time() + within
        self._used = (time.process_time(), time.thread_time(), self._loop.time())
        self._on_second()

    async def want(self, streams: int, within: float) -> None:
        """Have a number of streams, over all workers.

        Args:
            streams: How many.
            within: Seconds in which further ones are opened, evenly. Those that are too many end
                at once, in order.
        """
        share = streams // self._workers + (self._number < streams % self._workers)
        # Those that have no stream are given up first, and of the others the youngest.
        self._places.sort(key=lambda place: not place.is_open)
        if len(self._places) > share:
            # What has been counted since the last second ended is theirs as well.
            self._turn()
            self._leaving.merge(self._tally)
            self._tally = Tally()
        for place in self._places[share:]:
            place.end()
        del self._places[share:]
        # What was refused before may be let in now.
        for place in self._places:
            place.awake.set()
        new = share - len(self._places)
        for count in range(new):
            place = _Place()
            self._places.append(place)
            # The workers' streams open in turn.
            after = within * (count + self._number / self._workers) / new
            place.holding = asyncio.create_task(self._hold(place, after))
            self._holding.add(place.holding)
            place.holding.add_done_callback(self._holding.discard)

    async def collect(self) -> list[tuple[int, Tally]]:
        """Return the seconds that have ended since the last call: their numbers and figures."""
        if self._ticking is not None and self._ticking.done():
            # Never in order: no stream would send any more.
            await self._ticking
        self._turn()
        done, self._done = self._done, []
        return done

    async def end(self, within: float) -> None:
        """End all streams in order; cut off those that take longer.

        Args:
            within: Seconds.
        """
        for place in self._places:
            place.end()
        self._places.clear()
        if self._holding:
            await asyncio.wait(set(self._holding), timeout=within)
        await self._cut()
        # What is left of the second that has begun, and what those left that were given up before.
        self._turn()
        last, leaving = self._closed(self._loop.time()), self._leaving
        self._leaving = Tally()
        last.merge(leaving)
        self._done.append((self._second, last))

    async def _cut(self) -> None:
        """Cut off what still goes on."""
        if self._turning is not None:
            self._turning.cancel()
        going = {*self._holding, *([] if self._ticking is None else [self._ticking])}
        self._ticking = None
        # What is cancelled closes its session in order first. The next time that is cut off, too.
        while going:
            for task in going:
                task.cancel()
            _, going = await asyncio.wait(going, timeout=_CUTTING)

    async def _hold(self, place: _Place, after: float) -> None:
        """Hold one stream after the other until the place is given up.

        Args:
            place: The place.
            after: Seconds until the first.
        """
        failures = 0
        try:
            await asyncio.sleep(after)
            while not place.is_over:
                place.stream = stream = self._stream(place)
                try:
                    await self._run(place, stream, self._spec.stream_duration)
                except Exception as error:  # noqa: BLE001 - whatever ends a stream is a figure
                    place.stream = None
                    self._failed(place, stream, error)
                    if not place.is_over:
                        await place.pause(_PAUSES[min(failures, len(_PAUSES) - 1)])
                    failures += 1
                else:
                    place.stream = None
                    failures = 0
                    self._tally_of(place).finished += 1
        except asyncio.CancelledError:
            if place.stream is not None and place.is_open:
                tally = self._tally_of(place)
                tally.cut += 1
                tally.unanswered += _unanswered(place.stream)
            raise

    def _failed(self, place: _Place, stream: Stream, error: Exception) -> None:
        kind, tally = kind_of(error), self._tally_of(place)
        tally.failed[kind] += 1
        if is_permanent(error):
            tally.permanent[kind] += 1
        tally.examples.setdefault(kind, said_by(error))
        tally.unanswered += _unanswered(stream)

    def _tally_of(self, place: _Place | None) -> Tally:
        """Return what a place's figures are counted in now."""
        return self._leaving if place is not None and place.is_over else self._tally

    def _stream(self, place: _Place) -> Stream:
        number = self._number + self._made_streams * self._workers
        self._made_streams += 1
        piece = self._spec.pieces[number % len(self._spec.pieces)]
        query: dict[str, Any] = self._spec.query | piece.query
        model = query.pop("model")
        listen = self._client.listen.v2 if self._spec.flux else self._client.listen.v1
        connect = listen.connect(
            model=model, request_options={"additional_query_parameters": query}
        )
        offset = round(number * _APART * len(piece.chunks))
        return Stream(
            connect,
            piece,
            offset,
            self._metronome,
            lambda: self._tally_of(place),
            self._strides,
            flux=self._spec.flux,
        )

    async def _run(self, place: _Place, stream: Stream, length: float | None) -> None:
        made: list[SageMakerTransport] = []
        token = _opening.set(made)

        async def open_now(stream: Stream) -> None:
            transport = made[0]
            stream.stats = lambda: transport.stats
            self._held_at[transport.session_id] = place
            await transport.open()

        try:
            await stream.run(open_now, length)
        finally:
            _opening.reset(token)

    def _told(self, event: events.Event) -> None:
        """Count what happens in a session."""
        tally = self._tally_of(self._held_at.get(event.session))
        match event:
            case events.LegOpening(failures=failures) if failures:
                tally.retries += 1
            case events.LegOpened(session=session, leg=leg):
                self._legs.setdefault(session, set()).add(leg)
            case events.LegEnded(session=session, leg=leg):
                legs = self._legs.get(session, set())
                legs.discard(leg)
                if not legs:
                    self._legs.pop(session, None)
                if event.resumes:
                    tally.resets[event.kind] += 1
            case events.LegOpenFailed(reason=reason) if reason != "closed":
                name = event.code or event.error or reason
                if event.status is None:
                    tally.unreachable[name] += 1
                elif _wants_fewer(event):
                    tally.refused[f"{event.status} {name}"] += 1
                elif event.error == ServiceUnavailableError.__name__:
                    tally.unreachable[f"{event.status} {name}"] += 1
                # Any other is permanent: it fails its session, which is counted then. If only the
                # keys had expired, the session may go on with fresh ones.
                tally.throttles += reason == "throttled"
            case events.RolledOver():
                tally.rollovers += 1
            case events.Gap(seconds=seconds):
                tally.lost += seconds
            case events.SessionEnded(session=session):
                self._held_at.pop(session, None)

    def _on_second(self) -> None:
        """Close each second when it is over, however late its figures are asked for."""
        self._turn()
        if self._begins is not None:
            self._turning = self._loop.call_at(self._begins + self._second + 1, self._on_second)

    def _turn(self) -> None:
        """Close the seconds that are over."""
        if self._begins is None:
            return
        now = self._loop.time()
        while now >= self._begins + self._second + 1:
            self._done.append((self._second, self._closed(now)))
            self._second += 1

    def _closed(self, now: float) -> Tally:
        tally, self._tally = self._tally, Tally()
        tally.wanted = len(self._places)
        given_up = {session for session, place in self._held_at.items() if place.is_over}
        tally.live = len(self._legs.keys() - given_up)
        for place in self._places:
            if place.stream is None:
                continue
            age = place.stream.age(now)
            tally.age = max(tally.age, age)
            tally.silent += age > self._spec.silence
            if place.is_open:
                tally.overdue.add(place.stream.overdue(now))
        process, thread, since = self._used
        self._used = (time.process_time(), time.thread_time(), now)
        tally.cpu = self._used[0] - process
        if now > since:
            tally.thread = (self._used[1] - thread) / (now - since)
        return tally


def _wants_fewer(event: events.LegOpenFailed) -> bool:
    """Return whether the service says that it has no room for a stream, or too many requests."""
    return event.reason in _NO_ROOM or (event.status == _NO_CAPACITY and event.reason == _FAILED)


def _unanswered(stream: Stream) -> float:
    """Return the seconds of audio of a stream that have no final result."""
    if stream.stats is None:
        return 0.0
    return max(0.0, stream.seconds_sent - stream.stats().seconds_acknowledged)
