"""The `speech` model: containers that recognise real speech and speak."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.agent import PATH as AGENT_PATH
from deepgram_sagemaker.local.agent import AgentService
from deepgram_sagemaker.local.controls import Refused, refusals
from deepgram_sagemaker.local.flux import SILENCE_LIMIT as FLUX_SILENCE_LIMIT
from deepgram_sagemaker.local.flux import Thresholds, ThresholdsError
from deepgram_sagemaker.local.speak import PATHS as SPEAK_PATHS
from deepgram_sagemaker.local.speak import SpeakService

from .conversation import Conversation
from .flux import FluxListener
from .listener import Listener
from .messages import StreamIdentity
from .recogniser import shared_recogniser
from .request import ListenRequest, RequestError, audio_format
from .voice import speaking_voices

if TYPE_CHECKING:
    from deepgram_sagemaker.local.agent import AgentSettings
    from deepgram_sagemaker.local.audio import Samples
    from deepgram_sagemaker.local.speak import VoiceFactory
    from deepgram_sagemaker.local.stream import ModelStream

    from .conversation import Listening
    from .recogniser import Recognise

__all__ = ["SpeechModel", "speech"]

_FLUX_PATH: Final = "v2/listen"
_LISTEN_PATHS: Final = ("v1/listen", _FLUX_PATH)
_SILENCE_LIMIT: Final = 10.0


class SpeechModel:
    """Serves Nova, Flux, Aura, Flux TTS and an agent, in English, on any number of streams at once.

    `v1/listen` and `v2/listen` recognise with moonshine-voice, in one thread a stream, never on the
    event loop. If audio comes faster than it can be recognised, interim results are skipped, but
    never final results or turns. `v1/speak` and `v2/speak` speak with `espeak-ng` if the machine
    has it, otherwise in tones. The agent of `v1/agent/converse` hears as Flux does and repeats what
    it has heard.

    Args:
        recognise: the recogniser; None: the process's own.
        silence_limit: seconds without audio or a KeepAlive until a stream is closed; None: as the
            products do, 10, for Flux 12.
        voices: makes a stream's voice; None: the machine's voices.
        strict_flux: whether `v2/listen` takes no message but `CloseStream`.
    """

    paths: Final = (*_LISTEN_PATHS, *SPEAK_PATHS, AGENT_PATH)

    def __init__(
        self,
        recognise: Recognise | None = None,
        *,
        silence_limit: float | None = None,
        voices: VoiceFactory | None = None,
        strict_flux: bool = False,
    ) -> None:
        self._recognise = recognise
        self._strict_flux = strict_flux
        self._silence_limit = silence_limit
        voices = voices or speaking_voices()
        self._speak = SpeakService(voices, blocking=True)
        self._converse = AgentService(
            self._ear, voices, blocking=True, silence_limit=silence_limit or _SILENCE_LIMIT
        )

    async def prepare(self) -> None:
        """Load the recogniser now, so that the first stream need not wait.

        Raises:
            MissingExtraError: moonshine-voice is not installed.
        """
        if self._recognise is None:
            await asyncio.to_thread(shared_recogniser)

    async def __call__(self, stream: ModelStream) -> None:
        """Serve one stream."""
        if stream.path in SPEAK_PATHS:
            await self._speak(stream)
            return
        if stream.path == AGENT_PATH:
            await self._converse(stream)
            return
        async with refusals(stream):
            limit = self._silence_limit
            if limit is None:
                limit = FLUX_SILENCE_LIMIT if stream.path == _FLUX_PATH else _SILENCE_LIMIT
            await Conversation(stream, self._listener(stream), limit).run()

    def _listener(self, stream: ModelStream) -> Listening:
        request_id = str(uuid.uuid4())
        try:
            match stream.path:
                case "v1/listen":
                    request = ListenRequest.parse(stream.query)
                    identity = StreamIdentity(request_id, datetime.now(UTC))
                    return Listener(request, self._transcribe, identity)
                case "v2/listen":
                    audio, thresholds = audio_format(stream.query), Thresholds.parse(stream.query)
                    return FluxListener(
                        audio,
                        thresholds,
                        self._transcribe,
                        request_id,
                        strict=self._strict_flux,
                    )
        except (RequestError, ThresholdsError) as error:
            raise Refused("1008", f"Bad request: {error}") from error
        served = ", ".join(self.paths)
        raise Refused("1008", f"the speech model serves {served}, not {stream.path or 'no path'}")

    def _ear(self, settings: AgentSettings) -> FluxListener:
        query = {"encoding": [settings.encoding], "sample_rate": [str(settings.sample_rate)]}
        return FluxListener(audio_format(query), Thresholds(), self._transcribe, "")

    def _transcribe(self, samples: Samples, /) -> str:
        recognise = self._recognise
        if recognise is None:
            recognise = shared_recogniser()
        return recognise(samples)


speech: Final = SpeechModel()
"""The model as `LocalEndpoint(model="speech")` runs it."""
