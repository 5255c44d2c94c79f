"""`speak --play`, with a device that keeps what it plays, and a voice that can be counted."""

import array
import asyncio

import pytest
from cli.commands import run
from cli.test_speak import TEXT, WORDS, endpoint, speak
from cli.test_transcribe_microphone import device as device  # the fixture
from deepgram_sagemaker.cli import loudspeaker
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.loudspeaker import Loudspeaker
from deepgram_sagemaker.conversations.reasons import ConversationError
from e2e.voices import LINEAR16, NARROW
from typer.testing import CliRunner

DEVICE = """
import os, threading, time

class PortAudioError(Exception):
    pass

class CallbackStop(Exception):
    pass

class RawOutputStream:
    def __init__(self, *, samplerate, channels, dtype, callback, finished_callback):
        assert (channels, dtype) == (1, "int16")
        self.heard = open(os.environ["HEARD"] + f".{samplerate}", "wb", buffering=0)
        self.callback, self.finished = callback, finished_callback
        self.closed = False

    def start(self):
        self.thread = threading.Thread(target=self.play)
        self.thread.start()

    def close(self):
        self.closed = True
        self.thread.join()

    def play(self):
        ends = False
        while not (ends or self.closed):
            buffer = bytearray(b"x" * 96)
            try:
                self.callback(memoryview(buffer), 48, None, None)
            except CallbackStop:
                ends = True
            assert len(buffer) == 96
            self.heard.write(buffer)
            if not any(buffer):
                time.sleep(0.001)
        self.finished()
"""


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """What was heard at a rate."""
    monkeypatch.setenv("HEARD", str(tmp_path / "heard"))
    return lambda rate: (tmp_path / f"heard.{rate}").read_bytes()


def sounds(audio):
    """The samples without silence, which the device plays where it has to wait."""
    return [sample for sample in array.array("h", audio) if sample]


@pytest.mark.parametrize("faults", [(), ("reset after-replies=30",)], ids=["calm", "reset"])
@pytest.mark.parametrize("output", [LINEAR16, NARROW], ids=["24 kHz", "8 kHz"])
async def test_every_word_is_heard_once(device, heard, faults, output):
    device(DEVICE)
    with endpoint(*faults) as there:
        ran = await speak(there, TEXT, "--play", "-p", f"sample_rate={output.rate}")
        assert len(there.legs) == 1 + len(faults)
    assert (ran.status, ran.out) == (0, ""), ran.err
    assert sounds(heard(output.rate)) == sounds(output.said(WORDS))
    assert "Audio:       4.00 s in " in ran.err
    assert "File:" not in ran.err


async def test_nothing_more_is_heard_after_a_failure(device, heard):
    device(DEVICE)
    with endpoint("reset after-replies=20", "answer status=403 legs=2-9") as there:
        ran = await speak(there, TEXT, "--play")
    assert ran.status == 1
    assert ran.err.startswith("Failed: ")
    played = sounds(heard(24_000))
    assert played == sounds(LINEAR16.said(WORDS))[: len(played)]


async def test_what_has_come_is_played_and_the_rest_of_a_sample_waits():
    speaker, buffer = Loudspeaker(8_000), bytearray(4)

    def played():
        return speaker.fill(memoryview(buffer)), bytes(buffer)

    assert played() == (False, b"\0\0\0\0")
    speaker.play(b"\1\2\3")
    assert played() == (False, b"\1\2\0\0")
    speaker.play(b"\4\5\6\7\10\11\12")
    assert played() == (False, b"\3\4\5\6")
    over = asyncio.create_task(speaker.over())
    await asyncio.sleep(0)
    assert played() == (True, b"\7\10\11\12")
    assert not over.done()
    speaker.ended()
    await asyncio.wait_for(over, 10)


async def test_a_device_that_plays_no_more_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(loudspeaker, "_SPARE", 0.05)
    speaker = Loudspeaker(8_000)
    with pytest.raises(ConversationError, match=r"takes more than 0\.05 s longer"):
        await asyncio.wait_for(speaker.over(), 10)


async def test_a_file_may_be_written_besides(device, heard, tmp_path):
    device(DEVICE)
    path = tmp_path / "said.s16"
    with endpoint() as there:
        ran = await speak(there, TEXT, "--play", "-o", path)
    assert ran.status == 0, ran.err
    assert path.read_bytes() == LINEAR16.said(WORDS)
    assert sounds(heard(24_000)) == sounds(LINEAR16.said(WORDS))


async def test_a_device_that_stops_is_a_failure(device, heard):
    device(DEVICE.replace("not (ends or self.closed)", "not self.heard.tell() > 9600"))
    with endpoint() as there:
        ran = await speak(there, TEXT, "--play")
    assert ran.status == 1
    assert ran.err == "Failed: the loudspeaker stopped before all was heard\n"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            "raise ModuleNotFoundError('gone', name='sounddevice')",
            "the loudspeaker needs sounddevice: pip install 'deepgram-sagemaker[audio]'",
        ),
        ("raise OSError('PortAudio library not found')", "PortAudio library not found"),
        (
            DEVICE.replace("self.closed = False", "raise PortAudioError('no device')"),
            "the loudspeaker cannot be used: no device",
        ),
    ],
)
async def test_no_loudspeaker_is_one_line_and_nothing_is_sent(device, heard, module, reason):
    device(module)
    environment = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}
    where = ("-e", "local", "--region", "us-east-1")
    ran = await run("speak", "hello", "--play", *where, environment=environment)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("Failed: ")
    assert ran.err.endswith(f"{reason}\n")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give --output, --play, or both"),
        (["--play", "-o", "a.mulaw"], "the loudspeaker plays linear16, and this would be mulaw"),
        (["--play", "-p", "encoding=opus"], "encoding=opus"),
    ],
)
def test_what_cannot_be_played_is_refused(arguments, reason):
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, ["speak", "hello", "-e", "local", "--region", "us-east-1", *arguments]
    )
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
