"""Has a text spoken through the Deepgram SDK and our transport, and writes the audio."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from deepgram.core.events import EventType
from deepgram.speak.v1.types import SpeakV1Text

from .captions import outcome, stream_counts
from .conversation import Caller, streams_of
from .destinations import save
from .manners import Console
from .reasons import ConversationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from deepgram_sagemaker.config import SageMakerConfig

    from .speech_file import SpeechFile

__all__ = ["pieces", "say"]

# Deepgram's limit for one message.
_MOST_CHARACTERS: Final = 2_000


def pieces(text: str, most: int = _MOST_CHARACTERS) -> Iterator[str]:
    """Yield a text in pieces of at most `most` characters, cut where its sentences or words end."""
    rest = text.strip()
    while len(rest) > most:
        head = rest[: most + 1]
        ends = [found.end() for found in re.finditer(r"[.!?…]\s+|\n\s*\n", head)]
        spaces = [found.end() for found in re.finditer(r"\s+", head)]
        # A word that is longer than a message can only be cut within.
        cut = next((places[-1] for places in (ends, spaces) if places), most)
        # The space stays with the piece in front of it: pieces are spoken as one text.
        cut = min(cut, most)
        yield rest[:cut]
        rest = rest[cut:]
    if rest:
        yield rest


async def say(
    config: SageMakerConfig,
    text: str,
    query: Mapping[str, Any],
    file: SpeechFile,
    path: Path | None,
) -> bool:
    """Have a text spoken on `v1/speak`, and write the audio; return True.

    Args:
        config: The endpoint.
        text: The text, of any length.
        query: Deepgram's parameters, `model` included.
        file: How the audio is written.
        path: Where; None: standard output.

    Raises:
        SageMakerError: The transport gave up.
        ConversationError: The service refused something, or ended early.
        OSError: The file cannot be written.
    """
    caller = Caller(config)
    audio = bytearray()
    warnings: list[str] = []
    failures: list[Exception] = []
    flushed = asyncio.Event()

    def take(message: object) -> None:
        if isinstance(message, bytes):
            audio.extend(message)
            return
        description = getattr(message, "description", message)
        match getattr(message, "type", None):
            case "Flushed":
                flushed.set()
            case "Warning":
                warnings.append(str(description))
            case "Error":
                failures.append(ConversationError(f"the service says: {description}"))

    started = time.monotonic()
    with caller.watched() as opened:
        async with caller.client.speak.v1.connect(
            request_options={"additional_query_parameters": dict(query)}
        ) as connection:
            connection.on(EventType.MESSAGE, take)
            connection.on(EventType.ERROR, failures.append)
            listening = asyncio.create_task(connection.start_listening())
            try:
                for piece in pieces(text):
                    await connection.send_text(SpeakV1Text(text=piece))
                await connection.send_flush()
                await connection.send_close()
                await listening
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    if failures:
        raise failures[0]
    if not flushed.is_set():
        raise ConversationError("the service ended the stream before all was spoken")
    if not audio:
        raise ConversationError("the service spoke nothing")
    content = file.written(bytes(audio))
    if path is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        save(path, content)
    seconds = file.seconds(bytes(audio))
    rows = [
        ("Audio", f"{seconds:.2f} s in {time.monotonic() - started:.1f} s"),
        ("Text", f"{len(text.strip()):,} characters"),
        ("File", f"{path or 'standard output'}, {len(content):,} bytes, {file.description}"),
        ("Streams", stream_counts(streams_of(opened), audio=False)),
        *(("Warning", warning) for warning in warnings),
    ]
    outcome(Console(stderr=True), "Spoken", rows, good=True)
    return True
