"""The README's usage block, pasted into a file and run against the README's local endpoint."""

import array
import asyncio
import contextlib
import os
import re
import signal
import sys
import wave
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"

LOCAL = "deepgram-sagemaker local --endpoint-name my-deepgram-endpoint"

SECONDS = 8
"""Of the recording. The program sends 16 kHz audio at twice real time."""


def usage():
    """The first Python block under "Use"."""
    section = README.read_text(encoding="utf-8").split("\n## Use\n")[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def recording(path):
    """The first seconds of the bundled speech, as a 16 kHz WAV file."""
    from deepgram_sagemaker.local.speech.sample import two_cities

    with wave.open(str(two_cities())) as source:
        assert (source.getframerate(), source.getnchannels(), source.getsampwidth()) == (
            48000,
            1,
            2,
        )
        samples = array.array("h", source.readframes(SECONDS * 48000))
    thirds = (sum(samples[n : n + 3]) // 3 for n in range(0, len(samples) - 2, 3))
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16000)
        target.writeframes(array.array("h", thirds).tobytes())


@asynccontextmanager
async def local_endpoint():
    """Runs the README's command on a free port; yields the variables that it asks to export."""
    assert LOCAL in README.read_text(encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deepgram_sagemaker.cli", *LOCAL.split()[1:], "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        variables = {}
        async with asyncio.timeout(40):
            while "AWS_SECRET_ACCESS_KEY" not in variables:
                line = (await process.stdout.readline()).decode()
                assert line, "it ended without saying how to reach it"
                if found := re.match(r"\s*export (\w+)=(.*)\n", line):
                    variables[found[1]] = found[2]
        yield variables
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            await process.stdout.read()
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_the_usage_block_runs_as_it_stands(tmp_path):
    pytest.importorskip("moonshine_voice", reason="the extra `local` is not installed")
    pytest.importorskip("typer", reason="the extra `local` is not installed")
    program, speech = tmp_path / "captions.py", tmp_path / "speech.wav"
    program.write_text(usage(), encoding="utf-8")
    recording(speech)
    async with local_endpoint() as variables:
        assert set(variables) == {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2",
            "AWS_CA_BUNDLE",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, program, speech),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | variables,
            cwd=tmp_path,
        )
        async with asyncio.timeout(40):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert err == b""
    captions = [re.fullmatch(r" *(\d+\.\d\d) s  (.*)", line) for line in out.decode().splitlines()]
    assert captions
    assert all(captions)
    starts = [float(caption[1]) for caption in captions]
    assert starts[0] < 1
    assert starts == sorted(starts)
    said = re.sub(r"[^a-z ]", "", " ".join(caption[2] for caption in captions).lower())
    assert "it was the best of times it was the worst of times" in " ".join(said.split())


async def test_the_usage_block_says_what_failed(tmp_path):
    """Without an endpoint: the error is printed, and the program ends."""
    program, audio = tmp_path / "captions.py", tmp_path / "audio"
    program.write_text(usage(), encoding="utf-8")
    audio.write_bytes(bytes(3200))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, program, audio),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert out == b""
    assert err.decode().startswith("failed: no AWS credentials")
