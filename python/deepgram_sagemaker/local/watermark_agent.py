"""An agent that can be counted: `v1/agent/converse` with counted turns and a counting voice.

The user's turns are those of `watermark_flux`, whose transcripts are the numbers of the chunks;
the agent's words are the blocks of `watermark_aura`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from .agent import PATH, AgentService, echo
from .flux import FluxTeller, Thresholds
from .watermark_aura import CountingVoice
from .watermark_flux import ChunkClock, ChunkTurns, WatermarkFlux

if TYPE_CHECKING:
    from .agent import AgentSettings, Reply
    from .speak import AudioOutput
    from .stream import ModelStream

__all__ = ["WatermarkAgent"]


@dataclass(frozen=True, kw_only=True)
class WatermarkAgent:
    """A model that talks in numbers; give it to `LocalEndpoint` as `model`.

    Attributes:
        turn: chunks in a turn of the user.
        block: seconds of the block of each of the agent's words.
        piece: the most seconds of audio in one message.
        pace: the fastest that audio is sent, in times its playing speed; None: as fast as possible.
        reply: makes the agent's answer from all that was said, with earlier streams' context.
        silence_timeout: seconds without any message until the stream fails; None: never.
    """

    turn: int = 50
    block: float = 0.1
    piece: float = 0.04
    pace: float | None = None
    reply: Reply = echo
    silence_timeout: float | None = 10.0
    paths: ClassVar[tuple[str, ...]] = (PATH,)
    _service: AgentService = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare what all streams share."""
        service = AgentService(
            self._ear,
            self._voice,
            reply=self.reply,
            silence_limit=self.silence_timeout,
            piece=self.piece,
            pace=self.pace,
        )
        # The dataclass is frozen.
        object.__setattr__(self, "_service", service)

    async def __call__(self, stream: ModelStream) -> None:
        """Serve one stream."""
        await self._service(stream)

    def _ear(self, settings: AgentSettings) -> ChunkTurns:
        query = {"encoding": [settings.encoding], "sample_rate": [str(settings.sample_rate)]}
        turns = WatermarkFlux(turn=self.turn)
        # Only the agent sees its messages.
        teller = FluxTeller("", Thresholds())
        return ChunkTurns(turns, teller, ChunkClock.of(query), random.Random())  # noqa: S311 - no eager ends

    def _voice(self, output: AudioOutput) -> CountingVoice:
        return CountingVoice(output, self.block, 0.0)
