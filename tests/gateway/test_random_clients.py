"""Random faults behind the gateway: what a client hears is whole, or its connection says otherwise.

The schedules are those of `tests/e2e/test_random_faults.py`. Others are run with
`--schedules N` and `--first SEED`.
"""

import asyncio
import json
import random

import pytest
import websockets
from deepgram_sagemaker.gateway import Gateway
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from e2e.survival import AUDIO, OGG, STEREO
from e2e.test_random_faults import schedule
from gateway.clients import CLOSE_STREAM, hear
from sessions import until

SCHEDULES = 24
AT_ONCE = 8
# What the client itself does in the middle of it.
LEAVES = 0.1


async def one(seed):
    """Runs one schedule. Returns how it ended, and how many streams broke."""
    draw = random.Random(seed)
    audio, chunks = draw.choice(AUDIO), draw.randint(40, 250)
    faults = list(schedule(draw, chunks))
    model = Watermark(
        window=draw.choice([1, 3, 10, 25]),
        late_chunks=draw.choice([0, 1, 3, 30]),
        channel_skew=draw.choice([0, 1]) if audio is STEREO else 0,
    )
    leaves_at = draw.randrange(chunks) if draw.random() < LEAVES else None
    pace = draw.choice([None, 0.001, 0.003])
    query = "&".join(
        f"{name}={value}" for name, value in ({"model": "nova-3"} | audio.query).items()
    )
    served = []
    async with LocalEndpoint(model=model, faults=faults) as endpoint:
        config = endpoint.config(
            max_retries=20,
            initial_backoff=0.01,
            max_backoff=0.05,
            stall_timeout=0.5,
            replay_speed=draw.choice([None, 100.0]),
            max_leg_age=draw.choice([None, 0.1, 0.4]),
        )
        settings = {"open_wait": draw.choice([0.01, 10.0]), "on_request": served.append}
        async with Gateway(config=config, port=0, **settings) as gateway:
            code, messages = await _client(gateway, query, audio, chunks, leaves_at, pace)
            await until(lambda: served and not endpoint.stats.live_streams)
            assert gateway.conversations == gateway.counts["conversations"] == 0
            assert (served[0].by == "client") == (code is None)
            stats = gateway.stats
        assert stats.bytes_lost == 0
        assert endpoint.stats.signature_failures == 0
    if code is not None:
        _check(messages, audio, chunks, code)
    return code, sum(stats.resets.values())


async def _client(gateway, query, audio, chunks, leaves_at, pace):
    """Streams the audio. Returns the close code and the messages; no code: the client left."""
    url = f"{gateway.url}/v1/listen?{query}"
    async with websockets.connect(url, compression=None) as socket:
        hearing = asyncio.create_task(hear(socket))
        try:
            for number in range(chunks):
                if number == leaves_at:
                    await socket.close()
                    return None, await hearing
                await socket.send(audio.chunk(number))
                await asyncio.sleep(0 if pace is None else pace)
            await socket.send(CLOSE_STREAM)
        except websockets.ConnectionClosed:
            # The connection says why below.
            pass
        messages = await hearing
        return socket.close_code, messages


def _check(messages, audio, chunks, code):
    words = {channel: [] for channel in range(audio.channels)}
    reached = dict.fromkeys(words, 0.0)
    for message in map(json.loads, messages):
        if message["type"] == "Results" and message["is_final"]:
            channel = message["channel_index"][0]
            said = message["channel"]["alternatives"][0]["words"]
            words[channel] += [int(word["word"]) for word in said if word["word"].isdecimal()]
            assert abs(message["start"] - reached[channel]) <= 2e-6
            reached[channel] = message["start"] + message["duration"]
    for heard in words.values():
        assert heard == list(range(len(heard)))
        assert code == 1011 or len(heard) == chunks
    assert code in (1000, 1011)
    # An error that says that audio is missing is not made up.
    if code == 1011 and audio is not OGG and audio is not STEREO:
        assert any(len(heard) < chunks for heard in words.values())


@pytest.mark.patience(600)
async def test_nothing_is_lost_and_nothing_left_behind(request):
    count = request.config.getoption("--schedules") or SCHEDULES
    first = request.config.getoption("--first")
    turns = asyncio.Semaphore(AT_ONCE)
    failures, ends = [], []

    async def in_turn(seed):
        async with turns:
            try:
                async with asyncio.timeout(60):
                    ends.append(await one(seed))
            except Exception as error:  # noqa: BLE001 - all of them are told together
                error.add_note(f"seed {seed}")
                failures.append(error)

    await asyncio.gather(*(in_turn(seed) for seed in range(first, first + count)))
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {count} schedules went wrong", failures)
    assert sum(code == 1000 for code, _ in ends) >= count * 0.7
    assert sum(resets for _, resets in ends) >= count * 0.5
