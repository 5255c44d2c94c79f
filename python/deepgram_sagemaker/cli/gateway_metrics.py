"""The gateway's `/metrics`: the sessions' figures, its own, and those of all of its workers.

Workers do not talk to each other. Each writes its figures into a folder that they share, once a
second and at its end. Whichever worker is asked adds the others' files to its own figures. A hung
worker delays nobody that way, and what an ended worker has counted stays in the sum, so that
counters never go back.

Tests: tests/cli/test_gateway_metrics.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.exposition import Family, merged, to_text
from deepgram_sagemaker.meters import PREFIX

from .destinations import save

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from deepgram_sagemaker.exposition import Exposition, Kind

__all__ = ["GatewayMetrics", "SharedFigures", "families_of"]

_OWN: Final = f"{PREFIX}gateway."

_KNOWN: Final[Mapping[str, tuple[str, Kind, str, str]]] = {
    "connections": ("connection.active", "sum", "{connection}", "Connections that are open."),
    "connections_accepted": ("connections", "counter", "{connection}", "Connections accepted."),
    "connections_dropped": (
        "connections.dropped",
        "counter",
        "{connection}",
        "Connections closed unheard, because there were too many.",
    ),
    "connections_unheard": (
        "connections.unheard",
        "counter",
        "{connection}",
        "Connections on which no whole request came in time.",
    ),
    "conversations": (
        "conversation.active",
        "sum",
        "{conversation}",
        "Conversations that go on, those being opened included.",
    ),
    "conversations_begun": (
        "conversations",
        "counter",
        "{conversation}",
        "Conversations begun.",
    ),
    "messages_in": ("messages.received", "counter", "{message}", "Messages from clients."),
    "bytes_in": ("received.size", "counter", "By", "Bytes of messages from clients."),
    "messages_out": ("messages.sent", "counter", "{message}", "Messages to clients."),
    "bytes_out": ("sent.size", "counter", "By", "Bytes of messages to clients."),
}
"""Counts of the gateway: the metric's name, how it adds up, its unit, what it counts."""

_REFUSED: Final = "refused_"

_REMEMBERED: Final = 64
"""Ended workers whose files may still be there."""


def families_of(counts: Mapping[str, int]) -> Iterator[Family]:
    """Yield the gateway's own metrics, from its counts."""
    for name, (metric, kind, unit, about) in _KNOWN.items():
        if name in counts:
            family = Family.of(_OWN + metric, kind, unit, about)
            family.series[()] = counts[name]
            yield family
    refused = Family.of(
        f"{_OWN}refusals", "counter", "{refusal}", "Requests refused, by HTTP status."
    )
    for name, count in counts.items():
        if name.startswith(_REFUSED):
            refused.series[(("http_response_status_code", name.removeprefix(_REFUSED)),)] = count
    if refused.series:
        yield refused
    running = Family.of(f"{_OWN}workers", "sum", "{worker}", "Processes that serve.")
    running.series[()] = 1
    yield running


class SharedFigures:
    """The figures of all workers, in a folder: a file each, and one of those that have ended.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._past = folder / "past.json"

    def write(self, worker: str, families: Iterable[Family]) -> None:
        """Write down the figures of a worker, in place of its earlier ones."""
        told = [family.plain() for family in families]
        save(self._file(worker), json.dumps(told))

    def end(self, worker: str) -> None:
        """Keep what a worker has counted, and forget what it held. It must have ended."""
        ended, past = self._read_past()
        counted = merged([], [past, self._read(self._file(worker)) or []])
        # A reader that knows this file leaves the worker's own out: each counts once.
        told = {
            "ended": [*ended, worker][-_REMEMBERED:],
            "families": [family.plain() for family in counted],
        }
        save(self._past, json.dumps(told))
        self._file(worker).unlink(missing_ok=True)

    def others(self, worker: str) -> tuple[list[list[Family]], list[Family]]:
        """Return the figures of every other worker, and those of the ended ones together."""
        found = {}
        for file in sorted(self._folder.glob("live-*.json")):
            name = file.stem.removeprefix("live-")
            families = None if name == worker else self._read(file)
            if families is not None:
                found[name] = families
        # Read last: a worker that has ended since is in it, and counts there alone.
        ended, past = self._read_past()
        return [families for name, families in found.items() if name not in ended], past

    def _file(self, worker: str) -> Path:
        return self._folder / f"live-{worker}.json"

    def _read_past(self) -> tuple[list[str], list[Family]]:
        try:
            told = json.loads(self._past.read_bytes())
        except FileNotFoundError:
            return [], []
        return told["ended"], [Family.from_plain(each) for each in told["families"]]

    @staticmethod
    def _read(file: Path) -> list[Family] | None:
        try:
            return [Family.from_plain(each) for each in json.loads(file.read_bytes())]
        except FileNotFoundError:
            return None


class GatewayMetrics:
    """What `/metrics` answers with.

    Args:
        exposition: The figures of this process.
        shared: Those of all workers; None: this process is the only one.
        worker: The name of this worker.
    """

    def __init__(
        self, exposition: Exposition, shared: SharedFigures | None = None, worker: str = ""
    ) -> None:
        self._exposition = exposition
        self._shared = shared
        self._worker = worker
        self._ends = exposition.create_counter(
            f"{_OWN}closes", "{conversation}", "Conversations that ended, by close code."
        )

    def ended(self, code: int | None, by: str) -> None:
        """Count the end of a conversation.

        Args:
            code: The close code; None: the connection was lost.
            by: Who ended it.
        """
        self._ends.add(1, {"code": "none" if code is None else str(code), "by": by})

    def write(self) -> None:
        """Write down what the other workers need of this one."""
        if self._shared is not None:
            self._shared.write(self._worker, self._exposition.snapshot())

    def text(self) -> str:
        """Return the figures of all workers in Prometheus' text format."""
        own = self._exposition.snapshot()
        if self._shared is None:
            return to_text(own)
        others, past = self._shared.others(self._worker)
        return to_text(merged([own, *others], [past]))
