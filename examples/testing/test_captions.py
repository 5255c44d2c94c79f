"""Tests of an application against the local endpoint, with failures that AWS rarely shows.

    pip install deepgram-sagemaker pytest pytest-asyncio
    pytest

The fixture `sagemaker_endpoint` comes with the package. If the marker names no model, the words of
a caption are the numbers of the chunks, so one that is lost, repeated or out of order fails the
test. `pytest.ini` lets pytest run tests that are coroutines.
"""

import wave
from collections.abc import AsyncIterator
from importlib.util import find_spec

import pytest
from captions import caption
from deepgram_sagemaker.errors import AuthenticationError, RetriesExhaustedError
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import AfterAudio, AfterNewAudio, Answer, Drop, Fault, Reset
from deepgram_sagemaker.local.watermark import chunk

CHUNKS = 200


async def counted() -> AsyncIterator[bytes]:
    """Yield four seconds of audio in chunks of 20 ms, each with its number."""
    for number in range(CHUNKS):
        yield chunk(number, 640)


async def assert_whole(endpoint: LocalEndpoint) -> None:
    """Each chunk has a caption, and each caption begins where the one before ended."""
    captions = await caption(endpoint.config(), counted())
    words = [word for each in captions for word in each.text.split()]
    assert words == [str(number) for number in range(CHUNKS)]
    end = 0.0
    for each in captions:
        assert each.start == pytest.approx(end)
        end = each.end
    assert end == pytest.approx(CHUNKS * 0.02)


async def test_all_audio_has_captions(sagemaker_endpoint: LocalEndpoint) -> None:
    await assert_whole(sagemaker_endpoint)
    assert len(sagemaker_endpoint.legs) == 1


@pytest.mark.sagemaker_endpoint(faults=[Fault(Reset(), when=AfterNewAudio(1.0), times=3)])
async def test_broken_streams_lose_nothing(sagemaker_endpoint: LocalEndpoint) -> None:
    await assert_whole(sagemaker_endpoint)
    assert len(sagemaker_endpoint.legs) == 4


@pytest.mark.sagemaker_endpoint(
    faults=[Fault(Drop(), when=AfterAudio(2.0)), Fault(Answer(429, "ThrottlingException"), legs=2)]
)
async def test_a_broken_connection_and_throttling_lose_nothing(
    sagemaker_endpoint: LocalEndpoint,
) -> None:
    await assert_whole(sagemaker_endpoint)
    assert [leg.status for leg in sagemaker_endpoint.legs] == [200, 429, 200]


@pytest.mark.sagemaker_endpoint(faults=[Fault(Answer(403, "AccessDeniedException"), times=None)])
async def test_a_missing_permission_is_an_error_at_once(
    sagemaker_endpoint: LocalEndpoint,
) -> None:
    with pytest.raises(AuthenticationError, match="InvokeEndpointWithBidirectionalStream"):
        await caption(sagemaker_endpoint.config(), counted())
    assert len(sagemaker_endpoint.legs) == 1


@pytest.mark.sagemaker_endpoint(faults=[Fault(Answer(503), times=None)])
async def test_an_outage_is_an_error_in_the_end(sagemaker_endpoint: LocalEndpoint) -> None:
    config = sagemaker_endpoint.config(max_retries=3, initial_backoff=0.01)
    with pytest.raises(RetriesExhaustedError):
        await caption(config, counted())
    assert len(sagemaker_endpoint.legs) == 4


@pytest.mark.skipif(
    find_spec("moonshine_voice") is None, reason="needs pip install 'deepgram-sagemaker[local]'"
)
@pytest.mark.sagemaker_endpoint(model="speech", faults=[Fault(Reset(), when=AfterAudio(4.0))])
async def test_real_speech(sagemaker_endpoint: LocalEndpoint) -> None:
    from deepgram_sagemaker.local.speech.sample import two_cities

    async def speech() -> AsyncIterator[bytes]:
        with wave.open(str(two_cities())) as wav:
            assert wav.getframerate() == 48_000
            for _ in range(60):
                # Every third sample: good enough for a test, not for production.
                samples = memoryview(wav.readframes(4_800)).cast("h")
                yield samples[::3].tobytes()

    captions = await caption(sagemaker_endpoint.config(), speech())
    said = " ".join(each.text for each in captions)
    assert "it was the worst of times" in said.lower()
