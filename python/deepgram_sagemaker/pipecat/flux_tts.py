"""pipecat's service for Flux text to speech, which releases before 1.8 do not have.

Imports `services`. Tests: `tests/pipecat/test_services.py`.
"""

from __future__ import annotations

from typing import Any

from pipecat.services.deepgram.flux.sagemaker.tts import (
    DeepgramFluxSageMakerTTSService as FluxTTSService,
)
from pipecat.utils.errors import ErrorCategory

from deepgram_sagemaker.errors import SageMakerError

from .services import OverSessions

__all__ = ["DeepgramFluxSageMakerTTSService"]


class DeepgramFluxSageMakerTTSService(OverSessions, FluxTTSService):
    """pipecat's service for Flux on SageMaker: text to speech; from pipecat 1.8 on.

    Args:
        endpoint_name: The SageMaker endpoint. May be omitted with `config`.
        region: Its AWS region; `us-west-2` if not given. May be omitted with `config`.
        config: All settings.
        options: Every other argument of pipecat's service, such as `settings`.

    Raises:
        TypeError: There is neither an endpoint's name nor a config, or something of another type.
        ValueError: A value is not allowed, or the config has another endpoint.
    """

    _begins_anew = True
    _has_results = False

    def _classify_error(self, exception: Exception) -> Any:  # noqa: ANN401 - pipecat's
        category = super()._classify_error(exception)
        if category is None and isinstance(exception, SageMakerError):
            # By its HTTP status it would be final in some releases: the next text is tried.
            category = ErrorCategory.CONNECTIVITY
        return category
