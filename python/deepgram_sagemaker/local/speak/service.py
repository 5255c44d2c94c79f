"""The speak protocols on a stream: reads the client's messages and speaks what is planned."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.controls import Refused, refusals

from .aura import AuraSpeaker
from .flux import FluxSpeaker
from .mouth import Mouth
from .request import RequestError, SpeakRequest

if TYPE_CHECKING:
    from deepgram_sagemaker.local.stream import ModelStream

    from .flux import Flushed
    from .voice import VoiceFactory

__all__ = ["PATHS", "SpeakService"]

PATHS: Final = ("v1/speak", "v2/speak")


class SpeakService:
    """Serves `v1/speak` and `v2/speak` with a voice, on any number of streams at once.

    Args:
        voices: makes each stream's voice.
        blocking: whether a voice is so slow that it needs a thread.
        piece: the most seconds of audio in one message.
        pace: the fastest that audio is sent, in times its playing speed; None: as fast as possible.
        flushes: `Flush` messages that `v1/speak` answers in a minute.
        flushed: when `v2/speak` sends `Flushed`: `early`, as an answer to `Flush`, before the
            rest of the turn's audio; `late`, behind `SpeechMetadata`; or `never`.
        counted_together: whether `Flushed` and `Cleared` of `v1/speak` share one count; otherwise
            each has its own.
    """

    def __init__(
        self,
        voices: VoiceFactory,
        *,
        blocking: bool = False,
        piece: float = 0.1,
        pace: float | None = None,
        flushes: int = 20,
        flushed: Flushed = "early",
        counted_together: bool = False,
    ) -> None:
        self._voices = voices
        self._blocking = blocking
        self._piece = piece
        self._pace = pace
        self._flushes = flushes
        self._flushed = flushed
        self._counted_together = counted_together

    async def __call__(self, stream: ModelStream) -> None:
        """Serve one stream."""
        async with refusals(stream):
            await self._serve(stream)

    async def _serve(self, stream: ModelStream) -> None:
        request = self._request(stream)
        output = request.output
        voice = self._voices(output)
        speaker: AuraSpeaker | FluxSpeaker
        if stream.path == "v1/speak":
            speaker = AuraSpeaker(
                request, voice, flushes=self._flushes, counted_together=self._counted_together
            )
        else:
            speaker = FluxSpeaker(request, voice, flushed=self._flushed)
        mouth = Mouth(stream, speaker.plan, piece=self._piece, pace=self._pace)
        mouth.use(voice, output, blocking=self._blocking, wav=request.container == "wav")
        await _Conversation(stream, speaker, mouth).run()

    def _request(self, stream: ModelStream) -> SpeakRequest:
        if stream.path not in PATHS:
            served = " and ".join(PATHS)
            raise Refused("1008", f"this model serves {served}, not {stream.path or 'no path'}")
        try:
            return SpeakRequest.parse(stream.query, stream.path.partition("/")[0])
        except RequestError as error:
            raise Refused("1008", f"Bad request: {error}") from error


class _Conversation:
    """One stream: a reader that fills the plan, and a mouth that carries it out."""

    def __init__(
        self,
        stream: ModelStream,
        speaker: AuraSpeaker | FluxSpeaker,
        mouth: Mouth,
    ) -> None:
        self._stream = stream
        self._speaker = speaker
        self._mouth = mouth

    async def run(self) -> None:
        """Serve until the plan has ended, or the client's input ends.

        To a container the end of the client's input is the close of the WebSocket: what has not
        been sent by then is not sent at all, even after `Close`.
        """
        reader = asyncio.create_task(self._read(), name="speak reader")
        worker = asyncio.create_task(self._mouth.run(), name="speak worker")
        try:
            await asyncio.wait({reader, worker}, return_when=asyncio.FIRST_COMPLETED)
            for task in (worker, reader):
                if task.done():
                    await task
        finally:
            reader.cancel()
            worker.cancel()
            await asyncio.gather(reader, worker, return_exceptions=True)

    async def _read(self) -> None:
        clock = asyncio.get_running_loop().time
        async for message in self._stream:
            if self._speaker.plan.ends:
                # After a Close only the end of the input counts.
                continue
            if isinstance(message, bytes):
                raise Refused("1003", "MESSAGE-0000: a binary message where text is expected")
            self._speaker.receive(message, clock())
            self._mouth.wake()
