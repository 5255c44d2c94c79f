"""The local endpoint: it answers in place of Amazon SageMaker on a laptop or in CI.

- `endpoint`, `running`, `threads`, `native`: the endpoint itself, over the native server.
- `access`, `records`: who may call it, and what it has counted.
- `sdk`: the transport factory that is installed in the Deepgram SDK.
- `faults`: what goes wrong on demand.
- `stream`, `query`, `controls`, `audio`: what models share.
- `watermark*`, `counting`, `marks`: the models that count chunks.
- `speech`, `flux`, `speak`, `agent`: the models that recognise and make speech.
- `pytest_plugin`: fixtures.

It may import `config`, `wakeups` and `_native`, never `transport`. Tests: `tests/local`.

The parts are imported when they are used: pytest imports this package in every run, for its
fixtures, though few tests ask for an endpoint.
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
