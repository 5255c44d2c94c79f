"""The load test on Ray: the same plan, over actors in processes of their own."""

import asyncio

import pytest
from deepgram_sagemaker.load.audio import watermarked
from deepgram_sagemaker.load.conductor import Conductor
from deepgram_sagemaker.load.plan import Plan
from deepgram_sagemaker.load.spec import Spec
from deepgram_sagemaker.load.verdict import Limits, Outcome
from deepgram_sagemaker.local import LocalEndpoint
from sessions import until

ray = pytest.importorskip("ray", reason="Ray, of the extra `ray`, is not installed")


class Watcher:
    """Counts the seconds that it is told of."""

    def __init__(self):
        self.seconds = 0

    def began(self, step):
        pass

    def second(self, step, number, tally):
        self.seconds += 1

    def ended(self, judged):
        pass

    def closing(self):
        pass


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two processors, unless there is one already."""
    keys = LocalEndpoint().credentials
    begun = not ray.is_initialized()
    with pytest.MonkeyPatch.context() as patch:
        # Ray's processes inherit them.
        patch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
        patch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        if begun:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    if begun:
        ray.shutdown()


def on_ray(endpoint, actors):
    from deepgram_sagemaker.load.on_ray import OnRay

    return OnRay(spec(endpoint), actors)


def spec(endpoint):
    return Spec(
        endpoint_name=endpoint.endpoint_name,
        region=endpoint.region,
        endpoint_uri=endpoint.uri,
        ca_bundle=endpoint.ca_bundle,
        query={"model": "nova-3"},
        pieces=[watermarked()],
        streams=20,
    )


@pytest.mark.patience(180)
async def test_actors_share_the_streams(cluster):
    plan = Plan(streams=20, ramp=12.0, duration=0.0, step=5)
    with LocalEndpoint(max_streams=15) as there:
        watcher = Watcher()
        course = await Conductor(plan, Limits(lag=20.0), on_ray(there, 2), watcher).run()
        assert there.stats.most_live_streams == 15
        assert there.stats.live_streams == 0
    conclusion = course.conclusion
    assert (conclusion.knee, conclusion.is_exact) == (15, True), conclusion
    assert conclusion.outcome is Outcome.REFUSED
    assert watcher.seconds == 12
    assert course.ending.finished == 15
    assert course.lost_workers == []
    assert not any(each.missing for each in [*course.seconds, course.ending])


@pytest.mark.patience(180)
async def test_an_actor_that_dies(cluster):
    plan = Plan(streams=8, ramp=8.0, duration=600.0, step=8)
    with LocalEndpoint() as there:
        watcher = Watcher()
        crew = on_ray(there, 2)
        running = asyncio.create_task(Conductor(plan, Limits(lag=20.0), crew, watcher).run())
        await until(lambda: watcher.seconds >= 2, within=120)
        ray.kill(crew._actors[1])
        course = await running
        await until(lambda: there.stats.live_streams == 0)
    assert len(course.lost_workers) == 1
    assert course.lost_workers[0].startswith("actor 2: ")
    assert course.conclusion.outcome is Outcome.WORKER
    assert course.ending.finished >= 1
