"""`transcribe --mic`, with a device that plays counted chunks."""

import pytest
from cli.commands import against, run
from cli.test_transcribe import numbers, texts
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.local import LocalEndpoint
from typer.testing import CliRunner

CHUNKS = 100

DEVICE = f"""
import os, signal, threading, time
from deepgram_sagemaker.local.watermark import chunk

class PortAudioError(Exception):
    pass

class RawInputStream:
    def __init__(self, *, samplerate, channels, dtype, blocksize, callback):
        assert (samplerate, channels, dtype, blocksize) == (16000, 1, "int16", 320)
        self.callback = callback

    def __enter__(self):
        self.thread = threading.Thread(target=self.play)
        self.thread.start()

    def __exit__(self, *_):
        self.thread.join()

    def play(self):
        for number in range({CHUNKS}):
            buffer = bytearray(chunk(number, 640))
            self.callback(memoryview(buffer), 320, None, None)
            buffer[:] = bytes(640)
            time.sleep(0.005)
        # A person who has said everything.
        os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def device(tmp_path, monkeypatch):
    """Makes a module stand in the place of sounddevice."""

    def make(text):
        modules = tmp_path / "modules"
        modules.mkdir()
        (modules / "sounddevice.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(modules))

    return make


@pytest.mark.parametrize("faults", [(), ("reset after-audio=0.9",)], ids=["calm", "reset"])
async def test_what_the_microphone_hears_is_shown_until_ctrl_c(device, faults):
    device(DEVICE)
    with LocalEndpoint(
        model="watermark", faults=[parse_fault(rule) for rule in faults]
    ) as endpoint:
        ran = await against(endpoint, "transcribe", "--mic", "--speed", "100")
        assert "encoding=linear16" in endpoint.legs[0].query
    assert ran.status == 0, ran.err
    assert numbers(" ".join(texts(ran.lines))) == list(range(CHUNKS))
    assert "Recording: microphone; Ctrl-C ends it\n" in ran.err
    assert "\nLost:        nothing" in ran.err


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            "raise ModuleNotFoundError('gone', name='sounddevice')",
            "the microphone needs sounddevice: pip install 'deepgram-sagemaker[audio]'",
        ),
        ("raise OSError('PortAudio library not found')", "PortAudio library not found"),
        (
            DEVICE.replace("self.callback = callback", "raise PortAudioError('no device')"),
            "the microphone cannot be used: no device",
        ),
    ],
)
async def test_no_microphone_is_one_line(device, module, reason):
    device(module)
    environment = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}
    where = ("-e", "local", "--region", "us-east-1")
    ran = await run("transcribe", "--mic", *where, environment=environment)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.splitlines()[-1].startswith("Failed: microphone: ")
    assert ran.err.endswith(f"{reason}\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--mic", "a.wav"], "give recordings, or --mic"),
        ([], "give recordings, or --mic"),
        (["--mic", "-p", "encoding=mulaw"], "the microphone has its own encoding"),
    ],
)
def test_there_is_one_source(arguments, reason):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["transcribe", "-e", "local", *arguments]
    )
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
