"""The products that count, beside `v1/listen`: what answers them next to a `Watermark`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .agent.service import PATH as AGENT_PATH
from .speak import PATHS as SPEAK_PATHS
from .watermark_agent import WatermarkAgent
from .watermark_aura import WatermarkAura
from .watermark_flux import PATH as FLUX_PATH
from .watermark_flux import WatermarkFlux

if TYPE_CHECKING:
    from .stream import Model, ModelStream

__all__ = ["PATHS", "count"]

_AURA: Final = WatermarkAura()
_MODELS: Final[dict[str, Model]] = {
    FLUX_PATH: WatermarkFlux(),
    **dict.fromkeys(SPEAK_PATHS, _AURA),
    AGENT_PATH: WatermarkAgent(),
}

PATHS: Final = tuple(_MODELS)


async def count(stream: ModelStream) -> None:
    """Serve a stream of one of `PATHS`."""
    await _MODELS[stream.path](stream)
