"""The fixtures, in a test run of their own."""

import os
import subprocess
import sys
from pathlib import Path

from docs.blocks import blocks_of

README = Path(__file__).parents[2] / "README.md"

PLUGIN = "deepgram_sagemaker.local.pytest_plugin"

TESTS = """
import pytest

from deepgram_sagemaker.local.faults import Fault, NeverAnswer


@pytest.mark.sagemaker_endpoint(endpoint_name="mine", faults=[Fault(NeverAnswer())])
def test_the_marker_sets_the_endpoint_up(sagemaker_endpoint):
    assert sagemaker_endpoint.endpoint_name == "mine"
    assert sagemaker_endpoint.config().endpoint_uri == sagemaker_endpoint.uri


def test_without_a_marker(sagemaker_endpoint):
    assert sagemaker_endpoint.stats.opens == 0


def test_several(sagemaker_endpoint_factory):
    one, other = sagemaker_endpoint_factory("a"), sagemaker_endpoint_factory("b")
    assert one.port != other.port
"""


def run(*arguments, cwd):
    # Registered by name below, as the entry point does for users.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_fixtures_work_without_any_async_plugin(tmp_path):
    tmp_path.joinpath("test_mine.py").write_text(TESTS)
    options = ["-q", "--strict-markers", "-W", "error", "-p", "no:cacheprovider", "-p", PLUGIN]
    finished = run("-m", "pytest", *options, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "3 passed" in finished.stdout


UNUSED = """
import sys

PLUGIN = "deepgram_sagemaker.local.pytest_plugin"


def test_nothing_of_the_package_is_loaded():
    loaded = {name for name in sys.modules if name.startswith("deepgram_sagemaker")}
    assert loaded == {"deepgram_sagemaker", "deepgram_sagemaker.local", PLUGIN}
    assert not {"boto3", "botocore", "numpy", "deepgram"} & set(sys.modules)


def test_until_a_fixture_is_asked_for(sagemaker_endpoint):
    assert "deepgram_sagemaker.local.endpoint" in sys.modules
"""


def test_a_run_that_asks_for_no_fixture_loads_nothing(tmp_path):
    tmp_path.joinpath("test_mine.py").write_text(UNUSED)
    options = ["-q", "--strict-markers", "-W", "error", "-p", "no:cacheprovider", "-p", PLUGIN]
    finished = run("-m", "pytest", *options, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "2 passed" in finished.stdout


SDK = """
import pytest
from deepgram import AsyncDeepgramClient
from deepgram import transport as sdk
from deepgram.listen.v1 import client as listen
from deepgram_sagemaker import SageMakerTransportFactory


def client_of(endpoint):
    factory = SageMakerTransportFactory(config=endpoint.config())
    return factory, AsyncDeepgramClient(api_key="unused", transport_factory=factory)


@pytest.fixture(scope="module")
def of_the_module():
    factory = SageMakerTransportFactory("theirs")
    AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    yield factory
    sdk.restore_transport()


@pytest.mark.parametrize("_", [1, 2])
def test_each_test_may_have_a_factory_of_its_own(sagemaker_endpoint, _):
    assert sdk._active_async_factory is None
    assert "deepgram.transport" not in str(listen.websockets_client_connect)
    factory, client = client_of(sagemaker_endpoint)
    assert sdk._active_async_factory is factory


def test_also_with_several_endpoints(sagemaker_endpoint_factory):
    client_of(sagemaker_endpoint_factory())


def test_what_was_installed_before_a_test_stays_during_the_test(
    of_the_module, sagemaker_endpoint
):
    assert sdk._active_async_factory is of_the_module
    sdk.restore_transport()
    client_of(sagemaker_endpoint)


def test_and_after_it(of_the_module):
    assert sdk._active_async_factory is of_the_module
"""


def test_a_fixture_undoes_what_its_test_installed_in_the_sdk(tmp_path):
    tmp_path.joinpath("test_mine.py").write_text(SDK)
    finished = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", PLUGIN, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "5 passed" in finished.stdout


DIRECT = """
import os

import pytest
from deepgram import AsyncDeepgramClient
from deepgram import transport as sdk
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark import chunk


def client_of(**options):
    factory = SageMakerTransportFactory(**options)
    return AsyncDeepgramClient(api_key="unused", transport_factory=factory)


async def converse(client):
    async with client.listen.v1.connect(
        model="nova-3", encoding="linear16", sample_rate=16000
    ) as connection:
        for number in range(10):
            await connection.send_media(chunk(number, 640))
        await connection.send_close_stream()
        return [message.type async for message in connection]


@pytest.mark.parametrize("_", [1, 2])
async def test_each_test_may_have_an_endpoint_and_a_factory(_):
    async with LocalEndpoint() as endpoint:
        assert "Results" in await converse(client_of(config=endpoint.config()))


@pytest.mark.parametrize("_", [1, 2])
def test_also_without_async_and_by_another_name_of_this_machine(_):
    with LocalEndpoint() as endpoint:
        client_of(config=endpoint.config(endpoint_uri=f"https://localhost:{endpoint.port}"))


@pytest.mark.parametrize("_", [1, 2])
def test_also_by_the_environment(monkeypatch, _):
    with LocalEndpoint() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2", endpoint.uri)
        client_of(endpoint_name="local")


@pytest.mark.parametrize("_", [1, 2])
def test_also_with_routes(_):
    with LocalEndpoint() as nova, LocalEndpoint() as aura:
        client_of(routes={"v1/listen": nova.config(), "v1/speak": aura.config()})


async def test_a_client_whose_endpoint_has_stopped_goes_nowhere_else(tmp_path):
    async with LocalEndpoint(ca_bundle=tmp_path / "ca.pem") as endpoint:
        client = client_of(config=endpoint.config(max_retries=0))
    with pytest.raises(SageMakerError, match="no TCP connection"):
        await converse(client)


@pytest.fixture(scope="session")
def client():
    with LocalEndpoint() as endpoint:
        yield client_of(config=endpoint.config())


@pytest.mark.parametrize("_", [1, 2])
async def test_a_client_of_the_session_lives_on(client, _):
    async with LocalEndpoint():
        pass
    assert "Results" in await converse(client)


def test_and_the_sdk_still_protects_it(client):
    with LocalEndpoint() as endpoint, pytest.raises(RuntimeError, match="already installed"):
        client_of(config=endpoint.config())
"""


def test_endpoints_without_the_fixture_need_nothing_of_the_sdk_either(tmp_path):
    tmp_path.joinpath("test_mine.py").write_text(DIRECT)
    options = ("-q", "-p", "no:cacheprovider", "-p", PLUGIN, "-p", "pytest_asyncio.plugin")
    auto = ("-o", "asyncio_mode=auto")
    finished = run("-m", "pytest", *options, *auto, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "12 passed" in finished.stdout


UNITTEST = """
import unittest

from deepgram import AsyncDeepgramClient
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import LocalEndpoint


class Mine(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.endpoint = await self.enterAsyncContext(LocalEndpoint())
        factory = SageMakerTransportFactory(config=self.endpoint.config())
        self.client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)

    async def test_one(self):
        self.assertEqual(self.endpoint.stats.opens, 0)

    async def test_another(self):
        self.assertEqual(self.endpoint.stats.opens, 0)
"""


def test_nor_with_unittest(tmp_path):
    tmp_path.joinpath("test_mine.py").write_text(UNITTEST)
    finished = run("-m", "unittest", "-v", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "Ran 2 tests" in finished.stderr


def test_the_readmes_test_passes_as_it_stands(tmp_path):
    """In two files: one process, two factories. Plugins are found as a reader's pytest does."""
    (snippet,) = (block for block in blocks_of(README) if block.title == "test_captions.py")
    for name in ("test_captions.py", "test_more_captions.py"):
        tmp_path.joinpath(name).write_text(snippet.code, encoding="utf-8")
    # Without what this run's pytest and pytest-xdist have set for themselves.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    finished = subprocess.run(
        [sys.executable, "-m", "pytest"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "2 passed" in finished.stdout
