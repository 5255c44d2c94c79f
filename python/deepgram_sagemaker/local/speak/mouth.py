"""Carries out a plan on a stream: speaks its text and sends its messages."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from deepgram_sagemaker.local.controls import to_json

from .plan import End, Say, Tell
from .voice import wav_header

if TYPE_CHECKING:
    from deepgram_sagemaker.local.stream import ModelStream

    from .plan import Plan
    from .voice import AudioOutput, Voice

__all__ = ["Mouth"]


class Mouth:
    """Takes the steps of a growing plan.

    Args:
        stream: the stream to send on.
        plan: the steps. Adding to it requires a call of `wake`.
        piece: the most seconds of audio in one message.
        pace: the fastest that audio is sent, in times its playing speed; None: as fast as possible.
    """

    def __init__(
        self, stream: ModelStream, plan: Plan, *, piece: float, pace: float | None
    ) -> None:
        self._stream = stream
        self._plan = plan
        self._piece = piece
        self._pace = pace
        self._voice: Voice | None = None
        self._output: AudioOutput | None = None
        self._header = b""
        self._blocking = False
        self._news = asyncio.Event()

    def use(self, voice: Voice, output: AudioOutput, *, blocking: bool, wav: bool) -> None:
        """Set the voice, without which nothing can be said.

        Args:
            voice: the voice.
            output: the format of its audio.
            blocking: whether it is so slow that it needs a thread.
            wav: whether the audio begins with a WAV header.
        """
        self._voice = voice
        self._output = output
        self._blocking = blocking
        self._header = wav_header(output) if wav else b""

    def wake(self) -> None:
        """Look at the plan again."""
        self._news.set()

    async def run(self) -> None:
        """Take steps until the end is one of them."""
        thread = ThreadPoolExecutor(1, "voice")
        try:
            while True:
                while not self._plan:
                    self._news.clear()
                    await self._news.wait()
                match self._plan.next():
                    case Say() as say:
                        await self._say(say, thread)
                    case Tell(make):
                        await self._stream.send(to_json(make()))
                    case End():
                        return
        finally:
            # A synthesis that has begun cannot be interrupted; the thread ends after it.
            thread.shutdown(wait=False, cancel_futures=True)

    async def _say(self, say: Say, thread: ThreadPoolExecutor) -> None:
        if self._voice is None or self._output is None:
            raise RuntimeError("something is to be said, and there is no voice")
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self._blocking:
            audio = await loop.run_in_executor(thread, self._voice, say.text, say.speed)
        else:
            audio = self._voice(say.text, say.speed)
        say.size = len(audio)
        if say.announce is not None and not say.cancelled:
            now = loop.time()
            await self._stream.send(to_json(say.announce(now - say.asked, now - began)))
        output = self._output
        piece = max(1, round(self._piece * output.sample_rate)) * output.width
        for start in range(0, len(audio), piece):
            # The rest may be cancelled while the last piece is being sent.
            if say.cancelled:
                return
            part = audio[start : start + piece]
            say.sent += len(part)
            header, self._header = self._header, b""
            await self._stream.send(header + part)
            if self._pace is not None:
                await asyncio.sleep(len(part) / (self._pace * output.bytes_per_second))
