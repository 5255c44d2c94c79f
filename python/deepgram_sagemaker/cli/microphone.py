"""The microphone as a recording, which Ctrl-C ends. Needs the `audio` extra."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.conversations.recording import Recording, Sound

from .signals import on_signal
from .sound_device import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deepgram_sagemaker.conversations.pipes import Read

__all__ = ["MICROPHONE", "MICROPHONE_QUERY", "microphone"]

MICROPHONE: Final = "microphone"
_RATE: Final = 16_000
# What is recorded at a time: 20 ms.
_FRAMES: Final = 320

MICROPHONE_QUERY: Final = {"encoding": "linear16", "sample_rate": str(_RATE)}
"""Deepgram's parameters for what the microphone gives."""


def microphone() -> Recording:
    """Return the system's default microphone: mono, 16 kHz."""
    sound = Sound("linear16", _RATE, 1, 2)
    return Recording(MICROPHONE, f"{MICROPHONE}; Ctrl-C ends it", None, _heard, sound)


@asynccontextmanager
async def _heard() -> AsyncIterator[Read]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()

    def take(data: object, _frames: int, _time: object, _status: object) -> None:
        # Called in a thread of its own, with a buffer that is used again.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(reader.feed_data, bytes(data))  # type: ignore[call-overload]

    def stop() -> None:
        # The next Ctrl-C interrupts: the last results may be long in coming.
        interrupts()
        reader.feed_eof()

    with opened("the microphone") as sounddevice:
        stream = sounddevice.RawInputStream(
            samplerate=_RATE, channels=1, dtype="int16", blocksize=_FRAMES, callback=take
        )
    with on_signal("SIGINT", stop) as interrupts, stream:
        yield reader.read
