"""SageMaker transport for the Deepgram Python SDK.

```python
from deepgram import AsyncDeepgramClient
from deepgram_sagemaker import SageMakerTransportFactory

factory = SageMakerTransportFactory("my-deepgram-endpoint", region="us-east-1")
client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
```

Importing this package connects, starts and loads nothing. Each name is imported when it is first
used, and the AWS SDK with the first session.

This folder is the whole package; docs/design.md draws its layers. This module imports only the
public surface (`config`, `errors`, `events`, `factory`, `transport`). Tests: tests/test_package.py,
and tests/test_structure.py for the layers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import config as config
    from . import errors as errors
    from . import events as events
    from . import factory as factory
    from . import transport as transport
    from ._native import __version__
    from .config import Endpoint, SageMakerConfig
    from .factory import SageMakerTransportFactory
    from .transport import SageMakerTransport

__all__ = [
    "Endpoint",
    "SageMakerConfig",
    "SageMakerTransport",
    "SageMakerTransportFactory",
    "__version__",
    "errors",
    "events",
]

_HOMES = {
    "Endpoint": "config",
    "SageMakerConfig": "config",
    "SageMakerTransport": "transport",
    "SageMakerTransportFactory": "factory",
    "__version__": "_native",
}
_MODULES = {"config", "errors", "events", "factory", "transport"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    # pytest imports this package for its fixtures in every run, so imports are deferred.
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    home = _HOMES.get(name)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
