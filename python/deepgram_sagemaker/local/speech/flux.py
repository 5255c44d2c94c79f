"""One `v2/listen` conversation, without I/O: messages in, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepgram_sagemaker.local.audio import RawDecoder, Resampler, WavDecoder
from deepgram_sagemaker.local.flux import FluxTeller

from .activity import SAMPLE_RATE
from .turns import TurnDetector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepgram_sagemaker.local.audio import AudioDecoder, AudioFormat
    from deepgram_sagemaker.local.controls import Message, SchemaError
    from deepgram_sagemaker.local.flux import Thresholds

    from .recogniser import Recognise

__all__ = ["FluxListener"]


class FluxListener:
    """Turns one stream's audio into turns; several channels are mixed down to one.

    Args:
        audio: the format of raw audio; None: a WAV header is in front.
        thresholds: decide when a turn ends.
        recognise: the recogniser.
        request_id: the stream's id.
        strict: whether the client may send nothing but `CloseStream`.
    """

    def __init__(
        self,
        audio: AudioFormat | None,
        thresholds: Thresholds,
        recognise: Recognise,
        request_id: str,
        *,
        strict: bool = False,
    ) -> None:
        self._decoder: AudioDecoder = RawDecoder(audio) if audio else WavDecoder()
        self._teller = FluxTeller(request_id, thresholds, strict=strict)
        self._detector = TurnDetector(self._teller, recognise)
        self._resampler: Resampler | None = None
        self._frames = 0
        self.is_over = False

    @property
    def received_us(self) -> int:
        """The audio received, in microseconds."""
        known = self._decoder.format
        return self._frames * 1_000_000 // known.sample_rate if known else 0

    def greet(self) -> Iterator[Message]:
        """Return the messages that precede the client's first."""
        yield self._teller.connected()

    def audio(self, data: bytes) -> Iterator[Message]:
        """Take audio; yield the turns' events in it.

        Raises:
            AudioError: the audio cannot be decoded.
        """
        frames = self._decoder.decode(data)
        known = self._decoder.format
        if known is None or not len(frames):
            return
        if self._resampler is None:
            self._resampler = Resampler(known.sample_rate, SAMPLE_RATE)
        self._frames += len(frames)
        samples = frames.mean(axis=1, dtype=np.float32)
        yield from self._detector.push(self._resampler.push(samples))

    def force_end(self) -> Iterator[Message]:
        """End the open turn, if there is one."""
        yield from self._detector.force_end()

    def interims(self) -> Iterator[Message]:
        """Yield nothing: updates follow the audio's own clock."""
        yield from ()

    def obey(self, text: str) -> Iterator[Message]:
        """Take a text message and answer it.

        Raises:
            SchemaError: Flux does not know it.
        """
        body = self._teller.read(text)
        match body["type"]:
            case "Configure":
                yield self._teller.configure(body)
            case "ForceEndTurn":
                yield from self.force_end()
            case "CloseStream":
                if self._resampler is not None:
                    yield from self._detector.push(self._resampler.flush())
                yield from self._detector.close(self.received_us)
                self.is_over = True

    def complain(self, error: SchemaError, _text: str) -> Message:
        """Make the message about a text message that was not understood."""
        return self._teller.error("UNPARSABLE_CLIENT_MESSAGE", str(error))

    def keeps_alive(self, message: str | bytes) -> bool:
        """Return whether a message is a sign of life: only audio is."""
        return isinstance(message, bytes)
