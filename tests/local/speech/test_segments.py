"""Where a channel is cut, in seconds of synthetic audio."""

from itertools import pairwise

import numpy as np
import pytest
from deepgram_sagemaker.local.speech.segments import (
    Cut,
    Piece,
    Segmenter,
    SpeechBegan,
    UtteranceOver,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from local.speech.sounds import RATE, scene

TEN_MS = 10_000


def run(samples, *, chunk=1_600, **settings):
    segmenter = Segmenter(**{"endpointing_us": TEN_MS, **settings})
    events = []
    for start in range(0, len(samples), chunk):
        events += segmenter.push(samples[start : start + chunk])
    events.append(segmenter.finish(len(samples) * 1_000_000 // RATE))
    return events


def pieces(events):
    return [event for event in events if isinstance(event, Piece)]


def assert_tiles(found, samples):
    assert found[0].start_us == 0
    for before, after in pairwise(found):
        assert before.end_us == after.start_us
    assert found[-1].end_us == len(samples) * 1_000_000 // RATE


def test_a_pause_ends_speech_after_the_release_time():
    events = run(scene(-1, 1, -2))
    first = pieces(events)[0]
    assert (first.start_us, first.cut) == (0, Cut.PAUSE)
    # Speech ends at 2 s, and a pause is one after 0.3 s.
    assert first.end_us == pytest.approx(2_300_000, abs=40_000)
    assert first.voiced[0].at_us == pytest.approx(1_000_000, abs=20_000)
    assert first.voiced[-1].at_us == pytest.approx(1_980_000, abs=20_000)


def test_endpointing_longer_than_the_release_time_waits_for_that_long():
    events = run(scene(1, -0.7, 1, -1), endpointing_us=800_000)
    assert [piece.cut for piece in pieces(events)] == [Cut.PAUSE, Cut.ASKED]
    assert pieces(events)[0].end_us == pytest.approx(3_500_000, abs=40_000)


def test_a_short_gap_inside_speech_is_no_pause():
    events = run(scene(0.5, -0.2, 0.5))
    assert [piece.cut for piece in pieces(events)] == [Cut.ASKED]


def test_without_endpointing_speech_never_ends_but_is_told():
    samples = scene(*[1.5, -0.5] * 8)
    cuts = [piece.cut for piece in pieces(run(samples, endpointing_us=None))]
    assert Cut.PAUSE not in cuts
    assert cuts.count(Cut.LENGTH) >= 2


def test_silence_is_told_in_pieces_of_about_five_seconds():
    samples = scene(-21)
    found = pieces(run(samples))
    assert_tiles(found, samples)
    assert [piece.speech for piece in found] == [None] * len(found)
    assert [piece.end_us - piece.start_us for piece in found[:-1]] == [5_000_000] * 4


def test_endless_speech_is_cut_at_its_quietest_moment():
    samples = scene(12)
    samples[6 * RATE : 6 * RATE + 800] *= 0.001
    first = pieces(run(samples))[0]
    assert first.cut is Cut.LENGTH
    assert first.end_us == pytest.approx(6_000_000, abs=60_000)


def test_long_speech_is_cut_at_a_breath():
    first = pieces(run(scene(5.5, -0.2, 2)))[0]
    assert first.cut is Cut.LENGTH
    assert first.end_us == pytest.approx(5_600_000, abs=60_000)


def test_speech_that_ends_just_after_a_cut_for_length_still_ends():
    found = pieces(run(scene(5.5, -2)))
    assert [piece.cut for piece in found] == [Cut.LENGTH, Cut.PAUSE, Cut.ASKED]
    assert found[1].speech is None


def test_speech_begins_once_between_pauses():
    events = run(scene(-1, 1, -0.5, 1, -0.2, 1, -1))
    began = [event.at_us for event in events if isinstance(event, SpeechBegan)]
    assert began == pytest.approx([1_000_000, 2_500_000], abs=20_000)


def test_a_click_is_no_speech():
    found = run(scene(-1, 0.04, -1))
    assert not any(isinstance(event, SpeechBegan) for event in found)
    assert pieces(found)[0].speech is None


def test_what_is_recognised_has_a_margin_around_the_voice():
    first = pieces(run(scene(-2, 1, -1)))[0]
    assert len(first.speech) / RATE == pytest.approx(1.6, abs=0.05)


def test_an_utterance_is_over_after_its_gap_and_not_before():
    events = run(scene(1, -0.9, 1, -1.1, -3), utterance_end_us=1_000_000)
    kinds = [type(event) for event in events]
    assert kinds.count(UtteranceOver) == 1
    over = kinds.index(UtteranceOver)
    assert isinstance(events[over - 1], Piece)
    assert kinds[:over].count(SpeechBegan) == 2


def test_an_utterance_s_end_makes_what_was_said_final_first():
    events = run(scene(1, -3), endpointing_us=None, utterance_end_us=1_000_000)
    over = next(i for i, event in enumerate(events) if isinstance(event, UtteranceOver))
    assert events[over - 1].voiced


def test_a_steady_tone_is_no_voice_for_long():
    time = np.arange(9 * RATE) / RATE
    tone = (0.2 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
    first, *rest = pieces(run(tone))
    assert first.cut is Cut.PAUSE
    assert first.end_us == pytest.approx(4_300_000, abs=100_000)
    assert [piece.voiced for piece in rest] == [()]


def test_noise_that_stays_becomes_the_background():
    noise = np.random.default_rng(3).standard_normal(12 * RATE).astype(np.float32) * 0.02
    noise[9 * RATE : 10 * RATE] += scene(1)
    found = pieces(run(noise))
    assert next(piece.cut for piece in found if piece.end_us > 9_000_000) is Cut.PAUSE
    assert not any(piece.voiced for piece in found if 6_000_000 <= piece.start_us < 8_000_000)


def test_a_look_changes_nothing():
    segmenter = Segmenter(endpointing_us=TEN_MS)
    list(segmenter.push(scene(-0.5, 1)))
    look = segmenter.look()
    assert (look.start_us, look.end_us, look.cut) == (0, 1_500_000, Cut.OPEN)
    assert np.array_equal(segmenter.look().speech, look.speech)
    assert np.array_equal(segmenter.finish(1_500_000).speech, look.speech)


def test_finishing_between_frames_keeps_the_rest_for_the_next_piece():
    segmenter = Segmenter(endpointing_us=None)
    samples = scene(2)
    list(segmenter.push(samples[:16_100]))
    first = segmenter.finish(16_100 * 1_000_000 // RATE)
    list(segmenter.push(samples[16_100:]))
    second = segmenter.finish(2_000_000)
    assert first.end_us == second.start_us == 1_006_250
    assert all(frame.at_us >= second.start_us for frame in second.voiced)
    assert np.array_equal(np.concatenate((first.speech, second.speech)), samples)


def test_finishing_twice_makes_an_empty_piece():
    segmenter = Segmenter()
    list(segmenter.push(scene(1)))
    segmenter.finish(1_000_000)
    again = segmenter.finish(1_000_000)
    assert (again.start_us, again.end_us, again.speech) == (1_000_000, 1_000_000, None)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([2.3, 0.4, 0.05, 6.1, -0.1, -0.35, -1.7, -5.2]), max_size=8),
    st.integers(90, 9_000),
    st.sampled_from([None, TEN_MS, 700_000]),
    st.sampled_from([None, 1_000_000]),
)
def test_pieces_tile_whatever_is_said_and_however_it_arrives(
    spans, chunk, endpointing_us, utterance_end_us
):
    samples = scene(*spans)
    settings = {"endpointing_us": endpointing_us, "utterance_end_us": utterance_end_us}
    found = pieces(run(samples, chunk=chunk, **settings))
    assert_tiles(found, samples)
    for piece in found:
        times = [frame.at_us for frame in piece.voiced]
        assert times == sorted(times)
        assert all(piece.start_us <= at < piece.end_us for at in times)
    # And the cuts do not depend on how the bytes came.
    at_once = pieces(run(samples, chunk=len(samples) or 1, **settings))
    assert [piece.end_us for piece in found] == [piece.end_us for piece in at_once]
