"""`speak` as a person runs it, with a voice whose every word can be counted."""

import struct

import pytest
from cli.commands import against, run
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.conversations.speech_file import SpeechFile, SpeechFileError
from deepgram_sagemaker.conversations.voice import pieces
from deepgram_sagemaker.doctor import NAME_A_REGION, NO_REGION
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from deepgram_sagemaker.local.wav import read_wav_header
from e2e.voices import LINEAR16, MULAW
from typer.testing import CliRunner

WORDS = list(range(40))
TEXT = " ".join(map(str, WORDS))


def endpoint(*faults):
    return LocalEndpoint(model=WatermarkAura(), faults=[parse_fault(rule) for rule in faults])


def speak(there, text, *arguments, **options):
    return against(there, "speak", text, *arguments, **options)


@pytest.mark.parametrize("faults", [(), ("reset after-replies=30",)], ids=["calm", "reset"])
async def test_a_wav_file_has_every_word_once(tmp_path, faults):
    path = tmp_path / "said.wav"
    with endpoint(*faults) as there:
        ran = await speak(there, TEXT, "-o", path)
        assert there.legs[0].path == "v1/speak"
        assert len(there.legs) == 1 + len(faults)
    assert (ran.status, ran.out) == (0, ""), ran.err
    content = path.read_bytes()
    header = read_wav_header(content)
    assert (header.tag, header.bits, header.rate, header.channels) == (1, 16, 24_000, 1)
    assert struct.unpack_from("<I", content, 4)[0] == len(content) - 8
    assert content[header.size :] == LINEAR16.said(WORDS)
    assert header.data == len(content) - header.size
    assert "Audio:       4.00 s in " in ran.err
    assert f"Streams:     {1 + len(faults)}: {len(faults)} reset" in ran.err


async def test_raw_audio_of_standard_input(tmp_path):
    path = tmp_path / "said.mulaw"
    with endpoint() as there:
        ran = await speak(
            there, "-", "-o", path, "-p", "mip_opt_out=true", stdin=f"{TEXT}\n".encode()
        )
        query = there.legs[0].query
    assert ran.status == 0, ran.err
    assert path.read_bytes() == MULAW.said(WORDS)
    assert all(
        each in query
        for each in ("encoding=mulaw", "sample_rate=8000", "mip_opt_out=true", "aura-2-thalia-en")
    )
    assert ", mulaw, 8 kHz" in ran.err


@pytest.mark.parametrize("faults", [(), ("reset after-replies=20",)], ids=["calm", "reset"])
async def test_flux_speaks_too(tmp_path, faults):
    path = tmp_path / "said.wav"
    with endpoint(*faults) as there:
        ran = await speak(there, TEXT, "--flux", "-o", path, "-p", "expressivity=1")
        leg = there.legs[0]
        assert len(there.legs) == 1 + len(faults)
    assert ran.status == 0, ran.err
    assert leg.path == "v2/speak"
    assert {"model=flux-alexis-en", "encoding=linear16", "expressivity=1"} <= {
        *leg.query.split("&")
    }
    assert path.read_bytes()[44:] == LINEAR16.said(WORDS)


async def test_a_long_text_goes_in_pieces_and_is_spoken_once(tmp_path):
    words = list(range(1_000, 1_900))
    path = tmp_path / "said.wav"
    with endpoint() as there:
        ran = await speak(there, " ".join(map(str, words)), "-o", path, "-p", "sample_rate=8000")
        assert there.legs[0].controls.count("Speak") == 3
    assert ran.status == 0, ran.err
    assert len(path.read_bytes()) == 44 + 900 * 800 * 2


async def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "said.wav"
    path.write_bytes(b"before")
    with endpoint("reset after-replies=10", "answer status=403 legs=2-9") as there:
        ran = await speak(there, TEXT, "-o", path)
    assert ran.status == 1
    assert ran.err.startswith("Failed: ")
    assert len(ran.err.splitlines()) == 1
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["said.wav"]


async def test_the_service_s_error_is_one_line(tmp_path):
    with endpoint() as there:
        ran = await speak(there, "hello", "-o", tmp_path / "a.wav", "-p", "speed=fast")
    assert ran.status == 1
    assert ran.err.startswith("Failed: ")
    assert "speed" in ran.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["hello", "-e", "local", "-o", "a.mp3"], "a.mp3: the suffix says the form"),
        (["hello", "-e", "local", "-o", "a.mulaw", "-p", "encoding=alaw"], "encoding=alaw cannot"),
        (["hello", "-e", "local", "-o", "a.wav", "-p", "encoding=opus"], "encoding=opus cannot"),
        (["hello", "-e", "local", "-o", "a.wav", "-p", "sample_rate=x"], "sample_rate=x"),
        (["hello", "-e", "local", "-o", "a.wav", "-p", "container=ogg"], "container"),
        (["hello", "-e", "local", "-o", "gone/a.wav"], "gone is no folder"),
        (["hello", "-e", "local", "-o", "a.wav", "-p", "speed"], "must be NAME=VALUE"),
        (["hello", "-e", "local", "-o", "a.wav", "--profile", "nope"], "profile (nope)"),
        (["  ", "-e", "local", "-o", "a.wav"], "there is no text"),
        (["hello", "-o", "a.wav"], "--endpoint-name"),
        (["hello", "-e", "local", "-o", "a.wav"], f"--region: {NO_REGION}: {NAME_A_REGION}"),
    ],
)
def test_a_command_that_cannot_work_is_refused(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    ran = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["speak", *arguments])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert isinstance(ran.exception, SystemExit)
    assert reason in " ".join(ran.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["-", b"\xff\xfe"])
async def test_text_that_is_not_utf_8_is_refused(tmp_path, text):
    ran = await run("speak", text, "-e", "local", "-o", tmp_path / "a.wav", stdin=b"\xff\xfe")
    assert ran.status == 2
    assert "can't decode byte 0xff" in ran.said


@pytest.mark.parametrize("encoding", ["mulaw", "alaw", "linear16"])
def test_a_wav_file_of_any_encoding(encoding):
    file = SpeechFile.of("a.wav", {"encoding": encoding, "sample_rate": "16000"})
    content = file.written(bytes(7))
    header = read_wav_header(content)
    tag, bits = {"mulaw": (7, 8), "alaw": (6, 8), "linear16": (1, 16)}[encoding]
    assert (header.tag, header.bits, header.rate, header.data) == (tag, bits, 16_000, 7)
    # Chunks are padded to an even length.
    assert len(content) == 44 + 8


@pytest.mark.parametrize(
    ("name", "encoding", "rate", "header"),
    [
        ("-", "linear16", 24_000, True),
        ("A.WAV", "linear16", 24_000, True),
        ("a.pcm", "linear16", 24_000, False),
        ("a.ulaw", "mulaw", 8_000, False),
        ("a.alaw", "alaw", 8_000, False),
    ],
)
def test_the_suffix_says_the_form(name, encoding, rate, header):
    assert SpeechFile.of(name, {}) == SpeechFile(encoding, rate, header)


def test_a_name_without_a_suffix_says_none():
    with pytest.raises(SpeechFileError, match="the suffix says the form"):
        SpeechFile.of("said", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two.", ["One two."]),
        ("  One two.\n", ["One two."]),
        ("One. Two. Three.", ["One. Two. ", "Three."]),
        ("one two three", ["one two ", "three"]),
        ("onetwothreefour", ["onetwothre", "efour"]),
        ("onetwothr. four", ["onetwothr.", " four"]),
        ("", []),
    ],
)
def test_a_text_is_cut_where_sentences_or_words_end(text, expected):
    found = list(pieces(text, 10))
    assert found == expected
    assert "".join(found) == text.strip()
