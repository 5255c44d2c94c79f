"""Runs the command as a person would: a process of its own, against an endpoint of this one."""

import asyncio
import os
import re
import sys
import wave
from contextlib import suppress
from dataclasses import dataclass

from deepgram_sagemaker.local.watermark import chunk

CHUNKS = 150
"""Of 20 ms: three turns of Flux, and 15 finals of Nova."""


@dataclass
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def said(self):
        """Standard error without the line breaks of a narrow terminal's boxes."""
        return " ".join(re.sub("[╭─╮│╰╯]", " ", self.err).split())


async def run(*arguments, environment=None, cwd=None, stdin=b"", stop=None, within=40):
    """Runs `deepgram-sagemaker`; `stop` is awaited with the process, to end it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deepgram_sagemaker.cli",
        *(each if isinstance(each, bytes) else str(each) for each in arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (environment or {}),
        cwd=cwd,
    )
    try:
        async with asyncio.timeout(within):
            if stop is not None:
                await stop(process)
            out, err = await process.communicate(stdin)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    out, err = (each.decode().replace(os.linesep, "\n") for each in (out, err))
    ran = Ran(process.returncode, out, err)
    assert "Traceback" not in ran.err, ran.err
    return ran


def reaching(endpoint):
    """The options and the variables that reach an endpoint."""
    options = ("-e", "local", "--region", "us-east-1", "--endpoint-uri", endpoint.uri)
    keys = endpoint.credentials
    return (*options, "--ca-bundle", endpoint.ca_bundle), {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
    }


async def against(endpoint, command, *arguments, **options):
    """Runs a command against an endpoint."""
    reach, environment = reaching(endpoint)
    return await run(command, *arguments, *reach, environment=environment, **options)


def counted_wav(path, *, chunks=CHUNKS, channels=1):
    """A file whose every chunk can be counted."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(
            b"".join(chunk(n, 640 * channels, channels=channels) for n in range(chunks))
        )
    return path
