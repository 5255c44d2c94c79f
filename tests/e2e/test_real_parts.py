"""Real speech through all parts: Aura, Nova and Flux, with resets on the way."""

import asyncio
import random
from array import array
from dataclasses import dataclass
from functools import cached_property

import pytest
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import AfterNewAudio, AfterReplies, Fault, Reset
from deepgram_sagemaker.local.speak import AudioOutput
from deepgram_sagemaker.local.speech import SpeechModel
from deepgram_sagemaker.local.speech.sample import word_error_rate
from deepgram_sagemaker.local.speech.voice import espeak, speaking_voices
from e2e import flux, survival
from e2e.voices import Output, speak
from sessions import until

# Tones are not words.
pytestmark = pytest.mark.skipif(espeak() is None, reason="needs espeak-ng")

RATE, WIDTH = 16_000, 2
CHUNK = 0.1
SIZE = round(CHUNK * RATE) * WIDTH
SPEED = 6.0
"""Times real time, where the recogniser keeps up."""
AHEAD = 8.0
"""Seconds of audio sent before its finals, at most."""
HEARD = Output("linear16-16k", {"encoding": "linear16", "sample_rate": str(RATE)}, RATE, WIDTH)

TEXTS = [
    "It was the best of times, it was the worst of times.",
    "We had everything before us, we had nothing before us.",
    "The period was so far like the present period.",
    "Some of its noisiest authorities insisted on being received.",
]
SENTENCES = [
    "The morning train was late again.",
    "Please open the window a little.",
    "My brother lives in a small house.",
    "The weather will be better tomorrow.",
    "She bought bread and cheese today.",
    "We can meet in front of the station.",
    "The children are playing in the garden.",
    "I would like a cup of coffee.",
    "The meeting starts at nine in the morning.",
    "Thank you for your help this evening.",
]


@dataclass(frozen=True)
class Speech:
    """Raw audio, in chunks of a tenth of a second."""

    audio: bytes
    name: str = "speech"
    query = HEARD.query
    header = b""
    seconds_a_chunk = CHUNK

    @cached_property
    def chunks(self):
        return -(-len(self.audio) // SIZE)

    def chunk(self, number):
        return self.audio[number * SIZE :][:SIZE]


def settings(endpoint):
    return endpoint.config(
        initial_backoff=0.01, max_backoff=0.05, max_retries=100, retry_budget=300
    )


async def said(*, resets, varies):
    """The texts as Aura says them, a turn each."""
    faults = [Fault(Reset(), when=AfterReplies(12), legs=(1, 2))] if resets else []
    model = SpeechModel(voices=speaking_voices(varies=varies))
    async with LocalEndpoint(model=model, faults=faults) as endpoint:
        turns = [text.split() for text in TEXTS]
        spoken = await speak(settings(endpoint), 1, turns, output=HEARD, in_turn=True)
        assert endpoint.stats.faults == (2 if resets else 0)
    assert spoken.errors == []
    assert spoken.kinds == ["Metadata", *["audio", "Flushed"] * len(TEXTS)]
    return spoken.audio


async def heard(audio, *, resets):
    """Nova's transcript."""
    faults = [Fault(Reset(), when=AfterNewAudio(4.0), times=None)] if resets else []
    speech = Speech(audio + quiet(0.5, random.Random(0)))
    async with LocalEndpoint(model="speech", faults=faults) as endpoint:

        async def wait(factory, sent):
            await asyncio.sleep(CHUNK / SPEED)
            await until(
                lambda: sent * CHUNK - factory.stats.seconds_acknowledged <= AHEAD, within=60
            )

        results = await survival.converse(
            settings(endpoint), speech, speech.chunks, wait=wait, interim=False
        )
        assert endpoint.stats.faults >= (2 if resets else 0)
    assert results.errors == []
    return " ".join(result.channel.alternatives[0].transcript for result in results.results)


def quiet(seconds, draws):
    # Nowhere the same: the start of a replay distinguishes it from new audio.
    return array("h", draws.choices(range(-2, 3), k=round(seconds * RATE))).tobytes()


@pytest.mark.patience(240)
@pytest.mark.parametrize("varies", [False, pytest.param(True, marks=pytest.mark.full)])
async def test_what_aura_says_nova_hears_with_resets_on_both_ways(varies):
    plain = await said(resets=False, varies=varies)
    broken = await said(resets=True, varies=varies)
    # The same voice says the same, to the sample.
    assert varies or broken == plain
    expected = " ".join(TEXTS)
    texts = await asyncio.gather(heard(plain, resets=False), heard(broken, resets=True))
    without, with_resets = [word_error_rate(expected, text) for text in texts]
    assert without <= 0.25, texts
    # Joined speech is other speech: it may be understood a little better or worse.
    assert with_resets <= without + (0.08 if varies else 0.0), texts


TURN, INTO = 4.0, 1.5
"""Seconds from the start of one sentence to the next, and how far into it a leg ends."""


@pytest.fixture(scope="module")
def conversation():
    """Ten sentences with pauses between them, each in a stretch of the same length."""
    voice = speaking_voices()(AudioOutput("linear16", RATE))
    draws = random.Random(0)
    audio = quiet(TURN - INTO, draws)
    for sentence in SENTENCES:
        spoken = voice(sentence, 1.0)
        assert len(spoken) < (TURN - 1.2) * RATE * WIDTH
        audio += spoken + quiet(TURN - len(spoken) / WIDTH / RATE, draws)
    return Speech(audio)


async def turns(speech, *, resets):
    """The turns that Flux hears."""
    faults = [Fault(Reset(), when=AfterNewAudio(TURN), times=None)] if resets else []
    async with LocalEndpoint(model="speech", faults=faults) as endpoint:

        async def wait(sent, told):
            await asyncio.sleep(CHUNK / SPEED)
            ended = [0.0]
            async with asyncio.timeout(60):
                while sent * CHUNK - ended[-1] > AHEAD:
                    ended += [end.audio_window_end for end in told.ends[-1:]]
                    await asyncio.sleep(0.01)

        told = await flux.converse(settings(endpoint), speech, speech.chunks, wait=wait)
    assert told.errors == []
    assert [message.sequence_id for message in told.messages] == list(range(len(told.messages)))
    return told


@pytest.mark.patience(300)
async def test_ten_turns_with_a_reset_in_each_are_the_same_ten_turns(conversation):
    plain, broken = await asyncio.gather(
        turns(conversation, resets=False), turns(conversation, resets=True)
    )
    assert len(plain.ends) == len(SENTENCES)
    expected = " ".join(SENTENCES)
    assert word_error_rate(expected, " ".join(end.transcript for end in plain.ends)) <= 0.25
    assert sum(broken.stats.resets.values()) == len(SENTENCES)
    assert [end.transcript for end in broken.ends] == [end.transcript for end in plain.ends]
    assert [end.turn_index for end in broken.ends] == list(range(len(SENTENCES)))
    for one, other in zip(broken.ends, plain.ends, strict=True):
        # A leg's steps of 80 ms count from where it begins.
        assert abs(one.audio_window_end - other.audio_window_end) <= 0.161
    starts = [event for event in broken.events if event == "StartOfTurn"]
    assert len(starts) == len(SENTENCES)
