"""The endpoint that is examined, and what the checks learn for each other."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from deepgram_sagemaker.aws.endpoints import (
    is_aws_host,
    resolve_ca_bundle,
    resolve_endpoint_uri,
    resolve_proxy,
)
from deepgram_sagemaker.aws.shared_files import NO_PROFILE, read_profile
from deepgram_sagemaker.errands import Errand

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.credentials import Identity
    from deepgram_sagemaker.errors import SageMakerError
    from deepgram_sagemaker.transport import SageMakerTransport

    from .products import Product

__all__ = ["Case", "Opening", "Way"]

_HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class Way:
    """How the endpoint is reached.

    Attributes:
        host: The host, without brackets.
        port: The port.
        is_aws: Whether the host is one of AWS's.
        ca_bundle: The file of the authorities that are trusted; None: the system's.
        proxy: The proxy's URL, which may contain a password; None: there is none.
    """

    host: str
    port: int
    is_aws: bool
    ca_bundle: str | None
    proxy: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opening:
    """The outcome of opening a session.

    Attributes:
        error: Why it did not open; None: it did.
        seconds: The time that it took.
    """

    error: SageMakerError | None
    seconds: float


@dataclass(slots=True)
class Case:
    """What is examined.

    Attributes:
        config: The settings of a session, as an application would have them.
        product: What to ask the endpoint for.
        region_source: Where the region comes from, in words; None: none was found.
        within: Seconds that one step may take.
        spare: Seconds that work in a thread may take besides, for loading modules.
        session: The boto3 session with the credentials; None: there is none.
        session_error: Why there is none; empty: there is one.
        identity: The keys that were found.
        ages: For each answer of AWS: seconds by which its Date was ahead of this machine's clock.
        opening: How the session opened; None: nothing was opened yet.
        transport: The open session.
    """

    config: SageMakerConfig
    product: Product
    region_source: str | None
    within: float
    session: Any = field(repr=False)
    session_error: str = ""
    spare: float = 10.0
    identity: Identity | None = None
    ages: list[float] = field(default_factory=list)
    opening: Opening | None = None
    transport: SageMakerTransport | None = None
    _way: Way | None = None

    async def way(self) -> Way:
        """Return how the endpoint is reached.

        Raises:
            SageMakerError: The settings, the environment or the shared files break a rule.
        """
        if self._way is None:
            self._way = await self.in_thread(lambda: _way(self.config), "reading the settings")
        return self._way

    async def in_thread[T](self, work: Callable[[], T], what: str) -> T:
        """Do work that may block; raise what it raises.

        Args:
            work: The work.
            what: Its description.

        Raises:
            TimeoutError: It takes longer than twice `within` and `spare`. It goes on in its thread.
        """
        errand = Errand(work, what=what, thread="deepgram-sagemaker-doctor")
        errand.start()
        # The work has deadlines of its own; this one is for work that does not keep them.
        limit = 2 * self.within + self.spare
        if not await errand.settled(limit):
            raise TimeoutError(f"{what} takes longer than {limit:g} s")
        return errand.result()

    async def close(self) -> None:
        """Close the session, if there is one."""
        if self.transport is not None:
            await self.transport.close()
            # Its sockets are closed by the engine's thread.
            await asyncio.sleep(0)


def _way(config: SageMakerConfig) -> Way:
    if config.endpoint_uri is not None and config.ca_bundle is not None:
        profile = NO_PROFILE
    else:
        profile = read_profile(config.boto3_session)
    uri = resolve_endpoint_uri(config, os.environ, profile)
    parts = urlsplit(uri)
    host = parts.hostname or ""
    return Way(
        host,
        parts.port or _HTTPS_PORT,
        is_aws_host(host),
        resolve_ca_bundle(config, os.environ, profile),
        resolve_proxy(config, os.environ, uri),
    )
