"""Turns in a stream of samples, with a recogniser that counts instead of listening."""

import json

import numpy as np
import pytest
from deepgram_sagemaker.local.audio import AudioFormat, Encoding
from deepgram_sagemaker.local.controls import SchemaError
from deepgram_sagemaker.local.flux import Thresholds
from deepgram_sagemaker.local.speech.flux import FluxListener
from deepgram_sagemaker.local.speech.turns import confidence_after
from local.speech.sounds import count_halves, linear16, scene

RAW = AudioFormat(Encoding.LINEAR16, 16_000, 1)
CLOSE = '{"type":"CloseStream"}'


def listener(recognise=count_halves, audio=RAW, **thresholds):
    return FluxListener(audio, Thresholds(**thresholds), recognise, "request-1")


def hear(subject, samples, chunk=3_200):
    data = samples if isinstance(samples, bytes) else linear16(samples)
    return [
        message
        for start in range(0, len(data), chunk)
        for message in subject.audio(data[start : start + chunk])
    ]


def converse(samples, *, chunk=3_200, **options):
    subject = listener(**options)
    return [*hear(subject, samples, chunk), *subject.obey(CLOSE)]


def marked(messages):
    """The events that are not updates, in order."""
    return [message["event"] for message in messages if message["event"] != "Update"]


def of(messages, event):
    return [message for message in messages if message["event"] == event]


def test_a_turn_begins_with_speech_and_ends_with_silence():
    messages = converse(scene(-1, 1, -2))
    assert marked(messages) == ["StartOfTurn", "EndOfTurn"]
    (start,), (end,) = of(messages, "StartOfTurn"), of(messages, "EndOfTurn")
    # A quarter of a second is the step of everything but ends.
    assert 1.1 <= start["audio_window_end"] <= 1.5
    assert start["words"]
    # 0.7 is reached after 817 ms of silence, on a grid of 80 ms; the voice ends at 2.0 s.
    assert 2.75 <= end["audio_window_end"] <= 2.95
    assert (end["transcript"], end["trigger"]) == ("Word0, Word1,", "model")
    assert end["end_of_turn_confidence"] >= 0.7
    word = end["words"][0]
    assert set(word) == {"word", "confidence", "start", "end"}
    assert 0.9 <= word["start"] < word["end"] <= 2.1


def test_turns_are_numbered_and_contiguous():
    messages = converse(scene(-0.5, 1, -1.5, 1, -1.5, 0.5, -1.5))
    ends = of(messages, "EndOfTurn")
    assert [end["turn_index"] for end in ends] == [0, 1, 2]
    assert len(of(messages, "StartOfTurn")) == 3
    starts = [0.0, *(end["audio_window_end"] for end in ends)]
    for message in messages:
        assert message["audio_window_start"] == starts[message["turn_index"]]
    assert [message["sequence_id"] for message in messages] == list(range(len(messages)))


def test_updates_come_every_240_ms():
    messages = converse(scene(-1, 2, -0.5))
    moments = [message["audio_window_end"] for message in messages]
    gaps = np.diff([0.0, *moments])
    assert set(np.round(gaps[:-1], 3)) <= {0.08, 0.16, 0.24}
    assert moments[-1] == 3.5
    assert all(not m["words"] and m["end_of_turn_confidence"] == 0 for m in messages[:4])


def test_turns_do_not_depend_on_how_the_audio_was_cut():
    samples = scene(-0.5, 1, -1.5, 1.5, -0.4, 1, -1.5)
    options = {"eager_eot_threshold": 0.4}

    def told(chunk):
        messages = converse(samples, chunk=chunk, **options)
        return [
            (message["event"], message["audio_window_end"], message["transcript"])
            for message in messages
            if message["event"] != "Update"
        ]

    assert told(3_200) == told(1_111) == told(len(samples) * 2)


def test_an_eager_end_is_taken_back_when_speech_goes_on():
    messages = converse(scene(-0.5, 1, -0.5, 1, -1.5), eager_eot_threshold=0.4)
    assert marked(messages) == [
        "StartOfTurn",
        "EagerEndOfTurn",
        "TurnResumed",
        "EagerEndOfTurn",
        "EndOfTurn",
    ]
    first, last = of(messages, "EagerEndOfTurn")
    (end,) = of(messages, "EndOfTurn")
    assert first["transcript"] == "Word0, Word1,"
    assert last["transcript"] == end["transcript"]
    assert len(end["words"]) == 4


def test_without_a_threshold_there_is_no_eager_end():
    messages = converse(scene(-0.5, 1, -0.5, 1, -1.5))
    assert marked(messages) == ["StartOfTurn", "EndOfTurn"]


@pytest.mark.parametrize(("threshold", "silence"), [(0.5, 0.35), (0.7, 0.817), (0.9, 3.15)])
def test_a_higher_threshold_waits_longer(threshold, silence):
    assert confidence_after(round(silence * 1_000_000)) == pytest.approx(threshold, abs=1e-3)
    messages = converse(scene(-0.5, 1, -4), eot_threshold=threshold)
    (end,) = of(messages, "EndOfTurn")
    assert end["audio_window_end"] == pytest.approx(1.5 + silence, abs=0.12)


def test_a_time_out_ends_a_turn_that_the_model_would_not():
    messages = converse(scene(-0.5, 1, -2), eot_threshold=1.0, eot_timeout_ms=1_000)
    (end,) = of(messages, "EndOfTurn")
    assert end["trigger"] == "timeout"
    assert end["audio_window_end"] == pytest.approx(2.5, abs=0.12)


def test_the_client_may_end_a_turn():
    subject = listener(eot_threshold=1.0)
    force = '{"type":"ForceEndTurn"}'
    assert list(subject.obey(force)) == []
    hear(subject, scene(-0.5, 1, -0.2))
    (end,) = subject.obey(force)
    assert (end["event"], end["trigger"], end["transcript"]) == (
        "EndOfTurn",
        "manual",
        "Word0, Word1,",
    )
    assert list(subject.obey(force)) == []
    messages = hear(subject, scene(-0.3, 1))
    assert of(messages, "StartOfTurn")[0]["turn_index"] == 1


def test_a_long_turn_keeps_its_beginning():
    messages = converse(scene(-0.5, 4, -0.25, 4, -0.25, 4, -1.5))
    (end,) = of(messages, "EndOfTurn")
    assert len(end["words"]) == 24
    starts = [word["start"] for word in end["words"]]
    assert starts == sorted(starts)
    # Words are only ever added while a turn goes on.
    counts = [len(message["words"]) for message in messages if message["turn_index"] == 0]
    assert counts == sorted(counts)


def test_what_is_not_understood_starts_no_turn():
    messages = converse(scene(-0.5, 0.5, -2), recognise=lambda _: "")
    assert marked(messages) == []


def test_a_close_tells_what_was_said_and_ends_no_turn():
    messages = converse(scene(-0.5, 1))
    assert marked(messages) == ["StartOfTurn"]
    assert messages[-1]["audio_window_end"] == 1.5
    assert messages[-1]["transcript"] == "Word0, Word1,"


def test_a_close_without_audio_tells_so():
    (message,) = listener().obey(CLOSE)
    assert (message["event"], message["audio_window_end"]) == ("Update", 0.0)


def test_several_channels_are_one_voice():
    samples = scene(-0.5, 1, -1.5)
    stereo = np.stack((samples, np.zeros_like(samples)), axis=1)
    audio = AudioFormat(Encoding.LINEAR16, 16_000, 2)
    messages = converse(linear16(stereo.ravel()), audio=audio)
    assert marked(messages) == ["StartOfTurn", "EndOfTurn"]
    assert messages[-1]["audio_window_end"] == 3.0


def test_thresholds_change_on_the_way():
    subject = listener()
    configure = {"type": "Configure", "thresholds": {"eot_threshold": 0.5}, "keyterms": ["AWS"]}
    (answer,) = subject.obey(json.dumps(configure))
    assert answer["thresholds"] == {"eot_threshold": 0.5, "eot_timeout_ms": 5_000}
    (end,) = of(hear(subject, scene(-0.5, 1, -0.6)), "EndOfTurn")
    assert end["audio_window_end"] < 2.0


def test_keep_alive_is_no_message_of_flux():
    subject = listener()
    assert not subject.keeps_alive('{"type":"KeepAlive"}')
    with pytest.raises(SchemaError, match="KeepAlive"):
        list(subject.obey('{"type":"KeepAlive"}'))
