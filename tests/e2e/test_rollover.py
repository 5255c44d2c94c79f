"""Rollover under live audio: nobody hears it, and nobody waits for it."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from e2e.survival import LINEAR16, assert_whole, converse

PACE = 0.02
CHUNKS = 750
"""15 s."""
ALLOWED = 0.1
LATE = 3.0


def waits(heard, endpoint):
    """From sending each chunk to the server's having it, in seconds."""
    arrived = {}
    for leg in endpoint.legs:
        for number, when in leg.arrivals:
            arrived[number] = min(when, arrived.get(number, when))
    return [arrived[number] - before for number, (before, _) in enumerate(heard.sent)]


def resends(endpoint):
    """For each leg after the first, how long its backlog took to arrive, and in how many chunks."""
    legs = [leg.arrivals for leg in endpoint.legs if leg.arrivals]
    for before, after in pairwise(legs):
        latest = max(number for number, _ in before)
        again = [when for number, when in after if number <= latest]
        yield (again[-1] - again[0] if again else 0.0), len(again)


@pytest.mark.patience(120)
async def test_a_rollover_a_second():
    kinds = {
        "plain": (None, 0.0),
        "rollover": (1.0, 0.0),
        "late": (1.0, LATE),
    }
    async with AsyncExitStack() as stack:
        endpoints = {
            name: await stack.enter_async_context(
                LocalEndpoint(model=Watermark(late_seconds=late), record_arrivals=True)
            )
            for name, (_, late) in kinds.items()
        }
        everything = await asyncio.gather(
            *(
                converse(
                    endpoints[name].config(max_leg_age=age),
                    LINEAR16,
                    CHUNKS,
                    pace=PACE,
                    interim=False,
                )
                for name, (age, _) in kinds.items()
            )
        )
        heard = dict(zip(kinds, everything, strict=True))
        for each in everything:
            assert_whole(each, LINEAR16, CHUNKS)
            assert each.stats.resets == {}
            assert each.stats.seconds_lost == 0
        longest = {name: max(waits(heard[name], endpoints[name])) for name in kinds}
        for name in ("rollover", "late"):
            assert heard[name].stats.rollovers >= 8
        assert heard["plain"].stats.rollovers == 0

        assert longest["rollover"] <= longest["plain"] + ALLOWED

        took = list(resends(endpoints["late"]))
        # The backlog is there: what the results are late by, at least.
        assert max(count for _, count in took) >= LATE / PACE
        slowest = max(seconds for seconds, _ in took)
        assert longest["late"] <= longest["plain"] + ALLOWED + slowest
        # At full speed, and not at any multiple of real time that one would set.
        assert slowest <= LATE / 10
