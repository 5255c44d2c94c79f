"""The endpoint as its users see it: settings, context, and what it has counted."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from .access import Credentials, refuse_exposure
from .counting import PATHS as COUNTED_PATHS
from .counting import counting
from .faults import Action, Answer, Fault, Reset
from .faults.values import is_whole
from .records import EndpointStats
from .running import Running
from .sdk import let_go
from .stream import DEEPGRAM_PATHS
from .threads import LoopThread
from .watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike
    from types import TracebackType

    import boto3

    from deepgram_sagemaker.config import Endpoint, SageMakerConfig

    from .records import LegRecord
    from .stream import Model

__all__ = ["LocalEndpoint"]

_RESET = Reset()
_MOST_PORT = 2**16 - 1
_MOST_STREAMS = 2**31 - 1
# Seconds until the service says that a container refuses a stream.
_REFUSES_AFTER = 0.25


class LocalEndpoint:
    """A SageMaker endpoint on this machine, for as long as its context lasts.

    ```python
    async with LocalEndpoint(model="speech") as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
    ```

    It serves HTTP/2 over TLS from a thread of its own, with a certificate authority of its own. It
    checks signatures as the service does, and enforces the service's patterns and limits. Models in
    Python run on the event loop on which the context was entered; if it was entered without
    `async`, they run on a loop in a thread of their own.

    The Deepgram SDK accepts one transport factory a process. When an endpoint has stopped, the SDK
    accepts another in place of a factory that led to it.

    Args:
        endpoint_name: the name of the endpoint that exists, or several names.
        model: what answers: `"watermark"`, or a `Watermark` with settings (the other products count
            too, with settings of their own); `"speech"` (needs the `local` extra); or any coroutine
            function that takes a `ModelStream`.
        faults: what goes wrong, and when.
        port: the port to listen on; 0: any free one.
        host: the address to listen on. Others can reach any but a loopback address: it needs
            `credentials` other than the default ones.
        region: the region that requests must be signed for, or several; `config()` uses the first.
        credentials: the identities that may call; `config()` uses the first. None: `Credentials()`.
        ca_bundle: where to write the authority's certificate (PEM). None: a temporary file.
        names: further host names for the server's certificate.
        variants: production variants that exist; the first serves requests without a variant.
        max_stream_age: age in seconds at which a stream is ended, as the service does; None: never.
        at_max_age: how a stream is ended at that age.
        unknown_endpoint_status: the status for unknown endpoints: the service was seen with both
            400 and 404.
        max_concurrent_streams: the most streams at once on one connection.
        max_streams: the most streams at once at the endpoint; None: no limit.
        at_max_streams: the answer to one more; None: 424 after about 0.25 s, as of the service when
            a container has no room.
        record_arrivals: whether `legs` has the arrival of each watermarked chunk.
        strict_flux: whether `v2/listen` takes no message but `CloseStream`, as Flux containers on
            SageMaker: it answers any other with an `Error` and ends the stream. For
            `"watermark"` and `"speech"`.
        lenient: whether to take paths and queries that Deepgram's containers refuse. Otherwise
            the answer is the service's, 424 without the reason; `legs` and the log have the
            container's words. None: only a function of your own is lenient.

    Raises:
        ValueError: a value breaks its rule; the message names both.
    """

    def __init__(
        self,
        endpoint_name: str | Sequence[str] = "local",
        model: Literal["watermark", "speech"] | Watermark | Model = "watermark",
        *,
        faults: Iterable[Fault] = (),
        port: int = 0,
        host: str = "127.0.0.1",
        region: str | Sequence[str] = "us-east-1",
        credentials: Credentials | Sequence[Credentials] | None = None,
        ca_bundle: str | PathLike[str] | None = None,
        names: Iterable[str] = (),
        variants: Sequence[str] = ("AllTraffic",),
        max_stream_age: float | None = 1800.0,
        at_max_age: Action = _RESET,
        unknown_endpoint_status: Literal[400, 404] = 400,
        max_concurrent_streams: int = 1000,
        max_streams: int | None = None,
        at_max_streams: Answer | None = None,
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
        _check(
            "max_streams",
            max_streams,
            max_streams is None or is_whole(max_streams, 1, _MOST_STREAMS),
            f"from 1 to {_MOST_STREAMS}, or None",
        )
        self._regions = [region] if isinstance(region, str) else list(region)
        self._names = [endpoint_name] if isinstance(endpoint_name, str) else list(endpoint_name)
        _check("endpoint_name", endpoint_name, bool(self._names), "a name, or several")
        _check("region", region, bool(self._regions), "a region, or several")
        if credentials is None:
            credentials = Credentials()
        self._credentials = [credentials] if isinstance(credentials, Credentials) else credentials
        self._host = host
        refuse_exposure(host, self._credentials)
        self._model = _model(model, strict_flux=strict_flux)
        self._strict_flux = strict_flux
        self._wanted_bundle = None if ca_bundle is None else Path(ca_bundle)
        faults = list(faults)
        watermark = self._model if isinstance(self._model, Watermark) else None
        self._settings = {
            "host": host,
            "port": port,
            "certificate_names": _certificate_names(host, self._regions, names),
            "regions": self._regions,
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
            "max_streams": max_streams,
            "at_max_streams": None if at_max_streams is None else at_max_streams.plain(),
            "faults": [fault.plain() for fault in faults if not fault.is_on_connection],
            "connection_faults": [fault.plain() for fault in faults if fault.is_on_connection],
            "record_arrivals": record_arrivals,
            "container": _container(self._model, lenient),
        }
        self._running: Running | None = None
        self._thread: LoopThread | None = None

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
        self._thread = LoopThread(self)
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
        # Loading a model takes seconds: do it now, not in the first stream.
        prepare = getattr(model, "prepare", None)
        if prepare is not None:
            await prepare()
        self._running = Running(self._settings, model, self._wanted_bundle)

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            port = running.native.port
            await running.stop()
            let_go(port)

    def _server(self) -> Running:
        if self._running is None:
            raise RuntimeError("the local endpoint is not running: enter its context first")
        return self._running

    @property
    def endpoint_name(self) -> str:
        """The endpoint's name; the first if there are several."""
        return self._names[0]

    @property
    def region(self) -> str:
        """The region; the first if there are several."""
        return self._regions[0]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server().native.port

    @property
    def uri(self) -> str:
        """The URI that it listens on: `https://host:port`."""
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
        """Accept these identities from now on, and no others. Open streams go on.

        Raises:
            ValueError: one has the default secret, and others can reach the endpoint.
        """
        refuse_exposure(self._host, credentials)
        identities = [dataclasses.asdict(identity) for identity in credentials]
        self._server().native.set_credentials(json.dumps(identities))
        self._credentials = credentials

    def boto3_session(self) -> boto3.Session:
        """Make a boto3 session with `credentials` and nothing else."""
        import boto3

        identity = self.credentials
        return boto3.Session(
            aws_access_key_id=identity.access_key_id,
            aws_secret_access_key=identity.secret_access_key,
            aws_session_token=identity.session_token,
            region_name=self.region,
        )

    def config(self, **overrides: Any) -> SageMakerConfig:  # noqa: ANN401 - any field's value
        """Make the settings of a transport for this endpoint; `overrides` are further fields."""
        from deepgram_sagemaker.config import SageMakerConfig

        fields: dict[str, Any] = {
            "endpoint_name": self.endpoint_name,
            "region": self.region,
            "endpoint_uri": self.uri,
            "ca_bundle": self.ca_bundle,
            # Overrides the environment: no proxy reaches this machine's ports.
            "proxy": "",
        }
        if "boto3_session" not in overrides:
            fields["boto3_session"] = self.boto3_session()
        return SageMakerConfig(**fields | overrides)

    def as_fallback(self, **overrides: Any) -> Endpoint:  # noqa: ANN401 - any field's value
        """Make a fallback that leads here, for the config of another endpoint.

        ```python
        config = first.config(fallbacks=[second.as_fallback()])
        ```
        """
        from deepgram_sagemaker.config import Endpoint

        names = {each.name for each in dataclasses.fields(Endpoint)}
        config = self.config()
        fields = {name: getattr(config, name) for name in names}
        return Endpoint(**fields | overrides)

    @property
    def stats(self) -> EndpointStats:
        """The counters now."""
        return EndpointStats(**self._server().native.counters())

    @property
    def legs(self) -> list[LegRecord]:
        """The records of all streams so far, in the order of their requests.

        A request whose signature, key or token was refused has no record; `stats` counts it.
        """
        return self._server().legs()

    def refuse_connections(self, seconds: float) -> None:
        """Reset every connection now, and refuse new ones for `seconds`."""
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
    """Return the container that checks paths and queries; None: every one is taken."""
    paths: Sequence[str] | None = getattr(model, "paths", None)
    if lenient is None:
        lenient = paths is None
    if lenient:
        return None
    served = DEEPGRAM_PATHS if paths is None else paths
    return {"paths": list(served), "refuses_after": _REFUSES_AFTER}


def _certificate_names(host: str, regions: Sequence[str], names: Iterable[str]) -> list[str]:
    known = ["localhost", "127.0.0.1", "::1", host]
    for region in regions:
        known += [
            f"runtime.sagemaker.{region}.amazonaws.com",
            f"runtime-fips.sagemaker.{region}.amazonaws.com",
            f"runtime.sagemaker.{region}.api.aws",
        ]
    return list(dict.fromkeys([*known, *names]))
