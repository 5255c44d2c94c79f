"""What every `v2/listen` behind the local endpoint shares: thresholds and messages.

It imports its neighbours `controls` and `query`, and no numpy. Tests: `tests/local/test_flux.py`,
`tests/local/test_watermark_flux.py`.
"""

from typing import Final

from .messages import FluxTeller, SpokenWord
from .thresholds import Thresholds, ThresholdsError

__all__ = ["SILENCE_LIMIT", "FluxTeller", "SpokenWord", "Thresholds", "ThresholdsError"]

SILENCE_LIMIT: Final = 12.0
"""Seconds without audio after which Flux closes the stream. Audio every 10 s keeps it open."""
