"""The programs of docs/batches.md, as they stand there, on a Ray that is up."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from batches import archive, text

RUN = "import runpy, sys; [runpy.run_path(name) for name in sys.argv[1:]]"
PAGE = Path(__file__).parents[2] / "docs" / "batches.md"


def program(name):
    """A program of the page."""
    found = re.search(rf'```python title="{name}"\n(.*?)```', PAGE.read_text(), re.DOTALL)
    return found[1]


@pytest.mark.patience(120)
def test_the_programs_do_what_the_page_says(cluster, tmp_path):
    for name in ("transcribe_archive.py", "speak_texts.py"):
        (tmp_path / name).write_text(program(name))
    archive(tmp_path / "calls", 3)
    ran = subprocess.run(
        # One after the other, because Ray takes most of the time.
        [sys.executable, "-c", RUN, "transcribe_archive.py", "speak_texts.py"],
        cwd=tmp_path,
        env=os.environ | {"RAY_ADDRESS": cluster},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = ran.stdout.splitlines()
    for number in range(3):
        assert f"{tmp_path}/calls/call {number:03d}.wav {text(number)}" in told
    spoken = [line for line in told if line.startswith(f"{tmp_path}/speech/audio/greetings/")]
    assert len(spoken) == 2
    assert all(float(line.split()[-1]) > 0 for line in spoken)
    assert len(list((tmp_path / "transcripts").glob("part-*.parquet"))) == 1
