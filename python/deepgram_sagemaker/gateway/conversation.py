"""One connection of a client: its session is opened, it is answered, and closed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from deepgram_sagemaker.driver import Driver
from deepgram_sagemaker.errors import SageMakerError, ValidationError
from deepgram_sagemaker.invocation import Invocation

from . import answers
from .records import Served

if TYPE_CHECKING:
    from deepgram_sagemaker._native import GatewayEnd, GatewayRequest
    from deepgram_sagemaker.services import Services

__all__ = ["Conversation"]

_logger = logging.getLogger("deepgram_sagemaker.gateway")


class Conversation:
    """A request for a WebSocket, up to the WebSocket's end.

    Args:
        request: The request, with a route.
        services: What opens its session; None: the product is not served.
        open_wait: Seconds after which the client has its WebSocket although no stream is open yet.
    """

    def __init__(
        self, request: GatewayRequest, services: Services | None, open_wait: float
    ) -> None:
        self._request = request
        self._services = services
        self._open_wait = open_wait
        self._driver: Driver | None = None
        self._error: SageMakerError | None = None
        self._refusal: answers.Refusal | None = None
        self._end: asyncio.Future[GatewayEnd] = asyncio.get_running_loop().create_future()

    async def run(self) -> Served:
        """Serve it to its end."""
        self._driver = driver = self._begun()
        if driver is not None:
            try:
                await self._answer(driver)
                self._error = await driver.ended()
                # Nobody waits for it where the client has gone.
                cut = driver.is_cut and self._error is None
                self._request.end(*(answers.CUT if cut else answers.ending(self._error)))
                self._log_error()
            finally:
                if not driver.is_over:
                    driver.abandon()
        return self._served(await self._end)

    def ended(self, end: GatewayEnd) -> None:
        """Take note that the connection is closed."""
        if not self._end.done():
            self._end.set_result(end)
        if self._driver is not None and not self._driver.is_over:
            # Nobody listens to the session any more.
            self._driver.abandon()

    def go_away(self) -> None:
        """Close the connection, whatever is going on."""
        if not self._request.refuse(503, "SERVICE_UNAVAILABLE", answers.GOING_AWAY.reason):
            self._request.end(*answers.GOING_AWAY)

    def _begun(self) -> Driver | None:
        """Return what opens the session; None: there is nothing to open it for."""
        request = self._request
        if self._end.done():
            # The client has left again meanwhile.
            return None
        if self._services is None:
            self._refuse(answers.NOT_SERVED)
            return None
        try:
            invocation = Invocation(request.route or "", request.query)
        except ValidationError as error:
            self._refuse(answers.refusal(error))
            return None
        return Driver(self._services, invocation, request.id, carried=True)

    async def _answer(self, driver: Driver) -> None:
        try:
            async with asyncio.timeout(self._open_wait):
                await driver.opened()
        # First: some of these are time-outs too.
        except SageMakerError as error:
            self._refuse(answers.refusal(error))
            return
        except TimeoutError:
            # The session goes on trying, and keeps what the client sends meanwhile.
            pass
        if not self._request.accept(driver.session):
            driver.abandon()

    def _refuse(self, refusal: answers.Refusal) -> None:
        self._refusal = refusal
        self._request.refuse(*refusal)

    def _log_error(self) -> None:
        if self._error is not None:
            _logger.warning("%s %s: %s", self._request.id, type(self._error).__name__, self._error)

    def _served(self, end: GatewayEnd) -> Served:
        request, error = self._request, self._error
        stats = None if self._driver is None else self._driver.stats
        is_refused = end.by == "refused"
        failed = None if error is None else type(error).__name__
        return Served(
            id=request.id,
            path=request.path,
            route=request.route,
            key=request.key,
            peer=request.peer,
            user_agent=request.user_agent,
            status=(end.code or 503) if is_refused else 101,
            error=self._refusal.code if is_refused and self._refusal else failed,
            close_code=None if is_refused else end.code,
            by=end.by,
            seconds=end.seconds,
            messages_in=end.messages_in,
            bytes_in=end.bytes_in,
            messages_out=end.messages_out,
            bytes_out=end.bytes_out,
            audio_seconds=0.0 if stats is None else stats.seconds_sent,
            resets=0 if stats is None else sum(stats.resets.values()),
        )
