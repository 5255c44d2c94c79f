"""One stream: what is late because of this machine, and what because nothing takes it."""

import asyncio

from deepgram_sagemaker.load.audio import watermarked
from deepgram_sagemaker.load.histogram import Histogram
from deepgram_sagemaker.load.stream import Stream
from deepgram_sagemaker.load.tally import Tally
from sessions import until

PERIOD = 0.02


class Clock:
    """A metronome that strikes when it is told to."""

    def join(self, tick):
        self.tick = tick
        return 0.0

    def leave(self, tick):
        pass


class Connection:
    """The SDK's connection, to an endpoint that takes audio while `room` is set."""

    def __init__(self):
        self.room = asyncio.Event()
        self.room.set()
        self.ended = asyncio.Event()
        self.sent = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def on(self, *_):
        pass

    async def start_listening(self):
        await self.ended.wait()

    async def send_media(self, chunk):
        if not self.room.is_set():
            await self.room.wait()
        self.sent += 1

    async def send_close_stream(self):
        self.ended.set()


async def holding(act):
    """The figures of a stream during which `act` has the clock strike."""
    clock, connection, tally = Clock(), Connection(), Tally()
    stream = Stream(connection, watermarked(), 0, clock, lambda: tally, Histogram(), flux=False)

    async def opened(_):
        pass

    running = asyncio.create_task(stream.run(opened, None))
    await until(lambda: hasattr(clock, "tick"))
    await act(clock, connection)
    stream.end()
    await running
    return connection, tally


async def test_a_clock_that_strikes_late_is_this_machines_fault():
    async def act(clock, connection):
        for strike in (*range(1, 51), *range(100, 151)):
            clock.tick(strike * PERIOD)

    connection, tally = await holding(act)
    assert connection.sent == tally.chunks == 150
    # The fifty of the pause, but for those of its last 50 ms.
    assert (tally.late, tally.waited) == (47, 0)


async def test_a_send_that_waits_is_not():
    async def act(clock, connection):
        for strike in range(1, 151):
            if strike == 51:
                connection.room.clear()
            if strike == 100:
                connection.room.set()
                await until(lambda: connection.sent == 51)
            clock.tick(strike * PERIOD)

    connection, tally = await holding(act)
    assert connection.sent == tally.chunks == 150
    assert (tally.late, tally.waited) == (0, 46)


async def test_both_at_once_are_told_apart():
    async def act(clock, connection):
        connection.room.clear()
        for strike in (*range(1, 11), *range(60, 71)):
            clock.tick(strike * PERIOD)
        connection.room.set()
        await until(lambda: connection.sent == 1)
        clock.tick(71 * PERIOD)

    connection, tally = await holding(act)
    assert connection.sent == 71
    assert (tally.late, tally.waited) == (47, 67)
