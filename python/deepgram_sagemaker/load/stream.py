"""One live stream: a session through the Deepgram SDK that sends at the pace of speech.

The n-th chunk is due when the speech in it is over: n chunks after the stream began. Nothing moves
that time, so a chunk that is sent late makes no later one late, and a result's lag is counted from
when its last audio was due, however late it was sent. Imports `audio`, `histogram`,
`metronome` and `tally`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from deepgram.core.events import EventType

from deepgram_sagemaker.conversations.reasons import ConversationError, reason_of
from deepgram_sagemaker.errors import (
    AuthenticationError,
    EndpointNotFoundError,
    SageMakerError,
    ValidationError,
)

from .audio import Marks

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from deepgram_sagemaker.stats import Stats

    from .audio import Piece
    from .histogram import Histogram
    from .metronome import Metronome
    from .tally import Tally

__all__ = ["LATE", "Stream", "is_permanent", "kind_of", "said_by"]

LATE: Final = 0.05
"""Seconds after which a chunk counts as late. Less makes no difference to a recogniser."""

_MOST_SAID: Final = 200
_USUAL: Final = 0.95
"""The share of the results that report on no more audio than is usual."""


def kind_of(error: BaseException) -> str:
    """Return what failures like this one are counted as: the status if there is one, and a name."""
    if isinstance(error, SageMakerError):
        name = error.code or type(error.__cause__ or error).__name__
        return f"{error.status} {name}" if error.status is not None else name
    return type(error).__name__


def is_permanent(error: BaseException) -> bool:
    """Return whether every later stream would fail as this one did."""
    return isinstance(error, AuthenticationError | EndpointNotFoundError | ValidationError)


def said_by(error: BaseException) -> str:
    """Return an error's words, not too many of them: the service's own if there are any."""
    cause = error.__cause__ if isinstance(error.__cause__, SageMakerError) else error
    text = getattr(cause, "model_message", None) or (
        reason_of(cause) if isinstance(cause, Exception) else str(cause)
    )
    # The first sentence says what happened, and the others what to do.
    text = re.sub(r" \([^()]*\)$", "", text.partition(". ")[0].rstrip("."))
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}…"


class Stream:
    """Sends a piece over and over, and takes the results.

    Args:
        connect: Returns the SDK's connection.
        piece: The audio.
        offset: The chunk to begin with.
        metronome: What it keeps time by.
        tally: Returns what this second is counted in.
        strides: Is told how much audio each result was the first to report on, in seconds.
        flux: Whether it is `v2/listen`.

    Attributes:
        stats: Returns the session's figures; None: there is none yet.
    """

    def __init__(
        self,
        connect: AbstractAsyncContextManager[Any],
        piece: Piece,
        offset: int,
        metronome: Metronome,
        tally: Callable[[], Tally],
        strides: Histogram,
        *,
        flux: bool,
    ) -> None:
        self._connect = connect
        self._chunks = piece.chunks
        self._seconds = piece.chunk_seconds
        self._offset = 0 if piece.marks else offset % len(piece.chunks)
        self._marks = Marks.of(piece)
        self._flux = flux
        self._metronome = metronome
        self._tally = tally
        self._strides = strides
        self._loop = asyncio.get_running_loop()
        self._connection: Any = None
        self._sent = 0
        self._sending: asyncio.Task[None] | None = None
        # When the clock last struck, and how many chunks were due then.
        self._struck = 0.0
        self._due = 0
        # When the audio began, by the loop's clock.
        self._began: float | None = None
        # Seconds of audio on which something has been heard.
        self._heard = 0.0
        self._has_heard = False
        self._error: BaseException | None = None
        self._is_open = False
        self._over = asyncio.Event()
        self.stats: Callable[[], Stats] | None = None

    def age(self, now: float) -> float:
        """Return for how many seconds the oldest audio on which nothing was heard has waited."""
        if self._began is None:
            return 0.0
        return max(0.0, now - self._began - self._heard)

    def overdue(self, now: float) -> float:
        """Return for how many seconds its next result is late, at least.

        A result reports on some audio at once, and is late only after that. How much audio is taken
        from the results of all streams; before the first of them it is none.
        """
        return max(0.0, self.age(now) - (self._strides.quantile(_USUAL) or 0.0))

    @property
    def is_open(self) -> bool:
        """Whether its session has been opened."""
        return self._is_open

    def end(self) -> None:
        """Have it end in order: what was sent gets its results."""
        self._over.set()

    async def run(self, open_now: Callable[[Any], Any], length: float | None) -> None:
        """Hold the stream until `end`, or for a length of audio.

        Args:
            open_now: Opens the session; called once the SDK has made its connection.
            length: Seconds; None: until `end`.

        Raises:
            SageMakerError: The session failed.
            ConversationError: The service ended it early.
        """
        wanted = self._loop.time()
        async with self._connect as self._connection:
            await open_now(self)
            self._is_open = True
            tally = self._tally()
            tally.opened += 1
            tally.opening.add(self._loop.time() - wanted)
            self._connection.on(EventType.MESSAGE, self._on_flux if self._flux else self._on_nova)
            self._connection.on(EventType.ERROR, self._fail)
            listening = asyncio.create_task(self._connection.start_listening())
            listening.add_done_callback(lambda _: self._over.set())
            try:
                await self._speak(length)
                if not listening.done():
                    await self._connection.send_close_stream()
                    await listening
                elif self._error is None:
                    self._error = ConversationError("the service ended the stream early")
            finally:
                self._metronome.leave(self._tick)
                for task in (self._sending, listening):
                    if task is not None and not task.done():
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
        if self._error is not None:
            raise self._error
        # A turn of Flux that is open at the end has no final report.
        if self._marks is not None and not self._flux:
            self._tally().missing += self._marks.rest(self._sent)

    async def _speak(self, length: float | None) -> None:
        """Send audio until it is over."""
        if self._over.is_set():
            return
        self._began = self._metronome.join(self._tick)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(length):
                await self._over.wait()
        self._metronome.leave(self._tick)
        if self._sending is not None and not self._sending.done():
            await self._sending

    @property
    def seconds_sent(self) -> float:
        """Seconds of audio that were passed to the session."""
        return self._sent * self._seconds

    def _tick(self, now: float) -> None:
        """Send what is due, unless what was due before still waits for room."""
        began, before = self._began, self._due
        if began is None or self._error is not None:
            return
        # Half a millisecond is the clock's own rounding.
        self._struck, self._due = now, int((now - began + 5e-4) / self._seconds)
        # This machine is late if the clock strikes late, whether or not there is room.
        late = min(self._due, int((now - began - LATE) / self._seconds)) - before
        if late > 0:
            self._tally().late += late
        if self._sending is not None:
            if not self._sending.done():
                return
            self._sending = None
        # Hardly ever waits: it runs here, and a task is left over only if it does.
        task = asyncio.Task(self._send(began, before), loop=self._loop, eager_start=True)
        if not task.done():
            self._sending = task

    async def _send(self, began: float, before: int) -> None:
        """Send what is due.

        Args:
            began: When the audio began.
            before: How many chunks were due before the clock struck.
        """
        due = self._due
        while self._sent < due:
            # Sending may wait, and another second may have begun.
            tally = self._tally()
            has_waited = self._sending is not None or self._sent < before
            when = began + (self._sent + 1) * self._seconds
            if has_waited and self._struck - when > LATE:
                tally.waited += 1
            chunk = self._chunks[(self._offset + self._sent) % len(self._chunks)]
            self._sent += 1
            tally.chunks += 1
            try:
                await self._connection.send_media(chunk)
            except Exception as error:  # noqa: BLE001 - it ends this stream, and not its neighbours
                self._fail(error)
                return

    def _fail(self, error: BaseException) -> None:
        # The first error is the reason for the others.
        if self._error is None:
            self._error = error
        self._over.set()

    def _on_nova(self, message: Any) -> None:  # noqa: ANN401 - one of the SDK's models
        # By name, because not every supported SDK has a class for each type.
        match getattr(message, "type", None):
            case "Results":
                words = ""
                if self._marks is not None and message.is_final:
                    words = message.channel.alternatives[0].transcript
                self._result(message.start + message.duration, bool(message.is_final), words)
            case "Error":
                self._on_error(message)

    def _on_flux(self, message: Any) -> None:  # noqa: ANN401 - likewise
        match getattr(message, "type", None):
            case "TurnInfo":
                final = message.event == "EndOfTurn"
                words = message.transcript if self._marks is not None and final else ""
                self._result(message.audio_window_end, final, words)
            case "Error":
                self._on_error(message)

    def _on_error(self, message: Any) -> None:  # noqa: ANN401 - likewise
        said = getattr(message, "description", None) or getattr(message, "code", None) or message
        self._fail(ConversationError(f"the service says: {said}"))

    def _result(self, end: float, final: bool, words: str) -> None:
        tally, now, began = self._tally(), self._loop.time(), self._began
        if began is None:
            return
        if not self._has_heard:
            self._has_heard = True
            tally.first.add(now - began)
        (tally.finals if final else tally.interims).add(now - began - end)
        if end > self._heard:
            self._strides.add(end - self._heard)
            self._heard = end
        if self._marks is not None:
            for word in words.split():
                if word.isdigit():
                    missing, repeated = self._marks.heard(int(word), self._sent)
                    tally.missing += missing
                    tally.repeated += repeated
