"""Runs the programs in `examples/` as a reader would: each in a process of its own."""

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from cli import commands
from cli.commands import Ran

EXAMPLES = Path(__file__).parents[2] / "examples"

CHUNKS = 100
"""Of 20 ms: two turns of Flux, and ten finals of Nova."""

NO_DEVICE = """
class PortAudioError(Exception):
    pass

class RawInputStream:
    def __init__(self, **_):
        raise PortAudioError("no device")
"""
"""A module in the place of `sounddevice`, on a machine without a microphone."""


def variables(endpoint):
    """What `deepgram-sagemaker local` has a shell export, for an endpoint of this process."""
    return {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": endpoint.uri,
        "AWS_CA_BUNDLE": endpoint.ca_bundle,
        "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": endpoint.credentials.secret_access_key,
        "AWS_REGION": endpoint.region,
        "AWS_DEFAULT_REGION": endpoint.region,
    }


@asynccontextmanager
async def started(name, *arguments, environment=None, stdout=asyncio.subprocess.PIPE):
    """Starts an example; the process is gone afterwards, whatever happens."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, EXAMPLES / name, *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (environment or {}),
    )
    try:
        # A test has its own patience; this is for the process.
        async with asyncio.timeout(190):
            yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def run(name, *arguments, environment=None):
    """Runs an example to its end."""
    async with started(name, *arguments, environment=environment) as process:
        return await ended(process)


async def ended(process):
    """Waits for the end of a program, which must not be a traceback."""
    out, err = await process.communicate()
    ran = Ran(process.returncode, (out or b"").decode(), calm(err.decode()))
    assert "Traceback" not in ran.err, ran.err
    assert "Warning" not in ran.err, ran.err
    return ran


def calm(said):
    """Standard error without the lines that the transport writes on a very busy machine."""
    return re.sub(r".* takes more than 3 s; it is waited for .*\n", "", said)


async def against(endpoint, name, *arguments, environment=None):
    """Runs an example against an endpoint."""
    environment = variables(endpoint) | (environment or {})
    return await run(name, "-e", "local", *arguments, environment=environment)


def counted_wav(path, *, chunks=CHUNKS, channels=1):
    """A file whose every chunk can be counted."""
    return commands.counted_wav(path, chunks=chunks, channels=channels)
