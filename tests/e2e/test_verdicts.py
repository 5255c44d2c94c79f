"""Which failures are retried, and the errors that people get, over sockets."""

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path

import pytest
from botocore.credentials import Credentials as Keys
from deepgram.transport import restore_transport
from deepgram_sagemaker.errors import (
    AuthenticationError,
    ConnectError,
    RetriesExhaustedError,
    SageMakerError,
    SessionLostError,
)
from deepgram_sagemaker.local import Credentials, Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterMessages,
    AfterReplies,
    Answer,
    EndEarly,
    InBandException,
    ModelStreamError,
    Reset,
)
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.transport import SageMakerTransport
from e2e.failure_rows import certificate
from servers import serving
from sessions import CHUNK, client_of, session

QUICK = {"initial_backoff": 0.01, "max_backoff": 0.02}
QUERY = "model=nova-3&encoding=linear16&sample_rate=16000"
EXPIRED = (
    "ExpiredTokenException",
    "ExpiredToken",
    "RequestExpired",
    "com.amazonaws#expiredtoken:x",
)


class Provider:
    """A `boto3_session` that has other keys at each look-up."""

    def __init__(self, *identities):
        self.identities = list(identities)
        self.asked = 0

    def get_credentials(self):
        identity = self.identities[min(self.asked, len(self.identities) - 1)]
        self.asked += 1
        return Keys(identity.access_key_id, identity.secret_access_key, identity.session_token)


OLD = Credentials(access_key_id="AKIDOLD", secret_access_key="old")
FRESH = Credentials(access_key_id="AKIDFRESH", secret_access_key="fresh")


async def outcome(config, chunks=50):
    """The messages that an application gets from a session, and its error at the end."""
    try:
        heard = await session(client_of(config), chunks)
    finally:
        # The SDK takes one factory at a time.
        restore_transport()
    assert heard.closed == 1
    return heard.numbers, heard.errors


@pytest.mark.parametrize("name", EXPIRED)
async def test_keys_that_expire_in_mid_stream_are_looked_up_again(name):
    fault = Fault(InBandException(name, "expired"), when=AfterReplies(2))
    async with LocalEndpoint(credentials=[OLD, FRESH], faults=[fault]) as endpoint:
        provider = Provider(OLD, FRESH)
        # It is not a failure of the service, so the settings for those do not apply.
        config = endpoint.config(boto3_session=provider, max_retries=0)
        numbers, errors = await outcome(config)
        assert (numbers, errors) == (list(range(50)), [])
        assert [leg.access_key_id for leg in endpoint.legs] == ["AKIDOLD", "AKIDFRESH"]
        assert provider.asked == 2


@pytest.mark.parametrize("name", EXPIRED)
async def test_keys_that_expire_in_mid_stream_with_no_fresh_ones(name):
    fault = Fault(InBandException(name, "expired"), when=AfterMessages(5), times=None)
    async with LocalEndpoint(faults=[fault]) as endpoint:
        numbers, (error,) = await outcome(endpoint.config(**QUICK))
        assert type(error) is AuthenticationError
        assert (error.expired, error.retryable, error.attempts) == (True, False, 1)
        assert numbers == []
        assert endpoint.stats.opens == 2


async def test_keys_that_expire_in_mid_stream_and_the_next_opening_refuses_them():
    fault = Fault(InBandException("ExpiredTokenException"), when=AfterReplies(2), legs=1)
    refusal = Fault(Answer(403, "ExpiredTokenException"), legs=(2, None))
    async with LocalEndpoint(faults=[fault, refusal]) as endpoint:
        _, (error,) = await outcome(endpoint.config(**QUICK))
        assert type(error) is AuthenticationError
        assert (error.status, error.expired, error.retryable) == (403, True, False)
        assert endpoint.stats.opens == 2, "what was just looked up is not looked up again"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403, "ExpiredTokenException"),
        Answer(400, "ExpiredToken"),
        Answer(400, body='{"__type": "com.amazonaws#ExpiredTokenException"}'),
        Answer(403, body="<Error><Code>ExpiredToken</Code></Error>"),
        Answer(403, "UnrecognizedClientException", "The security token is expired"),
    ],
)
async def test_keys_that_are_expired_at_an_opening_are_looked_up_again(answer):
    refusal = Fault(answer, legs=1)
    async with LocalEndpoint(credentials=[OLD, FRESH], faults=[refusal]) as endpoint:
        provider = Provider(OLD, FRESH)
        numbers, errors = await outcome(endpoint.config(boto3_session=provider, max_retries=0))
        assert (numbers, errors) == (list(range(50)), [])
        assert endpoint.legs[1].access_key_id == "AKIDFRESH"
        assert (endpoint.stats.opens, provider.asked) == (2, 2)


async def test_keys_that_serve_may_expire_again_and_again():
    fault = Fault(InBandException("ExpiredTokenException"), when=AfterReplies(2), times=4)
    async with LocalEndpoint(faults=[fault]) as endpoint:
        numbers, errors = await outcome(endpoint.config(max_retries=0), 100)
        assert (numbers, errors) == (list(range(100)), [])
        assert endpoint.stats.opens == 5


@pytest.mark.parametrize(
    "name", ["InvalidAccessKeyId", "UnrecognizedClientException", "SignatureDoesNotMatch",
             "KMSAccessDeniedException", "AccessDenied"]
)  # fmt: skip
async def test_what_is_about_the_caller_is_tried_once_in_either_dress(name):
    faults = {
        "in band": Fault(InBandException(name, "no"), when=AfterMessages(5), times=None),
        "an answer": Fault(Answer(400, name, "no"), times=None),
    }
    told = {}
    for dress, fault in faults.items():
        async with LocalEndpoint(faults=[fault]) as endpoint:
            _, (error,) = await outcome(endpoint.config(**QUICK))
            assert type(error) is AuthenticationError, dress
            assert (error.retryable, error.attempts, endpoint.stats.opens) == (False, 1, 1), dress
            told[dress] = error.message
    assert told["in band"] == told["an answer"]


async def test_early_ends_are_told_in_words():
    fault = Fault(EndEarly(), when=AfterMessages(5), times=None)
    async with LocalEndpoint(faults=[fault]) as endpoint:
        transport = SageMakerTransport(endpoint.config(**QUICK), "v1/listen", QUERY)
        error = await failed(transport)
        assert type(error) is RetriesExhaustedError
        assert "the service ended the stream early" in error.message
        assert "unknown" not in str(error)
        assert error.reason == error.__cause__.reason == "early_end"


async def failed(transport):
    """Returns how a session that cannot work ends."""
    try:
        for number in range(50):
            await transport.send(chunk(number, CHUNK))
        async for _ in transport:
            pass
    except SageMakerError as error:
        return error
    finally:
        await transport.close()
    pytest.fail("it worked")


@pytest.mark.parametrize("fault", [EndEarly(), ModelStreamError("1000", "done")])
async def test_an_unknown_path_that_was_answered_ends_in_order(fault):
    # The model talks of what it hears on any path.
    faults = [Fault(fault, when=AfterReplies(1))]
    async with LocalEndpoint(model=Watermark(window=1), faults=faults, lenient=True) as endpoint:
        transport = SageMakerTransport(endpoint.config(**QUICK), "v1/anything", QUERY)
        await transport.send(chunk(0, CHUNK))
        assert len([message async for message in transport]) >= 1
        await transport.close()
        assert endpoint.stats.opens == 1


async def test_an_unknown_path_that_breaks_is_lost():
    faults = [Fault(Reset(), when=AfterReplies(1))]
    async with LocalEndpoint(model=Watermark(window=1), faults=faults, lenient=True) as endpoint:
        transport = SageMakerTransport(endpoint.config(**QUICK), "v1/anything", QUERY)
        await transport.send(chunk(0, CHUNK))
        with pytest.raises(SessionLostError, match="cannot go on over another stream"):
            async for _ in transport:
                pass
        await transport.close()


# A proxy that is spoken to over TLS.


async def forward(reader, writer):
    """Does what CONNECT asks for."""
    head = await reader.readuntil(b"\r\n\r\n")
    host, _, port = head.split()[1].decode().rpartition(":")
    upstream = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def copy(source, sink):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(copy(reader, upstream[1]), copy(upstream[0], writer))


@pytest.fixture
async def tls_proxy():
    heads = []

    async def serve(reader, writer):
        heads.append(writer.get_extra_info("ssl_object").version())
        await forward(reader, writer)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate("own"))
    async with serving(serve, tls=context) as port:
        yield f"https://127.0.0.1:{port}", heads


def text(path):
    return Path(path).read_text()


@pytest.mark.parametrize("how", ["proxy", "HTTPS_PROXY"])
async def test_a_proxy_that_is_spoken_to_over_tls(tls_proxy, how, tmp_path, monkeypatch):
    url, heads = tls_proxy
    async with LocalEndpoint() as endpoint:
        bundle = tmp_path / "both.pem"
        bundle.write_text("".join(map(text, (endpoint.ca_bundle, certificate("own")))))
        if how == "HTTPS_PROXY":
            monkeypatch.setenv("HTTPS_PROXY", url)
        config = endpoint.config(ca_bundle=bundle, proxy=url if how == "proxy" else None)
        assert await outcome(config) == (list(range(50)), [])
        assert len(heads) == endpoint.stats.connections == 1


async def test_a_tls_proxy_that_is_not_trusted(tls_proxy):
    url, _ = tls_proxy
    async with LocalEndpoint() as endpoint:
        _, (error,) = await outcome(endpoint.config(proxy=url, **QUICK))
        assert "the proxy's own certificate" in error.message
        assert (error.retryable, error.attempts) == (False, 1)


async def test_a_proxy_that_says_nothing_in_tls_is_told_apart():
    async def silent(reader, writer):
        await reader.readuntil(b"\r\n\r\n")

    async with LocalEndpoint() as endpoint, serving(silent) as port:
        url = f"https://127.0.0.1:{port}"
        config = endpoint.config(proxy=url, connection_timeout=0.3, max_retries=0)
        _, (error,) = await outcome(config)
        assert isinstance(error, TimeoutError)
        assert error.reason == "proxy_timeout"
        assert "https:// in proxy or HTTPS_PROXY" in error.message


@pytest.mark.parametrize("status", [401, 403, 407])
async def test_a_proxy_that_refuses_is_asked_once(status):
    asked = []

    async def refuse(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {status} No\r\n\r\n".encode())
        await writer.drain()

    async with LocalEndpoint() as endpoint, serving(refuse) as port:
        address = f"127.0.0.1:{port}"
        for user in ("", "me:guessed-word@"):
            asked.clear()
            _, (error,) = await outcome(
                endpoint.config(proxy=f"http://{user}{address}", **QUICK), 3
            )
            assert type(error) is ConnectError
            assert (error.retryable, error.attempts, len(asked)) == (False, 1, 1)
            assert "password" in error.message
            assert "HTTPS_PROXY" in error.message or "NO_PROXY" in error.message
            assert "guessed-word" not in str(error)


# The server's texts.

EVIL = (
    "\x1b[2J\r\nWARNING forged \u202e AKIAIOSFODNN7EXAMPLE Signature="
    + "ab" * 32
    + " Authorization: Basic c2VjcmV0\n "
    + "word " * 400_000
)


def harmless(text, most=1500):
    assert len(text) <= most
    assert text.isprintable(), text
    for secret in ("AKIA", "abab", "c2VjcmV0"):
        assert secret not in text


@pytest.mark.parametrize(
    "fault",
    [
        Fault(ModelStreamError("1011", EVIL), when=AfterMessages(5), times=None),
        Fault(InBandException("NovelException", EVIL), when=AfterMessages(5), times=None),
        Fault(InBandException("InternalStreamFailure", EVIL), when=AfterMessages(5), times=None),
        Fault(Answer(503, "", EVIL), times=None),
        Fault(Answer(424, "ModelError", EVIL), times=None),
        Fault(Answer(403, body=EVIL), times=None),
    ],
    ids=["close", "exception", "failure", "answer", "424", "page"],
)
async def test_hostile_words_are_quoted_everywhere(fault, caplog):
    caplog.set_level(logging.DEBUG, "deepgram_sagemaker")
    async with LocalEndpoint(faults=[fault]) as endpoint:
        transport = SageMakerTransport(endpoint.config(**QUICK), "v1/listen", QUERY)
        error = await failed(transport)
        last = transport.stats.last_error
    while isinstance(error, SageMakerError):
        harmless(str(error))
        harmless(repr(error))
        for fact in vars(error).values():
            if isinstance(fact, str):
                harmless(fact)
        error = error.__cause__
    if last is not None:
        harmless(last)
    for record in caplog.records:
        if record.name.startswith("deepgram_sagemaker"):
            harmless(record.getMessage())
