"""The gateway, as its users have it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from deepgram_sagemaker import _native
from deepgram_sagemaker._native import GatewayEnd, GatewayRefusal, GatewayRequest
from deepgram_sagemaker.events import checked
from deepgram_sagemaker.services import Services
from deepgram_sagemaker.stats import Stats, add_up
from deepgram_sagemaker.wakeups import Hub

from .conversation import Conversation
from .records import Key, Page, Served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
    from os import PathLike
    from types import TracebackType
    from typing import Any

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.events import Event
    from deepgram_sagemaker.meters import Measures

__all__ = ["Gateway"]

_logger = logging.getLogger("deepgram_sagemaker.gateway")

_ANSWER: Final = 20.0
"""Seconds beyond `open_wait` after which a request that nobody has answered is refused."""
_STOP: Final = 10.0
"""Seconds that closing may take."""


class Gateway:
    """A WebSocket server that speaks as Deepgram does, for as long as its context lasts.

    Each connection to `/v1/listen`, `/v2/listen`, `/v1/speak`, `/v2/speak` or `/v1/agent/converse`,
    with any prefix before it, is carried over a session of its own. `/healthz` and `/readyz` are
    answered too.

    Args:
        config: The endpoint of every product that `routes` does not name.
        routes: An endpoint for each path, such as `v1/speak`.
        host: The address to listen on. Without keys it has to be a loopback address.
        port: The port; 0: any free one.
        keys: Who is let in; empty: everybody on this machine.
        origins: Origins of browsers' pages that may connect, such as `https://app.example`; `*`
            stands for any. None: any, or, without keys, pages that this machine serves.
        max_connections: The most connections at a time, of any kind.
        open_wait: Seconds that a client waits for its WebSocket while a stream is being opened. It
            has its WebSocket then, and what it sends is kept.
        reuse_port: Whether other processes may listen on the same port.
        tls: Files with the certificate chain and with its private key, PEM.
        pages: Pages in plain HTTP by their paths: each is called with the request, whose `method`,
            `path`, `query` and `body` it may use.
        open_pages: The paths of those pages for which no key is needed.
        on_event: Called with each event of each session, as a factory's.
        telemetry: Traces and metrics, as a factory's.
        on_request: Called with each request that is over, pages apart, on the event loop.
        ping_interval: Seconds without a word of a client after which it is pinged.
        ping_timeout: Seconds that it has to answer.
        head_timeout: Seconds that a client has from connecting to the end of its request's head.
        max_message_bytes: The largest message of a client.

    Raises:
        TypeError: Neither `config` nor `routes` was given.
        ValueError: The host is not a loopback address, and there are no keys; or names or keys come
            twice.
    """

    def __init__(
        self,
        *,
        config: SageMakerConfig | None = None,
        routes: Mapping[str, SageMakerConfig] | None = None,
        host: str = "127.0.0.1",
        port: int = 8080,
        keys: Sequence[Key] = (),
        origins: Sequence[str] | None = None,
        max_connections: int = 10_000,
        open_wait: float = 3.0,
        reuse_port: bool = False,
        tls: tuple[str | PathLike[str], str | PathLike[str]] | None = None,
        pages: Mapping[str, Callable[[GatewayRequest], Awaitable[Page]]] | None = None,
        open_pages: Collection[str] = (),
        on_event: Callable[[Event], object] | None = None,
        telemetry: Measures | bool | None = None,
        on_request: Callable[[Served], object] | None = None,
        ping_interval: float = 20.0,
        ping_timeout: float = 20.0,
        head_timeout: float = 10.0,
        max_message_bytes: int = 16 << 20,
    ) -> None:
        if config is None and not routes:
            raise TypeError("a gateway needs an endpoint: give config= or routes=")
        _check_keys(keys)
        if not keys and not _is_loopback(host):
            raise ValueError(
                f"host={host!r}: without keys anybody could use the endpoint; give keys=, or "
                "listen on a loopback address such as 127.0.0.1"
            )
        self._settings = {
            "host": host,
            "port": port,
            "keys": [(key.name, key.secret, key.most) for key in keys],
            "origins": None if origins is None else list(origins),
            "max_connections": max_connections,
            "reuse_port": reuse_port,
            "pages": list(pages or ()),
            "open_pages": list(open_pages),
            "head_timeout": head_timeout,
            "answer_timeout": open_wait + _ANSWER,
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": 5.0,
            "max_message_bytes": max_message_bytes,
        }
        self._tls = tls
        self._open_wait = open_wait
        self._pages = dict(pages or {})
        self._on_request = on_request
        # By the identity of their configs: routes that have the same one share all of it.
        made: dict[int, Services] = {}

        def services_of(config: SageMakerConfig) -> Services:
            if id(config) not in made:
                made[id(config)] = Services(config, on_event=checked(on_event), telemetry=telemetry)
            return made[id(config)]

        self._default = None if config is None else services_of(config)
        self._routes = {path.strip("/"): services_of(each) for path, each in (routes or {}).items()}
        self._services = list(made.values())
        self._native: _native.Gateway | None = None
        self._hub: Hub | None = None
        self._token = 0
        self._conversations: dict[str, Conversation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pages_asked: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            OSError: The address cannot be listened on, or a file of `tls` cannot be read.
            ValueError: The certificate cannot be used.
        """
        loop = asyncio.get_running_loop()
        certificate = key = None
        if self._tls is not None:
            chain, private = (Path(each) for each in self._tls)
            certificate = await loop.run_in_executor(None, chain.read_bytes)
            key = await loop.run_in_executor(None, private.read_bytes)
        self._hub = Hub.running()
        self._token = self._hub.register(self._woken)
        try:
            self._native = _native.Gateway(
                waker=self._hub.waker,
                token=self._token,
                certificate=certificate,
                private_key=key,
                **self._settings,  # type: ignore[arg-type]
            )
        except BaseException:
            self._hub.unregister(self._token)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection now; see `drain` for an end in order."""
        native, hub = self._running()
        native.stop()
        for page in self._pages_asked:
            page.cancel()
        try:
            async with asyncio.timeout(_STOP):
                await self._stopped.wait()
                # The ends that were told last have to be taken, too.
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            _logger.warning("the gateway did not stop within %s s", _STOP)
        finally:
            for task in self._tasks:
                task.cancel()
            hub.unregister(self._token)

    @property
    def address(self) -> tuple[str, int]:
        """The address and port that it listens on."""
        return self._running()[0].address

    @property
    def url(self) -> str:
        """Where clients connect to, without a path: `ws://127.0.0.1:8080`."""
        host, port = self.address
        scheme = "ws" if self._tls is None else "wss"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def stats(self) -> Stats:
        """The sum over all sessions, those that have ended included; from any thread."""
        return add_up([Stats(), *(each.stats for each in self._services)])

    @property
    def counts(self) -> dict[str, int]:
        """The gateway's own figures: connections, refusals, messages; from any thread."""
        return self._running()[0].counts()

    @property
    def conversations(self) -> int:
        """How many WebSockets are open, or are being opened."""
        return len(self._conversations)

    async def drain(self, within: float) -> int:
        """Accept no more connections, and wait for those that are up.

        Args:
            within: Seconds. Then the rest is closed with code 1001.

        Returns:
            How many were closed so.
        """
        self._running()[0].drain()
        try:
            async with asyncio.timeout(within):
                await self._emptied()
        except TimeoutError:
            pass
        rest = list(self._conversations.values())
        for conversation in rest:
            conversation.go_away()
        try:
            async with asyncio.timeout(_STOP):
                await self._emptied()
        except TimeoutError:
            _logger.warning("%d clients did not close", len(self._conversations))
        return len(rest)

    async def _emptied(self) -> None:
        while self._conversations:
            self._changed.clear()
            await self._changed.wait()

    def _running(self) -> tuple[_native.Gateway, Hub]:
        if self._native is None or self._hub is None:
            raise RuntimeError("the gateway runs inside its `async with` block")
        return self._native, self._hub

    def _woken(self) -> None:
        if self._native is None:
            return
        for news in self._native.take():
            match news:
                case GatewayRequest(route=None):
                    page = self._start(self._page(news))
                    self._pages_asked.add(page)
                    page.add_done_callback(self._pages_asked.discard)
                case GatewayRequest():
                    self._begin(news)
                case GatewayEnd():
                    conversation = self._conversations.get(news.id)
                    if conversation is not None:
                        conversation.ended(news)
                case GatewayRefusal():
                    self._tell(
                        Served(
                            id=news.id,
                            path=news.path,
                            route=news.route,
                            key=news.key,
                            peer=news.peer,
                            user_agent=news.user_agent,
                            status=news.status,
                            error=news.code,
                        )
                    )
                case None:
                    self._stopped.set()

    def _begin(self, request: GatewayRequest) -> None:
        services = self._routes.get(request.route or "", self._default)
        conversation = Conversation(request, services, self._open_wait)
        self._conversations[request.id] = conversation
        self._start(self._converse(request.id, conversation))

    async def _converse(self, number: str, conversation: Conversation) -> None:
        try:
            self._tell(await conversation.run())
        finally:
            del self._conversations[number]
            self._changed.set()

    async def _page(self, request: GatewayRequest) -> None:
        try:
            page = await self._pages[request.path](request)
        except Exception:
            _logger.exception("the page %s failed", request.path)
            request.refuse(500, "INTERNAL_SERVER_ERROR", "The page cannot be shown.")
            return
        request.respond(page.status, page.content_type, page.body)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name="deepgram gateway")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a connection could not be served", exc_info=error)

    def _tell(self, served: Served) -> None:
        if self._on_request is None:
            return
        try:
            self._on_request(served)
        except Exception:
            # What listens must not cost a connection.
            _logger.exception("on_request failed")


def _check_keys(keys: Sequence[Key]) -> None:
    for what in ("name", "secret"):
        values = [getattr(key, what) for key in keys]
        if len(set(values)) < len(values):
            raise ValueError(f"two keys have the same {what}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
