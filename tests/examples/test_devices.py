"""The examples that record and play, with devices whose audio can be counted."""

import asyncio
import json
import os
import re
import signal
from contextlib import suppress

import pytest
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_aura import numbers_in
from examples.programs import NO_DEVICE, against, ended, started, variables
from sessions import until

BLOCKS = 60

# In the place of sounddevice. A person says everything and then presses Ctrl-C.
DEVICE = """
import os, signal, threading, time
from deepgram_sagemaker.local.watermark import chunk

class PortAudioError(Exception):
    pass

class Status:
    input_overflow = False

class RawInputStream:
    def __init__(self, *, samplerate, channels, dtype, blocksize, callback, device=None):
        assert (channels, dtype) == (1, "int16")
        assert blocksize == samplerate // 20
        self.callback, self.frames, self.device = callback, blocksize, device
        self.running = True

    def __enter__(self):
        self.thread = threading.Thread(target=self.record)
        self.thread.start()

    def __exit__(self, *_):
        self.running = False
        self.thread.join()

    def record(self):
        for number in range(BLOCKS):
            status = Status()
            status.input_overflow = number == OVERFLOW
            buffer = bytearray(chunk(number, 2 * self.frames))
            self.callback(memoryview(buffer), self.frames, None, status)
            buffer[:] = bytes(len(buffer))
            time.sleep(0.02)
        self.silence()

    def silence(self):
        os.kill(os.getpid(), signal.SIGINT)
"""

# The agent's user: is silent while the agent speaks, and leaves when told to.
HEADSET = """
class RawInputStream(RawInputStream):
    def silence(self):
        while self.running:
            self.callback(memoryview(bytes(2 * self.frames)), self.frames, None, None)
            time.sleep(0.02)

class RawOutputStream:
    def __init__(self, *, samplerate, channels, dtype, callback):
        assert (samplerate, channels, dtype) == (24000, 1, "int16")
        self.callback, self.running = callback, True

    def __enter__(self):
        self.thread = threading.Thread(target=self.play)
        self.thread.start()

    def __exit__(self, *_):
        self.running = False
        self.thread.join()

    def play(self):
        with open(os.environ["PLAYED"], "wb", buffering=0) as played:
            while self.running:
                buffer = bytearray(b"?" * 480)
                self.callback(memoryview(buffer), 240, None, None)
                played.write(buffer)
                time.sleep(0.01)
"""


def endpoint(*faults, **options):
    return LocalEndpoint(faults=[parse_fault(rule) for rule in faults], **options)


@pytest.fixture
def device(tmp_path):
    """Makes a module stand in the place of sounddevice; returns the environment that finds it."""

    def make(*texts, blocks=BLOCKS, overflow=-1):
        modules = tmp_path / "modules"
        modules.mkdir()
        heads = f"BLOCKS, OVERFLOW = {blocks}, {overflow}\n"
        (modules / "sounddevice.py").write_text("".join((heads, *texts)))
        return {"PYTHONPATH": str(modules), "PLAYED": str(tmp_path / "played")}

    return make


async def test_the_microphone_is_captioned_until_ctrl_c(device):
    with endpoint("reset after-audio=1.2", "reset after-audio=0.6 legs=2") as there:
        ran = await against(there, "microphone.py", environment=device(DEVICE))
        assert len(there.legs) == 3
        assert "interim_results=true" in there.legs[0].query
    assert ran.status == 0, ran.err
    assert ran.out.split() == [str(number) for number in range(BLOCKS)]
    assert ran.err == "Listening; Ctrl-C ends the recording.\n"


async def test_a_terminal_shows_each_line_as_it_is_spoken(device):
    pty = pytest.importorskip("pty", reason="there are no terminals to open")
    ours, theirs = pty.openpty()
    with endpoint(model=Watermark(window=10, interim_every=3)) as there:
        environment = variables(there) | device(DEVICE, blocks=30) | {"TERM": "xterm"}
        arguments = ("microphone.py", "-e", "local")
        async with started(*arguments, environment=environment, stdout=theirs) as program:
            os.close(theirs)
            ran = await ended(program)
        shown = b""
        # A terminal that nobody writes to any more is an error, not an end.
        with suppress(OSError):
            while block := os.read(ours, 4096):
                shown += block
        os.close(ours)
    assert ran.status == 0, ran.err
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    erased = [line.split("\r\x1b[K") for line in lines]
    assert " ".join(line[-1] for line in erased).split() == [str(n) for n in range(30)]
    # Interim results were shown dim, and erased.
    assert "\x1b[2m0 1 2\x1b[0m" in erased[0]


async def test_audio_that_was_not_recorded_is_an_error(device):
    with endpoint() as there:
        environment = device(DEVICE, blocks=30, overflow=7)
        ran = await against(there, "microphone.py", environment=environment)
    assert ran.status == 1
    assert ran.err.endswith("\nfailed: gaps in the recording: 1; this computer was too busy\n")


@pytest.mark.parametrize("name", ["microphone.py", "agent.py"])
@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise OSError('PortAudio library not found')", r"PortAudio library not found \(pip .*"),
        (NO_DEVICE, ".* cannot be used: no device"),
    ],
    ids=["no library", "no device"],
)
def test_no_device_is_one_line(called, name, module, said):
    with endpoint() as there:
        ran = called(name, "-e", "local", endpoint=there, sounddevice=module)
        assert there.stats.opens == 0
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(f"failed: {said}\n", ran.err), ran.err


class Clock:
    """An agent whose user interrupts the greeting and asks for the time; the stream then breaks.

    The greeting's blocks are numbered from 5000, the answer's from 7000.
    """

    def __init__(self, *calls):
        self.calls = calls
        self.responses = []
        self.legs = []

    async def __call__(self, stream):
        texts = []
        self.legs.append(texts)
        number, heard = len(self.legs), 0

        async def say(kind, **fields):
            await stream.send(json.dumps({"type": kind} | fields))

        async def speak(first, blocks):
            for block in range(first, first + blocks):
                await stream.send(chunk(block, 2400))
            await say("AgentAudioDone")

        await say("Welcome", request_id=str(number))
        async for message in stream:
            if isinstance(message, bytes):
                heard += 1
                if number == 1 and heard == BLOCKS:
                    await say("UserStartedSpeaking")
                    await say("ConversationText", role="user", content="What time is it?")
                    await say("FunctionCallRequest", functions=list(self.calls))
                elif number == 2 and heard == 5:
                    content = self.responses[0]
                    await say("ConversationText", role="assistant", content=f"It is {content}.")
                    await speak(7000, 10)
                continue
            texts.append(json.loads(message))
            if texts[-1]["type"] == "Settings":
                await say("SettingsApplied")
                if number == 1:
                    await say("ConversationText", role="assistant", content="Hello!")
                    await speak(5000, 200)
            elif texts[-1]["type"] == "FunctionCallResponse":
                self.responses.append(texts[-1]["content"])
                if len(self.responses) == len(self.calls):
                    await stream.fail("1011", "broken")
                    return


def call(name, arguments, **fields):
    return {"id": f"id-{name}", "name": name, "arguments": arguments, "client_side": True} | fields


@pytest.mark.patience(120)
async def test_the_agent_calls_a_function_once_and_speaks(device, tmp_path):
    agent = Clock(call("local_time", '{"zone": "Asia/Tokyo"}'))
    environment = device(DEVICE, HEADSET)
    with endpoint(model=agent) as there:
        environment |= variables(there)
        async with started("agent.py", "-e", "local", environment=environment) as program:
            played = tmp_path / "played"
            await until(
                lambda: played.exists() and 7009 in numbers_in(played.read_bytes()), within=60
            )
            program.send_signal(signal.SIGINT)
            ran = await ended(program)
        await until(lambda: there.stats.live_streams == 0)
    assert (ran.status, ran.err) == (0, "Speak; Ctrl-C ends the conversation.\n")
    (response,) = agent.responses
    assert re.fullmatch(r"[A-Z][a-z]+day, \d\d:\d\d", response)
    assert ran.lines == [
        "assistant: Hello!",
        "user: What time is it?",
        f"(local_time: {response})",
        f"assistant: It is {response}.",
    ]
    heard = numbers_in(played.read_bytes())
    # The greeting was interrupted: ten seconds were sent.
    greeting = [number for number in heard if number < 7000]
    assert greeting == list(range(5000, 5000 + len(greeting)))
    assert len(greeting) < 200
    assert [number for number in heard if number >= 7000] == list(range(7000, 7010))
    # The second stream knows the call and what came of it.
    settings = agent.legs[1][0]
    assert response in json.dumps(settings["agent"]["context"]["messages"])
    assert settings["agent"]["think"]["functions"][0]["name"] == "local_time"


@pytest.mark.patience(120)
async def test_the_agent_is_told_of_a_call_that_fails(device):
    agent = Clock(
        call("local_time", '{"zone": "Nowhere/Else"}'),
        call("order_pizza", "{}"),
        call("local_time", '["Asia/Tokyo"]', id="third"),
        call("hidden", "{}", client_side=False),
    )
    environment = device(DEVICE, HEADSET, overflow=3)
    with endpoint(model=agent) as there:
        environment |= variables(there)
        async with started("agent.py", "-e", "local", environment=environment) as program:
            await until(lambda: len(agent.responses) == 3, within=60)
            await asyncio.sleep(0.2)
            program.send_signal(signal.SIGINT)
            ran = await ended(program)
    assert ran.status == 0, ran.err
    assert ran.err.count("a gap in the recording: this computer was too busy\n") == 1
    assert sorted(agent.responses) == [
        "failed: KeyError: 'order_pizza'",
        "failed: TypeError: __main__.local_time() argument after ** must be a mapping, not list",
        "failed: ZoneInfoNotFoundError: 'No time zone found with key Nowhere/Else'",
    ]
