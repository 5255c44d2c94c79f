"""The `speech` model: a Nova-like container that really recognises what it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.audio import AudioError

from . import messages
from .listener import Listener, SchemaError, parse_control
from .messages import StreamIdentity, to_json
from .recogniser import shared_recogniser
from .request import ListenRequest, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deepgram_sagemaker.local.audio import Samples
    from deepgram_sagemaker.local.stream import ModelStream

    from .listener import Recognise
    from .messages import Message

__all__ = ["SpeechModel", "speech"]

_PATH: Final = "v1/listen"
# Close codes of the WebSocket that the container would close.
_POLICY_VIOLATION: Final = "1008"
_INTERNAL_ERROR: Final = "1011"
_SILENT: Final = (
    "NET-0001: Deepgram did not receive audio data or a text message within the timeout window."
)
_UNDECODABLE: Final = "DATA-0000: The payload cannot be decoded as audio."


class _Refused(Exception):  # noqa: N818 - it ends a stream as asked, which is no error of ours
    """The stream is over, with a code and a reason for the client."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class SpeechModel:
    """Serves `v1/listen` with real recognition of English speech; any number of streams at once.

    Recognition runs in threads, one a stream, and never on the event loop. An interim result is
    given up when audio comes faster than it can be recognised; final results never are.

    Args:
        recognise: another recogniser than the process's own.
        silence_limit: seconds without audio or a KeepAlive after which a stream is closed.
    """

    def __init__(self, recognise: Recognise | None = None, *, silence_limit: float = 10.0) -> None:
        self._recognise = recognise
        self._silence_limit = silence_limit

    async def prepare(self) -> None:
        """Load the recogniser now, so that the first stream does not wait for it.

        Raises:
            MissingExtraError: moonshine-voice is not installed.
        """
        if self._recognise is None:
            await asyncio.to_thread(shared_recogniser)

    async def __call__(self, stream: ModelStream) -> None:
        """Serve one stream."""
        try:
            request = _request(stream)
            await _Conversation(stream, request, self._transcribe, self._silence_limit).run()
        except _Refused as refusal:
            with contextlib.suppress(ConnectionError):
                await stream.fail(refusal.code, str(refusal))
        except ConnectionError:
            # The client is gone, and there is nobody to tell.
            return

    def _transcribe(self, samples: Samples, /) -> str:
        recognise = self._recognise
        if recognise is None:
            recognise = shared_recogniser()
        return recognise(samples)


def _request(stream: ModelStream) -> ListenRequest:
    if stream.path != _PATH:
        raise _Refused(
            _POLICY_VIOLATION, f"the speech model serves {_PATH}, not {stream.path or 'no path'}"
        )
    try:
        return ListenRequest.parse(stream.query)
    except RequestError as error:
        raise _Refused(_POLICY_VIOLATION, f"Bad request: {error}") from error


class _Next(Enum):
    """Whether the conversation goes on after a message."""

    LISTEN = auto()
    DONE = auto()


class _Conversation:
    """One stream being served: a reader that fills the inbox, a worker that empties it."""

    # More than this many messages unread, and the client's flow control holds it back.
    _INBOX: Final = 512
    # Audio taken in one go beyond this is a backlog, and interim results of it are skipped.
    _BACKLOG_US: Final = 1_500_000

    def __init__(
        self,
        stream: ModelStream,
        request: ListenRequest,
        recognise: Recognise,
        silence_limit: float,
    ) -> None:
        self._stream = stream
        self._silence_limit = silence_limit
        identity = StreamIdentity(str(uuid.uuid4()), datetime.now(UTC))
        self._listener = Listener(request, recognise, identity)
        self._inbox: asyncio.Queue[str | bytes] = asyncio.Queue(self._INBOX)
        self._heard = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Serve until goodbye has been said, or the client's input ends.

        The client ending its input is what closing the WebSocket is to the container: whatever
        has not been said by then is not said any more, even after `CloseStream`.
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
            # A recognition under way can't be interrupted; the thread ends by itself after it.
            thread.shutdown(wait=False, cancel_futures=True)

    async def _read(self) -> None:
        async for message in self._stream:
            if isinstance(message, bytes) or _is_keep_alive(message):
                self._heard = asyncio.get_running_loop().time()
            await self._inbox.put(message)

    async def _work(self, thread: ThreadPoolExecutor) -> None:
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                audio = [message]
                while not self._inbox.empty():
                    message = self._inbox.get_nowait()
                    if isinstance(message, str):
                        break
                    audio.append(message)
                await self._hear(thread, b"".join(audio))
            if isinstance(message, str) and await self._obey(thread, message) is _Next.DONE:
                return

    async def _receive(self) -> str | bytes:
        """The next message, unless the client has been silent for too long."""
        while True:
            silent_until = self._heard + self._silence_limit
            try:
                async with asyncio.timeout_at(silent_until):
                    return await self._inbox.get()
            except TimeoutError:
                # A KeepAlive may have come in the meantime and wait behind other messages.
                if self._heard + self._silence_limit <= silent_until and self._inbox.empty():
                    raise _Refused(_INTERNAL_ERROR, _SILENT) from None

    async def _hear(self, thread: ThreadPoolExecutor, audio: bytes) -> None:
        before = self._listener.received_us
        try:
            await self._answer(thread, lambda: self._listener.audio(audio))
        except AudioError as error:
            raise _Refused(_POLICY_VIOLATION, f"{_UNDECODABLE} {error}") from error
        if self._listener.received_us - before < self._BACKLOG_US:
            await self._answer(thread, self._listener.interims)

    async def _obey(self, thread: ThreadPoolExecutor, text: str) -> _Next:
        try:
            control = parse_control(text)
            match control.kind:
                case "Finalize":
                    await self._answer(thread, self._listener.finalize)
                case "Configure":
                    await self._stream.send(to_json(self._listener.configure(control.body)))
                case "CloseStream":
                    await self._answer(thread, self._listener.close)
                    return _Next.DONE
        except SchemaError as error:
            await self._stream.send(to_json(messages.schema_error(str(error), text)))
            raise _Refused(_POLICY_VIOLATION, f"DATA-0000: {error}") from error
        return _Next.LISTEN

    async def _answer(
        self, thread: ThreadPoolExecutor, produce: Callable[[], Iterator[Message]]
    ) -> None:
        """Send what the listener has to say, each message as soon as it is there."""
        loop = asyncio.get_running_loop()
        answers = produce()
        while (message := await loop.run_in_executor(thread, next, answers, None)) is not None:
            await self._stream.send(to_json(message))


def _is_keep_alive(text: str) -> bool:
    try:
        return parse_control(text).kind == "KeepAlive"
    except SchemaError:
        return False


speech: Final = SpeechModel()
"""The model as `LocalEndpoint(model="speech")` runs it."""
