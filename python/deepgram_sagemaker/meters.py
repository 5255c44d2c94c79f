"""The metrics of sessions, made of events and of `stats`, for whatever writes them down.

`otel` gives them to OpenTelemetry, `exposition` writes them for Prometheus without it. Both get the
same names, units, attributes and values, because they are all decided here. `docs/observability.md`
lists them.

Imports `config`, `events` and `stats`. Tests: `tests/test_otel.py` and `tests/test_exposition.py`.
"""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from . import events
from .config import REGION_OF_BOTO3
from .stats import Ledger, Shares, Stats, add_up, add_up_shares, freed_shares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .config import SageMakerConfig
    from .events import Event

__all__ = ["PREFIX", "Instruments", "Measures", "Meters", "Several", "Watch"]

PREFIX: Final = "deepgram_sagemaker."
"""What the names of all metrics and of our attributes begin with."""

ENDPOINT: Final = f"{PREFIX}endpoint.name"
PATH: Final = f"{PREFIX}path"
REGION: Final = "cloud.region"
ERROR: Final = "error.type"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Borders of histograms of waiting, in seconds."""
_CALLS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
"""Borders of the histogram of sessions' lengths, in seconds."""

_FRESH: Final = 0.1
"""Seconds for which figures that were read are used again. A reader asks for one metric after the
other: so all metrics of one scrape are of the same moment, and each session is read once."""


type Callback = Callable[[Any], Iterable[Any]]
"""Answers a reader with the values of now."""


class Instruments(Protocol):
    """What makes instruments: OpenTelemetry's `Meter`, or our own for Prometheus."""

    def create_counter(self, name: str, unit: str = ..., description: str = ...) -> Adds:
        """Return a counter that is told what to add."""

    def create_histogram(
        self,
        name: str,
        unit: str = ...,
        description: str = ...,
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = ...,
    ) -> Records:
        """Return a histogram with these borders."""

    def create_observable_counter(
        self,
        name: str,
        callbacks: Sequence[Callback] | None = ...,
        unit: str = ...,
        description: str = ...,
    ) -> object:
        """Register a counter whose values are asked for."""

    def create_observable_up_down_counter(
        self,
        name: str,
        callbacks: Sequence[Callback] | None = ...,
        unit: str = ...,
        description: str = ...,
    ) -> object:
        """Register a sum that may fall, whose values are asked for."""

    def create_observable_gauge(
        self,
        name: str,
        callbacks: Sequence[Callback] | None = ...,
        unit: str = ...,
        description: str = ...,
    ) -> object:
        """Register values that cannot be added up, which are asked for."""


class Adds(Protocol):
    """A counter."""

    def add(self, amount: float, attributes: Mapping[str, str] | None = ...) -> None:
        """Add to the series with these attributes."""


class Records(Protocol):
    """A histogram."""

    def record(self, amount: float, attributes: Mapping[str, str] | None = ...) -> None:
        """Count a value in the series with these attributes."""


class Measures(Protocol):
    """What is given as `telemetry`."""

    def watch(self, endpoints: Sequence[tuple[SageMakerConfig, Callable[[], int]]], /) -> Watch:
        """Return what follows the sessions of a config."""


class Watch:
    """Follows the sessions of one config. `tell` and `ended` may be called from any thread.

    Args:
        meters: What the metrics go to.
        endpoints: The settings of each endpoint, in order of preference, and what returns how many
            openings wait for `max_concurrency` there.
    """

    def __init__(
        self,
        meters: Meters,
        endpoints: Sequence[tuple[SageMakerConfig, Callable[[], int]]],
    ) -> None:
        self._meters = meters
        self._endpoints = [(config.endpoint_name, config.region) for config, _ in endpoints]
        waiting: dict[_Place, list[Callable[[], int]]] = {}
        for endpoint, (_, waits) in zip(self._endpoints, endpoints, strict=True):
            waiting.setdefault(_place(*endpoint), []).append(waits)
        for place, counts in waiting.items():
            meters.waits(place, self, counts)

    def context(self) -> Any:  # noqa: ANN401 - OpenTelemetry's, where there is one
        """Return the context in which a session is opened."""
        return None

    def begun(self, session: str, path: str, read: Callable[[], Shares]) -> None:
        """Count a session in.

        Args:
            session: Its id.
            path: Its path.
            read: Returns its figures by endpoint, from any thread.
        """
        self._meters.ledger(self._places(path)).begun(session, read)

    def ended(self, session: str, path: str) -> None:
        """Count a session out; it may have been counted out before."""
        self._meters.ledger(self._places(path)).ended(session)

    def _places(self, path: str) -> tuple[_Place, ...]:
        return tuple(_place(*endpoint, path) for endpoint in self._endpoints)

    def opened_in(self, session: str, context: Any) -> None:  # noqa: ANN401 - likewise
        """Take the context in which a session was opened. Metrics have no use for it."""

    def tell(self, event: Event) -> None:
        """Make of an event what belongs to the metrics."""
        # An event has the region that was found, and the metrics have it as it is set.
        endpoint = event.endpoint_name, event.region
        if endpoint not in self._endpoints:
            endpoint = event.endpoint_name, REGION_OF_BOTO3
        self._meters.tell(_place(*endpoint, event.path), event)


class Several:
    """Several of what is given as `telemetry`, each of which gets everything."""

    def __init__(self, *measures: Measures) -> None:
        self._measures = measures

    def watch(self, endpoints: Sequence[tuple[SageMakerConfig, Callable[[], int]]]) -> Watch:
        """Return what follows the sessions of a config."""
        return _All([each.watch(endpoints) for each in self._measures])


class _All(Watch):
    """What follows sessions, for several."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = watches

    def context(self) -> list[Any]:
        return [each.context() for each in self._watches]

    def begun(self, session: str, path: str, read: Callable[[], Shares]) -> None:
        for each in self._watches:
            each.begun(session, path, read)

    def ended(self, session: str, path: str) -> None:
        for each in self._watches:
            each.ended(session, path)

    def opened_in(self, session: str, context: list[Any] | None) -> None:
        for number, each in enumerate(self._watches):
            each.opened_in(session, None if context is None else context[number])

    def tell(self, event: Event) -> None:
        for each in self._watches:
            each.tell(event)


def _place(endpoint_name: str, region: str, path: str | None = None) -> _Place:
    """Return the attributes that the metrics of a config, or of its sessions, have.

    The region as it is set: one that is looked up later would begin another series.
    """
    place = [(ENDPOINT, endpoint_name)]
    if region != REGION_OF_BOTO3:
        place.append((REGION, region))
    if path is not None:
        place.append((PATH, path))
    return tuple(place)


type _Place = tuple[tuple[str, str], ...]


def is_failure(event: events.LegEnded) -> bool:
    """Return whether the session was left without a leg that it needed.

    A standby that ends early is opened again, and a retiring leg has been replaced.
    """
    return event.reason is not None and event.role == "current"


@dataclass(slots=True)
class _Figures:
    """What happened in one place so far, and what is going on there."""

    total: Stats
    sessions: int = 0
    legs: int = 0
    lag: float = 0.0


_COUNTERS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("sessions", "sessions", "{session}", "Sessions begun."),
    ("attempts", "leg.requests", "{request}", "Streams requested, whether they opened or not."),
    ("legs", "legs", "{leg}", "Streams opened."),
    ("rollovers", "rollovers", "{rollover}", "Streams replaced because of their age."),
    ("fallovers", "fallovers", "{fallover}", "Streams opened because another endpoint had failed."),
    ("seconds_sent", "audio.sent.time", "s", "Audio sent, each second counted once."),
    ("bytes_sent", "audio.sent.size", "By", "Audio sent, each byte counted once."),
    ("seconds_acknowledged", "audio.acknowledged.time", "s", "Audio that is final."),
    ("bytes_acknowledged", "audio.acknowledged.size", "By", "Audio that is final."),
    ("seconds_replayed", "audio.replayed.time", "s", "Audio sent again."),
    ("bytes_replayed", "audio.replayed.size", "By", "Audio sent again."),
    ("seconds_evicted", "audio.evicted.time", "s", "Audio dropped over the limit."),
    ("bytes_evicted", "audio.evicted.size", "By", "Audio dropped over the limit."),
    ("seconds_lost", "audio.lost.time", "s", "Audio dropped, and then needed by a reset."),
    ("bytes_lost", "audio.lost.size", "By", "Audio dropped, and then needed by a reset."),
    ("messages_in", "messages.sent", "{message}", "Messages accepted from the application."),
    ("messages_out", "messages.received", "{message}", "Messages for the application."),
)
"""Counters read from `stats`: the figure, the metric's name, its unit, what it counts."""


class Meters:
    """The instruments of one maker, shared by every factory of the process.

    An SDK keeps the first instrument of a name and drops the callbacks of later ones, so there is
    one set of instruments, and the places that they report are kept here.

    Args:
        meter: Makes the instruments.
        observe: Makes what the meter is answered with, of a value and its attributes.
    """

    def __init__(
        self, meter: Instruments, observe: Callable[[float, Mapping[str, str]], Any]
    ) -> None:
        self._observe = observe
        self._waiting: dict[_Place, weakref.WeakKeyDictionary[Watch, list[Callable[[], int]]]] = {}
        self.forget()
        self._make(meter)

    def forget(self) -> None:
        """Start from nothing, as a forked child has to: its parent reports its own sessions."""
        self._lock = threading.Lock()
        # By the places of a config's endpoints: a session may be at any of them.
        self._ledgers: dict[tuple[_Place, ...], Ledger[Shares]] = {}
        self._legs_open: dict[_Place, set[tuple[str, int]]] = {}
        self._read_at = -_FRESH
        self._figures: dict[_Place, _Figures] = {}
        # The highest value that each series has reported: a counter must not go back, not even by
        # the rounding of a sum.
        self._highest: dict[tuple[str, _Place], float] = {}

    def _make(self, meter: Instruments) -> None:
        for figure, name, unit, about in _COUNTERS:
            meter.create_observable_counter(PREFIX + name, [self._counter(figure)], unit, about)
        meter.create_observable_counter(
            f"{PREFIX}leg.resets",
            [self._resets],
            "{reset}",
            "Streams that ended and were followed by another, by how they ended.",
        )
        for name, observe, unit, about in (
            ("session.active", self._sessions, "{session}", "Sessions that go on."),
            ("leg.active", self._legs, "{leg}", "Streams that are open."),
            ("leg.waiting", self._waits, "{leg}", "Openings that wait for max_concurrency."),
            ("journal.size", self._journal, "By", "What the journals hold."),
        ):
            meter.create_observable_up_down_counter(PREFIX + name, [observe], unit, about)
        meter.create_observable_gauge(
            f"{PREFIX}audio.lag",
            [self._lag],
            "s",
            "The most audio of one session that was sent and is not final.",
        )
        self._opens = _histogram(
            meter, "leg.open.duration", _SECONDS, "From the request for a stream to its outcome."
        )
        self._first = _histogram(
            meter,
            "session.time_to_first_result",
            _SECONDS,
            "From the first audio to the first result.",
        )
        self._lengths = _histogram(meter, "session.duration", _CALLS, "The length of sessions.")
        self._failures = meter.create_counter(
            f"{PREFIX}leg.failures",
            "{failure}",
            "Openings that failed and streams that broke, by reason.",
        )
        self._retries = meter.create_counter(
            f"{PREFIX}leg.retries", "{retry}", "Streams requested because of a failure."
        )
        self._refreshes = meter.create_counter(
            f"{PREFIX}credentials.refreshes", "{refresh}", "Changes of the keys."
        )

    def ledger(self, places: tuple[_Place, ...]) -> Ledger[Shares]:
        """Return where the sessions of a config are counted, by the places of its endpoints."""
        ledger = self._ledgers.get(places)
        if ledger is None:
            ledger = self._ledgers.setdefault(places, Ledger(add_up_shares, freed_shares))
        return ledger

    def waits(self, place: _Place, watch: Watch, waiting: list[Callable[[], int]]) -> None:
        """Report how many openings wait, for as long as the watch exists."""
        with self._lock:
            known = self._waiting.setdefault(place, weakref.WeakKeyDictionary())
            known[watch] = waiting

    def tell(self, place: _Place, event: Event) -> None:
        """Count an event."""
        attributes = dict(place)
        match event:
            case events.LegOpening(failures=failures):
                if failures > 0:
                    self._retries.add(1, attributes)
            case events.LegOpened():
                self._legs_open.setdefault(place, set()).add((event.session, event.leg))
                self._opens.record(event.seconds, attributes)
            case events.LegOpenFailed(reason=reason):
                if event.error is not None:
                    self._opens.record(event.seconds, attributes | {ERROR: reason})
                    self._failures.add(1, attributes | {ERROR: reason, _PHASE: "open"})
            case events.LegEnded(reason=reason):
                self._legs_open.setdefault(place, set()).discard((event.session, event.leg))
                if reason is not None and is_failure(event):
                    self._failures.add(1, attributes | {ERROR: reason, _PHASE: "stream"})
            case events.FirstResult(seconds=seconds):
                self._first.record(seconds, attributes)
            case events.CredentialsRefreshed():
                self._refreshes.add(1, attributes)
            case events.SessionEnded(seconds=seconds, error=failed):
                more = {} if failed is None else {ERROR: failed}
                self._lengths.record(seconds, attributes | more)
            case _:
                pass

    def _read(self) -> dict[_Place, _Figures]:
        """Return the figures of each place."""
        with self._lock:
            now = time.monotonic()
            if now - self._read_at >= _FRESH:
                self._figures = self._read_now()
                self._read_at = now
            return self._figures

    def _read_now(self) -> dict[_Place, _Figures]:
        shares: dict[_Place, list[Stats]] = {}
        here: dict[_Place, list[Shares]] = {}
        for places, ledger in list(self._ledgers.items()):
            past, live = ledger.read()
            for one in (past, *live):
                # Nothing for a past without sessions.
                for place, share in zip(places, one.each, strict=False):
                    shares.setdefault(place, []).append(share)
            for one in live:
                here.setdefault(places[one.at], []).append(one)
        return {
            place: _Figures(
                add_up(each),
                sessions=len(here.get(place, ())),
                legs=len(self._legs_open.get(place, ())),
                lag=max((_lag(one) for one in here.get(place, ())), default=0.0),
            )
            for place, each in shares.items()
        }

    def _counter(self, figure: str) -> Callback:
        def observe(_: object) -> Iterator[Any]:
            for place, figures in self._read().items():
                yield self._counted(figure, place, getattr(figures.total, figure))

        return observe

    def _resets(self, _: object) -> Iterator[Any]:
        for place, figures in self._read().items():
            for kind, count in figures.total.resets.items():
                yield self._counted("resets", (*place, (ERROR, kind)), count)

    def _counted(self, figure: str, place: _Place, value: float) -> Any:  # noqa: ANN401 - as `observe` makes it
        series = (figure, place)
        value = self._highest[series] = max(value, self._highest.get(series, value))
        return self._observe(value, dict(place))

    def _sessions(self, _: object) -> Iterator[Any]:
        for place, figures in self._read().items():
            yield self._observe(figures.sessions, dict(place))

    def _legs(self, _: object) -> Iterator[Any]:
        for place, figures in self._read().items():
            yield self._observe(figures.legs, dict(place))

    def _journal(self, _: object) -> Iterator[Any]:
        for place, figures in self._read().items():
            yield self._observe(figures.total.journal_bytes, dict(place))

    def _lag(self, _: object) -> Iterator[Any]:
        for place, figures in self._read().items():
            yield self._observe(figures.lag, dict(place))

    def _waits(self, _: object) -> Iterator[Any]:
        with self._lock:
            counts = {
                place: sum(waits() for waiting in list(known.values()) for waits in waiting)
                for place, known in self._waiting.items()
            }
        for place, count in counts.items():
            yield self._observe(count, dict(place))


def _lag(shares: Shares) -> float:
    """Return how much audio of a session was sent and is not final, in seconds."""
    return max(
        0.0,
        sum(
            each.seconds_sent - each.seconds_acknowledged - each.seconds_lost
            for each in shares.each
        ),
    )


_PHASE: Final = f"{PREFIX}leg.phase"


def _histogram(meter: Instruments, name: str, borders: Iterable[float], about: str) -> Records:
    return meter.create_histogram(
        PREFIX + name, "s", about, explicit_bucket_boundaries_advisory=list(borders)
    )
