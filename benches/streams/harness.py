"""Measures live streams end to end: ours, the published package, and the driver's own floor.

One endpoint process, one driver script, three transports under it, all in one run. Writes
`streams.json` with everything measured, a table and a plot.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import report
import trust
from deepgram_sagemaker.local.watermark import chunk
from driver import CHUNK, OPENING
from recording import replies

HERE = Path(__file__).parent
LEVELS = {1: (500, 500), 20: (500, 300), 100: (300, 100), 300: (300, 60), 500: (300, 40)}
"""Streams: chunks of each for ours and the floor, and for the published package.

The latter cannot keep up from some forty streams on, and takes as long as its CPU time.
"""
QUICK = {1: (100, 100), 20: (100, 50)}
SHARED = 25
"""Streams on a shared connection."""
SHARED_FROM = 100
"""The number of streams from which shared connections are measured as well."""
IN_STEP = (100, 300)
"""Streams that are also measured with all chunks due at the same moment."""
RESETS = (50, 100)
"""Streams and chunks of the run in which every stream is reset once."""
RESET_AFTER = 55
"""Chunks after which the reset comes: in the middle of a final's audio."""
LONG = (500, 1500)
"""Streams and chunks of the long run of ours alone: thirty seconds."""


class Endpoint:
    """The endpoint's process and its output."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "endpoint.py", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.where: dict[str, str] = self._line()

    def ask(self, order: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"the endpoint's process has ended: {self._process.wait()}")
        return json.loads(line)

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@contextmanager
def endpoint(scratch: str, *arguments: str) -> Iterator[Endpoint]:
    running = Endpoint(*arguments)
    running.where["ca_bundle"] = str(trust.store(running.where["ca_bundle"], scratch))
    try:
        yield running
    finally:
        running.stop()


class Runner:
    """Runs the driver, in either environment."""

    def __init__(self, scratch: Path, peer: Path | None, chunks: int, log: Path) -> None:
        self._scratch = scratch
        self.log = log
        self._peer = peer
        self._runs = 0
        self.audio = scratch / "audio"
        self.audio.write_bytes(b"".join(chunk(number, CHUNK) for number in range(chunks)))
        self.replies = scratch / "replies.json"

    def record(self, where: dict[str, str], chunks: int) -> None:
        """Records the endpoint's answers to `chunks` chunks, for the floor."""
        audio = self.audio.read_bytes()[: chunks * CHUNK]
        self.replies.write_text(json.dumps(replies(where, audio)))

    def run(
        self, client: str, where: dict[str, str], streams: int, chunks: int, **more: Any
    ) -> dict[str, Any]:
        self._runs += 1
        driven = client
        if client == "shared":
            driven = "ours"
            more["streams_per_connection"] = SHARED
        python = self._peer if client == "published" else sys.executable
        out = self._scratch / f"{self._runs}.json"
        options = where | {
            "streams": streams,
            "chunks": chunks,
            "tag": f"run-{self._runs}",
            "audio": self.audio,
            "replies": self.replies,
            "out": out,
            **more,
        }
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        load = os.getloadavg()[0]
        command = [str(python), HERE / "driver.py", driven, *arguments]
        with self.log.open("a") as log:
            process = subprocess.run(command, stderr=log)
        if process.returncode != 0:
            sys.exit(f"the driver failed with {client}, {streams} streams: see {self.log}")
        measured = {"client": client, "tag": options["tag"], "load": load}
        return json.loads(out.read_text()) | measured


def measure(
    runner: Runner, running: Endpoint, client: str, streams: int, chunks: int, pace: str = "spread"
) -> dict[str, Any]:
    """One run: what the driver measured, joined with what the endpoint saw."""
    before = running.ask("usage")
    figures = runner.run(client, running.where, streams, chunks, pace=pace) | {"pace": pace}
    after = running.ask("usage")
    figures["endpoint"] = {name: after[name] - before[name] for name in after}
    sent = figures.pop("sent")
    legs = [leg for leg in running.ask("records") if leg["tag"] in sent]
    delays = [
        at - sent[leg["tag"]][number]
        for leg in legs
        for number, at in leg["arrivals"]
        if number >= OPENING
    ]
    figures["delays"] = report.spread(delays)
    figures["first_results"] = report.spread(figures["first_results"])
    figures["opened"] = max((leg["opened"] for leg in legs), default=0) - figures["began"]
    per_chunk = figures["steady"]["cpu"] / (streams * chunks) * 1e6
    delay = figures["delays"] or {"p50": 0, "p99": 0}
    print(
        f"{client:>9} {streams:4} streams {pace}: {per_chunk:7.1f} us/chunk, "
        f"delay p50 {delay['p50'] / 1e6:.2f} p99 {delay['p99'] / 1e6:.2f} ms, "
        f"wall {figures['steady']['wall']:.1f} of {figures['ideal']:.1f} s, "
        f"{figures['resident'] / streams / 1024:.0f} KiB/stream, "
        f"open {figures['opening']['cpu'] / streams * 1e3:.2f} ms, "
        f"failed {figures['failed']}, inexact {figures['inexact']}, load {figures['load']:.1f}",
        flush=True,
    )
    return figures


def measure_resets(runner: Runner, running: Endpoint, client: str) -> dict[str, Any]:
    """How long after a reset the first replayed chunk is at the endpoint, backoff included."""
    streams, chunks = RESETS
    figures = runner.run(client, running.where, streams, chunks, patience=30, senders="stream")
    sent = figures.pop("sent")
    legs: dict[str, list[dict[str, Any]]] = {}
    for leg in running.ask("records"):
        if leg["tag"] in sent:
            legs.setdefault(leg["tag"], []).append(leg)
    gaps = [
        second["arrivals"][0][1] - first["closed"]
        for first, second, *_ in (each for each in legs.values() if len(each) > 1)
        if second["arrivals"]
    ]
    figures["resets"] = report.spread(gaps)
    figures["resumed"] = len(gaps)
    print(
        f"{client:>9} {streams:4} streams reset: {len(gaps)} resumed, "
        f"{figures['inexact']} not exact, first byte again after {figures['resets']}",
        flush=True,
    )
    return figures


def plan(
    streams: int, chunks: int, chunks_published: int, repeats: int, peer: Path | None
) -> list[tuple[str, int, int, str]]:
    """The runs of a level in their order: alternatives close to each other in time."""
    ours = ["ours", "shared", "floor"] if streams >= SHARED_FROM else ["ours", "floor"]
    runs = []
    for pace in ["spread", "in-step"] if streams in IN_STEP else ["spread"]:
        for _ in range(repeats):
            runs += [(client, streams, chunks, pace) for client in ours]
            if peer is not None:
                runs.append(("published", streams, chunks_published, pace))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, help="Python with the published package; none: skip")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--repeats", type=int, default=3, help="of everything")
    parser.add_argument("--levels", type=int, nargs="+", choices=LEVELS, help="streams at once")
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement")
    parser.add_argument("--no-long", action="store_true", help="no thirty seconds, no resets")
    options = parser.parse_args()
    levels = QUICK if options.quick else LEVELS
    if options.levels is not None:
        levels = {streams: LEVELS[streams] for streams in options.levels}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "streams.log").unlink(missing_ok=True)
    began = time.monotonic()
    runs = []
    most = max(LONG[1], *(max(chunks) for chunks in levels.values())) + OPENING
    with tempfile.TemporaryDirectory() as scratch:
        runner = Runner(Path(scratch), options.peer, most, options.out / "streams.log")
        recorded = False
        for streams, chunks in levels.items():
            # A process a level: its records grow.
            with endpoint(scratch) as running:
                if not recorded:
                    runner.record(running.where, most)
                    recorded = True
                order = plan(streams, *chunks, options.repeats, options.peer)
                runs += [measure(runner, running, *run) for run in order]
        if not (options.quick or options.no_long):
            with endpoint(scratch) as running:
                for client in ("ours", "shared"):
                    runs.append(measure(runner, running, client, *LONG) | {"long": True})
        resets: list[dict[str, Any]] = []
        if not (options.quick or options.no_long):
            with endpoint(scratch, f"--reset-after={RESET_AFTER}") as running:
                clients = ["ours", "published"] if options.peer else ["ours"]
                resets = [measure_resets(runner, running, client) for client in clients]
    result = {
        "machine": {
            "cpus": os.cpu_count(),
            "processor": report.processor(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "seconds": time.monotonic() - began,
        "runs": runs,
        "resets": resets,
    }
    (options.out / "streams.json").write_text(json.dumps(result, indent=1))
    summary = report.summary(runs)
    table = report.table(summary) + report.resets_table(resets)
    (options.out / "streams.md").write_text(table)
    (options.out / "streams.svg").write_text(report.plot(summary))
    print(table)


if __name__ == "__main__":
    main()
