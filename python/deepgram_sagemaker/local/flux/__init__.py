"""What every `v2/listen` behind the local endpoint has in common: settings, and messages."""

from .messages import FluxTeller, SpokenWord
from .thresholds import Thresholds, ThresholdsError

__all__ = ["FluxTeller", "SpokenWord", "Thresholds", "ThresholdsError"]
