"""The loudspeaker, which plays speech while it arrives. Needs the `audio` extra."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from deepgram_sagemaker.conversations.reasons import ConversationError

from .sound_device import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Loudspeaker", "loudspeaker"]

_WIDTH = 2
"""Bytes of a sample: linear16, mono."""

_SPARE = 10.0
"""Seconds that the device may take besides the audio's own length."""


class Loudspeaker:
    """Plays audio in the order in which it is given, and silence while there is none yet.

    Args:
        rate: Samples per second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._is_whole = False
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()

    def play(self, audio: bytes) -> None:
        """Play this after all that came before. Returns at once."""
        with self._lock:
            self._waiting += audio

    async def over(self) -> None:
        """Wait until all has been heard.

        Raises:
            ConversationError: The device stopped, or takes longer than the audio is.
        """
        with self._lock:
            self._is_whole = True
            seconds = len(self._waiting) / (_WIDTH * self._rate)
        try:
            async with asyncio.timeout(seconds + _SPARE):
                await self._ended.wait()
        except TimeoutError:
            raise ConversationError(
                f"the loudspeaker takes more than {_SPARE:g} s longer than the audio is"
            ) from None
        if self._waiting:
            raise ConversationError("the loudspeaker stopped before all was heard")

    def fill(self, buffer: Any) -> bool:  # noqa: ANN401 - the device's, of bytes
        """Fill the device's buffer; return whether the audio ends in it.

        Called in a thread of the device's.
        """
        with self._lock:
            size = min(len(buffer), len(self._waiting))
            if not self._is_whole:
                # The rest of a sample comes with the next message.
                size -= size % _WIDTH
            data = bytes(self._waiting[:size])
            del self._waiting[:size]
            buffer[:] = data + bytes(len(buffer) - size)
            return self._is_whole and not self._waiting

    def ended(self) -> None:
        """Take note that the device has stopped. Called in a thread of the device's."""
        # The loop may be closed: after Ctrl-C nothing waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)


@asynccontextmanager
async def loudspeaker(rate: int) -> AsyncIterator[Loudspeaker]:
    """Open the system's default loudspeaker: mono, 16 bits.

    Args:
        rate: Samples per second.

    Raises:
        AudioError: There is none, or it cannot play this rate.
    """
    speaker = Loudspeaker(rate)

    def more(buffer: Any, _frames: int, _time: object, _status: object) -> None:  # noqa: ANN401 - see `fill`
        if speaker.fill(buffer):
            # What is in the buffer is still played.
            raise sounddevice.CallbackStop

    with opened("the loudspeaker") as sounddevice:
        stream = sounddevice.RawOutputStream(
            samplerate=rate,
            channels=1,
            dtype="int16",
            callback=more,
            finished_callback=speaker.ended,
        )
        stream.start()
    try:
        yield speaker
    finally:
        # Without playing the rest: after an error or Ctrl-C nothing more is to be heard.
        stream.close()
