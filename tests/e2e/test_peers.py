"""Other clients against the local endpoint, and our client through other proxies."""

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from deepgram.transport import restore_transport
from deepgram_sagemaker import SageMakerTransport
from deepgram_sagemaker.errors import ConnectError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.watermark import chunk
from e2e import by_hand
from e2e.processes import endpoint_elsewhere
from servers import serving
from sessions import CHUNK, client_of, session, until

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".venv-peer" / "bin" / "python"

NGHTTP = shutil.which("nghttp")
NGHTTPX = shutil.which("nghttpx") or shutil.which("nghttpx", path="/usr/sbin:/usr/local/sbin")
OPENSSL = shutil.which("openssl")
H2SPEC = shutil.which("h2spec")

needs_peer = pytest.mark.skipif(
    not PEER.exists(), reason=".venv-peer is missing: make .venv-peer/.ready"
)
needs_nghttp = pytest.mark.skipif(
    NGHTTP is None, reason="nghttp is missing: apt-get install nghttp2-client"
)
needs_nghttpx = pytest.mark.skipif(
    NGHTTPX is None or OPENSSL is None,
    reason="nghttpx or openssl is missing: apt-get install nghttp2-proxy openssl",
)


needs_h2spec = pytest.mark.skipif(
    H2SPEC is None, reason="h2spec is missing: https://github.com/summerwind/h2spec/releases"
)

# The number of h2spec's cases, and of those that passed when the tool was last available.
H2SPEC_CASES, H2SPEC_PASSED = 147, 144


# Others as the client.


@needs_h2spec
@pytest.mark.patience(180)
def test_h2spec_finds_what_it_found_before():
    with endpoint_elsewhere() as endpoint:
        port = endpoint.uri.rpartition(":")[2]
        run = subprocess.run(
            [H2SPEC, "--host", "127.0.0.1", "--port", port, "--tls", "--insecure"],
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        connections = endpoint.stats.connections
    counted = re.search(r"(\d+) tests, (\d+) passed", run.stdout)
    assert counted, run.stdout + run.stderr
    assert connections >= int(counted[1])
    assert int(counted[1]) >= H2SPEC_CASES, run.stdout
    assert int(counted[2]) >= H2SPEC_PASSED, run.stdout


@needs_peer
def test_the_published_release_completes_a_session():
    """Version 0.4.0, unchanged except for its address and its trusted authorities."""
    count = 100
    with endpoint_elsewhere(model=Watermark(window=10)) as endpoint:
        ours = Path(__file__).parent / "published_session.py"
        run = subprocess.run(
            [PEER, ours, endpoint.uri, endpoint.ca_bundle, str(CHUNK)],
            input=b"".join(chunk(number, CHUNK) for number in range(count)),
            capture_output=True,
            timeout=40,
            check=False,
            env=os.environ
            | {
                "AWS_ACCESS_KEY_ID": endpoint.access_key_id,
                "AWS_SECRET_ACCESS_KEY": endpoint.secret_access_key,
                "PYTHONPATH": str(ROOT / "benches" / "peers"),
            },
        )
        assert run.returncode == 0, run.stderr.decode()
        told = json.loads(run.stdout)
        assert told["errors"] == []
        assert told["transcript"].split() == [str(number) for number in range(count)]
        assert told["types"] == ["Results"] * (count // 10) + ["Metadata"]
        stats = endpoint.stats
        (leg,) = endpoint.legs
    assert (stats.request_signature_failures, stats.signature_failures) == (0, 0)
    assert (stats.crc_failures, stats.malformed_events) == (0, 0)
    assert (leg.status, leg.path, leg.chunks) == (200, "v1/listen", count)
    assert leg.controls[-1] == "CloseStream"


@needs_nghttp
async def test_nghttp_completes_a_session(tmp_path):
    """An HTTP/2 client that is neither ours nor Python's, with a body that is not ours either."""
    count = 57
    # It sends all of its body at once, end included: the model must not take time to close.
    async with LocalEndpoint(model=Watermark(closing_time=0.0)) as endpoint:
        keys = endpoint.credentials
        url = f"{endpoint.uri}/endpoints/local/invocations-bidirectional-stream"
        headers = by_hand.request_headers(
            url,
            access_key_id=keys.access_key_id,
            secret_access_key=keys.secret_access_key,
            region="us-east-1",
            path="v1/listen",
            query="model=nova-3&encoding=linear16&sample_rate=16000",
        )
        messages = [*(chunk(number, CHUNK) for number in range(count)), '{"type":"CloseStream"}']
        body = tmp_path / "body"
        body.write_bytes(
            by_hand.signed_stream(
                messages, headers, secret_access_key=keys.secret_access_key, region="us-east-1"
            )
        )
        fields = [f"-H{name}: {value}" for name, value in headers.items()]
        process = await asyncio.create_subprocess_exec(
            *(NGHTTP, "--no-content-length", "--timeout=10", f"--data={body}", *fields, url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        results = [json.loads(message) for message in by_hand.answers(out)]
        words = " ".join(
            result["channel"]["alternatives"][0]["transcript"]
            for result in results
            if result["type"] == "Results"
        )
        assert words.split() == [str(number) for number in range(count)]
        assert results[-1]["type"] == "Metadata"
        assert (endpoint.stats.signature_failures, endpoint.stats.crc_failures) == (0, 0)
        (leg,) = endpoint.legs
        assert (leg.end, leg.input_end) == ("model", "signed")


@needs_nghttp
@pytest.mark.parametrize("spoilt", ["request", "event"])
async def test_nghttp_with_a_wrong_signature_is_refused(tmp_path, spoilt):
    """The success of the session above means something only if this one fails."""
    async with LocalEndpoint() as endpoint:
        keys = endpoint.credentials
        url = f"{endpoint.uri}/endpoints/local/invocations-bidirectional-stream"
        headers = by_hand.request_headers(
            url,
            access_key_id=keys.access_key_id,
            secret_access_key="guessed" if spoilt == "request" else keys.secret_access_key,
            region="us-east-1",
            path="v1/listen",
            query="model=nova-3&encoding=linear16&sample_rate=16000",
        )
        body = tmp_path / "body"
        body.write_bytes(
            by_hand.signed_stream(
                [chunk(0, CHUNK)], headers, secret_access_key="guessed", region="us-east-1"
            )
        )
        fields = [f"-H{name}: {value}" for name, value in headers.items()]
        process = await asyncio.create_subprocess_exec(
            *(NGHTTP, "--no-content-length", "--timeout=10", f"--data={body}", *fields, url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, _ = await process.communicate()
        if spoilt == "request":
            assert b"signature" in out
            assert endpoint.stats.request_signature_failures == 1
        else:
            with pytest.raises(AssertionError, match="signature"):
                by_hand.answers(out)
            assert endpoint.stats.signature_failures == 1
        # Of a request that was not accepted nothing is kept.
        assert [leg.chunks for leg in endpoint.legs] == ([] if spoilt == "request" else [0])


# Others in between.


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@asynccontextmanager
async def nghttpx(directory, endpoint):
    """A reverse proxy in front of an endpoint, TLS on both sides: its port and its certificate."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    made = await asyncio.create_subprocess_exec(
        *(OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-keyout", key, "-out", certificate, "-days", "2"),
        *("-subj", "/CN=a proxy", "-addext", "subjectAltName=IP:127.0.0.1"),
        # An end entity that is its own anchor.
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        stderr=subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    port = free_port()
    backend = f"127.0.0.1,{endpoint.port};;tls;proto=h2;sni=localhost;upgrade-scheme"
    process = await asyncio.create_subprocess_exec(
        *(NGHTTPX, f"--backend={backend}", f"--frontend=127.0.0.1,{port}", "--workers=1"),
        *(f"--cacert={endpoint.ca_bundle}", "--conf=/dev/null", str(key), str(certificate)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        await until(lambda: listens(port), within=10)
        yield port, certificate
    finally:
        process.terminate()
        await process.communicate()


@needs_nghttpx
async def test_ours_completes_a_session_through_nghttpx(tmp_path):
    """The signature covers the host that we connect to, and events go through as they are."""
    async with LocalEndpoint() as endpoint, nghttpx(tmp_path, endpoint) as (port, certificate):
        config = endpoint.config(
            endpoint_uri=f"https://127.0.0.1:{port}", ca_bundle=str(certificate)
        )
        client = client_of(config)
        heard = await session(client, 100)
        assert heard.errors == []
        assert heard.numbers == list(range(100))
        stats = endpoint.stats
        assert (stats.accepted, stats.refused) == (1, 0)
        assert (stats.signature_failures, stats.crc_failures, stats.bad_ends) == (0, 0, 0)
        # And many at once, for which it shares connections.
        sessions = await asyncio.gather(*(session(client, 50) for _ in range(20)))
        assert [each.numbers for each in sessions] == [list(range(50))] * 20


@needs_nghttpx
async def test_a_proxy_without_its_endpoint_is_a_failure_that_passes(tmp_path):
    """nghttpx answers 503 for an endpoint that is away: retried until it is back."""
    async with LocalEndpoint() as endpoint, nghttpx(tmp_path, endpoint) as (port, certificate):
        config = endpoint.config(
            endpoint_uri=f"https://127.0.0.1:{port}",
            ca_bundle=str(certificate),
            max_retries=50,
            max_backoff=0.3,
        )
        endpoint.refuse_connections(0.5)
        heard = await session(client_of(config), 50)
        assert heard.errors == []
        assert heard.numbers == list(range(50))


class ConnectProxy:
    """A small HTTP proxy that knows CONNECT, and Basic authorisation if it is given a secret."""

    def __init__(self, userinfo=None):
        self.wanted = None
        if userinfo is not None:
            self.wanted = f"Basic {base64.b64encode(userinfo.encode()).decode()}"
        self.targets = []
        self.refused = 0
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self):
        self.port = await self._stack.enter_async_context(serving(self._answer))
        return self

    async def __aexit__(self, *_):
        await self._stack.aclose()

    async def _answer(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.split("\r\n")
        headers = dict(each.split(": ", 1) for each in lines if each)
        headers = {name.lower(): value for name, value in headers.items()}
        method, target, version = line.split()
        assert (method, version) == ("CONNECT", "HTTP/1.1")
        assert headers["host"] == target
        if self.wanted is not None and headers.get("proxy-authorization") != self.wanted:
            self.refused += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        to_reader, to_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: a test\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, to_writer))
                group.create_task(self._copy(to_reader, writer))
        finally:
            to_writer.close()

    @staticmethod
    async def _copy(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()


@pytest.mark.parametrize(
    ("userinfo", "in_url"),
    [(None, ""), ("user:secret", "user:secret@"), ("a@b:p:a s/ü", "a%40b:p%3Aa%20s%2F%C3%BC@")],
)
async def test_ours_completes_a_session_through_a_connect_proxy(userinfo, in_url):
    async with LocalEndpoint() as endpoint, ConnectProxy(userinfo) as proxy:
        config = endpoint.config(proxy=f"http://{in_url}127.0.0.1:{proxy.port}")
        heard = await session(client_of(config), 50)
        assert heard.errors == []
        assert heard.numbers == list(range(50))
        assert proxy.targets == [f"127.0.0.1:{endpoint.port}"]
        assert endpoint.stats.connections == 1


async def test_the_environment_names_the_proxy_and_its_exceptions(monkeypatch):
    async with LocalEndpoint() as endpoint, ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        config = endpoint.config(proxy=None)
        assert (await session(client_of(config), 10)).numbers == list(range(10))
        assert len(proxy.targets) == 1
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        restore_transport()
        assert (await session(client_of(config), 10)).numbers == list(range(10))
        assert len(proxy.targets) == 1


async def test_a_proxy_that_wants_a_password_is_an_error_without_secrets():
    async with LocalEndpoint() as endpoint, ConnectProxy("user:right") as proxy:
        config = endpoint.config(proxy=f"http://user:wrong@127.0.0.1:{proxy.port}", max_retries=0)
        transport = SageMakerTransport(config, "v1/listen", "model=nova-3")
        with pytest.raises(ConnectError) as caught:
            await transport.recv()
        await transport.close()
        said = str(caught.value)
        assert "407 Proxy Authentication Required" in said
        assert "check proxy, HTTPS_PROXY and NO_PROXY" in said
        assert "wrong" not in said
        assert (proxy.refused, endpoint.stats.connections) == (1, 0)
