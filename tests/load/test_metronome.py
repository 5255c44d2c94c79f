"""One clock for all streams: nothing is skipped, and nothing waits for a neighbour."""

import asyncio
import itertools
import time

from deepgram_sagemaker.load.metronome import Metronome
from sessions import until

PERIOD = 0.02


async def test_members_are_called_once_a_period():
    late = []
    metronome = Metronome(PERIOD, late.append)
    running = asyncio.create_task(metronome.run())
    loop = asyncio.get_running_loop()
    calls = {number: [] for number in range(50)}
    begins = {}
    for number in calls:
        begins[number] = metronome.join(calls[number].append)
    await until(lambda: all(len(times) >= 10 for times in calls.values()))
    running.cancel()
    for number, times in calls.items():
        # The first is due a period after the beginning, but for the rounding of sums.
        assert times[0] >= begins[number] + PERIOD - 1e-6
        # Their number is that of the periods, but for those that the machine was too busy for.
        assert len(times) <= (loop.time() - begins[number]) / PERIOD + 1
        assert all(after > before for before, after in itertools.pairwise(times))
    # They are spread over the period.
    places = {round((begins[number] - begins[0]) / PERIOD % 1, 2) for number in calls}
    assert len(places) >= 19
    assert min(late) >= 0


async def test_after_a_pause_each_member_is_called_once():
    metronome = Metronome(PERIOD, lambda late: None)
    calls = []
    metronome.join(calls.append)
    running = asyncio.create_task(metronome.run())
    await until(lambda: calls)
    before = len(calls)
    time.sleep(0.5)  # noqa: ASYNC251 - the loop is to stand still
    await until(lambda: len(calls) > before)
    assert len(calls) - before <= 2
    running.cancel()


async def test_who_has_left_is_not_called():
    metronome = Metronome(PERIOD, lambda late: None)
    stays, leaves = [], []
    metronome.join(stays.append)
    metronome.join(leaves.append)
    running = asyncio.create_task(metronome.run())
    await until(lambda: stays and leaves)
    metronome.leave(leaves.append)
    seen = len(leaves)
    # A bound method is equal to itself, though it is another object.
    await until(lambda: len(stays) > 5 + seen)
    assert len(leaves) == seen
    running.cancel()
