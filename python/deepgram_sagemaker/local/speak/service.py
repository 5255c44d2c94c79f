"""The speak protocols on a stream: reads what the client sends, speaks what is planned."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.controls import Refused, refusals, to_json

from .aura import AuraSpeaker
from .flux import FluxSpeaker
from .plan import End, Say, Tell
from .request import RequestError, SpeakRequest
from .voice import wav_header

if TYPE_CHECKING:
    from deepgram_sagemaker.local.stream import ModelStream

    from .voice import Voice, VoiceFactory

__all__ = ["PATHS", "SpeakService"]

PATHS: Final = ("v1/speak", "v2/speak")


class SpeakService:
    """Serves `v1/speak` and `v2/speak` with a voice; any number of streams at once.

    Args:
        voices: makes each stream's voice.
        blocking: whether a voice takes so long that it belongs into a thread.
        piece: seconds of audio in one message, at most.
        pace: audio is sent at most so many times as fast as it plays; None: as fast as it goes.
        flushes: `Flush` messages that `v1/speak` answers in a minute.
        flushed_first: whether `Flushed` of `v2/speak` comes before the rest of the turn's audio,
            as an answer to `Flush`, or behind `SpeechMetadata`.
    """

    def __init__(
        self,
        voices: VoiceFactory,
        *,
        blocking: bool = False,
        piece: float = 0.1,
        pace: float | None = None,
        flushes: int = 20,
        flushed_first: bool = True,
    ) -> None:
        self._voices = voices
        self._blocking = blocking
        self._piece = piece
        self._pace = pace
        self._flushes = flushes
        self._flushed_first = flushed_first

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
            speaker = AuraSpeaker(request, voice, flushes=self._flushes)
        else:
            speaker = FluxSpeaker(request, voice, flushed_first=self._flushed_first)
        piece = max(1, round(self._piece * output.sample_rate)) * output.width
        pace = None if self._pace is None else self._pace * output.bytes_per_second
        header = wav_header(output) if request.container == "wav" else b""
        thread = ThreadPoolExecutor(1, "voice") if self._blocking else None
        await _Conversation(stream, speaker, voice, thread, piece, pace, header).run()

    def _request(self, stream: ModelStream) -> SpeakRequest:
        if stream.path not in PATHS:
            served = " and ".join(PATHS)
            raise Refused("1008", f"this model serves {served}, not {stream.path or 'no path'}")
        try:
            return SpeakRequest.parse(stream.query, stream.path.partition("/")[0])
        except RequestError as error:
            raise Refused("1008", f"Bad request: {error}") from error


class _Conversation:
    """One stream being served: a reader that fills the plan, a worker that carries it out."""

    def __init__(
        self,
        stream: ModelStream,
        speaker: AuraSpeaker | FluxSpeaker,
        voice: Voice,
        thread: ThreadPoolExecutor | None,
        piece: int,
        pace: float | None,
        header: bytes,
    ) -> None:
        self._stream = stream
        self._speaker = speaker
        self._voice = voice
        self._thread = thread
        self._piece = piece
        # Bytes a second.
        self._pace = pace
        self._header = header
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Serve until goodbye has been said, or the client's input ends.

        The client ending its input is what closing the WebSocket is to the container: whatever
        has not been said by then is not said any more, even after `Close`.
        """
        reader = asyncio.create_task(self._read(), name="speak reader")
        worker = asyncio.create_task(self._work(), name="speak worker")
        try:
            await asyncio.wait({reader, worker}, return_when=asyncio.FIRST_COMPLETED)
            for task in (worker, reader):
                if task.done():
                    await task
        finally:
            reader.cancel()
            worker.cancel()
            await asyncio.gather(reader, worker, return_exceptions=True)
            if self._thread is not None:
                self._thread.shutdown(wait=False, cancel_futures=True)

    async def _read(self) -> None:
        clock = asyncio.get_running_loop().time
        async for message in self._stream:
            if self._speaker.plan.ends:
                # Nothing counts after a Close; that the input ends still does.
                continue
            if isinstance(message, bytes):
                raise Refused("1003", "MESSAGE-0000: a binary message where text is expected")
            self._speaker.receive(message, clock())
            self._news.set()

    async def _work(self) -> None:
        plan = self._speaker.plan
        while True:
            while not plan:
                self._news.clear()
                await self._news.wait()
            match plan.next():
                case Say() as say:
                    await self._say(say)
                case Tell(make):
                    if (message := make()) is not None:
                        await self._stream.send(to_json(message))
                case End():
                    return

    async def _say(self, say: Say) -> None:
        if self._thread is None:
            audio = self._voice(say.text, say.speed)
        else:
            loop = asyncio.get_running_loop()
            audio = await loop.run_in_executor(self._thread, self._voice, say.text, say.speed)
        say.size = len(audio)
        for start in range(0, len(audio), self._piece):
            # A Clear or an Interrupt may have come while the last piece was on its way.
            if say.cancelled:
                return
            piece = audio[start : start + self._piece]
            say.sent += len(piece)
            header, self._header = self._header, b""
            await self._stream.send(header + piece)
            if self._pace is not None:
                await asyncio.sleep(len(piece) / self._pace)
