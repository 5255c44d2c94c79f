"""`deepgram-sagemaker local`: runs the local endpoint and prints how to reach it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from rich.panel import Panel
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.table import Table
from rich.text import Text

from deepgram_sagemaker.local import LocalEndpoint

from .manners import Console as OwnConsole
from .recording import is_watchable
from .served import Reachable
from .watching import watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

__all__ = ["instructions", "serve"]

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that end the endpoint in order. Windows has no SIGHUP."""

_THEME: Final = ANSISyntaxTheme(
    {
        (): Style.null(),
        ("Keyword",): Style(color="magenta"),
        ("Name", "Builtin"): Style(color="magenta"),
        ("Literal", "String"): Style(color="green"),
    }
)

# The endpoint logs here why the container refused a stream, and why a model failed.
_logger = logging.getLogger("deepgram_sagemaker.local.endpoint")


async def serve(
    console: Console,
    *,
    as_json: bool,
    stop_with_stdin: bool,
    quiet: bool = False,
    verbose: bool = False,
    **options: Any,  # noqa: ANN401 - what `LocalEndpoint` takes
) -> None:
    """Run an endpoint until this process is asked to stop.

    Args:
        console: Where to print how to reach it.
        as_json: Print one line of JSON for a program, instead of text for a person.
        stop_with_stdin: Stop also when standard input ends.
        quiet: Print nothing about what happens at the endpoint.
        verbose: Print more of it.
        options: The arguments of `LocalEndpoint`.

    Raises:
        OSError: The port cannot be listened on; the message says what to do.
        ValueError: An argument breaks its rule.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        # `nohup` has SIGHUP ignored, which stays so.
        if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            continue
        # Outside the main thread, and on loops without signal handlers, Ctrl-C raises as usual.
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            endpoint = await stack.enter_async_context(LocalEndpoint(**options))
        except OSError as error:
            if os.strerror(errno.EADDRINUSE) in str(error):
                raise OSError(f"{error}; --port 0 takes a free port") from None
            raise
        reachable = Reachable.of(endpoint)
        if as_json:
            sys.stdout.write(reachable.to_json() + "\n")
            sys.stdout.flush()
        else:
            instructions(console, reachable, str(options.get("model")))
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
        if stop_with_stdin:
            waiting.append(asyncio.create_task(_stdin_ended()))
        telling: list[asyncio.Task[Any]] = []
        # A program reads the line of JSON and no more; people can still be told.
        if verbose or not (quiet or as_json):
            stack.enter_context(_own_lines())
            told = OwnConsole(stderr=True)
            telling.append(asyncio.create_task(watch(told, endpoint, verbose=verbose)))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*waiting, *telling):
                task.cancel()
            await asyncio.gather(*waiting, *telling, return_exceptions=True)


@contextlib.contextmanager
def _own_lines() -> Iterator[None]:
    """Leave out the log's lines about refusals, which the watcher prints with the request."""

    def keep(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    _logger.addFilter(keep)
    try:
        yield
    finally:
        _logger.removeFilter(keep)


async def _stdin_ended() -> None:
    if sys.stdin is None or not is_watchable(sys.stdin.fileno()):
        return
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while await reader.read(1024):
            pass
    finally:
        transport.close()


def instructions(console: Console, reachable: Reachable, model: str) -> None:
    """Print the settings with which an application reaches the endpoint."""
    facts = [
        ("Endpoint", f"{reachable.endpoint_name} ({reachable.region}), model {model}"),
        ("Address", reachable.endpoint_uri),
        ("Authority", reachable.ca_bundle),
        ("Access key", reachable.access_key_id),
        ("Secret key", reachable.secret_access_key),
    ]
    environment = "\n".join(_exports(reachable))
    arguments = f'"{reachable.endpoint_name}", region="{reachable.region}"'
    code = "\n".join(
        (
            "from deepgram import AsyncDeepgramClient",
            "from deepgram_sagemaker import SageMakerTransportFactory",
            "",
            f"factory = SageMakerTransportFactory({arguments})",
            'client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)',
        )
    )
    if not console.is_terminal:
        _plain(console, "The local endpoint is up. Ctrl-C ends it.")
        for name, value in facts:
            _plain(console, f"  {name + ':':<12}{value}")
        for title, block in (("In the shell:", environment), ("In the application:", code)):
            _plain(console, f"\n{title}\n\n{block}")
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, Text(value, style="cyan"))
    console.print(
        Panel(
            grid,
            title="[bold]The local endpoint is up",
            title_align="left",
            subtitle="Ctrl-C ends it",
            subtitle_align="right",
            border_style="green",
        )
    )
    # Outside the panel and unwrapped, so that they can be copied.
    for title, block, language in (
        ("In the shell", environment, "bash"),
        ("In the application", code, "python"),
    ):
        console.print(f"\n[bold]{title}[/]\n")
        # The terminal's own colours can be read on its ground, whether that is light or dark.
        highlighted = Syntax(block, language, theme=_THEME).highlight(block)
        highlighted.rstrip()
        console.print(highlighted, soft_wrap=True)
    console.print()


def _exports(reachable: Reachable) -> list[str]:
    """Return the lines of a shell with which every program reaches the endpoint.

    What the shell had before must not stand in the way: a token or a profile of other keys, another
    region, or a proxy, which does not reach this machine's ports.
    """
    variables = {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": reachable.endpoint_uri,
        "AWS_CA_BUNDLE": reachable.ca_bundle,
        "AWS_ACCESS_KEY_ID": reachable.access_key_id,
        "AWS_SECRET_ACCESS_KEY": reachable.secret_access_key,
        "AWS_REGION": reachable.region,
        "AWS_DEFAULT_REGION": reachable.region,
    }
    host = shlex.quote(urlsplit(reachable.endpoint_uri).hostname or "")
    return [
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        "unset AWS_SESSION_TOKEN AWS_SECURITY_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE",
        "unset AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        f'export NO_PROXY={host}"${{no_proxy:+,$no_proxy}}${{NO_PROXY:+,$NO_PROXY}}"',
        'export no_proxy="$NO_PROXY"',
    ]


def _plain(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
