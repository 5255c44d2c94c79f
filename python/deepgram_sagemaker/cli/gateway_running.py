"""Runs the gateway as it was typed: one process, several, or the demo; says how to reach it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from .gateway_keys import SHORT
from .gateway_serving import Asked, serve
from .manners import Console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.gateway import Gateway

    from .gateway_settings import GatewaySettings

__all__ = ["clients", "demonstrate", "run_one", "run_several"]

_logger = logging.getLogger("deepgram_sagemaker.gateway")

_UNENCRYPTED: Final = (
    "keys and audio travel unencrypted: give --tls-certificate and --tls-key, or put a proxy with "
    "TLS before it"
)

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what others can reach is said


async def run_one(settings: GatewaySettings, configs: Mapping[str, SageMakerConfig]) -> None:
    """Serve from this process until it is asked to stop.

    Raises:
        OSError: It cannot listen.
    """
    asked = Asked()
    async with AsyncExitStack() as stack:
        asked.listen(stack)

        def ready(gateway: Gateway) -> None:
            _say(settings, configs, *gateway.address)

        await serve(settings, configs, asked, ready=ready)


async def run_several(
    settings: GatewaySettings, configs: Mapping[str, SageMakerConfig], count: int
) -> None:
    """Serve from so many processes until this one is asked to stop.

    Raises:
        ConversationError: One does not start.
        OSError: The port cannot be had.
    """
    from .gateway_workers import supervise

    def ready(host: str, port: int) -> None:
        _say(settings, configs, host, port, workers=count)

    await supervise(settings, count, ready=ready)


async def demonstrate(settings: GatewaySettings) -> None:
    """Serve a page in front of the local endpoint, until this process is asked to stop.

    Raises:
        ImportError: The model that hears speech is not installed.
        OSError: It cannot listen.
    """
    from deepgram_sagemaker.local import LocalEndpoint

    from .gateway_demo import Demo
    from .gateway_settings import PATHS

    asked = Asked()
    console = _console(settings)
    async with AsyncExitStack() as stack:
        asked.listen(stack)
        endpoint = LocalEndpoint(model="speech")
        with console.status("Loading the model that hears speech"):
            # In a thread of its own, so that the model does not stand in the gateway's way.
            await asyncio.to_thread(endpoint.__enter__)
        stack.push_async_callback(asyncio.to_thread, endpoint.__exit__, None, None, None)
        if asked.drain.is_set():
            return
        demo = Demo(endpoint)

        def ready(gateway: Gateway) -> None:
            demo.gateway = gateway
            host, port = gateway.address
            _plain(
                console, f"Open {_url(settings, host, port, 'http')}/ in a browser. Ctrl-C ends it."
            )
            _plain(console, "")
            _plain(console, "The same address takes Deepgram's clients, with any key:")
            for line in clients(settings, host, port):
                _plain(console, line)

        config = endpoint.config()
        configs = dict.fromkeys(PATHS, config)
        await serve(settings, configs, asked, ready=ready, pages=demo.pages())


def _console(settings: GatewaySettings) -> Console:
    """Return where to print: not between the lines of the access log."""
    return Console(stderr=settings.access_log == "-")


def _say(
    settings: GatewaySettings,
    configs: Mapping[str, SageMakerConfig],
    host: str,
    port: int,
    *,
    workers: int = 1,
) -> None:
    """Print how to reach the gateway."""
    if settings.log_format == "json":
        # Programs read these lines.
        _logger.info("the gateway is up: %s", _url(settings, host, port, settings.scheme))
        for name, value in _facts(settings, configs, host, port, workers):
            if name == "Warning":
                _logger.warning("%s", value)
        return
    console = _console(settings)
    _plain(console, "The gateway is up. Ctrl-C ends it.")
    for name, value in _facts(settings, configs, host, port, workers):
        _plain(console, f"  {name + ':':<12}{value}")
    for line in clients(settings, host, port):
        _plain(console, line)


def _facts(
    settings: GatewaySettings,
    configs: Mapping[str, SageMakerConfig],
    host: str,
    port: int,
    workers: int,
) -> Iterator[tuple[str, str]]:
    everywhere = ", on every address of this machine" if host in _ANY else ""
    yield "URL", _url(settings, host, port, settings.scheme) + everywhere
    places: dict[str, list[str]] = {}
    for path, config in configs.items():
        places.setdefault(f"{config.endpoint_name} ({config.region})", []).append(path)
    for place, paths in places.items():
        yield "Endpoint", place if len(places) == 1 else f"{place} for {', '.join(paths)}"
    if settings.keys:
        count = len(settings.keys)
        yield "Keys", "1" if count == 1 else str(count)
        short = sorted({each.name for each in settings.keys if each.is_short})
        if short:
            yield (
                "Warning",
                f"fewer than {SHORT} characters, so that it can be guessed: {', '.join(short)}",
            )
        if settings.certificate is None and not _is_own(host):
            yield "Warning", _UNENCRYPTED
    else:
        yield "Keys", "none: it listens on loopback, and lets in every program of this machine"
    if workers > 1:
        yield "Workers", str(workers)


def _is_own(host: str) -> bool:
    from deepgram_sagemaker.local.access import is_loopback

    return is_loopback(host)


def _url(settings: GatewaySettings, host: str, port: int, scheme: str) -> str:
    host = _ANY.get(host, host)
    if settings.certificate is not None and scheme == "http":
        scheme = "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def clients(settings: GatewaySettings, host: str, port: int) -> list[str]:
    """Return lines that say how clients of each kind reach the gateway. No key is in them."""
    ws, http = (_url(settings, host, port, scheme) for scheme in (settings.scheme, "http"))
    key = "KEY" if settings.keys else "unused"
    return [
        "",
        "Deepgram's Python SDK, sync or async:",
        "",
        "from deepgram import DeepgramClient, DeepgramClientEnvironment",
        "",
        "environment = DeepgramClientEnvironment(",
        f'    base="{http}", production="{ws}", agent="{ws}", agent_rest="{http}"',
        ")",
        f'client = DeepgramClient(api_key="{key}", environment=environment)',
        "",
        "Deepgram's JavaScript SDK:",
        "",
        f'const client = new DeepgramClient({{ apiKey: "{key}", baseUrl: "{http}" }});',
        "",
        "A browser:",
        "",
        f'const socket = new WebSocket("{ws}/v1/listen?model=nova-3", ["token", "{key}"]);',
        "",
        "A shell:",
        "",
        f"websocat -b -H 'Authorization: Token {key}' '{ws}/v1/listen?model=nova-3' < speech.wav",
        "",
    ]


def _plain(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
