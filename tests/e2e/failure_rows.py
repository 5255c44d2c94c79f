"""Failures, each through the real SDK: the rows of docs/failures.md."""

import asyncio
import contextlib
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials
from botocore.exceptions import ConnectTimeoutError, CredentialRetrievalError
from deepgram import AsyncDeepgramClient
from deepgram.transport import restore_transport
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import RetriesExhaustedError, SageMakerError, SessionLostError
from deepgram_sagemaker.local import Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterMessages,
    AfterReplies,
    Answer,
    Drop,
    EndEarly,
    GoAway,
    GoSilent,
    InBandException,
    InternalStreamFailure,
    Malformed,
    ModelStreamError,
    NeverAnswer,
    NeverHttp2,
    NeverTls,
    OnMessage,
    Reset,
    ResetTcp,
)
from deepgram_sagemaker.local.watermark import chunk
from servers import serving
from sessions import CHUNK, LISTEN, Heard, until

CHUNKS = 35

QUICK = {"initial_backoff": 0.01, "max_backoff": 0.02, "close_timeout": 5}
"""Quick retries, as many as by default."""

ALWAYS = (1, None)
"""Every connection."""

Setup = Callable[["Scene"], Awaitable[SageMakerConfig]]


@dataclass
class Scene:
    """The surroundings of a row's session, which end after it."""

    stack: contextlib.AsyncExitStack
    endpoint: LocalEndpoint | None = None
    factory: SageMakerTransportFactory | None = None

    async def serve(self, *args, **kwargs):
        self.endpoint = await self.stack.enter_async_context(LocalEndpoint(*args, **kwargs))
        return self.endpoint


@dataclass(frozen=True)
class Row:
    """One failure.

    Attributes:
        section: The table that it stands in.
        what: What goes wrong, in the document's words.
        setup: Puts it up, and gives the settings to meet it with.
        query: Further query parameters; None takes one away.
        first: What the audio begins with.
        by_clock: How many attempts it takes is the machine's matter: how many fit, or what comes
            first.
    """

    section: str
    what: str
    setup: Setup
    query: dict[str, Any] = field(default_factory=dict)
    first: bytes = b""
    by_clock: bool = False


@dataclass(frozen=True)
class Outcome:
    """The outcome.

    Attributes:
        error: What the application was given; None: nothing.
        attempts: As the error says; without one, as the transport's statistics do.
        requests: How many the endpoint saw.
        took: Seconds.
        most: How many attempts the settings allow.
        chunks: How many chunks' results came.
        raised: Whether nothing connected: the error was raised where the session was asked for.
        warnings: What was logged, as a warning or worse.
    """

    error: SageMakerError | None
    attempts: int
    requests: int
    took: float
    most: int = 1
    chunks: int = 0
    raised: bool = False
    warnings: tuple[str, ...] = ()


async def run(row):
    """Makes it fail; returns what an application saw of it."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        # The SDK takes one factory at a time.
        stack.callback(restore_transport)
        warnings = stack.enter_context(_logged())
        scene = Scene(stack)
        began = loop.time()
        try:
            config = await row.setup(scene)
            began = loop.time()
            factory = scene.factory or SageMakerTransportFactory(config=config)
            client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
            connecting = client.listen.v1.connect(**_query(row))
            connection = await stack.enter_async_context(connecting)
        except SageMakerError as error:
            took = loop.time() - began
            requests = scene.endpoint.stats.opens if scene.endpoint else 0
            return Outcome(error, error.attempts, requests, took, raised=True)
        began = loop.time()
        heard = Heard()
        heard.attach(connection)
        times = []

        async def listen():
            await connection.start_listening()
            times.append(loop.time() - began)

        listening = asyncio.create_task(listen())
        with contextlib.suppress(SageMakerError):
            for number in range(CHUNKS):
                data = chunk(number, CHUNK)
                await connection.send_media(row.first + data if number == 0 else data)
            await connection.send_close_stream()
        await listening
        assert heard.closed == 1, "an application hears once that it is over"
        assert len(heard.errors) <= 1, "and at most once why"
        error = heard.errors[0] if heard.errors else None
        assert heard.numbers == list(range(len(heard.numbers))), "nothing is lost or repeated"
        requests = scene.endpoint.stats.opens if scene.endpoint else 0
        attempts = error.attempts if error else factory.stats.attempts
        return Outcome(
            error,
            attempts,
            requests,
            times[0],
            most=1 + config.max_retries,
            chunks=len(heard.numbers),
            warnings=tuple(warnings),
        )


@contextlib.contextmanager
def _logged():
    """What the transport logs meanwhile, as a warning or worse."""
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            # The local endpoint's own log is not the application's.
            if not record.name.startswith("deepgram_sagemaker.local"):
                lines.append(record.getMessage())

    logger = logging.getLogger("deepgram_sagemaker")
    keep = Keep(logging.WARNING)
    logger.addHandler(keep)
    try:
        yield lines
    finally:
        logger.removeHandler(keep)


def _query(row):
    query = LISTEN | row.query
    return {name: value for name, value in query.items() if value is not None}


# Scenes.


def reach(endpoint, **fields):
    """Settings for it, without a boto3 session, which takes longer to make than most rows."""
    identity = endpoint.credentials
    session = keys(identity.access_key_id, identity.secret_access_key, identity.session_token)
    return endpoint.config(**{"boto3_session": session} | fields)


def meeting(*faults, model="watermark", **config):
    """An endpoint with these faults."""

    async def setup(scene):
        endpoint = await scene.serve(model=model, faults=faults)
        return reach(endpoint, **QUICK | config)

    return setup


def answered(status, error_type="", message="as told", *, body=None, **config):
    """An endpoint that answers every request in this way."""
    return meeting(Fault(Answer(status, error_type, message, body), times=None), **config)


def each_time(action, **config):
    """An endpoint that fails in this way on every stream, before the first result."""
    return meeting(Fault(action, when=AfterMessages(5), times=None), **config)


def unopened(action, **config):
    """An endpoint that fails in this way on every request, in place of an answer."""
    return meeting(Fault(action, times=None), **config)


def once(action, when=None, **config):
    """An endpoint that fails in this way once, after the first result."""
    return meeting(Fault(action, when=when or AfterReplies(1)), **config)


def on_connect(action, legs=ALWAYS, **config):
    return meeting(Fault(action, legs=legs), **config)


def configured(**fields):
    """Settings that are refused."""

    async def setup(_scene):
        return SageMakerConfig(**{"endpoint_name": "local"} | fields)

    return setup


def with_keys(session_of, *faults, **config):
    """An endpoint, called with credentials that it does not know."""

    async def setup(scene):
        endpoint = await scene.serve(faults=faults)
        return reach(endpoint, **QUICK | config, boto3_session=session_of(endpoint))

    return setup


class Keys:
    """A `boto3_session` that returns the given credentials, or raises the given error."""

    def __init__(self, answer):
        self._answer = answer

    def get_credentials(self):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def keys(access_key_id, secret_access_key, token=None):
    return Keys(Credentials(access_key_id, secret_access_key, token))


def unreachable_metadata():
    return Keys(ConnectTimeoutError(endpoint_url="http://169.254.169.254/"))


def another_process_failed():
    return Keys(CredentialRetrievalError(provider="custom-process", error_msg="secret output"))


def look_up_that_hangs():
    class Hanging(Keys):
        def get_credentials(self):
            time.sleep(2)

    return Hanging(None)


async def _listening(scene, answer, *, tls=None):
    """Starts a server that is not SageMaker; returns its port."""
    return await scene.stack.enter_async_context(serving(answer, tls=tls))


async def plain_http(scene):
    async def answer(reader, writer):
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    endpoint = await scene.serve()
    port = await _listening(scene, answer)
    return reach(endpoint, **QUICK, endpoint_uri=f"https://127.0.0.1:{port}")


def proxied(reply, *, user="", scheme="http"):
    """A proxy that answers everything in this way."""

    async def setup(scene):
        async def answer(reader, writer):
            await reader.read(1024)
            writer.write(reply)
            await writer.drain()

        endpoint = await scene.serve()
        port = await _listening(scene, answer)
        return reach(endpoint, **QUICK, proxy=f"{scheme}://{user}127.0.0.1:{port}")

    return setup


def certificate(name):
    """The path of a file with a certificate of a test's making and its key."""
    return str(Path(__file__).parent / "certificates" / f"{name}.pem")


def certified(name):
    """A server with that certificate, which the client trusts."""

    async def setup(scene):
        async def answer(reader, _writer):
            await reader.read(1024)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(name))
        context.set_alpn_protocols(["h2"])
        endpoint = await scene.serve()
        port = await _listening(scene, answer, tls=context)
        uri = f"https://127.0.0.1:{port}"
        return reach(endpoint, **QUICK, endpoint_uri=uri, ca_bundle=certificate(name))

    return setup


async def nobody_listens(scene):
    endpoint = await scene.serve()
    return reach(endpoint, **QUICK, endpoint_uri="https://127.0.0.1:1")


async def another_authority(scene):
    other = await scene.stack.enter_async_context(LocalEndpoint())
    endpoint = await scene.serve()
    return reach(endpoint, **QUICK, ca_bundle=other.ca_bundle)


async def the_systems_authorities(scene):
    endpoint = await scene.serve()
    return reach(endpoint, **QUICK, ca_bundle=None)


async def no_ca_bundle(scene):
    endpoint = await scene.serve()
    return reach(endpoint, **QUICK, ca_bundle="/nowhere/ca.pem")


async def unknown_endpoint(scene):
    endpoint = await scene.serve("there")
    return reach(endpoint, **QUICK, endpoint_name="not-there")


async def unknown_variant(scene):
    endpoint = await scene.serve()
    return reach(endpoint, **QUICK, target_variant="canary")


async def another_region(scene):
    endpoint = await scene.serve(region="us-east-1")
    return reach(endpoint, **QUICK, region="eu-west-1")


async def outage(scene):
    endpoint = await scene.serve()
    endpoint.refuse_connections(0.3)
    # Five random delays may be over before the outage is.
    retries = {"initial_backoff": 0.2, "max_backoff": 0.2, "max_retries": 20}
    return reach(endpoint, **QUICK | retries)


async def all_permits_taken(scene):
    endpoint = await scene.serve()
    config = reach(
        endpoint, **QUICK, max_concurrency=1, connection_acquire_timeout=0.1, max_retries=1
    )
    scene.factory = SageMakerTransportFactory(config=config)
    client = AsyncDeepgramClient(api_key="unused", transport_factory=scene.factory)
    other = await scene.stack.enter_async_context(client.listen.v1.connect(**LISTEN))
    await other.send_media(chunk(0, CHUNK))
    await until(lambda: endpoint.stats.live_streams == 1)
    return config


MODEL_BODY = (
    '{"message": "Received client error (400) from the model", "OriginalStatusCode": 400,'
    ' "OriginalMessage": "{\\"err_code\\": \\"INVALID_QUERY_PARAMETER\\",'
    ' \\"err_msg\\": \\"no such model\\"}"}'
)

HTTP = "Answers instead of a stream"
BAND = "Errors in the open stream"
BREAK = "Streams and connections that break"
WAY = "On the way to the service"
CLOCK = "Deadlines"
WHO = "Credentials"
SETTING = "Settings and queries"

FOUND = "Could not find endpoint local"

ROWS = [
    Row(HTTP, "400 `ValidationError`", answered(400, "ValidationError", "bad")),
    Row(HTTP, "400 `ThrottlingException`", answered(400, "ThrottlingException")),
    Row(HTTP, "400, no such endpoint", answered(400, "ValidationException", FOUND)),
    Row(HTTP, "400, endpoint not in service", answered(400, "ValidationError", "not InService")),
    Row(HTTP, "400 without a word", answered(400, body="")),
    Row(HTTP, "401 without a word", answered(401, body="")),
    Row(HTTP, "403 `AccessDeniedException`", answered(403, "AccessDeniedException")),
    Row(HTTP, "403 `UnrecognizedClientException`", answered(403, "UnrecognizedClientException")),
    Row(HTTP, "403 `InvalidSignatureException`", answered(403, "InvalidSignatureException")),
    Row(
        HTTP,
        "403, the clock is wrong",
        answered(403, "InvalidSignatureException", "Signature expired: 20200101T000000Z"),
    ),
    Row(HTTP, "403 `ExpiredTokenException`", answered(403, "ExpiredTokenException")),
    Row(HTTP, "400 `KMSAccessDeniedException`", answered(400, "KMSAccessDeniedException")),
    Row(HTTP, "400 `InvalidAccessKeyId`", answered(400, "InvalidAccessKeyId")),
    Row(HTTP, "403, a proxy's page", answered(403, body="<html><p>Blocked.</p></html>")),
    Row(HTTP, "404 without a word", answered(404, body="")),
    Row(HTTP, "408", answered(408)),
    Row(HTTP, "413", answered(413)),
    Row(HTTP, "424 `ModelError`", answered(424, "ModelError", "closed")),
    Row(HTTP, "424, the container's own words", answered(424, "ModelError", body=MODEL_BODY)),
    Row(
        HTTP,
        "424, container full or query refused",
        answered(424, "ModelError", "Failed to establish WebSocket connection"),
    ),
    Row(HTTP, "429 `ThrottlingException`", answered(429, "ThrottlingException")),
    Row(HTTP, "429 without a word", answered(429, body="")),
    Row(
        HTTP,
        "429 twice, then accepted",
        meeting(Fault(Answer(429, "ThrottlingException"), times=2)),
    ),
    Row(HTTP, "500 `InternalServerError`", answered(500, "InternalServerError")),
    Row(HTTP, "502, a proxy's page", answered(502, body="<h1>Bad gateway</h1>")),
    Row(HTTP, "503 `ServiceUnavailable`", answered(503, "ServiceUnavailable")),
    Row(HTTP, "503 `ModelNotReadyException`", answered(503, "ModelNotReadyException")),
    Row(HTTP, "503, then accepted", meeting(Fault(Answer(503, "ServiceUnavailable")))),
    Row(HTTP, "504", answered(504)),
    Row(HTTP, "301", answered(301, body="moved")),
    Row(BAND, "`ModelStreamError` 1008", once(ModelStreamError("1008", "policy"))),
    Row(BAND, "`ModelStreamError` 1011", each_time(ModelStreamError("1011", "failed"))),
    Row(BAND, "`ModelStreamError` 1011, once", once(ModelStreamError("1011", "failed"))),
    Row(
        BAND,
        "`ModelStreamError` 1000 for the closing message",
        meeting(
            Fault(ModelStreamError("1000"), when=OnMessage("CloseStream"), times=None),
            # No final before the end: there is no progress between one try and the next.
            model=Watermark(window=100),
        ),
    ),
    Row(BAND, "`DATA-0000`", once(ModelStreamError("1011", "DATA-0000 not audio"))),
    Row(BAND, "`NET-0001` despite audio", each_time(ModelStreamError("1011", "NET-0001 none"))),
    Row(BAND, "`InternalStreamFailure`", each_time(InternalStreamFailure("oops"))),
    Row(BAND, "`InternalStreamFailure`, once", once(InternalStreamFailure("oops"))),
    Row(BAND, "`ThrottlingException`", each_time(InBandException("ThrottlingException", "slow"))),
    Row(
        BAND, "`ModelNotReadyException`", each_time(InBandException("ModelNotReadyException", "x"))
    ),
    Row(BAND, "`AccessDeniedException`", each_time(InBandException("AccessDeniedException", "no"))),
    Row(BAND, "`ExpiredTokenException`", each_time(InBandException("ExpiredTokenException", "no"))),
    Row(
        BAND,
        "`ExpiredTokenException`, once, and fresh keys",
        once(InBandException("ExpiredTokenException", "no")),
    ),
    Row(BAND, "`InvalidAccessKeyId`", each_time(InBandException("InvalidAccessKeyId", "who"))),
    Row(
        BAND,
        "`InvalidSignatureException`",
        each_time(InBandException("InvalidSignatureException", "no")),
    ),
    Row(
        BAND,
        "`KMSAccessDeniedException`",
        each_time(InBandException("KMSAccessDeniedException", "no")),
    ),
    Row(BAND, "`ValidationException`", each_time(InBandException("ValidationException", "bad"))),
    Row(
        BAND, "an exception that is not known", each_time(InBandException("NovelException", "new"))
    ),
    Row(BREAK, "`RST_STREAM` `INTERNAL_ERROR`", each_time(Reset(2))),
    Row(BREAK, "`RST_STREAM`, once", once(Reset(2))),
    Row(BREAK, "`RST_STREAM` `REFUSED_STREAM`", each_time(Reset(7))),
    Row(BREAK, "`RST_STREAM` `CANCEL`", each_time(Reset(8))),
    Row(BREAK, "`RST_STREAM` `PROTOCOL_ERROR`", each_time(Reset(1))),
    Row(BREAK, "`RST_STREAM` `ENHANCE_YOUR_CALM`", each_time(Reset(11))),
    Row(BREAK, "`RST_STREAM` `HTTP_1_1_REQUIRED`", each_time(Reset(13))),
    # The session may be over before another stream is open to take over.
    Row(BREAK, "`GOAWAY` that covers the stream", once(GoAway(0)), by_clock=True),
    Row(BREAK, "`GOAWAY` that does not, once", once(GoAway(0, covers=False))),
    Row(BREAK, "`GOAWAY` that does not", each_time(GoAway(0, covers=False))),
    Row(BREAK, "`GOAWAY` `ENHANCE_YOUR_CALM`", each_time(GoAway(11, covers=False))),
    Row(BREAK, "`GOAWAY` `INADEQUATE_SECURITY`", each_time(GoAway(12, covers=False))),
    Row(BREAK, "`GOAWAY` `PROTOCOL_ERROR`", each_time(GoAway(1, covers=False))),
    Row(BREAK, "`RST_STREAM` `REFUSED_STREAM` for an answer", unopened(Reset(7))),
    Row(BREAK, "`RST_STREAM` `ENHANCE_YOUR_CALM` for an answer", unopened(Reset(11))),
    Row(BREAK, "`RST_STREAM` `HTTP_1_1_REQUIRED` for an answer", unopened(Reset(13))),
    Row(BREAK, "`GOAWAY` for an answer", unopened(GoAway(0, covers=False))),
    Row(BREAK, "`GOAWAY` `ENHANCE_YOUR_CALM` for an answer", unopened(GoAway(11, covers=False))),
    Row(BREAK, "`GOAWAY` `INADEQUATE_SECURITY` for an answer", unopened(GoAway(12, covers=False))),
    Row(BREAK, "TCP reset for an answer", unopened(Drop())),
    Row(BREAK, "TCP reset", each_time(Drop())),
    Row(BREAK, "TCP reset, once", once(Drop())),
    Row(BREAK, "TCP closed without TLS's goodbye", each_time(Drop(rst=False))),
    Row(BREAK, "the stream ends early", each_time(EndEarly())),
    Row(BREAK, "the stream ends early, once", once(EndEarly())),
    Row(BREAK, "the last results do not come, once", once(EndEarly(), OnMessage("CloseStream"))),
    Row(
        BREAK,
        "the last results never come",
        meeting(
            Fault(EndEarly(), when=OnMessage("CloseStream"), times=None),
            # No final before the end: there is no progress between one try and the next.
            model=Watermark(window=100),
        ),
    ),
    Row(BREAK, "an event cut off", each_time(Malformed("truncated"))),
    Row(BREAK, "an event too large", each_time(Malformed("oversized"))),
    Row(BREAK, "an event with a wrong CRC", each_time(Malformed("wrong_crc"))),
    Row(BREAK, "a wrong CRC, once", once(Malformed("wrong_crc"))),
    Row(BREAK, "an event of an unknown type", each_time(Malformed("unknown_event"))),
    Row(BREAK, "text that is not UTF-8", each_time(Malformed("not_utf8"))),
    Row(BREAK, "garbage", each_time(Malformed("garbage"))),
    Row(
        BREAK,
        "a failure, and audio outgrew what is kept",
        once(InternalStreamFailure("oops"), max_replay_buffer_bytes=640),
        query={"encoding": None, "sample_rate": None},
        first=b"OggS\0\2",
    ),
    Row(WAY, "nothing listens", nobody_listens),
    Row(WAY, "an outage of 0.3 s", outage, by_clock=True),
    Row(WAY, "connections are reset", on_connect(ResetTcp())),
    Row(WAY, "one connection is reset", on_connect(ResetTcp(), 1)),
    Row(WAY, "the port speaks plain HTTP", plain_http),
    Row(WAY, "a certificate of another authority than `ca_bundle`'s", another_authority),
    Row(WAY, "a private authority, and no `ca_bundle`", the_systems_authorities),
    Row(WAY, "a certificate that is its own authority", certified("own_authority")),
    Row(WAY, "a certificate that has expired", certified("expired")),
    Row(WAY, "a certificate of another host", certified("elsewhere")),
    Row(WAY, "`ca_bundle` that is not there", no_ca_bundle),
    Row(WAY, "a proxy that wants a password", proxied(b"HTTP/1.1 407 No\r\n\r\n")),
    Row(
        WAY,
        "a proxy that wants another password",
        proxied(b"HTTP/1.1 407 No\r\n\r\n", user="me:guessed@"),
    ),
    Row(WAY, "a proxy that says 401", proxied(b"HTTP/1.1 401 No\r\n\r\n")),
    Row(WAY, "a proxy that forbids it", proxied(b"HTTP/1.1 403 No\r\n\r\n")),
    Row(WAY, "a proxy that is none", proxied(b"HTTP/1.1 404 No\r\n\r\n")),
    Row(WAY, "a proxy that does not speak HTTP", proxied(b"SSH-2.0-OpenSSH_9.2\r\n")),
    Row(
        WAY,
        "`https://` before a proxy without TLS",
        proxied(b"HTTP/1.1 400 No\r\n\r\n", scheme="https"),
    ),
    Row(WAY, "a proxy that cannot connect", proxied(b"HTTP/1.1 502 No\r\n\r\n")),
    Row(WAY, "a proxy that is overloaded", proxied(b"HTTP/1.1 503 No\r\n\r\n")),
    Row(CLOCK, "never TLS", on_connect(NeverTls(), connection_timeout=0.1, max_retries=1)),
    Row(CLOCK, "never HTTP/2", on_connect(NeverHttp2(), connection_timeout=0.3, max_retries=1)),
    Row(
        CLOCK,
        "never an answer",
        meeting(Fault(NeverAnswer(), times=None), subscription_timeout=0.1, max_retries=1),
    ),
    Row(
        CLOCK,
        "one request never answered",
        meeting(Fault(NeverAnswer()), subscription_timeout=0.1),
    ),
    Row(CLOCK, "`max_concurrency` is in use", all_permits_taken),
    Row(CLOCK, "silence", each_time(GoSilent(), stall_timeout=0.3, max_retries=1)),
    Row(CLOCK, "silence, once", once(GoSilent(), stall_timeout=0.3)),
    Row(
        CLOCK,
        "throttled for longer than `retry_budget`",
        answered(429, "ThrottlingException", retry_budget=0.3, max_retries=1000),
        by_clock=True,
    ),
    Row(WHO, "none", with_keys(lambda _: Keys(None))),
    Row(WHO, "half of them", with_keys(lambda _: keys("AKIDEXAMPLE", ""))),
    Row(WHO, "a line break in a key", with_keys(lambda _: keys("AKIDEXAMPLE", "guessed\n"))),
    Row(WHO, "metadata server out of reach", with_keys(lambda _: unreachable_metadata())),
    Row(WHO, "a credential process fails", with_keys(lambda _: another_process_failed())),
    Row(
        WHO,
        "a look-up that hangs",
        with_keys(lambda _: look_up_that_hangs(), connection_timeout=0.1, max_retries=0),
    ),
    Row(WHO, "an unknown key", with_keys(lambda _: keys("AKIDNOBODY", "guessed"))),
    Row(
        WHO,
        "a wrong secret",
        with_keys(lambda endpoint: keys(endpoint.credentials.access_key_id, "guessed")),
    ),
    Row(
        WHO,
        "an expired token, and a fresh one",
        meeting(Fault(Answer(403, "ExpiredTokenException"))),
    ),
    Row(SETTING, "an endpoint that is not there", unknown_endpoint),
    Row(SETTING, "a variant that is not there", unknown_variant),
    Row(SETTING, "another region than the endpoint's", another_region),
    Row(SETTING, "`region='Frankfurt'`", configured(region="Frankfurt")),
    Row(SETTING, "a plain HTTP `endpoint_uri`", configured(endpoint_uri="http://127.0.0.1")),
    Row(SETTING, "`max_concurrency=0`", configured(max_concurrency=0)),
    Row(SETTING, "`connection_timeout=0`", configured(connection_timeout=0)),
    Row(
        SETTING,
        "a query that the container refuses",
        meeting(),
        query={"encoding": "linear17"},
    ),
    Row(
        SETTING,
        "a query over the limit",
        meeting(),
        query={"keyterm": [f"word number {number}" for number in range(200)]},
    ),
]


# The document.

HEAD = ("What goes wrong", "Error", "HTTP", "Attempts", "Requests", "Time", "What is seen")


def cells(row, outcome):
    """A row of the document."""
    error = outcome.error
    if error is None:
        name, status = "none", ""
    else:
        name, status = f"`{type(error).__name__}`", str(error.status or "")
        if isinstance(error, RetriesExhaustedError | SessionLostError):
            name += f" from `{type(error.__cause__).__name__}`"
    return (
        row.what,
        name,
        status,
        "as fit" if row.by_clock else str(outcome.attempts),
        "as fit" if row.by_clock else str(outcome.requests),
        f"{outcome.took:.2f} s",
        _seen(outcome),
    )


def _seen(outcome):
    error = outcome.error
    logged = "".join(f" Logged: {_plain(line)}" for line in outcome.warnings)
    if error is None:
        return f"{outcome.chunks} of {CHUNKS} chunks, in order.{logged}"
    told = error.__cause__ if isinstance(error, RetriesExhaustedError) else error
    message = _plain(told.message)
    if outcome.raised:
        return f"Raised before anything connects: {message}"
    heard = f"{outcome.chunks} of {CHUNKS} chunks, then: " if outcome.chunks else ""
    return f"{heard}{message}{logged}"


def _plain(text):
    """Returns the text for a cell, without the parts that change from run to run."""
    # Which end of a broken connection is noticed first, and so its name, is chance.
    text = text.partition(" Detail: ")[0]
    text = re.sub(r"\b\d+\.\d+ s\b", "… s", text)
    return text.replace("|", "\\|").replace("<", "\\<")


def document(outcomes):
    """The whole page.

    Args:
        outcomes: Pairs of row and outcome, in order.
    """
    lines = [INTRODUCTION.rstrip()]
    section = None
    for row, outcome in outcomes:
        if row.section != section:
            section = row.section
            lines += ["", f"## {section}", "", _line(HEAD), _line(["---"] * len(HEAD))]
        lines.append(_line(cells(row, outcome)))
    return "\n".join(lines) + "\n"


def _line(texts):
    return f"| {' | '.join(texts)} |"


def without_times(page):
    """A page with the column of times blanked, for comparison."""
    return re.sub(r"(?m)^(\|.*\|) \d+\.\d\d s (\|)", r"\1 … \2", page)


INTRODUCTION = f"""\
# Failures

Failures, and the errors that an application of the Deepgram SDK gets. Every row was run:
`AsyncDeepgramClient` against the local endpoint, {CHUNKS} counted chunks of 20 ms as fast as `send`
takes them, then CloseStream. `pytest tests/e2e/test_failures.py --write-failures` makes this page;
without the option the same test checks that it still agrees in everything but the times.

Every error is a `SageMakerError`, and comes once, through the SDK's ERROR event, followed by CLOSE;
later calls of `send_media` raise it too. *Attempts* are `error.attempts`: streams asked for since
the last progress; without an error, all that were asked for. *Requests* are those that the endpoint
saw: none where no connection came up, and one more where the keys had expired, with fresh ones, at
an opening as in mid-stream.
The transport's own details, which vary from run to run, are left out of the messages. Retries wait
10 to 20 ms here, so *Time* is what the rest takes; with the default settings the waits are 0.1 s to
5 s. `max_retries` is 5 as by default, except where a deadline is the point. What is thought not to
pass by itself is tried three times more at most: four attempts. What cannot pass is tried once.
Where retries ran out, the message is the last failure's, the error's `__cause__`.
[Errors by their text](errors.md) has every message in full.
"""
