"""The model on a stream: order, silence, refusals and ends, with a stream made of a list."""

import asyncio
import json
import struct
import threading
import time
from itertools import pairwise

import pytest
from deepgram_sagemaker.local.speech import SpeechModel, speech
from deepgram_sagemaker.local.speech.sample import TWO_CITIES_TEXT, two_cities, word_error_rate
from load import Stopwatch
from local.speech.sounds import count_halves, linear16, scene

RAW = {"encoding": ["linear16"], "sample_rate": ["16000"]}
CLOSE = '{"type":"CloseStream"}'


class Pause(float):
    """Seconds in which the client says nothing."""


class Scripted:
    """A stream whose client says what a list says, and then stays, or ends its input."""

    def __init__(self, said, *, query=None, path="v1/listen", ends=False):
        self.path, self.query = path, RAW if query is None else query
        self.said, self.ends = said, ends
        self.answers, self.failure, self.gone, self.taken = [], None, False, 0

    async def __aiter__(self):
        for message in self.said:
            if isinstance(message, Pause):
                await asyncio.sleep(message)
            else:
                self.taken += 1
                yield message
        if not self.ends:
            await asyncio.Event().wait()

    async def send(self, message):
        if self.gone:
            raise ConnectionResetError("the client is gone")
        self.answers.append(json.loads(message))

    async def fail(self, code, message):
        self.failure = (code, message)


async def serve(said, *, recognise=count_halves, silence_limit=10.0, **options):
    stream = Scripted(said, **options)
    await asyncio.wait_for(SpeechModel(recognise, silence_limit=silence_limit)(stream), 30)
    return stream


def chunks(data, size=640):
    return [data[start : start + size] for start in range(0, len(data), size)]


async def test_a_stream_ends_with_its_finals_and_the_metadata():
    stream = await serve([*chunks(linear16(scene(-1, 1, -1))), CLOSE])
    assert stream.failure is None
    assert [message["type"] for message in stream.answers] == ["Results", "Results", "Metadata"]
    assert stream.answers[-1]["duration"] == 3.0


async def test_control_messages_keep_their_place_in_the_audio():
    audio = chunks(linear16(scene(-0.5, 1)))
    configure = '{"type":"Configure","keyterms":["AWS"]}'
    stream = await serve([*audio, '{"type":"Finalize"}', configure, *audio, CLOSE])
    kinds = [message["type"] for message in stream.answers]
    assert kinds == ["Results", "ConfigureSuccess", "Results", "Results", "Metadata"]
    # The words are final at once. The end of speech is known only after some silence.
    finalized, _, paused, last, _ = stream.answers
    assert (finalized["from_finalize"], finalized["speech_final"]) == (True, False)
    assert (paused["from_finalize"], paused["speech_final"]) == (False, True)
    assert last["start"] + last["duration"] == 3.0


async def test_silence_ends_the_stream_as_the_service_would():
    stream = await serve([b"\0\0", Pause(60)], silence_limit=0.05)
    code, message = stream.failure
    assert code == "1011"
    assert "NET-0001" in message


async def test_keep_alive_is_heard_and_finalize_is_not():
    started = time.monotonic()
    said = [message for _ in range(4) for message in (Pause(0.1), '{"type":"KeepAlive"}')]
    said += [message for _ in range(9) for message in (Pause(0.1), '{"type":"Finalize"}')]
    stream = await serve(said, silence_limit=0.6)
    assert stream.failure is not None
    assert time.monotonic() - started >= 0.95
    # Finalize after Finalize would have gone on and on.
    assert 4 < stream.taken < 13


async def test_a_recogniser_that_takes_long_is_no_silence():
    def slow(samples):
        time.sleep(0.4)
        return count_halves(samples)

    audio = chunks(linear16(scene(-0.5, 1, -0.5)))
    stream = await serve([*audio, CLOSE], recognise=slow, silence_limit=0.2)
    assert stream.failure is None
    assert stream.answers[-1]["type"] == "Metadata"


async def test_the_event_loop_is_never_blocked():
    recognising, loops = threading.Event(), []

    def slow(samples):
        recognising.set()
        time.sleep(0.3)
        return count_halves(samples)

    async def tick():
        await asyncio.to_thread(recognising.wait)
        for _ in range(20):
            watch = Stopwatch()
            await asyncio.sleep(0.005)
            loops.append(watch.seconds)

    ticking = asyncio.create_task(tick())
    await serve([linear16(scene(-0.5, 1, -1)), CLOSE], recognise=slow)
    await ticking
    assert max(loops) < 0.2


async def test_interim_results_are_given_up_when_audio_comes_in_bulk():
    query = RAW | {"interim_results": ["true"]}
    paced = [part for chunk in chunks(linear16(scene(2)), 6_400) for part in (chunk, Pause(0.002))]
    stream = await serve([*paced, CLOSE], query=query)
    assert not all(message.get("is_final", True) for message in stream.answers)
    stream = await serve([linear16(scene(2)), CLOSE], query=query)
    assert all(message.get("is_final", True) for message in stream.answers)


async def test_ending_the_input_cuts_the_tail_off():
    stream = await serve(chunks(linear16(scene(-0.5, 1))), ends=True)
    assert (stream.answers, stream.failure) == ([], None)


@pytest.mark.parametrize(
    ("path", "query", "reason"),
    [
        (
            "v1/read",
            {},
            "v2/speak, v1/agent/converse, not v1/read",
        ),
        ("", {}, "not no path"),
        ("v1/listen", {"encoding": ["opus"]}, "encoding=opus"),
    ],
)
async def test_what_is_not_served_is_refused(path, query, reason):
    stream = await serve([], path=path, query=query)
    assert stream.failure[0] == "1008"
    assert reason in stream.failure[1]


async def test_what_cannot_be_decoded_is_refused():
    stream = await serve([b"OggS and so on"], query={})
    assert stream.failure[0] == "1008"
    assert stream.failure[1].startswith("DATA-0000")


@pytest.mark.parametrize("text", ["what?", '{"type":"Configure","keyterms":7}'])
async def test_a_text_that_is_not_understood_is_told_and_ends_the_stream(text):
    stream = await serve([text])
    assert [message["variant"] for message in stream.answers] == ["SchemaError"]
    assert stream.answers[0]["message"] == text
    assert stream.failure[0] == "1008"


async def test_a_client_that_is_gone_is_no_failure():
    stream = Scripted([*chunks(linear16(scene(1, -1))), CLOSE])
    stream.gone = True
    await SpeechModel(count_halves)(stream)
    assert stream.failure is None


async def test_a_recogniser_that_breaks_fails_the_stream():
    def broken(_):
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        await serve([linear16(scene(1, -1)), CLOSE], recognise=broken)


async def test_cancellation_leaves_neither_task_nor_thread():
    before = asyncio.all_tasks()
    serving = asyncio.create_task(SpeechModel(count_halves)(Scripted([b"\0\0" * 320])))
    await asyncio.sleep(0.05)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert asyncio.all_tasks() == before
    for _ in range(100):
        if not any(thread.name.startswith("speech") for thread in threading.enumerate()):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the worker's thread is still there")


def finals(stream):
    results = [message for message in stream.answers if message["type"] == "Results"]
    return [message for message in results if message["is_final"]]


async def recognise_for_real(said, query):
    stream = Scripted([*said, CLOSE], query=query)
    await asyncio.wait_for(speech(stream), 120)
    assert stream.failure is None
    for before, after in pairwise(finals(stream)):
        assert round(before["start"] + before["duration"], 6) == after["start"]
    text = " ".join(m["channel"]["alternatives"][0]["transcript"] for m in finals(stream))
    return stream, word_error_rate(TWO_CITIES_TEXT, text)


@pytest.mark.patience(180)
async def test_a_real_recording_is_recognised():
    file = two_cities().read_bytes()
    stream, errors = await recognise_for_real(chunks(file, 9_600), {"smart_format": ["true"]})
    assert errors <= 0.15
    assert stream.answers[-1]["duration"] == 44.374125
    # A word that can be placed by ear: the recording starts to speak at 1.2 s.
    first = finals(stream)[0]["channel"]["alternatives"][0]["words"][0]
    assert first["word"] == "it"
    assert first["start"] == pytest.approx(1.2, abs=0.15)


@pytest.mark.patience(180)
async def test_a_real_recording_is_recognised_over_the_telephone():
    """Converts crudely to 8 kHz mu-law: every sixth sample, and the nearest code."""
    from deepgram_sagemaker.local.audio import AudioFormat, Encoding, RawDecoder, Resampler

    file = two_cities().read_bytes()
    at = file.index(b"data")
    size = struct.unpack_from("<I", file, at + 4)[0]
    wide = RawDecoder(AudioFormat(Encoding.LINEAR16, 48_000, 1)).decode(file[at + 8 :][:size])
    narrow = Resampler(48_000, 8_000).push(wide[:, 0])
    table = RawDecoder(AudioFormat(Encoding.MULAW, 8_000, 1)).decode(bytes(range(256)))[:, 0]
    order = table.argsort()
    codes = order[table[order].searchsorted(narrow).clip(0, 255)].astype("u1").tobytes()
    _, errors = await recognise_for_real(chunks(codes, 3_200), {"encoding": ["mulaw"]})
    assert errors <= 0.2
