"""Long outages: sending goes on while there is room, and ends complete or with an error."""

import asyncio
import time

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import ConnectError, RetriesExhaustedError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from e2e.survival import LINEAR16, assert_whole, converse
from sessions import LISTEN_URL, until

PACE = LINEAR16.seconds_a_chunk
SPEED = 4.0
UNSENT = 256 * 1024
"""How much unsent audio may wait, also with a smaller replay limit."""


@pytest.mark.patience(120)
@pytest.mark.parametrize(
    ("seconds", "budget"), [(3, 60), pytest.param(20, 60, marks=pytest.mark.full)]
)
async def test_an_outage_in_the_middle_of_live_audio(seconds, budget):
    async with LocalEndpoint(model=Watermark(), record_arrivals=True) as endpoint:
        config = endpoint.config(
            retry_budget=budget,
            max_retries=1000,
            max_backoff=0.2,
            replay_speed=SPEED,
        )

        async def outage(_):
            endpoint.refuse_connections(seconds)

        chunks = 2 * round((seconds + 1) / PACE)
        heard = await converse(config, LINEAR16, chunks, pace=PACE, middle=outage)
        assert_whole(heard, LINEAR16, chunks)
        assert heard.stats.seconds_lost == 0
        assert heard.stats.seconds_sent == pytest.approx(chunks * PACE)

        # The journal had room all the time: sending never had to wait for the service.
        assert max(after - before for before, after in heard.sent) < min(1.0, seconds / 3)

        # The backlog, no faster than set and not much slower.
        latest = endpoint.legs[-1].arrivals
        resumed = latest[0][1]
        backlog = [
            (number, when) for number, when in latest if heard.sent[number][0] < resumed - 2 * PACE
        ]
        assert len(backlog) * PACE >= seconds - 1
        took = backlog[-1][1] - resumed
        speed = (len(backlog) - 1) * PACE / took
        assert SPEED / 2 <= speed <= SPEED * 1.1


@pytest.mark.patience(60)
async def test_sending_waits_only_when_the_journal_is_full():
    seconds = 2.0
    async with LocalEndpoint(model=Watermark()) as endpoint:
        config = endpoint.config(
            retry_budget=60,
            max_retries=1000,
            max_backoff=0.2,
            max_replay_buffer_bytes=64 * 1024,
            replay_speed=None,
        )

        chunks = 1600

        async def outage(_):
            # The journal is empty first, and the outage known to the client.
            await until(lambda: endpoint.legs[0].chunks == chunks // 2, within=10)
            await asyncio.sleep(0.2)
            endpoint.refuse_connections(seconds)
            await asyncio.sleep(0.3)

        heard = await converse(config, LINEAR16, chunks, middle=outage)
        assert_whole(heard, LINEAR16, chunks)
        during = heard.sent[chunks // 2 :]
        waited = next(i for i, (before, after) in enumerate(during) if after - before > 0.5)
        # The limit of unsent audio, to the chunk.
        assert waited == -(-UNSENT // LINEAR16.size)


@pytest.mark.patience(60)
@pytest.mark.parametrize("budget", [1.0, pytest.param(5.0, marks=pytest.mark.full)])
async def test_an_outage_longer_than_the_budget(budget):
    async with LocalEndpoint(model=Watermark()) as endpoint:
        config = endpoint.config(retry_budget=budget, max_retries=1000, max_backoff=0.2)
        transport = SageMakerTransportFactory(config=config)(LISTEN_URL)
        for number in range(25):
            await transport.send(LINEAR16.chunk(number))
        for _ in range(2):
            assert '"is_final":true' in await transport.recv()
        endpoint.refuse_connections(30)
        began = time.monotonic()
        with pytest.raises(RetriesExhaustedError) as caught:
            async with asyncio.timeout(budget + 20):
                await transport.recv()
        took = time.monotonic() - began
        error = caught.value
        # The attempts, and for how long ...
        assert error.attempts >= budget / 0.2
        assert budget * 0.5 <= error.elapsed <= budget + 0.5
        assert error.elapsed <= took + 0.1
        assert f"gave up after {error.attempts} attempts in {error.elapsed:.1f} s" in str(error)
        assert isinstance(error.__cause__, ConnectError)
        assert "127.0.0.1" in str(error)
        # ... and what the service has not answered: 5 of 25 chunks.
        assert error.seconds_unacknowledged == pytest.approx(0.1)
        assert "0.100 s of audio (3200 bytes) not acknowledged" in str(error)
        with pytest.raises(RetriesExhaustedError):
            await transport.send(LINEAR16.chunk(25))
        await transport.close()
