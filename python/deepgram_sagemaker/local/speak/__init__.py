"""Speaking behind the local endpoint: `v1/speak` as Aura, `v2/speak` as Flux TTS speaks it.

The protocols are here, and know nothing of how text becomes sound: that is a `Voice`.
"""

from .service import PATHS, SpeakService
from .voice import AudioOutput, Voice, VoiceFactory

__all__ = ["PATHS", "AudioOutput", "SpeakService", "Voice", "VoiceFactory"]
