"""The figures of a conversation: its transcript, its cost, and lost audio."""

from __future__ import annotations

import bisect
import itertools
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Figures", "Final", "Streams", "Word"]

# Times have six decimals, so two of them may differ by rounding.
_ROUNDING = 2e-6
# Flux reports whole windows of audio; the rest of less than one at the end has no report.
_FLUX_WINDOW = 0.25


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a final result.

    Attributes:
        text: The word as it is written, with punctuation.
        start: Its start in seconds; None: the service gave no time.
        end: Its end in seconds; None likewise.
        confidence: From 0 to 1.
        speaker: The speaker's number; None: speakers are not told apart.
    """

    text: str
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    speaker: int | None = None


@dataclass(frozen=True, slots=True)
class Streams:
    """What the connection went through.

    Attributes:
        legs: Streams opened.
        resets: Streams that broke and were followed by another, by the kind of end.
        retries: Requests for a stream that did not open one.
        rollovers: Streams replaced because of their age.
        replayed: Seconds of audio sent again.
    """

    legs: int
    resets: Mapping[str, int]
    retries: int
    rollovers: int
    replayed: float


@dataclass(frozen=True, slots=True)
class Final:
    """A final result, or a turn of Flux.

    Attributes:
        channel: The channel's index.
        start: Start of its audio in seconds.
        duration: Length of its audio in seconds.
        transcript: The text.
        words: The number of words.
        spoken: The words themselves.
        turn: The turn's index on Flux; None: not a turn.
    """

    channel: int
    start: float
    duration: float
    transcript: str
    words: int
    spoken: tuple[Word, ...] = ()
    turn: int | None = None

    @property
    def end(self) -> float:
        """End of its audio in seconds."""
        return self.start + self.duration


@dataclass(slots=True)
class Figures:
    """The counts of one conversation so far."""

    chunks_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    interims: int = 0
    channels: int = 1
    """Channels that the service recognises separately."""
    finals: list[Final] = field(default_factory=list)
    audio_sent: float = 0.0
    """Seconds of audio."""
    audio_heard: float | None = None
    """Seconds of audio that the service reports as received; None: no report yet."""
    cpu: float = 0.0
    """Seconds of CPU that this process spent on `cpu_chunks` chunks, without drawing."""
    cpu_chunks: int = 0
    elapsed: float = 0.0
    """Seconds from the first byte sent to the end."""
    windows_until: float | None = None
    """Seconds of audio that Flux has reported on; None: not Flux."""
    streams: Streams | None = None
    """What the connection went through; None: not known yet."""
    _sent: list[tuple[float, float]] = field(default_factory=list)
    _delays: list[float] = field(default_factory=list)

    def sent(self, size: int, audio: float, now: float) -> None:
        """Count a sent chunk of `size` bytes; `audio` is the seconds of audio sent so far."""
        self.chunks_sent += 1
        self.bytes_sent += size
        self.audio_sent = audio
        self._sent.append((audio, now))

    def final(self, final: Final, now: float) -> None:
        """Count a final result."""
        self.finals.append(final)
        end = final.end
        at = bisect.bisect_left(self._sent, (end - _ROUNDING, 0.0))
        if at < len(self._sent):
            self._delays.append(now - self._sent[at][1])

    @property
    def transcript(self) -> str:
        """The whole text, channel by channel."""
        texts = [
            final.transcript
            for channel in range(self.channels)
            for final in self.finals
            if final.channel == channel
        ]
        return " ".join(text for text in texts if text)

    @property
    def words(self) -> int:
        """The number of words."""
        return sum(final.words for final in self.finals)

    @property
    def delay(self) -> float | None:
        """Median seconds from sending a final result's last audio to receiving the result."""
        return statistics.median(self._delays) if self._delays else None

    @property
    def cpu_per_chunk(self) -> float | None:
        """Seconds of CPU per chunk."""
        return self.cpu / self.cpu_chunks if self.cpu_chunks else None

    @property
    def lost(self) -> float:
        """Seconds of audio, over all channels, that no final result or window covers."""
        if self.windows_until is not None:
            rest = self.audio_sent - self.windows_until
            return rest if rest > _FLUX_WINDOW else 0.0
        return sum(self._untold(channel) for channel in range(self.channels))

    @property
    def repeated(self) -> float:
        """Seconds of audio, over all channels, that more than one final result covers."""
        if self.windows_until is not None:
            # Turns do not have to begin where the one before ended.
            ordered = sorted(self.finals, key=lambda final: final.start)
            overlaps = (one.end - other.start for one, other in itertools.pairwise(ordered))
            return sum(overlap for overlap in overlaps if overlap > _ROUNDING)
        repeated = 0.0
        for channel in range(self.channels):
            told = sum(final.duration for final in self.finals if final.channel == channel)
            surplus = told - (self.audio_sent - self._untold(channel))
            repeated += surplus if surplus > _ROUNDING * len(self.finals) else 0.0
        return repeated

    def _untold(self, channel: int) -> float:
        told_until, missing = 0.0, 0.0
        for final in sorted(
            (final for final in self.finals if final.channel == channel), key=lambda f: f.start
        ):
            gap = final.start - told_until
            missing += gap if gap > _ROUNDING else 0.0
            told_until = max(told_until, final.end)
        rest = self.audio_sent - told_until
        return missing + (rest if rest > _ROUNDING else 0.0)
