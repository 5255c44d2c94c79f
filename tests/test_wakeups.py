"""Wake-ups: from any thread to the right handler of the right loop, and nothing left behind."""

import asyncio
import gc
import logging
import os
import select
import time
import weakref

import pytest
from deepgram_sagemaker import wakeups
from deepgram_sagemaker._native import Admission, Waker
from deepgram_sagemaker.wakeups import Hub
from loops import Poster
from sessions import run_script


async def test_a_hub_for_each_loop_and_one_only():
    here = Hub.running()
    assert Hub.running() is here
    elsewhere = await asyncio.to_thread(lambda: asyncio.run(_running()))
    assert elsewhere is not here


async def _running():
    return Hub.running()


def test_without_a_loop_there_is_none():
    with pytest.raises(RuntimeError, match="no running event loop"):
        Hub.running()


async def test_each_token_wakes_its_own_handler():
    hub = Hub.running()
    poster = Poster(hub)
    woken = [asyncio.Event() for _ in range(100)]
    tokens = [hub.register(event.set) for event in woken]
    assert len(set(tokens)) == 100
    for token in tokens[:50]:
        poster.post(token)
    await asyncio.gather(*(event.wait() for event in woken[:50]))
    assert not any(event.is_set() for event in woken[50:])
    for token in tokens:
        hub.unregister(token)


async def test_what_posts_is_done_when_its_handler_runs():
    hub = Hub.running()
    poster = Poster(hub)
    outcomes = []
    done = asyncio.Event()

    def woken():
        outcomes.append(acquiring.take())
        done.set()

    token = hub.register(woken)
    acquiring = poster.post(token)
    await done.wait()
    assert type(outcomes[0]) is Admission
    # Once.
    assert acquiring.take() is None
    hub.unregister(token)


async def test_a_late_wake_up_finds_nobody():
    hub = Hub.running()
    poster = Poster(hub)
    woken = []
    gone = hub.register(lambda: woken.append("gone"))
    there = asyncio.Event()
    token = hub.register(there.set)
    first = poster.post(gone)
    hub.unregister(gone)
    hub.unregister(gone)
    del first
    poster.post(token)
    await there.wait()
    assert woken == []
    hub.unregister(token)


async def test_a_handlers_fault_costs_nobody_else_their_wake_up(caplog):
    hub = Hub.running()
    poster = Poster(hub)
    done = asyncio.Event()

    def fail():
        raise ZeroDivisionError

    failing, token = hub.register(fail), hub.register(done.set)
    with caplog.at_level(logging.ERROR):
        poster.post(failing)
        await asyncio.sleep(0)
        poster.post(token)
        await done.wait()
    hub.unregister(failing)
    hub.unregister(token)
    assert "a wake-up handler failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_handler_may_unregister_others_and_itself():
    hub = Hub.running()
    poster = Poster(hub)
    woken = []
    tokens = []
    done = asyncio.Event()

    def first_to_come():
        woken.append(1)
        for token in tokens:
            hub.unregister(token)
        done.set()

    tokens.extend(hub.register(first_to_come) for _ in range(10))
    for token in tokens:
        poster.post(token)
    await done.wait()
    # The loop no longer watches: the other tokens wake no handler.
    for _ in range(3):
        await asyncio.sleep(0.01)
    assert woken == [1]


async def test_nobody_registered_nothing_watched():
    loop = asyncio.get_running_loop()
    hub = Hub.running()
    if not isinstance(hub._bell, wakeups._Watched):
        pytest.skip("the loop reads from a socket: see test_other_loops")
    descriptor = hub.waker.fileno()
    token = hub.register(lambda: None)
    hub.unregister(token)
    # False: there was no reader to remove.
    assert loop.remove_reader(descriptor) is False


def test_a_hub_goes_with_its_loop():
    loop = asyncio.new_event_loop()
    hub = loop.run_until_complete(_running())
    gone = weakref.ref(hub)
    # A loop that reads from a socket instead: test_other_loops.
    descriptor = hub.waker.fileno() if isinstance(hub._bell, wakeups._Watched) else None
    if descriptor is not None:
        os.fstat(descriptor)
    loop.close()
    del loop, hub
    gc.collect()
    assert gone() is None
    if descriptor is not None:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_a_closed_loop_is_not_touched():
    loop = asyncio.new_event_loop()

    async def begin():
        hub = Hub.running()
        return hub, hub.register(lambda: None)

    hub, token = loop.run_until_complete(begin())
    loop.close()
    hub.unregister(token)


def test_an_empty_mailbox_is_empty():
    waker = Waker()
    assert waker.drain() == []
    assert waker.drain() == []
    assert waker.flush() == []


class Loop:
    """A loop's native half, without the loop."""

    def __init__(self):
        self.waker = Waker()


def is_rung(waker, seconds=0.0):
    """Return whether the loop would be woken within this time."""
    return select.select([waker.fileno()], [], [], seconds)[0] != []


def taken_by_flushing(poster):
    """Return whether a loop that flushes all the time took a token without being woken."""
    waker = poster.hub.waker
    waker.flush()
    waker.flush()
    poster.post(1)
    while not (tokens := waker.flush()):
        time.sleep(0.001)
    quiet = not is_rung(waker)
    waker.drain()
    assert tokens == [1]
    return quiet


def test_a_loop_that_comes_by_is_not_rung():
    poster = Poster(Loop())
    # Not always: where this thread does not run for a moment, the loop has stayed away.
    assert any(taken_by_flushing(poster) for _ in range(50))


def test_a_loop_that_stays_away_is_rung():
    hub = Loop()
    poster = Poster(hub)
    for _ in range(20):
        hub.waker.flush()
        hub.waker.flush()
        poster.post(1)
        assert is_rung(hub.waker, 5)
        assert hub.waker.drain() == [1]
        assert not is_rung(hub.waker)


def test_a_loop_that_seldom_comes_by_is_rung_at_once():
    hub = Loop()
    poster = Poster(hub)

    def rung_after():
        hub.waker.flush()
        time.sleep(0.01)
        hub.waker.flush()
        began = time.perf_counter()
        poster.post(1)
        assert is_rung(hub.waker, 5)
        assert hub.waker.drain() == [1]
        return time.perf_counter() - began

    # Otherwise after five.
    assert min(rung_after() for _ in range(20)) < 0.003


def test_what_was_posted_is_rung_for_though_the_engine_ends():
    hub = Loop()
    for _ in range(20):
        poster = Poster(hub)
        hub.waker.flush()
        hub.waker.flush()
        acquiring = poster.post(1)
        while acquiring.take() is None:
            pass
        del poster, acquiring
        assert is_rung(hub.waker, 5)
        assert hub.waker.drain() == [1]


async def test_a_flush_hands_out_what_has_come():
    hub = Hub.running()
    poster = Poster(hub)
    woken = []
    token = hub.register(lambda: woken.append(1))
    poster.post(token)
    # The loop does not run meanwhile: it sees no signal.
    while not woken:
        hub.flush()
    await asyncio.sleep(0.01)
    assert woken == [1]
    hub.unregister(token)


FORK = """
import asyncio, os, sys
from deepgram_sagemaker.aws.route import Route
from deepgram_sagemaker.wakeups import Hub

async def main():
    hub = Hub.running()
    token = hub.register(lambda: None)
    loop = asyncio.get_running_loop()
    pid = os.fork()
    if not pid:
        # As when the child frees what it has inherited.
        hub.unregister(token)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    # Still watched, in the selector that both processes have.
    woken = asyncio.Event()
    again = hub.register(woken.set)
    os.eventfd_write(hub.waker.fileno(), 1)
    ready = loop._selector.select(0)
    assert [key.fd for key, _ in ready] == [hub.waker.fileno()], ready
    hub.unregister(again)
    hub.unregister(token)

asyncio.run(main())
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="looks into Linux's epoll")
def test_a_forked_child_that_lets_go_does_not_deafen_its_parent():
    run = run_script(FORK)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "done"
