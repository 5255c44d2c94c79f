"""Random faults behind a gateway: clients that cannot resume lose nothing, on every product.

The schedules, conversations and checks are those of sessions without a gateway. The client is
Deepgram's SDK as it comes, over a WebSocket.
"""

from contextlib import asynccontextmanager

import pytest
from deepgram.core.api_error import ApiError
from deepgram_sagemaker.gateway import Gateway
from e2e.schedules import Schedule, run_all, tally
from sessions import until
from websockets import ConnectionClosed

AT_ONCE = 16
FEW, MANY, BATCH = 60, 2_000, 250
"""Schedules of a run, of a full one, and of one test."""


class Behind(Schedule):
    """A schedule whose client sees a WebSocket."""

    # A refusal is an error of HTTP, the rest a close code.
    told_by = (ConnectionClosed, ApiError)

    @asynccontextmanager
    async def _reached(self, config):
        async with Gateway(config=config, port=0) as gateway:
            yield gateway
            await until(lambda: gateway.conversations == 0)


def pytest_generate_tests(metafunc):
    """Runs a test with the number of seeds that the options ask for, in batches."""
    config = metafunc.config
    count = config.getoption("--schedules") or (MANY if config.getoption("--full") else FEW)
    first = config.getoption("--first")
    ends = range(first, first + count)
    batches = [ends[at : at + BATCH] for at in range(0, count, BATCH)]
    metafunc.parametrize("seeds", batches, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")


@pytest.mark.patience(900)
async def test_everything_comes_once_and_in_order_or_the_close_code_says_why(
    seeds, record_property
):
    outcomes, failures = await run_all(seeds, AT_ONCE, Behind)
    record_property("schedules", tally(outcomes, failures))
    if failures:
        raise BaseExceptionGroup("schedules under which something went wrong", [*failures.values()])
    if len(seeds) >= FEW:
        struck = sum(outcome.struck > 0 for outcome in outcomes.values())
        assert struck >= len(seeds) * 0.7
        whole = sum(outcome.error is None for outcome in outcomes.values())
        assert len(seeds) * 0.4 <= whole <= len(seeds) * 0.9
