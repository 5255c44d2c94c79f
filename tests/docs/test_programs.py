"""The guides' programs against an endpoint that refuses them: each fails, and a line says why."""

import asyncio
import os
import shlex

import pytest
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import Answer, Fault

from .blocks import blocks_of, endpoints_of
from .pages import UNREADABLE, commands, commands_of
from .recordings import write
from .test_pages import ROOT

GUIDES = [ROOT / "docs" / "getting-started.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]

ACTION = "sagemaker:InvokeEndpointWithBidirectionalStream"

REFUSED = Fault(Answer(403, "AccessDeniedException"), times=None)


def programs():
    """Each program that a guide runs: its page, its files, and the words of its command."""
    for page in GUIDES:
        blocks = blocks_of(page)
        files = {block.title: block.code for block in blocks if block.title.endswith(".py")}
        for block in blocks:
            if block.language != "console" or block.not_run:
                continue
            for command, _ in commands_of(block.code):
                words = shlex.split(command)
                if "python" in words:
                    name, *arguments = words[words.index("python") + 1 :]
                    # A file that is not there is another failure. Some have their own endpoint.
                    if (
                        name in files
                        and "no-such-file.wav" not in arguments
                        and "LocalEndpoint(" not in files[name]
                    ):
                        yield page, files, [name, *arguments]


@pytest.mark.skipif(UNREADABLE, reason="there is no bash, or no fork")
@pytest.mark.patience(180)
async def test_a_refused_program_says_why_in_a_line_and_fails(tmp_path):
    pytest.importorskip("moonshine_voice", reason="the pages' recordings come with it")
    found = list(programs())
    assert len(found) > 5
    write(tmp_path / "here")
    names, _ = endpoints_of([block for page in GUIDES for block in blocks_of(page)])
    async with (
        LocalEndpoint(names, faults=[REFUSED]) as endpoint,
        commands(tmp_path / "bin") as paths,
    ):
        variables = paths | {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": endpoint.uri,
            "AWS_CA_BUNDLE": endpoint.ca_bundle,
            "AWS_ACCESS_KEY_ID": endpoint.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoint.credentials.secret_access_key,
        }

        turn = asyncio.Semaphore(os.cpu_count() or 2)

        async def run(number, page, files, words):
            directory = tmp_path / str(number)
            directory.mkdir()
            for name, code in files.items():
                (directory / name).write_text(code, encoding="utf-8")
            for recording in (tmp_path / "here").iterdir():
                (directory / recording.name).symlink_to(recording)
            async with turn:
                process = await asyncio.create_subprocess_exec(
                    *("python", *words),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    cwd=directory,
                    env=os.environ | variables,
                )
                _, complaint = await process.communicate()
            return page, words, process.returncode, complaint.decode()

        outcomes = await asyncio.gather(*(run(at, *each) for at, each in enumerate(found)))
    for page, words, status, complaint in outcomes:
        assert status == 1, (page, words, complaint)
        assert "Traceback" not in complaint, (page, words, complaint)
        assert ACTION in complaint.splitlines()[-1], (page, words, complaint)
