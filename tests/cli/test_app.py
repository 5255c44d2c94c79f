"""The commands from the outside, against a local endpoint where they need one."""

import asyncio
import dataclasses
import errno
import io
import json
import os
import re
import sys

import boto3
import pytest
from deepgram_sagemaker import SageMakerTransport, __version__
from deepgram_sagemaker.cli import main, manners, serving
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.manners import Console
from deepgram_sagemaker.cli.served import Reachable, endpoint_process
from deepgram_sagemaker.errors import ModelError
from deepgram_sagemaker.local import Credentials
from e2e import agents, flux, survival
from e2e.survival import LINEAR16
from e2e.voices import LINEAR16 as OUTPUT
from e2e.voices import assert_aura, assert_flux, script, speak
from sessions import is_refused, until
from typer.testing import CliRunner

LOCAL = (sys.executable, "-m", "deepgram_sagemaker.cli", "local", "--port", "0")


def invoke(*arguments, **environment):
    return CliRunner(env={"COLUMNS": "200"} | environment).invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_the_package_s(option):
    result = invoke(option)
    assert (result.exit_code, result.output) == (0, f"deepgram-sagemaker {__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_names_the_commands(arguments):
    result = invoke(*arguments)
    commands = ("local", "demo", "transcribe", "speak", "doctor")
    assert all(command in result.output for command in commands)


@pytest.mark.parametrize("command", ["local", "demo", "transcribe", "speak", "doctor"])
def test_each_command_has_help_and_no_option_without(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert "--stop-with-stdin" not in result.output


@pytest.mark.parametrize(
    "arguments", [[], *([each] for each in ("local", "demo", "transcribe", "speak", "doctor"))]
)
def test_flags_are_shown_as_flags(arguments):
    """In no help do they look as if they took a value."""
    output = invoke(*arguments, "--help").output
    assert re.search(r"--help +Show this message", output)
    assert not re.search(r"bool|--no-", output, re.IGNORECASE)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("arguments", ["--version", "doctor local --region us-east-1"])
async def test_a_closed_stream_is_no_error(arguments, closed):
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$0" -m deepgram_sagemaker {arguments} {closed}', sys.executable),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": "https://127.0.0.1:1"},
    )
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (0 if arguments == "--version" else 1, b"")
    assert bool(output) is (">&-" not in closed.split())


def test_ctrl_c_while_the_commands_are_made_leaves_no_traceback(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("typer.main.get_command", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_how_to_get_it(monkeypatch, missing):
    for name in list(sys.modules):
        if name.startswith(("deepgram_sagemaker.cli.", f"{missing}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit, match=rf"needs {missing}.*\n.*deepgram-sagemaker\[cli\]"):
        main()


def test_a_mistyped_fault_is_explained():
    result = invoke("local", "--fault", "explode")
    assert result.exit_code == 2
    assert "'explode' is no action" in result.output


@pytest.mark.parametrize("module", ["deepgram_sagemaker", "deepgram_sagemaker.cli"])
async def test_the_package_runs_as_a_module(module):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "--version"), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output.decode().split()[0]) == (0, "deepgram-sagemaker")


def test_a_mistake_of_ours_is_one_line_too(monkeypatch):
    def breaks(*_, **__):
        raise LookupError("surprise")

    monkeypatch.setattr(serving, "serve", breaks)
    result = invoke("local", "--model", "watermark")
    assert (result.exit_code, result.output) == (1, "Failed: unexpected LookupError: surprise\n")


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_windows_has_another_word_for_a_reader_that_has_enough(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    invalid = OSError(errno.EINVAL, "Invalid argument")
    assert manners.has_enough(BrokenPipeError())
    assert manners.has_enough(invalid) is (platform == "win32")
    # A file's name that is not allowed.
    assert not manners.has_enough(OSError(errno.EINVAL, "Invalid argument", "a:b.txt"))
    assert not manners.has_enough(ValueError())


@pytest.mark.parametrize(
    ("is_terminal", "variables", "written"),
    [
        (False, {}, "grüß 音声\n".encode()),
        (False, {"PYTHONIOENCODING": "cp1252"}, "grüß ??\n".encode("cp1252")),
        (True, {}, "grüß ??\n".encode("cp1252")),
    ],
    ids=["file", "file as asked", "terminal"],
)
def test_a_file_has_every_letter_whatever_the_code_page(
    monkeypatch, is_terminal, variables, written
):
    class Stream(io.BytesIO):
        def isatty(self):
            return is_terminal

    stream = Stream()
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding="cp1252", newline=""))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    manners.prepare_streams()
    sys.stdout.write("grüß 音声\n")
    sys.stdout.flush()
    assert stream.getvalue() == written


async def test_a_mistake_is_ascii_too_where_the_terminal_has_no_more():
    process = await asyncio.create_subprocess_exec(
        *(*LOCAL, "--fault", "r\N{LATIN SMALL LETTER E WITH ACUTE}set"),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert "'r?set' is no action" in errors.decode("ascii")


@pytest.mark.parametrize(
    ("terminal", "variables", "draws", "colours"),
    [
        (True, {"TERM": "xterm-256color"}, True, True),
        (True, {"TERM": "xterm-256color", "NO_COLOR": "1"}, True, False),
        (True, {"TERM": "dumb"}, False, False),
        (False, {"TERM": "xterm-256color", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_a_console_draws_only_where_it_is_wanted(monkeypatch, terminal, variables, draws, colours):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    console = Console()
    assert (console.is_terminal, console.color_system is not None and not console.no_color) == (
        draws,
        colours,
    )


@pytest.mark.parametrize(("port", "rule"), [("99999", "65535"), ("-1", "0"), ("x", "integer")])
def test_local_refuses_a_port_that_is_none(port, rule):
    result = invoke("local", "--model", "watermark", "--port", port)
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if "--port" in line]
    assert rule in line


@pytest.mark.parametrize("lenient", [False, True])
async def test_local_says_what_the_container_has_against_a_query(lenient):
    process = await asyncio.create_subprocess_exec(
        *LOCAL,
        *("--model", "watermark", "--json", "--stop-with-stdin"),
        *(["--lenient"] if lenient else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    reachable = Reachable(**json.loads(await process.stdout.readline()))
    config = dataclasses.replace(reachable.config(), max_retries=0)
    transport = SageMakerTransport(config, "v1/listen", "model=nova-3&langauge=en")
    try:
        await transport.send(b"\0\0")
        await transport.send(json.dumps({"type": "CloseStream"}))
        if lenient:
            assert json.loads(await transport.recv())["type"] in ("Results", "Metadata")
        else:
            with pytest.raises(ModelError, match="Failed to establish WebSocket connection"):
                await transport.recv()
    finally:
        await transport.close()
    _, errors = await asyncio.wait_for(process.communicate(b""), 20)
    told = "the container refused leg 1: INVALID_QUERY_PARAMETER: langauge: v1/listen has no such"
    assert (told in errors.decode()) is not lenient


@pytest.mark.parametrize("strict", [True, False])
def test_local_can_be_told_to_be_strict(monkeypatch, strict):
    given = {}

    async def serve(_console, **options):
        given.update(options)

    monkeypatch.setattr(serving, "serve", serve)
    result = invoke("local", "--model", "watermark", *(["--strict-flux"] if strict else []))
    assert result.exit_code == 0
    assert given["strict_flux"] is strict


async def test_the_endpoint_s_process_says_how_to_reach_it_and_ends_with_us():
    async with endpoint_process() as reachable:
        config = reachable.config()
        assert config.endpoint_uri == reachable.endpoint_uri
        keys = boto3.Session.get_credentials(config.boto3_session).get_frozen_credentials()
        assert keys.access_key == reachable.access_key_id
        port = int(reachable.endpoint_uri.rpartition(":")[2])
        assert not is_refused(port)
    # Another process may have the port by now. That is an end as well.
    await until(lambda: is_refused(port))


async def test_an_endpoint_whose_input_has_ended_ends():
    process = await asyncio.create_subprocess_exec(
        *(*LOCAL, "--model", "watermark", "--json", "--stop-with-stdin"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 40)
    assert (process.returncode, errors) == (0, b"")
    assert json.loads(output)["endpoint_name"] == "local"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], "needs keys of its own"),
        (["--host", "::"], "needs keys of its own"),
        (["--host", "0.0.0.0", "--access-key-id", "AKID"], "go together"),
        (["--secret-access-key", "secret"], "go together"),
        (
            [
                *("--host", "0.0.0.0", "--access-key-id", "AKID"),
                *("--secret-access-key", Credentials().secret_access_key),
            ],
            "needs credentials of its own",
        ),
    ],
)
def test_local_refuses_keys_that_everybody_has(arguments, reason):
    result = invoke("local", "--port", "0", "--model", "watermark", *arguments)
    assert result.exit_code in (1, 2)
    assert reason in " ".join(result.output.split())


async def test_local_takes_keys_of_its_own():
    process = await asyncio.create_subprocess_exec(
        *(*LOCAL, "--model", "watermark", "--host", "0.0.0.0", "--json", "--stop-with-stdin"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ
        | {"LOCAL_ACCESS_KEY_ID": "AKIDOWN", "LOCAL_SECRET_ACCESS_KEY": "its-own-secret"},
    )
    reachable = json.loads(await process.stdout.readline())
    process.stdin.close()
    await process.wait()
    assert (reachable["access_key_id"], reachable["secret_access_key"]) == (
        "AKIDOWN",
        "its-own-secret",
    )


@pytest.mark.parametrize("model", ["speech", "watermark"])
async def test_local_serves_every_product(model):
    async with endpoint_process(model) as reachable:
        config = reachable.config()
        heard = await survival.converse(config, LINEAR16, 60)
        told = await flux.converse(config, LINEAR16, 60)
        aura, turns = [await speak(config, version, script(2)) for version in (1, 2)]
        talked = await agents.converse(config, 1, written={0})
    assert [len(heard.metadata), heard.errors, told.errors, talked.errors] == [1, [], [], []]
    assert told.messages[0].type == "Connected"
    assert told.turns[-1].audio_window_end == pytest.approx(1.2)
    assert aura.kinds == ["Metadata", "audio", "Flushed", "audio", "Flushed"]
    assert (turns.kinds[0], turns.kinds[-1]) == ("Connected", "SessionMetadata")
    assert len(turns.audio) > 0
    assert talked.said_by("user") == [agents.WRITTEN]
    assert talked.said_by("assistant") == [agents.GREETING, f"You said: {agents.WRITTEN}"]
    if model == "watermark":
        survival.assert_whole(heard, LINEAR16, 60)
        flux.assert_whole(told, LINEAR16, 60)
        assert_aura(aura, script(2), OUTPUT)
        assert_flux(turns, script(2), OUTPUT)


def test_the_demo_transcribes_real_speech_and_loses_nothing():
    result = invoke("demo", "--speed", "4")
    assert result.exit_code == 0, result.output
    assert "It was the best of times" in result.output
    assert "\nLost:        nothing" in result.output
    assert "\x1b" not in result.output


def test_the_demo_fails_when_the_transcript_is_wrong(monkeypatch):
    from deepgram_sagemaker.cli import demonstration
    from deepgram_sagemaker.conversations.figures import Figures

    async def wrong(console, *, speed, worst):
        return Figures(), 0.151

    monkeypatch.setattr(demonstration, "demonstrate", wrong)
    result = invoke("demo")
    assert result.exit_code == 1
    assert "the transcript is wrong: 15.1% word errors" in result.output
