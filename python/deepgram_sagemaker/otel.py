"""Traces and metrics through OpenTelemetry's API, made of events and of `stats`.

`meters` decides what is measured; here OpenTelemetry gets it, and the traces are made.
`docs/observability.md` lists the spans, metrics and attributes. The API alone is used: without an
SDK all of it does nothing. No chunk of audio passes through here. Counters are read from the native
side when a reader asks. Spans and histograms are made of events, of which a leg has a few.

Needs `opentelemetry-api` (extra `otel`). Imports `config`, `events`, `stats` and `_native`. Tests:
`tests/test_otel.py`.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from . import events
from ._native import __version__
from .meters import ENDPOINT, ERROR, PATH, PREFIX, REGION, Meters, is_failure
from .meters import Watch as Measuring

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
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from .config import SageMakerConfig
    from .events import Event

__all__ = ["Telemetry", "Watch"]

_SCOPE: Final = "deepgram_sagemaker"
_REQUEST_ID: Final = "aws.request_id"
_STATUS: Final = "http.response.status_code"


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


class Watch(Measuring):
    """Follows the sessions of one config. `tell` and `ended` may be called from any thread."""

    def __init__(
        self,
        tracer: Tracer,
        meters: Meters,
        endpoints: Sequence[tuple[SageMakerConfig, Callable[[], int]]],
    ) -> None:
        super().__init__(meters, endpoints)
        self._tracer = tracer
        self._spans: dict[str, _Spans] = {}

    def context(self) -> Context:
        """Return the context in which a session is opened."""
        return get_current()

    def opened_in(self, session: str, context: Context | None) -> None:
        """Make the session's span, when it comes, a child of what is current in a context."""
        self._spans[session] = _Spans(context)

    def tell(self, event: Event) -> None:
        """Make of an event what belongs to the trace and the metrics."""
        self._trace(event)
        super().tell(event)

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
            span.set_attribute(ERROR, event.reason)
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(_nanoseconds(event))

    def ended(self, event: events.LegEnded) -> None:
        span = self._legs.pop(event.leg, None)
        if span is not None:
            span.set_attributes(_own(event, "role", "kind"))
            if is_failure(event):
                span.set_attribute(ERROR, event.reason or event.kind)
                span.set_status(Status(StatusCode.ERROR, event.said))
            span.end(_nanoseconds(event))
        if event.resumes:
            self.note("reset", event)

    def note(self, name: str, event: Event) -> None:
        """Add what happened to the session's span."""
        if self._session is not None:
            attributes = {
                PREFIX + each: value
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
        self._session.set_attribute(f"{PREFIX}outcome", event.outcome)
        for name in _TOTALS:
            self._session.set_attribute(PREFIX + name, getattr(event.totals, name))
        self._session.set_attribute(f"{PREFIX}resets", sum(event.totals.resets.values()))
        if event.error is not None:
            self._session.set_attribute(ERROR, event.error)
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
        f"{PREFIX}session.id": event.session,
        PATH: event.path,
        ENDPOINT: event.endpoint_name,
        REGION: event.region,
    }


def _own(event: Event, *names: str) -> dict[str, Any]:
    return {PREFIX + name: getattr(event, name) for name in names}


def _nanoseconds(event: Event) -> int:
    return round(event.time * 1e9)


# Metrics -----------------------------------------------------------------------------------------

_meters: Final[dict[object, Meters]] = {}
_meters_lock = threading.Lock()


def _forget() -> None:
    global _meters_lock
    _meters_lock = threading.Lock()
    for meters in _meters.values():
        meters.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _meters_of(provider: MeterProvider | None) -> Meters:
    """Return the instruments of a provider, which are made once."""
    # The global provider may be set later: until then the API passes everything on by itself.
    if provider is not None and provider is metrics.get_meter_provider():
        provider = None
    with _meters_lock:
        meters = _meters.get(provider)
        if meters is None:
            meter = metrics.get_meter(_SCOPE, __version__, provider)
            meters = _meters[provider] = Meters(meter, metrics.Observation)
        return meters
