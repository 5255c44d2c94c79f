"""Real speech behind the local endpoint: Nova and Flux listen, Aura and Flux TTS speak.

- `model`: the model that the endpoint takes; `conversation`: one stream with its thread.
- `listener`, `segments`, `messages`, `request`: `v1/listen`.
- `flux`, `turns`: `v2/listen`.
- `recogniser`, `activity`, `words`: from samples to words.
- `voice`: voices that can be listened to; `sample`: a recording.
- `extra`: where all this can be had.

It needs the `local` extra (numpy, moonshine-voice). The recogniser is loaded when a stream first
needs it. It imports `audio`, `flux`, `speak` and `agent` of the package. Tests:
`tests/local/speech`.
"""

import importlib.util

from .extra import MissingExtraError

if importlib.util.find_spec("numpy") is None or importlib.util.find_spec("moonshine_voice") is None:
    raise MissingExtraError("numpy and moonshine-voice")

from .model import SpeechModel, speech

__all__ = ["MissingExtraError", "SpeechModel", "speech"]
