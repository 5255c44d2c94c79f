"""Sessions as an application holds them: through the real Deepgram SDK, on counted audio."""

import asyncio
import errno
import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.local.watermark import chunk
from engines import engine_threads as engine_threads

CHUNK = 640
"""Bytes of 20 ms of 16 kHz linear16."""

LISTEN = {"model": "nova-3", "encoding": "linear16", "sample_rate": 16000}

LISTEN_URL = "wss://api.deepgram.com/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"


def client_of(config):
    """Returns an SDK client with the config's endpoint."""
    return client_of_factory(SageMakerTransportFactory(config=config))


def client_of_factory(factory):
    """Returns an SDK client with a factory of the test's own."""
    return AsyncDeepgramClient(api_key="unused", transport_factory=factory)


class Heard:
    """The messages that an application's handlers got."""

    def __init__(self):
        self.messages = []
        self.errors = []
        self.closed = 0

    def attach(self, connection):
        connection.on(EventType.MESSAGE, self._message)
        connection.on(EventType.ERROR, self.errors.append)
        connection.on(EventType.CLOSE, self._close)

    def _message(self, message):
        self.messages.append(message)

    def _close(self, _):
        self.closed += 1

    @property
    def finals(self):
        return [
            message
            for message in self.messages
            if getattr(message, "type", "") == "Results" and message.is_final
        ]

    @property
    def numbers(self):
        """The numbers of the chunks that finals reported, in order."""
        return [
            int(word)
            for final in self.finals
            for word in final.channel.alternatives[0].transcript.split()
        ]


class Counted(Heard):
    """Keeps only the numbers: models of six thousand messages would be expensive."""

    def __init__(self):
        super().__init__()
        self.counted = []
        self.results = 0

    def _message(self, message):
        if message.type == "Results":
            self.results += 1
            self.counted.extend(map(int, message.channel.alternatives[0].transcript.split()))


@functools.cache
def counted_chunk(number):
    """The chunk of a number, made once for all sessions."""
    return chunk(number, CHUNK)


async def session(client, chunks=50, *, pace=None, heard=None, gate=None, **options):
    """Streams counted chunks through one connection, closes it in order, and returns what came.

    Args:
        client: The SDK's client.
        chunks: How many.
        pace: Seconds of wall clock for each chunk; None: as fast as `send` takes them.
        heard: What to tell it with; None: a `Heard`.
        gate: What to await, with the stream opening, before the first chunk.
        options: Further query parameters.
    """
    heard = Heard() if heard is None else heard
    async with client.listen.v1.connect(**LISTEN | options) as connection:
        heard.attach(connection)
        listening = asyncio.create_task(connection.start_listening())
        loop = asyncio.get_running_loop()
        if gate is not None:
            await gate()
        began = loop.time()
        try:
            for number in range(chunks):
                await connection.send_media(counted_chunk(number))
                if pace is not None:
                    ahead = began + (number + 1) * pace - loop.time()
                    if ahead > 0:
                        await asyncio.sleep(ahead)
            await connection.send_close_stream()
        except SageMakerError:
            # Whether a send comes after the session's end is chance. The reader is told either way.
            await listening
            assert heard.errors
        await listening
    return heard


async def until(condition, *, within=20.0):
    """Waits for something without an event: the work of another thread or process."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


def is_refused(port):
    """Returns whether nothing listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def descriptors():
    """How many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def run_script(script, *arguments, timeout=50.0, strict=True):
    """Runs a script in a fresh interpreter, with this one's environment.

    Args:
        script: Its text.
        arguments: What it finds in `sys.argv[1:]`.
        timeout: Seconds it may take.
        strict: Whether warnings are errors there; otherwise they are as Python has them.

    Returns:
        The completed process: `returncode`, `stdout`, `stderr`.
    """
    # The Deepgram SDK imports something that its websockets library calls deprecated.
    filters = ["-W", "error", "-W", "ignore:websockets:DeprecationWarning"] if strict else []
    return subprocess.run(
        [sys.executable, *filters, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
