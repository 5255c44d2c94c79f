"""Has a text spoken through the Deepgram SDK and our transport, and writes or plays the audio."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from deepgram.core.events import EventType
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.speak.v2.types import SpeakV2Speak

from .captions import outcome, stream_counts
from .conversation import Caller, streams_of
from .destinations import save
from .loudspeaker import loudspeaker
from .manners import Console
from .reasons import ConversationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from deepgram_sagemaker.config import SageMakerConfig

    from .loudspeaker import Loudspeaker
    from .speech_file import SpeechFile

__all__ = ["Target", "pieces", "say"]

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


@dataclass(frozen=True, slots=True)
class Target:
    """Where speech goes.

    Attributes:
        file: The form of the audio.
        path: The file to write; None: there is none.
        to_standard_output: Whether to write the file's content to standard output.
        play: Whether to play it while it arrives.
    """

    file: SpeechFile
    path: Path | None
    to_standard_output: bool
    play: bool


async def say(
    config: SageMakerConfig,
    text: str,
    query: Mapping[str, Any],
    target: Target,
    *,
    flux: bool = False,
) -> bool:
    """Have a text spoken; return True when it is written and played.

    Args:
        config: The endpoint.
        text: The text, of any length.
        query: Deepgram's parameters, `model` included.
        target: Where the audio goes.
        flux: Whether to use `v2/speak`, and not `v1/speak`.

    Raises:
        SageMakerError: The transport gave up.
        ConversationError: The service refused something, or ended early.
        AudioError: There is no loudspeaker, or it cannot play this.
        OSError: The file cannot be written.
    """
    file, console = target.file, Console(stderr=True)
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        speaker = None
        if target.play:
            speaker = await stack.enter_async_context(loudspeaker(file.sample_rate))
        voice = _Voice(flux=flux, speaker=speaker)
        caller = Caller(config)
        opened = stack.enter_context(caller.watched())
        await voice.speak(caller.client, text, query)
        took = time.monotonic() - started
        content = file.written(bytes(voice.audio))
        if target.path is not None:
            save(target.path, content)
        elif target.to_standard_output:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        if speaker is not None:
            await speaker.over()
    where = target.path or ("standard output" if target.to_standard_output else None)
    rows = [
        ("Audio", f"{file.seconds(bytes(voice.audio)):.2f} s in {took:.1f} s, {file.description}"),
        ("Text", f"{len(text.strip()):,} characters"),
        *([("File", f"{where}, {len(content):,} bytes")] if where else []),
        ("Streams", stream_counts(streams_of(opened), audio=False)),
        *(("Warning", warning) for warning in voice.warnings),
    ]
    outcome(console, "Spoken", rows, good=True)
    return True


class _Voice:
    """Has a text spoken, and takes what comes back."""

    def __init__(self, *, flux: bool, speaker: Loudspeaker | None) -> None:
        self.audio = bytearray()
        self.warnings: list[str] = []
        self._flux = flux
        self._speaker = speaker
        self._failures: list[Exception] = []
        self._is_over = False

    async def speak(self, client: Any, text: str, query: Mapping[str, Any]) -> None:  # noqa: ANN401 - the SDK's, of no common type
        parameters = dict(query)
        # `v2` requires the model as an argument; in `v1` it can be one of the further parameters.
        model = {"model": parameters.pop("model")} if self._flux else {}
        version = client.speak.v2 if self._flux else client.speak.v1
        options = {"additional_query_parameters": parameters}
        async with version.connect(**model, request_options=options) as connection:
            connection.on(EventType.MESSAGE, self._take)
            connection.on(EventType.ERROR, self._failures.append)
            listening = asyncio.create_task(connection.start_listening())
            try:
                for piece in pieces(text):
                    if self._flux:
                        await connection.send_speak(SpeakV2Speak(text=piece))
                    else:
                        await connection.send_text(SpeakV1Text(text=piece))
                await connection.send_flush()
                await connection.send_close()
                await listening
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        if self._failures:
            raise self._failures[0]
        if not self._is_over:
            raise ConversationError("the service ended the stream before all was spoken")
        if not self.audio:
            raise ConversationError("the service spoke nothing")

    def _take(self, message: object) -> None:
        if isinstance(message, bytes):
            self.audio.extend(message)
            if self._speaker is not None:
                self._speaker.play(message)
            return
        description = getattr(message, "description", message)
        # By name, because not every supported SDK has a class for each type.
        match getattr(message, "type", None):
            case "SpeechMetadata" if self._flux:
                self._is_over = True
            case "Flushed" if not self._flux:
                self._is_over = True
            case "Warning":
                self.warnings.append(str(description))
            case "Error":
                self._failures.append(ConversationError(f"the service says: {description}"))
