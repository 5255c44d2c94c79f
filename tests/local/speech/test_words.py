"""Word times that are estimated: inside the piece, in order, and only while there is a voice."""

import pytest
from deepgram_sagemaker.local.speech.segments import Cut, Piece, Voiced
from deepgram_sagemaker.local.speech.words import place_words, plain


def piece(*at_us, start_us=0, end_us=10_000_000, clarity=0.9):
    return Piece(start_us, end_us, Cut.PAUSE, None, tuple(Voiced(at, clarity) for at in at_us))


def frames(start_us, end_us):
    return range(start_us, end_us, 20_000)


def test_letters_are_spread_over_the_voiced_time():
    words = place_words("a bbb ccccccc", piece(*frames(1_000_000, 2_400_000)))
    # 2 + 4 + 8 parts of 1.4 s: each letter, and each word's end, takes a tenth of a second.
    assert [(word.start_us, word.end_us) for word in words] == [
        (1_000_000, 1_200_000),
        (1_200_000, 1_600_000),
        (1_600_000, 2_400_000),
    ]


def test_pauses_inside_a_piece_are_skipped():
    voiced = [*frames(0, 500_000), *frames(3_000_000, 3_500_000)]
    first, second = place_words("same size", piece(*voiced))
    assert (first.start_us, first.end_us) == (0, 500_000)
    assert (second.start_us, second.end_us) == (3_000_000, 3_500_000)


def test_words_stay_inside_their_piece():
    found = piece(*frames(980_000, 1_400_000), start_us=1_000_000, end_us=1_390_000)
    words = place_words("one two three four", found)
    assert words[0].start_us == 1_000_000
    assert words[-1].end_us == 1_390_000
    edges = [edge for word in words for edge in (word.start_us, word.end_us)]
    assert edges == sorted(edges)


def test_marks_that_are_no_words_are_left_out_and_repeated_ones_made_one():
    words = place_words("In short,, - yes.", piece(*frames(0, 500_000)))
    assert [word.written for word in words] == ["In", "short,", "yes."]


def test_confidence_is_that_of_the_frames_under_the_word():
    voiced = (Voiced(0, 1.0), Voiced(20_000, 0.5))
    words = place_words("aa bb", Piece(0, 40_000, Cut.PAUSE, None, voiced))
    assert [word.confidence for word in words] == [1.0, 0.5]


@pytest.mark.parametrize("text", ["", "  ", "... —"])
def test_no_words_in_no_words_out(text):
    assert place_words(text, piece(*frames(0, 500_000))) == []


def test_more_words_than_frames_still_have_an_order():
    words = place_words("a b c d e f", piece(0, 20_000))
    edges = [edge for word in words for edge in (word.start_us, word.end_us)]
    assert edges == sorted(edges)
    assert edges[-1] == 40_000


@pytest.mark.parametrize(
    ("written", "expected"),
    [("Light,", "light"), ("It's", "it's"), ("«Oui»", "oui"), ("--", ""), ("3.5%", "3.5")],
)
def test_plain_words_have_neither_capitals_nor_marks_at_their_edges(written, expected):
    assert plain(written) == expected
