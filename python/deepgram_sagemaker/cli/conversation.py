"""Streams one recording through the Deepgram SDK and our transport, and observes the result."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType

from deepgram_sagemaker.factory import SageMakerTransportFactory

from .figures import Figures, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deepgram.listen.v1.types import ListenV1Metadata, ListenV1Results

    from deepgram_sagemaker.config import SageMakerConfig

    from .recording import Recording

__all__ = ["ConversationError", "Watcher", "converse"]

_CHUNK_SECONDS = 0.02


class ConversationError(Exception):
    """The conversation did not end in order."""


class Watcher(Protocol):
    """Receives results as they arrive."""

    def interim(self, start: float, end: float, transcript: str) -> None:
        """Receive an interim result; times are in seconds."""

    def final(self, final: Final) -> None:
        """Receive a final result."""


class _Listener:
    """Turns the SDK's events into figures and captions."""

    def __init__(self, figures: Figures, watcher: Watcher) -> None:
        self._figures = figures
        self._watcher = watcher
        self._drawing = 0.0
        # CPU time and chunks at the first answer: what came before is not counted per chunk.
        self._under_way: tuple[float, int] | None = None
        self.error: Exception | None = None

    def over(self) -> None:
        """Complete the figures at the end."""
        if self._under_way is not None:
            cpu, chunks = self._under_way
            self._figures.cpu = time.process_time() - cpu - self._drawing
            self._figures.cpu_chunks = self._figures.chunks_sent - chunks

    def on_message(self, message: object) -> None:
        self._figures.messages_received += 1
        if self._under_way is None:
            self._under_way = (time.process_time(), self._figures.chunks_sent)
        # By name, because not every supported SDK has a class for each type.
        match getattr(message, "type", None):
            case "Results":
                self._on_results(cast("ListenV1Results", message))
            case "Metadata":
                self._figures.audio_heard = cast("ListenV1Metadata", message).duration
            case "Error":
                description = getattr(message, "description", message)
                self.error = ConversationError(f"the service says: {description}")

    def on_error(self, error: Exception) -> None:
        self.error = error

    def _on_results(self, message: ListenV1Results) -> None:
        self._figures.channels = message.channel_index[1]
        alternative = message.channel.alternatives[0]
        before = time.thread_time()
        if message.is_final:
            final = Final(
                message.channel_index[0],
                message.start,
                message.duration,
                alternative.transcript,
                len(alternative.words),
            )
            self._figures.final(final, time.monotonic())
            self._watcher.final(final)
        else:
            self._figures.interims += 1
            self._watcher.interim(
                message.start, message.start + message.duration, alternative.transcript
            )
        self._drawing += time.thread_time() - before


async def converse(
    config: SageMakerConfig,
    recording: Recording,
    query: Mapping[str, str],
    watcher: Watcher,
    *,
    speed: float,
) -> Figures:
    """Stream a recording and receive its results to the end.

    Args:
        config: The endpoint.
        recording: The audio.
        query: The parameters of `v1/listen`, `model` included.
        watcher: Receives the results.
        speed: Speed of the stream, in times real time.

    Raises:
        SageMakerError: The transport gave up.
        ConversationError: The service ended the conversation early.
    """
    figures = Figures()
    listener = _Listener(figures, watcher)
    client = AsyncDeepgramClient(
        api_key="unused", transport_factory=SageMakerTransportFactory(config=config)
    )
    parameters: dict[str, Any] = dict(query)
    model = parameters.pop("model")
    started = time.monotonic()
    async with client.listen.v1.connect(
        model=model, request_options={"additional_query_parameters": parameters}
    ) as connection:
        connection.on(EventType.MESSAGE, listener.on_message)
        connection.on(EventType.ERROR, listener.on_error)
        speaking = asyncio.create_task(_speak(connection, recording, figures, speed))
        listening = asyncio.create_task(connection.start_listening())
        try:
            await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
            if not speaking.done():
                raise listener.error or ConversationError("the service ended the stream early")
            await speaking
            await listening
        finally:
            speaking.cancel()
            listening.cancel()
            await asyncio.gather(speaking, listening, return_exceptions=True)
    figures.elapsed = time.monotonic() - started
    listener.over()
    if listener.error is not None:
        raise listener.error
    return figures


async def _speak(connection: Any, recording: Recording, figures: Figures, speed: float) -> None:  # noqa: ANN401 - the SDK's class has no public name
    started = time.monotonic()
    for chunk in recording.chunks(_CHUNK_SECONDS):
        await connection.send_media(chunk.data)
        now = time.monotonic()
        figures.sent(len(chunk.data), chunk.end, now)
        await asyncio.sleep(started + chunk.end / speed - now)
    await connection.send_close_stream()
