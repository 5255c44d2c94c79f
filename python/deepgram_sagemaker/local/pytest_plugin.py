"""Pytest fixtures: one local endpoint for a test, or several.

```python
@pytest.mark.sagemaker_endpoint(model="speech", faults=[Fault(Reset(), when=AfterAudio(3.2))])
async def test_captions(sagemaker_endpoint):
    factory = SageMakerTransportFactory(config=sagemaker_endpoint.config())
```

They work with any async plugin, and without one: an endpoint has threads of its own. Nothing is
imported before a test asks for an endpoint.

The Deepgram SDK accepts one transport factory a process, and keeps it. After a test that used a
fixture of this module the SDK has the factory that it had before, or none. So each test may make a
factory of its own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .endpoint import LocalEndpoint

__all__ = ["sagemaker_endpoint", "sagemaker_endpoint_factory"]

_MARKER = "sagemaker_endpoint"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    line = f"{_MARKER}(**arguments): arguments of the LocalEndpoint that the fixture starts"
    config.addinivalue_line("markers", line)


@contextlib.contextmanager
def _own_transport() -> Iterator[None]:
    """Undo what clients made in this block have installed in the Deepgram SDK."""
    from .sdk import installed, put_back

    before = installed()
    try:
        yield
    finally:
        put_back(before)


@pytest.fixture
def sagemaker_endpoint_factory() -> Iterator[Callable[..., LocalEndpoint]]:
    """Start local endpoints with the arguments of `LocalEndpoint`; they stop with the test."""
    from .endpoint import LocalEndpoint

    with _own_transport(), contextlib.ExitStack() as running:

        def start(*args: Any, **kwargs: Any) -> LocalEndpoint:  # noqa: ANN401 - passed on
            return running.enter_context(LocalEndpoint(*args, **kwargs))

        yield start


@pytest.fixture
def sagemaker_endpoint(
    request: pytest.FixtureRequest, sagemaker_endpoint_factory: Callable[..., LocalEndpoint]
) -> LocalEndpoint:
    """Return a running local endpoint, made from the arguments of the test's marker."""
    marker = request.node.get_closest_marker(_MARKER)
    return sagemaker_endpoint_factory(**(marker.kwargs if marker else {}))
