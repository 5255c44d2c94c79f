"""Has a text spoken through the Deepgram SDK."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from deepgram.core.events import EventType
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.speak.v2.types import SpeakV2Speak

from .reasons import ConversationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Voice", "pieces"]

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


class Voice:
    """One text, spoken.

    Args:
        flux: Whether to use `v2/speak`, and not `v1/speak`.
        heard: Receives the audio as it arrives.

    Attributes:
        audio: All of it so far.
        warnings: What the service warned of.
    """

    def __init__(self, *, flux: bool, heard: Callable[[bytes], None] | None = None) -> None:
        self.audio = bytearray()
        self.warnings: list[str] = []
        self._flux = flux
        self._heard = heard
        self._failures: list[Exception] = []
        self._is_over = False

    async def speak(self, client: Any, text: str, query: Mapping[str, Any]) -> None:  # noqa: ANN401 - the SDK's, of no common type
        """Have a text spoken to its end.

        Args:
            client: Deepgram's asynchronous client.
            text: The text, of any length.
            query: Deepgram's parameters, `model` included.

        Raises:
            SageMakerError: The transport gave up.
            ConversationError: The service refused something, or ended early.
        """
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
            if self._heard is not None:
                self._heard(message)
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
