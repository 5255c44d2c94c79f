"""One conversation's messages, with a recogniser that counts instead of listening."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from deepgram_sagemaker.local.audio import AudioError
from deepgram_sagemaker.local.controls import SchemaError, to_json
from deepgram_sagemaker.local.speech.listener import (
    Control,
    Listener,
    parse_control,
)
from deepgram_sagemaker.local.speech.messages import StreamIdentity
from deepgram_sagemaker.local.speech.request import ListenRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from local.speech.sounds import count_halves, linear16, scene

IDENTITY = StreamIdentity("request-1", datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC))
RAW = {"encoding": "linear16", "sample_rate": "16000"}


def listener(recognise=count_halves, **query):
    request = ListenRequest.parse({key: [value] for key, value in (RAW | query).items()})
    return Listener(request, recognise, IDENTITY)


def hear(subject, samples, *, chunk=3_200):
    data = linear16(samples)
    found = []
    for start in range(0, len(data), chunk):
        found += subject.audio(data[start : start + chunk])
        found += subject.interims()
    return found


def converse(samples, *, chunk=3_200, recognise=count_halves, **query):
    subject = listener(recognise, **query)
    return [*hear(subject, samples, chunk=chunk), *subject.close()]


def of_type(found, kind):
    return [message for message in found if message["type"] == kind]


def finals(found, channel=0):
    results = of_type(found, "Results")
    return [m for m in results if m["is_final"] and m["channel_index"][0] == channel]


def transcript(message):
    return message["channel"]["alternatives"][0]["transcript"]


def test_a_final_result_has_deepgram_s_shape():
    first = finals(converse(scene(-1, 1, -1), smart_format="true"))[0]
    alternative = first["channel"]["alternatives"][0]
    assert first | {"channel": None, "metadata": None} == {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": 2.3,
        "start": 0.0,
        "is_final": True,
        "speech_final": True,
        "from_finalize": False,
        "channel": None,
        "metadata": None,
    }
    assert alternative["transcript"] == "Word0, Word1,"
    assert [word["word"] for word in alternative["words"]] == ["word0", "word1"]
    assert [word["punctuated_word"] for word in alternative["words"]] == ["Word0,", "Word1,"]
    assert alternative["words"][0]["start"] == pytest.approx(1.0, abs=0.03)
    assert alternative["words"][1]["end"] == pytest.approx(2.0, abs=0.03)
    assert 0.9 < alternative["confidence"] <= 1
    assert first["metadata"]["request_id"] == "request-1"
    assert set(first["metadata"]["model_info"]) == {"name", "version", "arch"}


def test_without_formatting_there_are_neither_marks_nor_capitals():
    first = finals(converse(scene(-1, 1, -1)))[0]
    assert transcript(first) == "word0 word1"
    assert "punctuated_word" not in first["channel"]["alternatives"][0]["words"][0]


def test_interim_results_only_come_when_asked_for():
    samples = scene(-0.5, 3, -1)
    assert all(message["is_final"] for message in of_type(converse(samples), "Results"))
    found = of_type(converse(samples, interim_results="true"), "Results")
    interims = [message for message in found if not message["is_final"]]
    assert [transcript(message).count("word") for message in interims] == [1, 2, 3, 4, 5, 6]
    assert {message["start"] for message in interims} == {0.0}
    assert [message["duration"] for message in interims] == sorted(
        message["duration"] for message in interims
    )


def test_nothing_is_recognised_twice_or_for_nobody():
    heard = []

    def recognise(samples):
        heard.append(len(samples))
        return count_halves(samples)

    subject = listener(recognise)
    hear(subject, scene(-6, 1, -6))
    list(subject.close())
    assert len(heard) == 1


def test_speech_started_and_utterance_end_when_asked_for():
    samples = scene(-1, 1, -2, 1, -0.1)
    assert {message["type"] for message in converse(samples)} == {"Results", "Metadata"}
    found = converse(samples, vad_events="true", interim_results="true", utterance_end_ms="1000")
    started = of_type(found, "SpeechStarted")
    assert [message["channel"] for message in started] == [[0, 1], [0, 1]]
    assert [message["timestamp"] for message in started] == pytest.approx([1, 4], abs=0.03)
    ended = of_type(found, "UtteranceEnd")
    assert [message["channel"] for message in ended] == [[0, 1]]
    last_word = finals(found)[0]["channel"]["alternatives"][0]["words"][-1]
    assert ended[0]["last_word_end"] == last_word["end"]


def test_an_utterance_without_words_has_no_end():
    found = converse(
        scene(1, -3), recognise=lambda _: "", interim_results="true", utterance_end_ms="1000"
    )
    assert not of_type(found, "UtteranceEnd")


def test_finalize_makes_everything_received_final():
    subject = listener()
    hear(subject, scene(-0.5, 1.01))
    answer = list(subject.finalize())
    assert [message["from_finalize"] for message in answer] == [True]
    assert answer[0]["start"] + answer[0]["duration"] == 1.51
    assert transcript(answer[0]) == "word0 word1"
    # It answers even when nothing is left to report.
    again = list(subject.finalize())
    assert (again[0]["start"], again[0]["duration"], transcript(again[0])) == (1.51, 0.0, "")


def test_the_end_is_the_rest_and_the_metadata():
    subject = listener()
    samples = scene(-1, 0.7003)
    hear(subject, samples)
    *rest, last = subject.close()
    assert transcript(rest[0]) == "word0"
    assert last == {
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": "request-1",
        "sha256": last["sha256"],
        "created": "2026-01-02T03:04:05.678Z",
        "duration": len(samples) * 1_000_000 // 16_000 / 1_000_000,
        "channels": 1,
        "models": list(last["model_info"]),
        "model_info": last["model_info"],
    }
    # The digest of nothing is well known, and that of the same audio is the same.
    empty = list(listener().close())
    assert empty[0]["sha256"].startswith("e3b0c44298fc1c149afbf4c8996fb924")
    again = listener()
    hear(again, samples, chunk=77)
    assert list(again.close())[-1]["sha256"] == last["sha256"]


def stereo(left, right):
    return np.stack((left, right), axis=1).ravel()


def test_each_channel_is_recognised_on_its_own_with_multichannel():
    samples = stereo(scene(-1, 1, -3), scene(-3, 1.5, -0.5))
    found = converse(samples, channels="2", multichannel="true")
    for channel, expected in ((0, "word0 word1"), (1, "word0 word1 word2")):
        results = finals(found, channel)
        assert {tuple(m["channel_index"]) for m in results} == {(channel, 2)}
        assert " ".join(filter(None, map(transcript, results))) == expected
        assert results[-1]["start"] + results[-1]["duration"] == 5.0
    assert found[-1]["channels"] == 2


def test_several_channels_are_mixed_down_without_multichannel():
    samples = stereo(scene(-1, 1, -3), scene(-3, 1.5, -0.5))
    found = converse(samples, channels="2")
    assert {tuple(m["channel_index"]) for m in of_type(found, "Results")} == {(0, 1)}
    text = " ".join(filter(None, map(transcript, finals(found))))
    assert text == "word0 word1 word0 word1 word2"
    assert found[-1]["channels"] == 1


@pytest.mark.parametrize(
    ("encoding", "rate"), [("linear32", 48_000), ("mulaw", 8_000), ("alaw", 8_000)]
)
def test_other_encodings_and_rates_hear_the_same(encoding, rate):
    samples = scene(-1, 1, -1, rate=rate)
    match encoding:
        case "linear32":
            data = samples.astype("<f4").tobytes()
        case "mulaw":
            data = compand(samples, zero=0xFF)
        case "alaw":
            data = compand(samples, zero=0xD5)
    subject = listener(encoding=encoding, sample_rate=str(rate))
    found = [*subject.audio(data), *subject.close()]
    assert [transcript(message) for message in finals(found)] == ["word0 word1", ""]
    assert found[-1]["duration"] == 3.0


def compand(samples, *, zero):
    """The crudest G.711 there is: full tone or none, which both laws know how to say."""
    loud, negative = np.abs(samples) > 0.05, samples < 0
    codes = np.where(negative, zero ^ 0xD0, zero ^ 0x50)
    return np.where(loud, codes, zero).astype(np.uint8).tobytes()


def test_a_wav_file_is_known_by_its_header():
    request = ListenRequest.parse({})
    subject = Listener(request, count_halves, IDENTITY)
    data = linear16(scene(-1, 1, -1))
    header = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data"
    file = header + len(data).to_bytes(4, "little") + data + b"LIST\x04\0\0\0rest"
    found = []
    for start in range(0, len(file), 1_001):
        found += subject.audio(file[start : start + 1_001])
    found += subject.close()
    assert transcript(finals(found)[0]) == "word0 word1"
    assert found[-1]["duration"] == 3.0


def test_what_is_no_audio_is_an_error():
    subject = Listener(ListenRequest.parse({}), count_halves, IDENTITY)
    with pytest.raises(AudioError):
        list(subject.audio(b"ID3\x04 and so on"))


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("nova-3", {}, {"type": "ConfigureSuccess", "request_id": "request-1"}),
        ("nova-3", {"keyterms": ["AWS"]}, {"keyterms": ["AWS"]}),
        ("nova-3", {"keyterms": []}, {"keyterms": []}),
        ("nova-2", {"keyterms": ["AWS"]}, {"code": "CONFIGURE_KEYTERMS_NOT_SUPPORTED"}),
        ("nova-2", {"features": {"numerals": True}}, {"type": "ConfigureSuccess"}),
        ("nova-3", {"keyterms": ["a b"] * 251}, {"code": "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"}),
    ],
)
def test_configure_is_accepted_or_refused_as_documented(model, body, expected):
    answer = listener(model=model).configure({"type": "Configure", **body})
    assert answer == answer | expected
    assert ("keyterms" in answer) == ("keyterms" in expected)
    assert ("description" in answer) == (answer["type"] == "ConfigureFailure")


def test_configure_can_turn_punctuation_on():
    subject = listener()
    subject.configure({"type": "Configure", "features": {"punctuate": True}})
    found = hear(subject, scene(-1, 1, -1))
    assert transcript(finals(found)[0]) == "Word0, Word1,"


@pytest.mark.parametrize("body", [{"keyterms": "AWS"}, {"keyterms": [1]}, {"features": {"a": 1}}])
def test_configure_of_the_wrong_types_is_a_schema_error(body):
    with pytest.raises(SchemaError):
        listener().configure({"type": "Configure", **body})


def test_controls_are_read():
    assert parse_control('{"type":"Finalize"}') == Control("Finalize", {"type": "Finalize"})


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"type":"Speak"}', '{"type":[]}', "{}"])
def test_a_text_that_is_no_control_is_a_schema_error(text):
    with pytest.raises(SchemaError, match="Could not deserialize last text message"):
        parse_control(text)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([0.4, 2.0, 6.3, -0.2, -0.9, -6.0]), min_size=1, max_size=6),
    st.sampled_from([8_000, 16_000, 22_050, 44_100]),
    st.integers(2_000, 50_000),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_finals_tile_the_audio_through_finalizes_and_any_rate(spans, rate, chunk, finalize_after):
    subject = listener(sample_rate=str(rate), interim_results="true")
    samples = scene(*spans, rate=rate)
    data = linear16(samples)
    found = []
    for number, start in enumerate(range(0, len(data), chunk)):
        found += subject.audio(data[start : start + chunk])
        found += subject.interims()
        if number in finalize_after:
            found += subject.finalize()
    found += subject.close()
    tiles = finals(found)
    assert tiles[0]["start"] == 0
    for before, after in pairwise(tiles):
        assert round(before["start"] + before["duration"], 6) == after["start"]
    end = tiles[-1]["start"] + tiles[-1]["duration"]
    assert round(end, 6) == found[-1]["duration"]
    assert abs(found[-1]["duration"] - len(samples) / rate) <= 1e-6
    for message in of_type(found, "Results"):
        low, high = message["start"], round(message["start"] + message["duration"], 6)
        words = message["channel"]["alternatives"][0]["words"]
        edges = [edge for word in words for edge in (word["start"], word["end"])]
        assert edges == sorted(edges)
        assert all(low <= edge <= high for edge in edges)


def test_numbers_are_written_with_at_most_six_decimals():
    subject = listener(sample_rate="44100")
    found = [*hear(subject, scene(-1, 1.0001, rate=44_100)), *subject.finalize()]
    assert '"duration":2.000090' not in to_json(found[-1])
    assert str(found[-1]["duration"]) == "2.00009"
