"""A worker's permits, with the office of this process in place of the actor."""

import asyncio
from types import SimpleNamespace

import pytest
from deepgram_sagemaker.ray import permits
from deepgram_sagemaker.ray.permits import (
    BatchStoppedError,
    Office,
    OfficeLostError,
    Permits,
    PermitsLostError,
)
from ray.exceptions import ActorDiedError
from sessions import until


class Handle:
    """Calls the office as Ray does: at once, and the answer is a future of a thread's."""

    def __init__(self, office):
        self._office = office
        self.answers = asyncio.Event()
        self.answers.set()

    def __getattr__(self, method):
        async def call(*arguments):
            if isinstance(self._office, Exception):
                raise self._office
            await self.answers.wait()
            return await getattr(self._office, method)(*arguments)

        def remote(*arguments):
            loop = asyncio.get_running_loop()
            future = asyncio.run_coroutine_threadsafe(call(*arguments), loop)
            return SimpleNamespace(future=lambda: future)

        return SimpleNamespace(remote=remote)


@pytest.fixture
def office(monkeypatch):
    context = SimpleNamespace(was_current_actor_reconstructed=False)
    monkeypatch.setattr(permits.ray, "get_runtime_context", lambda: context)
    return Office(3, is_proven=False)


class Sessions:
    """Sessions that hold permits until they are told to end."""

    def __init__(self, mine):
        self._mine = mine
        self.running = 0
        self.most = 0
        self.end = asyncio.Event()

    async def one(self):
        async with self._mine.permit():
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await self.end.wait()
            finally:
                self.running -= 1


def begin(sessions, count):
    return [asyncio.create_task(sessions.one()) for _ in range(count)]


async def test_free_permits_go_to_whoever_has_work(office):
    handle = Handle(office)
    first, second = (Sessions(Permits(handle, name)) for name in "ab")
    tasks = begin(first, 5)
    await until(lambda: first.running == 3)
    tasks += begin(second, 2)
    await asyncio.sleep(0.1)
    assert (first.running, second.running) == (3, 0)
    first.end.set()
    await until(lambda: second.running == 2)
    second.end.set()
    await asyncio.gather(*tasks)
    assert (first.most, second.most) == (3, 2)
    await until(lambda: office._ledger.held == 0)


async def test_who_is_cancelled_keeps_nothing(office):
    sessions = Sessions(Permits(Handle(office), "a"))
    tasks = begin(sessions, 6)
    await until(lambda: sessions.running == 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: office._ledger.held == 0, within=20)
    sessions.end.set()
    await asyncio.wait_for(asyncio.gather(*begin(sessions, 4)), 20)


async def test_sessions_end_with_their_lease(office, monkeypatch):
    monkeypatch.setattr(permits, "LEASE", 1.0)
    monkeypatch.setattr(permits, "_MARGIN", 0.5)
    monkeypatch.setattr(permits, "_RENEWAL", 0.05)
    handle = Handle(office)
    mine = Permits(handle, "a")
    sessions = Sessions(mine)
    tasks = begin(sessions, 2)
    await until(lambda: sessions.running == 2)
    await asyncio.sleep(1.2)
    assert sessions.running == 2
    handle.answers.clear()
    monkeypatch.setattr(permits, "_CONFIRMED", 0.1)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    assert [type(each) for each in outcomes] == [PermitsLostError] * 2
    handle.answers.set()
    monkeypatch.setattr(permits, "_CONFIRMED", 5.0)
    sessions.end.set()
    await asyncio.wait_for(asyncio.gather(*begin(sessions, 4)), 20)


async def test_a_batch_that_ends_lets_nothing_begin(office):
    sessions = Sessions(Permits(Handle(office), "a"))
    tasks = begin(sessions, 5)
    await until(lambda: sessions.running == 3)
    await office.stop("because")
    assert await office.stopped() == "because"
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks[3:], return_exceptions=True), 20)
    assert [type(each) for each in outcomes] == [BatchStoppedError] * 2
    sessions.end.set()
    await asyncio.gather(*tasks[:3])


async def test_an_office_that_is_gone_is_an_error():
    sessions = Sessions(Permits(Handle(ActorDiedError()), "a"))
    outcomes = await asyncio.wait_for(
        asyncio.gather(*begin(sessions, 2), return_exceptions=True), 20
    )
    assert [type(each) for each in outcomes] == [OfficeLostError] * 2


async def test_nothing_succeeds_and_ten_fail(office):
    for number in range(10):
        assert await office.stopped() is None
        await office.failed(ValueError(number))
    reason = await office.stopped()
    assert reason.args == (9,)
    assert reason.__notes__ == ["the first 10 failed with errors of the service"]


async def test_one_success_is_enough(office):
    await office.succeeded()
    for number in range(100):
        await office.failed(ValueError(number))
    assert await office.stopped() is None
