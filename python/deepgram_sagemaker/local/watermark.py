"""Audio whose every chunk can be counted, and the model that counts it.

`chunk` makes a chunk that carries its number. The model answers `v1/listen` with results whose
words are the numbers of the chunks heard, timed on the audio's own clock.

A chunk carries its number in each channel, in cells of eight bytes of that channel's samples:

| byte | content |
| --- | --- |
| 0 | 0x80 + a check of the other seven, 7 bits |
| 1 to 4 | the chunk's number, seven bits each, lowest first |
| 5, 6 | how many cells of the chunk follow, seven bits each, lowest first |
| 7 | bits 0 to 2: bytes 0x7F after the last cell; bits 3 to 6: the channel modulo 16 |

Only a cell's first byte has its top bit set, so a reader may start at any sample, and silence
(0x00, 0xD5 or 0xFF) is never taken for a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .native import watermark
from .stream import DEEPGRAM_PATHS

__all__ = ["Watermark", "chunk"]


def chunk(number: int, size: int, *, channels: int = 1, width: int = 2) -> bytes:
    """Make a chunk of audio that carries its number in every channel.

    Args:
        number: from 0 to 2**28 - 1.
        size: bytes in all: whole frames, and at least eight bytes for each channel.
        channels: interleaved channels.
        width: bytes of one sample: 2 for linear16, 4 for linear32, 1 for mulaw, alaw, and any
            other audio.

    Raises:
        ValueError: the number or the size does not fit.
    """
    return watermark(number, size, channels, width)


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """How the `watermark` model answers.

    Attributes:
        window: chunks in a final result.
        window_seconds: seconds of audio in a final result instead, wherever chunks end. A chunk
            belongs to the result that covers its end.
        late_chunks: further chunks that finals wait for.
        late_seconds: further seconds of audio that finals wait for.
        interim_every: chunks from one interim result to the next, if the query has
            `interim_results=true`; 0: none.
        listed_words: the most words that a result lists with times; None: all. The transcript has
            all.
        channel_skew: chunks by which each channel's first window is shorter than the previous
            channel's, so that the channels' results end at different times.
        answer_empty_finalize: whether Finalize is answered when there is nothing new to say.
        silence_window: seconds of audio without chunks that get one empty final.
        closing_time: seconds between CloseStream and its answer. A client that ends its input
            earlier loses the tail, as with the service.
        silence_timeout: seconds without any message until the stream fails with NET-0001; None:
            never.
    """

    window: int = 10
    window_seconds: float | None = None
    late_chunks: int = 0
    late_seconds: float = 0.0
    interim_every: int = 5
    listed_words: int | None = None
    channel_skew: int = 0
    answer_empty_finalize: bool = True
    silence_window: float = 3.0
    closing_time: float = 0.02
    silence_timeout: float | None = 10.0
    paths: ClassVar[tuple[str, ...]] = DEEPGRAM_PATHS
