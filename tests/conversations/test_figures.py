"""The figures of a conversation, above all the losses."""

import pytest
from deepgram_sagemaker.conversations.figures import Figures, Final


def final(start, end, *, text="a b", channel=0):
    return Final(channel, start, round(end - start, 6), text, len(text.split()))


def heard(*finals, audio=10.0, channels=1):
    figures = Figures(channels=channels, audio_sent=audio)
    for one in finals:
        figures.final(one, 0.0)
    return figures


def test_finals_that_tile_the_audio_lose_nothing():
    figures = heard(final(0, 3.333333), final(3.333333, 6.666667), final(6.666667, 10))
    assert (figures.lost, figures.repeated) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("finals", "lost", "repeated"),
    [
        ([], 10, 0),
        ([final(0, 9)], 1, 0),
        ([final(1, 10)], 1, 0),
        ([final(0, 4), final(6, 10)], 2, 0),
        ([final(0, 6), final(4, 10)], 0, 2),
        ([final(0, 10), final(0, 10)], 0, 10),
        ([final(0, 5), final(0, 5), final(6, 10)], 1, 5),
        # The order of arrival does not matter.
        ([final(4, 10), final(0, 4)], 0, 0),
    ],
)
def test_what_is_missing_and_what_came_twice_is_counted(finals, lost, repeated):
    figures = heard(*finals)
    assert figures.lost == pytest.approx(lost)
    assert figures.repeated == pytest.approx(repeated)


def test_a_channel_that_says_nothing_at_all_is_lost():
    figures = heard(final(0, 10, channel=1), channels=2)
    assert figures.lost == pytest.approx(10)


def test_the_transcript_goes_channel_by_channel_and_leaves_silence_out():
    figures = heard(
        final(0, 4, text="one"),
        final(0, 5, text="two", channel=1),
        final(4, 6, text=""),
        final(6, 10, text="three four"),
        channels=2,
    )
    assert figures.transcript == "one three four two"
    assert figures.words == 4


def test_the_delay_is_from_the_chunk_that_has_a_final_s_last_audio():
    figures = Figures()
    for number in range(1, 11):
        figures.sent(640, number * 0.02, now=100 + number)
    figures.final(final(0, 0.06), now=103.5)
    figures.final(final(0.06, 0.1), now=106)
    figures.final(final(0.1, 0.2), now=119)
    assert figures.delay == pytest.approx(1.0)
    assert (figures.chunks_sent, figures.bytes_sent, figures.audio_sent) == (10, 6_400, 0.2)


def test_without_anything_there_are_no_averages():
    assert (Figures().delay, Figures().cpu_per_chunk) == (None, None)


def test_cpu_is_shared_by_the_chunks_that_it_was_spent_on():
    figures = Figures(cpu=0.5, cpu_chunks=2, chunks_sent=10)
    assert figures.cpu_per_chunk == 0.25
