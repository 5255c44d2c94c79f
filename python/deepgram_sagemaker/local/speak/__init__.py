"""Speech synthesis behind the local endpoint: `v1/speak` as Aura, `v2/speak` as Flux TTS.

The protocols are here. A `Voice`, which the caller gives, turns text into audio.

May import `local.controls` and `local.stream`. Tests: tests/local/test_aura.py, and
tests/local/test_watermark_aura.py for the counting voice.
"""

from .service import PATHS, SpeakService
from .voice import AudioOutput, Voice, VoiceFactory

__all__ = ["PATHS", "AudioOutput", "SpeakService", "Voice", "VoiceFactory"]
