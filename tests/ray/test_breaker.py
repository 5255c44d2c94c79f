"""The circuit breaker, with a clock of the test's."""

import random

import pytest
from deepgram_sagemaker.ray.breaker import AWAY, SETTLED, THRESHOLD, Breaker


def opened(now=0.0, draw=lambda: 1.0):
    breaker = Breaker(draw)
    for _ in range(THRESHOLD):
        assert breaker.most(7, now) == 7
        assert breaker.failed(now) is False
    assert breaker.is_open
    return breaker


def test_a_success_between_failures_keeps_it_closed():
    breaker = Breaker(lambda: 1.0)
    for _ in range(10):
        for _ in range(THRESHOLD - 1):
            breaker.failed(0.0)
        assert breaker.most(7, 0.0) == 7
        breaker.succeeded()
    assert not breaker.is_open


def test_one_session_at_a_time_shows_whether_the_service_is_back():
    breaker, now = opened(), 0.0
    for pause in (2, 4, 8, 16, 30, 30, 30):
        assert breaker.most(7, now + pause - 0.1) == 0
        # What was under way fails meanwhile, and changes nothing.
        breaker.failed(now + pause - 0.1)
        now += pause
        assert breaker.most(7, now) == 1
        breaker.began(now)
        assert breaker.most(7, now + 1) == 0
        now += 1
        breaker.failed(now)
    assert breaker.most(7, now + 30) == 1
    breaker.began(now + 30)
    breaker.succeeded()
    assert not breaker.is_open
    assert breaker.most(7, now + 30) == 7


def test_pauses_are_drawn():
    draws = random.Random(1)
    pauses = set()
    for _ in range(20):
        breaker = opened(draw=draws.random)
        pauses.add(next(n for n in range(21) if breaker.most(1, n / 10)))
    assert min(pauses) < 5
    assert max(pauses) > 15


def test_a_long_recording_need_not_end_to_show_it():
    breaker = opened()
    breaker.began(10.0)
    assert breaker.most(7, 9.0 + SETTLED) == 0
    assert breaker.most(7, 10.0 + SETTLED) == 7


def test_one_that_ends_for_its_own_reason_shows_nothing():
    breaker = opened()
    breaker.began(10.0)
    breaker.undecided()
    assert breaker.is_open
    assert breaker.most(7, 10.0) == 1


@pytest.mark.parametrize("away", [AWAY, 20.0])
def test_a_service_that_stays_away_is_given_up(away):
    breaker, now = Breaker(lambda: 1.0, away), 0.0
    while not breaker.failed(now):
        now += 1.0
        assert now <= away + 1.0
    assert now > away


def test_a_service_that_comes_back_has_all_its_time_again():
    breaker = opened()
    breaker.succeeded()
    for _ in range(THRESHOLD):
        assert breaker.failed(2 * AWAY) is False
