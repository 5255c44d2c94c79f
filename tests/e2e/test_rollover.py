"""Rollover under live audio: it loses nothing and delays nothing."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from e2e.survival import LINEAR16, OGG, assert_whole, converse

PACE = 0.02
CHUNKS = 750
"""15 s."""
ALLOWED = 0.1
LATE = 3.0


def waits(heard, legs):
    """From sending each chunk to the server's having it, in seconds; of those that were sent once
    the session was up, before which all of them wait for it to connect."""
    arrived = {}
    for leg in legs:
        for number, when in leg.arrivals:
            arrived[number] = min(when, arrived.get(number, when))
    up = min(arrived.values())
    return [arrived[number] - sent for number, (sent, _) in enumerate(heard.sent) if sent > up]


def resends(legs):
    """For each leg after the first, how long its backlog took to arrive, and in how many chunks."""
    arrivals = [leg.arrivals for leg in legs if leg.arrivals]
    for before, after in pairwise(arrivals):
        latest = max(number for number, _ in before)
        again = [when for number, when in after if number <= latest]
        yield (again[-1] - again[0] if again else 0.0), len(again)


async def at_once(sessions):
    """Plays sessions by name: each audio, the model's lateness, settings. What each heard, and its
    legs."""
    async with AsyncExitStack() as stack:
        endpoints = {
            name: await stack.enter_async_context(
                LocalEndpoint(model=Watermark(late_seconds=late), record_arrivals=True)
            )
            for name, (_, late, _) in sessions.items()
        }
        everything = await asyncio.gather(
            *(
                converse(
                    endpoints[name].config(**settings), audio, CHUNKS, pace=PACE, interim=False
                )
                for name, (audio, _, settings) in sessions.items()
            )
        )
        heard = dict(zip(sessions, everything, strict=True))
        for name, each in heard.items():
            assert_whole(each, sessions[name][0], CHUNKS)
            assert each.stats.resets == {}
            assert each.stats.seconds_lost == 0
        return {name: (heard[name], endpoints[name].legs) for name in sessions}


@pytest.mark.patience(120)
async def test_a_rollover_a_second():
    played = await at_once(
        {
            "plain": (LINEAR16, 0.0, {"max_leg_age": None}),
            "rollover": (LINEAR16, 0.0, {"max_leg_age": 1.0}),
            "late": (LINEAR16, LATE, {"max_leg_age": 1.0}),
        }
    )
    rollovers = {name: heard.stats.rollovers for name, (heard, _) in played.items()}
    assert rollovers["plain"] == 0
    assert rollovers["rollover"] >= 8
    assert rollovers["late"] >= 8
    longest = {name: max(waits(*each)) for name, each in played.items()}

    assert longest["rollover"] <= longest["plain"] + ALLOWED

    took = list(resends(played["late"][1]))
    # The backlog is there: what the results are late by, at least.
    assert max(count for _, count in took) >= LATE / PACE
    slowest = max(seconds for seconds, _ in took)
    assert longest["late"] <= longest["plain"] + ALLOWED + slowest
    # At full speed, and not at any multiple of real time that one would set.
    assert slowest <= LATE / 10


@pytest.mark.patience(120)
async def test_other_audio_rolls_over_unheard():
    """A new leg hears everything again, at a pace, while the old one still speaks."""
    played = await at_once(
        {
            "plain": (OGG, 0.0, {"max_leg_age": None}),
            "rollover": (OGG, 0.0, {"max_leg_age": 1.0}),
            "late": (OGG, LATE, {"max_leg_age": 1.0, "replay_speed": 20.0}),
        }
    )
    assert played["plain"][0].stats.rollovers == 0
    longest = {name: max(waits(*each)) for name, each in played.items()}
    for name in ("rollover", "late"):
        heard, legs = played[name]
        assert heard.stats.rollovers >= 3
        # Chunks reach the old leg as they did, and so do finals the application.
        assert longest[name] <= longest["plain"] + ALLOWED
        assert slowest_final(heard) <= slowest_final(played["plain"][0]) + ALLOWED
        for leg in legs[1:-1]:
            assert leg.arrivals[0][0] == 0


def slowest_final(heard):
    """The longest time without a final between the first one and the closing message."""
    last = heard.sent[-1][0]
    return max(after - before for (before, _), (after, _) in pairwise(heard.told) if after < last)
