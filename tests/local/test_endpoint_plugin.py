"""The fixtures, in a test run of their own."""

import os
import subprocess
import sys

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
