"""Measures live streams through a gateway, beside the bare transport and the published package.

    python benches/streams/gateway.py --load target/release/examples/gateway_load

Each alternative is a process of its own, as is the endpoint; what is measured is the CPU of the
gateway's process, or of the application's. The load of the gateway is native
(`benches/gateway_load.rs`), so that both cores are not busy with making it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import report
from driver import OPENING
from harness import Endpoint, Runner, endpoint, measure

HERE = Path(__file__).parent
PUBLISHED = 100
"""Chunks of each stream of the published package, which takes as long as its CPU time."""
QUERY = "model=nova-3&encoding=linear16&sample_rate=16000&tag="


class Behind(Runner):
    """Runs streams through a gateway, too."""

    def __init__(self, load: Path, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._load = load

    def run(
        self, client: str, where: dict[str, str], streams: int, chunks: int, **more: Any
    ) -> dict[str, Any]:
        if client != "gateway":
            return super().run(client, where, streams, chunks, **more)
        self._runs += 1
        tag, out = f"run-{self._runs}", self._scratch / f"{self._runs}.json"
        load = os.getloadavg()[0]
        with gateway(where) as (url, process):
            command = [self._load, f"{url}/v1/listen?{QUERY}", streams, chunks, self.audio]
            command += [tag, process, out]
            with self.log.open("a") as log:
                ended = subprocess.run([str(each) for each in command], stderr=log)
        if ended.returncode != 0:
            sys.exit(f"the load failed with {streams} streams: see {self.log}")
        return json.loads(out.read_text()) | {"client": client, "tag": tag, "load": load}


@contextmanager
def gateway(where: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A gateway in a process of its own: where it listens, and the process."""
    process = subprocess.Popen(
        [sys.executable, HERE / "gateway_process.py", json.dumps(where)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            sys.exit(f"the gateway's process has ended: {process.wait()}")
        yield url, process.pid
    finally:
        process.stdin.close()
        process.wait(30)


def run(runner: Runner, running: Endpoint, client: str, streams: int, chunks: int) -> Any:
    figures = measure(runner, running, client, streams, chunks)
    if "answers" in figures:
        figures["answers"] = answers = report.spread(figures["answers"])
        assert answers is not None
        print(
            f"          from a chunk to its result: p50 {answers['p50'] / 1e6:.2f} "
            f"p99 {answers['p99'] / 1e6:.2f} ms; "
            f"{figures['steady']['cpu'] / figures['steady']['wall']:.2f} of a core",
            flush=True,
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=Path, required=True, help="the program gateway_load")
    parser.add_argument("--peer", type=Path, help="Python with the published package; none: skip")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--chunks", type=int, default=3000, help="of each stream of ours")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "gateway.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch, endpoint(scratch) as running:
        chunks = options.chunks
        runner = Behind(options.load, Path(scratch), options.peer, chunks + OPENING, log)
        runner.replies.write_text("[]")
        plan = [("gateway", chunks), ("ours", chunks)]
        if options.peer is not None:
            plan.append(("published", PUBLISHED))
        runs = [run(runner, running, client, options.streams, count) for client, count in plan]
    (options.out / "gateway.json").write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
