"""Chunks that carry their number."""

import pytest
from deepgram_sagemaker.local.watermark import chunk


def numbers(audio: bytes) -> list[int]:
    """The numbers in one channel's bytes, read as the documentation says."""
    found = []
    for at in range(len(audio) - 7):
        cell = audio[at : at + 8]
        if cell[0] >= 0x80 and max(cell[1:]) < 0x80:
            found.append(sum(byte << 7 * place for place, byte in enumerate(cell[1:5])))
    return found


def test_a_chunk_repeats_its_number_in_cells_of_eight_bytes():
    audio = chunk(300, 640)
    assert len(audio) == 640
    assert numbers(audio) == [300] * 80


def test_every_channel_carries_it():
    audio = chunk(7, 640, channels=2, width=2)
    for channel in range(2):
        samples = [audio[at : at + 2] for at in range(2 * channel, 640, 4)]
        assert numbers(b"".join(samples)) == [7] * 40


def test_what_is_left_over_is_filler():
    assert chunk(1, 19, width=1).endswith(b"\x7f\x7f\x7f")


@pytest.mark.parametrize(
    ("number", "size", "channels", "width"),
    [(0, 7, 1, 1), (0, 641, 1, 2), (0, 12, 2, 2), (1 << 28, 640, 1, 2), (0, 640, 0, 2)],
)
def test_what_does_not_fit_is_refused(number, size, channels, width):
    with pytest.raises(ValueError, match="chunk"):
        chunk(number, size, channels=channels, width=width)


def test_numbers_are_not_negative():
    with pytest.raises(OverflowError):
        chunk(-1, 640)
