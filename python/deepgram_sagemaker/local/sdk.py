"""The transport factory that is installed in the Deepgram SDK.

The SDK accepts one factory a process, keeps it, and refuses another. It has no public access to the
one that is installed. Nothing here imports the SDK: it is looked up among the imported modules.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .access import is_loopback

if TYPE_CHECKING:
    from deepgram_sagemaker.config import SageMakerConfig

__all__ = ["installed", "let_go", "put_back"]

_ENDPOINT_URI = "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2"


def installed() -> tuple[Any, Any]:
    """Return the SDK's async and sync factory, each None if there is none."""
    sdk = sys.modules.get("deepgram.transport")
    return getattr(sdk, "_active_async_factory", None), getattr(sdk, "_active_sync_factory", None)


def put_back(before: tuple[Any, Any]) -> None:
    """Restore the SDK's factories to what `installed` returned before.

    Args:
        before: The async and the sync factory, each None if there was none.
    """
    sdk: Any = sys.modules.get("deepgram.transport")
    if sdk is None or (before != (None, None) and before == installed()):
        return
    sdk.restore_transport()
    if before != (None, None):
        asynchronous, synchronous = before
        sdk.install_transport(async_factory=asynchronous, sync_factory=synchronous)


def let_go(port: int) -> None:
    """Let the SDK accept another factory in place of one that leads to an endpoint which stops.

    Clients that have the factory keep it, and their connections are refused. Without it they would
    connect to Deepgram's own service, audio included.

    Args:
        port: The port that the endpoint listened on.
    """
    ours = sys.modules.get("deepgram_sagemaker.factory")
    factory, _ = installed()
    if ours is None or not isinstance(factory, ours.SageMakerTransportFactory):
        return
    configs = list(factory.routes.values()) or [factory.config]
    if any(_leads_to(port, config) for config in configs):
        # There is no public way.
        setattr(sys.modules["deepgram.transport"], "_active_async_factory", None)  # noqa: B010


def _leads_to(port: int, config: SageMakerConfig) -> bool:
    try:
        address = urlsplit(config.endpoint_uri or os.environ.get(_ENDPOINT_URI, ""))
        return address.port == port and is_loopback(address.hostname or "")
    except ValueError:
        return False
