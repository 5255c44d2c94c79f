"""`deepgram-sagemaker local`: runs the local endpoint and prints how to reach it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from deepgram_sagemaker.local import LocalEndpoint

from .served import Reachable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["instructions", "serve"]


async def serve(
    console: Console,
    *,
    as_json: bool,
    stop_with_stdin: bool,
    **options: Any,  # noqa: ANN401 - what `LocalEndpoint` takes
) -> None:
    """Run an endpoint until this process is asked to stop.

    Args:
        console: Where to print how to reach it.
        as_json: Print one line of JSON for a program, instead of text for a person.
        stop_with_stdin: Stop also when standard input ends.
        options: The arguments of `LocalEndpoint`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Outside the main thread, and on loops without signal handlers, Ctrl-C raises as usual.
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
    async with LocalEndpoint(**options) as endpoint:
        reachable = Reachable.of(endpoint)
        if as_json:
            sys.stdout.write(reachable.to_json() + "\n")
            sys.stdout.flush()
        else:
            instructions(console, reachable, str(options.get("model")))
        waiting: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait())]
        if stop_with_stdin:
            waiting.append(asyncio.create_task(_stdin_ended()))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


async def _stdin_ended() -> None:
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
    environment = "\n".join(
        (
            f"export AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2={reachable.endpoint_uri}",
            f"export AWS_CA_BUNDLE={reachable.ca_bundle}",
            f"export AWS_ACCESS_KEY_ID={reachable.access_key_id}",
            f"export AWS_SECRET_ACCESS_KEY={reachable.secret_access_key}",
        )
    )
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
        highlighted = Syntax(block, language, background_color="default").highlight(block)
        highlighted.rstrip()
        console.print(highlighted, soft_wrap=True)
    console.print()


def _plain(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
