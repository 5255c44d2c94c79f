"""The measure that the demo and the tests use."""

import pytest
from deepgram_sagemaker.local.speech.sample import word_error_rate


@pytest.mark.parametrize(
    ("transcript", "rate"),
    [
        ("It was the best.", 0.0),
        ("it was, the BEST", 0.0),
        ("it was the worst", 0.25),
        ("it was best", 0.25),
        ("so it was the very best", 0.5),
        ("", 1.0),
        ("a b c d e f", 1.5),
    ],
)
def test_word_error_rate_counts_changes_per_reference_word(transcript, rate):
    assert word_error_rate("It was the best", transcript) == rate


def test_a_reference_without_words_is_refused():
    with pytest.raises(ValueError, match="no error rate"):
        word_error_rate(" … ", "anything")
