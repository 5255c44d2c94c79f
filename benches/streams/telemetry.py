"""Measures what OpenTelemetry costs: CPU a chunk of live streams, with it and without, in turns.

Each round has three runs, one right after the other: without OpenTelemetry; with its SDK in the
process, which the package does not use (an application that traces other things has that cost
anyway); and with the package's traces and metrics. The order changes, so that whatever else the
machine does meets all of them. The collections of the metrics are measured by themselves too: what
else a busy machine does costs more than they do. Run it in the environment of `make bench`, with
`opentelemetry-sdk`:

    python benches/streams/telemetry.py --streams 100 --chunks 500 --rounds 5
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from driver import OPENING, PERIOD
from harness import Runner, endpoint

INTERVAL = 15
"""Seconds from one collection of the metrics to the next."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    streams, chunks = options.streams, options.chunks
    micros: dict[int, list[float]] = {0: [], 1: [], 2: []}
    collecting: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, endpoint(scratch) as running:
        runner = Runner(Path(scratch), None, chunks + OPENING, Path(scratch) / "log")
        runner.replies.write_text("[]")
        for number in range(options.rounds):
            for telemetry in ((0, 2, 1), (1, 2, 0))[number % 2]:
                figures = runner.run("ours", running.where, streams, chunks, telemetry=telemetry)
                bad = (figures["failed"], figures["inexact"])
                if bad != (0, 0):
                    raise SystemExit(f"failed, inexact: {bad}: {figures['failures']}")
                cpu = figures["steady"]["cpu"] / (streams * chunks) * 1e6
                micros[telemetry].append(cpu)
                collecting += figures["collecting"] if telemetry == 1 else []
                print(f"round {number}  telemetry {telemetry}  {cpu:.2f} us a chunk", flush=True)
    for mode, name in enumerate(("without", "with", "with the SDK alone")):
        print(f"{statistics.median(micros[mode]):.2f} us a chunk {name}")
    for base, name in ((0, "nothing"), (2, "the SDK alone")):
        ratios = [on / off for off, on in zip(micros[base], micros[1], strict=True)]
        median = (statistics.median(ratios) - 1) * 100
        print(f"against {name}: {median:+.1f} % (median of the pairs)")
    if collecting:
        collection = statistics.median(collecting)
        live = streams / PERIOD * statistics.median(micros[0]) / 1e6
        print(
            f"a collection of all metrics: {collection * 1e3:.2f} ms of CPU (median of "
            f"{len(collecting)}); every {INTERVAL} s: {collection / INTERVAL / live:.2%} of the "
            "streams' CPU"
        )


if __name__ == "__main__":
    main()
