"""The AWS SDK's part in an opening: the same request from every version."""

import asyncio
import importlib
import re
import time
import tomllib
from importlib import metadata
from pathlib import Path

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from deepgram_sagemaker.aws import operation
from deepgram_sagemaker.aws.operation import DISTRIBUTION, Operation
from deepgram_sagemaker.credentials import Identity
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.invocation import Invocation, parse_url
from sessions import run_script

IDENTITY = Identity("AKIDEXAMPLE", "swordfish/swordfish+swordfish", "token" * 40)

LISTEN = parse_url("wss://x/v1/listen?model=nova-3&keyterm=hello%20world&interim_results=true")

URI = "https://runtime.sagemaker.us-east-1.amazonaws.com:8443"

PACKAGE = "aws_sdk_sagemaker_runtime_http2"


async def made(invocation=LISTEN, identity=IDENTITY, uri=URI, variant=None):
    return await operation.operation().signed(
        invocation,
        identity,
        endpoint_name="my-endpoint",
        target_variant=variant,
        region="us-east-1",
        uri=uri,
    )


async def test_the_request_is_what_the_operation_asks_for():
    request = await made(variant="blue")
    assert request.authority == "runtime.sagemaker.us-east-1.amazonaws.com:8443"
    assert request.path == "/endpoints/my-endpoint/invocations-bidirectional-stream"
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    assert headers["x-amzn-sagemaker-model-invocation-path"] == "v1/listen"
    assert headers["x-amzn-sagemaker-model-query-string"] == LISTEN.query
    assert headers["x-amzn-sagemaker-target-variant"] == "blue"
    assert headers["content-type"] == "application/vnd.amazon.eventstream"
    assert headers["x-amz-content-sha256"] == "STREAMING-AWS4-HMAC-SHA256-EVENTS"
    assert headers["x-amz-security-token"] == IDENTITY.session_token
    assert headers["authorization"].endswith(f"Signature={request.seed_signature}")
    installed = metadata.version(DISTRIBUTION)
    assert f"api/SageMaker_Runtime_HTTP2#{installed}" in headers["user-agent"]
    assert "aws-sdk-python/" in headers["user-agent"]


async def test_what_is_not_given_is_not_sent():
    request = await made(Invocation("v1/speak"), Identity("AKIDEXAMPLE", "swordfish"))
    names = {name for name, _ in request.headers}
    assert "x-amzn-sagemaker-model-query-string" not in names
    assert "x-amzn-sagemaker-target-variant" not in names
    assert "x-amz-security-token" not in names


@pytest.mark.parametrize(
    ("uri", "authority", "prefix"),
    [
        ("https://127.0.0.1:4433", "127.0.0.1:4433", ""),
        ("https://[::1]:4433", "[::1]:4433", ""),
        ("https://[::1]", "[::1]", ""),
        ("https://proxy.example.com", "proxy.example.com", ""),
        ("https://proxy.example.com:443", "proxy.example.com", ""),
        ("https://proxy.example.com/a/b", "proxy.example.com", "/a/b"),
    ],
)
async def test_where_it_goes(uri, authority, prefix):
    request = await made(uri=uri)
    assert request.authority == authority
    assert request.path == f"{prefix}/endpoints/my-endpoint/invocations-bidirectional-stream"


@pytest.mark.parametrize("identity", [IDENTITY, Identity("AKIDEXAMPLE", "swordfish")])
@pytest.mark.parametrize("uri", [URI, "https://[::1]:1/a", "https://proxy.example.com:443"])
async def test_botocore_signs_it_the_same(identity, uri):
    """An independent signer computes the same signature."""
    request = await made(identity=identity, uri=uri)
    headers = dict(request.headers)
    witness = botocore.awsrequest.AWSRequest(
        method="POST", url=f"https://{request.authority}{request.path}"
    )
    for name, value in request.headers:
        if name not in ("authorization", "user-agent"):
            witness.headers[name] = value
    witness.context["timestamp"] = headers["x-amz-date"]
    keys = botocore.credentials.Credentials(
        identity.access_key_id, identity.secret_access_key, identity.session_token
    )
    auth = botocore.auth.SigV4Auth(keys, "sagemaker", "us-east-1")
    canonical = auth.canonical_request(witness)
    signature = auth.signature(auth.string_to_sign(witness, canonical), witness)
    assert signature == request.seed_signature


class Capture:
    """A transport for the SDK's own client that keeps the requests and answers none."""

    TIMEOUT_EXCEPTIONS = ()
    SUPPORTS_DUPLEX_STREAMING = True

    def __init__(self):
        self.requests = []

    def __deepcopy__(self, memo):
        return self

    async def send(self, request, **_):
        self.requests.append(request)
        await asyncio.Event().wait()


async def own_client(transport):
    """The SDK's own client, of the installed version."""

    class Keys:
        async def get_identity(self, *, properties):
            components = importlib.import_module("smithy_aws_core.identity")
            return components.AWSCredentialsIdentity(
                access_key_id=IDENTITY.access_key_id,
                secret_access_key=IDENTITY.secret_access_key,
                session_token=IDENTITY.session_token,
            )

    settings = {
        "endpoint_uri": URI,
        "region": "us-east-1",
        "transport": transport,
        "aws_credentials_identity_resolver": Keys(),
    }
    configs = importlib.import_module(f"{PACKAGE}.config")
    clients = importlib.import_module(f"{PACKAGE}.client")
    kind = getattr(configs, "AsyncSageMakerRuntimeHTTP2Config", None) or configs.Config
    config = await kind.resolve(**settings) if hasattr(kind, "resolve") else kind(**settings)
    client = getattr(clients, "AsyncSageMakerRuntimeHTTP2Client", None)
    return (client or clients.SageMakerRuntimeHTTP2Client)(config=config)


async def invoke(client):
    """Makes a request with the SDK's own client, and ends what the client began."""
    models = importlib.import_module(f"{PACKAGE}.models")
    before = asyncio.all_tasks()
    await client.invoke_endpoint_with_bidirectional_stream(
        models.InvokeEndpointWithBidirectionalStreamInput(
            endpoint_name="my-endpoint",
            model_invocation_path=LISTEN.path,
            model_query_string=LISTEN.query,
        )
    )
    left = asyncio.all_tasks() - before
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def test_the_sdks_own_client_would_send_the_same():
    """The headers are exactly the SDK's own."""
    transport = Capture()
    await invoke(await own_client(transport))
    theirs = transport.requests[0]
    ours = await made()
    assert (theirs.destination.netloc, theirs.destination.path) == (ours.authority, ours.path)
    ours, theirs = (
        {name: re.sub(r"\d{8}T\d{6}Z|Signature=\w+", "", value) for name, value in headers}
        for headers in (
            ours.headers,
            [(each.name.lower(), each.as_string()) for each in theirs.fields],
        )
    )
    assert ours == theirs


async def test_it_costs_less_than_the_sdks_own_way():
    """Measured in the thread's own time, which a busy machine hardly lengthens."""
    client = await own_client(Capture())

    async def cost(one):
        rounds = []
        for _ in range(5):
            began = time.thread_time()
            for _ in range(20):
                await one()
            rounds.append(time.thread_time() - began)
        return min(rounds)

    theirs = await cost(lambda: invoke(client))
    assert await cost(made) < theirs / 1.5


def test_a_request_shows_nothing():
    request = asyncio.run(made())
    for shown in (repr(request), str(request), repr([request])):
        assert "SignedRequest(***)" in shown
        assert request.seed_signature not in shown
        assert "token" not in shown


# Versions.


def test_the_oldest_that_is_known_is_the_oldest_that_is_allowed():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (requirement,) = (
        each for each in project["project"]["dependencies"] if each.startswith(DISTRIBUTION)
    )
    oldest = ".".join(map(str, min(first for first, _ in operation._PROTOCOL_MAKERS)))
    assert requirement == f"{DISTRIBUTION}>={oldest},<1"


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("0.6.0", 1),
        ("0.11.9", 1),
        ("0.12.0", 0),
        ("0.12.0rc1", 0),
        ("0.13.0.dev1", 0),
        ("0.100.0", 0),
        ("1.0.0", 0),
    ],
)
def test_which_row_counts(version, row):
    assert operation._protocol_maker(version) is operation._PROTOCOL_MAKERS[row][1]


@pytest.mark.parametrize("version", ["0.5.0", "0.1.0", "nonsense"])
def test_a_version_that_is_too_old_is_named(monkeypatch, version):
    monkeypatch.setattr(f"{PACKAGE}.__version__", version)
    with pytest.raises(SageMakerError, match=re.escape(f"{DISTRIBUTION} {version}")) as caught:
        Operation()
    assert "0.6 is the oldest" in str(caught.value)
    assert caught.value.retryable is False


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (f"{PACKAGE}.models", "INVOKE_ENDPOINT_WITH_BIDIRECTIONAL_STREAM"),
        (f"{PACKAGE}.models", "InvokeEndpointWithBidirectionalStreamInput"),
        ("aws_sdk_signers", "AsyncSigV4Signer"),
        ("aws_sdk_signers", "AWSCredentialIdentity"),
        ("smithy_aws_core.aio.protocols", "RestJsonClientProtocol"),
        ("smithy_aws_core.interceptors.user_agent", "UserAgentInterceptor"),
        ("smithy_core", "URI"),
        ("smithy_core.endpoints", "Endpoint"),
        ("smithy_core.interceptors", "InputContext"),
        ("smithy_core.interceptors", "RequestContext"),
        ("smithy_core.types", "TypedProperties"),
        ("smithy_http", "Field"),
        ("smithy_http", "Fields"),
        ("smithy_http.aio", "HTTPRequest"),
        ("smithy_http.interceptors.user_agent", "UserAgentInterceptor"),
    ],
)
def test_a_name_that_a_version_lacks_is_an_error_that_says_so(monkeypatch, module, name):
    """Every part of the SDK that is used: a version without one of them fails here."""
    found = importlib.import_module(module)
    monkeypatch.delattr(found, name)
    with pytest.raises(SageMakerError, match=rf"{DISTRIBUTION} .*{name}"):
        Operation()


def test_an_sdk_that_is_not_there_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, f"{PACKAGE}.models", None)
    with pytest.raises(SageMakerError, match=rf"{DISTRIBUTION} .*{PACKAGE}\.models"):
        Operation()


IMPORTS = """
import asyncio, boto3, sys
before = set(sys.modules)
from deepgram_sagemaker.aws.operation import operation
operation()
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_little_of_it_is_imported():
    """No HTTP client: aiohttp is half of the SDK's import, and awscrt may not be there."""
    run = run_script(IMPORTS)
    assert run.returncode == 0, run.stderr
    brought = set(re.findall(r"'([^']+)'", run.stdout))
    assert PACKAGE in brought
    assert brought.isdisjoint({"aiohttp", "yarl", "smithy_xml", "httpx", "deepgram"})
