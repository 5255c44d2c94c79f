"""What starting costs: an interpreter that imports the package, or all that a first session needs.

Each round is a process of its own. `nothing` is the interpreter itself, to be subtracted.
"""

import subprocess
import sys

import pytest

PROGRAMS = {
    "nothing": "pass",
    "the package": "import deepgram_sagemaker",
    "the SDK alone": "from deepgram import AsyncDeepgramClient",
    "a first session": (
        "from deepgram import AsyncDeepgramClient\n"
        "from deepgram_sagemaker import SageMakerTransportFactory\n"
        "import boto3, deepgram_sagemaker.transport\n"
        "import deepgram_sagemaker.aws.client, deepgram_sagemaker.aws.operation\n"
    ),
}


def start(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("imports", PROGRAMS)
def test_start(benchmark, imports):
    benchmark.pedantic(start, args=(PROGRAMS[imports],), rounds=10, warmup_rounds=1)
