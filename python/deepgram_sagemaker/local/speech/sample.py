"""A recording, its text, and the error rate of a transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .recogniser import import_moonshine
from .words import plain

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TWO_CITIES_TEXT", "two_cities", "word_error_rate"]

TWO_CITIES_TEXT: Final = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the "
    "season of Light, it was the season of Darkness, it was the spring of hope, it was the winter "
    "of despair, we had everything before us, we had nothing before us, we were all going direct "
    "to Heaven, we were all going direct the other way. In short, the period was so far like the "
    "present period, that some of its noisiest authorities insisted on its being received, for "
    "good or for evil, in the superlative degree of comparison only."
)
"""What is said in `two_cities`: the opening of Charles Dickens's novel."""


def two_cities() -> Path:
    """Return the recording that comes with the recogniser: a WAV file, 44 s, 48 kHz mono.

    Raises:
        MissingExtraError: moonshine-voice is not installed.
    """
    assets: Path = import_moonshine("utils").get_assets_path()
    return assets / "two_cities.wav"


def word_error_rate(reference: str, transcript: str) -> float:
    """Return the fewest words to change, drop or add, for each word of the reference.

    Capitals and punctuation do not count. The rate may be above 1.

    Raises:
        ValueError: the reference has no words.
    """
    expected, heard = _words(reference), _words(transcript)
    if not expected:
        raise ValueError("a reference without words has no error rate")
    # One row of the edit-distance table at a time: `row[j]` is from this prefix to `heard[:j]`.
    row = list(range(len(heard) + 1))
    for i, wanted in enumerate(expected, start=1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(heard, start=1):
            changed = diagonal + (wanted != got)
            diagonal, row[j] = row[j], min(changed, row[j] + 1, row[j - 1] + 1)
    return row[-1] / len(expected)


def _words(text: str) -> list[str]:
    return [word for word in map(plain, text.split()) if word]
