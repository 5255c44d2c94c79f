"""Connections are files: as many as streams need are allowed, or it is said that they are not."""

import sys

import pytest
from sessions import run_script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")

SCRIPT = """
import resource, sys
from deepgram_sagemaker.load.descriptors import allow

soft, hard, streams = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
try:
    allow(streams)
except OSError as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


REFUSED = (
    "500 streams need 700 open files, and a process may have 600 here: raise the limit "
    "(ulimit -n), or use more workers"
)


@pytest.mark.parametrize(
    ("soft", "hard", "streams", "said"),
    [
        (300, 1500, 500, ["1200"]),
        (1400, 1500, 500, ["1400"]),
        # Not twice as many, but enough.
        (300, 800, 500, ["800"]),
        (
            300,
            600,
            500,
            [
                REFUSED,
                "600",
            ],
        ),
    ],
)
def test_the_limit_is_raised_as_far_as_it_has_to_be(soft, hard, streams, said):
    ran = run_script(SCRIPT, str(soft), str(hard), str(streams))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == said
