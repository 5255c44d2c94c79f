"""Batches on Ray: archives transcribed, and texts spoken, by many workers (extra `ray`).

```python
from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.ray import transcribe

results = transcribe(
    "s3://calls/2026/",
    config=SageMakerConfig("my-nova-endpoint", region="us-east-1"),
    query={"model": "nova-3", "smart_format": "true"},
    output="s3://transcripts/2026/",
)
```

- `transcribing`, `speaking`: the two functions, and what is done with one recording or one text.
- `batch`: the driver's side: what is to be done, in lots, over Ray's workers.
- `work`: a worker's side: many sessions at once, attempts, and what ends the whole batch.
- `permits`: the one limit of sessions over all workers.  `breaker`: the service is away.
- `output`, `lease`: what is finished, so that it is not done again; one run at a time.
- `places`: paths and file systems.  `rows`: the columns, and the forms of files.

Imports `conversations`, and Ray, so nothing else of the package imports it. Tests: `tests/ray`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.deferred import deferred

if TYPE_CHECKING:
    from .lease import OutputBusyError
    from .output import OutputError
    from .speaking import speak
    from .transcribing import transcribe

__all__ = ["OutputBusyError", "OutputError", "speak", "transcribe"]

_HOMES: Final = {
    "OutputBusyError": "lease",
    "OutputError": "output",
    "speak": "speaking",
    "transcribe": "transcribing",
}
_INSTALL: Final = "pip install 'deepgram-sagemaker[ray]'"


def _reason(name: str, error: ImportError) -> str:
    return f"{name} needs Ray Data: {_INSTALL} ({error})"


__getattr__ = deferred(__name__, _HOMES, _reason)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
