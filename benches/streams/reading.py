"""What a chunk costs by the way in which an application reads its results.

Live streams send 20 ms chunks at real time to an endpoint in a process of its own, which answers
every ten chunks. Each way of reading is measured several times, in turn:

- handlers: `start_listening()` of the SDK, with a handler;
- iterator: iterating the SDK's connection;
- json: iterating the bare transport, with `json.loads` of each message;
- text: iterating the bare transport, without reading the messages.

Needs a release build: python benches/streams/reading.py --streams 100
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.local.watermark import chunk

WAYS = ("handlers", "iterator", "json", "text")
LISTEN = {"model": "nova-3", "encoding": "linear16", "sample_rate": 16000}
URL = "wss://api.deepgram.com/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
SIZE = 640
PERIOD = 0.02
OPENING = 10
"""Chunks until the first result. Each result covers as many."""


class Stream:
    """One live stream, and the chunks that it knows to be final."""

    def __init__(self, factory, client, way):
        self.final = 0
        self._factory = factory
        self._client = client
        self._way = way

    async def open(self):
        """Open it, and start to read."""
        if self._way in ("json", "text"):
            transport = self._factory(URL)
            self.send = transport.send
            self._close = transport.close
            read = self._read_json if self._way == "json" else self._read_text
            self._reading = asyncio.create_task(read(transport))
            return
        manager = self._client.listen.v1.connect(**LISTEN)
        connection = await manager.__aenter__()
        self.send = connection.send_media
        self._close = lambda: manager.__aexit__(None, None, None)
        if self._way == "handlers":
            connection.on(EventType.MESSAGE, self._take)
            self._reading = asyncio.create_task(connection.start_listening())
        else:
            self._reading = asyncio.create_task(self._read_models(connection))

    async def close(self):
        """End it in order."""
        await self.send('{"type":"CloseStream"}')
        await self._reading
        await self._close()

    def _take(self, message):
        if message.type == "Results":
            self.final += len(message.channel.alternatives[0].transcript.split())

    async def _read_models(self, connection):
        async for message in connection:
            self._take(message)

    async def _read_json(self, transport):
        async for text in transport:
            message = json.loads(text)
            if message["type"] == "Results":
                self.final += len(message["channel"]["alternatives"][0]["transcript"].split())

    async def _read_text(self, transport):
        async for text in transport:
            self.final += OPENING if '"type":"Results"' in text else 0


def cpu():
    """User and system time of the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(factory, client, way, options, chunks):
    """Return the microseconds of CPU a chunk: of the process, and of this thread."""
    streams = [Stream(factory, client, way) for _ in range(options.streams)]
    await asyncio.gather(*(stream.open() for stream in streams))
    for number in range(OPENING):
        for stream in streams:
            await stream.send(chunks[number])
    while any(stream.final < OPENING for stream in streams):  # noqa: ASYNC110 - counted
        await asyncio.sleep(0.01)
    groups = [streams[at :: options.groups] for at in range(options.groups)]
    clock = asyncio.get_running_loop().time
    process, thread, start = cpu(), time.thread_time(), clock()
    for number in range(OPENING, len(chunks)):
        for at, group in enumerate(groups):
            due = start + PERIOD * (number - OPENING + at / len(groups))
            if due > clock():
                await asyncio.sleep(due - clock())
            for stream in group:
                await stream.send(chunks[number])
    while any(stream.final < len(chunks) for stream in streams):  # noqa: ASYNC110 - counted
        await asyncio.sleep(0.005)
    spent = cpu() - process, time.thread_time() - thread
    took, wanted = clock() - start, PERIOD * (len(chunks) - OPENING)
    await asyncio.gather(*(stream.close() for stream in streams))
    if took > 1.5 * wanted:
        sys.exit(f"{way}: {took:.1f} s for {wanted:.1f} s of audio: the machine is busy")
    sent = options.streams * (len(chunks) - OPENING)
    return [1e6 * seconds / sent for seconds in spent]


async def main(options):
    """Measure every way in turn, and print the medians."""
    server = subprocess.Popen(  # noqa: ASYNC220 - before anything else happens
        [sys.executable, Path(__file__).with_name("endpoint.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    where = json.loads(server.stdout.readline())
    os.environ["AWS_ACCESS_KEY_ID"] = where["access_key_id"]
    os.environ["AWS_SECRET_ACCESS_KEY"] = where["secret_access_key"]
    config = SageMakerConfig(
        where["endpoint_name"],
        where["region"],
        endpoint_uri=where["uri"],
        ca_bundle=where["ca_bundle"],
        proxy="",
    )
    factory = SageMakerTransportFactory(config=config)
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    total = OPENING * round(options.seconds / PERIOD / OPENING + 1)
    chunks = [chunk(number, SIZE) for number in range(total)]
    spent = {way: [] for way in WAYS}
    for turn in range(options.turns + 1):
        for way in WAYS:
            figures = await measure(factory, client, way, options, chunks)
            if turn > 0:  # the first turn loads modules
                spent[way].append(figures)
    server.stdin.close()
    server.wait()
    print(f"{options.streams} streams, CPU a chunk in us, medians of {options.turns}")
    print(f"{'':10} process  of which this thread")
    for way in WAYS:
        process, thread = map(statistics.median, zip(*spent[way], strict=True))
        print(f"{way:10} {process:7.1f}  {thread:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=4.0, help="of audio, in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--groups", type=int, default=1, help="moments in the period to send at")
    asyncio.run(main(parser.parse_args()))
