"""One session, as the application holds it: the SDK's `AsyncTransport`.

Behind it a `Driver` (`driver`) keeps the native session in legs.
"""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, Self

from ._native import SendResult
from .config import SageMakerConfig
from .driver import Driver, Services
from .errors import SessionClosedError

# Earlier releases had it in this module, and `SageMakerConfig` too.
from .factory import SageMakerTransportFactory
from .invocation import Invocation
from .stats import Stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["SageMakerConfig", "SageMakerTransport", "SageMakerTransportFactory", "Services"]

# Published: what a session has to say is logged under this name, whichever module says it.
logger = logging.getLogger(__name__)


class SageMakerTransport:
    """One conversation with a model on SageMaker: the Deepgram SDK's `AsyncTransport`.

    Nothing connects before the first `send` or `recv`. Messages go out in the order of `send`,
    and come in whole.

    Args:
        config: The endpoint, and how hard to try.
        invocation_path: What to invoke, without a leading slash: `v1/listen`.
        query_string: The query, in the form that the service allows or one that can be brought
            into it.
    """

    def __init__(self, config: SageMakerConfig, invocation_path: str, query_string: str) -> None:
        self._begin(Services(config), Invocation(invocation_path, query_string))

    @classmethod
    def of(cls, services: Services, invocation: Invocation) -> Self:
        """A transport that shares what its factory's other transports share."""
        transport = cls.__new__(cls)
        transport._begin(services, invocation)  # noqa: SLF001 - the other constructor
        return transport

    def _begin(self, services: Services, invocation: Invocation) -> None:
        self._services = services
        self._invocation = invocation
        self._driver: Driver | None = None
        self._closed = False

    @property
    def endpoint_name(self) -> str:
        """The SageMaker endpoint."""
        return self._services.config.endpoint_name

    @property
    def region(self) -> str:
        """The endpoint's AWS region."""
        return self._services.config.region

    @property
    def invocation_path(self) -> str:
        """What is invoked, without a leading slash."""
        return self._invocation.path

    @property
    def query_string(self) -> str:
        """The query, as the service gets it."""
        return self._invocation.query

    @property
    def stats(self) -> Stats:
        """A snapshot of the session's figures; cheap."""
        return Stats() if self._driver is None else self._driver.stats

    async def open(self) -> None:
        """Connects now, and raises what would keep it from connecting.

        It need not be called: the first message connects too. It is for those who must know before
        they send. Returns once the session has had a stream, and at once from then on. Transient
        failures are tried again as ever. Cancelling it stops the waiting, and nothing else: the
        session goes on, until it is closed.

        Raises:
            SageMakerError: The session has failed; every later call raises the same.
            SessionClosedError: The transport was closed, or the session has ended.
        """
        if self._closed:
            raise SessionClosedError("the transport is closed: it cannot be opened any more")
        await (self._driver or self._start()).opened()

    async def send(self, data: str | bytes | bytearray | memoryview | dict[str, Any]) -> None:
        """Sends one message; waits only while there is no room for it.

        The first message waits, for half a second at most, until the first stream has been asked
        for. A sender that goes on for milliseconds without letting the event loop run lets it run
        here.

        Args:
            data: Text, audio, or a dict that becomes JSON text. Audio without a byte is nothing,
                and is not sent.

        Raises:
            SageMakerError: The session has failed; every later call raises the same.
            SessionClosedError: The transport was closed, or the service has ended the session.
            TypeError: `data` is something else.
        """
        if self._closed:
            raise SessionClosedError("the transport is closed: nothing can be sent any more")
        driver = self._driver or self._start()
        if isinstance(data, dict):
            data = json.dumps(data)
        outcome = SendResult.FULL if driver.must_send_in_turn() else driver.session.send(data)
        if outcome == SendResult.HELD:
            driver.hub.flush_soon()
        elif outcome:
            await driver.send_in_turn(data)

    async def recv(self) -> str | bytes | None:
        """The next message, once there is one.

        Returns:
            Text as `str`, audio as `bytes`; None at the end of the session.

        Raises:
            SageMakerError: The session has failed. Messages that came before are given first.
        """
        if self._closed:
            return None
        driver = self._driver or self._start()
        if driver.has_found and time.monotonic() >= driver.read_until:
            # Before a message is taken: whoever is cancelled here has not lost one.
            await driver.let_others_run()
            return await self.recv()
        message = driver.session.receive()
        if message is None:
            return await driver.receive_when_possible()
        driver.has_found = True
        return message

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Every message up to the end of the session; raises as `recv` does."""
        while (message := await self.recv()) is not None:
            yield message

    async def close(self) -> None:
        """Ends the session, within `close_timeout`; what was sent before goes out first.

        Calling it again is allowed, and waits for the first call's end.
        """
        self._closed = True
        if self._driver is not None:
            await self._driver.close()

    def _start(self) -> Driver:
        self._driver = Driver(self._services, self._invocation)
        return self._driver

    def __reduce__(self) -> NoReturn:
        message = "a transport is one conversation, and cannot be copied or pickled"
        raise TypeError(message)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.endpoint_name} ({self.region}) {self.invocation_path}>"
        )

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        # A forked child has its parent's transports, and they are not its own to end.
        if driver is None or self._closed or driver.process != os.getpid():
            return
        if driver.is_cut or not driver.is_over:
            # First: where warnings are errors the next line is the last one.
            driver.abandon()
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)
