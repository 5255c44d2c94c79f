"""In which order a session's events are told, whoever says them and whatever a listener does."""

import asyncio
import threading
import time

import pytest
from deepgram_sagemaker import SageMakerConfig, events
from deepgram_sagemaker.reporter import Reporter


class Native:
    """What a native session has seen, until it is taken."""

    def __init__(self):
        self.seen = []

    def stalled(self, leg, age):
        self.seen.append(("Stalled", {"leg": leg, "seconds": 1.0}, time.monotonic() - age))

    def resumed(self, leg, age):
        fields = {"leg": leg, "seconds_replayed": 0.0, "bytes_replayed": 0, "is_first": False}
        self.seen.append(("Resumed", fields, time.monotonic() - age))

    def take_notices(self):
        taken, self.seen = self.seen, []
        now = time.monotonic()
        return [(name, fields, now - at) for name, fields, at in taken]


class Shared:
    names = ("first (us-east-1)", "second (us-west-2)")
    configs = (SageMakerConfig("first", "us-east-1"), SageMakerConfig("second", "us-west-2"))

    def __init__(self, on_event):
        self.events = events.Channel(lambda _: None, on_event)


class Scene:
    """A reporter, what its native session sees, and what is told."""

    def __init__(self, then=lambda _: None):
        self.native = Native()
        self.told = []

        def on_event(event):
            self.told.append(event)
            then(event)

        loop = asyncio.get_running_loop()
        self.reporter = Reporter(Shared(on_event), self.native, loop, "0123", "v1/listen")

    @property
    def names(self):
        return [each.name for each in self.told]

    def open(self, endpoint, leg, *, moment=None, falls_over=False):
        self.reporter.opening(endpoint, standby=False, renews_keys=False, failures=0)
        self.reporter.opened(
            endpoint,
            leg,
            moment=moment or events.Moment.now(),
            seconds=0.1,
            headers={},
            falls_over=falls_over,
        )


SAID = {
    "endpoint_returned": lambda reporter: reporter.endpoint_returned(0),
    "endpoint_avoided": lambda reporter: reporter.endpoint_avoided(0, 5.0, "connect"),
    "credentials_refreshed": lambda reporter: reporter.keys_changed(0, forced=True, seconds=0.1),
    "leg_opening": lambda reporter: reporter.opening(
        0, standby=True, renews_keys=False, failures=0
    ),
    "session_ended": lambda reporter: reporter.ended(
        0, None, None, is_cut=False, totals=events.Stats
    ),
}


@pytest.mark.parametrize("name", SAID)
async def test_what_happened_before_is_told_before(name):
    scene = Scene()
    scene.native.stalled(0, age=2.0)
    scene.native.stalled(1, age=3.0)
    SAID[name](scene.reporter)
    assert scene.names == ["stalled", "stalled", name]
    assert [event.leg for event in scene.told[:2]] == [1, 0]
    times = [event.monotonic for event in scene.told]
    assert times == sorted(times)


async def test_a_failed_opening_comes_after_what_happened_meanwhile():
    scene = Scene()
    scene.reporter.opening(1, standby=True, renews_keys=False, failures=0)
    scene.native.stalled(0, age=0.0)
    scene.reporter.open_failed(1)
    assert scene.names == ["leg_opening", "stalled", "leg_open_failed"]
    assert scene.told[-1].endpoint_name == "second"


async def test_what_happens_over_a_leg_comes_after_its_opening():
    scene = Scene()
    scene.reporter.opening(0, standby=False, renews_keys=False, failures=0)
    scene.native.stalled(0, age=1.0)
    moment = events.Moment.now()
    scene.native.stalled(1, age=0.0)
    scene.reporter.opened(0, 1, moment=moment, seconds=0.1, headers={}, falls_over=False)
    assert scene.names == ["leg_opening", "stalled", "leg_opened", "stalled"]
    assert [event.leg for event in scene.told[1:]] == [0, 1, 1]


async def test_a_change_of_the_endpoint_follows_what_shows_it():
    scene = Scene()
    scene.open(0, 0)
    scene.native.stalled(0, age=0.2)
    scene.open(1, 1, falls_over=True)
    scene.native.resumed(1, age=0.1)
    scene.native.stalled(1, age=0.0)
    scene.reporter.report()
    assert scene.names[-3:] == ["resumed", "endpoint_changed", "stalled"]
    changed = scene.told[-2]
    assert (changed.before, changed.after) == Shared.names
    assert (changed.endpoint_name, changed.falls_over) == ("second", True)
    # What has no leg is about the endpoint where the session is.
    scene.native.seen.append(("FirstResult", {"seconds": 1.0}, time.monotonic()))
    scene.reporter.report()
    assert scene.told[-1].endpoint_name == "second"


async def test_what_a_listener_sets_off_waits_for_its_turn():
    """It drops the last reference to the transport: the end is said in the middle of an event."""

    def then(event):
        if event.name == "stalled" and event.leg == 0:
            scene.native.stalled(2, age=0.0)
            SAID["session_ended"](scene.reporter)

    scene = Scene(then)
    scene.native.stalled(0, age=2.0)
    scene.native.stalled(1, age=1.0)
    scene.reporter.report()
    assert [(event.name, getattr(event, "leg", None)) for event in scene.told] == [
        ("stalled", 0),
        ("stalled", 1),
        ("stalled", 2),
        ("session_ended", None),
    ]


async def test_a_listener_that_stops_the_program_loses_no_event():
    def then(event):
        if event.name == "stalled" and event.leg == 0:
            raise KeyboardInterrupt

    scene = Scene(then)
    scene.native.stalled(0, age=2.0)
    scene.native.stalled(1, age=1.0)
    with pytest.raises(KeyboardInterrupt):
        scene.reporter.report()
    SAID["session_ended"](scene.reporter)
    assert scene.names == ["stalled", "stalled", "session_ended"]


async def test_nothing_is_lost_between_threads():
    """Who finds that another one tells leaves it to that one, which looks again at the end."""
    scene = Scene()
    told = []
    scene.reporter._shared.events = events.Channel(told.append)
    together = threading.Barrier(4)

    def say():
        together.wait()
        for _ in range(200):
            scene.reporter.endpoint_returned(0)

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(told) == 800
    times = [event.monotonic for event in told]
    assert times == sorted(times)


async def test_the_end_is_told_once():
    scene = Scene()
    for _ in range(2):
        SAID["session_ended"](scene.reporter)
    assert scene.names == ["session_ended"]
