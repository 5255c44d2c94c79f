"""One factory, used by loops in several threads at once: nothing is counted twice or lost.

These run on every Python. On a free-threaded one the threads really run at the same time.
"""

import asyncio
import json
import sys
import threading

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterChunks, Reset
from deepgram_sagemaker.stats import Ledger, Stats, add_up, freed
from sessions import CHUNK, LISTEN_URL, chunk

THREADS = 6


@pytest.fixture(autouse=True)
def impatient_threads():
    """Threads take turns as often as Python lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work, threads=THREADS):
    """Run `work(number)` in threads that begin together; raise what any of them raised."""
    failures = []
    together = threading.Barrier(threads)

    def run(number):
        together.wait()
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if failures:
        raise failures[0]


FIGURES = Stats(sessions=1, bytes_sent=7, journal_bytes=5, resets={"reset": 1})


def figures():
    return FIGURES


def test_sessions_that_begin_and_end_at_once_are_all_counted():
    ledger = Ledger(add_up, freed)
    seen = []

    def use(thread):
        for number in range(300):
            session = f"{thread} {number}"
            ledger.begun(session, figures)
            seen.append(ledger.total().sessions)
            ledger.ended(session)
            # Its transport is collected as well.
            ledger.ended(session)

    at_once(use)
    stats = ledger.total()
    assert (stats.sessions, stats.bytes_sent, stats.journal_bytes) == (1800, 12600, 0)
    assert stats.resets == {"reset": 1800}
    assert 0 < min(seen) <= max(seen) <= 1800


def test_threads_that_connect_first_share_what_a_factory_shares():
    for _ in range(20):
        factory = SageMakerTransportFactory("ep", region="us-east-1")
        found = set()

        def connect(_, factory=factory, found=found):
            async def main():
                found.add(id(factory(LISTEN_URL)._services))

            asyncio.run(main())

        at_once(connect)
        assert len(found) == 1
        assert len(factory._services) == 1


SESSIONS = 4
CHUNKS = 40


async def counted(factory):
    """One session, and what it heard."""
    transport = factory(LISTEN_URL)
    heard = []

    async def send():
        for number in range(CHUNKS):
            await transport.send(chunk(number, CHUNK))
            await asyncio.sleep(0.001)
        await transport.send({"type": "CloseStream"})

    async def listen():
        heard.extend([message async for message in transport])

    await asyncio.gather(send(), listen())
    await transport.close()
    return heard


def test_loops_in_many_threads_share_one_factory():
    faults = [Fault(Reset(2), when=AfterChunks(15), legs=range(1, 1000, 4))]
    outcomes = []

    def use(_):
        async def main():
            return await asyncio.gather(*(counted(factory) for _ in range(SESSIONS)))

        # One loop after the other, too.
        for _ in range(2):
            outcomes.extend(asyncio.run(main()))

    with LocalEndpoint(model=Watermark(window=5), faults=faults) as endpoint:
        factory = SageMakerTransportFactory(
            config=endpoint.config(initial_backoff=0.01, max_backoff=0.05, max_retries=20)
        )
        at_once(use)
        legs = len(endpoint.legs)
    assert len(outcomes) == THREADS * SESSIONS * 2
    for heard in outcomes:
        messages = [json.loads(each) for each in heard]
        words = " ".join(
            message["channel"]["alternatives"][0]["transcript"]
            for message in messages
            if message["type"] == "Results" and message["is_final"]
        )
        assert words.split() == [str(number) for number in range(CHUNKS)]
    stats = factory.stats
    assert stats.sessions == len(outcomes)
    assert stats.bytes_sent == len(outcomes) * CHUNKS * CHUNK
    assert stats.bytes_acknowledged == stats.bytes_sent
    assert stats.legs == legs
    assert sum(stats.resets.values()) == legs - len(outcomes)
