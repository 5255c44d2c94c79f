"""Speaking behind the local endpoint: `v1/speak` as Aura does it, `v2/speak` as Flux TTS does.

- `aura`, `flux`: one conversation each, without I/O.
- `plan`, `mouth`: what is still to be said, and what says it on a stream.
- `service`: both protocols on a stream.
- `voice`: the voice, as a protocol; any function from text to audio is one.

It imports its neighbours `controls` and `query`, and no numpy. Tests: `tests/local/test_aura.py`,
`tests/local/test_watermark_aura.py`.
"""

from .service import PATHS, SpeakService
from .voice import AudioOutput, Voice, VoiceFactory

__all__ = ["PATHS", "AudioOutput", "SpeakService", "Voice", "VoiceFactory"]
