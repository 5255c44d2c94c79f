"""Plans over workers: figures that are added up, workers that die, endpoints that fail."""

import asyncio
import os

import pytest
from deepgram_sagemaker.errors import EndpointNotFoundError
from deepgram_sagemaker.load.audio import watermarked
from deepgram_sagemaker.load.conductor import Conductor
from deepgram_sagemaker.load.plan import Plan
from deepgram_sagemaker.load.processes import Processes
from deepgram_sagemaker.load.spec import Spec
from deepgram_sagemaker.load.tally import Tally
from deepgram_sagemaker.load.verdict import Limits, Outcome
from deepgram_sagemaker.load.workers import Here, WorkerLostError
from deepgram_sagemaker.local import LocalEndpoint
from sessions import until

CALM = Limits(lag=20.0)


class Watcher:
    """Keeps what it is told."""

    def __init__(self):
        self.steps = []
        self.seconds = []
        self.outcomes = []
        self.is_closing = False

    def began(self, step):
        self.steps.append(step.streams)

    def second(self, step, number, tally):
        self.seconds.append((number, tally))

    def ended(self, judged):
        self.outcomes.append(judged.outcome)

    def closing(self):
        self.is_closing = True


class MadeUp:
    """A worker that holds nothing, and tells figures all the same.

    Args:
        name: Its name.
        share: The share of the streams that it holds.
        dies: The second at which it dies; None: never.
    """

    def __init__(self, name, share=0.5, dies=None):
        self.name = name
        self._share = share
        self._dies = dies
        self._told = 0
        self._live = 0
        self.ended = None

    async def prepare(self):
        pass

    async def begin(self, within):
        self._begins = asyncio.get_running_loop().time() + within

    async def want(self, streams, within):
        self._live = round(streams * self._share)

    async def collect(self):
        now = asyncio.get_running_loop().time() - self._begins
        if self._dies is not None and now >= self._dies:
            raise WorkerLostError("killed")
        found = []
        while self._told + 1 <= now:
            tally = Tally(wanted=self._live, live=self._live, chunks=50 * self._live)
            tally.finals.add(0.3)
            found.append((self._told, tally))
            self._told += 1
        return found

    async def end(self, within):
        self.ended = within


class Crew:
    def __init__(self, *workers):
        self.workers = workers

    async def __aenter__(self):
        return self.workers

    async def __aexit__(self, *_):
        pass


def plan(**fields):
    return Plan(**{"streams": 20, "ramp": 4.0, "duration": 0.0, "step": 10} | fields)


async def test_the_figures_of_workers_are_added_up():
    watcher, crew = Watcher(), Crew(MadeUp("one"), MadeUp("two"))
    course = await Conductor(plan(), Limits(), crew, watcher).run()
    assert course.conclusion.holds
    assert watcher.steps == [10, 20]
    assert [number for number, _ in watcher.seconds] == [0, 1, 2, 3]
    assert [tally.live for _, tally in watcher.seconds] == [10, 10, 20, 20]
    assert [tally.chunks for tally in course.seconds] == [500, 500, 1000, 1000]
    assert course.judged[-1].settled.finals.total == 2
    assert watcher.is_closing
    assert all(worker.ended for worker in crew.workers)


async def test_a_worker_that_dies_is_a_failure_and_not_the_end():
    watcher, crew = Watcher(), Crew(MadeUp("one"), MadeUp("two", dies=2.5))
    course = await Conductor(plan(keep_going=True), Limits(), crew, watcher).run()
    assert course.lost_workers == ["two: killed"]
    assert watcher.outcomes == [Outcome.HELD, Outcome.WORKER]
    assert course.conclusion.knee == 10
    assert course.conclusion.sentence == (
        "holds at least 10 streams: with 20 this side was the limit (a worker died: two: killed)"
    )
    # The other goes on to the end.
    assert [tally.live for tally in course.seconds] == [10, 10, 10, 10]
    assert crew.workers[0].ended


async def test_without_workers_the_test_ends():
    watcher = Watcher()
    crew = Crew(MadeUp("one", dies=0.5), MadeUp("two", dies=0.5))
    async with asyncio.timeout(20):
        course = await Conductor(plan(duration=600.0), Limits(), crew, watcher).run()
    assert len(course.lost_workers) == 2
    assert course.conclusion.outcome is Outcome.WORKER


async def test_a_stop_ends_the_step_at_once():
    watcher, crew = Watcher(), Crew(MadeUp("one", 1.0))
    conductor = Conductor(plan(ramp=1200.0), Limits(), crew, watcher)
    running = asyncio.create_task(conductor.run())
    await until(lambda: watcher.seconds)
    conductor.stop()
    async with asyncio.timeout(10):
        course = await running
    assert course.is_stopped
    assert watcher.outcomes == [Outcome.STOPPED]
    assert crew.workers[0].ended


def spec(endpoint, monkeypatch, **fields):
    keys = endpoint.credentials
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
    return Spec(
        **{
            "endpoint_name": endpoint.endpoint_name,
            "region": endpoint.region,
            "endpoint_uri": endpoint.uri,
            "ca_bundle": endpoint.ca_bundle,
            "query": {"model": "nova-3"},
            "pieces": [watermarked()],
            "streams": 20,
        }
        | fields
    )


@pytest.mark.parametrize("crew", [Here, lambda spec: Processes(spec, 2)], ids=["here", "others"])
async def test_an_endpoint_that_is_not_there(monkeypatch, crew):
    with LocalEndpoint() as there:
        wrong = spec(there, monkeypatch, endpoint_name="another")
        with pytest.raises(EndpointNotFoundError) as raised:
            await Conductor(plan(), CALM, crew(wrong), Watcher()).run()
    assert raised.value.status == 400


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
async def test_a_process_that_is_killed(monkeypatch):
    watcher = Watcher()
    with LocalEndpoint() as there:
        crew = Processes(spec(there, monkeypatch), 2)
        running = asyncio.create_task(
            Conductor(plan(ramp=12.0, duration=600.0), CALM, crew, watcher).run()
        )
        await until(lambda: len(watcher.seconds) >= 2, within=40)
        victim = crew._workers[1]._process
        victim.kill()
        course = await running
        await until(lambda: there.stats.live_streams == 0)
    assert course.lost_workers == ["process 2: it ended with status -9"]
    assert course.conclusion.outcome is Outcome.WORKER
    # What the other held goes on, and ends in order.
    assert course.seconds[-1].live >= 5
    assert course.ending.finished >= 5
    assert not course.ending.missing
