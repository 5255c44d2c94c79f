"""The matrix for speech, of Aura and of Flux: every word once, in order, to the byte."""

import asyncio

import pytest
from deepgram.speak.v2.types import SpeakV2Interrupt
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterReplies,
    Drop,
    EndEarly,
    Fault,
    ModelStreamError,
    OnMessage,
    OnNextOpen,
    Reset,
)
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from e2e.matrix import BREAKS, PATTERNS, REFUSALS, impatient, parameters
from e2e.voices import BLOCK, LINEAR16, MULAW, NARROW, WAV, assert_aura, assert_flux, script, speak

OUTPUTS = {output.name: output for output in (LINEAR16, NARROW, MULAW, WAV)}

SHORT, LONG = 3, 16
"""Turns."""
WORDS = 5

PLACES = ("on-speak", "on-flush", "after-close", "during-rollover")
FAULTS = (*BREAKS, *REFUSALS, *PLACES)
WAYS = {"at-once": {}, "in-turn": {"in_turn": True}}

# A word is three messages of audio, and a turn 15, with one to four others: a leg that ends after
# ONE_TURN messages has said one turn, and ends somewhere in the next.
ONE_TURN, PIECES = 21, 15


def somewhere(leg):
    """After which message a leg ends: another place on each leg."""
    return ONE_TURN + 7 * leg % PIECES


def faults_for(name, pattern):
    if name in PLACES:
        action = Reset() if pattern != "often" else EndEarly()
        times = {"once": 1, "thrice": 3, "often": 2}[pattern]
        when = {
            "on-speak": OnMessage("Speak"),
            "on-flush": OnMessage("Flush"),
            "after-close": OnMessage("Close"),
            "during-rollover": OnNextOpen(),
        }[name]
        # A clean end twice without progress after Close is the end, with a warning.
        times = 1 if name != "during-rollover" and pattern == "often" else times
        return [Fault(action, when=when, times=times)]
    action = BREAKS.get(name, Reset())
    if pattern == "once":
        breaks, opens = [Fault(action, when=AfterReplies(10), legs=1)], [2]
    elif pattern == "thrice":
        # The same end counts where Close has been sent.
        last = 1 if name == "early-end" else 3
        breaks = [Fault(action, when=AfterReplies(6), legs=(1, last))]
        opens = [2, 3, 4]
    else:
        # Each reset costs a refused open before the next.
        legs = range(1, 3 * LONG, 2 if name in REFUSALS else 1)
        breaks = [Fault(action, when=AfterReplies(somewhere(leg)), legs=leg) for leg in legs]
        opens = [leg + 1 for leg in legs]
    if name not in REFUSALS:
        return breaks
    if pattern == "thrice":
        breaks = [Fault(action, when=AfterReplies(10), legs=1)]
    return [*breaks, *(Fault(REFUSALS[name], legs=leg) for leg in opens)]


async def survive(version, fault, pattern, output, way, **settings):
    """Runs one row of the matrix; returns the application's messages and the turns asked for."""
    turns = script(LONG if pattern == "often" and fault not in PLACES else SHORT, WORDS)
    if fault == "silence" and pattern == "often":
        # Each costs a stall_timeout of real time.
        turns = turns[:6]
    # A break loses what was on its way: legs that say everything at once and break
    # get nowhere.
    pace = 4.0 if fault == "during-rollover" else 30.0
    model = WatermarkAura(block=BLOCK, flushes=1000, pace=pace, **settings)
    async with LocalEndpoint(model=model, faults=faults_for(fault, pattern)) as endpoint:
        config = impatient(endpoint, rolls_over=fault == "during-rollover")
        said = await speak(config, version, turns, output=OUTPUTS[output], **WAYS[way])
        # Where everything was sent at once, Close included, no second leg is opened in good time.
        assert endpoint.stats.faults > 0 or (fault == "during-rollover" and way == "at-once")
        assert endpoint.stats.signature_failures == 0
    return said, turns


@pytest.mark.patience(60)
@pytest.mark.parametrize(
    ("fault", "pattern", "output", "way"), parameters(FAULTS, PATTERNS, OUTPUTS, WAYS, few=18)
)
async def test_aura_survives(fault, pattern, output, way):
    said, turns = await survive(1, fault, pattern, output, way)
    assert_aura(said, turns, OUTPUTS[output])


@pytest.mark.patience(60)
@pytest.mark.parametrize(
    ("fault", "pattern", "output", "way", "flushed"),
    parameters(
        FAULTS,
        PATTERNS,
        [output for output in OUTPUTS if output != WAV.name],
        WAYS,
        ("early", "late", "never"),
        few=18,
    ),
)
async def test_flux_survives(fault, pattern, output, way, flushed):
    said, turns = await survive(2, fault, pattern, output, way, flushed=flushed)
    assert_flux(said, turns, OUTPUTS[output], flushed=flushed)


def long_turn(words=60):
    return list(range(1000, 1000 + words))


async def cancel(version, faults, *, offset=None):
    """Cancels a long turn in its middle, then has another one spoken; what the application got."""
    turns = [long_turn(), *script(2, WORDS)]
    model = WatermarkAura(block=BLOCK, flushes=1000, pace=20.0)

    async def act(connection, number, said):
        if number != 1:
            return
        async with asyncio.timeout(20):
            while len(said.audio) < len(LINEAR16.said(turns[0][:10])):  # noqa: ASYNC110 - counted
                await asyncio.sleep(0.005)
        if version == 1:
            await connection.send_clear()
        else:
            offset_ms = {"type": "time_ms", "value": offset}
            await connection.send_interrupt(SpeakV2Interrupt(playback_offset=offset_ms))

    async with LocalEndpoint(model=model, faults=faults) as endpoint:
        said = await speak(impatient(endpoint), version, turns, act=act)
        assert endpoint.stats.faults == len(faults)
        assert endpoint.stats.signature_failures == 0
    assert said.errors == []
    return said, turns


# Before the turn is cancelled, when that is asked, and when the next turn is.
CANCELLED = {
    "before": lambda kind: [Fault(Reset(), when=AfterReplies(20), legs=1)],
    "asked": lambda kind: [Fault(Reset(), when=OnMessage(kind), legs=1)],
    "asked-twice": lambda kind: [Fault(Reset(), when=OnMessage(kind), legs=leg) for leg in (1, 2)],
    "all-of-it": lambda kind: [
        Fault(Reset(), when=AfterReplies(20), legs=1),
        Fault(Drop(), when=OnMessage(kind), legs=2),
        Fault(ModelStreamError(), when=AfterReplies(5), legs=3),
    ],
}


@pytest.mark.parametrize("place", CANCELLED)
async def test_what_was_cleared_is_not_said_again(place):
    said, turns = await cancel(1, CANCELLED[place]("Clear"))
    assert said.kinds == ["Metadata", "audio", "Cleared", "audio", "Flushed", "audio", "Flushed"]
    cleared, *others = said.of("audio")
    assert LINEAR16.said(turns[0]).startswith(cleared)
    assert len(cleared) < len(LINEAR16.said(turns[0]))
    assert others == [LINEAR16.said(words) for words in turns[1:]]
    # This service counts them apart. If no leg has both, that is unknown: they count together.
    numbers = [1, 2] if place == "all-of-it" else [0, 1]
    assert [message.sequence_id for message in said.of("Flushed")] == numbers
    assert [message.sequence_id for message in said.of("Cleared")] == [0]


@pytest.mark.parametrize("place", CANCELLED)
async def test_what_was_interrupted_is_not_said_again(place):
    played = 730
    said, turns = await cancel(2, CANCELLED[place]("Interrupt"), offset=played)
    (interrupted,) = said.of("SpeechInterrupted")
    at = said.messages.index(interrupted)
    before = b"".join(message for message in said.messages[:at] if isinstance(message, bytes))
    assert LINEAR16.said(turns[0]).startswith(before)
    assert interrupted.audio_played_ms == played
    assert interrupted.text_spoken == " ".join(map(str, turns[0][:7]))
    started, ended = said.of("SpeechStarted"), said.of("SpeechMetadata")
    ids = [message.speech_id for message in started]
    assert len(set(ids)) == len(ids) == 3
    assert interrupted.metadata.speech_id == ids[0]
    assert [message.speech_id for message in ended] == ids[1:]
    rest = said.audio[len(before) :]
    assert rest == b"".join(LINEAR16.said(words) for words in turns[1:])
    (total,) = said.of("SessionMetadata")
    assert total.total_audio_duration_ms == played + 2 * WORDS * round(BLOCK * 1000)
