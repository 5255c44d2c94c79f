"""A WAV file as the commands stream it: unchanged, in chunks with their times."""

import wave

import pytest
from deepgram_sagemaker.cli.recording import Recording
from deepgram_sagemaker.local.audio import AudioError, AudioFormat, Encoding


def wav(path, *, seconds=0.5, rate=8_000, channels=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(range(256)) * (round(seconds * rate) * channels * 2 // 256))
    return path


def test_a_recording_knows_its_format_and_length(tmp_path):
    recording = Recording.open(wav(tmp_path / "a.wav", seconds=0.512))
    assert recording.format == AudioFormat(Encoding.LINEAR16, 8_000, 2)
    assert recording.seconds == 0.512
    assert recording.description == "a.wav, 0.5 s, linear16, 8 kHz, stereo"


def test_chunks_are_the_file_as_it_is(tmp_path):
    path = wav(tmp_path / "a.wav", seconds=0.512)
    chunks = list(Recording.open(path).chunks(0.02))
    assert b"".join(chunk.data for chunk in chunks) == path.read_bytes()
    assert {len(chunk.data) for chunk in chunks[:-1]} == {640}
    assert [chunk.end for chunk in chunks[:3]] == pytest.approx([0.02, 0.04, 0.06])
    assert chunks[-1].end == 0.512


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "has no audio"), (b"ID3 and so on", "not a WAV file"), (b"RIFF", "has no audio")],
)
def test_what_cannot_be_streamed_is_refused(tmp_path, content, reason):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=reason):
        Recording.open(path)
