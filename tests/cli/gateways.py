"""The command `gateway` in a process of its own, and clients of it that know nothing of us."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

import websockets
from deepgram_sagemaker.local.watermark import chunk

KEY = "0123456789abcdef0123456789abcdef"

QUERY = "model=nova-3&encoding=linear16&sample_rate=16000&keyterm=Geheim"
"""Of a conversation with the watermark. The keyterm must be in no log."""

CERTIFICATES = Path(__file__).parents[1] / "e2e" / "certificates"


class Running:
    """A gateway that runs.

    Attributes:
        process: Its process.
        said: What it printed at its start.
        url: Where clients connect.
    """

    def __init__(self, process):
        self.process = process
        self.said = ""
        self.errors = ""
        self.url = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        async for line in self.process.stderr:
            self.errors += line.decode()

    async def up(self):
        """Waits until it has said how it is reached."""
        async with asyncio.timeout(60):
            while "websocat" not in self.said:
                line = await self.process.stdout.readline()
                if not line:
                    await self._reading
                    raise AssertionError(self.errors)
                self.said += line.decode()
        self.url = re.search(r"wss?://\S+:\d+", self.said)[0]

    @property
    def http(self):
        return self.url.replace("ws", "http", 1)

    async def told(self, pattern, within=30):
        """Waits until standard error has a text; returns the match."""
        async with asyncio.timeout(within):
            while not (found := re.search(pattern, self.errors)):
                assert not self._reading.done(), self.errors
                await asyncio.sleep(0.02)
        return found

    async def ended(self, within=30):
        """Waits for its end; returns the status and what else it printed."""
        async with asyncio.timeout(within):
            rest = (await self.process.stdout.read()).decode().strip()
            await self._reading
            status = await self.process.wait()
        assert "Traceback" not in self.errors, self.errors
        return status, rest

    def stop(self, by=signal.SIGTERM):
        self.process.send_signal(by)

    async def get(self, path, key=None, method="GET", **headers):
        """Asks for a page; returns its status and its text."""

        def ask():
            request = urllib.request.Request(self.http + path, method=method, headers=headers)
            if key is not None:
                request.add_header("Authorization", f"Bearer {key}")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        return await asyncio.to_thread(ask)

    def connect(self, key=None, **options):
        """Connects as a client of Deepgram's does."""
        headers = {} if key is None else {"Authorization": f"Token {key}"}
        url = f"{self.url}/v1/listen?{QUERY}"
        return websockets.connect(url, additional_headers=headers, compression=None, **options)


@contextlib.asynccontextmanager
async def gateway(*arguments, endpoint=None, port="0", **environment):
    """Runs the command, in front of an endpoint of this process; it is gone afterwards."""
    variables = dict(environment)
    options = []
    if endpoint is not None:
        options = ["-e", endpoint.endpoint_name, "--region", endpoint.region]
        options += ["--endpoint-uri", endpoint.uri, "--ca-bundle", endpoint.ca_bundle]
        variables["AWS_ACCESS_KEY_ID"] = endpoint.credentials.access_key_id
        variables["AWS_SECRET_ACCESS_KEY"] = endpoint.credentials.secret_access_key
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deepgram_sagemaker.cli", "gateway", "--port", port),
        *options,
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | variables,
    )
    running = Running(process)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def send(socket, chunks, *, pace=0.0, first=0):
    """Sends counted chunks of 20 ms."""
    for number in range(first, first + chunks):
        await socket.send(chunk(number, 640))
        if pace:
            await asyncio.sleep(pace)


async def finish(socket):
    """Ends the input; returns the numbers that were heard from now on."""
    await socket.send(json.dumps({"type": "CloseStream"}))
    return await heard(socket)


async def heard(socket):
    """The numbers that finals report, up to the end of the connection."""
    numbers = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "Results" and message["is_final"]:
                numbers += map(int, message["channel"]["alternatives"][0]["transcript"].split())
    return numbers


async def converse(running, chunks, *, key=None, pace=0.0):
    """A whole conversation; returns the numbers that were heard, and the close code."""
    async with running.connect(key) as socket:
        hearing = asyncio.create_task(heard(socket))
        await send(socket, chunks, pace=pace)
        await socket.send(json.dumps({"type": "CloseStream"}))
        numbers = await hearing
        return numbers, socket.close_code
