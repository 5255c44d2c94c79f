"""Histograms of delays: fine enough, and the same however they are added up."""

import json
import math

import pytest
from deepgram_sagemaker.load.histogram import Histogram
from hypothesis import given
from hypothesis import strategies as st

DURATIONS = st.lists(st.floats(0, 1e4, allow_nan=False), min_size=1, max_size=200)


def histogram(durations):
    made = Histogram()
    for each in durations:
        made.add(each)
    return made


def exactly(durations, share):
    return sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]


@given(DURATIONS, st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_at_most_two_per_cent_too_high(durations, share):
    wanted = exactly(durations, share)
    found = histogram(durations).quantile(share)
    assert wanted <= found * (1 + 1e-9)
    assert found <= max(1e-4, wanted * 1.02) * (1 + 1e-9)


@given(DURATIONS, DURATIONS)
def test_workers_add_up(some, others):
    merged = histogram(some)
    merged.merge(histogram(others))
    together = histogram(some + others)
    assert (merged.counts, merged.total, merged.longest) == (
        together.counts,
        together.total,
        together.longest,
    )


@given(DURATIONS)
def test_it_passes_through_json(durations):
    made = histogram(durations)
    again = Histogram.of(json.loads(json.dumps(made.plain())))
    assert (again.counts, again.total, again.longest) == (made.counts, made.total, made.longest)


def test_nothing_has_no_quantile():
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e9])
def test_what_is_beyond_the_buckets_is_counted(seconds):
    made = histogram([seconds])
    assert made.total == 1
    assert made.quantile(0.5) <= max(0.0, seconds)
