"""What streams send: whole chunks of raw audio, and numbers that are compared."""

import asyncio
import shutil
import wave

import pytest
from deepgram_sagemaker.load.audio import AudioError, Marks, read, watermarked
from deepgram_sagemaker.local.marks import read_marks


def wav(path, *, rate=16_000, channels=1, width=2, seconds=1.0, head=b""):
    frames = round(rate * seconds)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(index % 251 for index in range(frames * channels * width)))
    return path


@pytest.mark.parametrize(
    ("rate", "channels", "frames"), [(16_000, 1, 320), (8_000, 2, 160), (11_025, 1, 220)]
)
async def test_a_recording_becomes_chunks_of_20_ms(tmp_path, rate, channels, frames):
    path = wav(tmp_path / "call.wav", rate=rate, channels=channels)
    [piece] = await read([path], {"model": "nova-3"})
    wanted = {"encoding": "linear16", "sample_rate": str(rate)}
    assert piece.query == wanted | ({} if channels == 1 else {"channels": "2"})
    assert piece.seconds == pytest.approx(1.0)
    assert piece.chunk_seconds == pytest.approx(frames / rate)
    assert {len(chunk) for chunk in piece.chunks} == {frames * channels * 2}
    # Without the header.
    assert piece.chunks[0][:4] == bytes([0, 1, 2, 3])


async def test_raw_audio_is_what_the_parameters_say(tmp_path):
    path = tmp_path / "call.ulaw"
    path.write_bytes(bytes(range(256)) * 10)
    [piece] = await read([path], {"encoding": "mulaw", "sample_rate": "8000"})
    assert (piece.encoding, len(piece.chunks[0])) == ("mulaw", 160)
    assert b"".join(piece.chunks) == path.read_bytes()


async def test_what_cannot_be_sent_is_refused_by_name(tmp_path):
    path = wav(tmp_path / "odd.wav", seconds=0.01)
    with pytest.raises(AudioError, match=r"odd\.wav: .*less than one chunk"):
        await read([path], {})


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("width", [1, 3])
async def test_samples_that_cannot_be_streamed_as_they_are_are_decoded(tmp_path, width):
    path = wav(tmp_path / "odd.wav", width=width, channels=2)
    [piece] = await read([path], {})
    assert (piece.name, piece.encoding, piece.sample_rate) == ("odd.wav", "linear16", 16_000)
    assert (piece.channels, piece.frame_size, piece.seconds) == (2, 4, 1.0)


async def test_without_ffmpeg_they_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = wav(tmp_path / "odd.wav", width=3)
    said = r"odd\.wav: linear24 cannot be streamed as raw audio\. Install ffmpeg"
    with pytest.raises(AudioError, match=said):
        await read([path], {})


def test_marked_chunks_count_a_minute():
    piece = watermarked()
    assert piece.seconds == 60.0
    assert [mark.number for mark in read_marks(b"".join(piece.chunks))] == list(range(3000))


def heard(*numbers, sent):
    """How many are missing, and how many came twice, of so many that were sent."""
    marks = Marks(3000)
    found = [marks.heard(number, sent) for number in numbers]
    return sum(missing for missing, _ in found), sum(repeated for _, repeated in found)


@pytest.mark.parametrize(
    ("numbers", "sent", "counted"),
    [
        ((*range(3000), *range(3000), 0), 6001, (0, 0)),
        ((0, 1, 5, 6), 7, (3, 0)),
        ((4,), 5, (4, 0)),
        ((0, 1, 2, 1, 2, 3), 4, (0, 2)),
        ((*range(2999), 1), 3002, (2, 0)),
        # More than half a minute, and nearly a whole one.
        ((*range(100), *range(1900, 1905)), 1905, (1800, 0)),
        ((*range(100), 98, 99), 3100, (2998, 0)),
        # There is none in the future.
        ((*range(100), *range(50, 60)), 100, (0, 10)),
        ((*range(100), 99), 3099, (0, 1)),
    ],
)
def test_numbers_are_compared_with_those_that_were_sent(numbers, sent, counted):
    assert heard(*numbers, sent=sent) == counted


def test_what_is_not_heard_at_the_end_is_missing():
    marks = Marks(3000)
    assert marks.rest(0) == 0
    for number in range(10):
        marks.heard(number, 10)
    # A whole round, too.
    assert (marks.rest(10), marks.rest(15), marks.rest(3010)) == (0, 5, 3000)


def test_many_streams_share_one_piece():
    piece = watermarked()
    assert piece.chunks is piece.chunks


async def test_a_folder_is_no_recording(tmp_path):
    with pytest.raises(OSError, match="directory"):
        await asyncio.wait_for(read([tmp_path], {}), 5)
