"""SageMaker transport for the Deepgram Python SDK.

```python
from deepgram import AsyncDeepgramClient
from deepgram_sagemaker import SageMakerTransportFactory

factory = SageMakerTransportFactory("my-deepgram-endpoint", region="us-east-1")
client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
```

Importing this opens nothing and starts nothing; the AWS SDK is imported with the first session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors
from ._native import __version__
from .config import SageMakerConfig
from .factory import SageMakerTransportFactory

if TYPE_CHECKING:
    from .transport import SageMakerTransport

__all__ = [
    "SageMakerConfig",
    "SageMakerTransport",
    "SageMakerTransportFactory",
    "__version__",
    "errors",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    # It brings all that a session needs, which nobody pays for without one.
    if name == "SageMakerTransport":
        from .transport import SageMakerTransport

        return SageMakerTransport
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
