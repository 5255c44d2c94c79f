"""Streams recordings through the Deepgram SDK and our transport, and observes the results."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, cast

from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType

from deepgram_sagemaker.factory import SageMakerTransportFactory

from .figures import Figures, Final, Streams, Word
from .reasons import ConversationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from deepgram.listen.v1.types import ListenV1Metadata, ListenV1Results
    from deepgram.listen.v2.types import ListenV2TurnInfo

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.transport import SageMakerTransport

    from .query import Query
    from .recording import Recording

__all__ = ["Caller", "Watcher", "converse", "streams_of"]

_CHUNK_SECONDS = 0.02

_opened: ContextVar[list[SageMakerTransport]] = ContextVar("opened")


class Watcher(Protocol):
    """Receives results as they arrive."""

    def interim(self, start: float, end: float, transcript: str) -> None:
        """Receive an interim result; times are in seconds."""

    def final(self, final: Final) -> None:
        """Receive a final result."""


class Caller:
    """Holds any number of conversations with one endpoint, also at the same time.

    Args:
        config: The endpoint.
    """

    def __init__(self, config: SageMakerConfig) -> None:
        self._factory = SageMakerTransportFactory(config=config)
        # The SDK compares factories by identity, and a bound method is a new object every time.
        self._open = self._opening
        self.client = AsyncDeepgramClient(api_key="unused", transport_factory=self._open)

    def _opening(self, url: str, headers: Mapping[str, str] | None = None) -> SageMakerTransport:
        transport = self._factory(url, headers)
        _opened.get().append(transport)
        return transport

    @contextmanager
    def watched(self) -> Iterator[list[SageMakerTransport]]:
        """Collect the transports that the current task opens."""
        opened: list[SageMakerTransport] = []
        token = _opened.set(opened)
        try:
            yield opened
        finally:
            _opened.reset(token)

    async def converse(
        self,
        recording: Recording,
        query: Query,
        watcher: Watcher,
        *,
        speed: float,
        flux: bool = False,
        figures: Figures | None = None,
        chunk: float = _CHUNK_SECONDS,
    ) -> Figures:
        """Stream a recording and receive its results to the end.

        Args:
            recording: The audio.
            query: Deepgram's parameters, `model` included.
            watcher: Receives the results.
            speed: Speed of the stream, in times real time.
            flux: Whether to use `v2/listen`, and not `v1/listen`.
            figures: Receives the figures, for a caller that reads them after an error.
            chunk: Seconds of audio in each message.

        Raises:
            SageMakerError: The transport gave up.
            ConversationError: The service ended the conversation early.
            AudioError: The audio cannot be streamed.
        """
        figures = Figures() if figures is None else figures
        listener = _FluxListener(figures, watcher) if flux else _NovaListener(figures, watcher)
        parameters: dict[str, Any] = dict(query)
        model = parameters.pop("model")
        listen = self.client.listen.v2 if flux else self.client.listen.v1
        started = time.monotonic()
        with self.watched() as opened:
            try:
                async with listen.connect(
                    model=model, request_options={"additional_query_parameters": parameters}
                ) as connection:
                    await _exchange(connection, recording, listener, figures, speed, chunk)
            finally:
                figures.elapsed = time.monotonic() - started
                listener.over()
                figures.streams = streams_of(opened)
        if listener.error is not None:
            raise listener.error
        return figures


async def converse(
    config: SageMakerConfig, recording: Recording, query: Query, watcher: Watcher, *, speed: float
) -> Figures:
    """Hold a single conversation on `v1/listen`: see `Caller.converse`."""
    return await Caller(config).converse(recording, query, watcher, speed=speed)


def streams_of(opened: Iterable[SageMakerTransport]) -> Streams:
    """Return what the connections of these transports went through."""
    legs, attempts, rollovers, replayed = 0, 0, 0, 0.0
    resets: dict[str, int] = {}
    for stats in (transport.stats for transport in opened):
        legs += stats.legs
        attempts += stats.attempts
        rollovers += stats.rollovers
        replayed += stats.seconds_replayed
        for kind, count in stats.resets.items():
            resets[kind] = resets.get(kind, 0) + count
    return Streams(legs, resets, max(0, attempts - legs), rollovers, replayed)


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
            case "Error":
                description = getattr(message, "description", message)
                self.error = ConversationError(f"the service says: {description}")
            case kind:
                before = time.thread_time()
                self._on_result(kind, message)
                self._drawing += time.thread_time() - before

    def on_error(self, error: Exception) -> None:
        self.error = error

    def _on_result(self, kind: str | None, message: object) -> None:
        """Take a message that is no error."""
        raise NotImplementedError

    def _final(self, final: Final) -> None:
        self._figures.final(final, time.monotonic())
        self._watcher.final(final)

    def _interim(self, start: float, end: float, transcript: str) -> None:
        self._figures.interims += 1
        self._watcher.interim(start, end, transcript)


class _NovaListener(_Listener):
    def _on_result(self, kind: str | None, message: object) -> None:
        match kind:
            case "Results":
                self._on_results(cast("ListenV1Results", message))
            case "Metadata":
                self._figures.audio_heard = cast("ListenV1Metadata", message).duration

    def _on_results(self, message: ListenV1Results) -> None:
        self._figures.channels = message.channel_index[1]
        alternative = message.channel.alternatives[0]
        if not message.is_final:
            end = message.start + message.duration
            self._interim(message.start, end, alternative.transcript)
            return
        self._final(
            Final(
                message.channel_index[0],
                message.start,
                message.duration,
                alternative.transcript,
                len(alternative.words),
                _words(alternative.words),
            )
        )


class _FluxListener(_Listener):
    def __init__(self, figures: Figures, watcher: Watcher) -> None:
        super().__init__(figures, watcher)
        figures.windows_until = 0.0
        # The last report on a turn that has not ended.
        self._open: Final | None = None

    def over(self) -> None:
        # The audio may end within a turn; what was said of it is all there is.
        if self._open is not None and self._open.transcript:
            self._final(self._open)
        self._open = None
        super().over()

    def _on_result(self, kind: str | None, message: object) -> None:
        if kind == "TurnInfo":
            self._on_turn(cast("ListenV2TurnInfo", message))

    def _on_turn(self, message: ListenV2TurnInfo) -> None:
        start, end = message.audio_window_start, message.audio_window_end
        self._figures.windows_until = max(self._figures.windows_until or 0.0, end)
        turn = Final(
            0,
            start,
            end - start,
            message.transcript,
            len(message.words),
            _words(message.words),
            int(message.turn_index),
        )
        if message.event == "EndOfTurn":
            self._open = None
            self._final(turn)
        else:
            self._open = turn
            self._interim(start, end, message.transcript)


def _words(words: Iterable[object]) -> tuple[Word, ...]:
    return tuple(
        Word(
            getattr(word, "punctuated_word", None) or str(getattr(word, "word", "")),
            # Flux words have no times in every model, and older SDKs no field for them.
            getattr(word, "start", None),
            getattr(word, "end", None),
            getattr(word, "confidence", None),
            getattr(word, "speaker", None),
        )
        for word in words
    )


async def _exchange(
    connection: Any,  # noqa: ANN401 - the SDK's classes have no common name
    recording: Recording,
    listener: _Listener,
    figures: Figures,
    speed: float,
    chunk: float,
) -> None:
    connection.on(EventType.MESSAGE, listener.on_message)
    connection.on(EventType.ERROR, listener.on_error)
    speaking = asyncio.create_task(_speak(connection, recording, figures, speed, chunk))
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


async def _speak(
    connection: Any,  # noqa: ANN401 - likewise
    recording: Recording,
    figures: Figures,
    speed: float,
    chunk: float,
) -> None:
    started = time.monotonic()
    async with aclosing(recording.chunks(chunk)) as chunks:
        async for piece in chunks:
            await connection.send_media(piece.data)
            now = time.monotonic()
            figures.sent(len(piece.data), piece.end, now)
            await asyncio.sleep(started + piece.end / speed - now)
    await connection.send_close_stream()
