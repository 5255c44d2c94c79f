"""The package as such: what it exports, and what importing it does not do."""

import importlib
import json
from importlib import metadata

import deepgram_sagemaker
import pytest
from deepgram_sagemaker import errors
from sessions import run_script

FORBIDDEN = (
    "boto3",
    "botocore",
    "aws_sdk_sagemaker_runtime_http2",
    "smithy_core",
    "smithy_http",
    "smithy_aws_core",
    "awscrt",
    "deepgram",
    "deepgram_sagemaker.local",
    "deepgram_sagemaker.cli",
    "deepgram_sagemaker.aws",
    "typer",
    "click",
    "rich",
    "numpy",
    "moonshine_voice",
    "onnxruntime",
    "pytest",
    "opentelemetry",
    "deepgram_sagemaker.otel",
    "pipecat",
    "deepgram_sagemaker.pipecat",
    "ray",
    "pyarrow",
    "pandas",
    "deepgram_sagemaker.ray",
)

IMPORT = """
import json, os, sys, threading

happened = []
sys.addaudithook(
    lambda event, args: happened.append(event)
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "_thread."))
    else None
)
tasks = lambda: len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0
before = tasks()
import deepgram_sagemaker
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory, errors
SageMakerTransportFactory(config=SageMakerConfig("ep"))
print(json.dumps({
    "modules": sorted(sys.modules),
    "happened": happened,
    "native threads": tasks() - before,
    "threads": threading.active_count(),
}))
"""


def test_import_opens_nothing_and_brings_nothing_along():
    run = run_script(IMPORT)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    found = json.loads(run.stdout)
    assert found["happened"] == []
    assert found["native threads"] == 0
    assert found["threads"] == 1
    brought = [
        name
        for name in found["modules"]
        if any(name == each or name.startswith(f"{each}.") for each in FORBIDDEN)
    ]
    assert brought == []
    # What it must have brought, so that the list above is known to be the right one.
    assert "deepgram_sagemaker.factory" in found["modules"]


def test_exports():
    assert set(deepgram_sagemaker.__all__) >= {
        "SageMakerConfig",
        "SageMakerTransport",
        "SageMakerTransportFactory",
        "__version__",
        "errors",
        "events",
    }
    assert len(set(deepgram_sagemaker.__all__)) == len(deepgram_sagemaker.__all__)
    for name in deepgram_sagemaker.__all__:
        assert getattr(deepgram_sagemaker, name) is not None
    assert set(deepgram_sagemaker.__all__) <= set(dir(deepgram_sagemaker))
    with pytest.raises(AttributeError, match=r"'deepgram_sagemaker'.*'Nonsense'"):
        _ = deepgram_sagemaker.Nonsense


@pytest.mark.parametrize(
    "module",
    [
        "config",
        "credentials",
        "discretion",
        "errors",
        "events",
        "exposition",
        "factory",
        "invocation",
        "meters",
        "notices",
        "otel",
        "stats",
        "transport",
        "wakeups",
        "aws.client",
        "aws.endpoints",
        "aws.failures",
        "aws.operation",
        "aws.preparation",
        "aws.shared_files",
        "doctor",
        "doctor.case",
        "doctor.findings",
        "doctor.products",
        "local",
        "local.access",
        "local.endpoint",
        "local.faults",
        "local.pytest_plugin",
        "local.records",
        "local.stream",
        "local.watermark",
    ],
)
def test_all_names_exist_and_public_ones_are_at_home(module):
    found = importlib.import_module(f"deepgram_sagemaker.{module}")
    for name in found.__all__:
        assert hasattr(found, name)


def test_every_error_is_exported_and_has_the_one_base():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.SageMakerError)
        assert getattr(errors, name).__doc__


def test_version_is_the_distributions():
    assert deepgram_sagemaker.__version__.count(".") == 2
    try:
        installed = metadata.version("deepgram-sagemaker")
    except metadata.PackageNotFoundError:
        pytest.skip("deepgram-sagemaker is imported from its source and not installed")
    assert deepgram_sagemaker.__version__ == installed


SESSION_WITHOUT_CRT = """
import asyncio, sys

askers = set()

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ("awscrt", "_awscrt"):
            return None
        frame = sys._getframe(1)
        while frame.f_globals["__name__"].startswith(("importlib", "_frozen_importlib")):
            frame = frame.f_back
        askers.add(frame.f_globals["__name__"].partition(".")[0])
        raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
from sessions import client_of, session
from deepgram_sagemaker.local import LocalEndpoint

async def main():
    async with LocalEndpoint() as endpoint:
        heard = await session(client_of(endpoint.config()), 20)
        assert heard.numbers == list(range(20)), heard.numbers

asyncio.run(main())
print(sorted(askers - {"botocore", "smithy_aws_core"}))
"""


def test_a_session_needs_no_awscrt():
    run = run_script(SESSION_WITHOUT_CRT)
    assert run.returncode == 0, run.stderr
    # botocore and the AWS SDK check for it, for their user agent.
    assert run.stdout.strip() == "[]"


def test_importing_the_package_loads_nothing_of_it():
    """What its pytest plugin cannot do without; coverage of the rest begins with its first use."""
    run = run_script(
        "import sys, deepgram_sagemaker.local.pytest_plugin\n"
        "print(*sorted(name for name in sys.modules if name.startswith('deepgram')))\n"
        "import deepgram_sagemaker\n"
        "print(deepgram_sagemaker.errors.SageMakerError.__name__, deepgram_sagemaker.__version__)"
    )
    assert run.returncode == 0, run.stderr
    loaded, used = run.stdout.splitlines()
    plugin = "deepgram_sagemaker.local.pytest_plugin"
    assert loaded.split() == ["deepgram_sagemaker", "deepgram_sagemaker.local", plugin]
    assert used.split() == ["SageMakerError", deepgram_sagemaker.__version__]
