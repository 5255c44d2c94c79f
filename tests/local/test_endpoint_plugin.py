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


def test_loading_the_plugin_imports_nothing_that_a_run_may_not_need(tmp_path):
    heavy = ["boto3", "botocore", "numpy", "deepgram", "deepgram_sagemaker.local.endpoint"]
    code = f"import sys, {PLUGIN}; print([name for name in {heavy} if name in sys.modules])"
    finished = run("-c", code, cwd=tmp_path)
    assert finished.stdout.strip() == "[]", finished.stdout + finished.stderr
