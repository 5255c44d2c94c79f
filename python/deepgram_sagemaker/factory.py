"""The factory that the Deepgram SDK calls for each connection."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, overload

from .config import SageMakerConfig
from .errors import ValidationError
from .events import checked
from .invocation import Invocation, parse_url
from .stats import Stats, add_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .events import Event
    from .otel import Telemetry
    from .transport import SageMakerTransport, Services

__all__ = ["SageMakerTransportFactory"]

# All lines about sessions have one logger, whichever module writes them.
_logger = logging.getLogger("deepgram_sagemaker.transport")

_ASYNC_ONLY: Final = (
    "the SageMaker transport is async-only: use AsyncDeepgramClient(transport_factory=...) "
    "inside a running event loop, not DeepgramClient"
)

_PLACEHOLDER: Final = "unused"
"""The API key of a client that is meant to reach SageMaker."""


class SageMakerTransportFactory:
    """Factory for `AsyncDeepgramClient(transport_factory=...)`.

    One factory serves any number of sessions. They share its connection limits, its AWS client
    and its credentials. Nothing is connected, read or resolved before the first message.

    The Deepgram SDK accepts one factory a process, and every async client of the process uses it.
    For several endpoints, give `routes`. A warning is logged once if a client connects whose API
    key is not `unused`: it may have been meant for Deepgram's own service.

    Example:
        ```python
        factory = SageMakerTransportFactory("my-endpoint", region="us-east-1")
        client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
        ```

        ```python
        factory = SageMakerTransportFactory(
            routes={
                "v1/listen": SageMakerConfig("my-nova", region="us-east-1"),
                "v1/speak": SageMakerConfig("my-aura", region="us-east-1"),
            }
        )
        ```

    Args:
        endpoint_name: The SageMaker endpoint.
        region: Its AWS region; `us-west-2` if not given, `auto` for boto3's rule.
        config: All settings, instead of `endpoint_name` and `region`.
        routes: A config for each path, such as `v1/listen`, instead of all of these. Each config
            has its own limits, AWS client and credentials; paths that are given the same object
            share them.
        on_event: Called with each event of each session (`deepgram_sagemaker.events`), on the
            session's event loop. It must not block: the loop waits for it. An error that it
            raises is logged and changes nothing.
        telemetry: Traces and metrics through OpenTelemetry (extra `otel`). None: with its global
            providers, if the application has imported OpenTelemetry when a session begins. True:
            with its global providers. A `deepgram_sagemaker.otel.Telemetry`: with the providers in
            it. False: never.

    Raises:
        ImportError: `telemetry` is True, and OpenTelemetry's API is not installed.
        TypeError: Neither an endpoint name nor a config nor routes were given, or something of
            another type.
        ValueError: More than one of these was given, or a value is not allowed.
    """

    @overload
    def __init__(
        self,
        endpoint_name: str,
        region: str | None = None,
        *,
        on_event: Callable[[Event], object] | None = None,
        telemetry: Telemetry | bool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        config: SageMakerConfig,
        on_event: Callable[[Event], object] | None = None,
        telemetry: Telemetry | bool | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        routes: Mapping[str, SageMakerConfig],
        on_event: Callable[[Event], object] | None = None,
        telemetry: Telemetry | bool | None = None,
    ) -> None: ...
    def __init__(
        self,
        endpoint_name: str | None = None,
        region: str | None = None,
        *,
        config: SageMakerConfig | None = None,
        routes: Mapping[str, SageMakerConfig] | None = None,
        on_event: Callable[[Event], object] | None = None,
        telemetry: Telemetry | bool | None = None,
    ) -> None:
        self._on_event = checked(on_event)
        self._telemetry = _checked_telemetry(telemetry)
        self._config: SageMakerConfig | None = None
        self._routes: dict[str, SageMakerConfig] = {}
        # By the identity of their config.
        self._services: dict[int, Services] = {}
        self._has_warned = False
        if routes is not None:
            if not (endpoint_name is None and region is None and config is None):
                raise ValueError(
                    "routes= has a config for each path: give either routes= alone, or config= "
                    "alone, or endpoint_name= and region="
                )
            self._routes = _checked_routes(routes)
        elif config is not None:
            if endpoint_name is not None or region is not None:
                raise ValueError(
                    "config= has the endpoint's name and region: give either config= alone, or "
                    "endpoint_name= and region="
                )
            _check_config("config=", config)
            self._config = config
        elif endpoint_name is None:
            raise TypeError(
                "an endpoint is needed: give endpoint_name= (and region=), or config=, or routes="
            )
        elif region is None:
            self._config = SageMakerConfig(endpoint_name)
        else:
            self._config = SageMakerConfig(endpoint_name, region)

    @property
    def config(self) -> SageMakerConfig:
        """The configuration of every transport made here.

        Raises:
            AttributeError: The factory has routes, each with its own.
        """
        if self._config is None:
            raise AttributeError("a factory with routes has a config for each path: see routes")
        return self._config

    @property
    def routes(self) -> Mapping[str, SageMakerConfig]:
        """The configuration for each path; empty if the factory was made without routes."""
        return MappingProxyType(self._routes)

    @property
    def endpoint_name(self) -> str:
        """The SageMaker endpoint, the first of several.

        Raises:
            AttributeError: As `config` does.
        """
        return self.config.endpoint_name

    @property
    def region(self) -> str:
        """The endpoint's AWS region; `auto` until the first connection has found it.

        Raises:
            AttributeError: As `config` does.
        """
        services = self._services.get(id(self.config))
        return (self.config if services is None else services.config).region

    @property
    def stats(self) -> Stats:
        """The sum over all sessions made here, including those that have ended; from any thread.

        With routes, `last_error` is that of the last config used that has one.
        """
        return add_up([Stats(), *(each.stats for each in list(self._services.values()))])

    def __getstate__(self) -> dict[str, Any]:
        # A copy, in this process or another, starts without sessions, connections and keys.
        return self.__dict__ | {"_services": {}, "_has_warned": False}

    def __call__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
    ) -> SageMakerTransport:
        """Make a transport. The SDK calls this for each connection.

        Args:
            url: The `wss://` URL that the SDK would connect to. The container gets its path and
                query; its host is ignored.
            headers: The SDK's headers. Not sent: AWS credentials authenticate.

        Raises:
            TypeError: Called without a running event loop, or by a sync client.
            ValidationError: The service would refuse the path or the query, or there is no route
                for the path.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise TypeError(_ASYNC_ONLY) from None
        sdk = sys.modules.get("deepgram.transport")
        # A sync client in a running loop would never await the transport. The SDK keeps a factory
        # that was given to a sync client, so for an async client made later the caller decides.
        if (
            sdk is not None
            and getattr(sdk, "_active_sync_factory", None) is self
            and not _is_async(inspect.currentframe())
        ):
            raise TypeError(_ASYNC_ONLY)
        # Imported here: importing the package must load only what the settings need.
        from .transport import SageMakerTransport

        invocation = parse_url(url)
        services = self._services_of(self._config_of(invocation.path))
        self._warn_of_a_key(headers or {})
        return SageMakerTransport.of(services, invocation)

    def _config_of(self, path: str) -> SageMakerConfig:
        if self._config is not None:
            return self._config
        config = self._routes.get(path)
        if config is None:
            raise ValidationError(
                f"no route for the path {path!r}: the factory's routes are "
                f"{', '.join(self._routes)}",
                parameter="path",
            )
        return config

    def _services_of(self, config: SageMakerConfig) -> Services:
        from .transport import Services

        services = self._services.get(id(config))
        if services is None:
            # Two threads may make them at once: both get the same.
            services = self._services.setdefault(
                id(config),
                Services(config, on_event=self._on_event, telemetry=self._telemetry),
            )
        return services

    def _warn_of_a_key(self, headers: Mapping[str, str]) -> None:
        """Warn once of a client that may have been meant for Deepgram's own service."""
        if self._has_warned:
            return
        for name, value in headers.items():
            # "Token <key>" or "Bearer <token>".
            if name.lower() == "authorization" and str(value).split()[1:] != [_PLACEHOLDER]:
                self._has_warned = True
                _logger.warning(
                    'a client whose API key is not "%s" connects to SageMaker: the Deepgram SDK '
                    "uses this factory for every async client of the process, also for one that "
                    "was made without it; if the client is meant for Deepgram's own service, use "
                    'it in another process, and otherwise give it api_key="%s"',
                    _PLACEHOLDER,
                    _PLACEHOLDER,
                )


def _is_async(frame: FrameType | None) -> bool:
    """Whether the code that called the frame's function can await."""
    caller = None if frame is None else frame.f_back
    can_await = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    return caller is not None and bool(caller.f_code.co_flags & can_await)


def _checked_routes(routes: object) -> dict[str, SageMakerConfig]:
    """Return the routes by path, without leading slashes."""
    if not isinstance(routes, Mapping):
        raise TypeError(f"routes= takes a mapping of paths to configs, not {type(routes).__name__}")
    if not routes:
        raise ValueError("routes= is empty: give a config for each path, such as 'v1/listen'")
    checked: dict[str, SageMakerConfig] = {}
    for given, config in routes.items():
        _check_config(f"routes[{given!r}]", config)
        if not isinstance(given, str):
            raise TypeError(f"routes= takes paths as str, not {type(given).__name__}")
        path = Invocation(given).path
        if path in checked:
            raise ValueError(f"routes= has the path {path!r} twice")
        checked[path] = config
    return checked


def _checked_telemetry(telemetry: object) -> Telemetry | bool | None:
    """Return what was given; what it needs has been imported."""
    if telemetry is None or telemetry is False:
        return telemetry
    from .otel import Telemetry

    if telemetry is True or isinstance(telemetry, Telemetry):
        return telemetry
    raise TypeError(f"telemetry= takes a Telemetry or a bool, not {type(telemetry).__name__}")


def _check_config(name: str, config: object) -> None:
    if not isinstance(config, SageMakerConfig):
        raise TypeError(f"{name} takes a SageMakerConfig, not {type(config).__name__}")
