"""The figures of a conversation: its transcript, its cost, and lost audio."""

from __future__ import annotations

import bisect
import statistics
from dataclasses import dataclass, field

__all__ = ["Figures", "Final"]

# Times have six decimals, so two of them may differ by rounding.
_ROUNDING = 2e-6


@dataclass(frozen=True, slots=True)
class Final:
    """A final result.

    Attributes:
        channel: The channel's index.
        start: Start of its audio in seconds.
        duration: Length of its audio in seconds.
        transcript: The text.
        words: The number of words.
    """

    channel: int
    start: float
    duration: float
    transcript: str
    words: int


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
        end = final.start + final.duration
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
        """Seconds of audio, over all channels, that no final result covers."""
        return sum(self._untold(channel) for channel in range(self.channels))

    @property
    def repeated(self) -> float:
        """Seconds of audio, over all channels, that more than one final result covers."""
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
            told_until = max(told_until, final.start + final.duration)
        rest = self.audio_sent - told_until
        return missing + (rest if rest > _ROUNDING else 0.0)
