"""The words of a recognised text, and their times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .activity import FRAME_US

if TYPE_CHECKING:
    from .segments import Piece

__all__ = ["Word", "place_words", "plain"]

_REPEATED_MARK: Final = re.compile(r"([,.;:!?])[,.;:]+")
_EDGES: Final = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True, slots=True)
class Word:
    """One word on the stream's clock, in microseconds.

    Attributes:
        written: the word as recognised, with capitals and punctuation.
        start_us: its start.
        end_us: its end.
        confidence: from 0 to 1: how far its sound stands out from the background.
    """

    written: str
    start_us: int
    end_us: int
    confidence: float


def plain(written: str) -> str:
    """Return a word in lower case, without punctuation at its edges; "it's" stays whole."""
    return _EDGES.sub("", written.lower())


def place_words(text: str, piece: Piece) -> list[Word]:
    """Spread a text's words over the voiced time of its piece.

    The recogniser has no times. Letters are spread evenly over the voiced frames, which skips the
    pauses in a piece; words neither overlap nor leave the piece.

    The recogniser has no confidence either. The share of a word's energy that is not background
    stands in for it.
    """
    tidy = _REPEATED_MARK.sub(r"\1", text)
    written = [word for word in tidy.split() if plain(word)]
    if not written or not piece.voiced:
        return []
    weights = [len(plain(word)) + 1 for word in written]
    total = sum(weights)
    voiced = piece.voiced
    words: list[Word] = []
    done = 0
    earliest = piece.start_us
    for word, weight in zip(written, weights, strict=True):
        # Its start and end, counted in voiced frames.
        begin, end = done * len(voiced) / total, (done + weight) * len(voiced) / total
        first, last = int(begin), min(int(end - 1e-9), len(voiced) - 1)
        start_us = voiced[first].at_us + int((begin - first) * FRAME_US)
        end_us = voiced[last].at_us + int((end - last) * FRAME_US)
        start_us = min(max(start_us, earliest), piece.end_us)
        end_us = min(max(end_us, start_us), piece.end_us)
        heard = voiced[first : last + 1]
        confidence = sum(frame.clarity for frame in heard) / len(heard)
        words.append(Word(word, start_us, end_us, round(confidence, 4)))
        earliest = end_us
        done += weight
    return words
