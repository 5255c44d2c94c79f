"""How fast sessions fall over to another endpoint, and how they return.

    .venv/bin/python benches/fallover.py

Two local endpoints, sessions of counted audio at real time. Every session is checked: each chunk
once and in order, on one clock. The times are from an event at the first endpoint, or from a
session's beginning, to the first byte of audio at the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import Answer
from deepgram_sagemaker.local.watermark import chunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from deepgram_sagemaker import SageMakerTransport

URL = "wss://x/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
CHUNK = 640
PACE = 0.02
"""Seconds of audio in a chunk, and between chunks."""

FOREVER = 3600.0


@asynccontextmanager
async def two(faults: Iterable[Fault] = ()) -> AsyncIterator[list[LocalEndpoint]]:
    """Run two endpoints, each with a region and an authority of its own."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                LocalEndpoint(
                    name,
                    Watermark(silence_timeout=None),
                    region=region,
                    faults=own,
                    record_arrivals=True,
                )
            )
            for name, region, own in (
                ("first", "us-east-1", faults),
                ("second", "us-west-2", ()),
            )
        ]


async def until(condition: Callable[[], bool], *, every: float = 0.005) -> None:
    """Wait for something without an event: the work of the endpoints' threads."""
    while not condition():  # noqa: ASYNC110 - there is none
        await asyncio.sleep(every)


async def listen(transport: SageMakerTransport) -> tuple[list[int], list[tuple[float, float]]]:
    """Return the numbers of the chunks that finals report, and where each final is."""
    numbers: list[int] = []
    places: list[tuple[float, float]] = []
    async for message in transport:
        told = json.loads(message)
        if told["type"] == "Results" and told["is_final"]:
            numbers += map(int, told["channel"]["alternatives"][0]["transcript"].split())
            places.append((told["start"], told["duration"]))
    return numbers, places


async def converse(factory: SageMakerTransportFactory, stop: asyncio.Event) -> None:
    """Stream counted audio at real time until told to stop, and check what came back."""
    transport = factory(URL)
    listening = asyncio.create_task(listen(transport))
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    while not stop.is_set():
        await transport.send(chunk(sent, CHUNK))
        sent += 1
        await asyncio.sleep(max(0.0, began + sent * PACE - loop.time()))
    await transport.send({"type": "CloseStream"})
    numbers, places = await listening
    await transport.close()
    assert numbers == list(range(sent)), "lost or repeated"
    reached = 0.0
    for start, duration in places:
        assert abs(start - reached) < 1.000001e-6, "another clock"
        reached = start + duration
    assert abs(reached - sent * PACE) < 1.000001e-6


def first_bytes(endpoint: LocalEndpoint) -> list[float]:
    """Return when the first audio of each stream arrived."""
    return [leg.arrivals[0][1] for leg in endpoint.legs if leg.arrivals]


def told(name: str, seconds: list[float]) -> None:
    """Print a row: percentiles in milliseconds."""
    ranks = statistics.quantiles(seconds, n=100, method="inclusive")
    p50, p99, most = (1000 * value for value in (ranks[49], ranks[98], max(seconds)))
    print(f"{name:34} {len(seconds):4} {p50:9.1f} {p99:9.1f} {most:9.1f}", flush=True)


async def killed(sessions: int) -> None:
    """The first endpoint is killed in mid-sentence under all sessions."""
    async with two() as (first, second):
        config = first.config(fallbacks=[second.as_fallback()])
        factory = SageMakerTransportFactory(config=config)
        stop = asyncio.Event()
        tasks = [asyncio.create_task(converse(factory, stop)) for _ in range(sessions)]
        await until(lambda: first.stats.live_streams == sessions)
        await asyncio.sleep(2.0)
        began = time.monotonic()
        first.refuse_connections(FOREVER)
        await asyncio.sleep(3.0)
        stop.set()
        await asyncio.gather(*tasks)
        taken = [when - began for when in first_bytes(second)]
        assert len(taken) == factory.stats.fallovers == sessions
        assert factory.stats.bytes_lost == 0
        told("killed in mid-sentence", taken)


async def refusing(name: str, sessions: int, faults: list[Fault], **fields: Any) -> None:
    """Sessions begin while the first endpoint refuses them; each finds that out by itself."""
    async with two(faults) as (first, second):
        keys = first.boto3_session()
        config = first.config(
            boto3_session=keys, fallbacks=[second.as_fallback(boto3_session=keys)], **fields
        )
        taken = []
        for _ in range(sessions):
            factory = SageMakerTransportFactory(config=config)
            stop = asyncio.Event()
            began = time.monotonic()
            task = asyncio.create_task(converse(factory, stop))
            await until(lambda: second.stats.live_streams == 1)
            stop.set()
            await task
            taken.append(first_bytes(second)[-1] - began)
            await until(lambda: second.stats.live_streams == 0)
        told(name, taken)


async def returning(sessions: int, *, outage: float, age: float) -> None:
    """The first endpoint dies and comes back; sessions return at their next rollover.

    Meanwhile a new session begins every half second, as calls do.
    """
    async with two() as (first, second):
        config = first.config(fallbacks=[second.as_fallback()], max_leg_age=age)
        factory = SageMakerTransportFactory(config=config)
        stop = asyncio.Event()
        tasks = [asyncio.create_task(converse(factory, stop)) for _ in range(sessions)]
        await until(lambda: first.stats.live_streams == sessions)
        first.refuse_connections(outage)
        back = time.monotonic() + outage
        while time.monotonic() < back:
            await asyncio.sleep(0.5)
            tasks.append(asyncio.create_task(converse(factory, stop)))
        everybody = len(tasks)
        await until(
            lambda: first.stats.live_streams == everybody and second.stats.live_streams == 0
        )
        took = time.monotonic() - back
        stop.set()
        await asyncio.gather(*tasks)
        seconds = Counter(int(leg.opened - back) for leg in first.legs if leg.opened >= back)
        opens = [seconds[second] for second in range(int(took) + 1)]
        assert factory.stats.bytes_lost == 0
        print(
            f"\n{everybody} sessions were back {took:.1f} s after the first endpoint was "
            f"(max_leg_age={age:g})\nits opens in each second from then on: "
            f"{' '.join(map(str, opens))}"
        )


async def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description="How fast sessions fall over, and return.")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--outage", type=float, default=12.0)
    parser.add_argument("--age", type=float, default=30.0)
    options = parser.parse_args()
    logging.getLogger("deepgram_sagemaker").setLevel(logging.ERROR)
    print(f"{'the first endpoint':34} {'n':>4} {'p50 ms':>9} {'p99 ms':>9} {'most ms':>9}")
    await killed(options.sessions)
    throttled = Fault(Answer(429, "ThrottlingException"), times=None)
    await refusing("is throttled (429)", options.sessions, [throttled])
    full = Fault(Answer(424, "ModelError"), times=None)
    await refusing("is full (424)", options.sessions, [full])
    await refusing(
        "is gone from DNS", options.sessions, [], endpoint_uri="https://no-such-host.invalid"
    )
    await returning(options.sessions, outage=options.outage, age=options.age)


if __name__ == "__main__":
    asyncio.run(main())
