"""Five hundred sessions opened at once, at an endpoint that is not up to it."""

import asyncio

import pytest
from deepgram_sagemaker.local import Fault, Watermark
from deepgram_sagemaker.local.faults import Answer, SlowTls
from e2e.processes import endpoint_elsewhere
from sessions import client_of, session

SESSIONS = 500
THROTTLED = 300
SLOW = 50
SLOW_BY = 2.0
CHUNKS = 5

FAULTS = [
    Fault(Answer(429, "ThrottlingException"), legs=(1, THROTTLED)),
    # The next stream reuses a throttled connection, so these are among the first: handshakes of a
    # burst's later connections.
    Fault(SlowTls(SLOW_BY), legs=(THROTTLED + 1, THROTTLED + SLOW)),
]


@pytest.mark.patience(120)
async def test_five_hundred_opens_all_deliver_everything():
    """The applications do not notice 300 throttled requests and 50 handshakes of two seconds."""
    with endpoint_elsewhere(model=Watermark(window=CHUNKS), faults=FAULTS) as endpoint:
        config = endpoint.config(max_concurrency=SESSIONS)
        client = client_of(config)
        heard = await asyncio.gather(*(session(client, CHUNKS) for _ in range(SESSIONS)))
        assert [each.errors for each in heard] == [[]] * SESSIONS
        assert [each.numbers for each in heard] == [list(range(CHUNKS))] * SESSIONS
        stats = endpoint.stats
        assert stats.accepted == SESSIONS
        assert stats.refused == THROTTLED
        assert stats.opens == SESSIONS + THROTTLED
        assert stats.connections >= THROTTLED + SLOW
        assert (stats.request_signature_failures, stats.signature_failures) == (0, 0)
        assert (stats.crc_failures, stats.malformed_events, stats.bad_ends) == (0, 0, 0)
