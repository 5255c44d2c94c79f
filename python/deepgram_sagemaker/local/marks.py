"""Reads the numbers in watermarked audio. The layout is described in `watermark`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .watermark import chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Mark", "MarkReader", "read_marks"]

_CELL: Final = 8
# A cell's first byte has its top bit set, and no other byte has.
_FIRST: Final = 0x80


@dataclass(frozen=True, slots=True)
class Mark:
    """One numbered chunk that was heard to its end.

    Attributes:
        number: the chunk's number.
        start: the byte where its first cell heard begins, counted from the start of the audio.
        end: the byte after its last.
    """

    number: int
    start: int
    end: int


class MarkReader:
    """Finds numbered chunks in one channel's bytes, in pieces of any size."""

    def __init__(self) -> None:
        self._pending = b""
        # Where `_pending` begins.
        self._at = 0

    def read(self, data: bytes) -> Iterator[Mark]:
        """Take the next piece, and yield the chunks that it completes.

        A chunk whose beginning is missing is found from its first whole cell on, and one with a
        hole from behind the hole on.
        """
        pending = self._pending + data
        at = 0
        while at + _CELL <= len(pending):
            if pending[at] < _FIRST:
                at += 1
                continue
            expected = _expected(pending[at : at + _CELL])
            if expected is None:
                at += 1
                continue
            end = at + len(expected)
            if not pending.startswith(expected[: len(pending) - at], at):
                at += _CELL
                continue
            if end > len(pending):
                break
            yield Mark(_number(expected), self._at + at, self._at + end)
            at = end
        self._pending = pending[at:]
        self._at += at


def read_marks(audio: bytes) -> list[Mark]:
    """Return all numbered chunks in one channel's audio."""
    return list(MarkReader().read(audio))


def _number(cell: bytes) -> int:
    return cell[1] | cell[2] << 7 | cell[3] << 14 | cell[4] << 21


# Cached, because a chunk in many pieces is compared with each of them.
@functools.lru_cache(maxsize=64)
def _expected(cell: bytes) -> bytes | None:
    """Return the chunk from this cell on; None if it is no cell."""
    if max(cell[1:]) >= _FIRST:
        return None
    following = cell[5] | cell[6] << 7
    filler, channel = cell[7] & 7, cell[7] >> 3
    if channel:
        return None
    rest = chunk(_number(cell), (following + 1) * _CELL + filler, width=1)
    return rest if rest.startswith(cell) else None
