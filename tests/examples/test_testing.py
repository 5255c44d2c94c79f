"""The example of tests, run as a project of its own."""

import asyncio
import os
import re
import shutil
import sys
from importlib.util import find_spec

import pytest
from examples.programs import EXAMPLES


async def outcomes(folder, *arguments):
    """Runs pytest in a folder; returns how many passed, failed and were skipped."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments),
        stdout=asyncio.subprocess.PIPE,
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
    )
    out, _ = await process.communicate()
    (last,) = re.findall(r"^(?:\d+ \w+(?:, )?)+ in .*$", out.decode(), re.MULTILINE)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", last)}
    return {word: counts.get(word, 0) for word in ("passed", "failed", "skipped")}


@pytest.fixture
def project(tmp_path):
    return shutil.copytree(
        EXAMPLES / "testing", tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")
    )


@pytest.mark.patience(300)
async def test_the_tests_pass_and_notice_what_is_lost(project):
    has_speech = find_spec("moonshine_voice") is not None
    assert await outcomes(project) == {
        "passed": 5 + has_speech,
        "failed": 0,
        "skipped": not has_speech,
    }
    # An application that loses its first chunk.
    application = project / "captions.py"
    text = application.read_text(encoding="utf-8")
    line = "        async def send() -> None:\n"
    assert text.count(line) == 1
    application.write_text(text.replace(line, f"{line}            await anext(aiter(audio))\n"))
    few = ("-k", "all_audio or outage")
    assert await outcomes(project, *few) == {"passed": 1, "failed": 1, "skipped": 0}
