"""A value that is made once, in a thread: how often, for which waiters, and within which time."""

import asyncio
import logging
import os
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from deepgram_sagemaker import SageMakerConfig, errands
from deepgram_sagemaker.aws.client import LegClient, Progress
from deepgram_sagemaker.aws.preparation import Preparation
from deepgram_sagemaker.credentials import Identity
from deepgram_sagemaker.errors import ConnectTimeoutError, SageMakerError, ValidationError
from deepgram_sagemaker.invocation import Invocation

THREAD = "deepgram-sagemaker-setup"


def at_work():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


class Made:
    """Makes numbers; waits and fails on request."""

    def __init__(self, *, gate=None, error=None):
        self.gate = gate
        self.error = error
        self.times = 0
        self.threads = set()

    def __call__(self):
        self.times += 1
        self.threads.add(threading.current_thread().name)
        number = self.times
        if self.gate is not None:
            assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return number


def prepared(make, within=10.0):
    return Preparation(make, what="reading", within=within)


async def test_it_is_made_once_and_not_on_the_loop():
    make = Made()
    preparation = prepared(make)
    assert make.times == 0
    burst = await asyncio.gather(*(preparation.value() for _ in range(100)))
    assert [*burst, await preparation.value()] == [1] * 101
    assert make.threads == {THREAD}


async def test_what_is_there_takes_no_turn_of_the_loop():
    preparation = prepared(Made())
    await preparation.value()
    coroutine = preparation.value()
    with pytest.raises(StopIteration) as returned:
        coroutine.send(None)
    assert returned.value.value == 1


async def test_a_failure_is_each_ones_own_and_is_not_kept():
    make = Made(error=ValidationError("a file is bad", parameter="ca_bundle"))
    preparation = prepared(make)
    raised = await asyncio.gather(*(preparation.value() for _ in range(5)), return_exceptions=True)
    assert {(type(each), str(each), each.parameter) for each in raised} == {
        (ValidationError, "a file is bad", "ca_bundle")
    }
    assert len({id(each) for each in raised}) == 5
    make.error = None
    assert await preparation.value() == make.times


async def test_what_is_no_error_of_ours_becomes_one_and_its_frames_stay_behind():
    def make():
        secret = "swordfish"
        raise KeyError(len(secret))

    with pytest.raises(SageMakerError, match=r"reading failed \(KeyError: 9\)") as caught:
        await prepared(make).value()
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "swordfish" not in "".join(told.format())
    assert caught.value.__context__ is None


async def test_it_hangs_and_the_loop_does_not(caplog):
    make = Made(gate=threading.Event())
    slow = prepared(make, within=0.15)
    with caplog.at_level(logging.WARNING, "deepgram_sagemaker"):
        waiting = asyncio.create_task(slow.value())
        turns = 0
        while not waiting.done():
            await asyncio.sleep(0.001)
            turns += 1
    assert turns > 10
    with pytest.raises(ConnectTimeoutError, match="took longer than") as caught:
        await waiting
    assert caught.value.retryable is True
    (record,) = caplog.records
    # Where every log line of a session arrives.
    assert (record.levelname, record.name) == ("WARNING", "deepgram_sagemaker.transport")
    # Later callers wait for the same thread; no other is started.
    for _ in range(3):
        with pytest.raises(ConnectTimeoutError):
            await slow.value()
    assert make.times == 1
    assert len(at_work()) == 1
    make.gate.set()
    assert await slow.value() == 1


async def test_a_timeout_shorter_than_the_warning_is_kept():
    make = Made(gate=threading.Event())
    began = time.monotonic()
    with pytest.raises(ConnectTimeoutError):
        await prepared(make, within=0.05).value()
    assert time.monotonic() - began < errands._SILENCE
    make.gate.set()


async def test_cancelling_does_not_wait():
    make = Made(gate=threading.Event())
    preparation = prepared(make)
    first, second = (asyncio.create_task(preparation.value()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not second.done()
    make.gate.set()
    assert await second == 1


def test_a_loop_that_is_gone_is_not_written_to():
    make = Made(gate=threading.Event())
    preparation = prepared(make)

    async def give_up():
        async with asyncio.timeout(0.01):
            await preparation.value()

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    (thread,) = at_work()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make.gate.set()
        thread.join(10)
    assert not thread.is_alive()
    assert asyncio.run(preparation.value()) == 1


def test_several_loops_at_once():
    make = Made(gate=threading.Event())
    preparation = prepared(make)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(asyncio.run, preparation.value()) for _ in range(4)]
        while not at_work():
            time.sleep(0.001)
        make.gate.set()
        assert {each.result(10) for each in waiting} == {1}


async def test_a_thread_that_cannot_start_is_an_error_that_may_pass(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    preparation = prepared(Made())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(SageMakerError, match="can't start new thread") as caught:
            await preparation.value()
    assert caught.value.retryable is True
    assert await preparation.value() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_makes_its_own():
    make = Made()
    preparation = prepared(make)
    assert asyncio.run(preparation.value()) == 1
    with preparation._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if asyncio.run(preparation.value()) == 2 else 2
            finally:
                os._exit(status)
    deadline = time.monotonic() + 20
    ended, status = 0, -1
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert (ended, os.waitstatus_to_exitcode(status)) == (child, 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this platform")
@pytest.mark.parametrize("which", ["ca_bundle", "AWS_CONFIG_FILE"])
async def test_a_file_that_never_answers_is_an_error_in_time(tmp_path, monkeypatch, which):
    """Opening a pipe without a writer blocks, as a file on a dead NFS does."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr("pathlib.Path.is_file", lambda _: True)
    monkeypatch.setattr("os.path.isfile", lambda _: True)
    monkeypatch.setattr("deepgram_sagemaker.aws.client._READY_WITHIN", 0.3)
    settings = {"endpoint_uri": "https://127.0.0.1:1"}
    if which == "ca_bundle":
        settings["ca_bundle"] = pipe
    else:
        monkeypatch.setenv(which, str(pipe))
    client = LegClient(SageMakerConfig("ep", **settings))
    # The first look-up imports botocore, which takes some time.
    import botocore.session  # noqa: F401

    turns = 0
    opening = asyncio.create_task(
        client.open(Invocation("v1/listen"), Identity("a", "b"), progress=Progress(lambda: None))
    )
    while not opening.done():
        await asyncio.sleep(0.001)
        turns += 1
    with pytest.raises(ConnectTimeoutError, match="took longer than"):
        await opening
    assert turns > 10
    assert len(at_work()) == 1
    # Released, so that no thread is left behind.
    os.close(os.open(pipe, os.O_WRONLY))
    for thread in at_work():
        thread.join(10)
