"""Every block of every page does what the page says, against the local endpoint."""

import asyncio
import io
import os
import shutil
from pathlib import Path

import pytest
from cli.control_plane import control_plane
from deepgram_sagemaker.gateway import Gateway
from deepgram_sagemaker.local import LocalEndpoint

from .blocks import blocks_of, endpoints_of, profiles_of
from .pages import UNREADABLE, commands, read
from .recordings import write

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    [
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("*.md"),
        *ROOT.glob("examples/**/README.md"),
    ]
)

AT_ONCE = 8
"""How many pages run at the same time. Most of it is waiting, because speech has its pace."""

MOST_NOT_RUN = 12
"""How many blocks may be left out, of all pages."""


def pytest_generate_tests(metafunc):
    if "chosen" in metafunc.fixturenames:
        names = metafunc.config.getoption("--page")
        chosen = [page for page in PAGES if not names or any(n in str(page) for n in names)]
        metafunc.parametrize("chosen", [chosen], ids=["all" if not names else ",".join(names)])


def exports(endpoint):
    """The lines for a shell that `deepgram-sagemaker local` prints."""
    from deepgram_sagemaker.cli.served import Reachable
    from deepgram_sagemaker.cli.serving import instructions
    from rich.console import Console

    printed = io.StringIO()
    instructions(Console(file=printed), Reachable.of(endpoint), "speech")
    lines = (line.strip() for line in printed.getvalue().splitlines())
    return [line for line in lines if line.startswith(("export ", "unset "))]


def write_profiles(endpoint, names):
    """Shared files with these profiles, whose keys the endpoint accepts."""
    keys = endpoint.credentials
    lines = [
        f"aws_access_key_id = {keys.access_key_id}",
        f"aws_secret_access_key = {keys.secret_access_key}",
    ]
    text = "".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name in names)
    Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(text, encoding="utf-8")


async def environment_of(endpoint, plane):
    """The variables of a shell in which those lines were run."""
    lines = "\n".join([*exports(endpoint), "env -0"])
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", lines),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    variables = dict(entry.split("=", 1) for entry in printed.decode().rstrip("\0").split("\0"))
    return variables | {
        "AWS_ENDPOINT_URL_STS": plane.uri,
        "AWS_ENDPOINT_URL_SAGEMAKER": plane.uri,
        "PYTHONUNBUFFERED": "1",
    }


@pytest.mark.skipif(UNREADABLE, reason="there is no bash, or no fork")
@pytest.mark.patience(240)
async def test_every_block_does_what_its_page_says(chosen, tmp_path, subtests):
    pytest.importorskip("moonshine_voice", reason="the extra `local` is not installed")
    blocks = [block for page in chosen for block in blocks_of(page)]
    names, regions = endpoints_of(blocks)
    write(tmp_path / "recordings")
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number, page, environment, gateway):
        directory = tmp_path / f"page-{number}" / "here"
        shutil.copytree(tmp_path / "recordings", directory)
        environment = environment | {"HOME": str(directory.parent)}
        async with turn:
            return await read(page, directory, environment, gateway).run()

    from deepgram_sagemaker.local.speech import SpeechModel

    # A busy machine recognises late, and a page that waits for it sends nothing meanwhile.
    patient = SpeechModel(silence_limit=60)
    async with (
        LocalEndpoint(names, model=patient, region=regions) as endpoint,
        Gateway(config=endpoint.config(), port=0) as gateway,
        commands(tmp_path / "bin") as paths,
    ):
        write_profiles(endpoint, profiles_of(blocks))
        address = "{}:{}".format(*gateway.address)
        with control_plane() as plane:
            plane.endpoints = {(region, name): "InService" for region in regions for name in names}
            environment = await environment_of(endpoint, plane) | paths
            outcomes = await asyncio.gather(
                *(one(number, page, environment, address) for number, page in enumerate(chosen))
            )
    for page, failures in zip(chosen, outcomes, strict=True):
        with subtests.test(page=str(page.relative_to(ROOT))):
            if failures:
                pytest.fail("\n\n".join(failures), pytrace=False)


def test_what_is_not_run_is_little_and_has_a_reason():
    left_out = [block for page in PAGES for block in blocks_of(page) if block.not_run]
    assert len(left_out) <= MOST_NOT_RUN, [f"{block}: {block.not_run}" for block in left_out]
    for block in left_out:
        assert block.language in ("python", "sh", "console"), block
        assert len(block.not_run) > 10, block
