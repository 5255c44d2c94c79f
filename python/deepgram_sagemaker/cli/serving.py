"""`deepgram-sagemaker local`: runs the local endpoint and prints how to reach it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
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

from deepgram_sagemaker.conversations.pipes import reading, standard_input
from deepgram_sagemaker.local import LocalEndpoint

from .manners import Console as OwnConsole
from .served import Reachable
from .signals import on_signal
from .watching import watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

__all__ = ["instructions", "serve", "settings"]

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that end the endpoint in order. SIGHUP is for POSIX, SIGBREAK for Windows."""

_TAKEN: Final = "Address already in use"
"""What the endpoint says of a port that another program has, on every system."""

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
    async with contextlib.AsyncExitStack() as stack:
        for name in _SIGNALS:
            if not _ignored_hang_up(name):
                stack.enter_context(on_signal(name, stop.set))
        try:
            endpoint = await stack.enter_async_context(LocalEndpoint(**options))
        except OSError as error:
            if _TAKEN in str(error):
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


def _ignored_hang_up(name: str) -> bool:
    """Return whether this is the signal that `nohup` has ignored; that stays so."""
    hang_up: signal.Signals | None = getattr(signal, "SIGHUP", None)
    return (
        hang_up is not None and name == hang_up.name and signal.getsignal(hang_up) == signal.SIG_IGN
    )


async def _stdin_ended() -> None:
    if sys.stdin is None:
        return
    async with reading(standard_input()) as read:
        while await read(1024):
            pass


def instructions(console: Console, reachable: Reachable, model: str) -> None:
    """Print the settings with which an application reaches the endpoint."""
    facts = [
        ("Endpoint", f"{reachable.endpoint_name} ({reachable.region}), model {model}"),
        ("Address", reachable.endpoint_uri),
        ("Authority", reachable.ca_bundle),
        ("Access key", reachable.access_key_id),
        ("Secret key", reachable.secret_access_key),
    ]
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
    shells = settings(reachable, windows=sys.platform == "win32")
    if not console.is_terminal:
        _plain(console, "The local endpoint is up. Ctrl-C ends it.")
        for name, value in facts:
            _plain(console, f"  {name + ':':<12}{value}")
        for title, block, _ in (*shells, ("In the application", code, "python")):
            _plain(console, f"\n{title}:\n\n{block}")
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
    for title, block, language in (*shells, ("In the application", code, "python")):
        console.print(f"\n[bold]{title}[/]\n")
        # The terminal's own colours can be read on its ground, whether that is light or dark.
        highlighted = Syntax(block, language, theme=_THEME).highlight(block)
        highlighted.rstrip()
        console.print(highlighted, soft_wrap=True)
    console.print()


def settings(reachable: Reachable, *, windows: bool) -> list[tuple[str, str, str]]:
    """Return what to type so that every program that a shell starts reaches the endpoint.

    What the shell had before must not stand in the way: a token or a profile of other keys, another
    region, or a proxy, which does not reach this machine's ports.

    Args:
        reachable: The endpoint.
        windows: Whether it is for the shells of Windows.

    Returns:
        For each shell a title, its lines, and the language for highlighting them.
    """
    variables = {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": reachable.endpoint_uri,
        "AWS_CA_BUNDLE": reachable.ca_bundle,
        "AWS_ACCESS_KEY_ID": reachable.access_key_id,
        "AWS_SECRET_ACCESS_KEY": reachable.secret_access_key,
        "AWS_REGION": reachable.region,
        "AWS_DEFAULT_REGION": reachable.region,
    }
    host = urlsplit(reachable.endpoint_uri).hostname or ""
    if windows:
        return [
            ("In PowerShell", _powershell(variables, host), "powershell"),
            ("In cmd", _cmd(variables, host), "batch"),
        ]
    return [("In the shell", _posix(variables, host), "bash")]


_IN_THE_WAY: Final = (
    *("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


def _posix(variables: Mapping[str, str], host: str) -> str:
    host = shlex.quote(host)
    return "\n".join(
        (
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            f"unset {' '.join(_IN_THE_WAY[:-1])}",
            f"unset {_IN_THE_WAY[-1]}",
            f'export NO_PROXY={host}"${{no_proxy:+,$no_proxy}}${{NO_PROXY:+,$NO_PROXY}}"',
            'export no_proxy="$NO_PROXY"',
        )
    )


# Windows' variables have no upper and lower case: `no_proxy` is `NO_PROXY`.


def _powershell(variables: Mapping[str, str], host: str) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    return "\n".join(
        (
            *(f"$env:{name} = {quoted(value)}" for name, value in variables.items()),
            *(f"$env:{name} = $null" for name in _IN_THE_WAY),
            f"$env:NO_PROXY = (@({quoted(host)}, $env:NO_PROXY) | Where-Object {{ $_ }}) -join ','",
        )
    )


def _cmd(variables: Mapping[str, str], host: str) -> str:
    return "\n".join(
        (
            *(f'set "{name}={value}"' for name, value in variables.items()),
            *(f'set "{name}="' for name in _IN_THE_WAY),
            f'if defined NO_PROXY (set "NO_PROXY={host},%NO_PROXY%") else set "NO_PROXY={host}"',
        )
    )


def _plain(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
