"""The README's program: with every recording, every failure, and Ctrl-C.

That each block of the README runs as it stands is a test of all pages: `tests/docs`.
"""

import array
import asyncio
import contextlib
import io
import os
import re
import signal
import sys
import time
import wave
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterAudio, Answer, ModelStreamError
from deepgram_sagemaker.local.watermark import chunk
from docs.blocks import blocks_of

README = Path(__file__).parents[2] / "README.md"

LOCAL = "deepgram-sagemaker local --endpoint-name my-deepgram-endpoint"

SECONDS = 3
"""Of the recording, which the program sends in real time."""


def usage():
    """The program `captions.py`."""
    (program,) = (block for block in blocks_of(README) if block.title == "captions.py")
    return program.code


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


@pytest.fixture
def captions(tmp_path):
    """Runs the program: gives its exit code, what it printed and what it complained of."""
    program = tmp_path / "captions.py"
    program.write_text(usage(), encoding="utf-8")

    async def run(*arguments, **variables):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, program.name, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | variables,
            cwd=tmp_path,
        )
        async with asyncio.timeout(40):
            out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    return run


def wav(samples, *, rate=16000, width=2):
    """A WAV file of these bytes."""
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(width)
        target.setframerate(rate)
        target.writeframes(samples)
    return file.getvalue()


def variables_of(endpoint):
    """What the README's command would say to export for an endpoint of this process."""
    return {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": endpoint.uri,
        "AWS_CA_BUNDLE": str(endpoint.ca_bundle),
        "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": endpoint.credentials.secret_access_key,
    }


async def test_the_usage_block_runs_as_it_stands(tmp_path, captions):
    pytest.importorskip("moonshine_voice", reason="the extra `local` is not installed")
    pytest.importorskip("typer", reason="the extra `local` is not installed")
    recording(tmp_path / "speech.wav")
    async with local_endpoint() as variables:
        assert set(variables) == {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2",
            "AWS_CA_BUNDLE",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        }
        code, out, err = await captions("speech.wav", **variables)
    assert (code, err) == (0, "")
    lines = [re.fullmatch(r" *(\d+\.\d\d) s  (.*)", line) for line in out.splitlines()]
    assert lines
    assert all(lines)
    starts = [float(line[1]) for line in lines]
    assert starts[0] < 1
    assert starts == sorted(starts)
    said = re.sub(r"[^a-z ]", "", " ".join(line[2] for line in lines).lower())
    assert "it was the best of times" in " ".join(said.split())


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_it_has_the_files_own_rate_and_pace(tmp_path, captions, rate):
    """Two seconds of audio at any rate take two seconds, and are named for what they are."""
    size = rate * 2 // 50
    numbers = range(100)
    audio = b"".join(chunk(number, size) for number in numbers)
    (tmp_path / "counted.wav").write_bytes(wav(audio, rate=rate))
    async with LocalEndpoint("my-deepgram-endpoint") as endpoint:
        began = time.monotonic()
        code, out, err = await captions("counted.wav", **variables_of(endpoint))
        took = time.monotonic() - began
        (leg,) = endpoint.legs
    assert (code, err) == (0, "")
    assert took >= 1.9
    assert f"sample_rate={rate}" in leg.query.split("&")
    heard = [int(word) for line in out.splitlines() for word in line.partition(" s  ")[2].split()]
    assert heard == list(numbers)


async def test_ctrl_c_ends_it_without_a_traceback(tmp_path):
    (tmp_path / "audio.wav").write_bytes(wav(bytes(32000 * 30)))
    (tmp_path / "captions.py").write_text(usage(), encoding="utf-8")
    async with LocalEndpoint("my-deepgram-endpoint") as endpoint:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "captions.py", "audio.wav"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | variables_of(endpoint),
            cwd=tmp_path,
        )
        async with asyncio.timeout(20):
            while not (endpoint.legs and endpoint.legs[0].messages_in > 3):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


@pytest.mark.parametrize("arguments", [[], ["a.wav", "b.wav"]])
async def test_without_a_file_it_says_how_it_is_used(captions, arguments):
    code, out, err = await captions(*arguments)
    assert (code, out, err) == (1, "", "usage: python captions.py FILE.wav\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"\[Errno 2\] No such file or directory: 'audio.wav'"),
        (b"", "the file ends too early"),
        (wav(b"")[:20], "the file ends too early"),
        (b"ID3 this is no WAV file at all, whatever its name", "file does not start with RIFF id"),
        (wav(b""), "the file has no 16-bit audio"),
        (wav(bytes(300), width=3), "the file has no 16-bit audio"),
    ],
    ids=["missing", "empty", "cut short", "no WAV", "no audio", "24 bits"],
)
async def test_a_file_that_it_cannot_send_is_one_line(tmp_path, captions, content, said):
    if content is not None:
        (tmp_path / "audio.wav").write_bytes(content)
    code, out, err = await captions("audio.wav")
    assert (code, out) == (1, "")
    assert re.fullmatch(f"failed: {said}\n", err), err


async def test_a_session_that_cannot_begin_is_one_line(tmp_path, captions):
    (tmp_path / "audio.wav").write_bytes(wav(bytes(32000)))
    code, out, err = await captions("audio.wav")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"failed: no AWS credentials were found: .*\n", err), err


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            Fault(Answer(403, "AccessDeniedException")),
            "sagemaker:InvokeEndpointWithBidirectionalStream",
        ),
        (Fault(ModelStreamError("1008", "no such model"), when=AfterAudio(0.2)), "no such model"),
    ],
    ids=["refused", "in mid-stream"],
)
async def test_a_session_that_fails_is_one_line(tmp_path, captions, fault, said):
    (tmp_path / "audio.wav").write_bytes(wav(bytes(32000 * 2)))
    async with LocalEndpoint("my-deepgram-endpoint", faults=[fault]) as endpoint:
        code, _, err = await captions("audio.wav", **variables_of(endpoint))
    assert code == 1
    assert err.startswith("failed: ")
    assert said in err
    assert err.count("\n") == 1, err
