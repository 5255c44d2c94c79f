"""Whole sessions on loops of every kind: what users of Windows, macOS and uvloop have.

`pytest --loop NAME` runs all other tests on one of them.
"""

import asyncio
import gc
import importlib.util

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterChunks, Drop, Reset
from loops import LOOPS
from sessions import CHUNK, LISTEN_URL, chunk, client_of, session, until

OTHERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name == "uvloop" and importlib.util.find_spec("uvloop") is None,
            reason="uvloop is not installed",
        ),
    )
    for name in LOOPS
    if name != "default"
]


@pytest.fixture(params=OTHERS)
def run(request):
    """Runs a coroutine on a loop of each kind, as `asyncio.run` does."""

    def running(work):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(work)

    return running


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


def test_a_session_is_whole(run):
    async def main():
        async with LocalEndpoint() as endpoint:
            heard = await session(client_of(endpoint.config()), 100)
            assert heard.errors == []
            assert heard.numbers == list(range(100))
        assert others() == set()

    run(main())


def test_a_session_survives_what_breaks_its_streams(run):
    faults = [
        Fault(Reset(2), when=AfterChunks(20), legs=(1, 3)),
        Fault(Drop(), when=AfterChunks(30), legs=(4, 5)),
    ]

    async def main():
        async with LocalEndpoint(faults=faults) as endpoint:
            client = client_of(endpoint.config(initial_backoff=0.01, max_backoff=0.02))
            heard = await session(client, 200, pace=0.001)
            assert heard.errors == []
            assert heard.numbers == list(range(200))
            assert len(endpoint.legs) == 6
        assert others() == set()

    run(main())


def test_many_sessions_share_a_loop(run):
    async def main():
        async with LocalEndpoint(model=Watermark(window=5)) as endpoint:
            client = client_of(endpoint.config())
            heard = await asyncio.gather(*(session(client, 20, pace=0.005) for _ in range(50)))
            assert [each.errors for each in heard] == [[]] * 50
            assert [each.numbers for each in heard] == [list(range(20))] * 50
        assert others() == set()

    run(main())


def test_sessions_are_cancelled_at_once_and_leave_nothing(run):
    async def main():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        async with LocalEndpoint() as endpoint:
            client = client_of(endpoint.config(close_timeout=0.3))
            # Before the stream is open, while it opens, and while it is used.
            for after in (0.0, 0.001, 0.01, 0.05):
                tasks = [asyncio.create_task(session(client, 500, pace=0.01)) for _ in range(10)]
                await asyncio.sleep(after)
                for task in tasks:
                    task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(each, asyncio.CancelledError) for each in outcomes)
                await until(lambda: not others())
            await until(lambda: all(leg.closed is not None for leg in endpoint.legs))
        gc.collect()
        assert complaints == []

    run(main())


@pytest.mark.parametrize("name", OTHERS)
def test_a_loop_closed_with_a_session_live_leaves_nothing(name):
    async def begin(endpoint):
        transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN_URL)
        await transport.open()
        await transport.send(chunk(0, CHUNK))
        return transport

    with LocalEndpoint() as endpoint:
        loop = LOOPS[name]()
        held = [loop.run_until_complete(begin(endpoint))]
        loop.close()
        with pytest.warns(ResourceWarning, match="was never closed"):
            held.clear()
        asyncio.run(until(lambda: all(leg.closed is not None for leg in endpoint.legs)))
