"""Real speech behind the local endpoint: Nova and Flux listen, Aura and Flux TTS speak.

Needs the `local` extra. The recogniser is loaded when a stream first needs it.

May import the rest of `local`, but not `local.endpoint`. Tests: tests/local/speech.
"""

import importlib.util

if importlib.util.find_spec("numpy") is None or importlib.util.find_spec("moonshine_voice") is None:
    raise ImportError("the speech model is an extra: pip install 'deepgram-sagemaker[local]'")

from .model import SpeechModel, speech
from .recogniser import MissingExtraError

__all__ = ["MissingExtraError", "SpeechModel", "speech"]
