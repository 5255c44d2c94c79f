"""Loops that have no `add_reader`, systems that have no eventfd, and loops by other people.

Each is woken as the default one is, and nothing is left on it or of it.
"""

import asyncio
import gc
import importlib.util
import logging
import os
import socket
import threading
import warnings
import weakref

import pytest
from deepgram_sagemaker import wakeups
from deepgram_sagemaker._native import Waker
from deepgram_sagemaker.wakeups import Hub
from loops import LOOPS, Poster, ProactorLike, Sockets, is_open, receives
from sessions import until


def parameter(name):
    missing = name == "uvloop" and importlib.util.find_spec("uvloop") is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason="uvloop is not installed"))


@pytest.fixture(params=[parameter(name) for name in LOOPS])
def run(request):
    """Runs a coroutine function on a loop of each kind, as `asyncio.run` does."""

    def running(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main())

    running.loop = request.param
    return running


async def wait_for(event):
    async with asyncio.timeout(10):
        await event.wait()


def test_each_loop_is_woken_in_its_own_way(run):
    async def main():
        return type(Hub.running()._bell)

    assert run(main) is (wakeups._Received if receives(run.loop) else wakeups._Watched)


def test_a_loop_is_woken_for_every_post(run):
    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        for _ in range(20):
            woken = [asyncio.Event() for _ in range(20)]
            tokens = [hub.register(event.set) for event in woken]
            for token in tokens[:10]:
                poster.post(token)
            await asyncio.gather(*(wait_for(event) for event in woken[:10]))
            assert not any(event.is_set() for event in woken[10:])
            # The last one: the loop listens no more, and then again.
            for token in tokens:
                hub.unregister(token)

    run(main)


def test_posts_without_end_do_not_keep_the_loop_from_running(run):
    """Each wake-up posts the next one."""

    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        rounds = 0

        def again():
            nonlocal rounds
            rounds += 1
            poster.post(token)

        token = hub.register(again)
        poster.post(token)
        for _ in range(50):
            await asyncio.sleep(0.001)
        hub.unregister(token)
        assert rounds > 1

    run(main)


def test_a_handler_that_lets_go_and_registers_again_is_woken_once_for_each_post(run):
    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        woken = 0
        done = asyncio.Event()

        def turn():
            nonlocal token, woken
            woken += 1
            hub.unregister(token)
            token = hub.register(turn)
            if woken == 20:
                done.set()
            else:
                poster.post(token)

        token = hub.register(turn)
        poster.post(token)
        await wait_for(done)
        for _ in range(3):
            await asyncio.sleep(0.005)
        assert woken == 20
        hub.unregister(token)

    run(main)


def test_what_was_received_as_listening_ended_is_not_missed(run):
    """A cancelled `sock_recv` may have taken the byte that said so."""

    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        for _ in range(50):
            gone = hub.register(lambda: None)
            poster.post(gone)
            # At any time of the byte's way.
            await asyncio.sleep(0)
            hub.unregister(gone)
            there = asyncio.Event()
            token = hub.register(there.set)
            poster.post(token)
            await wait_for(there)
            hub.unregister(token)

    run(main)


def test_an_interrupt_in_a_handler_leaves_the_loop_listening(run):
    """Ctrl-C may be raised anywhere, and sessions close after it."""
    if run.loop == "uvloop":
        pytest.skip("uvloop ends the loop for it in its own way")

    loop = LOOPS[run.loop]()
    try:

        async def begin():
            hub = Hub.running()
            poster = Poster(hub)

            def interrupt():
                raise KeyboardInterrupt

            poster.post(hub.register(interrupt))
            return hub, poster

        async def close():
            done = asyncio.Event()
            poster.post(hub.register(done.set))
            await wait_for(done)

        hub, poster = loop.run_until_complete(begin())
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        loop.run_until_complete(close())
    finally:
        loop.close()


def test_a_session_that_closes_at_the_end_of_the_run_is_still_woken(run):
    """`asyncio.run` cancels every task, and what they do then has to be woken for."""

    async def main():
        hub = Hub.running()
        poster = Poster(hub)

        async def session():
            try:
                await asyncio.sleep(60)
            finally:
                done = asyncio.Event()
                token = hub.register(done.set)
                poster.post(token)
                await wait_for(done)
                hub.unregister(token)
                closed.append(True)

        # A second one, which has been listening since before the end.
        hub.register(lambda: None)
        task = asyncio.create_task(session())
        await asyncio.sleep(0.01)
        return task

    closed = []
    run(main)
    assert closed == [True]


def test_listening_is_no_task_and_leaves_nothing(run):
    async def main():
        hub = Hub.running()
        loop = asyncio.get_running_loop()
        token = hub.register(lambda: None)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        pending = hub._bell._pending() if received else None
        hub.unregister(token)
        # The loop takes the cancelled future back in its next iteration.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if received:
            assert pending.cancelled()
            if run.loop == "proactor-like":
                handlers = loop._selector.get_map().values()
                assert hub._bell._socket.fileno() not in {key.fd for key in handlers}
        else:
            # There was none to remove. uvloop says None.
            assert not loop.remove_reader(hub.waker.fileno())

    received = receives(run.loop)
    run(main)


def test_a_loop_closed_with_sessions_live_goes_with_its_hub(run, caplog):
    async def begin():
        hub = Hub.running()
        hub.register(lambda: None)
        await asyncio.sleep(0.01)
        return hub

    loop = LOOPS[run.loop]()
    with caplog.at_level(logging.DEBUG):
        hub = loop.run_until_complete(begin())
        loop.close()
        token = next(iter(hub._handlers))
        descriptor = descriptor_of(hub)
        assert is_open(descriptor)
        # As a driver's end does that comes late.
        hub.unregister(token)
        gone = weakref.ref(hub)
        del hub, loop
        gc.collect()
    assert gone() is None
    assert not is_open(descriptor)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def descriptor_of(hub):
    bell = hub._bell
    return bell._socket.fileno() if isinstance(bell, wakeups._Received) else bell.waker.fileno()


def test_a_loop_that_nobody_uses_any_more_is_collected_although_it_listens(run):
    """A loop that was never closed says so, and nothing else is said."""
    if run.loop == "uvloop":
        pytest.skip("uvloop's loops are collected only when they are closed")

    async def begin():
        Hub.running().register(lambda: None)
        await asyncio.sleep(0)

    loop = LOOPS[run.loop]()
    loop.run_until_complete(begin())
    gone = weakref.ref(loop)
    del loop
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        gc.collect()
    assert gone() is None
    assert ["unclosed event loop" in str(each.message) for each in said] == [True]


def test_loops_one_after_the_other_and_several_at_once(run):
    """In one thread and in several, each with a hub of its own."""

    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        for _ in range(20):
            done = asyncio.Event()
            token = hub.register(done.set)
            poster.post(token)
            await wait_for(done)
            hub.unregister(token)
        hubs.append(id(hub))
        kept.append(hub)

    def loops():
        for _ in range(3):
            run(main)

    hubs, kept = [], []
    threads = [threading.Thread(target=loops) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(hubs)) == 12


# Where the loop reads from a socket -------------------------------------------------------------


def broken(hub):
    """Break the socket from the other side, as a firewall or a system that sleeps does."""
    hub.waker.disconnect()


def test_a_socket_that_breaks_is_replaced(caplog):
    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        for _ in range(3):
            done = asyncio.Event()
            token = hub.register(done.set)
            before = hub._bell._socket
            broken(hub)
            # Nothing can wake the loop now.
            poster.post(token)
            await wait_for(done)
            assert hub._bell._socket is not before
            assert before.fileno() == -1
            # And the new one works.
            done.clear()
            poster.post(token)
            await wait_for(done)
            hub.unregister(token)

    with caplog.at_level(logging.WARNING), asyncio.Runner(loop_factory=ProactorLike) as runner:
        runner.run(main())
    assert [record.getMessage() for record in caplog.records] == [
        "the socket that wakes the event loop broke (it was closed): another one takes its place"
    ] * 3


def test_a_socket_that_fails_is_replaced(caplog):
    class Failing(ProactorLike):
        failures = 3

        async def sock_recv(self, sock, n):
            if self.failures:
                self.failures -= 1
                await asyncio.sleep(0)
                raise ConnectionResetError("an antivirus program")
            return await super().sock_recv(sock, n)

    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        done = asyncio.Event()
        token = hub.register(done.set)
        while len(caplog.records) < 3:
            done.clear()
            poster.post(token)
            await wait_for(done)
        hub.unregister(token)

    with caplog.at_level(logging.WARNING), asyncio.Runner(loop_factory=Failing) as runner:
        runner.run(main())
    assert caplog.text.count("broke (an antivirus program)") == 3


def test_a_socket_that_cannot_be_replaced_is_tried_again(monkeypatch, caplog):
    failures = 2

    def exhausted(*arguments, **named):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            os.close(named["fileno"])
            raise OSError("Too many open files")
        return original(*arguments, **named)

    async def main():
        hub = Hub.running()
        poster = Poster(hub)
        done = asyncio.Event()
        token = hub.register(done.set)
        monkeypatch.setattr(socket, "socket", exhausted)
        broken(hub)
        poster.post(token)
        await wait_for(done)
        hub.unregister(token)

    original = socket.socket
    with caplog.at_level(logging.WARNING), asyncio.Runner(loop_factory=ProactorLike) as runner:
        runner.run(main())
    assert len(caplog.records) == 3


def test_hanging_up_while_the_socket_is_replaced_leaves_nothing(monkeypatch):
    monkeypatch.setattr(wakeups, "_PAUSE", 30)

    async def main():
        hub = Hub.running()
        token = hub.register(lambda: None)
        broken(hub)
        await until(lambda: isinstance(hub._bell._pending(), asyncio.TimerHandle))
        timer = hub._bell._pending()
        hub.unregister(token)
        assert timer.cancelled()

    with asyncio.Runner(loop_factory=ProactorLike) as runner:
        runner.run(main())


def test_a_waker_is_of_one_kind():
    with pytest.raises(ValueError, match="see connect"):
        Waker("far").fileno()
    for kind in ("watched", "pair"):
        waker = Waker(kind)
        assert is_open(waker.fileno())
        with pytest.raises(ValueError, match="see fileno"):
            waker.connect()
        waker.disconnect()
    with pytest.raises(ValueError, match="no such kind of waker: gong"):
        Waker("gong")


def test_each_kind_of_loop_is_really_tested():
    assert Sockets is LOOPS["no-eventfd"]
    if os.name == "posix":
        loop = Sockets()
        try:
            with socket.socket(fileno=os.dup(wakeups._hubs[loop].waker.fileno())) as pair:
                assert pair.family == socket.AF_UNIX
        finally:
            loop.close()
