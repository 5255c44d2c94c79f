"""Traces and metrics through OpenTelemetry's API, made of events and of `stats`.

`docs/observability.md` lists the spans, metrics and attributes. The API alone is used: without an
SDK all of it does nothing. No chunk of audio passes through here. Counters are read from the native
side when a reader asks. Spans and histograms are made of events, of which a leg has a few.

Needs `opentelemetry-api` (extra `otel`). Imports `config`, `events`, `stats` and `_native`. Tests:
`tests/test_otel.py`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import events
from ._native import __version__
from .config import REGION_OF_BOTO3
from .stats import Ledger, Shares, Stats, add_up, add_up_shares, freed_shares

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import get_current
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError as error:
    message = (
        "telemetry needs OpenTelemetry's API: pip install 'deepgram-sagemaker[otel]', or leave "
        "telemetry= out"
    )
    raise ImportError(message) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from .config import SageMakerConfig
    from .events import Event

__all__ = ["Telemetry", "Watch"]

_SCOPE: Final = "deepgram_sagemaker"
_PREFIX: Final = "deepgram_sagemaker."

_ENDPOINT: Final = f"{_PREFIX}endpoint.name"
_PATH: Final = f"{_PREFIX}path"
_REGION: Final = "cloud.region"
_ERROR: Final = "error.type"
_REQUEST_ID: Final = "aws.request_id"
_STATUS: Final = "http.response.status_code"

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Borders of histograms of waiting, in seconds."""
_CALLS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)
"""Borders of the histogram of sessions' lengths, in seconds."""

_FRESH: Final = 0.1
"""Seconds for which figures that were read are used again. A reader asks for one metric after the
other: so all metrics of one scrape are of the same moment, and each session is read once."""


class Telemetry:
    """Traces and metrics for `SageMakerTransportFactory(..., telemetry=...)`.

    Args:
        tracer_provider: Makes the spans; None: OpenTelemetry's global one.
        meter_provider: Makes the metrics; None: OpenTelemetry's global one.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider

    def watch(self, endpoints: Sequence[tuple[SageMakerConfig, Callable[[], int]]]) -> Watch:
        """Return what follows the sessions of a config.

        Args:
            endpoints: The settings of each endpoint, in order of preference, and what returns how
                many openings wait for `max_concurrency` there.
        """
        tracer = trace.get_tracer(_SCOPE, __version__, self._tracer_provider)
        return Watch(tracer, _meters_of(self._meter_provider), endpoints)


class Watch:
    """Follows the sessions of one config. `tell` and `ended` may be called from any thread."""

    def __init__(
        self,
        tracer: Tracer,
        meters: _Meters,
        endpoints: Sequence[tuple[SageMakerConfig, Callable[[], int]]],
    ) -> None:
        self._tracer = tracer
        self._meters = meters
        self._endpoints = [(config.endpoint_name, config.region) for config, _ in endpoints]
        self._spans: dict[str, _Spans] = {}
        waiting: dict[_Place, list[Callable[[], int]]] = {}
        for endpoint, (_, waits) in zip(self._endpoints, endpoints, strict=True):
            waiting.setdefault(_place(*endpoint), []).append(waits)
        for place, counts in waiting.items():
            meters.waits(place, self, counts)

    @staticmethod
    def context() -> Context:
        """Return the context in which a session is opened."""
        return get_current()

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

    def opened_in(self, session: str, context: Context | None) -> None:
        """Make the session's span, when it comes, a child of what is current in a context."""
        self._spans[session] = _Spans(context)

    def tell(self, event: Event) -> None:
        """Make of an event what belongs to the trace and the metrics."""
        self._trace(event)
        # An event has the region that was found, and the metrics have it as it is set.
        endpoint = event.endpoint_name, event.region
        if endpoint not in self._endpoints:
            endpoint = event.endpoint_name, REGION_OF_BOTO3
        self._meters.tell(_place(*endpoint, event.path), event)

    def _trace(self, event: Event) -> None:
        spans = self._spans.get(event.session)
        if spans is None:
            return
        match event:
            case events.SessionBegan():
                spans.begin(self._tracer, event)
            case events.LegOpening():
                spans.open(self._tracer, event)
            case events.LegOpened():
                spans.opened(event)
            case events.LegOpenFailed():
                spans.failed(event)
            case events.LegEnded():
                spans.ended(event)
            case events.SessionEnded():
                del self._spans[event.session]
                spans.end(event)
            case _:
                spans.note(event.name, event)


def _place(endpoint_name: str, region: str, path: str | None = None) -> _Place:
    """Return the attributes that the metrics of a config, or of its sessions, have.

    The region as it is set: one that is looked up later would begin another series.
    """
    place = [(_ENDPOINT, endpoint_name)]
    if region != REGION_OF_BOTO3:
        place.append((_REGION, region))
    if path is not None:
        place.append((_PATH, path))
    return tuple(place)


type _Place = tuple[tuple[str, str], ...]


# Traces -----------------------------------------------------------------------------------------


class _Spans:
    """The spans of one session: its own, one for each leg, one for the leg that is being opened."""

    def __init__(self, context: Context | None) -> None:
        self._parent = context
        self._session: Span | None = None
        self._opening: Span | None = None
        self._legs: dict[int, Span] = {}

    def begin(self, tracer: Tracer, event: events.SessionBegan) -> None:
        # Let go: the session may outlive the request that opened it by hours.
        parent, self._parent = self._parent, None
        self._session = tracer.start_span(
            f"session {event.path}",
            parent,
            attributes=_common(event),
            start_time=_nanoseconds(event),
        )

    def open(self, tracer: Tracer, event: events.LegOpening) -> None:
        if self._session is None:
            return
        self._opening = tracer.start_span(
            f"leg {event.path}",
            trace.set_span_in_context(self._session),
            kind=SpanKind.CLIENT,
            attributes=_common(event) | _own(event, "attempt", "standby", "failures"),
            start_time=_nanoseconds(event),
        )

    def opened(self, event: events.LegOpened) -> None:
        span, self._opening = self._opening, None
        if span is None:
            return
        self._legs[event.leg] = span
        span.set_attributes(_own(event, "leg"))
        if event.request_id is not None:
            span.set_attribute(_REQUEST_ID, event.request_id)
        span.add_event("leg_opened", _own(event, "seconds"), _nanoseconds(event))

    def failed(self, event: events.LegOpenFailed) -> None:
        span, self._opening = self._opening, None
        if span is None:
            return
        for name, value in ((_REQUEST_ID, event.request_id), (_STATUS, event.status)):
            if value is not None:
                span.set_attribute(name, value)
        if event.error is not None:
            span.set_attribute(_ERROR, event.reason)
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(_nanoseconds(event))

    def ended(self, event: events.LegEnded) -> None:
        span = self._legs.pop(event.leg, None)
        if span is not None:
            span.set_attributes(_own(event, "role", "kind"))
            if _is_failure(event):
                span.set_attribute(_ERROR, event.reason or event.kind)
                span.set_status(Status(StatusCode.ERROR, event.said))
            span.end(_nanoseconds(event))
        if event.resumes:
            self.note("reset", event)

    def note(self, name: str, event: Event) -> None:
        """Add what happened to the session's span."""
        if self._session is not None:
            attributes = {
                _PREFIX + each: value
                for each, value in events.fields_of(event).items()
                if value is not None
            }
            self._session.add_event(name, attributes, _nanoseconds(event))

    def end(self, event: events.SessionEnded) -> None:
        at = _nanoseconds(event)
        for span in (*self._legs.values(), self._opening):
            if span is not None:
                span.end(at)
        if self._session is None:
            return
        self._session.set_attribute(f"{_PREFIX}outcome", event.outcome)
        for name in _TOTALS:
            self._session.set_attribute(_PREFIX + name, getattr(event.totals, name))
        self._session.set_attribute(f"{_PREFIX}resets", sum(event.totals.resets.values()))
        if event.error is not None:
            self._session.set_attribute(_ERROR, event.error)
            self._session.set_status(Status(StatusCode.ERROR, f"{event.error} ({event.reason})"))
        self._session.end(at)


_TOTALS: Final = (
    "legs",
    "attempts",
    "rollovers",
    "fallovers",
    "seconds_sent",
    "seconds_acknowledged",
    "seconds_replayed",
    "seconds_lost",
    "bytes_sent",
)
"""The figures that the session's span ends with."""


def _common(event: Event) -> dict[str, Any]:
    return {
        f"{_PREFIX}session.id": event.session,
        _PATH: event.path,
        _ENDPOINT: event.endpoint_name,
        _REGION: event.region,
    }


def _own(event: Event, *names: str) -> dict[str, Any]:
    return {_PREFIX + name: getattr(event, name) for name in names}


def _nanoseconds(event: Event) -> int:
    return round(event.time * 1e9)


def _is_failure(event: events.LegEnded) -> bool:
    """Return whether the session was left without a leg that it needed.

    A standby that ends early is opened again, and a retiring leg has been replaced.
    """
    return event.reason is not None and event.role == "current"


# Metrics ----------------------------------------------------------------------------------------


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


class _Meters:
    """The instruments of one meter provider, shared by every factory of the process.

    An SDK keeps the first instrument of a name and drops the callbacks of later ones, so there is
    one set of instruments, and the places that they report are kept here.
    """

    def __init__(self, meter: Meter) -> None:
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

    def _make(self, meter: Meter) -> None:
        for figure, name, unit, about in _COUNTERS:
            meter.create_observable_counter(_PREFIX + name, [self._counter(figure)], unit, about)
        meter.create_observable_counter(
            f"{_PREFIX}leg.resets",
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
            meter.create_observable_up_down_counter(_PREFIX + name, [observe], unit, about)
        meter.create_observable_gauge(
            f"{_PREFIX}audio.lag",
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
            f"{_PREFIX}leg.failures",
            "{failure}",
            "Openings that failed and streams that broke, by reason.",
        )
        self._retries = meter.create_counter(
            f"{_PREFIX}leg.retries", "{retry}", "Streams requested because of a failure."
        )
        self._refreshes = meter.create_counter(
            f"{_PREFIX}credentials.refreshes", "{refresh}", "Changes of the keys."
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
                    self._opens.record(event.seconds, attributes | {_ERROR: reason})
                    self._failures.add(1, attributes | {_ERROR: reason, _PHASE: "open"})
            case events.LegEnded(reason=reason):
                self._legs_open.setdefault(place, set()).discard((event.session, event.leg))
                if reason is not None and _is_failure(event):
                    self._failures.add(1, attributes | {_ERROR: reason, _PHASE: "stream"})
            case events.FirstResult(seconds=seconds):
                self._first.record(seconds, attributes)
            case events.CredentialsRefreshed():
                self._refreshes.add(1, attributes)
            case events.SessionEnded(seconds=seconds, error=failed):
                more = {} if failed is None else {_ERROR: failed}
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

    def _counter(self, figure: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterator[Observation]:
            for place, figures in self._read().items():
                yield self._counted(figure, place, getattr(figures.total, figure))

        return observe

    def _resets(self, _: CallbackOptions) -> Iterator[Observation]:
        for place, figures in self._read().items():
            for kind, count in figures.total.resets.items():
                yield self._counted("resets", (*place, (_ERROR, kind)), count)

    def _counted(self, figure: str, place: _Place, value: float) -> Observation:
        series = (figure, place)
        value = self._highest[series] = max(value, self._highest.get(series, value))
        return metrics.Observation(value, dict(place))

    def _sessions(self, _: CallbackOptions) -> Iterator[Observation]:
        for place, figures in self._read().items():
            yield metrics.Observation(figures.sessions, dict(place))

    def _legs(self, _: CallbackOptions) -> Iterator[Observation]:
        for place, figures in self._read().items():
            yield metrics.Observation(figures.legs, dict(place))

    def _journal(self, _: CallbackOptions) -> Iterator[Observation]:
        for place, figures in self._read().items():
            yield metrics.Observation(figures.total.journal_bytes, dict(place))

    def _lag(self, _: CallbackOptions) -> Iterator[Observation]:
        for place, figures in self._read().items():
            yield metrics.Observation(figures.lag, dict(place))

    def _waits(self, _: CallbackOptions) -> Iterator[Observation]:
        with self._lock:
            counts = {
                place: sum(waits() for waiting in list(known.values()) for waits in waiting)
                for place, known in self._waiting.items()
            }
        for place, count in counts.items():
            yield metrics.Observation(count, dict(place))


def _lag(shares: Shares) -> float:
    """Return how much audio of a session was sent and is not final, in seconds."""
    return max(
        0.0,
        sum(
            each.seconds_sent - each.seconds_acknowledged - each.seconds_lost
            for each in shares.each
        ),
    )


_PHASE: Final = f"{_PREFIX}leg.phase"


def _histogram(meter: Meter, name: str, borders: Iterable[float], about: str) -> Histogram:
    return meter.create_histogram(
        _PREFIX + name, "s", about, explicit_bucket_boundaries_advisory=list(borders)
    )


_meters: Final[dict[object, _Meters]] = {}
_meters_lock = threading.Lock()


def _forget() -> None:
    global _meters_lock
    _meters_lock = threading.Lock()
    for meters in _meters.values():
        meters.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _meters_of(provider: MeterProvider | None) -> _Meters:
    """Return the instruments of a provider, which are made once."""
    # The global provider may be set later: until then the API passes everything on by itself.
    if provider is not None and provider is metrics.get_meter_provider():
        provider = None
    with _meters_lock:
        meters = _meters.get(provider)
        if meters is None:
            meter = metrics.get_meter(_SCOPE, __version__, provider)
            meters = _meters[provider] = _Meters(meter)
        return meters
