"""Three hundred live streams at once, every chunk of them counted."""

import asyncio
import time

from deepgram_sagemaker.local import Watermark
from e2e.processes import endpoint_elsewhere
from sessions import client_of, session

SESSIONS = 300
CHUNKS = 200
PACE = 0.02
REAL_TIME = CHUNKS * PACE


async def test_three_hundred_sessions_at_real_time():
    """Each chunk's number comes back once, in order, while it is still news."""
    with endpoint_elsewhere(model=Watermark(window=10)) as endpoint:
        client = client_of(endpoint.config())
        # Imports, the engine and the look-up of credentials are paid by the first session.
        await session(client, 10)

        began = time.perf_counter()
        heard = await asyncio.gather(*(session(client, CHUNKS, pace=PACE) for _ in range(SESSIONS)))
        took = time.perf_counter() - began

        assert [each.errors for each in heard] == [[]] * SESSIONS
        assert [each.numbers for each in heard] == [list(range(CHUNKS))] * SESSIONS
        assert {len(each.finals) for each in heard} == {CHUNKS // 10}
        stats = endpoint.stats
        assert stats.accepted == SESSIONS + 1
        assert stats.most_live_streams == SESSIONS
        assert (stats.request_signature_failures, stats.signature_failures) == (0, 0)
        assert (stats.crc_failures, stats.malformed_events) == (0, 0)
        assert (stats.bad_ends, stats.torn_chunks) == (0, 0)
        # Chunks, and each session's closing message.
        assert stats.messages_in == SESSIONS * (CHUNKS + 1) + 11
        assert took <= 1.2 * REAL_TIME, f"{took:.2f} s for {REAL_TIME:.2f} s of audio"
