"""The voice whose words are numbers, and with it the protocols of `v1/speak` and `v2/speak`."""

import asyncio
import re

import pytest
from deepgram.speak.v1.types import SpeakV1Cleared, SpeakV1Flushed, SpeakV1Metadata, SpeakV1Warning
from deepgram.speak.v2 import types as v2
from deepgram_sagemaker.local.marks import MarkReader, read_marks
from deepgram_sagemaker.local.speak.voice import TextBuffer
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_aura import WatermarkAura, number_of, numbers_in
from hypothesis import given, settings
from hypothesis import strategies as st
from local.streams import Scripted, Until, serve

FLUX = {"model": "flux-haley-en"}
FLUSH, CLEAR, CLOSE = {"type": "Flush"}, {"type": "Clear"}, {"type": "Close"}


def speak(text):
    return {"type": "Speak", "text": text}


def interrupt(milliseconds=None):
    if milliseconds is None:
        return {"type": "Interrupt"}
    return {"type": "Interrupt", "playback_offset": {"type": "time_ms", "value": milliseconds}}


def has(kind, count=1):
    return Until(lambda stream: len(stream.of(kind)) >= count)


def has_audio(size):
    return Until(lambda stream: len(stream.audio) >= size)


async def aura(*said, model=None, query=None, ends=False):
    return await serve(model or WatermarkAura(), "v1/speak", said, query=query, ends=ends)


async def flux(*said, model=None, query=None):
    return await serve(model or WatermarkAura(), "v2/speak", said, query=FLUX | (query or {}))


# Numbers out of audio


@settings(deadline=None)
@given(st.lists(st.integers(0, (1 << 28) - 1), max_size=8), st.integers(1, 700))
def test_numbers_come_back_however_the_audio_is_cut(numbers, size):
    audio = b"\0" * 30 + b"".join(chunk(number, 321, width=1) for number in numbers)
    reader, found = MarkReader(), []
    for start in range(0, len(audio), size):
        found += reader.read(audio[start : start + size])
    assert [mark.number for mark in found] == numbers
    assert [mark.start for mark in found] == [30 + 321 * n for n in range(len(numbers))]
    assert all(mark.end - mark.start == 321 for mark in found)


def test_what_is_left_of_a_torn_block_is_found():
    block = chunk(7, 800)
    (mark,) = read_marks(block[101:])
    assert (mark.number, mark.end) == (7, 699)
    assert mark.end - mark.start < 700
    (mark,) = read_marks(block[:80] + block[96:])
    assert (mark.number, mark.start) == (7, 80)


def test_silence_and_noise_are_no_blocks():
    noise = bytes((n * 7919 >> 3) % 128 | 0x80 for n in range(4_000))
    assert read_marks(b"\0" * 4_000 + b"\xff" * 4_000 + b"\xd5" * 4_000 + noise) == []


def test_words_are_their_own_numbers_or_have_one():
    assert number_of("17") == 17
    assert number_of("hope") == number_of("hope") != number_of("Hope")
    assert number_of("9" * 30) < 1 << 28


@settings(deadline=None)
@given(st.text("ab \n", max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_text_is_spoken_in_the_same_stretches_however_it_is_cut(text, cuts):
    def stretches(pieces):
        buffer = TextBuffer(re.compile(r"\s+"))
        ready = [stretch for piece in pieces for stretch in buffer.push(piece)]
        return [*ready, buffer.flush()]

    cuts = sorted(cuts)
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert stretches(pieces) == stretches([text])
    assert "".join(stretches([text])) == text


# v1/speak


async def test_aura_speaks_what_is_flushed():
    stream = await aura(speak("0 1 2"), FLUSH, speak("3 4"), FLUSH, CLOSE)
    assert stream.failure is None
    assert stream.kinds == ["Metadata", "audio", "Flushed", "audio", "Flushed"]
    assert [message["sequence_id"] for message in stream.of("Flushed")] == [0, 1]
    assert numbers_in(stream.audio) == [0, 1, 2, 3, 4]
    # 100 ms a word at 24 kHz, in messages of 40 ms.
    assert len(stream.audio) == 5 * 4_800
    assert max(len(message) for message in stream.heard if isinstance(message, bytes)) == 1_920


async def test_aura_s_messages_have_the_sdk_s_fields():
    model = WatermarkAura(flushes=1)
    stream = await aura(speak("0"), FLUSH, FLUSH, CLEAR, CLOSE, model=model)
    types = {
        "Metadata": SpeakV1Metadata,
        "Flushed": SpeakV1Flushed,
        "Warning": SpeakV1Warning,
        "Cleared": SpeakV1Cleared,
    }
    for message in stream.told:
        known = types[message["type"]].model_fields
        required = {name for name, known_field in known.items() if known_field.is_required()}
        assert required <= set(message) <= set(known)


async def test_words_may_come_in_pieces():
    said = [speak(piece) for piece in ("1", "2 3", "4 ", "5")]
    stream = await aura(*said, FLUSH, CLOSE)
    assert numbers_in(stream.audio) == [12, 34, 5]


async def test_whole_words_are_spoken_before_the_flush():
    stream = await aura(speak("1 2 3"), has_audio(9_600), FLUSH, CLOSE)
    assert numbers_in(stream.audio) == [1, 2, 3]


async def test_a_close_speaks_what_is_left():
    stream = await aura(speak("1 2"), CLOSE, speak("3"))
    assert numbers_in(stream.audio) == [1, 2]
    assert stream.of("Flushed") == []


async def test_an_end_of_the_input_cuts_the_tail_off():
    stream = await aura(speak("1 2"), CLOSE, ends=True, model=WatermarkAura(pace=1.0))
    assert len(stream.audio) < 9_600
    assert stream.failure is None


async def test_a_clear_drops_what_was_not_sent():
    model = WatermarkAura(pace=10.0)
    words = " ".join(map(str, range(50)))
    stream = await aura(
        speak(words), FLUSH, has_audio(4_800), CLEAR, speak("99"), FLUSH, CLOSE, model=model
    )
    assert stream.kinds == ["Metadata", "audio", "Cleared", "audio", "Flushed"]
    *cleared, last = numbers_in(stream.audio)
    assert 0 < len(cleared) < 10
    assert last == 99
    # The Flush that was cleared with its text has used up no number.
    assert stream.of("Flushed")[0]["sequence_id"] == 0


@pytest.mark.parametrize(("together", "numbers"), [(False, [0, 0, 1]), (True, [0, 1, 2])])
async def test_answers_are_counted_apart_or_together(together, numbers):
    said = [speak("0"), FLUSH, has("Flushed"), CLEAR, speak("1"), FLUSH, CLOSE]
    stream = await aura(*said, model=WatermarkAura(counted_together=together))
    answers = [message for message in stream.told if "sequence_id" in message]
    assert [message["type"] for message in answers] == ["Flushed", "Cleared", "Flushed"]
    assert [message["sequence_id"] for message in answers] == numbers


async def test_twenty_flushes_a_minute():
    said = [message for n in range(21) for message in (speak(str(n)), FLUSH)]
    stream = await aura(*said, CLOSE)
    assert [message["sequence_id"] for message in stream.of("Flushed")] == list(range(20))
    (warning,) = stream.of("Warning")
    assert warning["code"] == "EXCESSIVE_FLUSH"
    # Its text is still there, and is spoken with what follows.
    assert numbers_in(stream.audio) == list(range(21))


async def test_a_text_of_more_than_2000_characters_is_refused_whole():
    stream = await aura(speak("1 " * 1_001), speak("2"), FLUSH, CLOSE)
    assert "2000 characters" in stream.of("Warning")[0]["description"]
    assert numbers_in(stream.audio) == [2]


@pytest.mark.parametrize(
    ("encoding", "rate", "size"), [("linear16", 8_000, 1_600), ("mulaw", 8_000, 800)]
)
async def test_blocks_are_as_long_in_every_encoding(encoding, rate, size):
    query = {"encoding": encoding, "sample_rate": str(rate)}
    stream = await aura(speak("1 2"), FLUSH, CLOSE, query=query)
    assert [mark.end - mark.start for mark in read_marks(stream.audio)] == [size, size]


async def test_a_wav_header_comes_first_and_once():
    query = {"container": "wav", "encoding": "alaw"}
    stream = await aura(speak("1"), FLUSH, speak("2"), FLUSH, CLOSE, query=query)
    assert stream.audio[:4] == b"RIFF"
    assert stream.audio.count(b"RIFF") == 1
    assert len(stream.audio) == 44 + 2 * 800


async def test_another_voice_every_time():
    texts = " ".join(map(str, range(20)))
    model = WatermarkAura(varies=True, pause=0.05, seed=1)
    first, second = [await aura(speak(texts), FLUSH, CLOSE, model=model) for _ in range(2)]
    assert first.audio != second.audio
    assert numbers_in(first.audio) == numbers_in(second.audio) == list(range(20))


@pytest.mark.parametrize(
    ("message", "code"),
    [("what?", "DATA-0000"), ({"type": "KeepAlive"}, "DATA-0000"), (b"\0\0", "MESSAGE-0000")],
)
async def test_aura_refuses_what_it_does_not_know(message, code):
    stream = await aura(message)
    assert stream.failure[1].startswith(code)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"encoding": "mp3"}, "encoding=mp3"),
        ({"sample_rate": "44100"}, "sample_rate=44100"),
        ({"encoding": "mulaw", "sample_rate": "24000"}, "sample_rate=24000"),
        ({"container": "ogg"}, "container=ogg"),
    ],
)
async def test_aura_refuses_what_it_cannot_make(query, reason):
    stream = await aura(query=query)
    assert stream.failure[0] == "1008"
    assert reason in stream.failure[1]


async def test_a_client_that_is_gone_is_no_failure():
    stream = Scripted("v1/speak", [speak("1 2"), FLUSH])
    stream.gone = True
    await asyncio.wait_for(WatermarkAura()(stream), 10)
    assert stream.failure is None


# v2/speak


async def test_flux_speaks_turn_by_turn():
    stream = await flux(speak("0 1 2"), FLUSH, speak("3 4"), FLUSH, CLOSE)
    assert stream.failure is None
    turn = ["SpeechStarted", "audio", "Flushed", "audio", "SpeechMetadata"]
    assert stream.kinds == ["Connected", *turn, *turn, "SessionMetadata"]
    first, second = stream.of("SpeechMetadata")
    assert (first["audio_duration_ms"], first["input_character_count"]) == (300, 5)
    assert [first["speech_id"], second["speech_id"]] == [
        message["speech_id"] for message in stream.of("SpeechStarted")
    ]
    assert re.fullmatch(r"dg_sp_[0-9a-f]{12}", first["speech_id"])
    assert stream.of("SessionMetadata") == [
        {
            "type": "SessionMetadata",
            "total_audio_duration_ms": 500,
            "total_input_character_count": 8,
            "total_billable_character_count": 8,
        }
    ]


@pytest.mark.parametrize(
    ("flushed", "kinds"),
    [("late", ["SpeechMetadata", "Flushed"]), ("never", ["audio", "SpeechMetadata"])],
)
async def test_flushed_may_come_last_or_not_at_all(flushed, kinds):
    stream = await flux(speak("0 1"), FLUSH, CLOSE, model=WatermarkAura(flushed=flushed))
    assert stream.kinds[-3:] == [*kinds, "SessionMetadata"]


async def test_flux_s_messages_have_the_sdk_s_fields():
    stream = await flux(
        interrupt(),
        FLUSH,
        speak("0 1"),
        FLUSH,
        has("SpeechMetadata"),
        interrupt(150),
        {"type": "Configure", "speed": 1.25},
        {"type": "Configure", "speed": 9},
        CLOSE,
    )
    told = {message["type"] for message in stream.told}
    assert len(told) == 9
    for message in stream.told:
        known = getattr(v2, f"SpeakV2{message['type']}").model_fields
        required = {name for name, known_field in known.items() if known_field.is_required()}
        assert required <= set(message) <= set(known)


async def test_an_interrupt_tells_what_was_heard():
    stream = await flux(
        speak("0 1 2 3 4"), FLUSH, has("SpeechMetadata"), interrupt(250), speak("5"), FLUSH, CLOSE
    )
    (interrupted,) = stream.of("SpeechInterrupted")
    assert interrupted["audio_played_ms"] == 250
    assert interrupted["text_spoken"] == "0 1"
    assert interrupted["text_remaining"] == "2 3 4"
    assert interrupted["metadata"]["audio_duration_ms"] == 500
    # Audio that was not played does not count: 250 ms, and the next turn's 100.
    assert stream.of("SessionMetadata")[0]["total_audio_duration_ms"] == 350


async def test_an_interrupt_drops_the_turn_and_those_behind_it():
    words = " ".join(map(str, range(50)))
    stream = await flux(
        speak(words),
        FLUSH,
        speak("70 71"),
        FLUSH,
        has_audio(9_600),
        interrupt(),
        speak("80"),
        FLUSH,
        CLOSE,
        model=WatermarkAura(pace=10.0),
    )
    assert len(stream.of("SpeechStarted")) == 2
    (interrupted,) = stream.of("SpeechInterrupted")
    assert "text_spoken" not in interrupted
    (last,) = stream.of("SpeechMetadata")
    assert last["speech_id"] == stream.of("SpeechStarted")[1]["speech_id"]
    numbers = numbers_in(stream.audio)
    assert numbers[-1] == 80
    assert 70 not in numbers
    played = interrupted["audio_played_ms"]
    assert played == interrupted["metadata"]["audio_duration_ms"]
    assert stream.of("SessionMetadata")[0]["total_audio_duration_ms"] == played + 100


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([interrupt(10)], "NO_AUDIO_GENERATED"),
        ([FLUSH], "NO_ACTIVE_SPEECH"),
        (
            [speak("0 1"), FLUSH, has("SpeechMetadata"), interrupt(100), interrupt(100)],
            "INVALID_INTERRUPT_OFFSET",
        ),
        ([speak(" … "), FLUSH], "NO_SYNTHESIZABLE_TEXT"),
    ],
)
async def test_flux_warns(said, code):
    stream = await flux(*said, CLOSE)
    assert [message["code"] for message in stream.of("Warning")] == [code]
    assert stream.kinds[-1] == "SessionMetadata"


async def test_a_configure_changes_the_speed():
    configure = {"type": "Configure", "speed": 1.25}
    stream = await flux(speak("0"), FLUSH, configure, speak("1"), FLUSH, CLOSE)
    assert [m["audio_duration_ms"] for m in stream.of("SpeechMetadata")] == [100, 80]
    assert stream.of("ConfigureSuccess")[0]["applied"] == {"speed": 1.25}


@pytest.mark.parametrize(
    ("speed", "code"), [(1.6, "SPEED_OUT_OF_RANGE"), (1.01, "SPEED_INCREMENT_INVALID")]
)
async def test_a_configure_is_checked(speed, code):
    stream = await flux({"type": "Configure", "speed": speed}, CLOSE)
    (failure,) = stream.of("ConfigureFailure")
    assert (failure["code"], failure["field"], failure["value"]) == (code, "speed", speed)


@pytest.mark.parametrize(
    ("message", "code", "closed"),
    [
        ({"type": "Clear"}, "DATA-0000", "1008"),
        (speak("x" * 2_001), "BIG-0000", "1009"),
        ({"type": "Interrupt", "playback_offset": 7}, "DATA-0000", "1008"),
    ],
)
async def test_flux_says_what_is_wrong_and_ends(message, code, closed):
    stream = await flux(message)
    assert stream.of("Error")[0]["code"] == code
    assert stream.failure[0] == closed


async def test_flux_needs_a_model():
    stream = await serve(WatermarkAura(), "v2/speak", [])
    assert stream.failure == ("1008", "Bad request: model: must be given")
