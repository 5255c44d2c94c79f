"""Limits: audio that cannot be kept is lost and reported exactly; 0 retries means none."""

import asyncio
import logging
import re

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import ServiceUnavailableError, StreamResetError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterChunks, AfterNewChunks, Answer, Fault, Reset
from e2e.survival import LINEAR16, MICROSECOND, MULAW, assert_whole, converse
from sessions import LISTEN_URL

SECONDS = LINEAR16.seconds_a_chunk
GAP = re.compile(r"(\d+\.\d+) s of audio from (\d+\.\d+) s \((\d+) bytes\)")


def gaps_in(caplog):
    """Where each reported gap starts and how long it is, in seconds, and in bytes."""
    found = [
        GAP.search(record.getMessage())
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]
    return [(float(gap[2]), float(gap[1]), int(gap[3])) for gap in found if gap]


def assert_gaps_are_as_reported(heard, audio, chunks, caplog):
    """The missing chunks are the reported ones, and every other chunk is at its place in time."""
    assert heard.errors == []
    (said,) = heard.words.values()
    assert said == sorted(set(said))
    missing = [number for number in range(chunks) if number not in set(said)]
    gaps = gaps_in(caplog)
    reported = [
        number
        for start, seconds, _ in gaps
        for number in range(round(start / SECONDS), round((start + seconds) / SECONDS))
    ]
    assert missing == reported
    assert heard.stats.bytes_lost == len(missing) * audio.size
    assert heard.stats.bytes_lost == sum(size for _, _, size in gaps)
    assert abs(heard.stats.seconds_lost - len(missing) * SECONDS) <= MICROSECOND
    for result in heard.results:
        end = result.start + result.duration
        for word in result.channel.alternatives[0].words:
            assert abs(word.start - int(word.word) * SECONDS) <= MICROSECOND
            assert result.start - MICROSECOND <= word.start < end
    finals = heard.finals[0]
    assert finals == sorted(finals)
    last_start, last_duration = finals[-1]
    assert abs(last_start + last_duration - chunks * SECONDS) <= MICROSECOND
    (metadata,) = heard.metadata
    assert abs(metadata.duration - chunks * SECONDS) <= MICROSECOND
    return missing


# 16 KiB are 25 chunks of linear16 and 102 of mulaw.
CASES = [
    pytest.param(limit, late, audio, marks=marks, id=f"{limit}-{late}-{audio.name}")
    for limit, late, audio, marks in [
        (0, 0, MULAW, ()),
        (0, 40, LINEAR16, ()),
        (16 * 1024, 40, LINEAR16, ()),
        (16 * 1024, 40, MULAW, ()),
        (0, 0, LINEAR16, pytest.mark.full),
        (0, 40, MULAW, pytest.mark.full),
        (16 * 1024, 0, LINEAR16, pytest.mark.full),
        (16 * 1024, 0, MULAW, pytest.mark.full),
    ]
]


@pytest.mark.parametrize(("limit", "late", "audio"), CASES)
async def test_a_reset_loses_what_was_not_kept_and_says_so(limit, late, audio, caplog):
    chunks = 160
    faults = [Fault(Reset(), when=AfterNewChunks(75), times=None)]
    caplog.set_level(logging.INFO, "deepgram_sagemaker")
    async with LocalEndpoint(model=Watermark(late_chunks=late), faults=faults) as endpoint:
        config = endpoint.config(
            max_replay_buffer_bytes=limit, initial_backoff=0.01, max_backoff=0.05
        )
        heard = await converse(config, audio, chunks, pace=SECONDS)
        missing = assert_gaps_are_as_reported(heard, audio, chunks, caplog)
    assert sum(heard.stats.resets.values()) >= 1
    unanswered = 75 - (75 - late) // 10 * 10
    fits = limit // audio.size
    if unanswered > fits:
        # The first reset alone loses the unanswered audio, except for what fits into the buffer.
        assert len(missing) >= unanswered - fits
        assert heard.stats.bytes_evicted >= heard.stats.bytes_lost
    else:
        assert missing == []


async def test_a_file_waits_for_its_results_rather_than_lose_any():
    """Audio ahead of the wall clock can wait; live audio could not."""
    faults = [Fault(Reset(), when=AfterNewChunks(75), times=None)]
    async with LocalEndpoint(faults=faults) as endpoint:
        config = endpoint.config(
            max_replay_buffer_bytes=16 * 1024, initial_backoff=0.01, max_backoff=0.05
        )
        heard = await converse(config, LINEAR16, 1000)
        assert_whole(heard, LINEAR16, 1000)
    assert heard.stats.bytes_lost == heard.stats.bytes_evicted == 0
    assert sum(heard.stats.resets.values()) >= 5


async def read_all(transport):
    async for _ in transport:
        pass


async def test_without_retries_the_first_transient_error_surfaces():
    faults = [Fault(Reset(), when=AfterChunks(50), legs=1)]
    async with LocalEndpoint(faults=faults) as endpoint:
        transport = SageMakerTransportFactory(config=endpoint.config(max_retries=0))(LISTEN_URL)
        for number in range(50):
            await transport.send(LINEAR16.chunk(number))
        with pytest.raises(StreamResetError) as caught:
            await asyncio.wait_for(read_all(transport), 10)
        assert (caught.value.attempts, caught.value.retryable) == (1, True)
        with pytest.raises(StreamResetError):
            await transport.send(LINEAR16.chunk(50))
        await transport.close()
        assert endpoint.stats.opens == 1


async def test_without_retries_the_first_refusal_surfaces():
    async with LocalEndpoint(
        faults=[Fault(Answer(503, "ServiceUnavailableException"))]
    ) as endpoint:
        transport = SageMakerTransportFactory(config=endpoint.config(max_retries=0))(LISTEN_URL)
        with pytest.raises(ServiceUnavailableError) as caught:
            async with asyncio.timeout(10):
                await transport.recv()
        assert (caught.value.attempts, caught.value.status) == (1, 503)
        await transport.close()
        assert endpoint.stats.opens == 1
