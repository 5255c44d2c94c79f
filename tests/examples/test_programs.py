"""The examples that need no device, with audio whose every chunk can be counted."""

import re
import shlex
import signal
import time
import wave
from collections import Counter
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark_aura import WatermarkAura, numbers_in
from examples.programs import (
    CHUNKS,
    EXAMPLES,
    against,
    counted_wav,
    ended,
    run,
    started,
    variables,
)
from sessions import until

WORDS = list(range(40))
BOTS = {"livekit_bot.py": "livekit", "pipecat_bot.py": "pipecat.services"}
"""What each of the bots needs; where it is missing the bot says that alone."""

PROGRAMS = [
    str(path.relative_to(EXAMPLES))
    for path in sorted(EXAMPLES.rglob("*.py"))
    if "def main()" in path.read_text(encoding="utf-8")
    and (path.name not in BOTS or find_spec(BOTS[path.name]))
]


def endpoint(*faults, **options):
    return LocalEndpoint(faults=[parse_fault(rule) for rule in faults], **options)


# Programs on one endpoint, each with arguments that work.
WORKING = {
    "transcribe_file.py": ["{wav}"],
    "flux_turns.py": ["{wav}"],
    "speak_to_file.py": ["-o", "{folder}/said.wav", "7 8 9"],
}


def working(name, folder):
    wav = counted_wav(folder / "counted.wav")
    return [each.format(wav=wav, folder=folder) for each in WORKING[name]]


async def test_a_file_has_each_chunk_once(tmp_path):
    wav = counted_wav(tmp_path / "counted.wav")
    with endpoint("reset after-audio=0.9", "reset after-audio=0.7 legs=2") as there:
        began = time.monotonic()
        ran = await against(there, "transcribe_file.py", wav)
        assert time.monotonic() - began >= CHUNKS * 0.02
        assert len(there.legs) == 3
        assert "sample_rate=16000" in there.legs[0].query
    assert ran.status == 0, ran.err
    found = [re.fullmatch(r" *([\d.]+) - +([\d.]+)  (.+)", line) for line in ran.lines]
    assert " ".join(each[3] for each in found).split() == [str(n) for n in range(CHUNKS)]
    assert all(before[2] == after[1] for before, after in pairwise(found))
    assert (found[0][1], found[-1][2]) == ("0.00", f"{CHUNKS * 0.02:.2f}")
    assert re.fullmatch(r"broken streams: 2; audio sent again: \d\.\d s\n", ran.err), ran.err


def test_each_channel_has_its_own_lines(called, tmp_path):
    wav = counted_wav(tmp_path / "counted.wav", channels=2)
    with endpoint() as there:
        ran = called("transcribe_file.py", "-e", "local", wav, "--speed", "4", endpoint=there)
    assert (ran.status, ran.err) == (0, "")
    for channel in range(2):
        heard = [line.split(f"channel {channel}  ")[1:] for line in ran.lines]
        words = " ".join(text for texts in heard for text in texts).split()
        assert words == [str(n) for n in range(CHUNKS)]


async def test_turns_are_shown_once_in_order(tmp_path):
    wav = counted_wav(tmp_path / "counted.wav", chunks=CHUNKS + 10)
    with endpoint("reset after-audio=1.3", "reset after-audio=0.6 legs=2") as there:
        ran = await against(there, "flux_turns.py", wav, "--eager", "0.5")
        assert len(there.legs) == 3
        assert "eager_eot_threshold=0.5" in there.legs[0].query
    assert (ran.status, ran.err) == (0, "")
    found = [re.fullmatch(r" *([\d.]+) s  turn (\d+) ([a-z ]+?)(  .+)?", x) for x in ran.lines]
    assert all(found), ran.out
    times = [float(each[1]) for each in found]
    assert times == sorted(times)
    over = [(each[2], each[4].split()) for each in found if each[3] == "is over"]
    assert over == [
        (str(turn), [str(n) for n in range(50 * turn, 50 * turn + 50)]) for turn in range(2)
    ]
    starts = [each[2] for each in found if each[3] == "starts"]
    assert starts == ["0", "1", "2"]
    # The last turn is open when the audio ends.
    assert (found[-1][2], found[-1][3]) == ("2", "has no end")
    assert found[-1][4].split() == [str(n) for n in range(CHUNKS, CHUNKS + 10)]
    assert [each[3] for each in found].count("may be over") == 2


async def test_a_text_is_spoken_once_into_a_file(tmp_path):
    path = tmp_path / "said.wav"
    path.write_bytes(b"before")
    with endpoint("reset after-replies=30", model=WatermarkAura()) as there:
        ran = await against(there, "speak_to_file.py", "-o", path, " ".join(map(str, WORDS)))
        assert len(there.legs) == 2
    assert (ran.status, ran.out, ran.err) == (0, f"{path}: 4.0 s\n", "")
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 1, 2)
        audio = wav.readframes(wav.getnframes())
    assert numbers_in(audio) == WORDS
    assert [each.name for each in tmp_path.iterdir()] == ["said.wav"]


def test_a_text_of_any_length_from_standard_input(called, tmp_path):
    words = list(range(1_000, 1_900))
    path = tmp_path / "said.wav"
    with endpoint(model=WatermarkAura(block=0.01)) as there:
        ran = called(
            *("speak_to_file.py", "-e", "local", "-o", path, "--sample-rate", "8000", "-"),
            endpoint=there,
            stdin=" ".join(map(str, words)),
        )
        assert there.legs[0].controls.count("Speak") == 3
    assert ran.status == 0, ran.err
    with wave.open(str(path)) as wav:
        assert numbers_in(wav.readframes(wav.getnframes())) == words


def test_a_failure_leaves_the_file_that_was_there(called, tmp_path):
    path = tmp_path / "said.wav"
    path.write_bytes(b"before")
    with endpoint(
        "reset after-replies=10", "answer status=403 legs=2-9", model=WatermarkAura()
    ) as there:
        text = " ".join(map(str, WORDS))
        ran = called("speak_to_file.py", "-e", "local", "-o", path, text, endpoint=there)
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(r"failed: .+\n", ran.err), ran.err
    assert path.read_bytes() == b"before"
    assert not list(tmp_path.glob(".speech-*"))


async def test_several_endpoints_are_used_in_one_program():
    """What Aura speaks in numbers, Nova and Flux hear; both of their streams break."""
    text = " ".join(map(str, range(15)))
    names = ["my-aura", "my-nova", "my-flux"]
    with endpoint("reset after-audio=0.9 times=2", endpoint_name=names) as there:
        ran = await run(
            *("several_endpoints.py", "--aura", "my-aura", "--nova", "my-nova"),
            *("--flux", "my-flux", text),
            environment=variables(there),
        )
        paths = Counter(leg.path for leg in there.legs)
    assert (ran.status, ran.err) == (0, "")
    assert ran.lines == ["Aura spoke 1.5 s.", f"Nova heard: {text}", f"Flux heard: {text}"]
    assert paths == {"v1/speak": 1, "v1/listen": 2, "v2/listen": 2}


@pytest.mark.parametrize("name", WORKING)
def test_a_refusal_is_one_line(called, name, tmp_path):
    with endpoint("answer status=403 error-type=AccessDeniedException") as there:
        ran = called(name, "-e", "local", *working(name, tmp_path), endpoint=there)
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(r"failed: .*InvokeEndpointWithBidirectionalStream.*\n", ran.err), ran.err


@pytest.mark.parametrize("name", ["transcribe_file.py", "speak_to_file.py"])
async def test_an_interruption_is_no_traceback(name, tmp_path):
    with endpoint("never-answer") as there:
        arguments = working(name, tmp_path)
        async with started(name, "-e", "local", *arguments, environment=variables(there)) as ours:
            await until(lambda: there.stats.opens)
            ours.send_signal(signal.SIGINT)
            ran = await ended(ours)
    assert (ran.status, ran.out) == (130, "")
    # The audio that was sent has no result, and the transport says so.
    assert re.fullmatch(r"v[12]/\w+: the service did not end the stream in time: .*\n", ran.err)
    assert not (tmp_path / "said.wav").exists()


@pytest.mark.parametrize("name", ["transcribe_file.py", "flux_turns.py"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"\[Errno 2\] No such file or directory: '.*audio.wav'"),
        (b"", ".*audio.wav is cut short"),
        (b"ID3 this is no WAV file at all, whatever its name", "file does not start with RIFF id"),
        ("silent", ".*audio.wav has no 16-bit audio( of one channel)?"),
    ],
    ids=["missing", "empty", "no WAV", "no audio"],
)
def test_a_file_that_cannot_be_sent_is_one_line(called, name, content, said, tmp_path):
    path = tmp_path / "audio.wav"
    if content == "silent":
        counted_wav(path, chunks=0)
    elif content is not None:
        path.write_bytes(content)
    ran = called(name, "-e", "local", str(path))
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(f"failed: {said}\n", ran.err), ran.err


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_does_not_exist_is_said(called, port):
    ran = called("captions_relay/server.py", "-e", "local", f"--port={port}")
    assert ran.status == 2
    assert ran.err.endswith("error: --port must be from 0 to 65535\n"), ran.err


def test_no_text_is_one_line(called, tmp_path):
    ran = called("speak_to_file.py", "-e", "local", "-o", str(tmp_path / "said.wav"), " ")
    assert (ran.status, ran.err) == (1, "failed: there is no text to speak\n")


# The gateway knows the endpoints, not the bot.
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "livekit_bot.py"])
def test_without_an_endpoint_it_says_what_to_give(called, name, tmp_path):
    arguments = working(name, tmp_path) if name in WORKING else []
    ran = called(name, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert re.search(r"give -e ENDPOINT|the following arguments are required: .*--aura", ran.err)


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_head_says_how_it_is_run(called, name):
    """The command in the docstring is one that the program understands."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    commands = re.findall(rf"^    python {Path(name).name} (.+)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        ran = called(name, *shlex.split(command.partition(" < ")[0]), "--help")
        assert ran.status == 0
        known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", ran.out))
        assert {each for each in command.split() if re.match(r"--?[a-z]", each)} <= known
