"""Audio as the commands stream it: as it is, in chunks that know their time."""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import wave
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from deepgram_sagemaker.conversations import recording as recordings
from deepgram_sagemaker.conversations.recording import AudioError, Recording, Sound

FFMPEG = f"""#!{sys.executable}
import sys
from pathlib import Path

source = sys.argv[sys.argv.index("-i") + 1]
data = sys.stdin.buffer.read() if source == "pipe:0" else Path(source[5:]).read_bytes()
if not data.startswith(b"FAKE"):
    sys.exit("a first line\\n" + source + ": Invalid data found when processing input")
head = bytes.fromhex("52494646ffffffff57415645666d7420100000000100010080bb000000770100020010006461"
                     "7461ffffffff")
sys.stdout.buffer.write(head + data[4:])
"""
"""It decodes files that begin with FAKE: what follows is 48 kHz linear16."""


def wav(path, *, seconds=0.5, rate=8_000, channels=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(range(256)) * (round(seconds * rate) * channels * 2 // 256))
    return path


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """The only program there is."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ffmpeg").write_text(FFMPEG)
    (tools / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))


@pytest.fixture
def no_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


async def read(recording, seconds=0.02):
    return [chunk async for chunk in recording.chunks(seconds)]


def test_a_recording_knows_its_format_and_length(tmp_path):
    recording = Recording.open(wav(tmp_path / "a.wav", seconds=0.512))
    assert recording.seconds == 0.512
    assert recording.description == "a.wav, 0.5 s, linear16, 8 kHz, stereo"


async def test_chunks_are_the_file_as_it_is(tmp_path):
    path = wav(tmp_path / "a.wav", seconds=0.512)
    chunks = await read(Recording.open(path))
    assert b"".join(chunk.data for chunk in chunks) == path.read_bytes()
    assert {len(chunk.data) for chunk in chunks[:-1]} == {640}
    # The 44 bytes of the header take no time.
    assert [chunk.end for chunk in chunks[:2]] == pytest.approx([0.018625, 0.038625])
    assert chunks[-1].end == 0.512


async def test_bytes_behind_the_audio_take_no_time(tmp_path):
    path = wav(tmp_path / "a.wav", seconds=0.512)
    path.write_bytes(path.read_bytes() + b"LIST\x04\0\0\0more" * 100)
    recording = Recording.open(path)
    chunks = await read(recording)
    assert recording.seconds == chunks[-1].end == 0.512
    assert b"".join(chunk.data for chunk in chunks) == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has no audio"),
        (b"ID3 and so on", "not a WAV file.*Install ffmpeg.*-p encoding="),
        (b"RIFF", "has no audio"),
    ],
)
def test_what_cannot_be_streamed_is_refused(tmp_path, no_ffmpeg, content, reason):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=reason):
        Recording.open(path)


async def test_a_wav_file_with_packed_samples_is_decoded(tmp_path, ffmpeg):
    path = wav(tmp_path / "a.wav")
    content = bytearray(path.read_bytes())
    content[20] = 0x11
    path.write_bytes(content)
    assert Recording.open(path).description == "a.wav, decoded by ffmpeg"


@pytest.mark.parametrize("encoding", ["linear16", "linear32", "mulaw", "alaw"])
async def test_raw_audio_is_what_the_parameters_say(tmp_path, encoding):
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(range(256)) * 40)
    query = {"encoding": encoding, "sample_rate": "16000", "channels": "2"}
    frame = {"linear16": 4, "linear32": 8}.get(encoding, 2)
    recording = Recording.open(path, query)
    chunks = await read(recording)
    assert b"".join(chunk.data for chunk in chunks) == path.read_bytes()
    assert recording.seconds == chunks[-1].end == 10240 / frame / 16000
    assert len(chunks[0].data) == 320 * frame


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"encoding": "opus"}, "encoding=opus: raw audio is linear16"),
        ({"encoding": "linear16"}, "sample_rate=None"),
        ({"encoding": "mulaw", "sample_rate": "fast"}, "sample_rate=fast"),
        ({"encoding": "mulaw", "channels": "0"}, "channels=0"),
        ({"encoding": ["mulaw", "alaw"]}, "encoding="),
    ],
)
def test_a_raw_format_that_cannot_be_counted_is_refused(query, reason):
    with pytest.raises(AudioError, match=reason):
        Sound.of_query(query)


async def test_ffmpeg_decodes_other_files(tmp_path, ffmpeg):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"FAKE" + bytes(9600))
    recording = Recording.open(path)
    assert recording.description == "a.mp3, decoded by ffmpeg"
    assert recording.seconds is None
    chunks = await read(recording)
    assert chunks[-1].end == pytest.approx(0.1)
    assert sum(len(chunk.data) for chunk in chunks) == 9644


async def test_ffmpeg_says_why_it_cannot(tmp_path, ffmpeg):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"nothing that it knows")
    with pytest.raises(AudioError, match=r"ffmpeg: file:.*Invalid data found"):
        await read(Recording.open(path))


def stored(content, query=None, most=1000):
    """A recording of bytes that are read in pieces; tells how often it was opened."""
    opened = []

    @asynccontextmanager
    async def source():
        opened.append(True)
        rest = memoryview(content)

        async def piece(size):
            nonlocal rest
            data, rest = rest[: min(size, most)], rest[min(size, most) :]
            return bytes(data)

        yield piece

    return Recording.stored("a", source, query), opened


async def test_a_stored_file_is_read_while_it_is_streamed(tmp_path, no_ffmpeg):
    path = wav(tmp_path / "a.wav", seconds=0.512)
    recording, opened = stored(path.read_bytes())
    for _ in range(2):
        chunks = await read(recording)
        assert b"".join(chunk.data for chunk in chunks) == path.read_bytes()
        assert chunks[-1].end == 0.512
    assert len(opened) == 2
    raw, _ = stored(bytes(10_000), {"encoding": "mulaw"})
    assert (await read(raw))[-1].end == 1.25
    for content, reason in ((b"", "has no audio"), (b"RIFF", "has no audio"), (b"x", "ffmpeg")):
        with pytest.raises(AudioError, match=reason):
            await read(stored(content)[0])


@pytest.mark.parametrize("nameless", [True, False])
async def test_ffmpeg_decodes_a_copy_of_a_stored_file(tmp_path, ffmpeg, monkeypatch, nameless):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    if not nameless:
        # As on Windows.
        monkeypatch.setattr(recordings, "_by_number", lambda file: None)
    chunks = await read(stored(b"FAKE" + bytes(9600))[0])
    assert sum(len(chunk.data) for chunk in chunks) == 9644
    packed = bytearray(wav(tmp_path / "a.wav").read_bytes())
    packed[20] = 0x11
    for content in (b"nothing that it knows", bytes(packed)):
        with pytest.raises(AudioError, match=r"ffmpeg: a: Invalid data found"):
            await read(stored(content)[0])
    assert not list(folder.iterdir())


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no files by their numbers")
async def test_nothing_is_left_of_a_stored_file_if_its_process_is_killed(
    tmp_path, ffmpeg, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())

    @asynccontextmanager
    async def source():
        left = iter([b"FAKE", bytes(9000), b""])

        async def piece(size):
            # Of what was copied by now, nothing has a name.
            assert sorted(tmp_path.iterdir()) == before
            return next(left)

        yield piece

    chunks = 0
    async for _ in Recording.stored("a", source).chunks(0.02):
        chunks += 1
        assert sorted(tmp_path.iterdir()) == before
    assert chunks > 1


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
async def test_ffmpeg_seeks_in_a_stored_file(tmp_path):
    # The index of such a file is at its end.
    path = tmp_path / "a.mp4"
    source = wav(tmp_path / "a.wav", seconds=0.512)
    command = ["ffmpeg", "-v", "error", "-i", source, path]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=50)
    chunks = await read(stored(path.read_bytes())[0])
    assert chunks[-1].end == pytest.approx(0.512, abs=0.3)


STREAM = """
import asyncio, sys
from deepgram_sagemaker.conversations.recording import Recording

async def main():
    query = dict(each.split("=") for each in sys.argv[1:])
    chunks = [chunk async for chunk in Recording.standard_input(query).chunks(0.02)]
    print(sum(len(chunk.data) for chunk in chunks), round(chunks[-1].end, 6))

try:
    asyncio.run(main())
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("through", ["pipe", "file"])
@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("wav", [], "16384 audio bytes"),
        ("raw", ["encoding=mulaw", "sample_rate=8000"], "10000 1.25"),
        ("fake", [], "9644 0.1"),
        ("other", [], "ffmpeg: pipe:0: Invalid data"),
        ("nothing", [], "it has no audio"),
    ],
)
def test_standard_input(tmp_path, ffmpeg, through, content, arguments, said):
    if content == "wav":
        path = wav(tmp_path / "in", seconds=0.512)
        said = f"{path.stat().st_size} 0.512"
    else:
        path = tmp_path / "in"
        contents = {"raw": bytes(10_000), "fake": b"FAKE" + bytes(9600), "nothing": b""}
        path.write_bytes(contents.get(content, b"something else"))
    command = [sys.executable, "-W", "error", "-c", STREAM, *arguments]
    given = {"input": path.read_bytes()} if through == "pipe" else {"stdin": path.open("rb")}
    run = subprocess.run(command, **given, capture_output=True, timeout=20, check=False)
    if through == "file":
        given["stdin"].close()
    assert run.stderr == b""
    assert run.stdout.decode().startswith(said)
