"""A voice that is not the same twice: no click where two syntheses meet, and no word lost."""

import asyncio
import random
import zlib
from itertools import groupby

import numpy as np
import pytest
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.audio import AudioFormat, Encoding, RawDecoder
from deepgram_sagemaker.local.faults import AfterReplies, Fault, Reset
from deepgram_sagemaker.local.speak import SpeakService
from deepgram_sagemaker.local.speech.voice import ToneVoice
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from e2e.voices import LINEAR16, MULAW, script, speak

AT_ONCE = 8
# Behind how many messages of audio each leg ends, one row a session. A message is 40 ms.
PLACES = [(6,), (17,), (29,), (38,), (9, 17), (25, 30, 40)]
MORE = [
    (after, *range(after + 5, after + 5 * legs, 5)) for after in range(2, 48) for legs in (1, 3)
]
REACH = 0.05
"""Seconds between where the voice would go on and the quietest point near it, at most."""


async def spoken(model, version, turns, places, output=LINEAR16):
    """The speech of turns whose legs each end after the given number of messages."""
    faults = [Fault(Reset(), when=AfterReplies(at), legs=leg) for leg, at in enumerate(places, 1)]
    async with LocalEndpoint(model=model, faults=faults) as endpoint:
        config = endpoint.config(initial_backoff=0.01, max_backoff=0.05, replay_speed=None)
        said = await speak(config, version, turns, output=output)
        assert endpoint.stats.faults == len(faults)
    assert said.errors == []
    return said.audio


async def each(places, one):
    """A session for each row, some at a time."""
    some = asyncio.Semaphore(AT_ONCE)

    async def in_turn(row):
        async with some:
            try:
                await one(row)
            except BaseException as error:
                error.add_note(f"legs end behind {row} messages")
                raise

    await asyncio.gather(*map(in_turn, places))


# Tones: each word has its own pitch, and what does not belong there clicks.

SENTENCES = [["time", "wisdom", "season", "hope."], ["spring", "nothing", "time", "wisdom."]]


def tone_service(seed):
    """Speaks in tones that are a little longer or shorter, higher or lower, on every stream."""
    draws = random.Random(seed)

    def voice(output):
        return ToneVoice(output, random.Random(draws.random()))

    return SpeakService(voice, piece=0.04, pace=40.0)


def pitch(word):
    return 180.0 * 2 ** (zlib.crc32(word.encode()) % 24 / 12)


def samples_of(audio, output):
    """Returns the samples on the scale of 16 bits."""
    encoding = Encoding.MULAW if output is MULAW else Encoding.LINEAR16
    return RawDecoder(AudioFormat(encoding, output.rate, 1)).decode(audio)[:, 0] * 32768


def tones(samples, rate, words):
    """The words that tones stand for, in order."""
    size, step = round(0.04 * rate), round(0.01 * rate)
    window = np.hanning(size)
    pitches = np.log([pitch(word) for word in words])
    heard = []
    for start in range(0, len(samples) - size, step):
        frame = samples[start : start + size]
        if np.abs(frame).mean() < 1500:
            heard.append(None)
            continue
        spectrum = np.abs(np.fft.rfft(frame * window, 8 * size))
        hertz = max(1, np.argmax(spectrum)) * rate / (8 * size)
        heard.append(words[np.argmin(np.abs(pitches - np.log(hertz)))])
    runs = [(word, len(list(run)) * 0.01) for word, run in groupby(heard) if word]
    # Where one synthesis goes over into another, a frame may be of neither.
    lasting = [word for word, seconds in runs if seconds > 0.04]
    return [word for word, _ in groupby(lasting)]


def click(samples, rate):
    """The largest step from one sample to the next, over the largest within 20 ms around it."""
    steps = np.abs(np.diff(samples))
    reach = rate // 50
    padded = np.pad(steps, reach)
    # Its neighbours are part of it.
    largest = np.lib.stride_tricks.sliding_window_view(padded, reach - 1).max(axis=1)
    before, behind = largest[: len(steps)], largest[reach + 2 : reach + 2 + len(steps)]
    # Softer steps are inaudible.
    loud = steps >= 600
    around = np.maximum(np.maximum(before, behind), 1.0)
    return (steps / around)[loud].max(initial=0.0)


def test_a_hard_cut_is_a_click():
    time = np.arange(24_000) / 24_000
    tone = 8000 * np.sin(2 * np.pi * 300 * time)
    assert click(tone, 24_000) < 1.01
    assert click(np.concatenate((tone[:8_020], tone[8_060:])), 24_000) > 5
    assert (
        click(np.concatenate((tone, np.zeros(2_400), tone[:100], np.zeros(2_400))), 24_000) > 1.25
    )


def test_tones_are_words():
    words = sorted({word for words in SENTENCES for word in words}, key=pitch)
    voice = ToneVoice(type("Output", (), {"encoding": "linear16", "sample_rate": 24_000}))
    for said in SENTENCES:
        samples = samples_of(voice(" ".join(said), 1.0), LINEAR16)
        assert tones(samples, 24_000, words) == said
        assert click(samples, 24_000) < 1.25


@pytest.mark.patience(120)
@pytest.mark.parametrize(
    "places", [PLACES, pytest.param(MORE, marks=pytest.mark.full)], ids=["some", "more"]
)
@pytest.mark.parametrize("output", [LINEAR16, MULAW], ids=lambda output: output.name)
@pytest.mark.parametrize("version", [1, 2])
async def test_tones_are_joined_without_a_click(version, output, places):
    words = sorted({word for words in SENTENCES for word in words}, key=pitch)

    async def one(row):
        audio = await spoken(tone_service(str(row)), version, SENTENCES, row, output)
        samples = samples_of(audio, output)
        assert tones(samples, output.rate, words) == [*SENTENCES[0], *SENTENCES[1]]
        assert click(samples, output.rate) < 1.25

    await each(places, one)


# Blocks: each word repeats its number, so that its heard part can be measured.


def blocks(audio, words):
    """The words whose cells are in the audio, in order, each with its seconds."""
    runs, at = [], 0
    while at + 8 <= len(audio):
        cell = audio[at : at + 8]
        number = cell[1] | cell[2] << 7 | cell[3] << 14 | cell[4] << 21
        if cell[0] < 0x80 or max(cell[1:]) >= 0x80 or number not in words:
            at += LINEAR16.width
            continue
        at += len(cell)
        if not runs or runs[-1][0] != number:
            runs.append((number, 0.0))
        runs[-1] = (number, runs[-1][1] + len(cell) / LINEAR16.width / LINEAR16.rate)
    return runs


@pytest.mark.patience(120)
@pytest.mark.parametrize(
    "places", [PLACES, pytest.param(MORE, marks=pytest.mark.full)], ids=["some", "more"]
)
@pytest.mark.parametrize("version", [1, 2])
async def test_no_word_is_lost_and_none_is_said_twice(version, places):
    turns = script(2, 5)
    words = [word for words in turns for word in words]

    async def one(row):
        model = WatermarkAura(block=0.3, pause=0.1, varies=True, seed=sum(row), pace=40.0)
        heard = blocks(await spoken(model, version, turns, row), set(words))
        assert [word for word, _ in heard] == words
        for word, seconds in heard:
            assert 0.75 * 0.3 - 2 * REACH <= seconds <= 1.25 * 0.3 + 2 * REACH, (word, seconds)

    await each(places, one)
