"""A build without the local endpoint says so, and everything else works."""

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
    assert run.stdout == (
        "this build of deepgram-sagemaker has no local endpoint: its native part was built without "
        "the Cargo feature `local`\n"
    )
