"""The local endpoint: it answers in place of Amazon SageMaker on a laptop or in CI.

- `endpoint` runs the native server; `faults` are the faults to inject; `pytest_plugin` has the
  fixtures.
- `stream` is what a model sees of the client. Models: `speech` (real), `watermark` and
  `watermark_*` (they count chunks). `agent`, `flux` and `speak` are the protocols that both share.

Names are imported on first use, because pytest imports this package for its fixtures in every run.

May import `_native`, `config`, `errors` and `wakeups`; never `transport`, `factory` or `aws`.
Tests: tests/local.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .endpoint import Credentials, EndpointStats, LegRecord, LocalEndpoint
    from .faults import Fault
    from .stream import Model, ModelStream
    from .watermark import Watermark

__all__ = [
    "Credentials",
    "EndpointStats",
    "Fault",
    "LegRecord",
    "LocalEndpoint",
    "Model",
    "ModelStream",
    "Watermark",
]

_HOMES = {
    "Credentials": "endpoint",
    "EndpointStats": "endpoint",
    "Fault": "faults",
    "LegRecord": "endpoint",
    "LocalEndpoint": "endpoint",
    "Model": "stream",
    "ModelStream": "stream",
    "Watermark": "watermark",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
