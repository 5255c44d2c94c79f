"""`deepgram-sagemaker gateway`: its options, and what they may be together."""

from __future__ import annotations

import ipaddress
import math
import sys
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from .gateway_keys import VARIABLE, KeysError, read_keys
from .gateway_settings import PATHS, GatewaySettings, is_origin
from .options import (  # noqa: TC001 - typer reads the annotations
    CaBundle,
    EndpointUri,
    Profile,
    Region,
)
from .outcome import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .gateway_keys import NamedKey

__all__ = ["gateway", "gateway_worker"]


class LogFormat(StrEnum):
    """How lines on standard error are written."""

    TEXT = "text"
    JSON = "json"


def gateway(
    endpoint_name: Annotated[
        str | None,
        typer.Option("--endpoint-name", "-e", metavar="NAME", help="The SageMaker endpoint."),
    ] = None,
    region: Region = None,
    profile: Profile = None,
    endpoint_uri: EndpointUri = None,
    ca_bundle: CaBundle = None,
    target_variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="The production variant to invoke.")
    ] = None,
    fallback: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@REGION]",
            help="An endpoint to fall over to. Several may be given, in order of preference.",
        ),
    ] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH=NAME[@REGION]",
            help="Another endpoint for a path, such as `v1/speak=my-aura`. Several may be given.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on, or localhost. Any but loopback needs keys.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", help="Port to listen on; 0 takes a free one.", min=0, max=65535
        ),
    ] = 8080,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The keys that let clients in, one `name:key` a line, instead of those in "
            f"{VARIABLE}.",
            dir_okay=False,
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="A site whose pages may connect, such as `https://app.example.com`; `*`: any. "
            "Several may be given. Without it: any with keys, this machine's own without.",
        ),
    ] = None,
    max_connections: Annotated[
        int,
        typer.Option(metavar="N", help="The most connections of a worker.", min=1, max=1_000_000),
    ] = 10_000,
    connections_per_key: Annotated[
        int | None,
        typer.Option(metavar="N", help="The most of one key at a worker.", min=1, max=1_000_000),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The server's certificate, PEM, with those between it and the authority: serves "
            "TLS.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its private key, PEM.", exists=True, dir_okay=False),
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes that share the port.", min=1, max=256)
    ] = 1,
    open_metrics: Annotated[
        bool,
        typer.Option(
            "--open-metrics",
            help="Answer `/metrics` without a key, where only the operator reaches it.",
        ),
    ] = False,
    drain_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds that conversations get to end after SIGTERM or Ctrl-C.",
            min=0.0,
            max=86_400.0,
        ),
    ] = 60.0,
    access_log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write a line of JSON for each request that has ended; `-`: to standard output.",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option(help="The form of the lines on standard error.")
    ] = LogFormat.TEXT,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="Run the local endpoint too, and serve a page to try it in a browser (extra "
            "`local`).",
        ),
    ] = False,
) -> None:
    """Listen where Deepgram's clients expect Deepgram, and pass their streams on to SageMaker.

    Clients in any language connect over WebSocket, with the URL that this prints. A stream that
    breaks is replaced without their notice. SIGTERM or Ctrl-C lets conversations end first; a
    second one ends them.
    """
    from deepgram_sagemaker.local.access import is_loopback

    if host.lower() == "localhost":
        host = "127.0.0.1"
    _check_address(host)
    if not (endpoint_name or route or demo):
        raise typer.BadParameter(
            "name an endpoint, or try the gateway without one: --demo", param_hint="--endpoint-name"
        )
    if demo and (endpoint_name or route or fallback or workers > 1):
        raise typer.BadParameter(
            "the demo has its own endpoint and one process: give no endpoint and no workers",
            param_hint="--demo",
        )
    if demo and (keys is not None or not is_loopback(host)):
        raise typer.BadParameter(
            "the demo is for this machine alone, and its page has no key: give no keys, and listen "
            "on loopback",
            param_hint="--demo",
        )
    if not math.isfinite(drain_timeout):
        raise typer.BadParameter("must be a number of seconds", param_hint="--drain-timeout")
    if workers > 1 and sys.platform != "linux":
        raise typer.BadParameter(
            "several processes share a port on Linux alone; start a gateway for each port, with a "
            "load balancer before them",
            param_hint="--workers",
        )
    if (tls_certificate is None) != (tls_key is None):
        raise typer.BadParameter(
            "--tls-certificate and --tls-key go together",
            param_hint="--tls-key" if tls_key is None else "--tls-certificate",
        )
    found = [] if demo else _keys(keys)
    if not found and not is_loopback(host):
        raise typer.BadParameter(
            f"a gateway on {host}, which others can reach, needs keys: give --keys FILE, or "
            f"{VARIABLE} in the environment, or keep to 127.0.0.1",
            param_hint="--host",
        )
    settings = GatewaySettings(
        endpoint_name=endpoint_name,
        region=region,
        profile=profile,
        endpoint_uri=endpoint_uri,
        ca_bundle=None if ca_bundle is None else str(ca_bundle.absolute()),
        target_variant=target_variant,
        fallbacks=tuple(fallback or ()),
        routes=_routes(route or ()),
        host=host,
        port=port,
        keys=tuple(found),
        origins=_origins(origin),
        max_connections=max_connections,
        connections_per_key=connections_per_key,
        certificate=None if tls_certificate is None else str(tls_certificate.absolute()),
        private_key=None if tls_key is None else str(tls_key.absolute()),
        open_metrics=open_metrics,
        drain_timeout=drain_timeout,
        access_log=access_log,
        log_format=log_format.value,
    )
    # Before anything is started: a mistake is an answer to what was typed.
    configs = {} if demo else settings.configs()
    from .gateway_running import demonstrate, run_one, run_several

    if demo:
        run(demonstrate(settings))
    elif workers > 1:
        run(run_several(settings, configs, workers))
    else:
        run(run_one(settings, configs))


def gateway_worker() -> None:
    """Be one of the processes of a gateway, which starts it."""
    from .gateway_workers import work

    run(work())


def _check_address(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise typer.BadParameter(
            f"{host!r} is not an IP address: 127.0.0.1 for this machine, 0.0.0.0 for all of its "
            "addresses",
            param_hint="--host",
        ) from None


def _keys(file: Path | None) -> list[NamedKey]:
    try:
        return read_keys(file)
    except KeysError as error:
        hint = VARIABLE if file is None else "--keys"
        raise typer.BadParameter(str(error), param_hint=hint) from None
    except OSError as error:
        raise typer.BadParameter(f"{error.strerror}: {file}", param_hint="--keys") from None


def _routes(entries: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        path, equals, place = entry.partition("=")
        path = path.strip("/")
        if not (equals and place):
            raise typer.BadParameter(f"{entry}: must be PATH=NAME[@REGION]", param_hint="--route")
        if path not in PATHS:
            raise typer.BadParameter(
                f"{entry}: the path must be one of {', '.join(PATHS)}", param_hint="--route"
            )
        if path in found:
            raise typer.BadParameter(f"{path} has two endpoints", param_hint="--route")
        found[path] = place
    return found


def _origins(given: list[str] | None) -> tuple[str, ...] | None:
    """Return the origins of pages that may connect; None: as the gateway decides.

    With keys that is any page, and without them those of this machine: every other page that a
    person looks at could use the endpoint.
    """
    for origin in given or ():
        if not is_origin(origin):
            raise typer.BadParameter(
                f"{origin}: must be as browsers send it, such as https://app.example.com, without "
                "a path or a slash at its end",
                param_hint="--origin",
            )
    return tuple(given) if given else None
