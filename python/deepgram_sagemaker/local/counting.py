"""The models that count for the products other than `v1/listen`, beside a `Watermark`."""

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

__all__ = ["PATHS", "counting"]

PATHS: Final = (FLUX_PATH, *SPEAK_PATHS, AGENT_PATH)


def counting(*, strict_flux: bool = False) -> Model:
    """Make a model that serves streams of `PATHS`.

    Args:
        strict_flux: whether `v2/listen` takes no message but `CloseStream`.
    """
    models: dict[str, Model] = {
        FLUX_PATH: WatermarkFlux(strict=strict_flux),
        **dict.fromkeys(SPEAK_PATHS, WatermarkAura()),
        AGENT_PATH: WatermarkAgent(),
    }

    async def count(stream: ModelStream) -> None:
        await models[stream.path](stream)

    return count
