"""The AWS SDK's operation over the native HTTP/2 transport: one leg an invocation.

The SDK serialises and signs the request and knows the operation's model; its transport and
endpoint resolver settings are where ours plug in. Two of its ways are left alone on purpose:

* `duplex_stream` waits on a future that nobody sets when the identity or the endpoint fails
  first, so the request pipeline itself is awaited: one coroutine, that raises and can be
  cancelled.
* Its event publisher looks the identity up for each event, and keys that change in mid-stream
  break the signature chain. A leg's chain is native, with the keys that its request was signed
  with, and no event passes through Python.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import os
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol, Self
from urllib.parse import unquote, urlsplit

from aws_sdk_sagemaker_runtime_http2.config import AsyncSageMakerRuntimeHTTP2Config
from aws_sdk_sagemaker_runtime_http2.models import (
    INVOKE_ENDPOINT_WITH_BIDIRECTIONAL_STREAM,
    InvokeEndpointWithBidirectionalStreamInput,
)
from aws_sdk_sagemaker_runtime_http2.user_agent import aws_user_agent_plugin
from smithy_aws_core.identity import AWSCredentialsIdentity, AWSIdentityProperties
from smithy_core.aio.client import ClientCall, RequestPipeline
from smithy_core.aio.interfaces.identity import IdentityResolver
from smithy_core.aio.retries import SimpleRetryStrategy
from smithy_core.interceptors import InterceptorChain
from smithy_core.types import TypedProperties
from smithy_http import Fields, tuples_to_fields
from smithy_http.aio import HTTPResponse
from smithy_http.plugins import user_agent_plugin

from deepgram_sagemaker._native import Leg, OpenFailure, Pool
from deepgram_sagemaker.errors import ProtocolError, TLSError
from deepgram_sagemaker.wakeups import Hub

from .endpoints import EndpointResolver, resolve_ca_bundle, resolve_endpoint_uri, resolve_proxy
from .failures import Failure, classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from smithy_core.interfaces import URI
    from smithy_http.aio.interfaces import HTTPRequest

    from deepgram_sagemaker._native import Turn, Waker
    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.credentials import Identity
    from deepgram_sagemaker.errors import SageMakerError
    from deepgram_sagemaker.invocation import Invocation

__all__ = ["LegClient", "Progress"]

_HTTP_PORT: Final = 80
_HTTPS_PORT: Final = 443

_SIGNATURE: Final = re.compile(r"Signature=([0-9a-f]{64})$")
"""The request's signature, which the first event's chains from."""

_MAX_HANDSHAKES: Final = 32
"""TLS handshakes under way at once. Bursts of 400 have been seen to knock endpoints over."""

_PING_AFTER: Final = 20.0
"""Seconds of silence on a connection after which its peer is pinged."""

_PING_WITHIN: Final = 10.0
"""Seconds that the peer has to answer a ping before the connection counts as dead."""


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
    """Opens legs for every session of a factory: one pool, one SDK configuration.

    Nothing is resolved, read or connected before the first leg.
    """

    def __init__(self, config: SageMakerConfig) -> None:
        self._config = config
        self._process = os.getpid()
        self._pool: Pool | None = None
        self._operation: AsyncSageMakerRuntimeHTTP2Config | None = None

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
        operation = await self._configured()
        # Before the request is made: it is signed when it can be sent, and a burst's requests do
        # not all lie about at once.
        turn = await self._turn(invocation, progress, standby=standby)
        progress.holds(turn.release)
        try:
            return await self._invoke(operation, invocation, identity, turn, progress)
        finally:
            turn.release()

    async def _turn(self, invocation: Invocation, progress: Progress, *, standby: bool) -> Turn:
        pool = self._shared_pool()
        acquired: Turn | OpenFailure = await _outcome(
            progress,
            lambda waker, token: pool.acquire(with_permit=not standby, waker=waker, token=token),
        )
        if isinstance(acquired, OpenFailure):
            raise self._explained(_described(acquired), invocation)
        return acquired

    async def _invoke(
        self,
        operation: AsyncSageMakerRuntimeHTTP2Config,
        invocation: Invocation,
        identity: Identity,
        turn: Turn,
        progress: Progress,
    ) -> Leg:
        leg_operation = copy.copy(operation)
        leg_operation.aws_credentials_identity_resolver = _FrozenIdentity(identity)
        transport = _LegTransport(turn, progress)
        assert operation.protocol is not None  # noqa: S101 - the SDK resolves a default
        assert operation.endpoint_resolver is not None  # noqa: S101 - set by us
        assert operation.auth_scheme_resolver is not None  # noqa: S101 - the SDK's default
        call = ClientCall(
            input=InvokeEndpointWithBidirectionalStreamInput(
                endpoint_name=self._config.endpoint_name,
                target_variant=self._config.target_variant,
                model_invocation_path=invocation.path,
                model_query_string=invocation.query or None,
            ),
            operation=INVOKE_ENDPOINT_WITH_BIDIRECTIONAL_STREAM,
            context=TypedProperties({"config": leg_operation}),
            interceptor=InterceptorChain(operation.interceptors),
            auth_scheme_resolver=operation.auth_scheme_resolver,
            supported_auth_schemes=operation.auth_schemes or {},
            endpoint_resolver=operation.endpoint_resolver,
            # Never asked: an operation with an event stream is not retried by the SDK, and its
            # retries would compound with the session's.
            retry_strategy=SimpleRetryStrategy(max_attempts=1),
        )
        try:
            await RequestPipeline(operation.protocol, transport)(call)
        except Exception as error:
            # The SDK loses the status of what it has no model for; the transport has kept it.
            if transport.failure is not None:
                raise self._explained(transport.failure, invocation) from error
            raise
        if transport.failure is not None:
            # To the SDK any 2xx is a success; only 200 is a stream.
            raise self._explained(transport.failure, invocation)
        if transport.leg is None:
            raise ProtocolError("the AWS SDK ended the operation without sending its request")
        transport.leg.begin_chain(
            secret_access_key=identity.secret_access_key,
            region=self._config.region,
            seed_signature=transport.seed_signature,
        )
        return transport.leg

    def _explained(self, failure: Failure, invocation: Invocation) -> SageMakerError:
        return classify(
            failure,
            endpoint_name=self._config.endpoint_name,
            region=self._config.region,
            query=invocation.query,
        )

    async def _configured(self) -> AsyncSageMakerRuntimeHTTP2Config:
        if self._operation is None:
            operation = await AsyncSageMakerRuntimeHTTP2Config.resolve(
                region=self._config.region,
                endpoint_resolver=EndpointResolver(self._config),
                transport=_NoTransport(),
                retry_mode="standard",
                max_attempts=1,
            )
            aws_user_agent_plugin(operation)
            user_agent_plugin(operation)
            self._operation = operation
        return self._operation

    def _shared_pool(self) -> Pool:
        # A forked child has its parent's memory, but none of its connections.
        if self._pool is None or self._process != os.getpid():
            self._process = os.getpid()
            self._pool = _make_pool(self._config)
        return self._pool


def _make_pool(config: SageMakerConfig) -> Pool:
    uri = resolve_endpoint_uri(config, os.environ)
    parts = urlsplit(uri)
    proxy = resolve_proxy(config, os.environ, uri)
    try:
        return Pool(
            host=parts.hostname or "",
            port=parts.port or _HTTPS_PORT,
            ca_bundle=resolve_ca_bundle(config, os.environ),
            proxy=None if proxy is None else _proxy_parts(proxy),
            connection_timeout=config.connection_timeout,
            connection_acquire_timeout=config.connection_acquire_timeout,
            subscription_timeout=config.subscription_timeout,
            max_concurrency=config.max_concurrency,
            max_streams_per_connection=config.max_streams_per_connection,
            max_handshakes=_MAX_HANDSHAKES,
            ping_after=_PING_AFTER,
            ping_within=_PING_WITHIN,
        )
    except OSError as error:
        raise TLSError(str(error)) from error


def _proxy_parts(proxy: str) -> tuple[str, int, bool, str | None]:
    """Host, port, whether it is spoken to over TLS, and the value of Proxy-Authorization."""
    parts = urlsplit(proxy)
    secure = parts.scheme == "https"
    authorization = None
    if parts.username is not None:
        userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(userinfo.encode()).decode()}"
    port = parts.port or (_HTTPS_PORT if secure else _HTTP_PORT)
    return (parts.hostname or "", port, secure, authorization)


class _FrozenIdentity(IdentityResolver[AWSCredentialsIdentity, AWSIdentityProperties]):
    """The SDK's identity resolver for one leg: the keys it was given, and no look-up."""

    def __init__(self, identity: Identity) -> None:
        self._identity = AWSCredentialsIdentity(
            access_key_id=identity.access_key_id,
            secret_access_key=identity.secret_access_key,
            session_token=identity.session_token,
        )

    async def get_identity(self, *, properties: AWSIdentityProperties) -> AWSCredentialsIdentity:
        del properties
        return self._identity


class _NoTransport:
    """Stands where the SDK would otherwise make an aiohttp client that nobody uses."""

    TIMEOUT_EXCEPTIONS: tuple[type[Exception], ...] = ()

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        message = "every leg brings its own transport"
        raise RuntimeError(message)


class _LegTransport:
    """The SDK's transport for one request, whose turn it is.

    Attributes:
        leg: The accepted stream, once there is one.
        failure: Why there is none, whole: status, headers and body of every other answer.
        seed_signature: The request's signature, in hexadecimal.
    """

    TIMEOUT_EXCEPTIONS: tuple[type[Exception], ...] = ()
    SUPPORTS_DUPLEX_STREAMING: ClassVar[Literal[True]] = True

    def __init__(self, turn: Turn, progress: Progress) -> None:
        self._turn = turn
        self._progress = progress
        self.leg: Leg | None = None
        self.failure: Failure | None = None
        self.seed_signature = ""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    async def send(self, request: HTTPRequest) -> HTTPResponse:
        signature = _SIGNATURE.search(request.fields["Authorization"].as_string())
        if signature is None:
            raise ProtocolError("the AWS SDK signed the request in a way that is not SigV4")
        self.seed_signature = signature[1]
        headers = [(field.name.lower(), field.as_string()) for field in request.fields]
        opened = await self._opened(request.destination, headers)
        match opened:
            case Leg():
                self.leg = opened
                self._progress.holds(opened.close)
                return HTTPResponse(status=200, fields=tuples_to_fields(opened.headers), body=b"")
            case OpenFailure():
                self.failure = _described(opened)
                if opened.status is None:
                    raise ConnectionError(opened.detail)
                return HTTPResponse(status=opened.status, fields=Fields(), body=opened.body)

    async def _opened(self, destination: URI, headers: list[tuple[str, str]]) -> Leg | OpenFailure:
        # As it was signed: without a port that is the scheme's own.
        authority = destination.netloc.removesuffix(f":{_HTTPS_PORT}")

        def begin(waker: Waker, token: int) -> _Pending[Leg | OpenFailure]:
            opening = self._turn.open(
                authority, destination.path or "/", headers, waker=waker, token=token
            )
            self._progress.requested()
            return opening

        return await _outcome(self._progress, begin)


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


def _described(failure: OpenFailure) -> Failure:
    return Failure(
        kind=failure.kind,
        detail=failure.detail,
        h2_code=failure.h2_code,
        status=failure.status,
        headers=dict(failure.headers),
        body=failure.body,
    )
