"""One `v1/listen` conversation, without I/O: messages in, messages out.

All of it is synchronous. The recogniser is an argument, and the only part that takes time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deepgram_sagemaker.local.audio import RawDecoder, Resampler, WavDecoder
from deepgram_sagemaker.local.controls import SchemaError, read_control

from . import messages
from .activity import SAMPLE_RATE
from .segments import (
    Cut,
    Piece,
    Segmenter,
    SpeechBegan,
    UtteranceOver,
)
from .words import Word, place_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepgram_sagemaker.local.audio import AudioDecoder, Samples
    from deepgram_sagemaker.local.controls import Message

    from .messages import StreamIdentity
    from .recogniser import Recognise
    from .request import ListenRequest

__all__ = ["Control", "Listener", "parse_control"]

# The service counts tokens of its own vocabulary; words are close enough for a limit.
_KEYTERM_LIMIT: Final = 500


_CONTROLS: Final = frozenset({"KeepAlive", "Finalize", "Configure", "CloseStream"})


@dataclass(frozen=True, slots=True)
class Control:
    """A control message of the client.

    Attributes:
        kind: `KeepAlive`, `Finalize`, `Configure` or `CloseStream`.
        body: the whole message.
    """

    kind: str
    body: dict[str, Any]


def parse_control(text: str) -> Control:
    """Read a text message of the client.

    Raises:
        SchemaError: it is not JSON, not an object, or of no known type.
    """
    body = read_control(text, _CONTROLS)
    return Control(body["type"], body)


@dataclass(slots=True)
class _Channel:
    """One channel on its way from samples to words."""

    index: tuple[int, int]
    segmenter: Segmenter
    resampler: Resampler
    last_word_end_us: int | None = None
    # The end of the audio in the last interim result.
    looked_us: int = field(default=0)


class Listener:
    """Answers one stream's audio and control messages.

    Args:
        request: the stream's settings.
        recognise: the recogniser.
        identity: the stream's identity in its messages.
    """

    _INTERIM_US: Final = 500_000

    def __init__(
        self, request: ListenRequest, recognise: Recognise, identity: StreamIdentity
    ) -> None:
        self._request = request
        self._recognise = recognise
        self._identity = identity
        self._punctuated = request.punctuated
        self._decoder: AudioDecoder = RawDecoder(request.audio) if request.audio else WavDecoder()
        self._channels: list[_Channel] = []
        self._frames = 0
        self.is_over = False
        self._sha256 = hashlib.sha256()
        if request.audio is not None:
            self._open_channels(request.audio.sample_rate, request.audio.channels)

    @property
    def received_us(self) -> int:
        """The audio received, in microseconds."""
        known = self._decoder.format
        return self._frames * 1_000_000 // known.sample_rate if known else 0

    def greet(self) -> Iterator[Message]:
        """Return nothing: the first message is the first result."""
        yield from ()

    def audio(self, data: bytes) -> Iterator[Message]:
        """Take audio; yield final results and the events of speech.

        Raises:
            AudioError: the audio cannot be decoded.
        """
        self._sha256.update(data)
        frames = self._decoder.decode(data)
        known = self._decoder.format
        if known is None or not len(frames):
            return
        if not self._channels:
            self._open_channels(known.sample_rate, known.channels)
        self._frames += len(frames)
        if not self._request.multichannel:
            frames = frames.mean(axis=1, keepdims=True, dtype=np.float32)
        for channel, samples in zip(self._channels, frames.T, strict=True):
            yield from self._hear(channel, samples)

    def interims(self) -> Iterator[Message]:
        """Yield interim results, where there is enough new audio."""
        if not self._request.interim_results:
            return
        for channel in self._channels:
            segmenter = channel.segmenter
            since = max(channel.looked_us, segmenter.start_us)
            if not segmenter.has_speech or segmenter.heard_us - since < self._INTERIM_US:
                continue
            channel.looked_us = segmenter.heard_us
            piece = segmenter.look()
            if words := self._words(channel, piece):
                yield self._results(channel, piece, words)

    def obey(self, text: str) -> Iterator[Message]:
        """Take a text message and answer it.

        Raises:
            SchemaError: it does not belong to the protocol.
        """
        control = parse_control(text)
        match control.kind:
            case "Finalize":
                yield from self.finalize()
            case "Configure":
                yield self.configure(control.body)
            case "CloseStream":
                yield from self.close()
                self.is_over = True

    def complain(self, error: SchemaError, text: str) -> Message:
        """Make the message about a text message that was not understood."""
        return messages.schema_error(str(error), text)

    def keeps_alive(self, message: str | bytes) -> bool:
        """Return whether a message is a sign of life: audio and `KeepAlive` are."""
        if isinstance(message, bytes):
            return True
        try:
            return parse_control(message).kind == "KeepAlive"
        except SchemaError:
            return False

    def finalize(self) -> Iterator[Message]:
        """Answer `Finalize`: make everything received final, with one result a channel."""
        for channel in self._channels:
            piece = channel.segmenter.finish(self.received_us)
            yield self._results(channel, piece, self._words(channel, piece), from_finalize=True)

    def configure(self, body: dict[str, Any]) -> Message:
        """Take a `Configure`. Keyterms are accepted, though this recogniser does not use them.

        Raises:
            SchemaError: its fields are not of the documented types.
        """
        keyterms, features = body.get("keyterms"), body.get("features")
        if keyterms is not None and not (
            isinstance(keyterms, list) and all(isinstance(term, str) for term in keyterms)
        ):
            raise SchemaError("Could not deserialize last text message: keyterms must be strings")
        if features is not None and not (
            isinstance(features, dict) and all(isinstance(on, bool) for on in features.values())
        ):
            raise SchemaError("Could not deserialize last text message: features must be booleans")
        if keyterms is not None and not self._request.model.startswith("nova-3"):
            return messages.configure_failure(
                self._identity,
                "CONFIGURE_KEYTERMS_NOT_SUPPORTED",
                f"model {self._request.model} takes no keyterms while it is streaming",
            )
        if keyterms is not None and sum(len(term.split()) for term in keyterms) > _KEYTERM_LIMIT:
            return messages.configure_failure(
                self._identity,
                "CONFIGURE_KEYTERM_LIMIT_EXCEEDED",
                f"keyterms exceed the limit of {_KEYTERM_LIMIT} tokens",
            )
        wanted = {name: on for name, on in (features or {}).items() if name in _PUNCTUATING}
        if wanted:
            self._punctuated = any(wanted.values())
        return messages.configure_success(self._identity, keyterms)

    def close(self) -> Iterator[Message]:
        """Answer `CloseStream`: make the rest final, and end with `Metadata`."""
        for channel in self._channels:
            yield from self._take(channel, channel.resampler.flush())
            piece = channel.segmenter.finish(self.received_us)
            if piece.end_us > piece.start_us:
                yield self._results(channel, piece, self._words(channel, piece))
        yield messages.metadata(
            self._identity,
            sha256=self._sha256.hexdigest(),
            duration_us=self.received_us,
            channels=max(1, len(self._channels)),
        )

    def _open_channels(self, sample_rate: int, channels: int) -> None:
        count = channels if self._request.multichannel else 1
        self._channels = [
            _Channel(
                (index, count),
                Segmenter(
                    endpointing_us=self._request.endpointing_us,
                    utterance_end_us=self._request.utterance_end_us,
                ),
                Resampler(sample_rate, SAMPLE_RATE),
            )
            for index in range(count)
        ]

    def _hear(self, channel: _Channel, samples: Samples) -> Iterator[Message]:
        yield from self._take(channel, channel.resampler.push(samples))

    def _take(self, channel: _Channel, samples: Samples) -> Iterator[Message]:
        for event in channel.segmenter.push(samples):
            match event:
                case SpeechBegan(at_us):
                    if self._request.vad_events:
                        yield messages.speech_started(channel.index, at_us)
                case Piece():
                    yield self._results(channel, event, self._words(channel, event))
                case UtteranceOver():
                    # A cough has no last word.
                    if channel.last_word_end_us is not None:
                        yield messages.utterance_end(channel.index, channel.last_word_end_us)
                        channel.last_word_end_us = None

    def _words(self, channel: _Channel, piece: Piece) -> list[Word]:
        if piece.speech is None:
            return []
        words = place_words(self._recognise(piece.speech), piece)
        if words and piece.cut is not Cut.OPEN:
            channel.last_word_end_us = words[-1].end_us
        return words

    def _results(
        self, channel: _Channel, piece: Piece, words: list[Word], *, from_finalize: bool = False
    ) -> Message:
        return messages.results(
            self._identity,
            channel=channel.index,
            start_us=piece.start_us,
            end_us=piece.end_us,
            words=words,
            punctuated=self._punctuated,
            is_final=piece.cut is not Cut.OPEN,
            speech_final=piece.cut is Cut.PAUSE,
            from_finalize=from_finalize,
        )


_PUNCTUATING: Final = frozenset({"punctuate", "smart_format"})
