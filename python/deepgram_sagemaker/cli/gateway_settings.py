"""What the options of `deepgram-sagemaker gateway` mean, as plain values that travel to workers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import typer

from deepgram_sagemaker.config import Endpoint, SageMakerConfig
from deepgram_sagemaker.errors import SageMakerError

from .gateway_keys import NamedKey
from .options import configure

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PATHS", "GatewaySettings", "is_origin"]

PATHS: Final = ("v1/listen", "v2/listen", "v1/speak", "v2/speak", "v1/agent/converse")
"""What clients of Deepgram's connect to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What one gateway process is told.

    Attributes:
        endpoint_name: The SageMaker endpoint; None: every path has a route of its own.
        region: Its region; None: as boto3 finds it.
        profile: The AWS profile.
        endpoint_uri: Where to connect instead of the region's host.
        ca_bundle: A PEM file of authorities to trust.
        target_variant: The production variant to invoke.
        fallbacks: Further endpoints, `NAME` or `NAME@REGION`.
        routes: Endpoints of single paths, in the same form.
        host: The address to listen on.
        port: The port.
        keys: Who is let in; none: everybody who reaches it.
        origins: The pages that browsers may come from; None: any.
        max_connections: The most connections at once.
        connections_per_key: The most of one key; None: as many.
        certificate: The PEM file of the server's certificate; None: no TLS.
        private_key: The PEM file of its key.
        reuse_port: Whether other processes listen on the same port.
        open_metrics: Whether `/metrics` needs no key.
        drain_timeout: Seconds that live conversations get when the gateway is to end.
        access_log: Where a line goes for each request; None: nowhere, `-`: standard output.
        log_format: `text` or `json`.
    """

    endpoint_name: str | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_uri: str | None = None
    ca_bundle: str | None = None
    target_variant: str | None = None
    fallbacks: tuple[str, ...] = ()
    routes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 8080
    keys: tuple[NamedKey, ...] = ()
    origins: tuple[str, ...] | None = None
    max_connections: int = 10_000
    connections_per_key: int | None = None
    certificate: str | None = None
    private_key: str | None = None
    reuse_port: bool = False
    open_metrics: bool = False
    drain_timeout: float = 60.0
    access_log: str | None = None
    log_format: str = "text"

    def to_json(self) -> str:
        """Return it as one line of JSON, keys included."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Return what `to_json` was told of."""
        told: dict[str, Any] = json.loads(line)
        told["keys"] = tuple(NamedKey(*each) for each in told["keys"])
        for name in ("fallbacks", "origins"):
            told[name] = None if told[name] is None else tuple(told[name])
        return cls(**told)

    @property
    def scheme(self) -> str:
        """What the URL begins with for a WebSocket."""
        return "ws" if self.certificate is None else "wss"

    def configs(self) -> dict[str, SageMakerConfig]:
        """Return the endpoint's settings for each path that it serves.

        Raises:
            typer.BadParameter: An option breaks its rule, or no region is known.
        """
        made: dict[tuple[str, str | None], SageMakerConfig] = {}

        def made_of(place: str, *, is_main: bool) -> SageMakerConfig:
            name, _, region = place.partition("@")
            key = (name, region or self.region)
            # Paths of one endpoint share its limits and credentials.
            if key not in made:
                config = configure(
                    name,
                    key[1],
                    endpoint_uri=self.endpoint_uri,
                    ca_bundle=None if self.ca_bundle is None else Path(self.ca_bundle),
                    profile=self.profile,
                )
                made[key] = self._completed(config, is_main=is_main)
            return made[key]

        found = {}
        for path in PATHS:
            if path in self.routes:
                found[path] = made_of(self.routes[path], is_main=False)
            elif self.endpoint_name is not None:
                found[path] = made_of(self.endpoint_name, is_main=True)
        return found

    def _completed(self, config: SageMakerConfig, *, is_main: bool) -> SageMakerConfig:
        """Return a config with what holds for all endpoints, or for the main one alone."""
        fallbacks = [each.partition("@") for each in self.fallbacks] if is_main else []
        try:
            return dataclasses.replace(
                config,
                # The limit that operators set is on connections, and each has one stream.
                max_concurrency=self.max_connections,
                target_variant=self.target_variant if is_main else None,
                fallbacks=[Endpoint(name, region or None) for name, _, region in fallbacks],
            )
        except SageMakerError as error:
            raise typer.BadParameter(str(error)) from None


def is_origin(text: str) -> bool:
    """Return whether a text is what browsers send as the origin of a page, or `*`."""
    from urllib.parse import urlsplit

    if text == "*":
        return True
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and text == f"{parts.scheme}://{parts.netloc}"
        and "@" not in parts.netloc
    )
