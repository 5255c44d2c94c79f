"""Real speech behind the local endpoint: Nova and Flux listen, Aura and Flux TTS speak.

Needs the `local` extra. The recogniser itself is only loaded when a stream needs it.
"""

import importlib.util

if importlib.util.find_spec("numpy") is None or importlib.util.find_spec("moonshine_voice") is None:
    raise ImportError("the speech model is an extra: pip install 'deepgram-sagemaker[local]'")

from .model import SpeechModel, speech
from .recogniser import MissingExtraError

__all__ = ["MissingExtraError", "SpeechModel", "speech"]
