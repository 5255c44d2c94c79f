"""Wrong input, and what an application of the real SDK gets: error, attempts, time."""

import asyncio
import contextlib
import logging
import ssl
import sys
from pathlib import Path

import boto3

# It imports the AWS SDK, which takes half a second and must not be part of the measurement.
import deepgram_sagemaker.transport  # noqa: F401
import pytest
from acceptors import accepting
from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.errors import (
    AuthenticationError,
    ConnectError,
    ConnectTimeoutError,
    EndpointNotFoundError,
    ProtocolError,
    RetriesExhaustedError,
    SageMakerError,
    SessionClosedError,
    TLSError,
    ValidationError,
)
from deepgram_sagemaker.local import Credentials, Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterMessages, Answer, Malformed
from deepgram_sagemaker.local.watermark import chunk
from servers import serving
from sessions import CHUNK, LISTEN, Heard, client_of, session, until

QUICK = {"initial_backoff": 0.01, "max_backoff": 0.02}
"""Quick retries."""

AT_ONCE = 1.0
"""Seconds that an error of the first attempt may take: a busy machine's idea of a round trip."""


async def failure(config, **options):
    """Runs a session that cannot work; returns the application's error, and when it came."""
    heard = Heard()
    loop = asyncio.get_running_loop()
    client = client_of(config)
    began = loop.time()
    async with client.listen.v1.connect(**LISTEN | options) as connection:
        heard.attach(connection)
        listening = asyncio.create_task(connection.start_listening())
        with contextlib.suppress(SageMakerError):
            for number in range(30):
                await connection.send_media(chunk(number, CHUNK))
        await listening
    took = loop.time() - began
    (error,) = heard.errors
    assert heard.closed == 1
    # The caller of `send` gets the same error.
    with pytest.raises(SessionClosedError):
        await connection.send_media(b"late")
    return error, took


@pytest.mark.parametrize("status", [400, 404])
async def test_an_unknown_endpoint(status):
    async with LocalEndpoint("there", unknown_endpoint_status=status) as endpoint:
        error, took = await failure(endpoint.config(endpoint_name="not-there"))
        assert type(error) is EndpointNotFoundError
        assert "no endpoint 'not-there' in region us-east-1" in str(error)
        assert (error.status, error.attempts, error.retryable) == (status, 1, False)
        assert endpoint.stats.opens == 1
        assert took < AT_ONCE


async def test_a_region_that_is_none():
    with pytest.raises(ValidationError, match=r"region='Frankfurt': region must be an AWS region"):
        SageMakerConfig("ep", "Frankfurt")


async def test_a_region_that_does_not_resolve():
    config = SageMakerConfig(
        "ep",
        endpoint_uri="https://runtime.sagemaker.invalid",
        proxy="",
        boto3_session=LocalEndpoint().boto3_session(),
        max_retries=0,
        connection_timeout=5,
    )
    error, _ = await failure(config)
    # Without a network, a resolver may not answer at all.
    assert type(error) in (ConnectError, ConnectTimeoutError)
    assert error.attempts == 1
    if type(error) is ConnectError:
        assert "check region (us-west-2), endpoint_uri and DNS" in str(error)
        assert "runtime.sagemaker.invalid" in str(error)


async def test_another_region_than_the_endpoints():
    async with LocalEndpoint(region="us-east-1") as endpoint:
        error, took = await failure(endpoint.config(region="eu-west-1"))
        assert type(error) is AuthenticationError
        assert (error.status, error.attempts) == (403, 1)
        assert "signed for eu-west-1, and the endpoint is in another region" in str(error)
        assert endpoint.stats.request_signature_failures == 1
        assert took < AT_ONCE


async def test_another_secret_key():
    async with LocalEndpoint() as endpoint:
        impostor = boto3.Session(
            aws_access_key_id=endpoint.credentials.access_key_id, aws_secret_access_key="guessed"
        )
        error, took = await failure(endpoint.config(boto3_session=impostor))
        assert type(error) is AuthenticationError
        assert "check the secret key" in str(error)
        assert "guessed" not in str(error)
        assert (error.status, error.attempts) == (403, 1)
        assert took < AT_ONCE


@pytest.mark.parametrize("trust", ["another authority", "the system's"])
async def test_a_certificate_of_an_unknown_authority(trust):
    async with LocalEndpoint() as endpoint, LocalEndpoint() as other:
        bundle = other.ca_bundle if trust == "another authority" else None
        error, took = await failure(endpoint.config(ca_bundle=bundle))
        assert type(error) is TLSError
        assert "set ca_bundle or AWS_CA_BUNDLE" in str(error)
        assert (error.attempts, error.retryable) == (1, False)
        assert took < AT_ONCE
        await until(lambda: endpoint.stats.tls_failures == 1)
        assert endpoint.stats.opens == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs all of 127.0.0.0/8")
async def test_a_certificate_for_another_name():
    keys = Credentials(access_key_id="AKIDOWN", secret_access_key="its-own")
    async with LocalEndpoint(host="0.0.0.0", credentials=keys) as endpoint:
        config = endpoint.config(endpoint_uri=f"https://127.0.0.2:{endpoint.port}")
        error, took = await failure(config)
        assert type(error) is TLSError
        assert "check that the host's name is the certificate's" in str(error)
        assert (error.attempts, endpoint.stats.opens) == (1, 0)
        assert took < AT_ONCE


async def test_a_server_that_wants_a_certificate_of_the_client():
    # In TLS 1.3 the refusal comes only after the client counts the handshake as done. The sockets
    # block, because asyncio's server closes without the alert.
    bundle = str(Path(__file__).parent / "hostile.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(bundle)
    context.load_verify_locations(bundle)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    connections = 0

    def serve(connection):
        nonlocal connections
        connections += 1
        with connection.dup() as plain:
            with contextlib.suppress(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)
            # Until it is the client that closes: a reset would take the alert along.
            while plain.recv(1024):
                pass

    with accepting(serve) as port:
        async with LocalEndpoint() as endpoint:
            uri = f"https://127.0.0.1:{port}"
            config = endpoint.config(endpoint_uri=uri, ca_bundle=bundle, **QUICK)
            error, took = await failure(config)
    assert type(error) is TLSError
    assert "the server wants a client's certificate" in str(error)
    assert "CertificateRequired" in str(error)
    assert (error.reason, error.retryable, error.attempts) == ("tls_refused", False, 1)
    assert connections == 1
    assert took < AT_ONCE


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("no certificate at all", "has no certificate that could be used"),
        ("", "has no certificate that could be used"),
        (None, "must name a PEM file, and there is none"),
    ],
)
async def test_a_ca_bundle_that_is_none(tmp_path, content, rule):
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    async with LocalEndpoint() as endpoint:
        error, took = await failure(endpoint.config(ca_bundle=str(bundle)))
        assert isinstance(error, TLSError | ValidationError)
        assert rule in str(error)
        # Quoted, where it is a value of a setting.
        assert str(bundle) in str(error).replace("\\\\", "\\")
        assert "PEM file" in str(error)
        assert error.attempts == 1
        assert endpoint.stats.connections == 0
        assert took < AT_ONCE


async def test_a_port_that_speaks_plain_http():
    connections = 0

    async def answer(reader, writer):
        nonlocal connections
        connections += 1
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(answer) as port, LocalEndpoint() as endpoint:
        config = endpoint.config(endpoint_uri=f"https://127.0.0.1:{port}", **QUICK)
        error, took = await failure(config)
    assert type(error) is RetriesExhaustedError
    assert type(error.__cause__) is TLSError
    assert "does this port speak TLS?" in str(error)
    assert (error.attempts, connections) == (4, 4)
    assert took < AT_ONCE


def test_a_plain_http_uri():
    with pytest.raises(ValidationError, match=r"endpoint_uri='http://.*over TLS only"):
        SageMakerConfig("ep", endpoint_uri="http://127.0.0.1:8080")


MALFORMED = ["truncated", "oversized", "wrong_crc", "not_utf8", "garbage", "mixed_types"]


@pytest.mark.parametrize("how", MALFORMED)
async def test_what_makes_no_sense_once_is_survived(how):
    faults = [Fault(Malformed(how), when=AfterMessages(15))]
    async with LocalEndpoint(faults=faults) as endpoint:
        heard = await session(client_of(endpoint.config(**QUICK)), 40)
        assert heard.errors == []
        assert heard.numbers == list(range(40))
        assert endpoint.stats.faults == 1
        assert endpoint.stats.accepted == 2


@pytest.mark.parametrize("how", MALFORMED)
async def test_what_never_makes_sense_is_a_protocol_error(how):
    faults = [Fault(Malformed(how), when=AfterMessages(5), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        error, took = await failure(endpoint.config(**QUICK))
        assert type(error) is RetriesExhaustedError
        assert type(error.__cause__) is ProtocolError
        assert "what came from the service makes no sense" in str(error)
        # A protocol error is probably permanent: fewer retries than `max_retries`.
        assert (error.attempts, endpoint.stats.accepted) == (4, 4)
        assert error.seconds_unacknowledged > 0
        assert took < 2 * AT_ONCE


async def test_an_unknown_event_type_is_skipped_with_a_warning(caplog):
    faults = [Fault(Malformed("unknown_event"), when=AfterMessages(15))]
    async with LocalEndpoint(faults=faults) as endpoint:
        with caplog.at_level(logging.WARNING, "deepgram_sagemaker"):
            heard = await session(client_of(endpoint.config()), 40)
        assert heard.errors == []
        assert heard.numbers == list(range(40))
        assert endpoint.stats.accepted == 1
    (record,) = (
        record for record in caplog.records if record.name == "deepgram_sagemaker.transport"
    )
    assert record.levelno == logging.WARNING
    assert "unknown type" in record.getMessage()
    assert "Novelty" in record.getMessage()


@pytest.mark.parametrize("status", [301, 202])
async def test_an_answer_that_sagemaker_does_not_give(status):
    async with LocalEndpoint(faults=[Fault(Answer(status, body="moved"))]) as endpoint:
        error, took = await failure(endpoint.config())
        assert type(error) is ProtocolError
        assert "does endpoint_uri lead to SageMaker?" in str(error)
        assert (error.status, error.attempts) == (status, 1)
        assert took < AT_ONCE


@pytest.mark.parametrize("wrong", [1, None, 2.5, ["audio"]])
async def test_a_message_of_a_wrong_type_is_refused_and_the_session_goes_on(wrong):
    async with LocalEndpoint() as endpoint:
        heard = Heard()
        async with client_of(endpoint.config()).listen.v1.connect(**LISTEN) as connection:
            heard.attach(connection)
            listening = asyncio.create_task(connection.start_listening())
            for number in range(20):
                await connection.send_media(chunk(number, CHUNK))
                with pytest.raises(TypeError, match=r"str, bytes, bytearray, memoryview or dict"):
                    await connection.send_media(wrong)
            await connection.send_close_stream()
            await listening
        assert heard.errors == []
        assert heard.numbers == list(range(20))


async def test_send_after_close():
    async with LocalEndpoint() as endpoint:
        client = client_of(endpoint.config())
        async with client.listen.v1.connect(**LISTEN) as connection:
            await connection.send_media(chunk(0, CHUNK))
        with pytest.raises(SessionClosedError, match="the transport is closed"):
            await connection.send_media(chunk(1, CHUNK))
        with pytest.raises(SessionClosedError, match="the transport is closed"):
            await connection.send_close_stream()
        assert endpoint.stats.opens == 1


async def test_send_after_the_closing_message():
    async with LocalEndpoint() as endpoint:
        client = client_of(endpoint.config())
        async with client.listen.v1.connect(**LISTEN) as connection:
            await connection.send_media(chunk(0, CHUNK))
            await connection.send_close_stream()
            with pytest.raises(SessionClosedError, match="after the closing message"):
                await connection.send_media(chunk(1, CHUNK))


async def test_a_query_over_the_limit():
    async with LocalEndpoint() as endpoint:
        client = client_of(endpoint.config())
        keyterms = [f"word number {number}" for number in range(200)]
        with pytest.raises(ValidationError, match=r"2048") as caught:
            async with client.listen.v1.connect(**LISTEN, keyterm=keyterms):
                pass
        assert caught.value.parameter is not None
        assert endpoint.stats.connections == 0


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("max_concurrency", "many", "whole number, at least 1"),
        ("max_retries", -1, "whole number, at least 0"),
        ("retry_budget", float("nan"), "a number of seconds, above 0"),
        ("boto3_session", object(), "must be a boto3.Session"),
        ("target_variant", "a/b", "letters, digits and hyphens"),
    ],
)
def test_a_config_field_of_a_wrong_type_or_range(field, value, rule):
    with pytest.raises(ValidationError) as caught:
        SageMakerConfig("ep", **{field: value})
    assert str(caught.value).startswith(f"{field}=")
    assert rule in str(caught.value)
    assert caught.value.parameter == field
