"""When the endpoint stops, nothing of a model stays behind."""

import asyncio
import threading

import pytest
from deepgram_sagemaker.local.speech import SpeechModel
from deepgram_sagemaker.local.speech.voice import ToneVoice
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_agent import WatermarkAgent
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from local.speech.sounds import count_halves, linear16, scene
from local.streams import Scripted
from sessions import until

RAW = {"model": "any", "encoding": "linear16", "sample_rate": "16000"}
SPEAK = [{"type": "Speak", "text": "1 2 3 4 5. " * 20}, {"type": "Flush"}]
SETTINGS = {"type": "Settings", "agent": {"greeting": "1 2 3 4 5. " * 20}}
SPEECH = SpeechModel(count_halves, voices=ToneVoice)
COUNTED = [chunk(number, 640) for number in range(60)]


@pytest.mark.parametrize(
    ("model", "path", "said"),
    [
        (SPEECH, "v1/listen", [linear16(scene(-0.5, 2))]),
        (SPEECH, "v2/listen", [linear16(scene(-0.5, 2))]),
        (SPEECH, "v1/speak", SPEAK),
        (SPEECH, "v2/speak", SPEAK),
        (SPEECH, "v1/agent/converse", [SETTINGS, linear16(scene(-0.5, 2))]),
        (WatermarkFlux(), "v2/listen", COUNTED),
        (WatermarkAura(pace=1.0), "v1/speak", SPEAK),
        (WatermarkAura(pace=1.0), "v2/speak", SPEAK),
        (WatermarkAgent(pace=1.0), "v1/agent/converse", [SETTINGS, *COUNTED]),
    ],
)
@pytest.mark.parametrize("turns_of_the_loop", [1, 20])
async def test_cancellation_leaves_neither_task_nor_thread(model, path, said, turns_of_the_loop):
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    serving = asyncio.create_task(model(Scripted(path, said, query=RAW)))
    for _ in range(turns_of_the_loop):
        await asyncio.sleep(0.001)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert asyncio.all_tasks() == tasks
    await until(lambda: set(threading.enumerate()) <= threads)
