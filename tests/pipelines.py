"""pipecat pipelines of one service, fed with counted audio or numbered words."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_aura import numbers_in
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner
from sessions import CHUNK

RATE = 16_000
SPOKEN = 24_000
"""Samples per second, heard and spoken."""


class Collector(FrameProcessor):
    """Keeps the frames that reach it, and pretends to play what is spoken."""

    def __init__(self, direction):
        super().__init__()
        self._direction = direction
        self.frames = []
        self.news = asyncio.Event()

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if direction == self._direction:
            self.frames.append(frame)
            self.news.set()
            if isinstance(frame, TTSStoppedFrame):
                await self.push_frame(BotStartedSpeakingFrame(), FrameDirection.UPSTREAM)
                await self.push_frame(BotStoppedSpeakingFrame(), FrameDirection.UPSTREAM)
        await self.push_frame(frame, direction)


@dataclass
class Gathered:
    """What came out of a pipeline."""

    frames: list = field(default_factory=list)
    errors: list = field(default_factory=list)

    def of(self, kind):
        return [frame for frame in self.frames if isinstance(frame, kind)]

    @property
    def numbers(self):
        """The numbers of the chunks that were transcribed, in order."""
        return [int(word) for frame in self.of(TranscriptionFrame) for word in frame.text.split()]

    @property
    def audio(self):
        return b"".join(frame.audio for frame in self.of(TTSAudioRawFrame))

    @property
    def words(self):
        """The numbers of the words that were spoken, in order."""
        return numbers_in(self.audio)

    @property
    def timed(self):
        """The transcripts with what says when they were spoken."""
        return [
            (
                frame.text,
                *(
                    (frame.result or {}).get(name)
                    for name in ("start", "duration", "turn_index", "audio_window_end")
                ),
            )
            for frame in self.of(TranscriptionFrame)
        ]


class Running:
    """A pipeline while it runs."""

    def __init__(self, worker, above, below):
        self.worker = worker
        self._above = above
        self._below = below

    @property
    def frames(self):
        return self._below.frames

    @property
    def errors(self):
        return [frame for frame in self._above.frames if isinstance(frame, ErrorFrame)]

    async def put(self, frame):
        await self.worker.queue_frame(frame)

    async def hear(self, numbers, *, pace=0.005):
        """Puts in counted chunks of 20 ms, one every `pace` seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for count, number in enumerate(numbers, 1):
            await self.put(InputAudioRawFrame(chunk(number, CHUNK), RATE, 1))
            await asyncio.sleep(max(0.0, began + count * pace - loop.time()))

    async def say(self, *texts):
        for text in texts:
            await self.put(TTSSpeakFrame(text))

    async def until(self, condition, *, seconds=20):
        """Waits until the condition of what has come out holds."""
        async with asyncio.timeout(seconds):
            while not condition(self):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)


async def run(service, act, *, end=EndFrame, observe=None):
    """Runs a pipeline of one service; `act` puts frames in.

    Args:
        service: The service.
        act: A coroutine function that is given the `Running` pipeline.
        end: The frame that ends it: an EndFrame, or a CancelFrame.
    """
    above, below = Collector(FrameDirection.UPSTREAM), Collector(FrameDirection.DOWNSTREAM)
    params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=SPOKEN)
    worker = PipelineWorker(
        Pipeline([above, service, below]), params=params, cancel_on_idle_timeout=False
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_started(_worker, _frame):
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = Running(worker, above, below)
    ran = asyncio.create_task(runner.run())
    try:
        async with asyncio.timeout(40):
            await started.wait()
        await act(running)
        if end is CancelFrame:
            await worker.cancel()
        else:
            await running.put(end())
        async with asyncio.timeout(40):
            await ran
    finally:
        if not ran.done():
            await worker.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await ran
    return Gathered(list(below.frames), running.errors)
