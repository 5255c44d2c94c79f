"""One gateway in this process: serves until it is asked to stop, and then drains.

Tests: tests/cli/test_gateway.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.exposition import CONTENT_TYPE, Exposition
from deepgram_sagemaker.gateway import Gateway, Key, Page
from deepgram_sagemaker.meters import Several

from .gateway_log import AccessLog, session_log
from .gateway_metrics import GatewayMetrics, families_of
from .signals import on_signal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.gateway import GatewayRequest, Served
    from deepgram_sagemaker.meters import Measures

    from .gateway_metrics import SharedFigures
    from .gateway_settings import GatewaySettings

__all__ = ["ADVICE", "SIGNALS", "Asked", "allow_files", "serve"]

SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Signals that end the gateway in order. SIGHUP is for POSIX, SIGBREAK for Windows."""

ADVICE: Final = "--port 0 takes a free port"
"""What to do about a port that another program has."""

_TAKEN: Final = "Address already in use"

_METRICS: Final = "/metrics"

_SWITCHED: Final = 101
"""The status of a request that became a WebSocket."""

_FILES: Final = 2
"""Open files of a conversation: the client's connection, and that to the endpoint."""
_OTHER_FILES: Final = 256

_WRITE_EVERY: Final = 1.0
"""Seconds between two times that a worker writes down its figures."""

_logger = logging.getLogger("deepgram_sagemaker.gateway")

type PageAnswer = Callable[[GatewayRequest], Awaitable[Page]]
"""Answers a request for a page."""


_TELLING: Final = 2.0
"""Seconds that clients have for their close frame when it ends at once."""


class Asked:
    """How often this process was asked to stop: once to drain, twice to end at once.

    Attributes:
        drain: Set when it is to take no more conversations.
        end: Set when it is to end those that go on.
    """

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.end = asyncio.Event()

    def again(self) -> None:
        """Ask once more."""
        (self.end if self.drain.is_set() else self.drain).set()

    def listen(self, stack: AsyncExitStack) -> None:
        """Ask at each signal, until the stack ends."""
        for name in SIGNALS:
            # `nohup` has SIGHUP ignored, which stays so.
            if name == "SIGHUP" and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
                continue
            stack.enter_context(on_signal(name, self.again))


async def serve(
    settings: GatewaySettings,
    configs: Mapping[str, SageMakerConfig],
    asked: Asked,
    *,
    ready: Callable[[Gateway], object],
    pages: Mapping[str, PageAnswer] | None = None,
    shared: SharedFigures | None = None,
    worker: str = "",
) -> None:
    """Serve until it is asked to stop, then let conversations come to their end.

    Args:
        settings: What it is told.
        configs: The endpoint of each path.
        asked: What asks it to stop.
        ready: Called once it listens.
        pages: What further pages answer, by path.
        shared: The figures of all workers; None: there are no others.
        worker: The name of this worker.

    Raises:
        OSError: It cannot listen, or a file cannot be read or written.
        ValueError: A setting breaks its rule.
    """
    exposition = Exposition()
    metrics = GatewayMetrics(exposition, shared, worker)
    async with AsyncExitStack() as stack:
        stack.enter_context(session_log(settings.log_format))
        most = settings.max_connections
        allow_files(_FILES * most + _OTHER_FILES, least=most + _OTHER_FILES)
        log = AccessLog(settings.access_log)
        stack.callback(log.close)

        def told(served: Served) -> None:
            log.write(served)
            if served.status == _SWITCHED:
                metrics.ended(served.close_code, served.by)

        async def show_metrics(_: GatewayRequest) -> Page:
            # Other workers' figures are read from files.
            text = await asyncio.to_thread(metrics.text)
            return Page(text.encode(), CONTENT_TYPE)

        certificate, key = settings.certificate, settings.private_key
        tls = None if certificate is None or key is None else (certificate, key)
        gateway = Gateway(
            routes=configs,
            host=settings.host,
            port=settings.port,
            keys=[Key(each.name, each.key, settings.connections_per_key) for each in settings.keys],
            origins=settings.origins,
            max_connections=settings.max_connections,
            reuse_port=settings.reuse_port,
            tls=tls,
            pages={_METRICS: show_metrics} | dict(pages or {}),
            open_pages=[_METRICS] if settings.open_metrics else [],
            telemetry=_measured_by(exposition),
            on_request=told,
        )
        exposition.add(lambda: families_of(gateway.counts))
        try:
            await stack.enter_async_context(gateway)
        except OSError as error:
            if _TAKEN in str(error):
                raise OSError(f"{error}; {ADVICE}") from None
            raise
        if shared is not None:
            await stack.enter_async_context(_written(metrics))
        ready(gateway)
        await asked.drain.wait()
        await _drain(gateway, settings.drain_timeout, asked)


def allow_files(wanted: int, *, least: int) -> None:
    """Raise this process's limit of open files, and say where that is not allowed.

    The usual limit, 1,024, is for programs that wait with `select`, which this is not.

    Args:
        wanted: How many it may need.
        least: Below this many it is said.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < least:
        _logger.warning(
            "only %d files may be open, too few for --max-connections: raise the limit "
            "(`ulimit -Hn`, LimitNOFILE=) to %d, or give fewer connections",
            allowed,
            wanted,
        )


def _measured_by(exposition: Exposition) -> Measures:
    """Return what measures sessions: OpenTelemetry too, where it was set up for this process."""
    used = "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules
    if not used:
        return exposition
    from deepgram_sagemaker.otel import Telemetry

    return Several(exposition, Telemetry())


@contextlib.asynccontextmanager
async def _written(metrics: GatewayMetrics) -> AsyncIterator[None]:
    """Write this worker's figures down again and again, and once more in the end."""

    async def write() -> None:
        while True:
            try:
                await asyncio.to_thread(metrics.write)
            except OSError as error:
                _logger.warning("the metrics of this worker cannot be written: %s", error)
            await asyncio.sleep(_WRITE_EVERY)

    writing = asyncio.create_task(write())
    try:
        yield
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        with contextlib.suppress(OSError):
            metrics.write()


async def _drain(gateway: Gateway, within: float, asked: Asked) -> None:
    """Take no more conversations, and let the others end: for so long, or until asked again."""
    if gateway.conversations:
        going = _counted(gateway.conversations, "conversation goes on", "conversations go on")
        _logger.info("draining: %s, for at most %g s; a second signal ends it", going, within)
    drained = asyncio.create_task(gateway.drain(within))
    ended = asyncio.create_task(asked.end.wait())
    try:
        await asyncio.wait({drained, ended}, return_when=asyncio.FIRST_COMPLETED)
        cut = drained.result() if drained.done() else gateway.conversations
        if cut:
            ended_early = _counted(cut, "conversation was ended", "conversations were ended")
            _logger.warning("%s before time", ended_early)
        if not drained.done():
            # Clients are told, as far as they listen.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TELLING):
                    await gateway.drain(0)
    finally:
        for task in (drained, ended):
            task.cancel()
        await asyncio.gather(drained, ended, return_exceptions=True)


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
