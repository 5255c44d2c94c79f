"""The local endpoint: what answers in place of Amazon SageMaker on a laptop or in CI.

Its parts are imported when they are used: pytest imports this package for its fixtures, in every
run, whether a test asks for an endpoint or not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .access import Credentials
    from .endpoint import LocalEndpoint
    from .faults import Fault
    from .records import EndpointStats, LegRecord
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
    "Credentials": "access",
    "EndpointStats": "records",
    "Fault": "faults",
    "LegRecord": "records",
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
