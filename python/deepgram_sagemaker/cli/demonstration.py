"""`deepgram-sagemaker demo`: streams real speech through the whole path and prints a summary."""

from __future__ import annotations

import importlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.conversations.caller import converse
from deepgram_sagemaker.conversations.recording import Recording
from deepgram_sagemaker.local.speech.sample import TWO_CITIES_TEXT, two_cities, word_error_rate

from .captions import Captions, heading, summary
from .served import endpoint_process

if TYPE_CHECKING:
    from rich.console import Console

    from deepgram_sagemaker.conversations.figures import Figures

__all__ = ["demonstrate"]

_QUERY: Final = {"model": "nova-3", "smart_format": "true", "interim_results": "true"}


async def demonstrate(console: Console, *, speed: float, worst: float) -> tuple[Figures, float]:
    """Transcribe the sample recording over a local endpoint.

    Args:
        console: Where to print.
        speed: Speed of the stream, in times real time.
        worst: The highest word error rate that counts as good.

    Returns:
        The conversation's figures and the word error rate.
    """
    # A slim build has no endpoint. It says so here, and not in the endpoint's process, too.
    importlib.import_module("deepgram_sagemaker.local.native")
    recording = Recording.open(two_cities())
    async with AsyncExitStack() as stack:
        # Shows a spinner in a terminal, and nothing elsewhere.
        with console.status("Starting the local endpoint"):
            endpoint = await stack.enter_async_context(endpoint_process())
        heading(
            console,
            "Deepgram SDK → SageMaker transport → local endpoint",
            [
                ("Recording", recording.description),
                ("Endpoint", f"{endpoint.endpoint_uri}, HTTP/2 over TLS, every event signed"),
                ("Speed", f"{speed:g} times real time"),
            ],
        )
        with Captions(console) as captions:
            figures = await converse(endpoint.config(), recording, _QUERY, captions, speed=speed)
    errors = word_error_rate(TWO_CITIES_TEXT, figures.transcript)
    good = errors <= worst and not (figures.lost or figures.repeated)
    summary(console, figures, errors=errors, good=good)
    return figures, errors
