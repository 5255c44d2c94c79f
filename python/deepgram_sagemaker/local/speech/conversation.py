"""One stream that listens: a reader fills the inbox, and a worker empties it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol

from deepgram_sagemaker.local.audio import AudioError
from deepgram_sagemaker.local.controls import Refused, SchemaError, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deepgram_sagemaker.local.controls import Message
    from deepgram_sagemaker.local.stream import ModelStream

__all__ = ["Conversation", "Listening"]

# Close codes of the WebSocket that the container would close.
_POLICY_VIOLATION: Final = "1008"
_INTERNAL_ERROR: Final = "1011"
_SILENT: Final = (
    "NET-0001: Deepgram did not receive audio data or a text message within the timeout window."
)
_UNDECODABLE: Final = "DATA-0000: The payload cannot be decoded as audio."


class Listening(Protocol):
    """A product that listens, without I/O. Its iterators may take time for each message."""

    is_over: bool

    @property
    def received_us(self) -> int:
        """The audio received, in microseconds."""

    def greet(self) -> Iterator[Message]:
        """Return the messages that precede the client's first."""

    def audio(self, data: bytes) -> Iterator[Message]:
        """Take audio and answer it.

        Raises:
            AudioError: the audio cannot be decoded.
        """

    def interims(self) -> Iterator[Message]:
        """Yield interim results, which may be skipped when audio comes too fast."""

    def obey(self, text: str) -> Iterator[Message]:
        """Take a text message and answer it.

        Raises:
            SchemaError: it does not belong to the protocol.
        """

    def complain(self, error: SchemaError, text: str, /) -> Message:
        """Make the message about a text message that was not understood."""

    def keeps_alive(self, message: str | bytes) -> bool:
        """Return whether a message is a sign of life."""


class Conversation:
    """Serves one stream. Recognition runs in a thread of its own, never on the event loop.

    Args:
        stream: the client's stream.
        listener: answers the client.
        silence_limit: seconds without a sign of life until the stream is closed.
    """

    # The most messages unread; beyond it, flow control holds the client back.
    _INBOX: Final = 512
    # More audio than this at once is a backlog, for which interim results are skipped.
    _BACKLOG_US: Final = 1_500_000

    def __init__(self, stream: ModelStream, listener: Listening, silence_limit: float) -> None:
        self._stream = stream
        self._listener = listener
        self._silence_limit = silence_limit
        self._inbox: asyncio.Queue[str | bytes] = asyncio.Queue(self._INBOX)
        self._heard = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Serve until the listener has closed, or the client's input ends.

        To a container the end of the client's input is the close of the WebSocket: what has not
        been sent by then is not sent at all, even after `CloseStream`.
        """
        thread = ThreadPoolExecutor(1, "speech")
        reader = asyncio.create_task(self._read(), name="speech reader")
        worker = asyncio.create_task(self._work(thread), name="speech worker")
        try:
            await asyncio.wait({reader, worker}, return_when=asyncio.FIRST_COMPLETED)
            for task in (worker, reader):
                if task.done():
                    await task
        finally:
            reader.cancel()
            worker.cancel()
            await asyncio.gather(reader, worker, return_exceptions=True)
            # A recognition that has begun cannot be interrupted; the thread ends after it.
            thread.shutdown(wait=False, cancel_futures=True)

    async def _read(self) -> None:
        async for message in self._stream:
            if self._listener.keeps_alive(message):
                self._heard = asyncio.get_running_loop().time()
            await self._inbox.put(message)

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        await self._answer(thread, self._listener.greet)
        while not self._listener.is_over:
            message = await self._receive()
            if isinstance(message, bytes):
                audio = [message]
                while not self._inbox.empty():
                    message = self._inbox.get_nowait()
                    if isinstance(message, str):
                        break
                    audio.append(message)
                await self._hear(thread, b"".join(audio))
            if isinstance(message, str):
                await self._obey(thread, message)

    async def _receive(self) -> str | bytes:
        """Return the next message; the stream is refused if the client is silent for too long."""
        while True:
            silent_until = self._heard + self._silence_limit
            try:
                async with asyncio.timeout_at(silent_until):
                    return await self._inbox.get()
            except TimeoutError:
                # A KeepAlive may be waiting behind other messages.
                if self._heard + self._silence_limit <= silent_until and self._inbox.empty():
                    raise Refused(_INTERNAL_ERROR, _SILENT) from None

    async def _hear(self, thread: ThreadPoolExecutor, audio: bytes) -> None:
        before = self._listener.received_us
        try:
            await self._answer(thread, lambda: self._listener.audio(audio))
        except AudioError as error:
            raise Refused(_POLICY_VIOLATION, f"{_UNDECODABLE} {error}") from error
        if self._listener.received_us - before < self._BACKLOG_US:
            await self._answer(thread, self._listener.interims)

    async def _obey(self, thread: ThreadPoolExecutor, text: str) -> None:
        try:
            await self._answer(thread, lambda: self._listener.obey(text))
        except SchemaError as error:
            parting = self._listener.complain(error, text)
            raise Refused(_POLICY_VIOLATION, f"DATA-0000: {error}", parting) from error

    async def _answer(
        self, thread: ThreadPoolExecutor, produce: Callable[[], Iterator[Message]]
    ) -> None:
        """Send the listener's messages, each as soon as it is made."""
        loop = asyncio.get_running_loop()
        answers = produce()
        while (message := await loop.run_in_executor(thread, next, answers, None)) is not None:
            await self._stream.send(to_json(message))
