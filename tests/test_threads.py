"""One factory, used by loops in several threads at once: nothing is counted twice or lost.

These run on every Python. On a free-threaded one the threads really run at the same time.
"""

import asyncio
import json
import os
import sys
import threading

import pytest
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory, driver
from deepgram_sagemaker.driver import Services
from deepgram_sagemaker.local import Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterChunks, Reset
from deepgram_sagemaker.stats import Stats
from sessions import CHUNK, LISTEN_URL, chunk, run_script

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


class Fake:
    """What `Services` needs of a driver."""

    def __init__(self):
        self.stats = Stats(sessions=1, bytes_sent=7, journal_bytes=5, resets={"reset": 1})


def services():
    return Services(SageMakerConfig("ep", region="us-east-1"))


def test_sessions_that_begin_and_end_at_once_are_all_counted():
    shared = services()
    seen = []

    def use(_):
        for _ in range(300):
            fake = Fake()
            shared.begun(fake)
            seen.append(shared.stats.sessions)
            shared.ended(fake)
            # Its transport is collected as well.
            shared.ended(fake)

    at_once(use)
    stats = shared.stats
    assert (stats.sessions, stats.bytes_sent, stats.journal_bytes) == (1800, 12600, 0)
    assert stats.resets == {"reset": 1800}
    assert 0 < min(seen) <= max(seen) <= 1800


def test_figures_never_go_back_while_sessions_end():
    shared = services()
    fakes = [Fake() for _ in range(600)]
    for fake in fakes:
        shared.begun(fake)

    def use(number):
        if number:
            for fake in fakes[number - 1 :: THREADS - 1]:
                shared.ended(fake)
        else:
            while shared._live:
                assert shared.stats.sessions == 600

    at_once(use)
    assert shared.stats.sessions == 600


def test_what_has_ended_takes_no_room():
    shared = services()
    for _ in range(1000):
        fake = Fake()
        shared.begun(fake)
        shared.ended(fake)
    assert len(shared._past) <= driver._UNSUMMED + 1
    assert shared.stats.sessions == 1000


def test_a_session_collected_while_another_is_counted_does_not_wait_for_it():
    """The garbage collector runs anywhere, also within the counting itself."""
    shared = services()
    most = 3 * driver._UNSUMMED
    collected = [Fake() for _ in range(most)]

    class Collecting:
        """Each look at its figures ends some of the others."""

        @property
        def stats(self):
            for _ in range(2 * driver._UNSUMMED):
                if collected:
                    shared.ended(collected.pop())
            return Stats(sessions=1)

    for fake in collected:
        shared.begun(fake)
    last = Collecting()
    shared.begun(last)
    for _ in range(4):
        assert shared.stats.sessions == most + 1
    assert not collected
    shared.ended(last)
    shared.ended(last)
    assert shared.stats.sessions == most + 1


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


CHILD = """
import os, threading
from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.driver import Services
from test_threads import Fake

shared = Services(SageMakerConfig("ep", region="us-east-1"))
shared.begun(Fake())
held = threading.Event()
def hold():
    with shared._lock:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if not pid:
    # Nobody releases it here.
    fake = Fake()
    shared.begun(fake)
    assert shared.stats.sessions == 1, shared.stats
    shared.ended(fake)
    assert shared.stats.sessions == 1
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("done", flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_counts_by_itself():
    # Python warns of a fork amid threads, which is what this is about.
    run = run_script(CHILD, strict=False)
    assert (run.returncode, run.stdout.strip()) == (0, "done"), run.stderr


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
