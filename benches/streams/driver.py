"""An application with many live streams: the same code for every package.

Runs in the environment of the package that it measures and needs nothing else. Writes what it
measured as JSON to the file it is told.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import sys
import time
from array import array
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType

CHUNK = 640
"""Bytes of 16 kHz linear16 in a chunk."""
PERIOD = 0.02
"""Seconds of audio in a chunk, and from one chunk to the next."""
OPENING = 10
"""Chunks that a stream sends before it counts as open: enough for the first final."""
BEATS = {"spread": 20, "in-step": 1}
"""The most places in a period at which chunks are due: asyncio wakes at most once a millisecond."""


class Usage:
    """The resources that the process has used up to now."""

    def __init__(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.user = usage.ru_utime
        self.system = usage.ru_stime
        self.waits = usage.ru_nvcsw
        self.preemptions = usage.ru_nivcsw
        self.thread = time.thread_time()
        self.wall = time.perf_counter()

    def since(self, earlier: "Usage") -> dict[str, float]:
        """The difference, field by field; `cpu` is user and system together, `thread` this one's
        part of it."""
        difference = {name: value - getattr(earlier, name) for name, value in vars(self).items()}
        return difference | {"cpu": difference["user"] + difference["system"]}


def resident() -> int:
    """Bytes of memory of this process that are in RAM."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Beat:
    """A place in the period: once a chunk, for all streams that are due there."""

    def __init__(self) -> None:
        self.count = 0
        self._next: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def strike(self) -> None:
        self.count += 1
        now, self._next = self._next, asyncio.get_running_loop().create_future()
        now.set_result(None)

    async def reach(self, count: int) -> None:
        """Waits for a number of rounds; returns at once if they are past."""
        while self.count < count:
            await self._next


async def keep_time(beats: list[Beat]) -> None:
    """One clock for all streams: a timer for each would cost more than everything measured here."""
    clock = asyncio.get_running_loop().time
    start = clock()
    struck = 0
    while True:
        await asyncio.sleep(start + (struck + 1) * PERIOD / len(beats) - clock())
        beats[struck % len(beats)].strike()
        struck += 1


class Stream:
    """One live stream: watermarked chunks go out, their numbers come back."""

    def __init__(
        self, client: AsyncDeepgramClient, chunks: list[bytes], tag: str, beat: Beat, lag: int
    ) -> None:
        self.tag = tag
        self.beat = beat
        self.lag = lag
        self.sent = array("q")
        self.words: list[str] = []
        self.first_result: int | None = None
        self.failure: str | None = None
        self._chunks = chunks
        self._awaited = 0
        self._reached = asyncio.Event()
        self._manager = client.listen.v1.connect(
            model="nova-3", encoding="linear16", sample_rate=16000, tag=tag
        )

    async def open(self) -> None:
        self._connection = await self._manager.__aenter__()
        self._connection.on(EventType.MESSAGE, self._heard)
        self._connection.on(EventType.ERROR, self.fail)
        self._listening = asyncio.create_task(self._connection.start_listening())
        due = self.beat.count + 1
        for count in range(due, due + OPENING):
            await self.beat.reach(count)
            await self.send()
        await self.answered()

    async def send(self) -> None:
        """Sends the next chunk."""
        chunk = self._chunks[len(self.sent)]
        self.sent.append(time.monotonic_ns())
        await self._connection.send_media(chunk)

    async def answered(self) -> None:
        """Waits until everything that was sent has come back."""
        self._awaited = len(self.sent)
        self._look()
        await self._reached.wait()
        self._reached.clear()
        if self.failure is not None:
            raise RuntimeError(self.failure)

    async def close(self) -> None:
        await self._connection.send_close_stream()
        await self._listening
        await self._manager.__aexit__(None, None, None)

    def _heard(self, message: Any) -> None:
        if message.type == "Results":
            if self.first_result is None:
                self.first_result = time.monotonic_ns()
            self.words += message.channel.alternatives[0].transcript.split()
            self._look()

    def fail(self, error: Any) -> None:
        """Leaves the stream out of later phases, for a reason; the first reason counts."""
        self.failure = self.failure or repr(error)
        self._reached.set()

    def _look(self) -> None:
        if 0 < self._awaited <= len(self.words):
            self._reached.set()


async def within(patience: float, streams: list[Stream], phase: Coroutine[Any, Any, None]) -> None:
    """Runs a phase of these streams. If it fails, they are left out of the next."""
    try:
        async with asyncio.timeout(patience):
            await phase
    except Exception as error:  # noqa: BLE001 - whatever the package raises is a result
        for stream in streams:
            stream.fail(error)


async def every(
    streams: list[Stream], phase: Callable[[Stream], Coroutine[Any, Any, None]], patience: float
) -> None:
    """Runs a phase of all streams at once."""
    await asyncio.gather(
        *(within(patience, [each], phase(each)) for each in streams if each.failure is None)
    )


async def send(streams: list[Stream], chunks: int) -> None:
    """Sends `chunks` further chunks of each stream, one per period; all have the same beat."""
    beat = streams[0].beat
    due = beat.count + 1
    for count in range(due, due + chunks + OPENING - 1):
        await beat.reach(count)
        for stream in streams:
            if 0 <= count - due - stream.lag < chunks and stream.failure is None:
                try:
                    await stream.send()
                except Exception as error:  # noqa: BLE001 - it ends one stream, not its neighbours
                    stream.fail(error)


def senders(streams: list[Stream], each: str) -> list[list[Stream]]:
    """The streams that one task sends for."""
    if each == "stream":
        return [[stream] for stream in streams]
    together: dict[Beat, list[Stream]] = {}
    for stream in streams:
        together.setdefault(stream.beat, []).append(stream)
    return list(together.values())


def factory(options: argparse.Namespace) -> Any:
    """The transport to measure."""
    if options.client == "floor":
        from floor import Floor

        return Floor(json.loads(Path(options.replies).read_text()))
    os.environ["AWS_ACCESS_KEY_ID"] = options.access_key_id
    os.environ["AWS_SECRET_ACCESS_KEY"] = options.secret_access_key
    from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory

    where: dict[str, Any] = {"endpoint_name": options.endpoint_name, "region": options.region}
    if options.client == "published":
        sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
        from published import point_at

        point_at(options.uri, options.ca_bundle)
    else:
        where |= {
            "endpoint_uri": options.uri,
            "ca_bundle": options.ca_bundle,
            "max_streams_per_connection": options.streams_per_connection,
        }
    if options.telemetry:
        use_opentelemetry()
        where_to = None if options.telemetry == 1 else False
        return SageMakerTransportFactory(config=SageMakerConfig(**where), telemetry=where_to)
    return SageMakerTransportFactory(config=SageMakerConfig(**where))


COLLECTING: list[float] = []
"""CPU seconds of each collection of all metrics, exported."""


def use_opentelemetry() -> None:
    """Sets OpenTelemetry up as an application does: every span, and all metrics every 15 s."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    class Reader(PeriodicExportingMetricReader):
        def collect(self, timeout_millis: float = 10_000) -> None:
            # In the reader's own thread, or in the caller's.
            before = time.thread_time()
            super().collect(timeout_millis)
            COLLECTING.append(time.thread_time() - before)

    # What is exported is made into text, as any exporter has to make something of it.
    out = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    exporter = ConsoleMetricExporter(out=out)
    reader = Reader(exporter, export_interval_millis=15_000)
    metrics.set_meter_provider(MeterProvider([reader]))
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=out)))
    trace.set_tracer_provider(tracers)


async def measure(options: argparse.Namespace, audio: bytes) -> dict[str, Any]:
    chunks = [audio[at : at + CHUNK] for at in range(0, len(audio), CHUNK)]
    transports = factory(options)
    client = AsyncDeepgramClient(api_key="unused", transport_factory=transports)
    beats = [Beat() for _ in range(min(BEATS[options.pace], options.streams))]
    time_keeper = asyncio.create_task(keep_time(beats))
    # Modules are loaded once a process, so they belong to no stream.
    first = Usage()
    warm = Stream(client, chunks, f"{options.tag}-warm", beats[0], 0)
    await every([warm], Stream.open, options.patience)
    await every([warm], Stream.close, options.patience)
    loaded = Usage()
    # Made before memory is first measured: the parts of a stream are made when it opens.
    # Results come at intervals of chunks: not for all streams in one period.
    streams = [
        Stream(
            client,
            chunks,
            f"{options.tag}-{at}",
            beats[at * len(beats) // options.streams],
            at % OPENING,
        )
        for at in range(options.streams)
    ]
    empty = resident()
    idle = Usage()
    began = time.monotonic_ns()
    await every(streams, Stream.open, options.patience)
    opened = Usage()
    full = resident()

    # The clock may be behind after the opening. Catching up would send chunks in heaps.
    time_keeper.cancel()
    time_keeper = asyncio.create_task(keep_time(beats))
    ready = Usage()
    await asyncio.gather(
        *(
            within(options.patience, group, send(group, options.chunks))
            for group in senders(streams, options.senders)
        )
    )
    await every(streams, Stream.answered, options.patience)
    done = Usage()

    await every(streams, Stream.close, options.patience)
    closed = Usage()
    time_keeper.cancel()

    wanted = [str(number) for number in range(OPENING + options.chunks)]
    failures = [stream.failure for stream in streams if stream.failure is not None]
    return {
        "client": options.client,
        "version": None if options.client == "floor" else version("deepgram-sagemaker"),
        "streams": options.streams,
        "chunks": options.chunks,
        "failed": len(failures),
        "failures": sorted(set(failures))[:5],
        "inexact": sum(stream.words != wanted for stream in streams),
        "began": began,
        "first_results": [s.first_result - began for s in streams if s.first_result is not None],
        "first": loaded.since(first),
        "opening": opened.since(idle),
        "steady": done.since(ready),
        "closing": closed.since(done),
        "collecting": COLLECTING,
        "ideal": options.chunks * PERIOD,
        "resident": full - empty,
        "sent": {stream.tag: list(stream.sent) for stream in streams},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=["ours", "published", "floor"])
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--chunks", type=int, required=True, help="a stream, once it is open")
    parser.add_argument(
        "--pace", choices=BEATS, default="spread", help="when in the period the streams send"
    )
    parser.add_argument(
        "--senders",
        choices=["beat", "stream"],
        default="beat",
        help="what has a task of its own to send: a stream that stalls holds up its task's others",
    )
    parser.add_argument("--streams-per-connection", type=int, default=1, help="of ours")
    parser.add_argument(
        "--telemetry",
        type=int,
        choices=[0, 1, 2],
        default=0,
        help="1: with OpenTelemetry's SDK; 2: with the SDK, which the package does not use (ours)",
    )
    parser.add_argument("--tag", required=True, help="what the streams' names begin with")
    parser.add_argument("--patience", type=float, default=240.0, help="seconds a phase may take")
    parser.add_argument("--audio", required=True, help="a file of watermarked chunks")
    parser.add_argument("--replies", required=True, help="the floor's messages: a JSON list")
    for name in ("uri", "ca-bundle", "endpoint-name", "region"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("access-key-id", "secret-access-key"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--out", required=True, help="the file for the figures")
    options = parser.parse_args()
    figures = asyncio.run(measure(options, Path(options.audio).read_bytes()))
    Path(options.out).write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
