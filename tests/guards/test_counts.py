"""Counts that do not depend on the machine: a slow-down fails here before a benchmark shows it.

Each count is the difference of two runs of different length, so that no start is in it. Limits
lie some way above what is usual; a change that costs more on purpose raises them here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark import chunk

ROOT = Path(__file__).parents[2]

INSTRUCTIONS = 52_000
"""Of the core, for a chunk, as tests build it: 48,700, of which 38,000 are SHA-256, for which
valgrind has no instruction."""
ALLOCATIONS = 1.2
"""Of the core, for a chunk and its tenth of a result: one."""
SYSTEM_CALLS = 2.6
"""Of the whole client process, waiting apart, for a chunk of one of ten live streams: a little over
two."""
WAITS = 6.0
"""For events, by either thread, for a chunk: two and a half to five and a half, as chunks fall
together."""
WRITES = 1.15
"""To sockets, for a chunk: one, and now and then HTTP/2's own."""
SHARED_WRITES = 0.25
"""For ten streams that share a connection and send in step: a tenth, and some for pieces."""
RINGS = 1.3
"""Of the engine or the event loop by the other, for a chunk."""


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: nothing was counted")
    return path


@pytest.fixture(scope="session")
def hot_path():
    """The program of `benches/hot_path.rs`."""
    # The packages that its tests were built with: nothing is built anew.
    packages = ["--package", "dgsm-python", "--package", "dgsm-net"]
    build = [tool("cargo"), "build", "--quiet", *packages, "--example", "hot_path"]
    messages = subprocess.run(
        [*build, "--message-format", "json"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    artifacts = (json.loads(line) for line in messages.splitlines())
    (program,) = (a["executable"] for a in artifacts if a.get("executable"))
    return program


def under_valgrind(program, chunks, pattern, *options):
    """A number that valgrind says at the end of a run."""
    command = [tool("valgrind"), *options, program, str(chunks)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return int(re.search(pattern, said)[1].replace(",", ""))


def for_a_chunk(count):
    few, many = 500, 1500
    return (count(many) - count(few)) / (many - few)


@pytest.mark.patience(300)
def test_instructions_of_the_core(hot_path):
    def count(chunks):
        options = ("--tool=callgrind", f"--callgrind-out-file={os.devnull}")
        return under_valgrind(hot_path, chunks, r"Collected : (\d+)", *options)

    assert 0 < for_a_chunk(count) <= INSTRUCTIONS


@pytest.mark.patience(300)
def test_allocations_of_the_core(hot_path):
    def count(chunks):
        return under_valgrind(hot_path, chunks, r"total heap usage: ([\d,]+) allocs")

    assert 0 < for_a_chunk(count) <= ALLOCATIONS


class Traced:
    """System calls of the benchmarks' driver, by name."""

    STREAMS = 10

    def __init__(self, endpoint, directory, **options):
        self._options = options
        self._directory = directory
        self._endpoint = endpoint
        self._audio = directory / "audio"
        self._audio.write_bytes(b"".join(chunk(number, 640) for number in range(600)))

    def run(self, chunks):
        out = self._directory / f"{chunks}.strace"
        options = {
            "streams": self.STREAMS,
            "chunks": chunks,
            "tag": f"guard-{chunks}",
            **self._options,
            "audio": self._audio,
            "replies": os.devnull,
            "uri": self._endpoint.uri,
            "ca-bundle": self._endpoint.ca_bundle,
            "endpoint-name": self._endpoint.endpoint_name,
            "region": self._endpoint.region,
            "access-key-id": self._endpoint.credentials.access_key_id,
            "secret-access-key": self._endpoint.credentials.secret_access_key,
            "out": self._directory / f"{chunks}.json",
        }
        driver = [sys.executable, ROOT / "benches/streams/driver.py", "ours"]
        driver += [f"--{name}={value}" for name, value in options.items()]
        trace = [tool("strace"), "-f", "-c", "-o", out]
        traced = subprocess.run([*trace, *driver], check=False, capture_output=True, text=True)
        if "ptrace" in traced.stderr:
            pytest.skip("strace may not trace here: nothing was counted")
        assert traced.returncode == 0, traced.stderr
        figures = json.loads((self._directory / f"{chunks}.json").read_text())
        assert (figures["failed"], figures["inexact"]) == (0, 0)
        calls = {}
        for line in out.read_text().splitlines():
            fields = line.split()
            if fields and re.fullmatch(r"[\d.]+", fields[0]):
                calls[fields[-1]] = int(fields[3])
        return calls


@pytest.mark.patience(120)
def test_system_calls_and_wakeups_of_live_streams(tmp_path):
    calls = traced_for_a_chunk(tmp_path)
    assert calls.total() - calls["waits"] <= SYSTEM_CALLS
    assert calls["waits"] <= WAITS
    assert calls["writes"] <= WRITES
    assert calls["rings"] <= RINGS


@pytest.mark.patience(120)
def test_streams_that_share_a_connection_are_written_together(tmp_path):
    shared = {"streams-per-connection": Traced.STREAMS, "pace": "in-step"}
    assert traced_for_a_chunk(tmp_path, **shared)["writes"] <= SHARED_WRITES


def traced_for_a_chunk(directory, **options):
    """System calls for a chunk, by what they are for."""
    # Starting and opening take some 3,000 calls for locks, give or take 700.
    few, many = 50, 550
    with LocalEndpoint() as endpoint:
        traced = Traced(endpoint, directory, **options)
        before, after = traced.run(few), traced.run(many)
    kinds = {
        "epoll_wait": "waits",
        "epoll_pwait": "waits",
        "writev": "writes",
        "sendmsg": "writes",
        "sendto": "writes",
        "write": "rings",
    }
    calls = Counter()
    for name in after.keys() - {"total"}:
        more = after[name] - before.get(name, 0)
        calls[kinds.get(name, "others")] += more / (Traced.STREAMS * (many - few))
    return calls
