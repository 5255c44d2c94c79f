"""Deepgram's parameters, and the models where no other is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["AURA", "FLUX", "FLUX_TTS", "NOVA", "Query"]

type Query = Mapping[str, str | list[str]]
"""The parameters of a connection, by name; a list where one is given several times."""

NOVA: Final = "nova-3"
"""The model of `v1/listen`."""
FLUX: Final = "flux-general-en"
"""The model of `v2/listen`."""
AURA: Final = "aura-2-thalia-en"
"""The voice of `v1/speak`."""
FLUX_TTS: Final = "flux-alexis-en"
"""The voice of `v2/speak`."""
