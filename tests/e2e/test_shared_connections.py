"""Several streams on one connection: written together, and lost together."""

import asyncio
from dataclasses import replace

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterNewChunks, Drop, Fault, GoAway, Reset
from e2e.survival import LINEAR16, assert_whole, converse

SESSIONS = 8
A_CONNECTION = 4
CHUNKS = 60
EVERY = 12
"""Chunks from one fault to the next: the last of three is over before the sessions close."""

LARGE = replace(LINEAR16, name="large", size=3200, seconds_a_chunk=0.1)
"""Too much to be copied together with others' frames."""

FAULTS = {
    "none": [],
    "reset": [Fault(Reset(), when=AfterNewChunks(EVERY), times=3)],
    "drop": [Fault(Drop(), when=AfterNewChunks(EVERY), times=3)],
    "goaway": [Fault(GoAway(), when=AfterNewChunks(EVERY), times=3)],
}


@pytest.mark.parametrize("audio", [LINEAR16, LARGE], ids=lambda audio: audio.name)
@pytest.mark.parametrize("fault", FAULTS)
async def test_sessions_that_share_connections(fault, audio):
    """Every session is complete after any fault of a connection or of one stream on it."""
    async with LocalEndpoint(model=Watermark(), faults=FAULTS[fault]) as endpoint:
        config = endpoint.config(max_streams_per_connection=A_CONNECTION)
        factory = SageMakerTransportFactory(config=config)
        # In step: what they send in one iteration of the loop meets on the connection.
        everything = await asyncio.gather(
            *(converse(factory, audio, CHUNKS, pace=0.01) for _ in range(SESSIONS))
        )
        for heard in everything:
            assert_whole(heard, audio, CHUNKS)
        stats = endpoint.stats
        resets = sum(factory.stats.resets.values())
        assert (stats.signature_failures, stats.crc_failures, stats.torn_chunks) == (0, 0, 0)
    if fault == "none":
        assert (stats.connections, resets) == (SESSIONS / A_CONNECTION, 0)
    elif fault == "drop":
        # Its neighbours go down with each.
        assert resets > 3
    else:
        assert stats.connections < SESSIONS
        assert resets + factory.stats.rollovers >= 3
