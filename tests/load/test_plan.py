"""The stairs up, and what they cost."""

import itertools

import pytest
from deepgram_sagemaker.load.plan import Plan


def plan(**fields):
    return Plan(**{"streams": 100, "ramp": 60.0, "duration": 30.0, "step": 10} | fields)


@pytest.mark.parametrize(
    ("streams", "step", "levels"),
    [
        (100, 25, [25, 50, 75, 100]),
        (100, 30, [30, 60, 90, 100]),
        (100, 100, [100]),
        (1, 1, [1]),
        (3, 1, [1, 2, 3]),
    ],
)
def test_the_number_goes_up_in_steps_to_what_was_asked_for(streams, step, levels):
    assert plan(streams=streams, step=step).levels == levels


@pytest.mark.parametrize("steps", range(1, 26))
@pytest.mark.parametrize("streams", [1, 2, 3, 7, 10, 11, 19, 20, 21, 25, 999])
def test_steps_are_as_many_as_were_asked_for_and_even(streams, steps):
    levels = plan(streams=streams, steps=steps).levels
    assert len(levels) == min(steps, streams)
    assert levels[-1] == streams
    grown = [after - before for before, after in itertools.pairwise([0, *levels])]
    assert min(grown) >= 1
    assert max(grown) - min(grown) <= 1


def test_eleven_streams_in_ten_steps():
    assert plan(streams=11, steps=10).levels == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(("ramp", "seconds"), [(60.0, 6), (0.0, 2), (9.0, 2), (144.0, 14)])
def test_a_step_takes_its_share_of_the_ramp(ramp, seconds):
    made = plan(ramp=ramp)
    assert made.step_seconds == seconds
    assert made.next([]).seconds == seconds
    assert made.next([]).opening == seconds / 2


def test_the_cost_is_known_before():
    made = plan(streams=30, ramp=30.0, duration=60.0, step=10)
    assert made.seconds == 90
    assert made.stream_seconds == (10 + 20 + 30) * 10 + 30 * 60
