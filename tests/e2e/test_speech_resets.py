"""Real speech whose stream is reset many times: the captions hardly differ."""

import asyncio
import random
import wave
from array import array
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise

import pytest
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import AfterNewAudio, Fault, Reset
from deepgram_sagemaker.local.speech.sample import TWO_CITIES_TEXT, two_cities, word_error_rate
from e2e.survival import MICROSECOND, converse
from sessions import until

EVERY = 5.0
"""Seconds of audio not heard before, from one reset to the next."""
TOLERATED = 0.06
"""Word errors above the run without resets."""
SPEED = 3.0
"""Times real time, where the recogniser keeps up."""
AHEAD = 12.0
"""Seconds of audio sent before its finals, at most: more than the longest sentence has."""

NEAR = 0.5
"""Seconds: how well this recogniser places words and pauses, cut here or there."""

RATE, WIDTH, CHUNK = 48_000, 2, 0.1
SIZE = round(CHUNK * RATE) * WIDTH
UTTERANCES = {"utterance_end_ms": "1000", "endpointing": "300", "vad_events": "true"}


@dataclass(frozen=True)
class Recording:
    """The recording after some silence, so that resets fall into other places of it."""

    silence: float = 0.0

    @property
    def query(self):
        return {"encoding": "linear16", "sample_rate": str(RATE)}

    @cached_property
    def audio(self):
        with wave.open(str(two_cities())) as file:
            assert file.getparams()[:3] == (1, WIDTH, RATE)
            # Not all zeros: the start of a replay distinguishes it from new audio.
            samples = random.Random(0).choices(range(-2, 3), k=round(self.silence * RATE))
            return array("h", samples).tobytes() + file.readframes(file.getnframes())

    @property
    def seconds(self):
        return len(self.audio) / WIDTH / RATE

    @property
    def chunks(self):
        return -(-len(self.audio) // SIZE)

    def chunk(self, number):
        return self.audio[number * SIZE :][:SIZE]


async def captions(recording, *, resets, interim=False, **query):
    """Returns the recording's results. Finals tile it, and words lie within it."""
    faults = [Fault(Reset(), when=AfterNewAudio(EVERY), times=None)] if resets else []
    async with LocalEndpoint(model="speech", faults=faults) as endpoint:
        config = endpoint.config(
            initial_backoff=0.01, max_backoff=0.05, max_retries=100, retry_budget=300
        )

        async def wait(factory, sent):
            await asyncio.sleep(CHUNK / SPEED)
            await until(
                lambda: sent * CHUNK - factory.stats.seconds_acknowledged <= AHEAD, within=60
            )

        heard = await converse(
            config, recording, recording.chunks, interim=interim, wait=wait, **query
        )
    assert heard.errors == []
    assert heard.stats.seconds_lost == 0
    if resets:
        assert sum(heard.stats.resets.values()) >= recording.seconds // EVERY - 1
    reached = 0.0
    for start, duration in heard.finals[0]:
        assert abs(start - reached) <= MICROSECOND
        reached = start + duration
    assert abs(reached - recording.seconds) <= MICROSECOND
    (metadata,) = heard.metadata
    assert abs(metadata.duration - recording.seconds) <= MICROSECOND
    said = words(heard)
    assert all(before.start <= after.start for before, after in pairwise(said))
    assert said[-1].end <= recording.seconds
    return heard


def words(heard):
    return [word for result in heard.results for word in result.channel.alternatives[0].words]


def errors(heard):
    texts = (result.channel.alternatives[0].transcript for result in heard.results)
    return word_error_rate(TWO_CITIES_TEXT, " ".join(texts))


async def with_and_without(recording, **query):
    return await asyncio.gather(
        captions(recording, resets=False, **query), captions(recording, resets=True, **query)
    )


def assert_same_clock(heard, plain):
    """Words that both runs understood have the same times in both."""
    ours, theirs = words(heard), words(plain)
    alike = SequenceMatcher(None, [w.word for w in ours], [w.word for w in theirs], autojunk=False)
    for a, b, size in alike.get_matching_blocks():
        for one, other in zip(ours[a : a + size], theirs[b : b + size], strict=True):
            assert abs(one.start - other.start) <= NEAR, (one.word, one.start, other.start)
            assert abs(one.end - other.end) <= NEAR, (one.word, one.end, other.end)


def assert_closed_once(heard):
    """Each utterance that began ended once, before the next began."""
    closes = [result for result in heard.results if result.speech_final]
    assert len(closes) == len(heard.started)
    for began, close in zip(heard.started, closes, strict=True):
        assert began < close.start + close.duration
    for close, began in zip(closes, heard.started[1:], strict=False):
        assert close.start + close.duration <= began
    ends = [word.end for word in words(heard)]
    assert heard.ended == sorted(set(heard.ended))
    for ended in heard.ended:
        assert min(abs(end - ended) for end in ends) <= MICROSECOND


@pytest.mark.patience(300)
async def test_captions_and_utterances_survive_resets():
    plain, heard = await with_and_without(Recording(), interim=True, **UTTERANCES)
    assert errors(heard) <= errors(plain) + TOLERATED
    assert_same_clock(heard, plain)
    assert_closed_once(plain)
    assert_closed_once(heard)
    assert plain.ended
    assert heard.started == pytest.approx(plain.started, abs=NEAR)
    assert heard.ended == pytest.approx(plain.ended, abs=NEAR)


@pytest.mark.full
@pytest.mark.patience(900)
async def test_word_errors_wherever_the_resets_come():
    more = []
    for silence in (0.0, 1.25, 2.5, 3.75):
        plain, heard = await with_and_without(Recording(silence))
        assert_same_clock(heard, plain)
        more.append(errors(heard) - errors(plain))
    assert sum(more) / len(more) <= TOLERATED, more
