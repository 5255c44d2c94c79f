"""Measures what OpenTelemetry costs: CPU a chunk of live streams, with it and without, in turns.

Each round is a pair of runs, one right after the other, in alternating order, so that whatever else
the machine does meets both. Run it in the environment of `make bench`, with `opentelemetry-sdk`:

    python benches/streams/telemetry.py --streams 100 --chunks 500 --rounds 5
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from driver import OPENING
from harness import Runner, endpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    streams, chunks = options.streams, options.chunks
    micros: dict[int, list[float]] = {0: [], 1: []}
    with tempfile.TemporaryDirectory() as scratch, endpoint(scratch) as running:
        runner = Runner(Path(scratch), None, chunks + OPENING, Path(scratch) / "log")
        runner.replies.write_text("[]")
        for number in range(options.rounds):
            for telemetry in (0, 1) if number % 2 == 0 else (1, 0):
                figures = runner.run("ours", running.where, streams, chunks, telemetry=telemetry)
                bad = (figures["failed"], figures["inexact"])
                if bad != (0, 0):
                    raise SystemExit(f"failed, inexact: {bad}: {figures['failures']}")
                cpu = figures["steady"]["cpu"] / (streams * chunks) * 1e6
                micros[telemetry].append(cpu)
                print(f"round {number}  telemetry {telemetry}  {cpu:.2f} us a chunk", flush=True)
    ratios = [on / off for off, on in zip(micros[0], micros[1], strict=True)]
    off, on = (statistics.median(micros[each]) for each in (0, 1))
    print(f"median: {off:.2f} us a chunk without, {on:.2f} with")
    print(f"median of the pairs: {(statistics.median(ratios) - 1) * 100:+.2f} %")


if __name__ == "__main__":
    main()
