"""Has a text spoken through the Deepgram SDK and our transport, and writes or plays the audio."""

from __future__ import annotations

import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepgram_sagemaker.conversations.caller import Caller, streams_of
from deepgram_sagemaker.conversations.voice import Voice

from .captions import outcome, stream_counts
from .destinations import save
from .loudspeaker import loudspeaker
from .manners import Console

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.conversations.speech_file import SpeechFile


__all__ = ["Target", "say"]


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
        voice = Voice(flux=flux, heard=None if speaker is None else speaker.play)
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
