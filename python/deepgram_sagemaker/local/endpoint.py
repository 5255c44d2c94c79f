"""A local endpoint: what answers in place of Amazon SageMaker on a laptop or in CI."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import logging
import math
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from deepgram_sagemaker.wakeups import Hub

from .counting import PATHS as COUNTED_PATHS
from .counting import counting
from .faults import Action, Fault, Reset, is_whole
from .native import LocalServer, LocalStream
from .query import grouped
from .stream import DEEPGRAM_PATHS
from .watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from os import PathLike
    from types import TracebackType

    import boto3

    from deepgram_sagemaker.config import SageMakerConfig

    from .stream import Model

__all__ = ["Credentials", "EndpointStats", "LegRecord", "LocalEndpoint"]

_logger = logging.getLogger(__name__)

# WebSocket close codes of a container that goes away, and of one that breaks.
_GOING_AWAY = "1001"
_INTERNAL_ERROR = "1011"

_RESET = Reset()
_MOST_PORT = 2**16 - 1
_MOST_STREAMS = 2**31 - 1
# Seconds that the service takes to say that a container refuses a stream.
_REFUSES_AFTER = 0.25


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """An identity whose signatures the endpoint accepts.

    Attributes:
        access_key_id: the access key's id.
        secret_access_key: its secret.
        session_token: the token that has to come with it; None: none may.
        expires_at: when it stops being accepted, in seconds since 1970; None: never.
    """

    access_key_id: str = "AKIDLOCALENDPOINT"
    secret_access_key: str = dataclasses.field(default="local-endpoint", repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)
    expires_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class EndpointStats:
    """What the endpoint has counted since it started.

    Attributes:
        connections: TCP connections accepted.
        live_connections: of these, now open.
        tls_failures: TLS handshakes that failed.
        opens: requests received.
        accepted: of these, answered with 200.
        refused: of these, answered with an error.
        live_streams: accepted streams under way.
        most_live_streams: the most of them at once.
        request_signature_failures: requests whose signature, key or token was not accepted.
        signature_failures: events whose signature was not the next one of their chain.
        crc_failures: events with a wrong CRC.
        malformed_events: events that could not be read for another reason.
        bad_ends: inputs that ended without the signed empty event.
        torn_chunks: watermarked chunks that came with a piece missing.
        messages_in: messages from clients.
        bytes_in: their bytes.
        messages_out: messages to clients.
        bytes_out: their bytes.
        faults: faults that struck.
    """

    connections: int
    live_connections: int
    tls_failures: int
    opens: int
    accepted: int
    refused: int
    live_streams: int
    most_live_streams: int
    request_signature_failures: int
    signature_failures: int
    crc_failures: int
    malformed_events: int
    bad_ends: int
    torn_chunks: int
    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    faults: int


@dataclass(frozen=True, kw_only=True)
class LegRecord:
    """What the endpoint knows about one stream. Times are on the clock of `time.monotonic()`.

    Attributes:
        number: from 1, in the order of the signed requests: nothing is kept of the others.
        connection: the number of its connection, from 1.
        opened: when the request arrived.
        closed: when the response ended; None: it has not.
        status: the status of the answer; 0: none so far.
        path: the invocation's path.
        query: the invocation's query, as it came.
        access_key_id: who signed.
        headers: headers that say something about the client, and nothing secret.
        messages_in: messages from the client.
        bytes_in: their bytes.
        messages_out: messages to the client.
        bytes_out: their bytes.
        audio_seconds: audio heard, on its own clock.
        controls: types of the text messages heard, in their order.
        chunks: watermarked chunks heard to their end, in the first channel.
        arrivals: each chunk heard with its time of arrival, where `record_arrivals` is set.
        input_end: how the client's input ended: `signed` is as it should be; `unsigned`, `reset`,
            `gone` (with the connection) and `unread` (the server stopped reading) are not; `open`.
        end: how the response ended: `model`, `model_failed`, `fault`, `age`, `refused`,
            `bad_input`, `client_reset`, `gone`, `shutdown`; `open`.
        faults: names of the faults that struck.
        refusal: what the container said as it refused path or query; the client is not told.
            Empty: it did not refuse.
    """

    number: int
    connection: int
    opened: float
    closed: float | None
    status: int
    path: str
    query: str
    access_key_id: str
    headers: Mapping[str, str]
    messages_in: int
    bytes_in: int
    messages_out: int
    bytes_out: int
    audio_seconds: float
    controls: Sequence[str]
    chunks: int
    arrivals: Sequence[tuple[int, float]]
    input_end: str
    end: str
    faults: Sequence[str]
    refusal: str


class LocalEndpoint:
    """A SageMaker endpoint on this machine, for as long as its context lasts.

    ```python
    async with LocalEndpoint(model="speech") as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
    ```

    It serves from a thread of its own, HTTP/2 over TLS with an authority of its own, checks
    signatures as the service does, and enforces the service's patterns and limits. Models in
    Python run on the event loop that the context was entered on; entered without `async`, on a
    loop in a thread of their own.

    Args:
        endpoint_name: the endpoint that exists, or several.
        model: what answers: `"watermark"` or a `Watermark` with settings (the other products count
            beside it, with settings of their own), `"speech"` (needs the `local` extra), or any
            coroutine function that takes a `ModelStream`.
        faults: what goes wrong, and when.
        port: 0: any that is free.
        host: the address to listen on. On any but loopback others reach the endpoint, and
            `credentials` have to be given that are not the default ones.
        region: the region that requests have to be signed for.
        credentials: who may call; the first identity is that of `config()`. None: `Credentials()`.
        ca_bundle: where to write the authority's certificate (PEM). None: a temporary file.
        names: further host names for the server's certificate.
        variants: production variants that exist; the first one serves requests that name none.
        max_stream_age: seconds after which a stream is ended, as the service does; None: never.
        at_max_age: how it is ended then.
        unknown_endpoint_status: the status for unknown endpoints: the service was seen with both
            400 and 404.
        max_concurrent_streams: streams at once on one connection.
        record_arrivals: whether `legs` tells when each watermarked chunk arrived.
        strict_flux: whether `v2/listen` takes no message but `CloseStream`, as Flux containers in
            the field: it answers any other with an `Error` and ends the stream. For
            `"watermark"` and `"speech"`.
        lenient: whether paths and queries are taken that Deepgram's containers refuse. Otherwise
            they are answered as the service answers them, 424 without the reason; `legs` and the
            log have the container's words. None: only a function of your own is lenient.

    Raises:
        ValueError: a value is not what it has to be; the message names both.
    """

    def __init__(
        self,
        endpoint_name: str | Sequence[str] = "local",
        model: Literal["watermark", "speech"] | Watermark | Model = "watermark",
        *,
        faults: Iterable[Fault] = (),
        port: int = 0,
        host: str = "127.0.0.1",
        region: str = "us-east-1",
        credentials: Credentials | Sequence[Credentials] | None = None,
        ca_bundle: str | PathLike[str] | None = None,
        names: Iterable[str] = (),
        variants: Sequence[str] = ("AllTraffic",),
        max_stream_age: float | None = 1800.0,
        at_max_age: Action = _RESET,
        unknown_endpoint_status: Literal[400, 404] = 400,
        max_concurrent_streams: int = 1000,
        record_arrivals: bool = False,
        strict_flux: bool = False,
        lenient: bool | None = None,
    ) -> None:
        _check("port", port, is_whole(port, 0, _MOST_PORT), f"from 0 to {_MOST_PORT}")
        _check(
            "max_stream_age",
            max_stream_age,
            max_stream_age is None or 0 < max_stream_age < math.inf,
            "a number of seconds above 0, or None",
        )
        _check(
            "max_concurrent_streams",
            max_concurrent_streams,
            is_whole(max_concurrent_streams, 1, _MOST_STREAMS),
            f"from 1 to {_MOST_STREAMS}",
        )
        self.region = region
        self._names = [endpoint_name] if isinstance(endpoint_name, str) else list(endpoint_name)
        if credentials is None:
            credentials = Credentials()
        self._credentials = [credentials] if isinstance(credentials, Credentials) else credentials
        self._host = host
        self._check(self._credentials)
        self._model = _model(model, strict_flux=strict_flux)
        self._strict_flux = strict_flux
        self._wanted_bundle = None if ca_bundle is None else Path(ca_bundle)
        faults = list(faults)
        watermark = self._model if isinstance(self._model, Watermark) else None
        self._settings = {
            "host": host,
            "port": port,
            "certificate_names": _certificate_names(host, region, names),
            "region": region,
            "endpoint_names": self._names,
            "variants": list(variants),
            "credentials": [dataclasses.asdict(identity) for identity in self._credentials],
            "model": {"kind": "external"}
            if watermark is None
            else {
                "kind": "watermark",
                "settings": dataclasses.asdict(watermark),
                "elsewhere": COUNTED_PATHS,
            },
            "max_stream_age": max_stream_age,
            "at_max_age": at_max_age.plain(),
            "unknown_endpoint_status": unknown_endpoint_status,
            "max_concurrent_streams": max_concurrent_streams,
            "faults": [fault.plain() for fault in faults if not fault.is_on_connection],
            "connection_faults": [fault.plain() for fault in faults if fault.is_on_connection],
            "record_arrivals": record_arrivals,
            "container": _container(self._model, lenient),
        }
        self._running: _Running | None = None
        self._thread: _LoopThread | None = None

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    def __enter__(self) -> Self:
        self._thread = _LoopThread(self)
        self._thread.start_and_wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop_and_join()

    async def _start(self) -> None:
        if self._running is not None:
            raise RuntimeError("the local endpoint is already running")
        model = self._model
        if isinstance(model, Watermark):
            model = counting(strict_flux=self._strict_flux)
        # Loading a model takes seconds: better now than in the first stream.
        prepare = getattr(model, "prepare", None)
        if prepare is not None:
            await prepare()
        self._running = _Running(self._settings, model, self._wanted_bundle)

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    def _server(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the local endpoint is not running: enter its context first")
        return self._running

    @property
    def endpoint_name(self) -> str:
        """The endpoint's name; the first one if there are several."""
        return self._names[0]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server().native.port

    @property
    def uri(self) -> str:
        """Where it listens: `https://host:port`."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"https://[{host}]:{self.port}" if ":" in host else f"https://{host}:{self.port}"

    @property
    def ca_bundle(self) -> str:
        """The path of the authority's certificate, PEM."""
        return str(self._server().ca_bundle)

    @property
    def credentials(self) -> Credentials:
        """An identity that it accepts."""
        return self._credentials[0]

    def accept(self, *credentials: Credentials) -> None:
        """Accepts these identities from now on, and no others. Streams under way go on.

        Raises:
            ValueError: They are everybody's, and the endpoint listens where others reach it.
        """
        self._check(credentials)
        identities = [dataclasses.asdict(identity) for identity in credentials]
        self._server().native.set_credentials(json.dumps(identities))
        self._credentials = credentials

    def _check(self, credentials: Iterable[Credentials]) -> None:
        """Refuses keys that are in this package, where others can use them."""
        if not is_loopback(self._host) and any(
            identity.secret_access_key == Credentials().secret_access_key
            for identity in credentials
        ):
            raise ValueError(
                f"an endpoint on {self._host}, which others can reach, needs credentials of its "
                "own: pass credentials=Credentials(access_key_id=..., secret_access_key=...); "
                "the default ones are for loopback (127.0.0.1, ::1)"
            )

    def boto3_session(self) -> boto3.Session:
        """A boto3 session with `credentials` and nothing else."""
        import boto3

        identity = self.credentials
        return boto3.Session(
            aws_access_key_id=identity.access_key_id,
            aws_secret_access_key=identity.secret_access_key,
            aws_session_token=identity.session_token,
            region_name=self.region,
        )

    def config(self, **overrides: Any) -> SageMakerConfig:  # noqa: ANN401 - any field's value
        """Settings of a transport that reaches this endpoint; `overrides` are further fields."""
        from deepgram_sagemaker.config import SageMakerConfig

        fields: dict[str, Any] = {
            "endpoint_name": self.endpoint_name,
            "region": self.region,
            "endpoint_uri": self.uri,
            "ca_bundle": self.ca_bundle,
            # Whatever the environment says: no proxy knows this machine's ports.
            "proxy": "",
        }
        if "boto3_session" not in overrides:
            fields["boto3_session"] = self.boto3_session()
        return SageMakerConfig(**fields | overrides)

    @property
    def stats(self) -> EndpointStats:
        """The counters now."""
        return EndpointStats(**self._server().native.counters())

    @property
    def legs(self) -> list[LegRecord]:
        """The records of all streams so far, in the order of their requests.

        A request whose signature, key or token was not accepted is counted in `stats`, and has no
        record.
        """
        return self._server().legs()

    def refuse_connections(self, seconds: float) -> None:
        """Resets every connection now, and refuses new ones for so long."""
        self._server().native.outage(seconds)


def _model(
    model: Literal["watermark", "speech"] | Watermark | Model, *, strict_flux: bool
) -> Watermark | Model:
    if model == "watermark":
        return Watermark()
    if model == "speech":
        from .speech import SpeechModel

        return SpeechModel(strict_flux=strict_flux)
    if strict_flux and not isinstance(model, Watermark):
        raise ValueError("strict_flux is for the models 'watermark' and 'speech'")
    if isinstance(model, Watermark) or callable(model):
        return model
    raise ValueError(f"model is 'watermark', 'speech' or a coroutine function, not {model!r}")


def _check(name: str, value: object, fits: bool, rule: str) -> None:
    if not fits:
        raise ValueError(f"{name}={value!r}: must be {rule}")


def _container(model: Watermark | Model, lenient: bool | None) -> dict[str, Any] | None:
    """The container that looks at paths and queries, None for one that takes them all."""
    paths: Sequence[str] | None = getattr(model, "paths", None)
    if lenient is None:
        lenient = paths is None
    if lenient:
        return None
    served = DEEPGRAM_PATHS if paths is None else paths
    return {"paths": list(served), "refuses_after": _REFUSES_AFTER}


def _certificate_names(host: str, region: str, names: Iterable[str]) -> list[str]:
    suffix = f"{region}.amazonaws.com"
    known = ["localhost", "127.0.0.1", "::1", host]
    service = [f"runtime.sagemaker.{suffix}", f"runtime-fips.sagemaker.{suffix}"]
    return list(dict.fromkeys([*known, *service, f"runtime.sagemaker.{region}.api.aws", *names]))


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address; what is none is refused elsewhere."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


class _Running:
    """A native server, and the tasks of its models."""

    def __init__(self, settings: Mapping[str, Any], model: Model, ca_bundle: Path | None) -> None:
        self._model = model
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hub = Hub.running()
        self._token = self._hub.register(self._news)
        self._cleanup = contextlib.ExitStack()
        self._cleanup.callback(self._hub.unregister, self._token)
        try:
            self.native = LocalServer(json.dumps(settings), self._hub.waker, self._token)
            self._cleanup.callback(self.native.stop)
            # Once, and the two clocks one after the other: whatever else takes time between them
            # would make everything look late.
            self._began = time.monotonic() - self.native.elapsed()
            if ca_bundle is None:
                directory = tempfile.TemporaryDirectory(prefix="deepgram-sagemaker-")
                ca_bundle = Path(self._cleanup.enter_context(directory), "ca.pem")
            ca_bundle.write_text(self.native.ca_pem)
        except BaseException:
            self._cleanup.close()
            raise
        self.ca_bundle = ca_bundle

    async def stop(self) -> None:
        """Cancels the models, stops the server and removes what it wrote."""
        try:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._cleanup.close()

    def legs(self) -> list[LegRecord]:
        """Every leg's record, times moved to the clock of `time.monotonic()`."""
        return [_record(leg, self._began) for leg in self.native.legs()]

    def _news(self) -> None:
        accepted, changed, refused = self.native.news()
        for leg, words in refused:
            _logger.warning("the container refused leg %d: %s", leg, words)
        for native in accepted:
            stream = self._streams[native.leg] = _Stream(native)
            task = asyncio.create_task(self._serve(stream), name=f"model of leg {native.leg}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        for leg in changed:
            stream_or_none = self._streams.get(leg)
            if stream_or_none is not None:
                stream_or_none.changed.set()

    async def _serve(self, stream: _Stream) -> None:
        native = stream.native
        try:
            await self._model(stream)
            native.close()
        except asyncio.CancelledError:
            native.fail(_GOING_AWAY, "the local endpoint is stopping")
            raise
        except Exception as error:
            if isinstance(error, ConnectionError) and native.is_gone:
                return
            _logger.exception("the model of leg %d failed", native.leg)
            native.fail(_INTERNAL_ERROR, f"the model failed: {type(error).__name__}")
        finally:
            self._streams.pop(native.leg, None)


def _record(facts: dict[str, Any], began: float) -> LegRecord:
    closed = facts["closed"]
    return LegRecord(
        **facts
        | {
            "opened": began + facts["opened"],
            "closed": None if closed is None else began + closed,
            "headers": dict(facts["headers"]),
            "controls": tuple(facts["controls"]),
            "arrivals": tuple((number, began + at) for number, at in facts["arrivals"]),
            "faults": tuple(facts["faults"]),
        }
    )


class _Stream:
    """A `ModelStream` over a native one."""

    def __init__(self, native: LocalStream) -> None:
        self.native = native
        self.changed = asyncio.Event()
        self._query = grouped(native.query)

    @property
    def path(self) -> str:
        return self.native.path

    @property
    def query(self) -> Mapping[str, Sequence[str]]:
        return self._query

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while True:
            self.changed.clear()
            try:
                message = self.native.receive()
            except EOFError:
                return
            if message is None:
                await self.changed.wait()
            else:
                yield message

    async def send(self, message: str | bytes) -> None:
        send = self.native.send_text if isinstance(message, str) else self.native.send_bytes
        while True:
            self.changed.clear()
            if send(message):  # type: ignore[arg-type]  # the type has chosen the function
                return
            await self.changed.wait()

    async def fail(self, code: str, message: str) -> None:
        self.native.fail(code, message)


class _LoopThread(threading.Thread):
    """An event loop in a thread, for an endpoint whose user has none."""

    def __init__(self, endpoint: LocalEndpoint) -> None:
        super().__init__(name="sagemaker-local-models", daemon=True)
        self._endpoint = endpoint
        self._settled = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()

    def start_and_wait(self) -> None:
        self.start()
        self._settled.wait()
        if self._failure is not None:
            self.join()
            raise self._failure

    def stop_and_join(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        self.join()

    def run(self) -> None:
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
