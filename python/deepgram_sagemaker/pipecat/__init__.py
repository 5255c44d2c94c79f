"""Services for pipecat whose sessions survive broken streams (extra `pipecat`).

The classes have the names and the arguments of pipecat's own, so only the import changes:

```python
from deepgram_sagemaker.pipecat import DeepgramSageMakerSTTService

stt = DeepgramSageMakerSTTService(endpoint_name="my-nova-endpoint", region="us-east-1")
```

- `client`: what replaces pipecat's client of a stream, and its error.
- `services`, `flux_tts`: pipecat's services over it.

Imports `transport`, and pipecat, so nothing else of the package imports it. Tests: `tests/pipecat`.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.deferred import deferred

if TYPE_CHECKING:
    from .client import SageMakerBidiClient, SageMakerBidiSessionError
    from .flux_tts import DeepgramFluxSageMakerTTSService
    from .services import (
        DeepgramFluxSageMakerSTTService,
        DeepgramSageMakerSTTService,
        DeepgramSageMakerTTSService,
    )

__all__ = [
    "DeepgramFluxSageMakerSTTService",
    "DeepgramFluxSageMakerTTSService",
    "DeepgramSageMakerSTTService",
    "DeepgramSageMakerTTSService",
    "SageMakerBidiClient",
    "SageMakerBidiSessionError",
]

_HOMES: Final = {
    "DeepgramFluxSageMakerSTTService": "services",
    "DeepgramFluxSageMakerTTSService": "flux_tts",
    "DeepgramSageMakerSTTService": "services",
    "DeepgramSageMakerTTSService": "services",
    "SageMakerBidiClient": "client",
    "SageMakerBidiSessionError": "client",
}

# The AWS SDK has renamed a class since, which pipecat's own client imports.
_INSTALL: Final = "pip install 'deepgram-sagemaker[pipecat]'"


def _reason(name: str, error: ImportError) -> str:
    """Return why a class of ours cannot be imported, and what to do about it."""
    try:
        release = metadata.version("pipecat-ai")
    except metadata.PackageNotFoundError:
        return f"{name} needs pipecat: {_INSTALL}"
    if name == "DeepgramFluxSageMakerTTSService" and error.name == (
        "pipecat.services.deepgram.flux.sagemaker.tts"
    ):
        return f"{name} needs pipecat 1.8 or later, and {release} is installed"
    return f"{name} cannot be imported with pipecat {release}: {error} ({_INSTALL})"


__getattr__ = deferred(__name__, _HOMES, _reason)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
