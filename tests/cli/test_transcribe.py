"""`transcribe` as a person runs it, on audio whose every chunk is a word."""

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import suppress

import pytest
from cli.commands import CHUNKS, against, counted_wav, reaching, run
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.doctor import NAME_A_REGION, NO_REGION
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from sessions import until
from typer.testing import CliRunner

RESETS = ("reset after-audio=0.9", "drop after-audio=1.1")
NUMBERS = list(range(CHUNKS))

NEEDS_TERMINALS = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")


def endpoint(*faults, **options):
    return LocalEndpoint(
        **{"model": "watermark"} | options, faults=[parse_fault(rule) for rule in faults]
    )


@pytest.fixture
def recording(tmp_path):
    return counted_wav(tmp_path / "speech.wav")


def transcribe(endpoint, *arguments, speed=10, **options):
    return against(endpoint, "transcribe", *arguments, "--speed", speed, **options)


def saying(transcript, *, start=0.0, seconds=3.0):
    """A model with one final result for all that it hears."""

    async def model(stream):
        async for message in stream:
            if isinstance(message, str) and json.loads(message)["type"] == "CloseStream":
                said = {"transcript": transcript, "confidence": 1, "words": []}
                final = {
                    "type": "Results",
                    "channel_index": [0, 1],
                    "start": start,
                    "duration": seconds,
                    "is_final": True,
                    "channel": {"alternatives": [said]},
                    "metadata": {},
                }
                await stream.send(json.dumps(final))
                await stream.send(json.dumps({"type": "Metadata", "duration": 3.0}))
                return

    return model


def numbers(text):
    return [int(number) for number in text.split()]


def texts(lines):
    return [line.split("]  ")[1] for line in lines]


@pytest.mark.parametrize("faults", [(), RESETS], ids=["calm", "resets"])
async def test_a_file_is_shown_and_summed_up(recording, faults):
    with endpoint(*faults) as there:
        ran = await transcribe(there, recording)
    assert ran.status == 0, ran.err
    assert numbers(" ".join(texts(ran.lines))) == NUMBERS
    assert ran.lines[0] == "[0:00.00 \N{EN DASH} 0:00.20]  0 1 2 3 4 5 6 7 8 9"
    assert "  Recording: speech.wav, 3.0 s, linear16, 16 kHz, mono\n" in ran.err
    assert "\nLost:        nothing" in ran.err
    resets = "2 resets (1 dropped, 1 reset)" if faults else "0 resets"
    assert f"\nStreams:     {1 + len(faults)}: {resets}, 0 retries, 0 rollovers, " in ran.err
    replayed = float(re.search(r"(\d+\.\d+) s of audio sent again", ran.err)[1])
    assert (replayed > 0) is bool(faults)
    assert "\x1b" not in ran.out + ran.err


async def test_retries_are_counted(recording):
    with endpoint("answer status=503 legs=1-2") as there:
        ran = await transcribe(there, recording)
    assert ran.status == 0, ran.err
    assert ", 2 retries, " in ran.err


async def test_every_form_says_what_the_model_said(tmp_path, recording):
    out = tmp_path / "made" / "here"
    with endpoint(*RESETS) as there:
        ran = await transcribe(there, recording, "--json", "--srt", "--vtt", "-o", f"{out}/")
    assert (ran.status, ran.out) == (0, ""), ran.err
    assert sorted(path.name for path in out.iterdir()) == [
        "speech.json",
        "speech.srt",
        "speech.vtt",
    ]
    *finals, done = map(json.loads, (out / "speech.json").read_text().splitlines())
    assert [final["type"] for final in finals] == ["final"] * len(finals)
    assert numbers(" ".join(final["transcript"] for final in finals)) == NUMBERS
    words = [word for final in finals for word in final["words"]]
    assert [int(word["text"]) for word in words] == NUMBERS
    # A chunk's word has the chunk's time.
    assert [word["start"] for word in words] == pytest.approx([n * 0.02 for n in NUMBERS])
    assert [final["start"] for final in finals[1:]] == [final["end"] for final in finals[:-1]]
    assert done["type"] == "done"
    assert (done["seconds"], done["lost"], done["repeated"]) == (3.0, 0.0, 0.0)
    assert done["resets"] == {"reset": 1, "dropped": 1}
    assert (done["legs"], done["retries"], done["rollovers"]) == (3, 0, 0)
    assert done["replayed"] > 0
    for form, stamp, head in (
        ("srt", r"00:00:0\d,\d{3}", r"\d+\n"),
        ("vtt", r"00:00:0\d\.\d{3}", ""),
    ):
        text = (out / f"speech.{form}").read_text()
        cue = rf"{head}{stamp} --> {stamp}\n[\d ]+\n(?:[\d ]+\n)?"
        assert re.fullmatch(rf"{'' if head else 'WEBVTT' + chr(10) * 2}{cue}(?:\n{cue})*", text)
        lines = re.split(rf"(?m)^{head}{stamp} --> .*$", text)[1:]
        assert numbers(" ".join(lines)) == NUMBERS


@pytest.mark.parametrize(("form", "first"), [("--srt", "1"), ("--vtt", "WEBVTT")])
async def test_subtitles_go_to_standard_output(recording, form, first):
    with endpoint() as there:
        ran = await transcribe(there, recording, form)
    assert ran.status == 0, ran.err
    assert ran.lines[0] == first
    assert "00:00:00" in ran.out
    assert "\nLost:        nothing" in ran.err


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.srt", "1\n"), ("a.vtt", "WEBVTT\n"), ("a.jsonl", '{"file"'), ("a.out", "[0:00.00 ")],
)
async def test_a_file_s_suffix_says_its_form(tmp_path, recording, name, start):
    with endpoint() as there:
        ran = await transcribe(there, recording, "-o", tmp_path / name)
    assert (ran.status, ran.out) == (0, ""), ran.err
    assert (tmp_path / name).read_text().startswith(start)


@pytest.mark.parametrize("faults", [(), RESETS], ids=["calm", "resets"])
async def test_turns_are_shown_as_turns(recording, faults):
    with endpoint(*faults, model=WatermarkFlux()) as there:
        ran = await transcribe(there, recording, "--flux")
        assert there.legs[0].path == "v2/listen"
    assert ran.status == 0, ran.err
    shown = [re.fullmatch(r"\[(.*)\]  turn (\d)  ([\d ]+)", line) for line in ran.lines]
    assert [turn[2] for turn in shown] == ["0", "1", "2"]
    assert [numbers(turn[3]) for turn in shown] == [
        NUMBERS[:50],
        NUMBERS[50:100],
        NUMBERS[100:],
    ]
    assert shown[1][1] == "0:01.00 \N{EN DASH} 0:02.00"
    assert f"\nStreams:     {1 + len(faults)}: " in ran.err
    assert " 3 turns and " in ran.err


async def test_a_turn_that_the_audio_s_end_cuts_off_is_shown(recording):
    with endpoint(model=WatermarkFlux(turn=100)) as there:
        ran = await transcribe(there, recording, "--flux", "--json")
    assert ran.status == 0, ran.err
    *turns, done = map(json.loads, ran.lines)
    assert [(turn["type"], turn["turn"]) for turn in turns] == [("turn", 0), ("turn", 1)]
    assert numbers(" ".join(turn["transcript"] for turn in turns)) == NUMBERS
    assert (done["type"], done["lost"], done["repeated"]) == ("done", 0.0, 0.0)


async def test_channels_are_shown_as_channels(tmp_path):
    stereo = counted_wav(tmp_path / "stereo.wav", channels=2)
    with endpoint(*RESETS) as there:
        arguments = ("-p", "multichannel=true")
        ran = await transcribe(there, stereo, *arguments)
        vtt = await transcribe(there, stereo, *arguments, "--vtt")
    assert ran.status == vtt.status == 0, ran.err + vtt.err
    for channel in (0, 1):
        label = f"channel {channel}  "
        told = [text.removeprefix(label) for text in texts(ran.lines) if text.startswith(label)]
        assert numbers(" ".join(told)) == NUMBERS
        voice = f"<v channel {channel}>"
        told = [line for line in vtt.lines if line.startswith(voice)]
        assert told


async def test_parameters_are_passed_on(recording):
    with endpoint() as there:
        ran = await transcribe(
            there,
            recording,
            *("-p", "keyterm=a b", "-p", "keyterm=c", "-p", "diarize=true"),
            *("-p", "smart_format=false", "--model", "nova-3-medical"),
        )
        query = there.legs[0].query
    assert ran.status == 0, ran.err
    assert "keyterm=a%20b&keyterm=c" in query
    assert "diarize=true" in query
    assert "smart_format=false" in query
    assert "model=nova-3-medical" in query


async def test_several_files_are_told_apart_and_keep_their_order(tmp_path):
    files = [counted_wav(tmp_path / f"{n}.wav", chunks=CHUNKS - 50 * n) for n in range(3)]
    with endpoint("reset after-audio=0.7 legs=2") as there:
        ran = await transcribe(there, *files, "--jobs", "3")
    assert ran.status == 0, ran.err
    blocks = ran.out.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"{path}:" for path in files]
    for n, block in enumerate(blocks):
        told = numbers(" ".join(texts(block.splitlines()[1:])))
        assert told == NUMBERS[: CHUNKS - 50 * n]
    assert ran.err.splitlines()[-1] == "3 recordings: 3 done, 0 failed"
    assert ran.err.count("1 reset (1 reset)") == 1


def read_terminal(descriptor):
    """Everything that is written to a terminal until it is closed."""
    shown = b""
    with suppress(OSError):
        while data := os.read(descriptor, 65_536):
            shown += data
    os.close(descriptor)
    return shown.decode()


@NEEDS_TERMINALS
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
async def test_bars_on_a_terminal_leave_standard_output_alone(tmp_path, form):
    files = [counted_wav(tmp_path / f"{n}.wav", chunks=50) for n in range(2)]
    ours, theirs = os.openpty()
    with endpoint() as there:
        options, environment = reaching(there)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deepgram_sagemaker.cli", "transcribe", *files, *form),
            *(*options, "--speed", "3"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            env=os.environ | environment | {"TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(theirs)
        shown, (out, _) = await asyncio.gather(
            asyncio.to_thread(read_terminal, ours), process.communicate()
        )
    assert process.returncode == 0
    if form:
        told = [json.loads(line) for line in out.decode().splitlines()]
        assert len([each for each in told if each["type"] == "done"]) == 2
    else:
        blocks = out.decode().strip().split("\n\n")
        assert [block.splitlines()[0] for block in blocks] == [f"{path}:" for path in files]
        assert all(
            numbers(" ".join(texts(block.splitlines()[1:]))) == NUMBERS[:50] for block in blocks
        )
    assert "\x1b[?25l" in shown
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in shown


async def test_no_more_than_jobs_files_are_streamed_at_once(tmp_path):
    files = [counted_wav(tmp_path / f"{n}.wav", chunks=20) for n in range(4)]
    with endpoint() as there:
        ran = await transcribe(there, *files, "--jobs", "1", "--json")
    assert ran.status == 0, ran.err
    told = [(each["file"], each["type"]) for each in map(json.loads, ran.lines)]
    assert told == [(str(path), kind) for path in files for kind in ("final", "final", "done")]


async def test_one_file_that_fails_does_not_stop_the_others(tmp_path, recording):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"")
    out = tmp_path / "out"
    out.mkdir()
    with endpoint() as there:
        ran = await transcribe(there, bad, recording, "--json", "--srt", "-o", out)
    assert ran.status == 1
    assert f"Failed: {bad}: it has no audio\n" in ran.err
    assert ran.err.splitlines()[-1] == "2 recordings: 1 done, 1 failed"
    assert sorted(path.name for path in out.iterdir()) == ["speech.json", "speech.srt"]


async def test_what_came_before_a_failure_is_kept(tmp_path, recording):
    refused = "answer status=403 error-type=AccessDeniedException legs=2-9"
    # It comes behind the results. A reset might overtake them.
    broken = "internal-stream-failure after-audio=1.5 message=oops"
    with endpoint(broken, refused) as there:
        ran = await transcribe(there, recording, "-o", tmp_path / "a.json", speed=5)
    assert ran.status == 1
    assert "a.json has what came until then" in ran.err
    *finals, failed = map(json.loads, (tmp_path / "a.json").read_text().splitlines())
    told = numbers(" ".join(final["transcript"] for final in finals))
    assert 0 < len(told) < CHUNKS
    assert told == NUMBERS[: len(told)]
    assert failed["type"] == "failed"
    assert failed["reason"] in " ".join(ran.err.split())


async def test_audio_without_a_result_is_a_failure(recording):
    with endpoint(model=saying("", start=1.0, seconds=2.0)) as there:
        ran = await transcribe(there, recording)
    assert ran.status == 1
    assert "Lost:        1.000 s of audio without a final result" in ran.err
    assert "not all of the audio was told exactly once" in ran.err


async def test_the_service_s_refusal_is_one_line(recording):
    with endpoint() as there:
        ran = await transcribe(there, recording, "-p", "endpointing=maybe")
    assert ran.status == 1
    (line,) = [line for line in ran.err.splitlines() if line.startswith("Failed: ")]
    assert "Failed to establish WebSocket connection" in line
    assert "endpointing" in line


@pytest.mark.parametrize("raw", [False, True])
async def test_standard_input_is_a_recording(recording, raw):
    content = recording.read_bytes()[44 if raw else 0 :]
    parameters = ("-p", "encoding=linear16", "-p", "sample_rate=16000") if raw else ()
    with endpoint() as there:
        ran = await transcribe(there, "-", *parameters, stdin=content)
        assert ("encoding=linear16" in there.legs[0].query) is raw
    assert ran.status == 0, ran.err
    assert numbers(" ".join(texts(ran.lines))) == NUMBERS
    assert "Recording: standard input\n" in ran.err


@NEEDS_TERMINALS
async def test_a_terminal_is_no_recording(recording):
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deepgram_sagemaker.cli", "transcribe", "-", "-e", "local"),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 2
    assert b"nothing is piped into standard input" in err


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
async def test_an_ascii_terminal_is_no_reason_to_fail(recording, form):
    with endpoint(model=saying("grüß")) as there:
        options, environment = reaching(there)
        environment |= {"PYTHONIOENCODING": "ascii"}
        ran = await run(
            "transcribe", recording, *options, "--speed", "10", *form, environment=environment
        )
    assert ran.status == 0, ran.err
    if form:
        # Programs read UTF-8.
        assert json.loads(ran.lines[0])["transcript"] == "grüß"
    else:
        assert ran.out == "[0:00.00 - 0:03.00]  gr??\n"


async def test_a_reader_that_has_enough_is_no_error(recording):
    async def leave(process):
        await process.stdout.readline()
        process.stdout._transport.close()

    with endpoint() as there:
        ran = await transcribe(there, recording, "--json", stop=leave)
    assert ran.status == 1
    assert "Failed" not in ran.err
    assert "Exception ignored" not in ran.err


def amid_the_second(endpoint):
    """Interrupts the process once the endpoint has answered some of the second stream."""

    async def interrupt(process):
        await until(lambda: len(endpoint.legs) == 2 and endpoint.legs[1].messages_out >= 8)
        # What the process sends afterwards shows that it has come round to reading.
        later = endpoint.legs[1].audio_seconds + 0.5
        await until(lambda: endpoint.legs[1].audio_seconds >= later)
        process.send_signal(signal.SIGINT)

    return interrupt


async def test_ctrl_c_keeps_what_came(tmp_path, recording):
    lines = []

    async def interrupt(process):
        lines.append(await process.stdout.readline())
        process.send_signal(signal.SIGINT)

    with endpoint() as there:
        out = tmp_path / "a.txt"
        ran = await transcribe(there, recording, "--json", speed=1, stop=interrupt)
        assert (ran.status, json.loads(lines[0])["type"]) == (130, "final")
        ran = await transcribe(there, recording, "-o", out, speed=1, stop=amid_the_second(there))
    assert ran.status == 130
    told = numbers(" ".join(texts(out.read_text().splitlines())))
    assert 0 < len(told) < CHUNKS
    assert told == NUMBERS[: len(told)]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-e", "local", "-p", "language"], "language: must be NAME=VALUE"),
        (["-e", "local", "-p", "=de"], "=de: must be NAME=VALUE"),
        (["-e", "local", "-p", "model=a", "-p", "model=b"], "model: one is needed"),
        ([], "--endpoint-name"),
        (["-e", "not_a_name"], "endpoint_name"),
        (["-e", "local", "--region", "here"], "region"),
        (["-e", "local"], f"--region: {NO_REGION}: {NAME_A_REGION}"),
        (["-e", "local", "--region", "auto"], f"--region: {NO_REGION}: {NAME_A_REGION}"),
        (["-e", "local", "--profile", "nope"], "The config profile (nope) could not be found"),
        (["-e", "local", "--ca-bundle", "gone.pem"], "gone.pem"),
        (["-e", "local", "--srt", "--vtt"], "standard output takes one form"),
        (["-e", "local", "--srt", "--vtt", "-o", "a.srt"], "takes one form"),
        (["-e", "local", "other.wav", "--srt"], "subtitles of several recordings need a folder"),
        (["-e", "local", "other.wav", "-o", "a.txt"], "takes one recording"),
        (["-e", "local", "speech.wav", "-o", "out/"], "2 recordings would be written to"),
        (["-e", "local", "-o", "speech.wav"], "is a recording itself"),
        (["-e", "local", "-", "-"], "standard input can be read once"),
        (["-e", "local", "gone.wav"], "gone.wav does not exist"),
        (["-e", "local", "."], ". is a folder"),
        (["-e", "local", "--jobs", "0"], "--jobs"),
        (["-e", "local", "--speed", "0"], "--speed"),
    ],
)
def test_a_command_that_cannot_work_is_refused(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    for name in ("speech.wav", "other.wav"):
        counted_wav(tmp_path / name, chunks=1)
    ran = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["transcribe", "speech.wav", *arguments])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert isinstance(ran.exception, SystemExit)
    assert reason in " ".join(ran.stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.wav", "speech.wav"]


async def test_a_mistake_has_status_2(recording):
    ran = await run("transcribe", recording, "-e", "local", "--profile", "nope")
    assert (ran.status, ran.out) == (2, "")
    assert "profile (nope)" in ran.said


async def test_an_input_that_cannot_be_waited_for_is_read():
    """The loop refuses to watch /dev/null."""
    with endpoint() as there:
        reach, environment = reaching(there)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deepgram_sagemaker", "transcribe", "-", *reach),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | environment,
        )
        _, errors = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 1
    assert errors.endswith(b"\nFailed: standard input: it has no audio\n")
    assert b"Traceback" not in errors


async def test_no_credentials_are_one_line(recording):
    ran = await run("transcribe", recording, "-e", "local", "--region", "us-west-2")
    assert ran.status == 1
    (line,) = [line for line in ran.err.splitlines() if line.startswith("Failed: ")]
    assert "no AWS credentials" in line


async def test_no_endpoint_is_one_line(recording):
    environment = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}
    where = ("--region", "us-west-2", "--endpoint-uri", "https://127.0.0.1:1")
    ran = await run("transcribe", recording, "-e", "local", *where, environment=environment)
    assert ran.status == 1
    (line,) = [line for line in ran.err.splitlines() if line.startswith("Failed: ")]
    assert "no TCP connection came up" in line


@pytest.mark.parametrize("variable", ["AWS_DEFAULT_REGION", "AWS_REGION"])
async def test_the_region_is_boto3_s(recording, variable):
    with LocalEndpoint(region="eu-central-1") as there:
        _, environment = reaching(there)
        uri = ("--endpoint-uri", there.uri, "--ca-bundle", there.ca_bundle)
        await run(
            *("transcribe", recording, "-e", "local", *uri, "--speed", "20"),
            environment=environment | {variable: "eu-central-1"},
        )
        assert [leg.status for leg in there.legs] == [200]


NEEDS_NO_MODEL = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numpy", "moonshine_voice"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from deepgram_sagemaker.cli import main
main()
"""


async def test_it_needs_no_model_and_no_numpy(recording):
    with endpoint() as there:
        options, environment = reaching(there)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", NEEDS_NO_MODEL, "transcribe", recording, *options),
            *("--speed", "20"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | environment,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err
    assert numbers(" ".join(texts(out.decode().splitlines()))) == NUMBERS
