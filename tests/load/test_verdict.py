"""Whether steps hold, and where the knee is, with made-up figures of endpoints of many shapes."""

import random
import re
from collections import Counter

import pytest
from deepgram_sagemaker.load.plan import Plan
from deepgram_sagemaker.load.step import Step
from deepgram_sagemaker.load.tally import Tally
from deepgram_sagemaker.load.verdict import (
    Judged,
    Limits,
    Outcome,
    baseline,
    conclude,
    highest_held,
    judge,
    lowest_failed,
)

REFUSAL = "424 ModelError"


class Endpoint:
    """Makes the figures of a second that there are so many streams.

    Args:
        room: Streams that it lets in.
        lag: Returns the seconds of lag with so many streams.
        late: Returns the share of the audio that the load generator sends late.
        fails: Streams from which on sessions fail, one each second.
        loses: Streams from which on audio is lost.
        refuses_nothing: Whether streams beyond `room` just never open.
    """

    def __init__(self, *, room=10**6, lag=None, late=None, fails=None, loses=None, mute=False):
        self.room = room
        self.lag = lag or (lambda streams: 0.3)
        self.late = late or (lambda streams: 0.0)
        self.fails = fails
        self.loses = loses
        self.mute = mute
        self.dice = random.Random(7)

    def second(self, step, at):
        tally = Tally(wanted=step.streams)
        share = 1.0 if at >= step.opening else (at + 1) / (step.opening + 1)
        tally.live = min(self.room, round(step.streams * share))
        tally.chunks = 50 * tally.live
        tally.late = round(tally.chunks * self.late(tally.live))
        if step.streams > self.room and at and not self.mute:
            tally.refused[REFUSAL] += step.streams - self.room
            tally.examples[REFUSAL] = "no room"
        for _ in range(20):
            tally.interims.add(self.lag(tally.live) * self.dice.uniform(0.8, 1.2))
        if self.fails is not None and tally.live >= self.fails:
            tally.failed["ConnectionLostError"] += 1
        if self.loses is not None and tally.live >= self.loses:
            tally.lost += 0.5
        return tally


def found(endpoint, *, limits=None, **plan):
    """The conclusion about an endpoint, and the steps."""
    limits = limits or Limits()
    plan = Plan(**{"streams": 200, "ramp": 60.0, "duration": 10.0, "step": 20} | plan)
    judged, begins = [], 0
    while (step := plan.next(judged)) is not None:
        seconds = [endpoint.second(step, at) for at in range(step.seconds)]
        judged.append(judge(step, begins, seconds, limits, baseline(judged)))
        begins += step.seconds
        assert len(judged) < 50
    return conclude(judged, plan.streams, Tally()), judged


def test_an_endpoint_with_room_for_all():
    conclusion, judged = found(Endpoint())
    assert (conclusion.outcome, conclusion.knee, conclusion.holds) == (Outcome.HELD, 200, True)
    assert conclusion.sentence == "holds 200 streams"
    assert [each.step.streams for each in judged] == [*range(20, 201, 20), 200]
    assert [each.step.name for each in judged] == ["up"] * 10 + ["hold"]


@pytest.mark.parametrize("room", [1, 7, 20, 21, 22, 101, 111, 150, 199])
def test_a_hard_limit_is_found_to_the_stream(room):
    conclusion, judged = found(Endpoint(room=room))
    assert (conclusion.outcome, conclusion.knee, conclusion.is_exact) == (
        Outcome.REFUSED,
        room,
        True,
    )
    suffix = {1: "2nd", 7: "8th", 20: "21st", 21: "22nd", 22: "23rd", 101: "102nd", 111: "112th"}
    ordinal = suffix.get(room, {150: "151st", 199: "200th"}.get(room))
    noun = "stream" if room == 1 else "streams"
    assert conclusion.sentence == (
        f"holds {room} {noun}: the {ordinal} was refused (424 ModelError: no room)"
    )
    # Nobody goes on against an endpoint that is full.
    assert judged[-1].step.streams <= room + 20


def test_a_hard_limit_is_confirmed_by_a_search():
    conclusion, judged = found(Endpoint(room=150), find=True)
    assert conclusion.knee == 150
    assert (judged[-1].step.name, judged[-1].step.streams) == ("confirm", 150)
    assert judged[-1].outcome is Outcome.HELD


def growing(streams):
    """Lag that grows without bound from 130 streams on."""
    return 0.3 + max(0.0, streams - 130) * 0.1


def test_a_soft_knee_is_the_last_step_that_held():
    conclusion, judged = found(Endpoint(lag=growing))
    assert (conclusion.outcome, conclusion.knee) == (Outcome.LAG, 120)
    assert not conclusion.is_exact
    assert conclusion.sentence.startswith("holds 120 streams: with 140, lag p95 1.")
    assert judged[-1].step.streams == 140


def test_a_search_finds_a_soft_knee_more_finely():
    conclusion, judged = found(Endpoint(lag=growing), find=True)
    assert conclusion.outcome is Outcome.LAG
    # The lag passes the first step's by a second with 138 streams or so.
    assert 132 <= conclusion.knee <= 139
    assert [each.step.name for each in judged].count("search") <= 4


def judged_as(name, streams, outcome, *, seconds=6, **fields):
    """A step of which this came."""
    step = Step(streams, seconds, 3.0, name)
    total = Tally(refused=Counter({REFUSAL: 1} if outcome is Outcome.REFUSED else {}))
    fields = {"live": streams, "most": streams, "reason": outcome.value} | fields
    return Judged(step, 0, outcome, total=total, settled=Tally(), **fields)


def searched(holds, *before, streams=20, duration=60.0):
    """The steps that follow these, of an endpoint that holds so many streams for long."""
    plan = Plan(streams=streams, ramp=12.0, duration=duration, step=10, find=True)
    judged = list(before)
    while (step := plan.next(judged)) is not None:
        outcome = Outcome.HELD if step.streams <= holds else Outcome.LAG
        judged.append(judged_as(step.name, step.streams, outcome, seconds=step.seconds))
        assert len(judged) < 20
    return judged[len(before) :], conclude(judged, streams, Tally())


def test_what_fails_only_in_the_stay_is_searched():
    before = [
        judged_as("up", 10, Outcome.HELD),
        judged_as("up", 20, Outcome.HELD),
        judged_as("hold", 20, Outcome.LAG, seconds=60),
    ]
    assert (highest_held(before), lowest_failed(before)) == (10, 20)
    search, conclusion = searched(17, *before)
    assert [each.step.streams for each in search] == [15, 17, 18]
    # A short step would hold again.
    assert {each.step.seconds for each in search} == {60}
    assert (conclusion.knee, conclusion.outcome) == (17, Outcome.LAG)


def test_a_limit_that_is_not_confirmed_is_searched_below():
    before = [
        judged_as("up", 10, Outcome.HELD),
        judged_as("up", 20, Outcome.REFUSED, live=19, most=19),
    ]
    search, conclusion = searched(14, *before)
    assert [(each.step.name, each.step.streams) for each in search] == [
        ("confirm", 19),
        ("search", 14),
        ("search", 16),
        ("search", 15),
    ]
    assert (conclusion.knee, conclusion.is_exact) == (14, False)
    search, conclusion = searched(19, *before)
    assert [each.step.name for each in search] == ["confirm"]
    assert (conclusion.knee, conclusion.is_exact) == (19, True)


def test_a_stay_that_is_stopped_has_not_failed():
    steps = [judged_as("up", 20, Outcome.HELD), judged_as("hold", 20, Outcome.STOPPED)]
    assert (highest_held(steps), lowest_failed(steps)) == (20, None)


def test_all_steps_are_run_if_asked_for():
    conclusion, judged = found(Endpoint(lag=growing), keep_going=True)
    assert conclusion.knee == 120
    assert [each.step.streams for each in judged] == list(range(20, 201, 20))


def test_noise_is_no_knee():
    dice = random.Random(3)
    conclusion, _ = found(Endpoint(lag=lambda streams: dice.uniform(0.05, 0.9)))
    assert conclusion.holds


def test_a_limit_of_ones_own_is_the_only_one():
    slow = Endpoint(lag=lambda streams: 8.0)
    assert found(slow)[0].outcome is Outcome.LAG
    assert found(slow, limits=Limits(lag=12.0))[0].holds
    conclusion, _ = found(Endpoint(), limits=Limits(lag=0.1))
    assert (conclusion.outcome, conclusion.knee) == (Outcome.LAG, 0)


def test_an_endpoint_that_fails_from_the_first_step():
    conclusion, judged = found(Endpoint(fails=1))
    assert (conclusion.outcome, conclusion.knee, len(judged)) == (Outcome.FAILED, 0, 1)
    assert (
        conclusion.sentence
        == "does not hold 20 streams: failed: 6 \N{MULTIPLICATION SIGN} ConnectionLostError"
    )


def test_what_every_stream_would_fail_with_ends_the_test():
    """Whatever was asked for, and it is no limit of the number of streams."""
    kind = "403 ExpiredTokenException"

    class Expired(Endpoint):
        def second(self, step, at):
            tally = super().second(step, at)
            if step.streams > 40:
                tally.live = 40
                tally.failed[kind] += 2
                tally.permanent[kind] += 2
                tally.refused[REFUSAL] += 1
                tally.examples[kind] = "it has expired"
            return tally

    for options in ({}, {"find": True}, {"keep_going": True}):
        conclusion, judged = found(Expired(), **options)
        assert [each.step.streams for each in judged] == [20, 40, 60]
        assert (conclusion.outcome, conclusion.knee) == (Outcome.FAILED, 40)
        assert not conclusion.is_exact
        assert conclusion.sentence == (
            "holds at least 40 streams: with 60, failed for good: 12 \N{MULTIPLICATION SIGN} "
            f"{kind} (it has expired), which does not depend on their number"
        )


def test_lost_audio_is_a_failure():
    conclusion, _ = found(Endpoint(loses=100))
    assert (conclusion.outcome, conclusion.knee) == (Outcome.LOST, 80)
    assert "s of audio lost" in conclusion.sentence


def test_streams_that_never_open_are_missed():
    conclusion, _ = found(Endpoint(room=90, mute=True))
    assert (conclusion.outcome, conclusion.knee) == (Outcome.SLOW, 80)
    assert conclusion.sentence == "holds 80 streams: with 100, 10 of 100 were not open in time"


def test_a_slow_load_generator_is_not_the_endpoints_fault():
    late = Endpoint(lag=growing, late=lambda streams: 0.2 if streams > 130 else 0.0)
    conclusion, judged = found(late)
    assert (conclusion.outcome, conclusion.knee) == (Outcome.GENERATOR, 120)
    assert "holds at least 120 streams: with 140 this side was the limit" in conclusion.sentence
    assert judged[-1].is_limited_by_us


def test_late_audio_alone_is_only_told():
    conclusion, judged = found(Endpoint(late=lambda streams: 0.2))
    assert conclusion.holds
    assert all(each.is_limited_by_us for each in judged)


def test_openings_that_were_refused_at_first_do_not_hold():
    """Every stream is open in the end, but not at the first request: no exact number is known."""
    endpoint = Endpoint()

    def second(step, at, plain=endpoint.second):
        tally = plain(step, at)
        if step.streams > 100 and not at:
            tally.refused["429 ThrottlingException"] += 3
            tally.throttles += 3
        return tally

    endpoint.second = second
    conclusion, _ = found(endpoint)
    assert (conclusion.outcome, conclusion.knee, conclusion.is_exact) == (
        Outcome.REFUSED,
        100,
        False,
    )
    assert conclusion.sentence == (
        "holds 100 streams: with 120, throttled while opening: 3 \N{MULTIPLICATION SIGN} 429 "
        "ThrottlingException"
    )
    throttled = heard(Tally(live=30, throttles=6))
    throttled.refused["429 ThrottlingException"] += 6
    judged = one_step([throttled, throttled])
    assert conclude([judged], 30, Tally()).sentence == (
        "is not known to hold 30 streams: throttled while opening: 12 \N{MULTIPLICATION SIGN} 429 "
        "ThrottlingException"
    )
    # With fewer than were asked for, it may be a limit.
    throttled.live = 29
    assert one_step([throttled, throttled]).reason.startswith("refused: 12 ")


def test_an_endpoint_that_lets_streams_in_slowly_has_no_exact_limit():
    plan = Plan(streams=40, ramp=4.0, duration=0.0, step=40)
    step = plan.next([])
    seconds = [
        Tally(live=10 * at, opened=10, refused=Counter({"429 ThrottlingException": 5}))
        for at in (1, 2, 3)
    ]
    judged = judge(step, 0, seconds, Limits(), None)
    assert (judged.outcome, judged.is_growing) == (Outcome.REFUSED, True)
    conclusion = conclude([judged], 40, Tally())
    assert (conclusion.knee, conclusion.is_exact) == (0, False)


def test_what_is_lost_at_the_end_counts():
    _, judged = found(Endpoint())
    for ending, outcome in (
        (Tally(missing=3), Outcome.LOST),
        (Tally(failed=Counter({"SessionLostError": 1})), Outcome.FAILED),
        (Tally(cut=2), Outcome.FAILED),
    ):
        conclusion = conclude(judged, 200, ending)
        assert (conclusion.outcome, conclusion.holds) == (outcome, False)
        assert conclusion.sentence.startswith("holds 200 streams, but not to their end: ")


def test_a_test_that_was_stopped():
    plan = Plan(streams=40, ramp=8.0, duration=0.0, step=20)
    step = plan.next([])
    held = judge(step, 0, [Endpoint().second(step, at) for at in range(4)], Limits(), None)
    step = plan.next([held])
    half = [Endpoint().second(step, 0)]
    stopped = judge(step, 4, half, Limits(), 0.3, stopped=True)
    assert stopped.outcome is Outcome.STOPPED
    assert plan.next([held, stopped]) is None
    conclusion = conclude([held, stopped], 40, Tally(), stopped=True)
    assert conclusion.outcome is Outcome.STOPPED
    assert conclusion.sentence == "held 20 streams until the test was stopped"
    assert conclude([], 40, Tally(), stopped=True).knee == 0


def test_a_worker_that_dies_is_said():
    plan = Plan(streams=40, ramp=8.0, duration=0.0, step=20)
    step = plan.next([])
    seconds = [Endpoint(room=10).second(step, at) for at in range(4)]
    judged = judge(step, 0, seconds, Limits(), None, dead=["process 2"])
    assert (judged.outcome, judged.reason) == (Outcome.WORKER, "a worker died: process 2")
    assert not conclude([judged], 40, Tally()).holds


def test_streams_that_are_being_replaced_are_not_missed():
    plan = Plan(streams=20, ramp=2.0, duration=0.0, step=20)
    step = plan.next([])
    for finished, outcome in ((3, Outcome.HELD), (2, Outcome.SLOW)):
        seconds = [Tally(live=20), heard(Tally(live=17, finished=finished))]
        assert judge(step, 0, seconds, Limits(), None).outcome is outcome


def heard(tally, *lags, overdue=()):
    for lag in lags or (0.3,):
        tally.finals.add(lag)
    for late in overdue:
        tally.overdue.add(late)
    return tally


def one_step(seconds, *, streams=30, first=0.3, limits=None):
    """The verdict on a step of these seconds."""
    step = Plan(streams=streams, ramp=float(len(seconds)), duration=0.0, step=streams).next([])
    return judge(step, 0, seconds, limits or Limits(), first)


def test_results_that_are_late_and_have_not_come_are_judged():
    """Of 30 streams, four wait at the step's end: the others' lag does not show it."""
    fine = heard(Tally(live=30), *[0.3] * 200, overdue=[0.0] * 30)
    stuck = heard(Tally(live=30), *[0.3] * 200, overdue=[0.1] * 26 + [3.0] * 4)
    judged = one_step([fine, fine, fine, stuck])
    assert judged.outcome is Outcome.LAG
    assert re.fullmatch(
        r"results that have not come are late: p95 3\.0\d s, above 1\.30 s", judged.reason
    )
    # What was late for a while and has come is in the lag.
    assert one_step([fine, stuck, fine, fine]).outcome is Outcome.HELD
    # One of thirty may be, but not by far.
    for late, outcome in ((2.0, Outcome.HELD), (9.0, Outcome.LAG)):
        last = heard(Tally(live=30), overdue=[0.1] * 29 + [late])
        assert one_step([fine, fine, last]).outcome is outcome
    # And this machine may be the reason for it.
    stuck.late, stuck.chunks = 100, 1000
    assert one_step([fine, stuck]).outcome is Outcome.GENERATOR


def test_a_step_without_results_does_not_hold():
    quiet = Tally(live=30)
    judged = one_step([quiet] * 4, first=None)
    assert (judged.outcome, judged.reason) == (
        Outcome.SHORT,
        "no result came within 2 s: the step is too short",
    )
    assert conclude([judged], 30, Tally()).sentence == (
        "is not tested yet: with 30, no result came within 2 s: the step is too short"
    )
    assert not conclude([judged], 30, Tally()).holds
    # Results before the opening was over are no measure of all streams.
    assert one_step([heard(Tally(live=3)), quiet, quiet]).outcome is Outcome.SHORT
    waiting = Tally(live=30)
    for _ in range(30):
        waiting.overdue.add(5.5)
    assert one_step([quiet, quiet, waiting], first=None).outcome is Outcome.LAG


def test_without_results_in_the_first_step_no_other_takes_its_place():
    """With `keep_going` there are later steps: they have the limit that a first step has."""

    class Late(Endpoint):
        def second(self, step, at):
            tally = super().second(step, at)
            return Tally(live=tally.live) if step.streams == 20 else tally

    endpoint = Late(lag=lambda streams: 2.0 if streams == 40 else 4.0)
    _, judged = found(endpoint, keep_going=True)
    assert baseline(judged) is None
    assert [each.outcome for each in judged[:3]] == [Outcome.SHORT, Outcome.HELD, Outcome.HELD]


def test_results_that_come_late_while_streams_are_closed_count():
    _, judged = found(Endpoint())
    late = heard(Tally(resets=Counter({"reset": 20})), *[8.0] * 20)
    conclusion = conclude(judged, 200, late)
    assert (conclusion.outcome, conclusion.holds) == (Outcome.LAG, False)
    assert re.fullmatch(
        r"holds 200 streams, but not to their end: lag p95 8\.\d\d s, above 5\.00 s",
        conclusion.sentence,
    )
    assert conclude(judged, 200, late, limits=Limits(lag=12.0)).holds
    # All streams end at once, so what a step might not have is no failure here.
    assert conclude(judged, 200, heard(Tally(), 2.0), limits=Limits(lag=0.5)).holds
