"""Settings and messages of `v2/listen`, shared by every model behind the local endpoint.

May import `local.controls`. Tests: tests/local/test_flux.py.
"""

from typing import Final

from .messages import FluxTeller, SpokenWord
from .thresholds import Thresholds, ThresholdsError

__all__ = ["SILENCE_LIMIT", "FluxTeller", "SpokenWord", "Thresholds", "ThresholdsError"]

SILENCE_LIMIT: Final = 12.0
"""Seconds without audio after which Flux closes the stream. Audio every 10 s keeps it open."""
