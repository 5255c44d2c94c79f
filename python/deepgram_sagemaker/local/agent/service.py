"""The agent's protocol on a stream: a reader, an ear and a mouth."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol

from deepgram_sagemaker.local.controls import Refused, refusals
from deepgram_sagemaker.local.speak.mouth import Mouth

from .talk import Talk, echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deepgram_sagemaker.local.controls import Message
    from deepgram_sagemaker.local.speak import VoiceFactory
    from deepgram_sagemaker.local.stream import ModelStream

    from .settings import AgentSettings
    from .talk import Reply

__all__ = ["PATH", "AgentService", "Ear"]

PATH: Final = "v1/agent/converse"


class Ear(Protocol):
    """Hears the user's turns: yields Flux's `TurnInfo` messages."""

    def audio(self, data: bytes, /) -> Iterator[Message]:
        """Take audio.

        Raises:
            ValueError: it cannot be decoded.
        """

    def force_end(self) -> Iterator[Message]:
        """End the open turn, if there is one."""


class AgentService:
    """Serves `v1/agent/converse`, on any number of streams at once.

    Args:
        ears: makes each stream's ear; raises `ValueError` for audio that it does not support.
        voices: makes each stream's voice.
        reply: makes the agent's answer to the user.
        blocking: whether ear and voice are so slow that they need threads.
        silence_limit: seconds without any message until a stream is closed; None: never.
        piece: the most seconds of audio in one message.
        pace: the fastest that audio is sent, in times its playing speed; None: as fast as possible.
    """

    def __init__(
        self,
        ears: Callable[[AgentSettings], Ear],
        voices: VoiceFactory,
        *,
        reply: Reply = echo,
        blocking: bool = False,
        silence_limit: float | None = 10.0,
        piece: float = 0.1,
        pace: float | None = None,
    ) -> None:
        self.ears = ears
        self.voices = voices
        self.blocking = blocking
        self.silence_limit = silence_limit
        self._reply = reply
        self._piece = piece
        self._pace = pace

    async def __call__(self, stream: ModelStream) -> None:
        """Serve one stream."""
        async with refusals(stream):
            if stream.path != PATH:
                raise Refused("1008", f"this model serves {PATH}, not {stream.path or 'no path'}")
            talk = Talk(self._reply, str(uuid.uuid4()))
            mouth = Mouth(stream, talk.plan, piece=self._piece, pace=self._pace)
            await _Conversation(self, stream, talk, mouth).run()


class _Conversation:
    """One stream, served until the client's input ends: the protocol has no closing message."""

    # The most messages unread; beyond it, flow control holds the client back.
    _INBOX: Final = 512

    def __init__(
        self, service: AgentService, stream: ModelStream, talk: Talk, mouth: Mouth
    ) -> None:
        self._service = service
        self._stream = stream
        self._talk = talk
        self._mouth = mouth
        self._ear: Ear | None = None
        self._inbox: asyncio.Queue[str | bytes] = asyncio.Queue(self._INBOX)
        self._now = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Serve until the client's input ends."""
        reader = asyncio.create_task(self._read(), name="agent reader")
        others = (
            asyncio.create_task(self._listen(), name="agent ear"),
            asyncio.create_task(self._mouth.run(), name="agent mouth"),
        )
        tasks = (reader, *others)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        messages = aiter(self._stream)
        while True:
            try:
                async with asyncio.timeout(self._service.silence_limit):
                    message = await anext(messages)
            except StopAsyncIteration:
                return
            except TimeoutError:
                reason = "no message was received within the timeout window"
                parting = {"type": "Error", "description": reason, "code": "CLIENT_MESSAGE_TIMEOUT"}
                raise Refused("1011", f"CLIENT_MESSAGE_TIMEOUT: {reason}", parting) from None
            await self._inbox.put(message)

    async def _listen(self) -> None:
        thread = ThreadPoolExecutor(1, "ear")
        try:
            while True:
                message = await self._inbox.get()
                if isinstance(message, bytes):
                    self._talk.require_settings()
                    await self._hear(thread, message)
                else:
                    await self._obey(thread, message)
                self._mouth.wake()
        finally:
            # A recognition that has begun cannot be interrupted; the thread ends after it.
            thread.shutdown(wait=False, cancel_futures=True)

    async def _obey(self, thread: ThreadPoolExecutor, text: str) -> None:
        kind = self._talk.receive(text, self._now())
        settings = self._talk.settings
        if settings is None:
            return
        if kind == "Settings":
            try:
                self._ear = self._service.ears(settings)
            except ValueError as error:
                raise self._invalid("INVALID_SETTINGS", error) from error
            self._mouth.use(
                self._service.voices(settings.output),
                settings.output,
                blocking=self._service.blocking,
                wav=settings.wav,
            )
        elif kind == "ForceEndTurn" and settings.listens_with_flux and self._ear is not None:
            await self._take(thread, self._ear.force_end())

    async def _hear(self, thread: ThreadPoolExecutor, audio: bytes) -> None:
        if self._ear is None:
            return
        try:
            await self._take(thread, self._ear.audio(audio))
        except ValueError as error:
            raise self._invalid("INVALID_AUDIO", error) from error

    async def _take(self, thread: ThreadPoolExecutor, turns: Iterator[Message]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._service.blocking:
                info = await loop.run_in_executor(thread, next, turns, None)
            else:
                info = next(turns, None)
            if info is None:
                return
            self._talk.hear(info, self._now())
            self._mouth.wake()

    @staticmethod
    def _invalid(code: str, error: ValueError) -> Refused:
        parting = {"type": "Error", "description": str(error), "code": code}
        return Refused("1008", f"{code}: {error}", parting)
