"""An event loop in a thread, for an endpoint whose user has none."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["LoopThread"]


class LoopThread(threading.Thread):
    """An event loop in a thread, for an endpoint whose user has none."""

    def __init__(self, endpoint: AbstractAsyncContextManager[object]) -> None:
        super().__init__(name="sagemaker-local-models", daemon=True)
        self._endpoint = endpoint
        self._settled = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()

    def start_and_wait(self) -> None:
        """Start, and return when the endpoint runs; raises what kept it from starting."""
        self.start()
        self._settled.wait()
        if self._failure is not None:
            self.join()
            raise self._failure

    def stop_and_join(self) -> None:
        """Stop the endpoint and wait for the thread's end."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self.join()

    def run(self) -> None:
        """Hold the endpoint's context until told to stop."""
        asyncio.run(self._hold())

    async def _hold(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with self._endpoint:
                self._settled.set()
                await self._over.wait()
        except BaseException as error:  # noqa: BLE001 - raised again where the endpoint is entered
            self._failure = error
            self._settled.set()
