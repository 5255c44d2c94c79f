"""What the page of `deepgram-sagemaker gateway --demo` asks for.

The page streams to the gateway as any client does. What it asks for besides: a recording, the
figures, and that every stream under the gateway breaks.

Tests: tests/cli/test_gateway_demo.py.
"""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.gateway import Page
from deepgram_sagemaker.local.speech.sample import two_cities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deepgram_sagemaker.gateway import Gateway, GatewayRequest
    from deepgram_sagemaker.local import LocalEndpoint

    from .gateway_serving import PageAnswer

__all__ = ["Demo"]

_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json"
_NOT_ALLOWED: Final = Page(b"POST it\n", status=405)


class Demo:
    """Answers the page.

    Args:
        endpoint: The local endpoint, which runs.

    Attributes:
        gateway: The gateway before it; None: it does not listen yet.
    """

    def __init__(self, endpoint: LocalEndpoint) -> None:
        self.gateway: Gateway | None = None
        self._endpoint = endpoint

    def pages(self) -> Mapping[str, PageAnswer]:
        """Return what answers each path."""
        return {
            "/": self._page,
            "/demo/sample.wav": self._sample,
            "/demo/figures": self._figures,
            "/demo/break": self._break,
        }

    async def _page(self, _: GatewayRequest) -> Page:
        page = files(__package__).joinpath("gateway_demo.html")
        return Page(await asyncio.to_thread(page.read_bytes), _HTML)

    async def _sample(self, _: GatewayRequest) -> Page:
        return Page(await asyncio.to_thread(two_cities().read_bytes), "audio/wav")

    async def _figures(self, _: GatewayRequest) -> Page:
        if self.gateway is None:
            return Page(b"{}", _JSON, 503)
        stats = self.gateway.stats
        told = {
            "resets": sum(stats.resets.values()),
            "streams": stats.legs,
            "seconds_sent": stats.seconds_sent,
            "seconds_replayed": stats.seconds_replayed,
            "seconds_lost": stats.seconds_lost,
        }
        return Page(json.dumps(told).encode(), _JSON)

    async def _break(self, request: GatewayRequest) -> Page:
        """Reset every connection under the gateway: what a network or a service may do."""
        if request.method != "POST":
            return _NOT_ALLOWED
        open_now = self._endpoint.stats.live_streams
        self._endpoint.refuse_connections(0.0)
        return Page(json.dumps({"broken": open_now}).encode(), _JSON)
