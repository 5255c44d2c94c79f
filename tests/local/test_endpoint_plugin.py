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
