"""A build without the local endpoint says so, and everything else works."""

import os
import subprocess
import sys

import pytest
from sessions import run_script

SLIM = """
import sys
from deepgram_sagemaker import _native

for name in ("LocalServer", "LocalStream", "watermark"):
    delattr(_native, name)

import deepgram_sagemaker.transport
import deepgram_sagemaker.local.faults, deepgram_sagemaker.local.pytest_plugin
try:
    exec(sys.argv[1])
except ImportError as error:
    print(error)
"""


MISSING = (
    "this build of deepgram-sagemaker has no local endpoint: its native part was built without the "
    "Cargo feature `local`"
)


@pytest.mark.parametrize(
    "use",
    [
        "from deepgram_sagemaker.local import LocalEndpoint",
        "from deepgram_sagemaker.local import Watermark",
        "from deepgram_sagemaker.local.watermark import chunk",
    ],
)
def test_a_slim_build_says_what_is_missing(use):
    run = run_script(SLIM, use)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{MISSING}\n"


# Both in this process and in those that it starts.
SITE = """
from deepgram_sagemaker import _native

for name in ("LocalServer", "LocalStream", "watermark"):
    delattr(_native, name)
"""


@pytest.fixture
def command(tmp_path):
    """Runs the command line of a slim build."""
    (tmp_path / "sitecustomize.py").write_text(SITE)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "deepgram_sagemaker", *arguments],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


@pytest.mark.parametrize("model", ["speech", "watermark"])
def test_the_command_local_is_one_line(command, model):
    run = command("local", "--port", "0", "--model", model)
    assert (run.returncode, run.stdout, run.stderr) == (1, "", f"Failed: {MISSING}\n")


def test_the_demo_is_one_line(command):
    run = command("demo")
    assert (run.returncode, run.stdout, run.stderr) == (1, "", f"Failed: {MISSING}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["transcribe", "-", "-e", "a", "--region", "us-east-1"], "it has no audio"),
        (["speak", "hello", "-e", "a", "--region", "us-east-1", "-o", "-"], "no AWS credentials"),
        (["doctor", "a", "--region", "us-east-1", "--timeout", "1"], ""),
    ],
)
def test_the_other_commands_do_without(command, arguments, said):
    run = command(*arguments)
    assert run.returncode == 1
    assert said in run.stderr
    assert "local endpoint" not in run.stdout + run.stderr
