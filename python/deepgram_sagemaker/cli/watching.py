"""What `deepgram-sagemaker local` says while it runs: a line for each request, fault and end."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from deepgram_sagemaker.local import LocalEndpoint
    from deepgram_sagemaker.local.records import EndpointStats, LegRecord

__all__ = ["Watcher", "watch"]

_EVERY: Final = 0.2
"""Seconds between two looks at the endpoint."""

_ORDERLY: Final = {"model", "shutdown"}
_ENDS: Final = {
    "model": "ended in order",
    "model_failed": "ended because the model failed",
    "fault": "ended by a fault",
    "age": "ended because of its age",
    "bad_input": "ended because its input cannot be read",
    "client_reset": "reset by the client",
    "gone": "lost with its connection",
    "shutdown": "ended by the end of the endpoint",
}
_INPUT_ENDS: Final = {
    "signed": "the input ended in order",
    "unsigned": "the input ended without a signature",
    "reset": "the client reset its input",
    "gone": "the input ended with the connection",
    "unread": "the rest of the input was not read",
    "open": "the input did not end",
}


class Watcher:
    """Turns the endpoint's counters and records into lines, each said once.

    Args:
        verbose: Whether to tell of connections, parameters and messages as well.
    """

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self._before: EndpointStats | None = None
        self._looks_again = False
        # Only the legs from this one on can change: the others have ended and were told.
        self._first = 0
        self._answered: set[int] = set()
        self._faults: dict[int, int] = {}
        self._ended: set[int] = set()

    def lines(self, endpoint: LocalEndpoint) -> Iterator[tuple[str, str]]:
        """Yield what is new, as style and text."""
        stats = endpoint.stats
        before, self._before = self._before, stats
        if before is None:
            return
        # A record may follow its counter.
        has_changed, again = stats != before, self._looks_again
        self._looks_again = has_changed
        if not (has_changed or again):
            return
        yield from self._connections(before, stats)
        refused = stats.request_signature_failures - before.request_signature_failures
        if refused:
            yield "red", f"{_times(refused, 'request')} refused: signature, key or token (403)"
        legs = endpoint.legs[self._first :]
        for leg in legs:
            yield from self._leg(leg)
        while legs and legs[0].number in self._ended:
            done = legs.pop(0).number
            self._first += 1
            self._answered.discard(done)
            self._faults.pop(done, None)
            self._ended.discard(done)

    def _connections(
        self, before: EndpointStats, stats: EndpointStats
    ) -> Iterator[tuple[str, str]]:
        failures = stats.tls_failures - before.tls_failures
        if failures:
            yield (
                "red",
                f"{_times(failures, 'TLS handshake')} failed: does the client trust the authority?",
            )
        new = stats.connections - before.connections
        if self._verbose and new:
            yield "dim", f"{_times(new, 'connection')} accepted, {stats.live_connections} open"

    def _leg(self, leg: LegRecord) -> Iterator[tuple[str, str]]:
        name = f"leg {leg.number}"
        if leg.status and leg.number not in self._answered:
            self._answered.add(leg.number)
            invoked = f"{leg.path}?{leg.query}" if self._verbose and leg.query else leg.path
            if leg.status == 200:
                yield "green", f"{name}: {invoked} accepted"
            else:
                because = f": {leg.refusal}" if leg.refusal else ""
                yield "red", f"{name}: {invoked} refused with {leg.status}{because}"
        for fault in leg.faults[self._faults.get(leg.number, 0) :]:
            yield "yellow", f"{name}: fault {fault}"
        self._faults[leg.number] = len(leg.faults)
        if leg.closed is not None and leg.number not in self._ended:
            self._ended.add(leg.number)
            if leg.end in _ENDS and leg.status == HTTPStatus.OK:
                yield "" if leg.end in _ORDERLY else "yellow", f"{name}: {self._end(leg)}"

    def _end(self, leg: LegRecord) -> str:
        seconds = (leg.closed or leg.opened) - leg.opened
        words = f"{_ENDS[leg.end]} after {seconds:.1f} s; {leg.audio_seconds:.1f} s of audio"
        if self._verbose:
            words += (
                f", {leg.messages_in} messages ({leg.bytes_in} bytes) in, {leg.messages_out} "
                f"({leg.bytes_out} bytes) out; {_INPUT_ENDS.get(leg.input_end, leg.input_end)}"
            )
            if leg.controls:
                words += f"; controls: {', '.join(leg.controls)}"
        return words


def _times(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


async def watch(console: Console, endpoint: LocalEndpoint, *, verbose: bool) -> None:
    """Print what happens at the endpoint, until cancelled.

    Args:
        console: Where to print.
        endpoint: The endpoint, which runs.
        verbose: Whether to tell more.
    """
    watcher = Watcher(verbose=verbose)

    def say() -> None:
        for style, text in watcher.lines(endpoint):
            clock = time.strftime("%H:%M:%S")
            console.print(
                Text.assemble((clock, "dim"), "  ", (text, style)), soft_wrap=True, highlight=False
            )

    try:
        while True:
            say()
            await asyncio.sleep(_EVERY)
    finally:
        # What happened since the last look.
        say()
