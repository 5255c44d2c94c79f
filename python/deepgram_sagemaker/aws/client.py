"""The service's legs: each a signed request over the native HTTP/2 transport.

The AWS SDK makes and signs the request (`operation`), and the native pool connects, sends it and
carries the leg's events: their chain of signatures is native, with the keys that the request was
signed with, and no event passes through Python.
"""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from deepgram_sagemaker._native import Leg, OpenFailure, Pool, judge
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

__all__ = ["LegClient", "Progress"]

_HTTP_PORT: Final = 80
_HTTPS_PORT: Final = 443

_READY_WITHIN: Final = 30.0
"""Seconds for what an opening waits for before it connects: files to read, modules to load. Not
`connection_timeout`, which may be short: a cold disk is no sign of a bad connection."""


@dataclass(frozen=True, slots=True, repr=False)
class _Ready:
    """What every leg of a factory needs, once it is there.

    Attributes:
        operation: The AWS SDK's part.
        pool: The connections.
        uri: Where they go.
    """

    operation: Operation
    pool: Pool
    uri: str


class Progress:
    """How far a leg on its way has come, and what it holds of the engine meanwhile.

    Args:
        requested: Called on the loop once the request is the engine's, which needs the loop no
            more until there is an answer.
    """

    def __init__(self, requested: Callable[[], None]) -> None:
        self.requested = requested
        self._held: list[Callable[[], None]] = []
        self._is_over = False

    def holds(self, let_go: Callable[[], None]) -> None:
        """Notes how to let go of something, from any thread, more than once if need be."""
        self._held.append(let_go)
        if self._is_over:
            let_go()

    def let_go(self) -> None:
        """Lets go of everything, now and from now on; from any thread."""
        self._is_over = True
        for let_go in self._held:
            let_go()


class LegClient:
    """Opens legs for every session of a factory: one pool, one place to connect to.

    Nothing is imported, resolved, read or connected before the first leg, and what may block is
    done in a thread.
    """

    def __init__(self, config: SageMakerConfig) -> None:
        self._config = config
        self._ready = Preparation(
            lambda: _made_ready(config),
            what="reading the shared AWS files and certificates, and loading the AWS SDK,",
            within=_READY_WITHIN,
        )

    async def open(
        self,
        invocation: Invocation,
        identity: Identity,
        *,
        standby: bool = False,
        progress: Progress,
    ) -> Leg:
        """Opens a leg.

        Args:
            invocation: What to invoke.
            identity: The keys that sign the request, and the leg's events to its end.
            standby: Whether this is a rollover's second leg, which needs no permit of its own.
            progress: Is told how far it has come.

        Returns:
            The leg, accepted by the service, its signature chain begun.

        Raises:
            SageMakerError: What the failure is classified as. Cancelling leaves nothing behind.
        """
        ready = await self._ready.value()
        # Before the request is made: it is signed when it can be sent, and a burst's requests do
        # not all lie about at once.
        admission = await self._admission(ready.pool, invocation, progress, standby=standby)
        progress.holds(admission.release)
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
            endpoint_name=self._config.endpoint_name,
            target_variant=self._config.target_variant,
            region=self._config.region,
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
            region=self._config.region,
            seed_signature=request.seed_signature,
        )
        return opened

    def _explained(self, failure: OpenFailure, invocation: Invocation) -> SageMakerError:
        return explain(
            failure.diagnosis,
            endpoint_name=self._config.endpoint_name,
            region=self._config.region,
            query=invocation.query,
        )


def _made_ready(config: SageMakerConfig) -> _Ready:
    """Everything that may block, in a thread: what is imported here is not waited for on a loop."""
    from .endpoints import resolve_ca_bundle, resolve_endpoint_uri, resolve_proxy
    from .operation import operation
    from .shared_files import NO_PROFILE, read_profile

    # Where code says everything the shared files are not looked at, nor botocore imported.
    if config.endpoint_uri is not None and config.ca_bundle is not None:
        profile = NO_PROFILE
    else:
        profile = read_profile(config.boto3_session)
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
        pool = Pool(config, route)
    except OSError as error:
        raise explain(judge("trust", detail=str(error))) from error
    app_id = os.environ.get("AWS_SDK_UA_APP_ID") or profile.get("sdk_ua_app_id")
    return _Ready(operation(app_id), pool, uri)


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
    """What the engine works on."""

    def take(self) -> T | None: ...

    def cancel(self) -> None: ...


async def _outcome[T](progress: Progress, begin: Callable[[Waker, int], _Pending[T]]) -> T:
    """Begins something and waits for what comes of it. Cancelling leaves nothing behind."""
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
            # Cancelled or not: what was not taken is closed.
            pending.cancel()
    finally:
        hub.unregister(token)
