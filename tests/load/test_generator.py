"""The streams of one worker: what is counted of them, and in which second."""

import asyncio
import json
from contextlib import asynccontextmanager

from deepgram_sagemaker.load.audio import Piece, watermarked
from deepgram_sagemaker.load.generator import Generator
from deepgram_sagemaker.load.spec import Spec
from deepgram_sagemaker.load.tally import add_up
from deepgram_sagemaker.local import LocalEndpoint
from sessions import until


@asynccontextmanager
async def generating(endpoint, monkeypatch, **fields):
    """A generator that has begun to count."""
    keys = endpoint.credentials
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
    made = Spec(
        **{
            "endpoint_name": endpoint.endpoint_name,
            "region": endpoint.region,
            "endpoint_uri": endpoint.uri,
            "ca_bundle": endpoint.ca_bundle,
            "query": {"model": "nova-3"},
            "pieces": [watermarked()],
            "streams": 20,
        }
        | fields
    )
    async with Generator(made) as generator:
        await generator.prepare()
        await generator.begin(0.0)
        yield generator


async def told(generator, seconds):
    """The figures of all seconds until so many have ended, by number."""
    found = {}
    while len(found) < seconds:
        found |= dict(await generator.collect())
        await asyncio.sleep(0.05)
    return found


async def test_what_was_refused_before_does_not_count_in_the_next_step(monkeypatch):
    with LocalEndpoint(max_streams=5) as there:
        async with generating(there, monkeypatch) as generator:
            await generator.want(8, 0.0)
            await until(lambda: there.stats.live_streams == 5 and generator._tally.refused)
            await generator.want(5, 0.0)
            begins = generator._second
            seconds = await told(generator, begins + 3)
            await generator.end(15.0)
            ending = add_up(tally for _, tally in await generator.collect())
    after = add_up(tally for number, tally in seconds.items() if number >= begins)
    assert (after.refused, after.failed, after.retries) == ({}, {}, 0)
    assert seconds[begins + 2].live == 5
    # It is not forgotten.
    assert ending.refused["424 ModelError"] >= 1
    assert ending.finished == 5


async def test_streams_that_are_being_closed_do_not_count_in_the_next_step(monkeypatch):
    """An endpoint that answers nothing before CloseStream, and that after a while."""

    async def model(stream):
        heard = 0
        async for message in stream:
            if isinstance(message, str) and json.loads(message)["type"] == "CloseStream":
                break
            if isinstance(message, bytes):
                heard += len(message)
        await asyncio.sleep(1.0)
        result = {
            "type": "Results",
            "channel_index": [0, 1],
            "start": 0.0,
            "duration": heard / 32_000,
            "is_final": True,
            "channel": {"alternatives": [{"transcript": "", "confidence": 1, "words": []}]},
            "metadata": {},
        }
        await stream.send(json.dumps(result))
        await stream.send(json.dumps({"type": "Metadata", "duration": heard / 32_000}))

    noise = Piece("noise", bytes(32_000), "linear16", 16_000, 1, 2)
    with LocalEndpoint(model=model) as there:
        async with generating(there, monkeypatch, pieces=[noise]) as generator:
            await generator.want(8, 0.0)
            await until(lambda: generator._tally.chunks and there.stats.live_streams == 8)
            await generator.want(5, 0.0)
            begins = generator._second
            assert there.stats.live_streams == 8
            seconds = await told(generator, begins + 4)
            await generator.end(15.0)
            ending = add_up(tally for _, tally in await generator.collect())
    after = add_up(tally for number, tally in seconds.items() if number >= begins)
    assert (after.lag.total, after.first.total, after.finished) == (0, 0, 0)
    assert {seconds[begins + at].live for at in range(4)} == {5}
    assert (ending.lag.total, ending.finished) == (8, 8)
