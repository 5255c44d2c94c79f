"""`local` from the outside: what it prints, how it ends, and what it leaves behind."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import wave

import pytest
from deepgram_sagemaker import SageMakerTransport
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.watching import Watcher
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterMessages, Answer, Reset
from sessions import client_of, session, until
from typer.testing import CliRunner

LOCAL = (sys.executable, "-m", "deepgram_sagemaker", "local", "--port", "0")
WATERMARK = ("--model", "watermark")


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["local", *map(str, arguments)])


@contextlib.asynccontextmanager
async def running(*arguments, **variables):
    """The command in a process of its own, which is ended if it has not ended."""
    process = await asyncio.create_subprocess_exec(
        *(*LOCAL, *WATERMARK, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | variables,
        # Ctrl-Break, Windows' only signal between processes, goes to a whole group.
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


STOPS = (
    [signal.CTRL_BREAK_EVENT]
    if sys.platform == "win32"
    else [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
)


async def stopped(process, by=STOPS[0]):
    """The rest of what it prints."""
    process.send_signal(by)
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    return output.decode(), errors.decode()


async def instructions(process):
    """The lines that it prints at its start."""
    lines = []
    while not lines or not lines[-1].startswith("client = "):
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line, (await process.stderr.read()).decode()
        lines.append(line.decode().rstrip())
    return lines


def exports(lines):
    """The lines that it prints for a shell."""
    begin, end = lines.index("In the shell:"), lines.index("In the application:")
    return "\n".join(lines[begin + 1 : end])


def exported(lines):
    """The variables that these set, without a shell."""
    return dict(
        line.removeprefix("export ").split("=", 1)
        for line in exports(lines).splitlines()
        if line.startswith("export AWS_")
    )


@pytest.fixture
def terminal_hangs_up():
    """A test that runs under `nohup` would hand its ignored signal on."""
    if sys.platform == "win32":
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("stop", STOPS)
async def test_it_says_what_to_set_ends_quietly_and_leaves_nothing(
    tmp_path, terminal_hangs_up, stop
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    async with running("--endpoint-name", "mine", TMPDIR=str(temporary)) as process:
        lines = await instructions(process)
        assert lines[0] == "The local endpoint is up. Ctrl-C ends it."
        assert lines[1] == "  Endpoint:   mine (us-east-1), model watermark"
        assert any('SageMakerTransportFactory("mine", region="us-east-1")' in x for x in lines)
        (bundle,) = temporary.rglob("*.pem")
        assert f"export AWS_CA_BUNDLE={bundle}" in lines
        assert bundle.read_text().startswith("-----BEGIN CERTIFICATE-----")
        assert await stopped(process, stop) == ("", "")
        assert process.returncode == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no hang-ups on this platform")
async def test_it_goes_on_under_nohup(terminal_hangs_up):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    async with running() as process:
        await instructions(process)
        process.send_signal(signal.SIGHUP)
        await stopped(process)
        assert process.returncode == 0


def test_it_runs_where_no_terminal_hangs_up():
    """Windows has no SIGHUP."""
    code = (
        "import signal\n"
        "if hasattr(signal, 'SIGHUP'): del signal.SIGHUP\n"
        "from deepgram_sagemaker.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *LOCAL[3:], *WATERMARK, "--json", "--stop-with-stdin"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["endpoint_name"]


async def test_it_writes_the_authority_where_it_is_told(tmp_path):
    bundle = tmp_path / "an authority" / "ca.pem"
    bundle.parent.mkdir()
    async with running("--ca-file", str(bundle)) as process:
        lines = await instructions(process)
        assert f"export AWS_CA_BUNDLE='{bundle}'" in lines
        assert bundle.read_text().startswith("-----BEGIN CERTIFICATE-----")


async def test_its_exports_work_whatever_was_set_before(tmp_path):
    """`transcribe` runs in a shell with the exports, and needs nothing else."""
    recording = tmp_path / "silence.wav"
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    in_the_way = {
        "AWS_PROFILE": "dead",
        "AWS_DEFAULT_PROFILE": "dead",
        "AWS_SESSION_TOKEN": "another-key-s",
        "AWS_REGION": "eu-west-3",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "no_proxy": "example.com",
    }
    async with running("-v") as process:
        command = f"{sys.executable} -m deepgram_sagemaker"
        script = "\n".join(
            (
                "set -eu",
                "NO_PROXY= ; export NO_PROXY",
                exports(await instructions(process)),
                f"{command} transcribe '{recording}' -e local --speed 10",
                'echo "proxies $no_proxy"',
            )
        )
        shell = await asyncio.create_subprocess_exec(
            *("sh", "-c", script),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | in_the_way,
        )
        output, _ = await shell.communicate()
        assert shell.returncode == 0, output.decode()
        assert "Lost:        nothing" in output.decode()
        assert "proxies 127.0.0.1,example.com" in output.decode()
        _, told = await stopped(process)
    lines = [line.split("  ", 1)[1] for line in told.splitlines()]
    told = "\n".join(lines)
    assert re.search(r"leg 1: v1/listen\?\S*model=nova-3\S* accepted", told), told
    assert re.search(r"leg 1: ended in order after .* 1\.0 s of audio", told), told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [((), ["leg 1: v1/listen refused with 429", "leg 1: fault"]), (("-q",), [])],
)
async def test_requests_and_faults_are_told_on_standard_error(arguments, told):
    async with running("--fault", "answer status=429 times=9", *arguments) as process:
        lines = await instructions(process)
        variables = os.environ | dict(
            line.removeprefix("export ").split("=", 1)
            for line in lines
            if line[:10] == "export AWS"
        )
        doctor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deepgram_sagemaker", "doctor", "local", "--json"),
            stdout=asyncio.subprocess.PIPE,
            env=variables,
        )
        output, _ = await doctor.communicate()
        assert doctor.returncode == 1
        found = {each["name"]: each for each in json.loads(output)["checks"]}
        assert "HTTP 429" in found["open"]["why"]
        output, errors = await stopped(process)
    assert output == ""
    assert [line in errors for line in told] == [True] * len(told)
    assert bool(errors) is bool(told)


async def watched(endpoint, watcher, is_enough):
    """The lines of a watcher, once there are enough."""
    lines = []

    def enough():
        lines.extend(text for _, text in watcher.lines(endpoint))
        return is_enough(lines)

    await until(enough)
    return lines


async def test_a_watcher_tells_everything_once():
    faults = [Fault(Reset(), when=AfterMessages(5)), Fault(Answer(503), legs=2)]
    async with LocalEndpoint(faults=faults) as endpoint:
        watcher = Watcher(verbose=False)
        assert list(watcher.lines(endpoint)) == []
        await session(client_of(endpoint.config()), 20)
        lines = await watched(endpoint, watcher, lambda lines: len(lines) >= 7)
        assert list(watcher.lines(endpoint)) == []
    assert sorted(re.sub(r"\d+\.\d s", "N s", line) for line in lines) == [
        "leg 1: ended by a fault after N s; N s of audio",
        "leg 1: fault reset",
        "leg 1: v1/listen accepted",
        "leg 2: fault answer",
        "leg 2: v1/listen refused with 503",
        "leg 3: ended in order after N s; N s of audio",
        "leg 3: v1/listen accepted",
    ]


async def test_a_watcher_tells_of_refused_keys_and_authorities():
    with LocalEndpoint() as endpoint, LocalEndpoint() as other:
        watcher = Watcher(verbose=True)
        assert list(watcher.lines(endpoint)) == []
        for wrong in (
            {"ca_bundle": other.ca_bundle},
            {"boto3_session": _Wrong(endpoint.boto3_session())},
        ):
            config = endpoint.config(**wrong, max_retries=0)
            transport = SageMakerTransport(config, "v1/listen", "model=nova-3")
            with pytest.raises(SageMakerError):
                await transport.open()
            await transport.close()
        told = [
            "1 TLS handshake failed: does the client trust the authority?",
            "1 request refused: signature, key or token (403)",
        ]
        await watched(endpoint, watcher, lambda lines: set(told) <= set(lines))
        assert list(watcher.lines(endpoint)) == []


class _Wrong:
    """A session whose keys the endpoint does not know."""

    def __init__(self, session):
        self._session = session

    def get_credentials(self):
        import botocore.credentials

        return botocore.credentials.Credentials("AKIDUNKNOWN", "no-secret")


async def test_a_container_s_refusal_is_told_once_with_its_words():
    async with running() as process:
        lines = await instructions(process)
        variables = os.environ | dict(
            line.removeprefix("export ").split("=", 1)
            for line in lines
            if line[:10] == "export AWS"
        )
        doctor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deepgram_sagemaker", "doctor", "local", "--model", "unknown"),
            stdout=asyncio.subprocess.PIPE,
            env=variables,
        )
        await doctor.communicate()
        _, errors = await stopped(process)
    (line,) = [line for line in errors.splitlines() if "refused" in line]
    assert re.search(r"leg 1: v1/listen refused with 424: .*model", line)


async def test_a_taken_port_is_said_with_the_way_out():
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    result = await asyncio.to_thread(invoke, *WATERMARK, "--port", port)
    taken.close()
    assert result.exit_code == 1
    assert result.output.startswith("Failed: ")
    assert str(port) in result.output
    assert "--port 0 takes a free port" in result.output


async def test_localhost_is_an_address_too():
    async with running("--host", "localhost", "--json") as process:
        reachable = json.loads(await process.stdout.readline())
        assert reachable["endpoint_uri"].startswith("https://127.0.0.1:")


async def test_a_stream_may_live_for_ever():
    async with running("--max-age", "inf", "--json") as process:
        assert json.loads(await process.stdout.readline())["endpoint_name"] == "local"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--port", "99999"], 2, "65535"),
        (["--max-age", "nan"], 2, "0.1"),
        (["--fault", "answer"], 2, "'answer' needs status=VALUE, an HTTP status from 200 to 599"),
        (["--fault", "answer status=9999"], 2, "must be an HTTP status from 200 to 599"),
        (["--fault", "reset after-audio=-1"], 2, "must be a number of seconds from 0 to 86400"),
        (["--access-key-id", "", "--secret-access-key", ""], 2, "must not be empty"),
        (["-q", "-v"], 2, "contradict each other"),
        (["--ca-file", "/nonexistent/ca.pem"], 1, "No such file or directory: /nonexistent/ca.pem"),
        (["--host", "example.invalid"], 1, '"example.invalid" is not an IP address'),
        (["--region", "nowhere"], 1, "must be an AWS region"),
    ],
)
def test_a_mistake_is_answered_in_its_own_words(arguments, code, said):
    port = [] if "--port" in arguments else ["--port", "0"]
    result = invoke(*WATERMARK, *port, *arguments)
    assert (result.exit_code, said in " ".join(result.output.split())) == (code, True), (
        result.output
    )
