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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from . import events
from .config import REGION_OF_BOTO3
from .stats import Ledger, Stats, add_up

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

    def watch(self, config: SageMakerConfig, waiting: Callable[[], int], /) -> Watch:
        """Return what follows the sessions of a config."""


class Watch:
    """Follows the sessions of one config. `tell` and `ended` may be called from any thread.

    Args:
        meters: What the metrics go to.
        config: The settings.
        waiting: Returns how many openings wait for `max_concurrency`.
    """

    def __init__(self, meters: Meters, config: SageMakerConfig, waiting: Callable[[], int]) -> None:
        self._meters = meters
        self._region = config.region
        place = _place(config.endpoint_name, config.region)
        meters.waits(place, self, waiting)

    def context(self) -> Any:  # noqa: ANN401 - OpenTelemetry's, where there is one
        """Return the context in which a session is opened."""
        return None

    def begun(self, session: str, path: str, endpoint_name: str, read: Callable[[], Stats]) -> None:
        """Count a session in.

        Args:
            session: Its id.
            path: Its path.
            endpoint_name: Its endpoint.
            read: Returns its figures, from any thread.
        """
        place = _place(endpoint_name, self._region, path)
        self._meters.series(place).ledger.begun(session, read)

    def ended(self, session: str, path: str, endpoint_name: str) -> None:
        """Count a session out; it may have been counted out before."""
        place = _place(endpoint_name, self._region, path)
        self._meters.series(place).ledger.ended(session)

    def opened_in(self, session: str, context: Any) -> None:  # noqa: ANN401 - likewise
        """Take the context in which a session was opened. Metrics have no use for it."""

    def tell(self, event: Event) -> None:
        """Make of an event what belongs to the metrics."""
        # A fallback's region is its own.
        region = self._region if self._region == REGION_OF_BOTO3 else event.region
        place = _place(event.endpoint_name, region, event.path)
        self._meters.tell(place, event)


class Several:
    """Several of what is given as `telemetry`, each of which gets everything."""

    def __init__(self, *measures: Measures) -> None:
        self._measures = measures

    def watch(self, config: SageMakerConfig, waiting: Callable[[], int]) -> Watch:
        """Return what follows the sessions of a config."""
        return _All([each.watch(config, waiting) for each in self._measures])


class _All(Watch):
    """What follows sessions, for several."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = watches

    def context(self) -> list[Any]:
        return [each.context() for each in self._watches]

    def begun(self, session: str, path: str, endpoint_name: str, read: Callable[[], Stats]) -> None:
        for each in self._watches:
            each.begun(session, path, endpoint_name, read)

    def ended(self, session: str, path: str, endpoint_name: str) -> None:
        for each in self._watches:
            each.ended(session, path, endpoint_name)

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
class _Series:
    """What the metrics of one place are made of."""

    ledger: Ledger = field(default_factory=Ledger)
    legs: set[tuple[str, int]] = field(default_factory=set)
    """The legs that are open."""


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
        self._waiting: dict[_Place, weakref.WeakKeyDictionary[Watch, Callable[[], int]]] = {}
        self.forget()
        self._make(meter)

    def forget(self) -> None:
        """Start from nothing, as a forked child has to: its parent reports its own sessions."""
        self._lock = threading.Lock()
        self._places: dict[_Place, _Series] = {}
        self._read_at = -_FRESH
        self._figures: list[tuple[_Place, Stats, list[Stats], int]] = []
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

    def series(self, place: _Place) -> _Series:
        """Return what the metrics of a place are made of."""
        series = self._places.get(place)
        return self._places.setdefault(place, _Series()) if series is None else series

    def waits(self, place: _Place, watch: Watch, waiting: Callable[[], int]) -> None:
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
                self.series(place).legs.add((event.session, event.leg))
                self._opens.record(event.seconds, attributes)
            case events.LegOpenFailed(reason=reason):
                if event.error is not None:
                    self._opens.record(event.seconds, attributes | {ERROR: reason})
                    self._failures.add(1, attributes | {ERROR: reason, _PHASE: "open"})
            case events.LegEnded(reason=reason):
                self.series(place).legs.discard((event.session, event.leg))
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

    def _read(self) -> list[tuple[_Place, Stats, list[Stats], int]]:
        """Return the figures of each place: of past sessions, of each live one, and its legs."""
        with self._lock:
            now = time.monotonic()
            if now - self._read_at >= _FRESH:
                self._figures = [
                    (place, *series.ledger.read(), len(series.legs))
                    for place, series in list(self._places.items())
                ]
                self._read_at = now
            return self._figures

    def _counter(self, figure: str) -> Callback:
        def observe(_: object) -> Iterator[Any]:
            for place, past, live, _legs in self._read():
                value = sum(getattr(each, figure) for each in (past, *live))
                yield self._counted(figure, place, value)

        return observe

    def _resets(self, _: object) -> Iterator[Any]:
        for place, past, live, _legs in self._read():
            for kind, count in add_up([past, *live]).resets.items():
                yield self._counted("resets", (*place, (ERROR, kind)), count)

    def _counted(self, figure: str, place: _Place, value: float) -> Any:  # noqa: ANN401 - as `observe` makes it
        series = (figure, place)
        value = self._highest[series] = max(value, self._highest.get(series, value))
        return self._observe(value, dict(place))

    def _sessions(self, _: object) -> Iterator[Any]:
        for place, _past, live, _legs in self._read():
            yield self._observe(len(live), dict(place))

    def _legs(self, _: object) -> Iterator[Any]:
        for place, _past, _live, legs in self._read():
            yield self._observe(legs, dict(place))

    def _journal(self, _: object) -> Iterator[Any]:
        for place, _past, live, _legs in self._read():
            yield self._observe(sum(each.journal_bytes for each in live), dict(place))

    def _lag(self, _: object) -> Iterator[Any]:
        for place, _past, live, _legs in self._read():
            lags = (
                each.seconds_sent - each.seconds_acknowledged - each.seconds_lost for each in live
            )
            yield self._observe(max(0.0, *lags, 0.0), dict(place))

    def _waits(self, _: object) -> Iterator[Any]:
        with self._lock:
            counts = {
                place: sum(waiting() for waiting in list(known.values()))
                for place, known in self._waiting.items()
            }
        for place, count in counts.items():
            yield self._observe(count, dict(place))


_PHASE: Final = f"{PREFIX}leg.phase"


def _histogram(meter: Instruments, name: str, borders: Iterable[float], about: str) -> Records:
    return meter.create_histogram(
        PREFIX + name, "s", about, explicit_bucket_boundaries_advisory=list(borders)
    )
