"""pipecat's own Deepgram services, which know nothing of SageMaker, through the gateway."""

import pytest
from deepgram_sagemaker.gateway import Gateway
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import AfterNewChunks, AfterReplies, Fault, Reset
from deepgram_sagemaker.local.watermark_aura import WatermarkAura

pytest.importorskip("pipecat.services", reason="pipecat is not installed: make test-pipecat")

from deepgram.transport import restore_transport
from pipecat.frames.frames import TranscriptionFrame
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.deepgram.tts import DeepgramTTSService
from pipelines import run

QUICK = {"initial_backoff": 0.01, "max_backoff": 0.05, "replay_speed": None}
HEARD = 230
SPOKEN = [" ".join(map(str, range(10 * turn, 10 * turn + 10))) for turn in range(4)]


@pytest.fixture(autouse=True)
def _the_sdk_as_it_comes():
    restore_transport()


def transcripts(running):
    return [frame for frame in running.frames if isinstance(frame, TranscriptionFrame)]


async def test_what_is_heard_is_whole_over_broken_streams():
    fault = Fault(Reset(), when=AfterNewChunks(60), times=None)
    with LocalEndpoint(faults=[fault]) as endpoint:
        async with Gateway(config=endpoint.config(**QUICK), port=0) as gateway:
            service = DeepgramSTTService(api_key="unused", base_url=gateway.url)

            async def hear(running):
                # Without a connection it drops what it hears.
                await running.until(lambda _: service._connection is not None)
                await running.hear(range(HEARD))
                # It does not wait for the last words at its end, as ours does.
                await running.until(lambda it: len(transcripts(it)) >= HEARD // 10)

            gathered = await run(service, hear)
            assert gateway.stats.sessions == 1
            assert gateway.stats.resets == {"reset": 3}
    assert gathered.errors == []
    assert gathered.numbers == list(range(HEARD))


async def test_what_is_spoken_is_whole_over_broken_streams():
    fault = Fault(Reset(), when=AfterReplies(50), times=None)
    model = WatermarkAura(flushes=1000, pace=10.0)
    with LocalEndpoint(model=model, faults=[fault]) as endpoint:
        async with Gateway(config=endpoint.config(**QUICK), port=0) as gateway:
            service = DeepgramTTSService(api_key="unused", base_url=gateway.url)
            gathered = await run(service, lambda running: running.say(*SPOKEN))
            assert gateway.stats.sessions == 1
            assert sum(gateway.stats.resets.values()) >= 1
    assert gathered.errors == []
    assert gathered.words == list(range(40))
