"""Opens legs: each is a signed request over the native HTTP/2 transport.

The AWS SDK makes and signs the request (`operation`). The native pool connects, sends it and
carries the leg's events. The chain of event signatures is native and uses the keys that signed the
request, so no event passes through Python.
"""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from deepgram_sagemaker._native import Leg, OpenFailure, Permits, Pool, judge
from deepgram_sagemaker.config import REGION_OF_BOTO3
from deepgram_sagemaker.wakeups import Hub

from .failures import explain
from .preparation import Preparation
from .route import Proxy, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepgram_sagemaker._native import Admission, Waker
    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.credentials import Identity
    from deepgram_sagemaker.errors import SageMakerError
    from deepgram_sagemaker.invocation import Invocation

    from .operation import Operation

__all__ = ["Concurrency", "LegClient", "Progress"]

_HTTP_PORT: Final = 80
_HTTPS_PORT: Final = 443

_READY_WITHIN: Final = 30.0
"""Seconds that an opening waits for files to be read and modules to be loaded, before it connects.
`connection_timeout` does not apply, because it may be short, and a cold disk says nothing about the
connection."""


@dataclass(frozen=True, slots=True, repr=False)
class _Ready:
    """What all legs of a factory share.

    Attributes:
        operation: Makes and signs requests with the AWS SDK.
        pool: The native connection pool.
        uri: The URI that the pool connects to.
        config: The settings, with the region that was found.
    """

    operation: Operation
    pool: Pool
    uri: str
    config: SageMakerConfig


class Progress:
    """How far the opening of a leg has come, and the engine's resources that it holds.

    Args:
        requested: Called on the loop when the engine has the request. From then until the answer
            the engine does not need the loop.
        admitted: Called on the loop when the opening waits for no other of the factory's any more.

    Attributes:
        is_admitted: Whether that has happened.
    """

    def __init__(
        self, requested: Callable[[], None], *, admitted: Callable[[], None] | None = None
    ) -> None:
        self.requested = requested
        self.is_admitted = False
        self._admitted = admitted
        self._held: list[Callable[[], None]] = []
        self._is_over = False

    def admitted(self) -> None:
        """Note that the opening has its permit, and its turn to connect."""
        self.is_admitted = True
        if self._admitted is not None:
            self._admitted()

    def holds(self, let_go: Callable[[], None]) -> None:
        """Register a release function; it may be called from any thread and more than once."""
        self._held.append(let_go)
        if self._is_over:
            let_go()

    def let_go(self) -> None:
        """Release everything, now and whatever is registered later; from any thread."""
        self._is_over = True
        for let_go in self._held:
            let_go()


class Concurrency:
    """`max_concurrency`, which all endpoints of a config share.

    A forked child starts again: the permits that are held are its parent's.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # By the process. Its own `setdefault` needs no lock, whose state a child would not know.
        self._made: dict[int, Permits] = {}

    def permits(self) -> Permits:
        """Return the native permits. May be called from any thread."""
        return self._made.setdefault(os.getpid(), Permits(self._most))


class LegClient:
    """Opens legs at one endpoint for every session of a factory, over one pool to one URI.

    Nothing is imported, resolved, read or connected before the first leg. Blocking work runs in a
    thread.

    Args:
        config: The settings, of one endpoint.
        concurrency: Where streams are counted.

    Attributes:
        config: The settings. A region that has to be looked up is in it from the first leg on.
    """

    def __init__(self, config: SageMakerConfig, concurrency: Concurrency | None = None) -> None:
        self.config = config
        shared = concurrency or Concurrency(config.max_concurrency)
        self._ready = Preparation(
            lambda: _made_ready(config, shared.permits()),
            what="reading the shared AWS files and certificates, and loading the AWS SDK,",
            within=_READY_WITHIN,
        )

    @property
    def waiting(self) -> int:
        """How many openings wait for one of `max_concurrency`; from any thread."""
        ready = self._ready.made
        return 0 if ready is None else ready.pool.waiting

    async def open(
        self,
        invocation: Invocation,
        identity: Identity,
        *,
        standby: bool = False,
        progress: Progress,
    ) -> Leg:
        """Open a leg. Cancelling leaves nothing behind.

        Args:
            invocation: What to invoke.
            identity: The keys that sign the request and all events of the leg.
            standby: Whether this is a rollover's second leg, which needs no permit.
            progress: Learns how far the opening has come.

        Returns:
            The leg, accepted by the service and with its signature chain begun.

        Raises:
            SageMakerError: The classified failure.
        """
        ready = await self._ready.value()
        self.config = ready.config
        # The admission comes before the request: so the request is signed when it can be sent, and
        # a burst does not hold all its requests at once.
        admission = await self._admission(ready.pool, invocation, progress, standby=standby)
        progress.holds(admission.release)
        progress.admitted()
        try:
            return await self._invoke(ready, invocation, identity, admission, progress)
        finally:
            admission.release()

    async def _admission(
        self, pool: Pool, invocation: Invocation, progress: Progress, *, standby: bool
    ) -> Admission:
        acquired: Admission | OpenFailure = await _outcome(
            progress,
            lambda waker, token: pool.acquire(with_permit=not standby, waker=waker, token=token),
        )
        if isinstance(acquired, OpenFailure):
            raise self._explained(acquired, invocation)
        return acquired

    async def _invoke(
        self,
        ready: _Ready,
        invocation: Invocation,
        identity: Identity,
        admission: Admission,
        progress: Progress,
    ) -> Leg:
        request = await ready.operation.signed(
            invocation,
            identity,
            endpoint_name=self.config.endpoint_name,
            target_variant=self.config.target_variant,
            region=self.config.region,
            uri=ready.uri,
        )

        def begin(waker: Waker, token: int) -> _Pending[Leg | OpenFailure]:
            opening = admission.open(
                request.authority, request.path, request.headers, waker=waker, token=token
            )
            progress.requested()
            return opening

        opened: Leg | OpenFailure = await _outcome(progress, begin)
        if isinstance(opened, OpenFailure):
            raise self._explained(opened, invocation)
        progress.holds(opened.close)
        opened.begin_chain(
            secret_access_key=identity.secret_access_key,
            region=self.config.region,
            seed_signature=request.seed_signature,
        )
        return opened

    def _explained(self, failure: OpenFailure, invocation: Invocation) -> SageMakerError:
        return explain(
            failure.diagnosis,
            endpoint_name=self.config.endpoint_name,
            region=self.config.region,
            query=invocation.query,
        )


def _made_ready(config: SageMakerConfig, permits: Permits | None = None) -> _Ready:
    """Import, read and make what legs share; this runs in a thread and may block."""
    from .endpoints import (
        resolve_ca_bundle,
        resolve_endpoint_uri,
        resolve_proxy,
        resolve_region,
    )
    from .operation import operation
    from .shared_files import NO_PROFILE, read_profile

    # If the settings say everything, the shared files are not read and botocore not imported.
    says_everything = (
        config.endpoint_uri is not None
        and config.ca_bundle is not None
        and config.region != REGION_OF_BOTO3
    )
    profile = NO_PROFILE if says_everything else read_profile(config.boto3_session)
    region = resolve_region(config, os.environ, profile)
    if region != config.region:
        config = replace(config, region=region)
    uri = resolve_endpoint_uri(config, os.environ, profile)
    parts = urlsplit(uri)
    proxy = resolve_proxy(config, os.environ, uri)
    route = Route(
        host=parts.hostname or "",
        port=parts.port or _HTTPS_PORT,
        ca_bundle=resolve_ca_bundle(config, os.environ, profile),
        proxy=None if proxy is None else _proxy(proxy),
    )
    try:
        pool = Pool(config, route, permits)
    except OSError as error:
        raise explain(judge("trust", detail=str(error))) from error
    app_id = os.environ.get("AWS_SDK_UA_APP_ID") or profile.get("sdk_ua_app_id")
    return _Ready(operation(app_id), pool, uri, config)


def _proxy(proxy: str) -> Proxy:
    parts = urlsplit(proxy)
    secure = parts.scheme == "https"
    authorization = None
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(userinfo.encode()).decode()}"
    port = parts.port or (_HTTPS_PORT if secure else _HTTP_PORT)
    return Proxy(host=parts.hostname or "", port=port, tls=secure, authorization=authorization)


class _Pending[T](Protocol):
    """An operation of the engine."""

    def take(self) -> T | None: ...

    def cancel(self) -> None: ...


async def _outcome[T](progress: Progress, begin: Callable[[Waker, int], _Pending[T]]) -> T:
    """Begin an operation of the engine and return its outcome. Cancelling cancels it."""
    hub = Hub.running()
    done = asyncio.Event()
    token = hub.register(done.set)
    try:
        pending = begin(hub.waker, token)
        progress.holds(pending.cancel)
        try:
            await done.wait()
            outcome = pending.take()
            assert outcome is not None  # noqa: S101 - it is what posts the token
            return outcome
        finally:
            # An outcome that was not taken is closed.
            pending.cancel()
    finally:
        hub.unregister(token)
