"""What `make` says before it compiles: the plan of `make --dry-run`, which runs nothing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def plan(targets, compiled_into):
    """The commands for targets, where what cargo makes is in that folder."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    finished = subprocess.run(
        ["make", "--dry-run", *targets],
        cwd=ROOT,
        env=environment | {"CARGO_TARGET_DIR": str(compiled_into)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    ("target", "said", "stamp"),
    [
        ("build", "Compiling the extension", ".made-extension"),
        ("test-rust", "Compiling the tests in Rust", ".made-tests"),
        ("wheel", "Compiling release code", ".made-release"),
        ("bench", "Compiling release code", ".made-release"),
        ("bench", "Compiling the benchmarks", ".made-bench"),
        ("lint", "Checking the code in Rust", ".made-lint"),
        ("test-witness", "Compiling clients of other SDKs", ".made-witness"),
    ],
)
def test_what_takes_minutes_is_said_and_shown_the_first_time(tmp_path, target, said, stamp):
    first = plan([target], tmp_path)
    message = next(line for line in first.splitlines() if said in line)
    assert re.search(r'minutes? .*the first time\."$', message)
    # The command after it shows its progress.
    command = first[first.index(message) :].splitlines()[1]
    assert command.startswith((".venv/bin/", "cargo", "tools/"))
    assert "--quiet" not in command
    assert f"touch {tmp_path / stamp}" in first[first.index(message) :]
    (tmp_path / stamp).touch()
    again = plan([target], tmp_path)
    assert said not in again
    assert f"touch {tmp_path / stamp}" in again


def test_nothing_is_said_once_all_is_compiled(tmp_path):
    for stamp in re.findall(r"touch (\S+/\.made-\S+)", plan(["bench", "lint", "test"], tmp_path)):
        Path(stamp).touch()
    again = plan(["bench", "lint", "test"], tmp_path)
    assert "first time" not in again
    assert re.search(r"maturin develop --quiet|cargo clippy --quiet", again)
