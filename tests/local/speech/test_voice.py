"""Voices that can be listened to."""

import random
import re

import numpy as np
import pytest
from deepgram_sagemaker.local.audio import AudioFormat, Encoding, RawDecoder, Resampler
from deepgram_sagemaker.local.speak import AudioOutput
from deepgram_sagemaker.local.speak.voice import TextBuffer
from deepgram_sagemaker.local.speech.recogniser import shared_recogniser
from deepgram_sagemaker.local.speech.sample import word_error_rate
from deepgram_sagemaker.local.speech.voice import EspeakVoice, ToneVoice, espeak, speaking_voices

SIXTEEN = AudioOutput("linear16", 16_000)
TEXT = (
    "Please send the invoice to the office in New York before Friday morning. "
    "Thank you for calling. The weather is nice today, so we should take a walk along the river."
)

needs_espeak = pytest.mark.skipif(espeak() is None, reason="this machine has no espeak-ng")


def samples(audio, output=SIXTEEN):
    known = AudioFormat(Encoding(output.encoding), output.sample_rate, 1)
    return RawDecoder(known).decode(audio)[:, 0]


def test_sentences_are_spoken_one_by_one():
    buffer = TextBuffer(ToneVoice.boundary)
    assert buffer.push('One. "Two!" Thr') == ["One. ", '"Two!" ']
    assert buffer.push("ee. ") == []
    assert buffer.flush() == "Three. "


def test_a_tone_for_each_word():
    sound = np.abs(samples(ToneVoice(SIXTEEN)("one two, three", 1.0)))
    loud = sound[: len(sound) // 80 * 80].reshape(-1, 80).max(axis=1) > 0.01
    runs = re.findall("1+", "".join("1" if frame else "0" for frame in loud))
    # 65 ms a letter, and one more for the word.
    assert [len(run) * 5 for run in runs] == pytest.approx([260, 260, 390], abs=15)


def test_tones_do_not_click():
    for varying in (None, random.Random(1)):
        sound = samples(ToneVoice(SIXTEEN, varying)("Hello there, everybody.", 1.0))
        assert np.abs(np.diff(sound)).max() < 0.1


def test_the_same_word_sounds_the_same_unless_the_voice_varies():
    steady = [ToneVoice(SIXTEEN)("Hello.", 1.0) for _ in range(2)]
    assert steady[0] == steady[1]
    varying = [ToneVoice(SIXTEEN, random.Random(n))("Hello.", 1.0) for n in range(2)]
    assert varying[0] != varying[1]


def test_a_faster_voice_takes_less_time():
    slow, fast = [len(ToneVoice(SIXTEEN)("Hello there.", speed)) for speed in (1.0, 1.25)]
    assert fast / slow == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("encoding", ["linear16", "mulaw", "alaw"])
def test_every_encoding_sounds_the_same(encoding):
    output = AudioOutput(encoding, 16_000)
    expected = samples(ToneVoice(SIXTEEN)("Hello.", 1.0))
    heard = samples(ToneVoice(output)("Hello.", 1.0), output)
    assert np.abs(heard - expected).max() < 0.01


def test_a_machine_without_espeak_speaks_in_tones(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert isinstance(speaking_voices()(SIXTEEN), ToneVoice)


@needs_espeak
def test_a_machine_with_espeak_speaks():
    assert isinstance(speaking_voices()(SIXTEEN), EspeakVoice)


@needs_espeak
@pytest.mark.patience(120)
@pytest.mark.parametrize(("encoding", "rate"), [("linear16", 24_000), ("mulaw", 8_000)])
def test_what_is_spoken_is_understood(encoding, rate):
    output = AudioOutput(encoding, rate)
    heard = samples(speaking_voices()(output)(TEXT, 1.0), output)
    resampler = Resampler(rate, 16_000)
    wide = np.concatenate((resampler.push(heard), resampler.flush()))
    assert word_error_rate(TEXT, shared_recogniser()(wide)) <= 0.15


@needs_espeak
def test_a_varying_voice_differs_from_stream_to_stream():
    first, second = [
        EspeakVoice(espeak(), SIXTEEN, random.Random(seed))(TEXT, 1.0) for seed in (1, 2)
    ]
    assert first != second


@needs_espeak
def test_espeak_repeats_itself_to_the_sample():
    voice = speaking_voices()(SIXTEEN)
    assert voice(TEXT, 1.0) == voice(TEXT, 1.0)
    assert len(voice(TEXT, 1.25)) < 0.9 * len(voice(TEXT, 1.0))


@needs_espeak
def test_a_text_is_no_option():
    voice = speaking_voices()(SIXTEEN)
    assert len(voice("--help me, -w away.", 1.0)) > 16_000
    assert voice("\ud800 \0 hello", 1.0)
