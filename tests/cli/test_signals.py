"""Signals on loops that have handlers for them, and on loops that have none."""

import asyncio
import os
import signal
import threading

import pytest
from deepgram_sagemaker.cli.signals import on_signal
from loops import LOOPS, ProactorLike

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends itself signals")


@pytest.fixture(params=["default", "proactor-like"])
def run(request):
    def running(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main())

    return running


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_it_is_told_each_time_and_then_no_more(run):
    async def main():
        told = asyncio.Semaphore(0)
        runners = signal.getsignal(signal.SIGINT)
        with on_signal("SIGINT", told.release) as over:
            for _ in range(3):
                # From a thread: the loop waits for nothing but the signal.
                threading.Timer(0.01, interrupt).start()
                await asyncio.wait_for(told.acquire(), 10)
            over()
            assert signal.getsignal(signal.SIGINT) is runners
            over()
        assert signal.getsignal(signal.SIGINT) is runners
        # The runner's own again: it cancels the task.
        interrupt()
        await asyncio.sleep(10)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_changes_outside_the_main_thread(run):
    async def main():
        with on_signal("SIGINT", pytest.fail) as over:
            seen.append(signal.getsignal(signal.SIGINT))
            over()

    seen = []
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_signal_that_the_system_lacks_is_left_out(run):
    async def main():
        with on_signal("SIGNONE", pytest.fail) as over:
            over()

    run(main)


def test_a_signal_after_the_loops_end_is_no_error():
    loop = ProactorLike()

    async def main():
        kept.append(on_signal("SIGTERM", pytest.fail))
        kept[0].__enter__()

    kept = []
    before = signal.getsignal(signal.SIGTERM)
    try:
        loop.run_until_complete(main())
        loop.close()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
