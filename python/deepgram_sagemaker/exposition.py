"""The metrics of sessions as Prometheus reads them, without OpenTelemetry.

Names, labels and values are those of OpenTelemetry's Prometheus exporter, so dashboards and alerts
fit both. Several processes can be added up: each gives its `snapshot`, and `merged` makes one of
them.

Imports `meters`. Tests: `tests/test_exposition.py`.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self

from .meters import Meters, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .config import SageMakerConfig
    from .meters import Callback

__all__ = ["CONTENT_TYPE", "Exposition", "Family", "Histogram", "merged", "to_text"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of `to_text`."""

type Kind = Literal["counter", "sum", "gauge", "histogram"]
"""How several processes are one. A `sum` may fall; of a `gauge` the highest value counts."""

type Labels = tuple[tuple[str, str], ...]

_TYPES: Final[Mapping[Kind, str]] = {
    "counter": "counter",
    "sum": "gauge",
    "gauge": "gauge",
    "histogram": "histogram",
}
_UNITS: Final = {"s": "seconds", "By": "bytes"}


@dataclass(slots=True)
class Histogram:
    """The values of one series of a histogram.

    Attributes:
        borders: The upper borders of the buckets; the last bucket has none.
        counts: How many values each bucket has.
        total: The sum of all values.
    """

    borders: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    def record(self, value: float) -> None:
        """Count a value in."""
        # A border belongs to the bucket below it.
        self.counts[bisect_left(self.borders, value)] += 1
        self.total += value

    def __add__(self, other: Self) -> Histogram:
        """Return both together; of other borders, the first alone."""
        if self.borders != other.borders:
            return self
        counts = [one + another for one, another in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.borders, counts, self.total + other.total)


@dataclass(slots=True)
class Family:
    """A metric with all its series.

    Attributes:
        name: Its name, as Prometheus has it.
        kind: What it is.
        about: What it counts.
        series: The values by their labels.
    """

    name: str
    kind: Kind
    about: str
    series: dict[Labels, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, kind: Kind, unit: str, about: str) -> Self:
        """Return a metric that has no series yet, from what OpenTelemetry calls it.

        Args:
            name: Such as `deepgram_sagemaker.audio.sent.time`.
            kind: What it is.
            unit: Such as `s`, `By` or `{session}`.
            about: What it counts.
        """
        words = [_sanitised(name)]
        if unit in _UNITS:
            words.append(_UNITS[unit])
        if kind == "counter":
            words.append("total")
        return cls("_".join(words), kind, about)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can have it."""
        series = [[list(map(list, labels)), _plain(value)] for labels, value in self.series.items()]
        return {"name": self.name, "kind": self.kind, "about": self.about, "series": series}

    @classmethod
    def from_plain(cls, told: Mapping[str, Any]) -> Self:
        """Return what `plain` was made of.

        Raises:
            KeyError: It is something else.
            TypeError: Likewise.
            ValueError: Likewise.
        """
        series = {
            tuple((str(name), str(text)) for name, text in labels): _value(value)
            for labels, value in told["series"]
        }
        return cls(told["name"], told["kind"], told["about"], series)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a number or a histogram
    if isinstance(value, Histogram):
        return [list(value.borders), value.counts, value.total]
    return value


def _value(plain: Any) -> Any:  # noqa: ANN401 - likewise
    if isinstance(plain, list):
        borders, counts, total = plain
        return Histogram(tuple(borders), list(counts), total)
    return plain


class Exposition:
    """Metrics of sessions, for `telemetry=`; also what makes their instruments.

    Every method may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._families: list[Callable[[], Family]] = []
        self._more: list[Callable[[], Iterable[Family]]] = []
        self._meters = Meters(self, _Observation)

    def watch(self, endpoints: Sequence[tuple[SageMakerConfig, Callable[[], int]]]) -> Watch:
        """Return what follows the sessions of a config.

        Args:
            endpoints: The settings of each endpoint, in order of preference, and what returns how
                many openings wait for `max_concurrency` there.
        """
        return Watch(self._meters, endpoints)

    def add(self, more: Callable[[], Iterable[Family]]) -> None:
        """Ask this function for further metrics at each snapshot."""
        self._more.append(more)

    def snapshot(self) -> list[Family]:
        """Return all metrics that have a series, as they are now."""
        found = [read() for read in self._families]
        for more in self._more:
            found += more()
        return [family for family in found if family.series]

    # As OpenTelemetry's `Meter` does it.

    def create_counter(self, name: str, unit: str = "", description: str = "") -> _Counter:
        """Return a counter that is told what to add."""
        counter = _Counter(Family.of(name, "counter", unit, description), self._lock)
        self._families.append(counter.read)
        return counter

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> _Histograms:
        """Return a histogram with these borders."""
        borders = tuple(explicit_bucket_boundaries_advisory or ())
        family = Family.of(name, "histogram", unit, description)
        histograms = _Histograms(family, self._lock, borders)
        self._families.append(histograms.read)
        return histograms

    def create_observable_counter(
        self,
        name: str,
        callbacks: Sequence[Callback] | None = None,
        unit: str = "",
        description: str = "",
    ) -> None:
        """Register a counter whose values are asked for."""
        self._observe(Family.of(name, "counter", unit, description), callbacks)

    def create_observable_up_down_counter(
        self,
        name: str,
        callbacks: Sequence[Callback] | None = None,
        unit: str = "",
        description: str = "",
    ) -> None:
        """Register a sum that may fall, whose values are asked for."""
        self._observe(Family.of(name, "sum", unit, description), callbacks)

    def create_observable_gauge(
        self,
        name: str,
        callbacks: Sequence[Callback] | None = None,
        unit: str = "",
        description: str = "",
    ) -> None:
        """Register values that cannot be added up, which are asked for."""
        self._observe(Family.of(name, "gauge", unit, description), callbacks)

    def _observe(self, family: Family, callbacks: Sequence[Callback] | None) -> None:
        def read() -> Family:
            series = {
                _labels(seen.attributes): seen.value
                for callback in callbacks or ()
                for seen in callback(None)
            }
            return Family(family.name, family.kind, family.about, series)

        self._families.append(read)


class _Observation(NamedTuple):
    value: float
    attributes: Mapping[str, str]


class _Counter:
    """A counter that is told what to add."""

    def __init__(self, family: Family, lock: threading.Lock) -> None:
        self._family = family
        self._lock = lock

    def add(self, amount: float, attributes: Mapping[str, str] | None = None) -> None:
        labels = _labels(attributes or {})
        with self._lock:
            series = self._family.series
            series[labels] = series.get(labels, 0) + amount

    def read(self) -> Family:
        family = self._family
        with self._lock:
            return Family(family.name, family.kind, family.about, dict(family.series))


class _Histograms:
    """A histogram with all its series."""

    def __init__(self, family: Family, lock: threading.Lock, borders: tuple[float, ...]) -> None:
        self._family = family
        self._lock = lock
        self._borders = borders

    def record(self, amount: float, attributes: Mapping[str, str] | None = None) -> None:
        labels = _labels(attributes or {})
        with self._lock:
            found = self._family.series.get(labels)
            if found is None:
                found = Histogram(self._borders, [0] * (len(self._borders) + 1))
                self._family.series[labels] = found
            found.record(amount)

    def read(self) -> Family:
        family = self._family
        with self._lock:
            series = {
                labels: Histogram(each.borders, list(each.counts), each.total)
                for labels, each in family.series.items()
            }
        return Family(family.name, family.kind, family.about, series)


def _labels(attributes: Mapping[str, str]) -> Labels:
    return tuple(sorted((_sanitised(name), str(value)) for name, value in attributes.items()))


def _sanitised(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "_", name)


def merged(live: Iterable[Iterable[Family]], past: Iterable[Iterable[Family]] = ()) -> list[Family]:
    """Return the metrics of several processes as one.

    Args:
        live: Snapshots of processes that run.
        past: The last snapshots of processes that have ended: only what they have counted remains.
    """
    found: dict[str, Family] = {}
    for families, is_live in ((live, True), (past, False)):
        for family in (each for snapshot in families for each in snapshot):
            if not is_live and family.kind not in ("counter", "histogram"):
                continue
            into = found.setdefault(family.name, Family(family.name, family.kind, family.about))
            for labels, value in family.series.items():
                before = into.series.get(labels)
                if before is None:
                    into.series[labels] = value
                elif family.kind == "gauge":
                    into.series[labels] = max(before, value)
                else:
                    into.series[labels] = before + value
    return list(found.values())


def to_text(families: Iterable[Family]) -> str:
    """Return metrics in Prometheus' text format, version 0.0.4."""
    return "".join(line + "\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    about = family.about.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {family.name} {about}"
    yield f"# TYPE {family.name} {_TYPES[family.kind]}"
    for labels, value in sorted(family.series.items(), key=lambda each: each[0]):
        if isinstance(value, Histogram):
            borders = (*map(str, map(float, value.borders)), "+Inf")
            for border, count in zip(borders, accumulate(value.counts), strict=True):
                yield f"{family.name}_bucket{_written((*labels, ('le', border)))} {count}"
            yield f"{family.name}_count{_written(labels)} {sum(value.counts)}"
            yield f"{family.name}_sum{_written(labels)} {value.total!r}"
        else:
            yield f"{family.name}{_written(labels)} {value!r}"


def _written(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (
        name + '="' + text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") + '"'
        for name, text in labels
    )
    return "{" + ",".join(pairs) + "}"
