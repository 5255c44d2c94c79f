"""The AWS SDKs as clients of the local endpoint: they understand its answers."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from aws_sdk_sagemaker_runtime_http2 import models
from aws_sdk_sagemaker_runtime_http2.config import AsyncSageMakerRuntimeHTTP2Config
from deepgram_sagemaker._native import OpenFailure, Pool
from deepgram_sagemaker.aws.route import Route
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import Answer, Fault
from deepgram_sagemaker.wakeups import Hub
from e2e.processes import endpoint_elsewhere
from smithy_aws_core.identity import StaticCredentialsResolver
from smithy_core import URI
from smithy_core.aio.client import ClientCall, RequestPipeline
from smithy_core.aio.retries import SimpleRetryStrategy
from smithy_core.endpoints import Endpoint
from smithy_core.exceptions import CallError
from smithy_core.interceptors import InterceptorChain
from smithy_core.types import TypedProperties
from smithy_http import tuples_to_fields
from smithy_http.aio import HTTPResponse

WITNESS = Path(__file__).parents[1] / "witnesses" / "aws-sdk-rust"
TARGET = Path(__file__).parents[2] / "target" / "witness"
BAD = "model=nova-3&encoding=linear17"
REFUSED = "Failed to establish WebSocket connection"
LOG_GROUP = "log-group:/aws/sagemaker/Endpoints/local:"

# The four errors of the service's model, as a fault answers them.
MODELLED = (
    (400, "InputValidationError"),
    (424, "ModelError"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailableError"),
)


class Wire:
    """A transport for the SDK, over HTTP/2 alone, which passes answers on unchanged."""

    TIMEOUT_EXCEPTIONS = ()
    SUPPORTS_DUPLEX_STREAMING = True

    def __init__(self, endpoint):
        self.hub = Hub.running()
        config = endpoint.config(
            connection_timeout=10,
            connection_acquire_timeout=10,
            subscription_timeout=10,
            max_concurrency=1,
            max_streams_per_connection=1,
        )
        route = Route(
            host="127.0.0.1",
            port=endpoint.port,
            ca_bundle=endpoint.ca_bundle,
            max_handshakes=1,
            ping_within=20,
        )
        self.pool = Pool(config, route)

    def __deepcopy__(self, memo):
        return self

    async def outcome(self, begin):
        done = asyncio.Event()
        token = self.hub.register(done.set)
        try:
            pending = begin(waker=self.hub.waker, token=token)
            await done.wait()
            return pending.take()
        finally:
            self.hub.unregister(token)

    async def send(self, request):
        admission = await self.outcome(
            lambda **woken: self.pool.acquire(with_permit=False, **woken)
        )
        headers = [(field.name.lower(), field.as_string()) for field in request.fields]
        to = request.destination
        opened = await self.outcome(
            lambda **woken: admission.open(to.netloc, to.path, headers, **woken)
        )
        assert isinstance(opened, OpenFailure), opened
        assert opened.status is not None, opened.detail
        fields = tuples_to_fields(opened.headers)
        return HTTPResponse(status=opened.status, fields=fields, body=opened.body)


class At:
    """The SDK's endpoint resolver: where the local endpoint is."""

    def __init__(self, endpoint):
        self.uri = URI(scheme="https", host="127.0.0.1", port=endpoint.port)

    async def resolve_endpoint(self, params):
        return Endpoint(uri=self.uri)


async def python_sdk(endpoint, query):
    """The error that the AWS SDK for Python raises for an opening."""
    keys = endpoint.credentials
    config = await AsyncSageMakerRuntimeHTTP2Config.resolve(
        region=endpoint.region,
        endpoint_resolver=At(endpoint),
        transport=Wire(endpoint),
        aws_credentials_identity_resolver=StaticCredentialsResolver(),
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
    )
    call = ClientCall(
        input=models.InvokeEndpointWithBidirectionalStreamInput(
            endpoint_name=endpoint.endpoint_name,
            model_invocation_path="v1/listen",
            model_query_string=query,
        ),
        operation=models.INVOKE_ENDPOINT_WITH_BIDIRECTIONAL_STREAM,
        context=TypedProperties({"config": config}),
        interceptor=InterceptorChain(config.interceptors),
        auth_scheme_resolver=config.auth_scheme_resolver,
        supported_auth_schemes=config.auth_schemes,
        endpoint_resolver=config.endpoint_resolver,
        retry_strategy=SimpleRetryStrategy(max_attempts=1),
    )
    with pytest.raises(CallError) as raised:
        await RequestPipeline(config.protocol, config.transport)(call)
    return raised.value


@pytest.mark.parametrize(("status", "name"), MODELLED)
async def test_the_sdk_for_python_has_each_modelled_error_s_message(status, name):
    fault = Fault(Answer(status, name, f"it is {name}"))
    async with LocalEndpoint(faults=[fault]) as endpoint:
        error = await python_sdk(endpoint, "model=nova-3")
    assert type(error) is getattr(models, name)
    assert error.message == f"it is {name}"


async def test_the_sdk_for_python_has_all_of_a_refused_query():
    async with LocalEndpoint() as endpoint:
        error = await python_sdk(endpoint, BAD)
        assert "linear17" in endpoint.legs[0].refusal
    assert isinstance(error, models.ModelError)
    assert (error.message, error.original_status_code) == (REFUSED, 400)
    assert LOG_GROUP in error.log_stream_arn


async def test_the_sdk_for_python_has_the_message_of_a_broken_constraint():
    async with LocalEndpoint() as endpoint:
        error = await python_sdk(endpoint, "keyterm=a+b")
    assert isinstance(error, models.InputValidationError)
    assert "modelQueryString" in error.message


@pytest.fixture(scope="module")
def rust_sdk():
    """Runs the witness; builds it first."""
    cargo = shutil.which("cargo")
    assert cargo, "cargo is missing"
    build = [cargo, "build", "--quiet", "--locked", "--target-dir", TARGET]
    subprocess.run(build, cwd=WITNESS, check=True)

    def run(endpoint, command, argument):
        keys = {
            "AWS_ACCESS_KEY_ID": endpoint.access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoint.secret_access_key,
        }
        uri = endpoint.uri.replace("127.0.0.1", "localhost")
        done = subprocess.run(
            [TARGET / "debug" / "aws-sdk-rust-witness", command, uri, endpoint.ca_bundle, argument],
            env=os.environ | keys,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def witness(test):
    """Only where asked for; the first one may build for minutes."""
    return pytest.mark.witness(pytest.mark.patience(1800)(test))


@witness
def test_the_sdk_for_rust_completes_twenty_sessions(rust_sdk):
    with endpoint_elsewhere() as endpoint:
        sessions = rust_sdk(endpoint, "listen", "20")
    assert len(sessions) == 20
    for session in sessions:
        *results, metadata = session["messages"]
        assert metadata["type"] == "Metadata"
        assert metadata["duration"] == 0.5
        assert sum(result["duration"] for result in results) == pytest.approx(0.5)


@witness
@pytest.mark.parametrize(("status", "name"), MODELLED)
def test_the_sdk_for_rust_has_each_modelled_error_s_message(rust_sdk, status, name):
    fault = Fault(Answer(status, name, f"it is {name}"))
    with endpoint_elsewhere(faults=[fault]) as endpoint:
        (told,) = rust_sdk(endpoint, "open", "model=nova-3")
    assert told["status"] == status
    assert told["error"]["type"] == name
    assert told["error"]["message"] == f"it is {name}"


@witness
def test_the_sdk_for_rust_has_all_of_a_refused_query(rust_sdk):
    with endpoint_elsewhere() as endpoint:
        (told,) = rust_sdk(endpoint, "open", BAD)
    assert told["status"] == 424
    assert told["error"]["type"] == "ModelError"
    assert told["error"]["message"] == REFUSED
    assert told["error"]["original_status_code"] == 400
    assert LOG_GROUP in told["error"]["log_stream_arn"]


@witness
@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "ThrottlingException"), (403, "AccessDeniedException"), (400, "ValidationException")],
)
def test_the_sdk_for_rust_has_the_others_names_and_messages(rust_sdk, status, name):
    fault = Fault(Answer(status, name, f"it is {name}"))
    with endpoint_elsewhere(faults=[fault]) as endpoint:
        (told,) = rust_sdk(endpoint, "open", "model=nova-3")
    assert told["status"] == status
    assert told["error"] == {"type": name, "message": f"it is {name}", "unmodelled": True}
