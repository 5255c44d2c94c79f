"""The factory that the Deepgram SDK calls for each connection."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, overload

from .config import SageMakerConfig
from .invocation import parse_url
from .stats import Stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .transport import SageMakerTransport, Services

__all__ = ["SageMakerTransportFactory"]

_ASYNC_ONLY = (
    "the SageMaker transport is async-only: use AsyncDeepgramClient(transport_factory=...) "
    "inside a running event loop, not DeepgramClient"
)


class SageMakerTransportFactory:
    """Factory for `AsyncDeepgramClient(transport_factory=...)`.

    One factory serves any number of sessions. They share its connection limits, its AWS client
    and its credentials. Nothing is connected, read or resolved before the first message.

    Example:
        ```python
        factory = SageMakerTransportFactory("my-endpoint", region="us-east-1")
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        ```

    Args:
        endpoint_name: The SageMaker endpoint.
        region: Its AWS region; `us-west-2` if not given.
        config: All settings, instead of `endpoint_name` and `region`.

    Raises:
        TypeError: Neither an endpoint name nor a config was given.
        ValueError: Both were given, or a value is not allowed.
    """

    @overload
    def __init__(self, endpoint_name: str, region: str | None = None) -> None: ...
    @overload
    def __init__(self, *, config: SageMakerConfig) -> None: ...
    def __init__(
        self,
        endpoint_name: str | None = None,
        region: str | None = None,
        *,
        config: SageMakerConfig | None = None,
    ) -> None:
        if config is not None:
            if endpoint_name is not None or region is not None:
                raise ValueError(
                    "config= has the endpoint's name and region: give either config= alone, or "
                    "endpoint_name= and region="
                )
            if not isinstance(config, SageMakerConfig):
                raise TypeError(f"config= takes a SageMakerConfig, not {type(config).__name__}")
            self._config = config
        elif endpoint_name is None:
            raise TypeError("an endpoint is needed: give endpoint_name= (and region=), or config=")
        elif region is None:
            self._config = SageMakerConfig(endpoint_name)
        else:
            self._config = SageMakerConfig(endpoint_name, region)
        self._services: Services | None = None

    @property
    def config(self) -> SageMakerConfig:
        """The configuration of every transport made here."""
        return self._config

    @property
    def endpoint_name(self) -> str:
        """The SageMaker endpoint."""
        return self._config.endpoint_name

    @property
    def region(self) -> str:
        """The endpoint's AWS region."""
        return self._config.region

    @property
    def stats(self) -> Stats:
        """The sum over all sessions made here, including those that have ended."""
        return Stats() if self._services is None else self._services.stats

    def __getstate__(self) -> dict[str, Any]:
        # A copy, in this process or another, starts without sessions, connections and keys.
        return self.__dict__ | {"_services": None}

    def __call__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
    ) -> SageMakerTransport:
        """Make a transport. The SDK calls this for each connection.

        Args:
            url: The `wss://` URL that the SDK would connect to. The container gets its path and
                query; its host is ignored.
            headers: The SDK's headers. Ignored: AWS credentials authenticate.

        Raises:
            TypeError: Called without a running event loop, or by a sync client.
            ValidationError: The service would refuse the path or the query.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise TypeError(_ASYNC_ONLY) from None
        sdk = sys.modules.get("deepgram.transport")
        # A sync client in a running loop would never await the transport.
        if sdk is not None and getattr(sdk, "_active_sync_factory", None) is self:
            raise TypeError(_ASYNC_ONLY)
        # Imported here: importing the package must load only what the settings need.
        from .transport import SageMakerTransport, Services

        if self._services is None:
            self._services = Services(self._config)
        return SageMakerTransport.of(self._services, parse_url(url))
