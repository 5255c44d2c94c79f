"""Flux on the local endpoint, as an application on Deepgram's SDK meets it."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.audio import WavDecoder
from deepgram_sagemaker.local.faults import AfterNewChunks, Split
from deepgram_sagemaker.local.speech import SpeechModel
from deepgram_sagemaker.local.speech.sample import TWO_CITIES_TEXT, two_cities, word_error_rate
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from local.speech.sounds import count_halves, linear16, scene
from local.streams import serve
from sessions import Heard, client_of

RAW = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": 16000}


async def flux(endpoint, pieces, **options):
    """One stream through the SDK: what its handlers were given."""
    heard = Heard()
    async with client_of(endpoint.config()).listen.v2.connect(**RAW | options) as connection:
        heard.attach(connection)
        listening = asyncio.create_task(connection.start_listening())
        for piece in pieces:
            await connection.send_media(piece)
        await connection.send_close_stream()
        await listening
    assert heard.errors == []
    return heard.messages


def pieces_of(data, size=3_200):
    return [data[start : start + size] for start in range(0, len(data), size)]


def of(messages, event):
    return [message for message in messages if getattr(message, "event", None) == event]


async def test_counted_turns_through_the_sdk():
    # Messages in parts: harmless, and shows that faults find their place by the chunks.
    fault = Fault(Split(100), when=AfterNewChunks(60))
    async with LocalEndpoint(model=WatermarkFlux(), faults=[fault]) as endpoint:
        messages = await flux(endpoint, [chunk(number, 640) for number in range(120)])
        (leg,) = endpoint.legs
    assert messages[0].type == "Connected"
    assert [message.sequence_id for message in messages] == list(range(len(messages)))
    ends = of(messages, "EndOfTurn")
    words = [int(word.word) for end in ends for word in end.words]
    assert words == list(range(100))
    assert [end.audio_window_end for end in ends] == [1.0, 2.0]
    assert messages[-1].event == "Update"
    assert messages[-1].audio_window_end == 2.4
    assert (leg.path, leg.end, leg.chunks) == ("v2/listen", "model", 120)
    assert leg.controls == ("CloseStream",)
    assert leg.faults == ("split",)


async def test_turns_of_speech_through_the_sdk():
    audio = linear16(scene(-0.5, 1, -1.2, 1, -1.2))
    async with LocalEndpoint(model=SpeechModel(count_halves)) as endpoint:
        messages = await flux(endpoint, pieces_of(audio), eager_eot_threshold=0.5)
    ends = of(messages, "EndOfTurn")
    assert [end.transcript for end in ends] == ["Word0, Word1,", "Word0, Word1,"]
    assert [end.transcript for end in of(messages, "EagerEndOfTurn")] == [
        end.transcript for end in ends
    ]
    assert messages[-1].event == "Update"
    assert messages[-1].audio_window_end == 4.9


@pytest.mark.patience(180)
async def test_a_real_recording_comes_in_turns():
    decoder = WavDecoder()
    samples = decoder.decode(two_cities().read_bytes())[:, 0]
    # The last turn also ends before the stream does.
    pause = np.zeros(decoder.format.sample_rate * 3 // 2, np.float32)
    whole = np.concatenate((samples, pause))
    query = {"model": "flux-general-en", "encoding": "linear16", "sample_rate": "48000"}
    stream = await serve(
        SpeechModel(),
        "v2/listen",
        [*pieces_of(linear16(whole), 96_000), {"type": "CloseStream"}],
        query=query,
    )
    assert stream.failure is None
    ends = [message for message in stream.of("TurnInfo") if message["event"] == "EndOfTurn"]
    assert len(ends) >= 3
    for before, after in pairwise(ends):
        assert after["audio_window_start"] == before["audio_window_end"]
    text = " ".join(end["transcript"] for end in ends)
    assert word_error_rate(TWO_CITIES_TEXT, text) <= 0.2


async def test_keep_alive_is_told_to_be_unknown_and_ends_the_stream():
    stream = await serve(
        SpeechModel(count_halves),
        "v2/listen",
        [{"type": "KeepAlive"}],
        query={"encoding": "linear16", "sample_rate": "16000"},
    )
    assert stream.kinds == ["Connected", "Error"]
    assert stream.told[-1]["code"] == "UNPARSABLE_CLIENT_MESSAGE"
    assert stream.failure[0] == "1008"


async def test_a_strict_model_takes_no_message_but_the_last():
    stream = await serve(
        SpeechModel(count_halves, strict_flux=True),
        "v2/listen",
        [{"type": "Configure"}],
        query={"encoding": "linear16", "sample_rate": "16000"},
    )
    assert stream.told[-1]["code"] == "UNPARSABLE_CLIENT_MESSAGE"
    assert stream.failure[0] == "1008"


@pytest.mark.parametrize(
    ("query", "reason"),
    [({"encoding": "opus"}, "encoding=opus"), ({"eot_timeout_ms": "9"}, "eot_timeout_ms=9")],
)
async def test_what_is_not_served_is_refused(query, reason):
    stream = await serve(SpeechModel(count_halves), "v2/listen", [], query=query)
    assert stream.failure[0] == "1008"
    assert reason in stream.failure[1]
