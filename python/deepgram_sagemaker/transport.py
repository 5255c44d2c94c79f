"""One session, as the application holds it: the SDK's `AsyncTransport`.

Behind it a `Driver` opens the legs of the native session.

Imports `driver`, never `aws` or `credentials`. Tests: `tests/test_transport.py`,
`tests/test_opening.py` and `tests/test_fairness.py`.
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
from .driver import Driver
from .errors import SessionClosedError

# Earlier releases had it in this module, and `SageMakerConfig` too.
from .factory import SageMakerTransportFactory
from .invocation import Invocation
from .services import Services
from .stats import Stats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["SageMakerConfig", "SageMakerTransport", "SageMakerTransportFactory", "Services"]

# Published: all lines about sessions have this logger, whichever module writes them.
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
        """Return a transport that shares the services of its factory."""
        transport = cls.__new__(cls)
        transport._begin(services, invocation)  # noqa: SLF001 - the other constructor
        return transport

    def _begin(self, services: Services, invocation: Invocation) -> None:
        self._services = services
        self._invocation = invocation
        # Not from `random`, which an application may have seeded.
        self._id = os.urandom(8).hex()
        watch = services.watch
        # Until the session begins: the application's request may be over long before the session.
        self._opened_in = None if watch is None else watch.context()
        self._driver: Driver | None = None
        self._closed = False

    @property
    def endpoint_name(self) -> str:
        """The SageMaker endpoint, the first of several."""
        return self._services.config.endpoint_name

    @property
    def region(self) -> str:
        """The endpoint's AWS region; `auto` until the first connection has found it."""
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
    def session_id(self) -> str:
        """The session's id in events, log records and traces: 16 hexadecimal digits."""
        return self._id

    @property
    def stats(self) -> Stats:
        """A snapshot of the session's figures; cheap, and from any thread."""
        return Stats() if self._driver is None else self._driver.stats

    async def open(self) -> None:
        """Connect now; raise an error if that is impossible.

        Calling it is optional: the first message connects too. Returns once the session has had a
        stream, and at once from then on. Transient failures are retried as always. Cancelling stops
        only the waiting: the session goes on until it is closed.

        Raises:
            SageMakerError: The session has failed; every later call raises the same.
            SessionClosedError: The transport was closed, or the session has ended.
        """
        if self._closed:
            raise SessionClosedError("the transport is closed: it cannot be opened any more")
        await (self._driver or self._start()).opened()

    async def send(self, data: str | bytes | bytearray | memoryview | dict[str, Any]) -> None:
        """Send one message; wait only while there is no room for it.

        The first message waits until the first stream has been requested, at most half a second. A
        sender that has kept the event loop from running for milliseconds lets it run here.

        Args:
            data: Text, audio, or a dict that becomes JSON text. Audio of no bytes is not sent.

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
        outcome = SendResult.FULL if driver.must_wait() else driver.session.send(data)
        if outcome == SendResult.HELD:
            driver.hub.flush_soon()
        elif outcome:
            await driver.send_in_order(data)

    async def recv(self) -> str | bytes | None:
        """Return the next message, once there is one.

        Returns:
            Text as `str`, audio as `bytes`; None at the end of the session.

        Raises:
            SageMakerError: The session has failed. Messages that came before are given first.
        """
        if self._closed:
            return None
        driver = self._driver or self._start()
        if driver.has_found and time.monotonic() >= driver.read_until:
            # Before a message is taken: a caller that is cancelled here has lost none.
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
        """End the session within `close_timeout`; earlier input is sent first.

        Calling it again is allowed, and waits for the first call's end.
        """
        self._closed = True
        if self._driver is not None:
            await self._driver.close()

    def _start(self) -> Driver:
        opened_in, self._opened_in = self._opened_in, None
        self._driver = Driver(self._services, self._invocation, self._id, opened_in)
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
        # A forked child has copies of its parent's transports, and must not end them.
        if driver is None or self._closed or driver.process != os.getpid():
            return
        if driver.is_cut or not driver.is_over:
            # First: where warnings are errors the next line raises.
            driver.abandon()
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)
