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

import importlib
from typing import TYPE_CHECKING, Any, Final

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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    home = _HOMES.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    try:
        module = importlib.import_module(f"{__name__}.{home}")
    except ImportError as error:
        reason = f"{name} needs Ray Data: {_INSTALL} ({error})"
        raise ImportError(reason, name=error.name, path=error.path) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
