"""Turns made of counted chunks, and the messages of `v2/listen`."""

import random
import time
from itertools import pairwise

import pytest
from deepgram.listen.v2 import types
from deepgram_sagemaker.local.flux import FluxTeller, Thresholds, ThresholdsError
from deepgram_sagemaker.local.speak.voice import AudioOutput, wav_header
from deepgram_sagemaker.local.speech import SpeechModel
from deepgram_sagemaker.local.watermark import Watermark, chunk
from deepgram_sagemaker.local.watermark_flux import ChunkClock, ChunkTurns, WatermarkFlux
from hypothesis import given, settings
from hypothesis import strategies as st
from local.speech.sounds import count_halves
from local.streams import Pause, serve

RAW = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": "16000"}
EAGER = RAW | {"eager_eot_threshold": "0.5"}
CLOSE = {"type": "CloseStream"}


def chunks(*numbers, size=640, **layout):
    return [chunk(number, size, **layout) for number in numbers]


def numbered(count, **layout):
    return chunks(*range(count), **layout)


async def flux(*said, model=None, query=RAW, ends=False):
    return await serve(model or WatermarkFlux(), "v2/listen", said, query=query, ends=ends)


def turns(stream, event="EndOfTurn"):
    return [message for message in stream.of("TurnInfo") if message["event"] == event]


def events(stream):
    return [message["event"] for message in stream.of("TurnInfo")]


async def test_every_chunk_is_in_exactly_one_turn():
    stream = await flux(*numbered(150), CLOSE)
    assert stream.failure is None
    ends = turns(stream)
    assert [end["turn_index"] for end in ends] == [0, 1, 2]
    words = [int(word) for end in ends for word in end["transcript"].split()]
    assert words == list(range(150))
    assert {end["trigger"] for end in ends} == {"model"}


@given(st.integers(0, 149), st.integers(16, 4_000))
@settings(deadline=None, max_examples=25)
def test_turns_are_the_same_wherever_a_stream_begins_and_however_it_is_cut(first, size):
    audio = b"".join(chunks(*range(first, 200)))
    turns_of = ChunkTurns(
        WatermarkFlux(),
        FluxTeller("request-1", Thresholds()),
        ChunkClock.of({name: [value] for name, value in RAW.items()}),
        random.Random(1),
    )
    told = [
        message
        for start in range(0, len(audio), size)
        for message in turns_of.audio(audio[start : start + size])
    ]
    ends = [message for message in told if message["event"] == "EndOfTurn"]
    assert [int(end["words"][-1]["word"]) for end in ends] == list(range(49, 200, 50))[
        first // 50 :
    ]
    assert [word["word"] for end in ends for word in end["words"]] == [
        str(number) for number in range(first, 200)
    ]


async def test_windows_are_contiguous_and_exact():
    stream = await flux(*numbered(150), CLOSE)
    assert [message["audio_window_end"] for message in turns(stream)] == [1.0, 2.0, 3.0]
    for before, after in pairwise(stream.of("TurnInfo")):
        if before["event"] == "EndOfTurn":
            assert after["audio_window_start"] == before["audio_window_end"]
            assert after["turn_index"] == before["turn_index"] + 1
        else:
            assert after["audio_window_start"] == before["audio_window_start"]
            assert after["audio_window_end"] >= before["audio_window_end"]
    word = turns(stream)[1]["words"][7]
    assert (word["word"], word["start"], word["end"]) == ("57", 1.14, 1.16)


async def test_words_may_have_no_times():
    stream = await flux(*numbered(50), CLOSE, model=WatermarkFlux(word_times=False))
    assert turns(stream)[0]["words"][7] == {"word": "7", "confidence": 1.0}


async def test_every_message_is_numbered():
    stream = await flux(*numbered(60), {"type": "Configure"}, CLOSE)
    assert stream.kinds[0] == "Connected"
    numbers = [message["sequence_id"] for message in stream.told]
    assert numbers == list(range(len(numbers)))
    assert len({message["request_id"] for message in stream.told}) == 1


async def test_messages_have_the_sdk_s_fields():
    configure = [{"type": "Configure", "keyterms": ["a"]}]
    configure.append({"type": "Configure", "thresholds": {"eot_threshold": 7}})
    stream = await flux(*numbered(60), *configure, {"type": "KeepAlive"}, query=EAGER)
    kinds = {message["type"] for message in stream.told}
    assert kinds == {"Connected", "TurnInfo", "ConfigureSuccess", "ConfigureFailure", "Error"}
    for message in stream.told:
        name = {"Error": "FatalError"}.get(message["type"], message["type"])
        known = getattr(types, f"ListenV2{name}").model_fields
        required = {name for name, known_field in known.items() if known_field.is_required()}
        assert required <= set(message) <= set(known)


async def test_updates_come_every_240_ms():
    stream = await flux(*numbered(50), CLOSE)
    first, *updates, end, last = stream.of("TurnInfo")
    assert (first["event"], first["audio_window_end"]) == ("StartOfTurn", 0.02)
    assert [update["audio_window_end"] for update in updates] == [0.26, 0.5, 0.74, 0.98]
    assert {update["event"] for update in updates} == {"Update"}
    assert end["event"] == "EndOfTurn"
    assert (last["event"], last["turn_index"], last["words"]) == ("Update", 1, [])


async def test_silence_is_told_without_words():
    stream = await flux(*[b"\0" * 640] * 50, CLOSE)
    infos = stream.of("TurnInfo")
    assert set(events(stream)) == {"Update"}
    assert [info["audio_window_end"] for info in infos] == [0.24, 0.48, 0.72, 0.96, 1.0]
    assert not any(info["words"] or info["audio_window_start"] for info in infos)


async def test_a_close_is_answered_with_an_update_and_the_end():
    stream = await flux(*numbered(60), CLOSE)
    assert turns(stream)[-1]["turn_index"] == 0
    last = stream.of("TurnInfo")[-1]
    assert (last["event"], last["turn_index"]) == ("Update", 1)
    assert last["audio_window_end"] == 1.2
    assert last["transcript"] == " ".join(map(str, range(50, 60)))


async def test_an_end_of_the_input_cuts_the_tail_off():
    stream = await flux(*numbered(60), CLOSE, ends=True)
    assert stream.of("TurnInfo")[-1]["audio_window_end"] < 1.2


async def test_turns_may_end_late():
    model = WatermarkFlux(late_chunks=5)
    stream = await flux(*numbered(54), CLOSE, model=model)
    assert turns(stream) == []
    stream = await flux(*numbered(55), CLOSE, model=model)
    assert turns(stream)[0]["audio_window_end"] == 1.0
    assert len(turns(stream)[0]["words"]) == 50
    assert stream.of("TurnInfo")[-1]["transcript"] == "50 51 52 53 54"


async def test_eager_ends_come_where_they_are_asked_for():
    model = WatermarkFlux(eager_at=20)
    stream = await flux(*numbered(50), CLOSE, model=model)
    assert turns(stream, "EagerEndOfTurn") == []
    stream = await flux(*numbered(50), CLOSE, model=model, query=EAGER)
    kinds = [event for event in events(stream) if event != "Update"]
    assert kinds == ["StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EagerEndOfTurn", "EndOfTurn"]
    first, last = turns(stream, "EagerEndOfTurn")
    assert len(first["words"]) == 20
    assert last["transcript"] == turns(stream)[0]["transcript"]


async def test_eager_ends_may_differ_from_stream_to_stream():
    model = WatermarkFlux(eager_at=20, eager_share=0.5, seed=1)
    resumed = set()
    for _ in range(12):
        stream = await flux(*numbered(50), CLOSE, model=model, query=EAGER)
        resumed.add(len(turns(stream, "TurnResumed")))
    assert resumed == {0, 1}


async def test_the_client_may_end_a_turn():
    force = {"type": "ForceEndTurn"}
    stream = await flux(force, *numbered(12), force, force, *chunks(12, 13), CLOSE)
    (end,) = turns(stream)
    assert (end["trigger"], len(end["words"]), end["audio_window_end"]) == ("manual", 12, 0.24)
    last = stream.of("TurnInfo")[-1]
    assert (last["audio_window_start"], last["transcript"]) == (0.24, "12 13")


async def test_thresholds_change_on_the_way():
    configure = {"type": "Configure", "thresholds": {"eager_eot_threshold": 0.4}}
    stream = await flux(*numbered(50), configure, *chunks(*range(50, 100)), CLOSE)
    assert [message["turn_index"] for message in turns(stream, "EagerEndOfTurn")] == [1]
    assert stream.of("ConfigureSuccess")[0]["thresholds"] == {
        "eager_eot_threshold": 0.4,
        "eot_threshold": 0.7,
        "eot_timeout_ms": 5_000,
    }


@pytest.mark.parametrize(
    ("query", "layout", "seconds"),
    [
        (RAW | {"encoding": "mulaw", "sample_rate": "8000"}, {"width": 1}, 0.08),
        (RAW | {"channels": "2"}, {"channels": 2}, 0.01),
        (RAW | {"encoding": "linear32"}, {"width": 4}, 0.01),
        ({"model": "flux-general-en"}, {"width": 1}, 0.02),
    ],
)
async def test_every_encoding_has_its_clock(query, layout, seconds):
    stream = await flux(*numbered(50, **layout), CLOSE, query=query)
    (end,) = turns(stream)
    assert [int(word["word"]) for word in end["words"]] == list(range(50))
    assert end["audio_window_end"] == 50 * seconds


async def test_messages_may_be_cut_anywhere():
    audio = b"".join(numbered(50, channels=2))
    pieces = [audio[start : start + 333] for start in range(0, len(audio), 333)]
    stream = await flux(*pieces, CLOSE, query=RAW | {"channels": "2"})
    assert len(turns(stream)[0]["words"]) == 50


@pytest.mark.parametrize(("rate", "seconds"), [(8_000, 2.0), (16_000, 1.0)])
@pytest.mark.parametrize("size", [1, 13, 700])
async def test_a_wav_header_tells_the_clock_and_takes_none_of_its_time(rate, seconds, size):
    output = AudioOutput("linear16", rate)
    audio = wav_header(output) + b"".join(numbered(50))
    pieces = [audio[start : start + size] for start in range(0, len(audio), size)]
    stream = await flux(*pieces, CLOSE, query={"model": "flux-general-en"})
    (end,) = turns(stream)
    assert [int(word["word"]) for word in end["words"]] == list(range(50))
    assert end["audio_window_end"] == seconds


@pytest.mark.parametrize("text", ["what?", '{"type":"KeepAlive"}', '{"type":"Finalize"}'])
async def test_what_flux_does_not_know_ends_the_stream(text):
    stream = await flux(*numbered(3), text)
    assert stream.kinds[-1] == "Error"
    assert stream.told[-1]["code"] == "UNPARSABLE_CLIENT_MESSAGE"
    assert stream.failure[0] == "1008"


async def test_silence_ends_the_stream():
    stream = await flux(Pause(9), model=WatermarkFlux(silence_timeout=0.05))
    assert stream.failure[0] == "1011"
    assert "NET-0001" in stream.failure[1]


def test_flux_waits_longer_than_nova():
    """A client that sends some audio every ten seconds lives."""
    assert WatermarkFlux().silence_timeout == 12.0
    assert Watermark().silence_timeout == 10.0


@pytest.mark.full
@pytest.mark.patience(60)
@pytest.mark.parametrize("model", [WatermarkFlux(), SpeechModel(count_halves)])
async def test_some_audio_now_and_then_keeps_flux_alive_and_silence_does_not(model):
    began = time.monotonic()
    stream = await serve(model, "v2/listen", [Pause(11), b"\0\0", Pause(20)], query=RAW)
    assert 22.9 < time.monotonic() - began < 27
    assert stream.failure[0] == "1011"
    assert "NET-0001" in stream.failure[1]


@pytest.mark.parametrize(
    ("path", "query", "reason"),
    [
        ("v1/listen", {}, "serves v2/listen"),
        ("v2/listen", {"eot_threshold": "0.2"}, "eot_threshold=0.2: must be from 0.5 to 1.0"),
        ("v2/listen", RAW | {"sample_rate": "fast"}, "sample_rate=fast"),
    ],
)
async def test_what_is_not_served_is_refused(path, query, reason):
    stream = await serve(WatermarkFlux(), path, [], query=query)
    assert stream.failure[0] == "1008"
    assert reason in stream.failure[1]
    assert stream.heard == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"eager_eot_threshold": 0.8}, "must not be above eot_threshold=0.7"),
        ({"eot_timeout_ms": 100}, "from 500 to 60000"),
        ({"eot_threshold": True}, "must be a number"),
        ({"volume": 11}, "is no threshold"),
    ],
)
def test_thresholds_are_checked(given, reason):
    with pytest.raises(ThresholdsError, match=reason):
        Thresholds().changed(given)


async def test_a_strict_model_takes_no_message_but_the_last():
    strict = WatermarkFlux(strict=True)
    for message in ({"type": "Configure"}, {"type": "ForceEndTurn"}):
        stream = await flux(*numbered(3), message, CLOSE, model=strict)
        assert stream.told[-1]["code"] == "UNPARSABLE_CLIENT_MESSAGE"
        assert stream.failure[0] == "1008"
    stream = await flux(*numbered(50), CLOSE, model=strict)
    assert stream.failure is None
    assert len(turns(stream)) == 1
