"""The real recogniser: with several threads, and without the extra."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from deepgram_sagemaker.local.audio import Resampler, WavDecoder
from deepgram_sagemaker.local.speech.recogniser import (
    MissingExtraError,
    import_moonshine,
    shared_recogniser,
)
from deepgram_sagemaker.local.speech.sample import two_cities


def stretches():
    samples = WavDecoder().decode(two_cities().read_bytes())[:, 0]
    narrow = Resampler(48_000, 16_000).push(samples)
    return [narrow[round(a * 16_000) : round(b * 16_000)] for a, b in ((1, 4.7), (4.8, 6.4))]


@pytest.mark.patience(180)
def test_threads_do_not_hear_each_other():
    recognise = shared_recogniser()
    alone = [recognise(samples) for samples in stretches()]
    assert ["worst" in alone[0], "wisdom" in alone[1]] == [True, True]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(recognise, stretches() * 6))
    assert together == alone * 6


@pytest.mark.parametrize("length", [0, 1, 700])
def test_next_to_nothing_is_recognised_as_something_without_an_error(length):
    assert isinstance(shared_recogniser()(np.zeros(length, np.float32)), str)


def test_a_process_has_one():
    assert shared_recogniser() is shared_recogniser()


def test_without_the_extra_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "moonshine_voice", None)
    monkeypatch.setitem(sys.modules, "moonshine_voice.transcriber", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'deepgram-sagemaker\[local\]'"):
        import_moonshine("transcriber")
