"""Counts of the gateway's process that do not depend on the machine, as in `test_counts.py`."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import websockets
from deepgram_sagemaker.local import LocalEndpoint
from gateway.clients import CLOSE_STREAM, LISTEN, hear, numbers_in
from sessions import counted_chunk

STREAMS = 10
PACE = 0.01

READS = 1.4
"""From sockets, for a chunk of one of ten live streams: one, a tenth for a result, and now and then
one for a frame that lies across the end of the buffer."""
WRITES = 1.25
"""To sockets: one, and a tenth for a result."""
RINGS = 0.1
"""Of the event loop, which has no part in it."""


class Server:
    """The process under strace."""

    def __init__(self, endpoint, out):
        where = {
            "endpoint_name": endpoint.endpoint_name,
            "region": endpoint.region,
            "endpoint_uri": endpoint.uri,
            "ca_bundle": endpoint.ca_bundle,
            "aws_access_key_id": endpoint.credentials.access_key_id,
            "aws_secret_access_key": endpoint.credentials.secret_access_key,
        }
        program = Path(__file__).with_name("gateway_process.py")
        trace = ["strace", "-f", "-c", "-o", out, sys.executable, program, json.dumps(where)]
        self._out = out
        self._process = subprocess.Popen(
            trace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self):
        said = self._process.stdout.readline()
        if not said:
            _, complaint = self._process.communicate()
            if "ptrace" in complaint:
                pytest.skip("strace may not trace here: nothing was counted")
            pytest.fail(complaint)
        host, port = json.loads(said)
        self.url = f"ws://{host}:{port}"
        return self

    def __exit__(self, *_):
        self._process.communicate("\n", timeout=30)

    def calls(self):
        fields = (line.split() for line in self._out.read_text().splitlines())
        return {
            each[-1]: int(each[3]) for each in fields if each and re.fullmatch(r"[\d.]+", each[0])
        }


async def stream(url, chunks, lag):
    async with websockets.connect(url + LISTEN, compression=None) as socket:
        hearing = asyncio.create_task(hear(socket))
        loop = asyncio.get_running_loop()
        began = loop.time() + lag
        for number in range(chunks):
            await asyncio.sleep(began + number * PACE - loop.time())
            await socket.send(counted_chunk(number))
        await socket.send(CLOSE_STREAM)
        assert numbers_in(await hearing) == list(range(chunks))


@pytest.mark.patience(120)
async def test_system_calls_of_the_gateway(tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: nothing was counted")
    few, many = 50, 350
    counted = {}
    async with LocalEndpoint() as endpoint:
        for chunks in (few, many):
            with Server(endpoint, tmp_path / f"{chunks}.strace") as server:
                lags = (PACE * n / STREAMS for n in range(STREAMS))
                await asyncio.gather(*(stream(server.url, chunks, lag) for lag in lags))
            counted[chunks] = server.calls()
    kinds = {"recvfrom": "reads", "writev": "writes", "sendto": "writes", "write": "rings"}
    calls = Counter()
    for name, kind in kinds.items():
        more = counted[many].get(name, 0) - counted[few].get(name, 0)
        calls[kind] += more / (STREAMS * (many - few))
    assert 0 < calls["reads"] <= READS
    assert 0 < calls["writes"] <= WRITES
    assert calls["rings"] <= RINGS
