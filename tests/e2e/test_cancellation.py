"""A thousand cancellations at random points of sessions that also fail, and nothing is left."""

import asyncio
import contextlib
import gc
import random
import sys
import threading
import warnings

import pytest
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterChunks,
    Answer,
    DelayAnswer,
    Drop,
    GoAway,
    GoSilent,
    InternalStreamFailure,
    NeverAnswer,
    NeverTls,
    Reset,
    SlowTls,
)
from deepgram_sagemaker.local.watermark import chunk
from sessions import CHUNK, LISTEN, Heard, client_of, descriptors, session, until

CANCELLATIONS = 1000
AT_ONCE = 50
SEED = 20

AT_MOST = 0.12
"""Seconds until a session is cancelled, at most."""

FAULTS = [
    Fault(NeverTls(), legs=range(5, 100_000, 17)),
    Fault(SlowTls(0.05), legs=range(6, 100_000, 11)),
    Fault(Answer(429, "ThrottlingException"), legs=range(1, 100_000, 7)),
    Fault(Answer(503, "ServiceUnavailable"), legs=range(2, 100_000, 13)),
    Fault(NeverAnswer(), legs=range(3, 100_000, 12)),
    Fault(DelayAnswer(0.05), legs=range(4, 100_000, 9)),
    Fault(Reset(2), when=AfterChunks(4), legs=range(5, 100_000, 6)),
    Fault(Drop(), when=AfterChunks(6), legs=range(6, 100_000, 10)),
    Fault(GoAway(0), when=AfterChunks(3), legs=range(7, 100_000, 14)),
    Fault(InternalStreamFailure(), when=AfterChunks(5), legs=range(8, 100_000, 15)),
    Fault(GoSilent(), when=AfterChunks(2), legs=range(9, 100_000, 16)),
]


class Where:
    """What each session was doing when it was cancelled."""

    def __init__(self):
        self.counts = {}

    def at(self, place):
        self.counts[place] = self.counts.get(place, 0) + 1


async def use(client, where, random_stream):
    """A session as applications hold them; notes where cancellation reaches it."""
    place = "sending"
    try:
        async with client.listen.v1.connect(**LISTEN) as connection:
            heard = Heard()
            heard.attach(connection)
            listening = asyncio.create_task(connection.start_listening())
            try:
                for number in range(random_stream.choice([0, 1, 5, 20])):
                    await connection.send_media(chunk(number, CHUNK))
                    await asyncio.sleep(0.002)
                place = "closing"
                if random_stream.random() < 0.5:
                    await connection.send_close_stream()
                    await listening
                elif random_stream.random() < 0.5:
                    await asyncio.sleep(1)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    except asyncio.CancelledError:
        where.at(place)
        raise
    except SageMakerError:
        # Failed before it was cancelled: what the faults are for.
        where.at("failed")
    else:
        where.at("over")


def others():
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.patience(150)
async def test_a_thousand_cancellations_leave_nothing(caplog):
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    seeded = random.Random(SEED)
    where = Where()
    async with LocalEndpoint(faults=FAULTS) as endpoint:
        config = endpoint.config(
            max_concurrency=30,
            connection_timeout=3,
            subscription_timeout=2,
            stall_timeout=2,
            # Every second stream meets a fault: six in a row are nothing special.
            max_retries=50,
            initial_backoff=0.01,
            max_backoff=0.05,
            close_timeout=0.3,
        )
        client = client_of(config)
        # What later sessions share exists before anything is counted.
        with contextlib.suppress(SageMakerError):
            await session(client, 10)
        await until(lambda: endpoint.stats.live_connections == 0)
        gc.collect()
        before = descriptors(), others(), threading.active_count()

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for _ in range(CANCELLATIONS // AT_ONCE):
                tasks = [
                    asyncio.create_task(use(client, where, random.Random(seeded.random())))
                    for _ in range(AT_ONCE)
                ]
                for task in tasks:
                    loop.call_later(seeded.uniform(0, AT_MOST), task.cancel)
                async with asyncio.timeout(30):
                    ends = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(end) for end in ends} <= {asyncio.CancelledError, type(None)}
            tasks.clear()
            gc.collect()
            await asyncio.sleep(0)
            gc.collect()

        await until(lambda: endpoint.stats.live_connections == 0, within=20)
        # The engine ends a moment after its last connection.
        await until(lambda: descriptors() <= before[0], within=20)
        assert others() == before[1]
        assert threading.active_count() == before[2]
        assert [str(each.message) for each in warned] == []
        assert complaints == []
        assert "never retrieved" not in caplog.text
        assert sum(where.counts.values()) == CANCELLATIONS
        # They did hit different places, most of them before the session was over by itself.
        counts = where.counts
        assert counts["sending"] >= 50, counts
        assert counts["closing"] >= 50, counts
        assert counts["sending"] + counts["closing"] >= CANCELLATIONS // 2, counts
        stats = endpoint.stats
        # On a busy machine most are cancelled before their stream is open.
        assert stats.faults >= 20
        assert (stats.signature_failures, stats.crc_failures, stats.malformed_events) == (0, 0, 0)

        # Everything still works on the same factory, with faults.
        heard = await asyncio.gather(*(session(client, 50) for _ in range(5)))
        assert [each.errors for each in heard] == [[]] * 5
        assert [each.numbers for each in heard] == [list(range(50))] * 5
