"""Figures of many sessions: read from any thread, while sessions begin and end."""

import asyncio
import gc
import os
import threading
import time

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.stats import Ledger, Stats, add_up, freed
from sessions import client_of_factory, session


def figures(legs, **more):
    return lambda: Stats(sessions=1, legs=legs, journal_bytes=10, **more)


def test_a_sum_has_the_live_and_the_past():
    ledger = Ledger(add_up, freed)
    ledger.begun("a", figures(1, last_error="first"))
    ledger.begun("b", figures(2))
    assert (ledger.total().sessions, ledger.total().legs, ledger.total().journal_bytes) == (
        2,
        3,
        20,
    )
    ledger.ended("a")
    ledger.ended("a")
    ledger.ended("never begun")
    past, live = ledger.read()
    assert (past.legs, past.journal_bytes, past.last_error) == (1, 0, "first")
    assert [each.legs for each in live] == [2]
    assert ledger.total().legs == 3


def test_an_end_during_a_read_is_not_forgotten():
    """A finaliser may end a session in the middle of another's end, on the same thread."""
    ledger = Ledger(add_up, freed)

    def read():
        ledger.ended("inner")
        return Stats(sessions=1, legs=1)

    ledger.begun("outer", read)
    ledger.begun("inner", figures(5))
    ledger.ended("outer")
    past, live = ledger.read()
    assert (past.sessions, past.legs, live) == (2, 6, [])


@pytest.mark.parametrize("readers", [4])
def test_sums_never_miss_a_session_and_never_count_one_twice(readers):
    ledger = Ledger(add_up, freed)
    begun, over = 0, threading.Event()
    wrong = []

    def watch():
        highest = 0
        while not over.is_set():
            least = begun
            sessions = ledger.total().sessions
            if not least <= sessions <= begun + 1 or sessions < highest:
                wrong.append((least, sessions, begun, highest))
            highest = sessions

    threads = [threading.Thread(target=watch) for _ in range(readers)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        name = str(begun)
        ledger.begun(name, figures(1))
        begun += 1
        if begun > 5:
            ledger.ended(str(begun - 5))
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert begun > 50


def test_the_figures_of_a_factory_are_read_from_other_threads():
    """Every figure that only grows does so, for whoever reads it, to the same end."""
    over = threading.Event()
    wrong, reads = [], []

    with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())

        def watch():
            before = Stats()
            while not over.is_set():
                now = factory.stats
                wrong.extend(
                    (name, before, now)
                    for name in ("sessions", "legs", "attempts", "bytes_sent", "messages_in")
                    if getattr(now, name) < getattr(before, name)
                )
                before = now
                reads.append(now.sessions)
                gc.collect(0)

        async def sessions():
            client = client_of_factory(factory)
            for _ in range(3):
                await asyncio.gather(*(session(client, 10) for _ in range(10)))

        threads = [threading.Thread(target=watch) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            asyncio.run(sessions())
        finally:
            over.set()
            for thread in threads:
                thread.join()
    assert wrong == []
    assert max(reads) >= 10
    total = factory.stats
    assert (total.sessions, total.legs, total.bytes_sent) == (30, 30, 30 * 10 * 640)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_no_sessions_of_its_parent():
    ledger = Ledger(add_up, freed)
    asked = []

    def read():
        asked.append(os.getpid())
        return Stats(sessions=1, legs=1)

    ledger.begun("parent's", read)
    ledger._lock.acquire()
    pid = os.fork()
    if not pid:
        # The parent's lock is never released here, and its session may be locked as well.
        ledger.ended("parent's")
        empty = ledger.total() == Stats() and not asked
        ledger.begun("child's", figures(7))
        own = ledger.total().legs == 7
        os._exit(0 if empty and own else 1)
    ledger._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ledger.total().legs == 1
