"""The blocks of the page on pipecat, which the tests of the documentation leave out without it."""

import os
from pathlib import Path

import pytest
from deepgram_sagemaker.local import LocalEndpoint

pytest.importorskip("pipecat.services", reason="pipecat is not installed: make test-pipecat")

from docs.blocks import blocks_of, endpoints_of
from docs.pages import UNREADABLE, commands, is_there, read
from examples.programs import variables

PAGE = Path(__file__).parents[2] / "docs" / "pipecat.md"


@pytest.mark.skipif(UNREADABLE, reason="there is no bash, or no fork")
@pytest.mark.patience(120)
async def test_every_block_does_what_the_page_says(tmp_path):
    blocks = blocks_of(PAGE)
    needy = [block for block in blocks if block.needs]
    assert len(needy) == 4
    assert all(map(is_there, (need for block in needy for need in block.needs)))
    names, regions = endpoints_of(blocks)
    here = tmp_path / "here"
    here.mkdir()
    with LocalEndpoint(names, region=regions) as endpoint:
        async with commands(tmp_path / "bin") as paths:
            environment = os.environ | variables(endpoint) | paths
            assert await read(PAGE, here, environment).run() == []
        assert [leg.path for leg in endpoint.legs] == ["v1/listen"]
